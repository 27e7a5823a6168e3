"""Starts the workers of the video bridge, watches them, and stands between them and the nodes.

Theory of operation. Each *post* is a UDP port and the worker that has it. A worker is another process: whatever happens in it
happens to its calls alone, and messaging never waits for it. The supervisor sees its end at once, by the end of the socket
pair, and gives the port to a *spare*: a process that has started and waits to be configured, so that nobody in a call waits
for an interpreter to load. The nodes hear by `Bridges.withdraw` that a worker is gone, tell its people to join again, and
place the room anew.

What a room has decided (who was admitted, that it is restricted) is kept here, and given to the worker that has the room next.
Nothing else outlives a worker.

A worker that ends again and again is tried ever more slowly (`BACK_OFF_S`), and `standing` says so: its reason may be the
machine's, and takes a person.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from leeside_protocol.video.signalling import GoneWhy
from leeside_server.core.video import Closed, Heard, Spoken, WordSeal
from leeside_server.log import get_logger
from leeside_server.ports import ROOM_LEASE_S, Bridges, BridgesUnavailable, Clock, Workplace
from leeside_server.video.metrics import Figures
from leeside_server.video.settings import VideoSettings
from leeside_server.video.words import (
    WAITING_BYTES,
    BadWord,
    Configure,
    Drain,
    Emptied,
    FromWorker,
    Kept,
    Load,
    Ready,
    Told,
    ToWorker,
    read_from_worker,
    write_word,
)

READY_S: Final = 20.0
"""From configuring a worker to its first word."""
SILENT_S: Final = 6.0
"""A worker that says nothing for so long hangs: it says its load every second."""
STEADY_S: Final = 30.0
"""A worker that ran for so long is replaced at once."""
BACK_OFF_S: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Before each further try, when workers end sooner than that."""
FAILS: Final = 3
"""So many such ends in a row, and a post is told to fail, until a worker has run for `STEADY_S`."""
LAGGING_MS: Final = 200
LAGS: Final = 2
"""So many loads in a row with such a lag, while another worker has none: its people are better off there."""
KEPT_ROOMS: Final = 4_096
LOOK_S: Final = 1.0

_log = get_logger("leeside.video")


