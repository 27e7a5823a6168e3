"""A small agency on a running server, made through its HTTP routes alone: devices, channels, and senders for them.

    world = await make_world(node, devices=40, rooms=[range(0, 10), range(10, 20)])
    sealed = seal(world.rooms[0], world.devices[3], count=100)

The first device is a supervisor's: it opens every room, so it sits in each of them. The others are responders'. Nothing
is kept on disk. Bodies are sealed beforehand, so that a run measures the server and not the sealing.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from leeside.api import Api
from leeside_protocol import resources as r
from leeside_protocol.codec import encode
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelKind,
    DeviceId,
    MessageId,
    UnitId,
    address,
)
from leeside_protocol.messages import Publish
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.boxes import open_box
from leeside_protocol.sealing.opening.committer import Committer, Genesis, MadeCommit, seats_of
from leeside_protocol.sealing.opening.frames import SID_BYTES, FrameSender
from leeside_protocol.sealing.opening.schedule import ClassSecrets
from leeside_protocol.sealing.public.commit import Commit, Policy
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import Value
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.words import ChannelPurpose, Lane, Role, Urgency
from tests.faults.agency import Agency, Device, found_agency, now_ms
from tests.faults.node import Node
from tests.faults.wire import masked

ROSTER: Final = 200
DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True, repr=False)
class Room:
    """A channel, who is in it, and what its members seal with."""

    address: ChannelAddress
    commit: Commit
    secrets: ClassSecrets
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A message ready to go: the same bytes each time it is sent."""

    req: int
    channel: ChannelAddress
    device: DeviceId
    id: MessageId
    digest: bytes
    frame: bytes


@dataclass(frozen=True, slots=True, repr=False)
class World:
    """The agency as the load knows it."""

    agency: AgencyId
    directory: Directory
    devices: tuple[Device, ...]
    rooms: tuple[Room, ...]

    def rooms_of(self, device: Device) -> tuple[Room, ...]:
        return tuple(room for room in self.rooms if any(d is device for d in room.devices))


def digest_of(payload: bytes) -> bytes:
    """How a payload stands in a history."""
    return hashlib.sha256(payload).digest()[:DIGEST_BYTES]


class Entropy:
    """Enough randomness for message ids and senders, without a system call for each."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed if seed is not None else secrets.randbits(64))

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def text(self, least: int, most: int) -> str:
        return self._random.randbytes(self._random.randint(least, most) // 2).hex()


@asynccontextmanager
async def open_world(node: Node, devices: int, rooms: Sequence[Sequence[int]]) -> AsyncGenerator[World]:
    """Make an agency on the node; its sessions go on working inside the block, against this node."""
    async with Api(node.url) as api:
        yield await _make(api, node, devices, rooms)


async def _make(api: Api, node: Node, devices: int, rooms: Sequence[Sequence[int]]) -> World:
    agency = await found_agency(api, node)
    async with agency.office as office:
        supervisor = await office.create_member(r.NewMember((Role.SUPERVISOR,)))
        responder = await office.create_member(r.NewMember((Role.RESPONDER,)))
        people = await agency.enrol(
            [(supervisor, Role.SUPERVISOR), *[(responder, Role.RESPONDER)] * (devices - 1)]
        )
        opened: list[Room] = []
        async with Api(node.url, people[0].session) as desk:
            for members in rooms:
                unit = await office.create_unit(r.NewUnit())
                seated = (people[0], *(people[i] for i in members if i != 0))
                opened.append(await open_room(desk, agency, UnitId(bytes.fromhex(unit.id)), seated))
    return World(agency.directory.agency_id, agency.directory, people, tuple(opened))


async def open_room(desk: Api, agency: Agency, unit: UnitId, seated: tuple[Device, ...]) -> Room:
    """A unit's channel with these devices in it; the first one opens it, with its session in `desk`."""
    opener, directory = seated[0], agency.directory
    directories = {directory.agency_id: directory}
    committer = Committer(opener.keys, directories, agency.book, os.urandom)
    seats = seats_of(directories, directory.agency_id, [device.id for device in seated])
    made = committer.create(Genesis(seats, Policy((directory.agency_id,))), now_ms=now_ms())
    await desk.create_channel(r.ChannelPost(ChannelPurpose.UNIT, unit, commit_post(made)))
    commit = made.commit
    box, entry = made.box_for(opener.id), commit.entry(opener.id)
    assert box is not None
    assert entry is not None
    secret = open_box(commit, box, opener.keys.held(entry.kid), class_mask=entry.class_mask, whole=True)
    return Room(address(ChannelKind.CONTENT, commit.channel_id), commit, secret.classes, seated)


def commit_post(made: MadeCommit) -> r.CommitPost:
    """A commit as it goes to the server."""
    signed = made.commit.signed
    boxes = tuple(r.Box(box.recipient, box.kid, box.suite, box.sealed) for box in made.boxes)
    return r.CommitPost(
        r.SignedObject(signed.payload, signed.signer, signed.signature), boxes, made.box_list.signature
    )


def seal(
    room: Room,
    device: Device,
    count: int,
    *,
    first_req: int = 1,
    chars: tuple[int, int] = (20, 200),
    filler_bytes: int = 0,
    key: bytes = b"",
    lane: Lane = Lane.LOG,
    entropy: Entropy | None = None,
) -> list[Sealed]:
    """Messages of this device, sealed and framed: real frames of chat.

    With `filler_bytes` the body carries that much besides, for runs that need volume. The `stream` lane takes the
    ephemeral class; `key` names the value in `state` and `stream`.
    """
    source = entropy or Entropy()
    key_class = EPHEMERAL if lane is Lane.STREAM else DURABLE
    sender = FrameSender(
        device.keys.identity,
        device.id,
        room.commit,
        room.secrets,
        key_class=key_class,
        sid=source.bytes(SID_BYTES),
    )
    made: list[Sealed] = []
    for number in range(count):
        message = MessageId(source.bytes(16))
        seen = None if lane is Lane.STREAM else LogHead()
        # A `text` body; receivers ignore elements behind the known ones, so filler changes nothing but the size.
        data: list[Value] = [int(Urgency.ROUTINE), source.text(*chars), 0, None]
        if filler_bytes:
            data.append(source.bytes(filler_bytes))
        payload = sender.seal(Body("text", now_ms(), message, seen, data))
        req = first_req + number
        publish = Publish(req, room.address, lane, key, message, payload)
        made.append(
            Sealed(req, room.address, device.id, message, digest_of(payload), masked(encode(publish)))
        )
    return made
