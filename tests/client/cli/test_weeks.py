"""The picture of the weeks: every half hour at its place, on the nights of the clocks' change too, and no gap overlooked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from leeside.cli.exits import CommandError
from leeside.cli.times import interval, machine_zone, when
from leeside.cli.weeks import draw, legend, letters, midnight_ms
from leeside_protocol import oncall as o

NEW_YORK = ZoneInfo("America/New_York")
ANA, BEN = "a" * 32, "b" * 32
HOUR, MINUTE = 3_600_000, 60_000


def span(begin_ms: int, end_ms: int, member: str | None) -> o.Span:
    return o.Span(begin_ms, end_ms, member, "rotation" if member else "gap")


def test_days_are_lines_and_half_hours_letters() -> None:
    start = midnight_ms(date(2026, 11, 30), NEW_YORK)
    spans = [
        span(start, start + 8 * HOUR, ANA),
        span(start + 8 * HOUR, start + 20 * HOUR, BEN),
        span(start + 20 * HOUR, start + 30 * HOUR, ANA),
        span(start + 30 * HOUR, start + 30 * HOUR + MINUTE, None),
        span(start + 30 * HOUR + MINUTE, start + 48 * HOUR, BEN),
    ]
    assert draw(spans, date(2026, 11, 30), 2, NEW_YORK, "America/New_York") == [
        "America/New_York  00    03    06    09    12    15    18    21",
        "Mon 30 Nov        " + "a" * 16 + "b" * 24 + "a" * 8,
        "Tue  1 Dec        " + "a" * 12 + "!" + "b" * 35,
    ]
    assert legend(spans, lambda member: {ANA: "Ana", BEN: "Ben"}[member]) == "a Ana   b Ben   ! nobody"
    assert legend(spans[:1], lambda _: "Ana") == "a Ana"


def test_a_skipped_hour_is_empty_and_one_that_comes_twice_hides_no_gap() -> None:
    spring = midnight_ms(date(2026, 3, 8), NEW_YORK)
    whole = [span(spring, spring + 23 * HOUR, ANA)]
    (_, line) = draw(whole, date(2026, 3, 8), 1, NEW_YORK, "")
    assert line[12:] == "aaaa" + "  " + "a" * 42
    autumn = midnight_ms(date(2026, 11, 1), NEW_YORK)
    second = autumn + 2 * HOUR  # 1:00 for the second time
    gap = [
        span(autumn, second, ANA),
        span(second, second + 10 * MINUTE, None),
        span(second + 10 * MINUTE, autumn + 25 * HOUR, ANA),
    ]
    (_, line) = draw(gap, date(2026, 11, 1), 1, NEW_YORK, "")
    assert line[12:].count("!") == 1
    assert len(line[12:]) == 48
    assert "!" in line[12:][2:4]


def test_there_are_letters_for_many() -> None:
    spans = [span(n, n + 1, f"{n:032x}") for n in range(60)]
    found = letters(spans)
    assert len(set(found.values())) == 53
    assert found[f"{59:032x}"] == "*"


def test_what_is_outside_of_what_is_known_is_empty() -> None:
    start = midnight_ms(date(2026, 11, 30), UTC)
    (_, line) = draw([span(start, start + HOUR, ANA)], date(2026, 11, 30), 1, UTC, "")
    assert line[12:] == "aa"


def test_times_are_of_this_machine_unless_another_zone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 12, 24, 8, tzinfo=UTC)
    assert when("2026-12-24T08:00Z", 0) == when("2026-12-24T09:00+01:00", 0) == int(at.timestamp() * 1000)
    assert when("2026-12-24 08:00", 0) == int(at.replace(tzinfo=None).astimezone().timestamp() * 1000)
    assert when(" Now ", 7) == 7
    for text in ("", "soon", "2026-02-30T08:00", "9999-12-31T23:59-23:59"):
        with pytest.raises(CommandError, match="no time"):
            when(text, 0)
    with pytest.raises(CommandError, match="not behind"):
        interval("2026-12-24T08:00", "2026-12-24T08:00", 0)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert machine_zone() == "Asia/Kathmandu"
    monkeypatch.setenv("TZ", "Nowhere/Here")
    assert machine_zone() == ""