class _Process:
    """A worker's process and our end of the pair. It waits for `Configure`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.inner = process
        self.reader = reader
        self.writer = writer

    @classmethod
    async def start(cls) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "leeside_server.video.worker",
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)  # noqa: FBT003
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            # Whoever waited for it ends: nobody else would take it away.
            ours.close()
            process.kill()
            await process.wait()
            raise
        return cls(process, reader, writer)

    def say(self, word: ToWorker) -> None:
        """Write a word; a worker that takes none any more hangs, and is ended."""
        if self.writer.transport.get_write_buffer_size() > WAITING_BYTES:
            self.kill()
        elif not self.writer.is_closing():
            self.writer.write(write_word(word))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.inner.kill()

    async def end(self) -> None:
        """Take it away, whatever it does."""
        self.kill()
        self.writer.close()
        await self.inner.wait()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Standing(msgspec.Struct, frozen=True):
    """How the posts of this process stand: how many there are, have a worker, have one that takes new rooms, and lose theirs as
    soon as it starts. `draining`: it was told to end."""

    wanted: int
    living: int
    open: int
    failing: int
    draining: bool


class Post:
    """A UDP port, and the worker that has it now."""

    def __init__(self, number: int, port: int) -> None:
        self.number: Final = number
        self.port: Final = port
        self.worker = b""
        """Drawn anew for each process; empty while there is none."""
        self.process: _Process | None = None
        self.udp_port = 0
        self.rooms: dict[bytes, int] = {}
        """Their epochs."""
        self.load: Load | None = None
        self.lags = 0
        self.heard_s = 0.0
        self.draining = False
        self.began_s = 0.0
        self.quick_ends = 0
        """Workers in a row that ended within `STEADY_S` of their start."""

    @property
    def takes(self) -> bool:
        """Whether its worker takes new rooms."""
        return bool(self.worker) and not self.draining and (self.load is None or self.load.open)

    def fails(self, now_s: float) -> bool:
        """Whether its workers end again and again."""
        steady = bool(self.worker) and now_s - self.began_s >= STEADY_S
        return self.quick_ends >= FAILS and not steady

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return None if self.process is None else self.process.inner.pid


class Supervisor:
    """The workers of this process. Run `run` until it is cancelled; `drain` before that, to let calls go elsewhere."""

    def __init__(self, settings: VideoSettings, bridges: Bridges, seal: WordSeal, clock: Clock) -> None:
        count = settings.workers or os.cpu_count() or 1
        ports = (settings.port + number if settings.port else 0 for number in range(count))
        self.posts: Final = tuple(Post(number, port) for number, port in enumerate(ports))
        self.figures: Final = Figures(
            lambda: [post.load for post in self.posts if post.load is not None],
            lambda: (self.standing.wanted, self.standing.failing),
        )
        self._settings = settings
        self._bridges = bridges
        self._seal = seal
        self._clock = clock
        self._kept: dict[bytes, Kept] = {}
        self._spares: asyncio.Queue[_Process] = asyncio.Queue()
        self._room_for_spare = asyncio.Semaphore(1)
        self._ending = False
        self._changed = asyncio.Event()

    @property
    def standing(self) -> Standing:
        """How its posts stand now."""
        now_s = self._clock.monotonic_s()
        return Standing(
            len(self.posts),
            sum(bool(post.worker) for post in self.posts),
            sum(post.takes for post in self.posts),
            sum(post.fails(now_s) for post in self.posts),
            self._ending,
        )

    async def run(self) -> None:
        """Keep every post manned, until cancelled. May be run again when it failed."""
        self._spares, self._room_for_spare = asyncio.Queue(), asyncio.Semaphore(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._prepare())
                group.create_task(self._look())
                for post in self.posts:
                    group.create_task(self._man(post))
        finally:
            while not self._spares.empty():
                await self._spares.get_nowait().end()

    async def ready(self, *, every: bool = True) -> None:
        """Return once every post has a worker that listens, or one has."""
        enough = all if every else any
        await self._until(lambda: enough(bool(post.worker) for post in self.posts))

    async def drain(self, within_s: float) -> None:
        """Take no new rooms, and let those that are here go elsewhere; returns when they have, or after `within_s`."""
        self._ending = True
        for post in self.posts:
            await self.let_go(post)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._until(lambda: not any(post.worker for post in self.posts))

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    # ---- processes

    async def _man(self, post: Post) -> None:
        while not self._ending:
            post.began_s = self._clock.monotonic_s()
            try:
                await self._serve(post)
            except Exception:  # noqa: BLE001 - one post's fault must not end the others
                _log.error("worker_lost", exc_info=True)
            if self._clock.monotonic_s() - post.began_s >= STEADY_S:
                post.quick_ends = 0
            pause_s = BACK_OFF_S[min(post.quick_ends, len(BACK_OFF_S) - 1)]
            post.quick_ends += 1
            if post.quick_ends >= FAILS and not self._ending:
                _log.error("workers_end_at_once", port=post.port, times=post.quick_ends, pause_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _serve(self, post: Post) -> None:
        """One worker, from its first word to its last."""
        process = await self._take_spare()
        worker = secrets.token_bytes(8)
        try:
            hosts, public = self._settings.hosts, self._settings.public
            process.say(Configure(hosts, post.port, public))
            async with asyncio.timeout(READY_S):
                first = await read_from_worker(process.reader)
            if not isinstance(first, Ready):
                raise BadWord("the first word says that it is ready")
            post.process, post.udp_port, post.heard_s = process, first.port, self._clock.monotonic_s()
            await self._bridges.listen(worker, lambda data: self._hand_on(post, worker, data))
            post.worker = worker
            await self._announce(post)
            self._changed.set()
            _log.info("worker_ready", pid=process.inner.pid, port=first.port)
            while (word := await read_from_worker(process.reader)) is not None:
                post.heard_s = self._clock.monotonic_s()
                await self.take(post, word)
        except asyncio.CancelledError:
            post.draining = True  # It ends because we do.
            raise
        finally:
            await self._bury(post, worker, process)

    async def _bury(self, post: Post, worker: bytes, process: _Process) -> None:
        """The worker is no more. Who speaks with it hears that first."""
        known, drained = bool(post.worker), post.draining
        if post.load is not None:
            self.figures.ended(post.load.counts)
        post.worker, post.process, post.load = b"", None, None
        post.rooms.clear()
        post.lags, post.draining = 0, False
        self._changed.set()
        if known:
            await self._bridges.withdraw(worker)
            await self._bridges.unlisten(worker)
            if not drained and not self._ending:
                self.figures.crashes += 1
                _log.error("worker_ended", pid=process.inner.pid)
        await process.end()

    async def _prepare(self) -> None:
        """Have one process wait, started and not yet configured. A machine that has no room for one may have it later, and the
        workers that run are none the worse."""
        while True:
            await self._room_for_spare.acquire()
            while True:
                try:
                    self._spares.put_nowait(await _Process.start())
                    break
                except OSError:
                    _log.error("worker_not_started", exc_info=True)
                    await asyncio.sleep(LOOK_S)

    async def _take_spare(self) -> _Process:
        while True:
            process = await self._spares.get()
            self._room_for_spare.release()
            if process.inner.returncode is None:
                return process
            await process.end()

    # ---- words

    def _hand_on(self, post: Post, worker: bytes, data: bytes) -> None:
        """A node's word, for the worker."""
        process = post.process
        word = self._seal.open(worker, data, self._clock.now_ms())
        if process is None or post.worker != worker or word is None or isinstance(word, Heard):
            self.figures.words_refused += 1
            return
        room = word.ticket.room if isinstance(word, Spoken) else word.room
        if isinstance(word, Closed):
            self._kept.pop(room, None)
        if room not in post.rooms and (kept := self._kept.get(room)) is not None:
            process.say(kept)
        process.say(word)

    async def take(self, post: Post, word: FromWorker) -> None:
        """A worker's word."""
        match word:
            case Told():
                sealed = self._seal.seal(word.node, word.heard, self._clock.now_ms())
                # Who is not told asks again.
                with contextlib.suppress(BridgesUnavailable):
                    await self._bridges.say(word.node, sealed)
            case Load():
                post.load = word
                await self._announce(post)
                await self._judge(post)
            case Kept():
                post.rooms[word.room] = word.epoch
                self._kept.pop(word.room, None)
                self._kept[word.room] = word
                while len(self._kept) > KEPT_ROOMS:
                    del self._kept[next(iter(self._kept))]
            case Emptied():
                if post.rooms.pop(word.room, None) is not None:
                    await self._bridges.release(post.worker, word.room, word.epoch)
            case Ready():
                raise BadWord("a worker is ready once")
            case _:
                assert_never(word)

    async def _announce(self, post: Post) -> None:
        share = 0.0 if post.load is None else post.load.load
        await self._bridges.announce(Workplace(post.worker, len(post.rooms), share, post.takes))

    # ---- what lags, hangs, or must go

    async def _judge(self, post: Post) -> None:
        """A worker that lags while another does not is drained. Where all lag it is the machine, and moving helps nobody."""
        load = post.load
        lagging = load is not None and load.lag_ms > LAGGING_MS
        post.lags = post.lags + 1 if lagging else 0
        others = [other for other in self.posts if other is not post and other.worker]
        calm = any(other.load is not None and other.lags == 0 and other.load.open for other in others)
        if post.lags >= LAGS and calm and not post.draining:
            _log.warning("worker_lags", lag_ms=0 if load is None else load.lag_ms)
            await self.let_go(post)

    async def let_go(self, post: Post) -> None:
        """Let the people of this worker go elsewhere; it ends when they have, or after a minute."""
        process = post.process
        if process is None or post.draining or not post.worker:
            return
        post.draining = True
        await self._announce(post)
        process.say(Drain())
        # Who joins again is placed anew.
        rooms = dict(post.rooms)
        for room, epoch in rooms.items():
            await self._bridges.release(post.worker, room, epoch)

    async def _look(self) -> None:
        """Keep the leases, and end who hangs."""
        kept_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = self._clock.monotonic_s()
            for post in self.posts:
                if post.process is not None and now_s - post.heard_s > SILENT_S:
                    _log.error("worker_hangs", pid=post.pid)
                    post.process.kill()
            if now_s - kept_s >= ROOM_LEASE_S / 3:
                kept_s = now_s
                for post in self.posts:
                    if post.worker and not post.draining:
                        await self._keep(post)

    async def _keep(self, post: Post) -> None:
        lost = await self._bridges.keep(post.worker, dict(post.rooms))
        for room in lost:
            epoch = post.rooms.pop(room, None)
            if epoch is not None and post.process is not None:
                post.process.say(Closed(epoch, room, GoneWhy.LOST))
