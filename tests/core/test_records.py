"""Records: what a hold prevents, when shredding may be ordered, and that asking twice changes nothing."""

import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.words import HoldReason, IncidentState
from leeside_server.core.channels import boxes_unneeded_below
from leeside_server.core.incidents import IncidentRow
from leeside_server.core.records import (
    DAY_MS,
    HoldRow,
    RecordsRow,
    kept_until_ms,
    order_shredding,
    place_hold,
    release_hold,
)

NOW = 1_800_000_000_000
BY = DeviceId(b"r" * 16)
ORDER, SUIT = HoldReason.COURT_ORDER, HoldReason.LITIGATION
ENDED = IncidentRow(3, IncidentState.CLOSED, (), BY, NOW - 1, NOW)
OPEN = IncidentRow(3, IncidentState.OPEN, (), BY, NOW - 1)


def test_each_reason_is_a_hold_of_its_own() -> None:
    once = place_hold(RecordsRow(), ORDER, BY, NOW)
    assert once == RecordsRow((HoldRow("court_order", BY, NOW),))
    assert place_hold(once, ORDER, BY, NOW + 1) is once
    both = place_hold(once, SUIT, BY, NOW + 2)
    left = release_hold(both, ORDER)
    assert [hold.reason for hold in left.holds] == ["litigation"]
    assert release_hold(left, ORDER) is left
    assert release_hold(left, SUIT) == RecordsRow()


@pytest.mark.parametrize("state", [IncidentState.CLOSED, IncidentState.CANCELLED])
def test_the_retention_time_begins_with_the_end(state: IncidentState) -> None:
    row = IncidentRow(3, state, (), BY, NOW - 1, NOW)
    assert kept_until_ms(row, 30) == NOW + 30 * DAY_MS
    assert kept_until_ms(row, 0) == 0
    assert kept_until_ms(OPEN, 30) == 0


def test_shredding_is_ordered_once_the_retention_time_is_over() -> None:
    at = NOW + 30 * DAY_MS
    ordered = order_shredding(RecordsRow(emptied_ms=5), ENDED, 30, BY, at)
    assert ordered == RecordsRow((), 5, at, BY)
    assert order_shredding(ordered, ENDED, 30, BY, at + 1) is ordered
    assert order_shredding(ordered, ENDED, 0, BY, at + 1) is ordered, "what was ordered is carried out"


@pytest.mark.parametrize(
    ("row", "incident", "days", "at", "why"),
    [
        (RecordsRow(), ENDED, 30, NOW + 30 * DAY_MS - 1, "not over"),
        (RecordsRow(), ENDED, 0, NOW + 3_000 * DAY_MS, "for good"),
        (RecordsRow(), OPEN, 30, NOW + 3_000 * DAY_MS, "goes on"),
        (RecordsRow((HoldRow("audit", BY, NOW),)), ENDED, 30, NOW + 3_000 * DAY_MS, "legal hold"),
    ],
)
def test_until_then_it_is_refused(
    row: RecordsRow, incident: IncidentRow, days: int, at: int, why: str
) -> None:
    with pytest.raises(ProtocolError, match=why) as refused:
        order_shredding(row, incident, days, BY, at)
    assert refused.value.code is WireError.FORBIDDEN


def test_what_was_shredded_takes_no_hold() -> None:
    with pytest.raises(ProtocolError, match="shredded"):
        place_hold(RecordsRow(shred_ms=NOW, shred_by=BY), ORDER, BY, NOW)


def frame(epoch: int) -> bytes:
    return bytes(20) + epoch.to_bytes(8, "big") + bytes(80)


@pytest.mark.parametrize(
    ("kept", "head", "ended_below", "expected"),
    [
        ([], 9, 9, 8),
        ([], 9, 4, 4),
        ([], 0, 9, 0),
        ([frame(7)], 9, 9, 6),
        ([frame(7), frame(3)], 9, 9, 2),
        ([frame(7), frame(3)], 9, 1, 1),
        ([frame(0)], 9, 9, 0),
        ([frame(7), b"no frame"], 9, 9, 0),
        ([], 9, -1, 0),
    ],
)
def test_boxes_are_needed_from_the_epoch_before_the_oldest_kept_frame_on(
    kept: list[bytes], head: int, ended_below: int, expected: int
) -> None:
    assert boxes_unneeded_below(kept, head, ended_below) == expected
