"""Units and incidents: their clear rows and how they may change.

What is told about the person stands sealed in the incident's channels; here are only a priority, a state and
which units are assigned, because the server must count, time and page. Transitions of an incident:

    open ──> assigned ──> on_scene ──> closed
      │         │             └──────> cancelled
      └─────────┴──> closed, cancelled; assigned ──> open when its last unit leaves

`closed` and `cancelled` are final.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId, UnitId
from leeside_protocol.words import IncidentState

_OPEN: Final = IncidentState.OPEN
_ASSIGNED: Final = IncidentState.ASSIGNED
_ON_SCENE: Final = IncidentState.ON_SCENE
_CLOSED: Final = IncidentState.CLOSED
_CANCELLED: Final = IncidentState.CANCELLED

TRANSITIONS: Final[dict[IncidentState, frozenset[IncidentState]]] = {
    _OPEN: frozenset({_ASSIGNED, _ON_SCENE, _CLOSED, _CANCELLED}),
    _ASSIGNED: frozenset({_OPEN, _ON_SCENE, _CLOSED, _CANCELLED}),
    _ON_SCENE: frozenset({_CLOSED, _CANCELLED}),
    _CLOSED: frozenset(),
    _CANCELLED: frozenset(),
}
ENDED: Final = frozenset({_CLOSED, _CANCELLED})


class UnitRow(msgspec.Struct, frozen=True):
    """A team; its shown name is sealed in the agency's channel. `ended_ms` 0: it works."""

    members: tuple[MemberId, ...]
    lead: MemberId | None
    created_ms: int
    ended_ms: int = 0


class IncidentRow(msgspec.Struct, frozen=True):
    """An incident's clear part. `closed_ms` 0: it goes on. `swept`: what its end demands was carried out."""

    priority: int
    state: IncidentState
    units: tuple[UnitId, ...]
    opened_by: DeviceId
    created_ms: int
    closed_ms: int = 0
    swept: bool = False


def new_unit(members: Sequence[MemberId], lead: MemberId | None, now_ms: int) -> UnitRow:
    """A team; `invalid` when the lead is not in it or someone is named twice."""
    return _checked(UnitRow(tuple(members), lead, now_ms))


def change_unit(
    row: UnitRow, members: Sequence[MemberId] | None, lead: MemberId | None, ended: bool, now_ms: int
) -> UnitRow:
    """The team after a change. A lead who leaves the team leaves the lead too, unless another is named."""
    if row.ended_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this unit has ended")
    team = row.members if members is None else tuple(members)
    leads = lead if lead is not None else row.lead if row.lead in team else None
    return _checked(UnitRow(team, leads, row.created_ms, now_ms if ended else 0))


def _checked(row: UnitRow) -> UnitRow:
    if len(set(row.members)) != len(row.members):
        raise ProtocolError(WireError.INVALID, "a member is named twice")
    if row.lead is not None and row.lead not in row.members:
        raise ProtocolError(WireError.INVALID, "the lead is not in the unit")
    return row


def open_incident(priority: int, units: Sequence[UnitId], opened_by: DeviceId, now_ms: int) -> IncidentRow:
    """A new incident: assigned at once when it names units."""
    if not 1 <= priority <= 5:
        raise ProtocolError(WireError.INVALID, "a priority is 1 to 5")
    if len(set(units)) != len(units) or len(units) > 16:
        raise ProtocolError(WireError.INVALID, "units are named once, and 16 at most")
    return IncidentRow(priority, _ASSIGNED if units else _OPEN, tuple(units), opened_by, now_ms)


def change_incident(
    row: IncidentRow,
    priority: int | None,
    state: IncidentState | None,
    units: Sequence[UnitId] | None,
    now_ms: int,
) -> IncidentRow:
    """The incident after a change; `forbidden` for a step that the table has not."""
    if row.state in ENDED:
        raise ProtocolError(WireError.FORBIDDEN, "this incident has ended")
    assigned = row.units if units is None else tuple(units)
    if len(set(assigned)) != len(assigned):
        raise ProtocolError(WireError.INVALID, "a unit is named twice")
    following = row.state if state is None else state
    if state is None and units is not None:
        if row.state is _OPEN and assigned:
            following = _ASSIGNED
        elif row.state is _ASSIGNED and not assigned:
            following = _OPEN
    if following is not row.state and following not in TRANSITIONS[row.state]:
        raise ProtocolError(WireError.FORBIDDEN, "an incident does not go from this state to that one")
    if following in {_ASSIGNED, _ON_SCENE} and not assigned:
        raise ProtocolError(WireError.INVALID, "no unit is assigned")
    if following is _OPEN and assigned:
        raise ProtocolError(WireError.INVALID, "an open incident has no unit assigned")
    return msgspec.structs.replace(
        row,
        priority=row.priority if priority is None else priority,
        state=following,
        units=assigned,
        closed_ms=now_ms if following in ENDED else 0,
    )
