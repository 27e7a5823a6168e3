"""What the server knows of people when a consult is decided on: the machine's `World`, from store and presence.

`whole` asks who is connected, and is what decides; `near` does not, and says who may see and do what.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, MemberId, RotaId, UnitId
from leeside_protocol.words import Role
from leeside_server.core.consult_moves import Now
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.duty import DutyRow, probed
from leeside_server.core.incidents import UnitRow
from leeside_server.core.ladder import Person, StepRow, World
from leeside_server.core.rota import RotaRow, holder
from leeside_server.core.rows import KINDS, read
from leeside_server.relay.reading import every, find
from leeside_server.relay.staff import Gone, People

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

EXPECTED_S: Final = 15.0
"""A device whose socket was lost is expected back for this long: changing cells must not cost a step of the ladder."""
SEEN_KEPT: Final = 16_384


class Worlds:
    """Makes the `World` of one consult."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen_s: dict[tuple[AgencyId, DeviceId], float] = {}
        """When a device was last known to be connected, on the monotonic clock."""
        self._began_s = node.clock.monotonic_s()
        """Devices of a node that was started again are on their way back to it."""

    async def whole(self, agency: AgencyId, row: ConsultRow, now: Now) -> World:
        """Everything that a decision may look at. Raises `StoreUnavailable`."""
        people = await self._node.staff.of(agency)
        members = {target.member for target in row.targets}
        members.update(m for m in (row.accepted_by, row.held_by, row.taken_by) if m is not None)
        world = await self.near(agency, row, now)
        return await self._with_persons(agency, world, row.steps, members, now, people)

    async def before(
        self, agency: AgencyId, unit: UnitId | None, steps: tuple[StepRow, ...], now: Now
    ) -> World:
        """The same for a consult that is not there yet. Raises `StoreUnavailable`."""
        people = await self._node.staff.of(agency)
        world = await self._seen(agency, unit, steps, None, now, people)
        return await self._with_persons(agency, world, steps, (), now, people)

    async def near(self, agency: AgencyId, row: ConsultRow, now: Now) -> World:
        """What says who may see and do what; it does not know who can be reached. Raises `StoreUnavailable`."""
        people = await self._node.staff.of(agency)
        return await self._seen(agency, row.unit, row.steps, row.channel, now, people)

    async def over(self, agency: AgencyId, row: ConsultRow) -> World:
        """What says who sees a consult that is over: nobody may do anything there, whoever is on call. Raises
        `StoreUnavailable`."""
        people = await self._node.staff.of(agency)
        desk = frozenset(people.having(Role.DISPATCHER, Role.SUPERVISOR))
        return World({}, {}, people.having(Role.SUPERVISOR), await self._unit(agency, row.unit), desk)

    async def _seen(
        self,
        agency: AgencyId,
        unit: UnitId | None,
        steps: tuple[StepRow, ...],
        channel: ChannelId | None,
        now: Now,
        people: People,
    ) -> World:
        return World(
            await self.holders(agency, steps, now.wall_ms, people),
            {},
            people.having(Role.SUPERVISOR),
            await self._unit(agency, unit),
            frozenset(people.having(Role.DISPATCHER, Role.SUPERVISOR)),
            await self._roster(agency, channel, people),
        )

    async def _with_persons(
        self,
        agency: AgencyId,
        world: World,
        steps: tuple[StepRow, ...],
        others: Collection[MemberId],
        now: Now,
        people: People,
    ) -> World:
        named = {member for step in steps for member in step.members}
        holders = {member for member in world.holders.values() if member is not None}
        members = named | holders | {*world.supervisors, *others}
        persons = await self.persons(agency, members, now.steady_ms, people)
        return msgspec.structs.replace(world, people=persons)

    async def holders(
        self, agency: AgencyId, steps: Iterable[StepRow], wall_ms: int, people: People
    ) -> dict[RotaId, MemberId | None]:
        """Who holds each rota of these steps at that instant."""
        wanted = {rota for step in steps for rota in step.rotas}
        if not wanted:
            return {}
        rotas = {RotaId(held.id): held.row for held in await every(self._node.store, agency, RotaRow)}
        ended = Gone(people)
        return {rota: holder(rotas, rota, wall_ms, ended) for rota in wanted}

    async def persons(
        self, agency: AgencyId, members: Iterable[MemberId], steady_ms: int, people: People
    ) -> dict[MemberId, Person]:
        """These members as far as they are of the agency, and how they can be reached now."""
        found = [member for member in members if member in people.members]
        live = await self.connected(agency, people.devices_of(found))
        duties = await self._duties(agency, found, people)
        calls = self._node.gateway.on
        persons: dict[MemberId, Person] = {}
        for member in found:
            row, devices = people.members[member], people.devices.get(member, {})
            persons[member] = Person(
                languages=row.languages,
                specialties=row.specialties,
                licences=row.licences,
                live=not live.isdisjoint(devices),
                pushed=any(
                    device.push_endpoint and probed(duties.get(key), steady_ms)
                    for key, device in devices.items()
                ),
                phone=calls and bool(row.phone),
            )
        return persons

    async def connected(
        self, agency: AgencyId, devices: Collection[DeviceId], within_s: float = EXPECTED_S
    ) -> frozenset[DeviceId]:
        """Which of these devices some node holds, or held less than `within_s` ago.

        Where presence cannot tell, all of them: a step is skipped on proof that nobody is there, and on nothing less.
        """
        clock = self._node.clock
        view = await self._node.presence.online(agency, tuple(devices), clock.now_ms())
        now_s = clock.monotonic_s()
        # What came here a moment ago is told to other nodes, and so to presence, a second later.
        here = [device for device in devices if self._node.sockets.holds(agency, device)]
        for device in (*view.devices, *here):
            self._seen_s.pop((agency, device), None)
            self._seen_s[agency, device] = now_s
        while len(self._seen_s) > SEEN_KEPT:
            del self._seen_s[next(iter(self._seen_s))]
        if view.stale or now_s - self._began_s < EXPECTED_S:
            return frozenset(devices)
        return frozenset(
            device for device in devices if now_s - self._seen_s.get((agency, device), -within_s) < within_s
        )

    async def _duties(
        self, agency: AgencyId, members: Iterable[MemberId], people: People
    ) -> dict[DeviceId, DutyRow]:
        subscribed = [
            key
            for member in members
            for key, device in people.devices.get(member, {}).items()
            if device.push_endpoint
        ]
        found = await self._node.store.get_many([(agency, KINDS[DutyRow], key) for key in subscribed])
        return {
            key: read(DutyRow, item).row
            for key, item in zip(subscribed, found, strict=True)
            if item is not None
        }

    async def _unit(self, agency: AgencyId, unit: UnitId | None) -> frozenset[MemberId]:
        if unit is None:
            return frozenset()
        held = await find(self._node.store, agency, UnitRow, unit)
        return frozenset() if held is None else frozenset(held.row.members)

    async def _roster(
        self, agency: AgencyId, channel: ChannelId | None, people: People
    ) -> frozenset[MemberId]:
        head = None if channel is None else await self._node.heads.get(agency, channel)
        psychiatrists = people.having(Role.PSYCHIATRIST)
        if head is None:
            return frozenset()
        return frozenset(
            m for m in psychiatrists if not head.masks.keys().isdisjoint(people.devices.get(m, ()))
        )
