"""What the rotas of an agency will lack, looked for on every node and told to its supervisors (spec 08, "Warnings").

Found twice an hour before and a day before, each is told once: the row that remembers it is written in the same item as the
notices, by compare-and-set, so that of several nodes one tells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from leeside_protocol.ids import AgencyId, DeviceId, MemberId, RotaId
from leeside_protocol.words import Role
from leeside_server.core.duty import DutyRow, probe_failed
from leeside_server.core.notices import Notice, notices
from leeside_server.core.oncall_warnings import (
    Reach,
    Warned,
    WarnedRow,
    forget_ms,
    holders_ahead,
    to_tell,
    warnings,
)
from leeside_server.core.rota import RotaRow
from leeside_server.core.rows import KINDS, change, create, read, remove
from leeside_server.core.writes import Item
from leeside_server.log import get_logger
from leeside_server.relay.reading import every, find
from leeside_server.relay.staff import Gone, People

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

_log = get_logger("leeside.foresight")

LOOK_S: Final = 60.0
"""How often the clockwork looks. What is told an hour before may be told a minute late."""
FORGOTTEN_AT_ONCE: Final = 200


class Foresight:
    """Warnings of every agency. Raises `StoreUnavailable`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def of(self, agency: AgencyId) -> list[Warned]:
        """What the next 24 hours of an agency's rotas lack, the nearest first."""
        rotas = await self.rotas(agency)
        if not rotas:
            return []
        people = await self._node.staff.of(agency)
        now_ms, gone = self._node.clock.now_ms(), Gone(people)
        reaches = await self._reaches(agency, holders_ahead(rotas, now_ms, gone), people)
        return warnings(rotas, reaches, now_ms, gone)

    async def gone(self, agency: AgencyId) -> Collection[MemberId]:
        """Members whom nobody can page any more, as of a moment ago."""
        return Gone(await self._node.staff.of(agency))

    async def look(self, _: int) -> None:
        """The clockwork's turn: tell what is new, forget what is over."""
        for agency in await self._node.store.agencies():
            try:
                for warned in await self.of(agency):
                    await self._tell(agency, warned)
            except msgspec.MsgspecError as error:
                # A row of a later version is for its nodes: all other agencies are told.
                _log.error("foresight_unread", error=type(error).__name__)
        now_ms = self._node.clock.now_ms()
        for agency, item in await self._node.store.due(KINDS[WarnedRow], now_ms, FORGOTTEN_AT_ONCE):
            # Whoever loses the race finds it forgotten.
            await self._node.write([Item(agency, now_ms, (remove(WarnedRow, read(WarnedRow, item)),))])

    async def _tell(self, agency: AgencyId, warned: Warned) -> None:
        node, now_ms = self._node, self._node.clock.now_ms()
        held = await find(node.store, agency, WarnedRow, warned.id)
        row = to_tell(warned, None if held is None else held.row, now_ms)
        if row is None:
            return
        people = await node.staff.of(agency)
        to = people.devices_of(people.having(Role.SUPERVISOR))
        due_ms = forget_ms(warned)
        part = create(warned.id, row, due_ms) if held is None else change(held, row, due_ms)
        told = notices(Notice.ON_CALL_WARNING, (warned.rota,), to, node.random)
        # Refused when another node told it first; then nothing of it stands.
        await node.write([Item(agency, now_ms, (part, *told))])

    async def rotas(self, agency: AgencyId) -> dict[RotaId, RotaRow]:
        """All rotas of an agency: a holder may be found in any of them."""
        return {RotaId(held.id): held.row for held in await every(self._node.store, agency, RotaRow)}

    async def _reaches(
        self, agency: AgencyId, members: Collection[MemberId], people: People
    ) -> Mapping[MemberId, Reach]:
        node = self._node
        persons = await node.consults.worlds.persons(agency, members, await node.steady.now_ms(), people)
        subscribed = {
            key: member
            for member in persons
            for key, device in people.devices.get(member, {}).items()
            if device.push_endpoint
        }
        found = await node.store.get_many([(agency, KINDS[DutyRow], key) for key in subscribed])
        failed = {
            subscribed[DeviceId(item.id)]
            for item in found
            if item is not None and probe_failed(read(DutyRow, item).row)
        }
        return {
            member: Reach(
                lasting=person.pushed or person.phone, live=person.live, probe_failed=member in failed
            )
            for member, person in persons.items()
        }
