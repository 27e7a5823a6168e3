"""A live conversation in a process of its own: how late are live messages while something else goes on?

Measured apart, so that a load process that is busy with itself does not count as a slow server. `Probe` starts it with
sealed messages; inside the process (`python -m tests.faults.probe`) one device publishes them at a steady pace and
another one waits for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.ids import ChannelAddress
from leeside_protocol.messages import Accepted, Batch, Challenge, Hello, Subscribe, Subscribed, Welcome
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from tests.faults.agency import Device
from tests.faults.load import LoadFailed
from tests.faults.machine import load_cores, pin
from tests.faults.node import Node
from tests.faults.wire import Wire, connect, masked
from tests.faults.world import Room, Sealed
from tests.support.services import HOST

PACE_S: Final = 0.02
READY_S: Final = 30.0
LAST_S: Final = 15.0
"""How long the last messages may take before they count as not delivered."""


class Person(msgspec.Struct, frozen=True):
    """One end of the conversation."""

    seed: bytes
    token: str


class Order(msgspec.Struct, frozen=True):
    """What the process is told on standard input. `offset`: where the log stood when the messages were sealed."""

    port: int
    channel: bytes
    sender: Person
    reader: Person
    messages: tuple[tuple[bytes, bytes], ...]
    """Message id and whole frame."""


class Report(msgspec.Struct, frozen=True):
    """What it says on standard output, once its input has ended: for each message sent, when (monotonic seconds), and
    how much later it was acknowledged and shown; a negative time means never."""

    sent: tuple[tuple[float, float, float], ...]


@dataclass(slots=True)
class Probe:
    """The running process."""

    process: asyncio.subprocess.Process
    _report: Report | None = None

    async def report(self) -> Report:
        """End the conversation; what it measured. Raises `LoadFailed` when it died."""
        if self._report is None:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.close()
            try:
                async with asyncio.timeout(READY_S + LAST_S):
                    data = await self.process.stdout.read()
                self._report = msgspec.msgpack.decode(data, type=Report)
            except (TimeoutError, msgspec.MsgspecError):
                raise LoadFailed("the live conversation gave no report") from None
        return self._report


@asynccontextmanager
async def conversation(
    node: Node, room: Room, sender: Device, reader: Device, messages: Sequence[Sealed]
) -> AsyncGenerator[Probe]:
    """Talk in a room for as long as the block runs, or as there are messages."""
    order = Order(
        node.port,
        room.address,
        Person(sender.keys.identity.seed, await sender.session.token()),
        Person(reader.keys.identity.seed, await reader.session.token()),
        tuple((sealed.id, sealed.frame) for sealed in messages),
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.probe",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        data = msgspec.msgpack.encode(order)
        process.stdin.write(len(data).to_bytes(4, "big") + data)
        await process.stdin.drain()
        async with asyncio.timeout(READY_S):
            if await process.stdout.readline() != b"talking\n":
                raise LoadFailed("the live conversation did not begin")
        yield Probe(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# ---- inside the process


@dataclass(slots=True)
class _End:
    """One connection, signed in."""

    person: Person
    channel: ChannelAddress
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    accepted_s: list[float] = field(default_factory=list[float])
    shown_s: dict[bytes, float] = field(default_factory=dict[bytes, float])
    follow: bool = False
    wire: Wire | None = None

    async def open(self, port: int) -> Wire:
        self.wire = Wire(self.on_message)
        await connect(self.wire, HOST, port, READY_S)
        await self.ready.wait()
        return self.wire

    def on_message(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        match decode_server(data):
            case Challenge(nonce=nonce):
                key = SigningKey(self.person.seed)
                proof = key.sign_raw(pae(PREFIX + b"socket", nonce, self.person.token.encode()))
                self._write(encode(Hello(self.person.token, proof, "probe")))
            case Welcome():
                if self.follow:
                    self._write(encode(Subscribe(1, self.channel)))
                else:
                    self.ready.set()
            case Subscribed():
                self.ready.set()
            case Batch(entries=entries):
                for entry in entries:
                    self.shown_s.setdefault(entry.id, now_s)
            case Accepted():
                self.accepted_s.append(now_s)
            case _:
                pass

    def _write(self, payload: bytes) -> None:
        assert self.wire is not None
        self.wire.write(masked(payload))


async def _talk() -> Report:
    loop = asyncio.get_running_loop()
    source = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin)
    size = int.from_bytes(await source.readexactly(4), "big")
    order = msgspec.msgpack.decode(await source.readexactly(size), type=Order)
    channel = ChannelAddress(order.channel)
    sender, reader = _End(order.sender, channel), _End(order.reader, channel, follow=True)
    wire = await sender.open(order.port)
    await reader.open(order.port)
    print("talking", flush=True)
    sent: list[tuple[bytes, float]] = []
    ended = asyncio.ensure_future(source.read())
    for message, frame in order.messages:
        sent.append((message, loop.time()))
        wire.write(frame)
        await asyncio.wait((ended,), timeout=PACE_S)
        if ended.done():
            break
    await ended
    deadline_s = loop.time() + LAST_S
    while len(sender.accepted_s) < len(sent) or len(reader.shown_s) < len(sent):
        if loop.time() > deadline_s:
            break
        await asyncio.sleep(0.01)
    # Answers come in the order of requests: one connection, one channel.
    accepted = [*sender.accepted_s, *([-1.0] * (len(sent) - len(sender.accepted_s)))]
    return Report(
        tuple(
            (at_s, ack_s - at_s if ack_s >= 0 else -1.0, reader.shown_s.get(message, at_s - 1.0) - at_s)
            for (message, at_s), ack_s in zip(sent, accepted, strict=False)
        )
    )


def main() -> None:
    """The process: ahead of the load on its core, so that it measures the server."""
    pin(load_cores())
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    report = asyncio.run(_talk())
    sys.stdout.buffer.write(msgspec.msgpack.encode(report))


if __name__ == "__main__":
    main()
