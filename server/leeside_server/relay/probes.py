"""Looks daily whether a push still reaches each device that may be paged (spec 08, "Duty and probes"; `core/duty.py`).

A probe is a page of its own kind: it goes through the same outbox and the same push service as the page that will matter. A
row says for each device when it is asked next; it is made when a person goes on duty, when a device of somebody who may be
paged subscribes, and for all others within the hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from leeside_protocol.ids import ID_BYTES, AgencyId, DeviceId, MemberId, PageId
from leeside_protocol.words import Role
from leeside_server.core import duty
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import DeviceRow, DeviceState
from leeside_server.core.ladder import LadderRow
from leeside_server.core.paging import PageKind, open_page
from leeside_server.core.rota import RotaRow
from leeside_server.core.rows import KINDS, Held, change, create, read, remove
from leeside_server.core.writes import Item, Part, Save
from leeside_server.log import get_logger
from leeside_server.relay.reading import every, find

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

EVERY_S: Final = 5.0
ENROL_S: Final = 3_600.0
DUE_AT_ONCE: Final = 200
HOUR_MS: Final = 3_600_000
_log = get_logger("leeside.probes")

PAGED: Final = (Role.PSYCHIATRIST, Role.SUPERVISOR)
"""Roles that may be paged, whatever rotas and ladders say."""


class Probes:
    """The probes of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._enrolled_s = float("-inf")

    async def carry_out(self, now_ms: int) -> None:
        """Ask who is due, give up who did not answer, find who was never asked. Raises the store's errors."""
        node = self._node
        for agency, found in await node.store.due(KINDS[DutyRow], now_ms, DUE_AT_ONCE):
            try:
                await self._ask(agency, read(DutyRow, found), now_ms)
            except msgspec.MsgspecError as error:
                # A row of a later version is for its nodes: all other devices are probed.
                _log.error("probe_unread", error=type(error).__name__)
        if node.clock.monotonic_s() - self._enrolled_s >= ENROL_S:
            self._enrolled_s = node.clock.monotonic_s()
            for agency in await node.store.agencies():
                await self._enrol(agency)

    def saved(self, device: DeviceId, held: Held[DutyRow] | None, row: DutyRow) -> Save:
        """What writes a device's row, due when it must be looked at next."""
        due_ms = duty.due_ms(row, self._node.config.probe_hours * HOUR_MS)
        return create(device, row, due_ms) if held is None else change(held, row, due_ms)

    async def subscribed(self, agency: AgencyId, device: DeviceId, row: DeviceRow) -> tuple[Part, ...]:
        """What goes with a new subscription of a device that may be paged: it is probed at once."""
        held = await find(self._node.store, agency, DutyRow, device)
        if held is not None:
            return (self.saved(device, held, duty.anew(held.row)),)
        people = await self._node.staff.of(agency)
        if row.member not in people.having(*PAGED):
            return ()
        return (self.saved(device, None, DutyRow(row.member)),)

    async def reached(self, agency: AgencyId, device: DeviceId, page: PageId, *, test: bool) -> None:
        """A push of a probe or a test came to this device. Whoever changed the row first has it looked at again."""
        node = self._node
        held = await find(node.store, agency, DutyRow, device)
        if held is None:
            return
        if duty.heard_of(held.row, page, test):
            row = duty.reached(held.row, await node.steady.now_ms(), node.clock.now_ms())
            await node.write([Item(agency, node.clock.now_ms(), (self.saved(device, held, row),))])

    # ---- inside

    async def _ask(self, agency: AgencyId, held: Held[DutyRow], now_ms: int) -> None:
        node, device, row = self._node, DeviceId(held.id), held.row
        found = await find(node.store, agency, DeviceRow, device)
        owner = None if found is None else found.row
        wall_ms = node.clock.now_ms()
        if owner is None or owner.state is DeviceState.REVOKED:
            await node.write([Item(agency, wall_ms, (remove(DutyRow, held),))])
            return
        if row.probe:
            node.metrics.probes_failed.inc()
            parts: tuple[Part, ...] = (self.saved(device, held, duty.give_up(row, now_ms)),)
        elif not owner.push_endpoint:
            # Looked at again when it has a subscription (`subscribed`).
            parts = (change(held, row, None),)
        else:
            page = PageId(node.random(ID_BYTES))
            probe = open_page(PageKind.PROBE, row.member, now_ms=now_ms, wall_ms=wall_ms, device=device)
            asked = self.saved(device, held, duty.ask(row, page, now_ms))
            parts = (asked, *await node.paging.page_parts(agency, page, probe))
        await node.write([Item(agency, wall_ms, parts)])

    async def _enrol(self, agency: AgencyId) -> None:
        """Have every device probed whose member may be paged, and that has a subscription and no row yet."""
        node = self._node
        people = await node.staff.of(agency)
        paged = {*people.having(*PAGED), *await self._named(agency)}
        devices = [
            (member, device)
            for member in paged
            for device, row in people.devices.get(member, {}).items()
            if row.push_endpoint
        ]
        found = await node.store.get_many([(agency, KINDS[DutyRow], device) for _, device in devices])
        wall_ms = node.clock.now_ms()
        items = [
            Item(agency, wall_ms, (self.saved(device, None, DutyRow(member)),))
            for (member, device), one in zip(devices, found, strict=True)
            if one is None
        ]
        if items:
            await node.write(items)

    async def _named(self, agency: AgencyId) -> set[MemberId]:
        """Everybody whom a rota or a ladder names."""
        named: set[MemberId] = set()
        for ladder in await every(self._node.store, agency, LadderRow):
            named.update(member for step in ladder.row.steps for member in step.members)
        for rota in await every(self._node.store, agency, RotaRow):
            named.update(member for rotation in rota.row.rotations for member in rotation.members)
            named.update(override.member for override in rota.row.overrides)
        return named
