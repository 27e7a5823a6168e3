"""Units and incidents: every transition of the table, and what may not be."""

import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId, UnitId
from leeside_protocol.words import IncidentState
from leeside_server.core.incidents import (
    ENDED,
    TRANSITIONS,
    IncidentRow,
    change_incident,
    change_unit,
    new_unit,
    open_incident,
)

NOW = 1_800_000_000_000
A, B = MemberId(b"a" * 16), MemberId(b"b" * 16)
UNIT = UnitId(b"u" * 16)
BY = DeviceId(b"d" * 16)
S = IncidentState

#              to:  open  assigned  on_scene  closed  cancelled
STEPS = {
    S.OPEN: [None, S.ASSIGNED, S.ON_SCENE, S.CLOSED, S.CANCELLED],
    S.ASSIGNED: [S.OPEN, None, S.ON_SCENE, S.CLOSED, S.CANCELLED],
    S.ON_SCENE: [None, None, None, S.CLOSED, S.CANCELLED],
    S.CLOSED: [],
    S.CANCELLED: [],
}


@pytest.mark.parametrize("before", list(S))
@pytest.mark.parametrize("after", list(S))
def test_every_step(before: S, after: S) -> None:
    allowed = after in STEPS[before]
    assert (after in TRANSITIONS[before]) is allowed
    row = IncidentRow(3, before, (UNIT,) if before is not S.OPEN else (), BY, NOW)
    units = () if after is S.OPEN else (UNIT,)
    if after is before and before not in ENDED:
        assert change_incident(row, None, after, units, NOW).state is before
        return
    if allowed:
        changed = change_incident(row, None, after, units, NOW + 1)
        assert changed.state is after
        assert changed.closed_ms == (NOW + 1 if after in ENDED else 0)
        return
    with pytest.raises(ProtocolError, match=r"^forbidden"):
        change_incident(row, None, after, units, NOW)


def test_assigning_units_moves_an_open_incident_on_and_back() -> None:
    row = open_incident(2, (), BY, NOW)
    assert row.state is S.OPEN
    assigned = change_incident(row, None, None, (UNIT,), NOW)
    assert assigned.state is S.ASSIGNED
    assert change_incident(assigned, None, None, (), NOW).state is S.OPEN
    assert open_incident(2, (UNIT,), BY, NOW).state is S.ASSIGNED


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ON_SCENE])
def test_nobody_is_on_scene_without_a_unit(state: S) -> None:
    with pytest.raises(ProtocolError, match=r"^invalid"):
        change_incident(open_incident(2, (), BY, NOW), None, state, None, NOW)


@pytest.mark.parametrize("priority", [0, 6, -1])
def test_a_priority_is_one_to_five(priority: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        open_incident(priority, (), BY, NOW)
    assert refused.value.code is WireError.INVALID


def test_units_are_named_once() -> None:
    with pytest.raises(ProtocolError, match=r"^invalid"):
        open_incident(1, (UNIT, UNIT), BY, NOW)


def test_the_lead_is_in_the_unit_and_leaves_the_lead_with_it() -> None:
    row = new_unit((A, B), A, NOW)
    assert change_unit(row, (B,), None, False, NOW).lead is None
    assert change_unit(row, (B,), B, False, NOW).lead == B
    with pytest.raises(ProtocolError, match=r"^invalid"):
        new_unit((A,), B, NOW)
    with pytest.raises(ProtocolError, match=r"^invalid"):
        new_unit((A, A), None, NOW)


def test_a_unit_that_ended_is_not_changed() -> None:
    ended = change_unit(new_unit((A,), None, NOW), None, None, True, NOW + 1)
    assert ended.ended_ms == NOW + 1
    with pytest.raises(ProtocolError, match=r"^forbidden"):
        change_unit(ended, (A,), None, False, NOW + 2)
