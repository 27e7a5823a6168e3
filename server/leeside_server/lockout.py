"""An agency that locked itself out: nobody of it can show the person that it asks for, so nobody can set that back.

The operator can: the agency asks for its devices' keys alone again. Nothing is opened by that, since a server cannot read
anything; who is at a device is asked for again as soon as an administrator sets it. The agency sees it among its security
events.
"""

from __future__ import annotations

from leeside_protocol.ids import AgencyId
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import AgencyRow
from leeside_server.core.person import with_person
from leeside_server.core.rows import KINDS, change, read
from leeside_server.core.writes import NO_DEVICE, Audit, Item, NotStored
from leeside_server.errors import NotReachable, Problem, StartRefused
from leeside_server.ports import Clock, Store

ATTEMPTS = 5
"""Somebody else may write the same row: a few times, not for ever."""


async def ask_for_devices_alone(store: Store, agency: AgencyId, clock: Clock) -> PersonBy:
    """What the agency asked for until now. Raises `StartRefused` for an agency that is not there, `NotReachable`."""
    for _ in range(ATTEMPTS):
        found = await store.get(agency, KINDS[AgencyRow], agency)
        if found is None:
            raise StartRefused(
                Problem(
                    "There is no such agency on this server.",
                    "Every enrolled terminal shows its id: leeside device show.",
                )
            )
        held, now_ms = read(AgencyRow, found), clock.now_ms()
        if held.row.person is PersonBy.DEVICE:
            return PersonBy.DEVICE
        row = with_person(held.row, PersonBy.DEVICE, None, now_ms)
        audit = Audit("agency_changed", NO_DEVICE, agency, "person_device_by_operator")
        (outcome,) = await store.apply([Item(agency, now_ms, (change(held, row), audit))])
        if not isinstance(outcome, NotStored):
            return held.row.person
    raise NotReachable(Problem("Somebody else changes this agency at the same time.", "Try again."))
