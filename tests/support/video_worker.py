"""A worker of the video bridge in a process of its own, and people in its rooms: for hostile peers, faults and TURN.

    async with video_worker() as worker:
        room = worker.room()
        ana, ben = await worker.join(room), await worker.join(room)
        ana.peer.sound()                       # LightPeer
        await until(lambda: ben.peer.sounds)
        worker.memory_bytes(), worker.files(), worker.counts.strange

We speak the supervisor's words over the same socket pair that it would use.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from leeside_protocol.ids import DeviceId
from leeside_protocol.video.signalling import (
    Answer,
    BridgeSignal,
    ClientSignal,
    Join,
    Leave,
    Offer,
    Part,
    decode_bridge_signal,
    encode_signal,
)
from leeside_server.core.video import ADMITS, NEVER_RESTRICTED, Spoken, Ticket
from leeside_server.video.metrics import Counts
from leeside_server.video.words import (
    Configure,
    FromWorker,
    Load,
    Ready,
    Told,
    ToWorker,
    read_from_worker,
    write_word,
)
from tests.support.light_peer import LightPeer
from tests.support.patience import PATIENCE_S
from tests.support.services import HOST

SIGNAL_S: Final = PATIENCE_S
STOP_S: Final = PATIENCE_S
_Signal = TypeVar("_Signal", bound=BridgeSignal)
NODE: Final = b"a-node.."
TICKET_MS: Final = 3_600_000


async def until(holds: Callable[[], object], within_s: float = SIGNAL_S) -> None:
    """Wait until it holds. Raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - it becomes so in another process
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Seat:
    """Somebody's place in a room: what they say goes to the worker, what it says to them is `heard`."""

    worker: VideoWorker
    room: bytes
    device: DeviceId
    part: Part
    peer: LightPeer
    generation: int = 1
    heard: list[BridgeSignal] = field(default_factory=list[BridgeSignal])

    def say(self, signal: ClientSignal) -> None:
        """Speak as this device."""
        self.say_bytes(encode_signal(signal))

    def say_bytes(self, body: bytes) -> None:
        """Speak as this device, in bytes that may be anything."""
        until_ms = time.time_ns() // 1_000_000 + TICKET_MS
        admits, team = self.part in ADMITS, self.part in NEVER_RESTRICTED
        ticket = Ticket(self.room, self.device, self.part, admits, team, NODE, until_ms)
        self.worker.write(Spoken(1, ticket, body))

    async def next(self, kind: type[_Signal]) -> _Signal:
        """The next signal of this kind that the worker says to it; those before it are passed over."""
        async with asyncio.timeout(SIGNAL_S):
            while True:
                for number, signal in enumerate(self.heard):
                    if isinstance(signal, kind):
                        del self.heard[: number + 1]
                        return signal
                await asyncio.sleep(0.005)

    async def connect(self) -> None:
        """Answer the offer and let media flow."""
        offer = await self.next(Offer)
        self.say(Answer(self.generation, offer.version, self.peer.answer(offer.sdp)))
        await self.peer.connect()

    async def leave(self) -> None:
        """Go, and say so."""
        self.say(Leave(self.generation))
        await self.peer.close()


class VideoWorker:
    """The process. `counts`, `load`: what it said about itself last, at most a second ago."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.load: Load | None = None
        self.port = 0
        self.told: list[FromWorker] = []
        """What concerns the supervisor alone."""
        self.seats: dict[DeviceId, Seat] = {}
        self._reader = reader
        self._writer = writer

    @property
    def counts(self) -> Counts:
        return self.load.counts if self.load is not None else Counts()

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    @staticmethod
    def room() -> bytes:
        """A room that nobody is in yet."""
        return secrets.token_bytes(16)

    def write(self, word: ToWorker) -> None:
        """A word of the supervisor."""
        self._writer.write(write_word(word))

    def write_bytes(self, data: bytes) -> None:
        """Bytes in place of a word."""
        self._writer.write(data)

    def seat(self, room: bytes, part: Part = Part.RESPONDER, *, peer: LightPeer | None = None) -> Seat:
        """Somebody who has not joined yet."""
        device = DeviceId(secrets.token_bytes(16))
        seat = self.seats[device] = Seat(self, room, device, part, peer or LightPeer(host=HOST))
        return seat

    async def join(self, room: bytes, part: Part = Part.RESPONDER, *, peer: LightPeer | None = None) -> Seat:
        """Somebody who is in the room, with media."""
        seat = self.seat(room, part, peer=peer)
        seat.say(Join(seat.generation))
        await seat.connect()
        return seat

    async def counted(self) -> Counts:
        """Its counts as they are after this moment."""
        # What it says next may have been counted before this moment, and what follows that was not.
        for _ in range(2):
            await self._newer_than(self.load)
        return self.counts

    async def _newer_than(self, before: Load | None) -> None:
        await until(lambda: self.load is not before)

    def memory_bytes(self) -> int:
        """What it holds in memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """How many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    async def hear(self) -> None:
        """Take what it says, until it is gone."""
        while (word := await read_from_worker(self._reader)) is not None:
            match word:
                case Load():
                    self.load = word
                case Ready():
                    self.port = word.port
                case Told():
                    seat = self.seats.get(word.heard.device)
                    if seat is not None:
                        seat.heard.append(decode_bridge_signal(word.heard.body))
                case _:
                    self.told.append(word)

    async def end(self) -> None:
        """Let everybody go and the process end."""
        for seat in self.seats.values():
            with contextlib.suppress(OSError):
                await seat.peer.close()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        try:
            await asyncio.to_thread(self.process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@asynccontextmanager
async def video_worker(hosts: tuple[str, ...] = (HOST,), *, peers: int = 96) -> AsyncGenerator[VideoWorker]:
    """A worker for as long as the block runs."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = subprocess.Popen(  # noqa: ASYNC220 - a moment, and nothing else runs yet
        [sys.executable, "-m", "leeside_server.video.worker", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
    )
    theirs.close()
    reader, writer = await asyncio.open_connection(sock=ours)
    worker = VideoWorker(process, reader, writer)
    hearing = asyncio.ensure_future(worker.hear())
    try:
        worker.write(Configure(hosts, 0, peers=peers))
        await until(lambda: worker.port)
        yield worker
    finally:
        await worker.end()
        hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hearing
