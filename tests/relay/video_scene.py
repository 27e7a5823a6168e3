"""Calls for tests of the node: a worker played by the test, and an accepted consult with the phones of who has to do with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec

from leeside_protocol.ids import AgencyId, ConsultId, DeviceId, IncidentId
from leeside_protocol.messages import Refused, Video
from leeside_protocol.video.signalling import (
    ClientSignal,
    encode_signal,
)
from leeside_protocol.words import ConsultState, Role, Urgency
from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.guests import GuestRow
from leeside_server.core.identity import MemberRow
from leeside_server.core.rows import change, create
from leeside_server.core.video import AnyWord, Closed, Expelled, Heard, Spoken, WordSeal
from leeside_server.ports import Workplace
from leeside_server.relay.node import Node
from leeside_server.relay.reading import find
from leeside_server.relay.settings import RelaySettings, TurnSettings
from tests.relay.world import DEADLINE_S, SECRET, Client, Phone, Room, World, joined, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(bytes([9]) * 16)
WORKER = b"worker-1"
TURN_SECRET = "t" * 40
OFFER = b"what the bridge says is not looked at on its way"


class Worker:
    """A worker of the bridge, played by the test: what it heard, and what it says."""

    def __init__(self, world_: World, bridges: MemoryBridges, name: bytes = WORKER) -> None:
        self.world = world_
        self.bridges = bridges
        self.name = name
        self.seal = WordSeal(SECRET, os.urandom)
        self.heard: list[AnyWord] = []
        self._came = asyncio.Event()

    async def start(self, load: float = 0.0) -> Worker:
        await self.bridges.listen(self.name, self._hear)
        await self.bridges.announce(Workplace(self.name, load=load))
        return self

    def _hear(self, data: bytes) -> None:
        word = self.seal.open(self.name, data, self.world.clock.now_ms())
        assert word is not None
        self.heard.append(word)
        self._came.set()

    async def until(self, holds: Callable[[list[AnyWord]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds(self.heard):
                self._came.clear()
                await self._came.wait()

    async def spoken(self, count: int) -> Spoken:
        """The newest of the signals, once there are so many."""
        await self.until(lambda heard: sum(isinstance(word, Spoken) for word in heard) >= count)
        return [word for word in self.heard if isinstance(word, Spoken)][-1]

    def gone(self) -> list[Expelled | Closed]:
        return [word for word in self.heard if isinstance(word, Expelled | Closed)]

    async def says(self, heard: Spoken, body: bytes = OFFER, epoch: int | None = None) -> None:
        """To whoever said this."""
        ticket = heard.ticket
        word = Heard(heard.epoch if epoch is None else epoch, ticket.room, DeviceId(ticket.device), body)
        await self.bridges.say(ticket.node, self.seal.seal(ticket.node, word, self.world.clock.now_ms()))


class Scene:
    """An accepted consult with its channel, and the phones of who has to do with it."""

    def __init__(self, world_: World, bridges: MemoryBridges) -> None:
        self.world = world_
        self.bridges = bridges
        self.node = world_.node
        self.consult = ConsultId(os.urandom(16))
        self.worker: Worker
        self.asker: Phone
        self.doctor: Phone
        self.chief: Phone
        self.stranger: Phone
        self.room: Room

    async def build(self) -> None:
        self.asker = await self._member(Role.RESPONDER)
        self.doctor = await self._member(Role.PSYCHIATRIST)
        self.chief = await self._member(Role.SUPERVISOR)
        self.stranger = await self._member(Role.DISPATCHER)
        self.room = await self.world.room(self.asker, self.doctor, self.chief)
        row = ConsultRow(
            incident=IncidentId(bytes(16)), unit=None, member=self.asker.member, device=self.asker.id,
            urgency=Urgency.ROUTINE, language="", interpreter=False, specialty="", channel=self.room.id, ladder=None,
            steps=(), phones=(), requested_ms=0, asked_steady_ms=0, state=ConsultState.ACCEPTED,
            accepted_by=self.doctor.member,
        )  # fmt: skip
        await self.world.write(AGENCY, create(self.consult, row))
        self.worker = await Worker(self.world, self.bridges).start()

    async def _member(self, role: Role) -> Phone:
        phone = await self.world.phone(AGENCY, role)
        await self.world.write(AGENCY, create(phone.member, MemberRow((role,), 0)))
        return phone

    async def guest(self, role: Role = Role.INTERPRETER) -> Phone:
        """A guest of this consult who is in the channel."""
        phone = await self.world.phone(AGENCY, role)
        now_ms = self.world.clock.now_ms()
        row = GuestRow(
            self.consult, self.room.id, role, self.asker.id, now_ms, now_ms, now_ms + 3_600_000, device=bytes(phone.id)
        )  # fmt: skip
        await self.world.write(AGENCY, create(phone.member, row))
        self.room.members[phone.id] = 0b1110
        await self.world.commit(self.room)
        return phone

    async def to_state(self, state: ConsultState, node: Node | None = None, **changes: object) -> None:
        held = await find(self.node.store, AGENCY, ConsultRow, self.consult)
        assert held is not None
        row = msgspec.structs.replace(held.row, state=state, **changes)
        await self.world.write(AGENCY, change(held, row), node=node)

    async def end_guest(self, phone: Phone, node: Node | None = None) -> None:
        held = await find(self.node.store, AGENCY, GuestRow, phone.member)
        assert held is not None
        row = msgspec.structs.replace(held.row, ended_ms=self.world.clock.now_ms())
        await self.world.write(AGENCY, change(held, row), node=node)

    @contextlib.asynccontextmanager
    async def socket(self, *phones: Phone, node: Node | None = None) -> AsyncGenerator[list[Client]]:
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(serving(self.world, node))
            yield [
                await stack.enter_async_context(joined(self.world, port, phone, node=node))
                for phone in phones
            ]

    async def says(self, client: Client, signal: ClientSignal, consult: ConsultId | None = None) -> int:
        req = client.req()
        await client.send(Video(req, consult or self.consult, encode_signal(signal)))
        return req

    async def refused(
        self, client: Client, signal: ClientSignal, consult: ConsultId | None = None
    ) -> Refused:
        req = await self.says(client, signal, consult)
        refused = await client.expect(Refused)
        assert refused.req == req
        return refused


@contextlib.asynccontextmanager
async def scened(folder: Path, nodes: int = 1, turn: TurnSettings | None = None) -> AsyncGenerator[Scene]:
    made: list[MemoryBridges] = []

    def bridges(clock: FakeClock) -> MemoryBridges:
        made.append(MemoryBridges(clock))
        return made[0]

    async with world(folder, nodes=nodes, bridges=bridges, settings=RelaySettings(turn=turn)) as world_:
        scene = Scene(world_, made[0])
        await scene.build()
        yield scene
