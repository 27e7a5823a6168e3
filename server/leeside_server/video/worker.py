"""A worker of the video bridge: one process, one UDP port, many rooms.

    python -m leeside_server.video.worker FD

`FD` is one end of a socket pair; the supervisor has the other and speaks first (`words.Configure`). The worker ends when the
supervisor says so or is gone: media without anybody who may stop them are nothing to keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, assert_never

from leeside_server.core.video import Closed, Expelled, Spoken
from leeside_server.log import get_logger, set_up
from leeside_server.video import fastways
from leeside_server.video.bridge import Bridge
from leeside_server.video.words import (
    WAITING_BYTES,
    BadWord,
    Configure,
    Drain,
    FromWorker,
    Kept,
    Ready,
    ToWorker,
    read_to_worker,
    write_word,
)

TICK_S: Final = 0.02
LOAD_S: Final = 1.0
SHED_CPU: Final = 0.85
"""Above this share of a core large pictures and new people are refused, until it is below the next."""
CALM_CPU: Final = 0.7
QUIET_CPU: Final = 0.25
"""Below this share of a core there is time to give back what those needed who have left."""
GONE_PEERS: Final = 16
"""It is done when so many have: each left some 50 kB that the allocators keep in pieces."""
DRAINED_S: Final = 60.0
"""A worker that drains ends after this, whoever is still there."""
OOM_SCORE: Final = 800
"""Above what deploy/systemd gives the service that started it."""

_log = get_logger("leeside.video")


class Hung(Exception):
    """The supervisor takes no words any more."""


class Worker:
    """The process around a `Bridge`: words, time and load."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Before it is configured: from then on the people of a worker that died wait for its first word.
        self._fast = fastways.load()
        self._reader = reader
        self._writer = writer
        self._group = asyncio.TaskGroup()
        self._drained = asyncio.Event()
        self._lag_s = 0.0
        self._cpu = 0.0
        self._given_back = 0
        """How many transports had ended when memory was given back last."""

    async def run(self) -> None:
        """Serve until the supervisor is gone or says to stop. Raises `BadWord`, `Hung`, `OSError` (no port)."""
        settings = await read_to_worker(self._reader)
        if settings is None:
            return
        if not isinstance(settings, Configure):
            raise BadWord("the first word configures")
        loop = asyncio.get_running_loop()
        async with self._group:
            # Not the loop's own time: that counts milliseconds, and what a link carries is told by parts of them.
            bridge = Bridge(
                settings, self._say, self._spawn, loop.call_later, time.monotonic, _wall_ms, self._fast
            )
            bridge.port.open(settings.hosts, settings.port)
            try:
                bridge.port.listen(loop)
                self._say(Ready(bridge.port.number))
                work = [self._tick(bridge), self._load(bridge)]
                rest = [self._group.create_task(each) for each in work]
                await self._until_done(bridge)
                for task in rest:
                    task.cancel()
                await bridge.close()
            finally:
                bridge.port.close()

    async def _until_done(self, bridge: Bridge) -> None:
        """Until the supervisor is gone, or everybody who was here is elsewhere."""
        hearing = asyncio.ensure_future(self._hear(bridge))
        drained = asyncio.ensure_future(self._drained.wait())
        try:
            await asyncio.wait((hearing, drained), return_when=asyncio.FIRST_COMPLETED)
        finally:
            drained.cancel()
            hearing.cancel()
        if hearing.done():
            hearing.result()

    def _say(self, word: FromWorker) -> None:
        if self._writer.transport.get_write_buffer_size() > WAITING_BYTES:
            raise Hung
        self._writer.write(write_word(word))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(_guarded(work))

    async def _hear(self, bridge: Bridge) -> None:
        while (word := await read_to_worker(self._reader)) is not None:
            if isinstance(word, Drain):
                asyncio.get_running_loop().call_later(DRAINED_S, self._drained.set)
            try:
                _take(bridge, word)
            except BadWord:
                raise
            except Exception:  # noqa: BLE001 - a word that breaks something of ours costs that word
                bridge.counts.faulty += 1
                _log.error("word_failed", exc_info=True)

    async def _tick(self, bridge: Bridge) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s = max(due_s + TICK_S, loop.time() - TICK_S)
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self._lag_s = max(self._lag_s, loop.time() - due_s)
            for _ in bridge.turns():
                # All rooms at once would hold up packets for some milliseconds.
                await asyncio.sleep(0)
            if bridge.draining and not bridge.peers:
                self._drained.set()

    async def _load(self, bridge: Bridge) -> None:
        before_s, used_s = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(LOAD_S)
            now_s, spent_s = time.monotonic(), time.process_time()
            self._cpu = (spent_s - used_s) / (now_s - before_s)
            before_s, used_s = now_s, spent_s
            bridge.shedding = self._cpu > (CALM_CPU if bridge.shedding else SHED_CPU)
            ended = bridge.counts.joins - bridge.peers
            if ended - self._given_back >= GONE_PEERS and self._cpu < QUIET_CPU:
                self._given_back = ended
                give_back()
            lag_ms, self._lag_s = round(1000 * self._lag_s), 0.0
            self._say(bridge.load(self._cpu, lag_ms))


def _take(bridge: Bridge, word: ToWorker) -> None:
    match word:
        case Spoken():
            bridge.spoken(word)
        case Expelled():
            bridge.expelled(word)
        case Closed():
            bridge.closed(word)
        case Kept():
            bridge.remember(word)
        case Drain():
            bridge.drain()
        case Configure():
            raise BadWord("a worker is configured once")
        case _:
            assert_never(word)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """One peer's fault ends one peer's task."""
    try:
        await work
    except Exception:  # noqa: BLE001
        _log.error("peer_failed", exc_info=True)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def serve(descriptor: int) -> None:
    """Run a worker on this end of the pair."""
    pair = socket.socket(fileno=descriptor)
    pair.setblocking(False)  # noqa: FBT003
    reader, writer = await asyncio.open_connection(sock=pair)
    try:
        await Worker(reader, writer).run()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def goes_first() -> None:
    """When memory ends the kernel takes a worker, which is replaced, and not the relay that may have started it."""
    # Not every system has it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def give_back() -> None:
    """Let the system have the memory of what is not used any more. Some milliseconds in which no packet is read."""
    gc.collect()
    # Of glibc: where it is not, the allocator has ways of its own.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main() -> int:
    """The process. Returns its exit code."""
    set_up("info", "json")
    # Whatever the server's own terminal sends is for the server: it tells its workers what to do.
    os.setsid()
    goes_first()
    gc.freeze()
    failed = False
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(int(sys.argv[1])))
    except* (BadWord, Hung, OSError):
        _log.error("worker_failed", exc_info=True)
        failed = True
    return int(failed)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
