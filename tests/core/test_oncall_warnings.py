"""Warnings: what is missing ahead, and each told once a day before and once an hour before."""

from __future__ import annotations

from leeside_protocol.ids import MemberId, RotaId
from leeside_server.core.oncall_warnings import (
    HOUR_MS,
    Reach,
    Warned,
    WarnedRow,
    forget_ms,
    holders_ahead,
    to_tell,
    warnings,
)
from leeside_server.core.rota import OverrideRow, RotaRow

A, B = MemberId(b"a" * 16), MemberId(b"b" * 16)
ONE = RotaId(b"1" * 16)
NOW = 1_800_000_000_000
GOOD, PROBED_IN_VAIN, GONE = Reach(lasting=True), Reach(lasting=True, probe_failed=True), Reach(lasting=False)


def rota(*shifts: tuple[MemberId, float, float]) -> dict[RotaId, RotaRow]:
    """Shifts in hours from now."""
    entries = (
        OverrideRow(bytes([n]) * 16, NOW + round(begin * HOUR_MS), NOW + round(end * HOUR_MS), member)
        for n, (member, begin, end) in enumerate(shifts)
    )
    return {ONE: RotaRow("line", 0, overrides=tuple(entries))}


def told(*given: Warned) -> list[tuple[str, MemberId | None, float, float]]:
    return [(w.kind, w.member, (w.from_ms - NOW) / HOUR_MS, (w.until_ms - NOW) / HOUR_MS) for w in given]


def test_gaps_and_holders_whom_nobody_reaches_are_seen_a_day_ahead() -> None:
    line = rota((A, -3, 8), (B, 9, 30), (A, 30, 40))
    assert warnings(line, {A: GOOD, B: GOOD}, NOW)[0].kind == "gap"
    assert told(*warnings(line, {A: GOOD, B: GOOD}, NOW)) == [("gap", None, 8, 9)]
    assert told(*warnings(line, {A: PROBED_IN_VAIN, B: GONE}, NOW)) == [
        ("probe_failed", A, -3, 8),
        ("gap", None, 8, 9),
        ("unreachable", B, 9, 24),
    ]
    assert [w.kind for w in warnings(line, {}, NOW)] == ["unreachable", "gap", "unreachable"]
    assert holders_ahead(line, NOW) == {A, B}
    assert holders_ahead(line, NOW, {B}) == {A}
    ended = {ONE: RotaRow("line", 0, ended_ms=1)}
    assert warnings(ended, {}, NOW) == []


def test_a_socket_is_a_way_now_and_no_promise_for_the_next_shift() -> None:
    line, live = rota((A, -3, 8), (B, 8, 30)), Reach(lasting=False, live=True)
    assert told(*warnings(line, {A: live, B: live}, NOW)) == [("unreachable", B, 8, 24)]


def test_each_is_told_once_a_day_before_and_once_an_hour_before() -> None:
    line = rota((A, -200, 20), (A, 22, 300))
    remembered: dict[bytes, WarnedRow] = {}
    heard: list[tuple[float, int]] = []
    for minutes in range(-10 * 60, 23 * 60, 7):
        at_ms = NOW + minutes * 60_000
        for one in warnings(line, {A: GOOD}, at_ms):
            row = to_tell(one, remembered.get(one.id), at_ms)
            if row is not None:
                remembered[one.id] = row
                heard.append(((one.from_ms - at_ms) / HOUR_MS, row.hours))
                assert forget_ms(one) > at_ms
    assert [hours for _, hours in heard] == [24, 1]
    assert all(hours - 0.2 < ahead <= hours for ahead, hours in heard)


def test_what_goes_on_already_is_told_once() -> None:
    line = rota((A, -200, -3))
    first, *others = warnings(line, {}, NOW)
    assert (first.kind, first.from_ms, others) == ("gap", NOW - 3 * HOUR_MS, [])
    row = to_tell(first, None, NOW)
    assert row == WarnedRow(1, NOW)
    later = NOW + 5 * HOUR_MS
    (same,) = warnings(line, {}, later)
    assert same.id == first.id
    assert to_tell(same, row, later) is None
    # So long that its beginning is out of sight: still one and the same.
    ids = {one.id for day in (8, 9, 10) for one in warnings(line, {}, NOW + day * 24 * HOUR_MS)}
    assert len(ids) == 1


def test_two_gaps_of_a_day_are_two() -> None:
    line = rota((A, -200, 3), (A, 4, 9), (A, 10, 300))
    found = warnings(line, {A: GOOD}, NOW)
    assert len({one.id for one in found}) == len(found) == 2
