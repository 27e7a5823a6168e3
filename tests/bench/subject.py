"""Our server as a contender: `leeside-server serve` as it is shipped, with an agency and sealed messages made beforehand.

Each roster holds 200 devices at most, so a device has many sockets, as one person with many browser tabs.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leeside_protocol.codec import encode
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.messages import Publish
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.frames import SID_BYTES, FrameSender
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.words import Lane, Urgency
from tests.bench.dial import BEAT, LeesideOpening, dial
from tests.bench.programs import mark
from tests.faults.agency import Device, now_ms
from tests.faults.node import Node
from tests.faults.wire import masked
from tests.faults.world import Entropy, Room, World, open_world

ACK_BASE: Final = 0x10000
"""Requests are numbered from here, so that the load finds each answer by its five-byte integer."""
TEXT_CHARS: Final = 40


@dataclass(slots=True)
class Leeside:
    """A running node with its agency; see `Contender`. `follows`: how many rooms a reader follows."""

    name: str
    node: Node
    world: World
    note: str = ""
    beat: bytes = BEAT
    follows: int = 1
    _tokens: dict[bytes, str] = field(default_factory=dict[bytes, str])
    _turn: int = 0
    _heads: dict[ChannelAddress, tuple[int, int]] = field(
        default_factory=dict[ChannelAddress, tuple[int, int]]
    )
    _entropy: Entropy = field(default_factory=Entropy)

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def pid(self) -> int:
        return self.node.pid

    async def renewed(self) -> None:
        for device in self.world.devices:
            self._tokens[device.id] = await device.session.token()

    def catch_up(self) -> None:
        """Readers that open from now on begin where the logs end now."""
        probe = self.opening(self.world.devices[0], self.world.rooms)
        dial(self.port, [probe]).close()
        self._heads.update(probe.positions)

    def reader(self) -> LeesideOpening:
        """Takes the next device and follows its next rooms."""
        self._turn += 1
        room = self.world.rooms[self._turn % len(self.world.rooms)]
        device = room.devices[self._turn // len(self.world.rooms) % len(room.devices)]
        rooms = self.world.rooms_of(device)[: self.follows] if self.follows > 1 else (room,)
        return self.opening(device, rooms)

    def publisher(self) -> LeesideOpening:
        """A connection of the device whose messages `frames` makes; it follows nothing."""
        return self.opening(self.world.devices[0], ())

    def opening(self, device: Device, rooms: tuple[Room, ...]) -> LeesideOpening:
        """A connection of that device."""
        return LeesideOpening(
            self._tokens[device.id],
            device.keys.identity.sign_raw,
            [(room.address, *self._heads.get(room.address, (0, 0))) for room in rooms],
        )

    def frames(self, first: int, count: int) -> list[bytes]:
        return sealed_frames(self.world.rooms[0], self.world.devices[0], first, count, self._entropy)


def sealed_frames(room: Room, device: Device, first: int, count: int, entropy: Entropy) -> list[bytes]:
    """Frames of chat, sealed as a client seals them, with the mark in the message id."""
    sender = FrameSender(
        device.keys.identity,
        device.id,
        room.commit,
        room.secrets,
        key_class=DURABLE,
        sid=entropy.bytes(SID_BYTES),
    )
    made: list[bytes] = []
    text = "x" * TEXT_CHARS
    for number in range(first, first + count):
        message = MessageId(mark(number) + b"\0\0")
        sealed = sender.seal(
            Body("text", now_ms(), message, LogHead(), [int(Urgency.ROUTINE), text, 0, None])
        )
        made.append(masked(encode(Publish(ACK_BASE + number, room.address, Lane.LOG, b"", message, sealed))))
    return made


@asynccontextmanager
async def leeside_running(
    folder: Path, *, devices: int, rooms: int = 1, follows: int = 1, grouped: bool = True
) -> AsyncGenerator[Leeside]:
    """A node and an agency of so many devices, all of them in each room; gone with the block."""
    ungrouped = (sys.executable, str(Path(__file__).with_name("serve_ungrouped.py")))
    name = "Leeside" if grouped else "one commit for each message"
    place = folder / ("leeside" if grouped else "ungrouped")
    node = Node(place / "node", place / "data")
    if not grouped:
        node.program = ungrouped
    try:
        await node.start()
        async with open_world(node, devices, [range(devices)] * rooms) as world:
            ours = Leeside(name, node, world, follows=follows)
            await ours.renewed()
            yield ours
    finally:
        await node.kill()
