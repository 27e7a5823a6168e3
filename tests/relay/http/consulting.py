"""Consults for the tests of HTTP: people on call who are connected, requests with sealed channels, what their inboxes hold.

Time is the city's: the store's clock follows it, so that a step of the ladder takes as long as a test says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import (
    ChannelKind,
    ConsultId,
    DeviceId,
    LadderId,
    MemberId,
    MessageId,
    RotaId,
    address,
)
from leeside_protocol.limits import NODE_BEAT_S
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.committer import MadeCommit, channel_for
from leeside_protocol.words import ChannelPurpose, ConsultActionKind, Role
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.ladder import LadderRow, StepRow
from leeside_server.core.notices import Notice
from leeside_server.core.paging import PageRow
from leeside_server.core.rota import RotaRow
from leeside_server.core.rows import KINDS, Held, Row, create, read
from leeside_server.core.writes import Item, Stored
from leeside_server.relay.worlds import EXPECTED_S
from tests.relay.http.world import Agency, City, Person, Room, channel_post

ELSEWHERE: Final = "another node"


@dataclass
class Asked:
    """A request, and the channel as its requester has it."""

    id: ConsultId
    post: o.ConsultPost
    made: MadeCommit

    @property
    def channel(self) -> str:
        return self.made.commit.channel_id.hex()


@dataclass
class Scene:
    """An agency with people on call. Whoever is in `there` has a socket on another node."""

    agency: Agency
    there: set[DeviceId] = field(default_factory=set[DeviceId])

    @property
    def city(self) -> City:
        return self.agency.city

    async def arrive(self, *people: Person) -> None:
        self.there.update(person.id for person in people)
        await self.report()

    async def leave(self, *people: Person) -> None:
        """Their sockets are lost, for so long that nobody expects them back."""
        self.there.difference_update(person.id for person in people)
        await self.pass_time(EXPECTED_S + 1)

    async def report(self) -> None:
        devices = [(self.agency.id, device) for device in self.there]
        await self.city.node.presence.renew(ELSEWHERE, devices, self.city.clock.now_ms())
        await self.city.node.presence.renew(self.city.node.id.hex(), (), self.city.clock.now_ms())

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in steps that no lease outlasts; the clock ticks each active consult after each."""
        while seconds > 0:
            step_s = min(seconds, NODE_BEAT_S)
            self.city.clock.advance(step_s)
            seconds -= step_s
            await self.report()
            await self.tick()

    async def tick(self) -> None:
        """What the clockwork does with what is due."""
        node = self.city.node
        now_ms = await node.steady.now_ms()
        await node.consults.carry_out(now_ms)
        await node.consults.look(now_ms)

    # ---- rows

    async def keep(self, key: bytes, row: Row) -> None:
        item = Item(self.agency.id, self.city.clock.now_ms(), (create(key, row),))
        (outcome,) = await self.city.node.write([item])
        assert isinstance(outcome, Stored)

    async def ladder(self, *steps: StepRow) -> LadderId:
        key = LadderId(os.urandom(16))
        await self.keep(key, LadderRow("by day", self.city.clock.now_ms(), steps))
        return key

    async def empty_rota(self) -> RotaId:
        key = RotaId(os.urandom(16))
        await self.keep(key, RotaRow("nobody", self.city.clock.now_ms()))
        return key

    async def circle_of_rotas(self) -> RotaId:
        """Two that stand in for each other, and hold nobody: no request makes this, a row may say it all the same."""
        first, second = RotaId(os.urandom(16)), RotaId(os.urandom(16))
        for key, other in ((first, second), (second, first)):
            await self.keep(key, RotaRow("circle", self.city.clock.now_ms(), fallback=other))
        return first

    async def row(self, consult: ConsultId) -> ConsultRow:
        found = await self.city.node.store.get(self.agency.id, KINDS[ConsultRow], consult)
        assert found is not None
        return read(ConsultRow, found).row

    async def pages(self, consult: ConsultId) -> list[Held[PageRow]]:
        found = await self.city.node.store.objects(self.agency.id, KINDS[PageRow], consult, b"", 500)
        return [read(PageRow, item) for item in found]

    # ---- what people do

    def ask(
        self,
        by: Person,
        *others: Person,
        incident: bytes = b"",
        unit: bytes = b"",
        urgency: int = 1,
        ladder: bytes = b"",
        change: Callable[[o.ConsultPost], o.ConsultPost] = lambda post: post,
    ) -> Asked:
        """A request by the first of these people, sealed for all of them; not yet posted."""
        consult = ConsultId(os.urandom(16))
        subject = incident or consult
        made = self.agency.genesis(by, *others, incident=subject)
        message, now_ms = MessageId(os.urandom(16)), self.city.clock.now_ms()
        room = Room(self.agency, by, channel_for(made, by.id))
        room.take(made)
        directories = {self.agency.id: self.agency.directory}
        body = Body("consult", now_ms, message, None, [consult, urgency, "he hears voices", []])
        frame = room.sealed.seal(body, by.keys, directories, now_ms=now_ms, random=os.urandom)
        channel = msgspec.structs.replace(
            channel_post(ChannelPurpose.CONSULT, made, subject), first=r.FirstMessage(message, frame)
        )
        post = o.ConsultPost(consult, incident, unit, urgency, "", False, "", ladder, channel)
        return Asked(consult, change(post), made)

    async def request(self, by: Person, *others: Person, **wanted: Any) -> Asked:
        """The same, posted."""
        asked = self.ask(by, *others, **wanted)
        answer = await by.ask("create_consult", asked.post)
        assert answer.commit_hash == asked.made.commit.hash
        return asked


async def act(who: Person, consult: ConsultId, kind: ConsultActionKind, side: str | None = None) -> o.Consult:
    answer: o.Consult = await who.ask("consult_action", o.ConsultAction(kind, side), id=consult.hex())
    return answer


async def show(who: Person, consult: ConsultId) -> o.Consult:
    answer: o.Consult = await who.ask("consult", id=consult.hex())
    return answer


async def inbox(who: Person, *kinds: Notice) -> list[tuple[Notice, tuple[bytes, ...]]]:
    """The notices of these kinds that a device has been told, in order."""
    page = await who.ask("log", address=address(ChannelKind.INBOX, who.id).hex())
    told = [msgspec.msgpack.decode(entry.payload) for entry in page.entries]
    return [(Notice(kind), tuple(ids)) for kind, *ids in told if kind in kinds]


def member(who: Person) -> MemberId:
    return MemberId(bytes.fromhex(who.member))


async def scene_of(agency: Agency) -> Scene:
    """The agency some time after its node began, when nobody is expected back any more."""
    clock, store = agency.city.clock, agency.city.node.store

    async def now_ms() -> int:
        return clock.now_ms()

    store.now_ms = now_ms  # type: ignore[method-assign]
    clock.advance(EXPECTED_S + 1)
    scene = Scene(agency)
    await scene.report()
    return scene


def steps(*members: tuple[Person, ...], delay_s: int = 60) -> tuple[StepRow, ...]:
    """A step for each group of people."""
    return tuple(StepRow((), tuple(member(p) for p in group), delay_s) for group in members)


ROLES: Final = (Role.RESPONDER, Role.PSYCHIATRIST, Role.SUPERVISOR, Role.DISPATCHER)
