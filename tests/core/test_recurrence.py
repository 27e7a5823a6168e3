"""Rules and wall times: numbered as if counted from the start, resolved as RFC 5545 says, and never followed for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.errors import ProtocolError, WireError
from leeside_server.core.recurrence import Rule, instant_ms, parse_rule, parse_wall, wall_time, zone

NEW_YORK = zone("America/New_York")


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


MONDAY = wall("2016-01-04T08:00")
WEEK = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("name", "shown", "instant"),
    [
        # spring: 2:00 becomes 3:00, and half past two lies half an hour behind the change
        ("America/New_York", "2026-03-08T01:59", ms(2026, 3, 8, 6, 59)),
        ("America/New_York", "2026-03-08T02:30", ms(2026, 3, 8, 7, 30)),
        ("America/New_York", "2026-03-08T03:00", ms(2026, 3, 8, 7, 0)),
        # autumn: 1:30 comes twice, and the first counts
        ("America/New_York", "2026-11-01T01:30", ms(2026, 11, 1, 5, 30)),
        ("America/New_York", "2026-11-01T02:00", ms(2026, 11, 1, 7, 0)),
        # Lord Howe moves by half an hour
        ("Australia/Lord_Howe", "2026-10-04T02:15", ms(2026, 10, 3, 15, 45)),
        ("Australia/Lord_Howe", "2026-10-04T02:30", ms(2026, 10, 3, 15, 30)),
        ("Australia/Lord_Howe", "2026-04-05T01:45", ms(2026, 4, 4, 14, 45)),
        ("Asia/Kathmandu", "2026-06-01T05:45", ms(2026, 6, 1)),
        ("Pacific/Apia", "2011-12-30T12:00", ms(2011, 12, 30, 22)),  # a day that Samoa never had
    ],
)
def test_a_wall_time_is_resolved_in_its_zone(name: str, shown: str, instant: int) -> None:
    assert instant_ms(wall(shown), zone(name)) == instant


@pytest.mark.parametrize(
    "name", ["", "Nowhere/Here", "../etc/passwd", "/etc/localtime", "America", "right/UTC", "UTC\n", "x" * 65]
)
def test_a_zone_is_one_of_the_database(name: str) -> None:
    with pytest.raises(ProtocolError, match="IANA"):
        zone(name)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=SECONDLY",
        "FREQ=HOURLY",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "",
        "DAILY",
        "FREQ=DAILY;FREQ=WEEKLY",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=367",
        "FREQ=WEEKLY;INTERVAL=53",
        "FREQ=MONTHLY;INTERVAL=13",
        "FREQ=DAILY;COUNT=2;UNTIL=20200101",
        "FREQ=DAILY;UNTIL=20261301",
        "FREQ=DAILY;BYSECOND=0,1,2,3",
        "FREQ=DAILY;BYMINUTE=0,1",
        "FREQ=DAILY;BYSETPOS=1",
        "FREQ=DAILY;BYEASTER=0",
        "FREQ=DAILY;BYHOUR=0,4,8,12,16,20,22",
        "FREQ=DAILY;BYHOUR=24",
        "FREQ=DAILY;BYDAY=1MO",
        "FREQ=WEEKLY;BYDAY=",
        "FREQ=WEEKLY;WKST=XX",
        "FREQ=MONTHLY;BYHOUR=8",
        "FREQ=MONTHLY;BYDAY=6MO",
        "FREQ=MONTHLY;BYDAY=1MO,TU",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=MONTHLY;BYMONTHDAY=4;BYDAY=1MO",
        "FREQ=DAILY\nDTSTART:20200101T000000",
        # the start is none of the rule's occurrences: a Monday, the 4th, at 8
        "FREQ=WEEKLY;BYDAY=TU",
        "FREQ=DAILY;INTERVAL=7;BYDAY=SU",
        "FREQ=DAILY;BYHOUR=9",
        "FREQ=MONTHLY;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYDAY=-1MO",
    ],
)
def test_what_no_rota_needs_is_refused_at_once(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_rule(text, MONDAY, NEW_YORK)
    assert refused.value.code is WireError.INVALID
    assert refused.value.detail


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 12))}"]
    start = MONDAY + timedelta(days=draw(st.integers(0, 40)), hours=draw(st.integers(0, 15)))
    if frequency != "MONTHLY":
        if draw(st.booleans()):
            days = draw(st.sets(st.sampled_from(WEEK))) | {WEEK[start.weekday()]}
            parts.append("BYDAY=" + ",".join(sorted(days)))
        if draw(st.booleans()):
            hours = draw(st.sets(st.integers(0, 23), max_size=5)) | {start.hour}
            parts.append("BYHOUR=" + ",".join(map(str, sorted(hours))))
        parts.append("WKST=" + draw(st.sampled_from(WEEK)))
    match draw(st.sampled_from(["", "COUNT", "UNTIL"])):
        case "COUNT":
            parts.append(f"COUNT={draw(st.integers(1, 300))}")
        case "UNTIL":
            parts.append(f"UNTIL={start + timedelta(days=draw(st.integers(0, 900))):%Y%m%dT%H%M%S}")
        case _:
            pass
    return parse_rule(";".join(parts), start, NEW_YORK)


@given(rules(), st.integers(-30, 1200), st.integers(0, 90))
def test_what_is_stepped_over_is_counted(rule: Rule, begin_days: int, days: int) -> None:
    """A window gives the same occurrences, with the same numbers, as counting each from the start."""
    first = rule.start + timedelta(days=begin_days)
    last = first + timedelta(days=days)
    counted = msgspec.structs.replace(rule, period=timedelta(0)).between(rule.start, last)
    assert list(rule.between(first, last)) == [(n, at) for n, at in counted if at >= first]


def test_a_rule_ends_with_its_count_or_its_until() -> None:
    def walls(text: str) -> list[datetime]:
        return [
            wall for _, wall in parse_rule(text, MONDAY, NEW_YORK).between(MONDAY, MONDAY + timedelta(days=9))
        ]

    three = [MONDAY + timedelta(days=n) for n in range(3)]
    assert walls("FREQ=DAILY;COUNT=3") == three
    assert walls("FREQ=DAILY;UNTIL=20160106") == three  # all of that day
    assert walls("FREQ=DAILY;UNTIL=20160106T080000") == three
    assert walls("FREQ=DAILY;UNTIL=20160106T130000Z") == three  # 8:00 in New York
    assert walls("FREQ=DAILY;UNTIL=20160106T125959Z") == three[:2]
    assert walls("RRULE:FREQ=DAILY;COUNT=1;") == three[:1]


def test_a_month_without_the_day_has_no_occurrence() -> None:
    rule = parse_rule("FREQ=MONTHLY;BYMONTHDAY=29", wall("2026-12-29T08:00"), NEW_YORK)
    found = [at.strftime("%m-%d") for _, at in rule.between(rule.start, wall("2028-03-01T00:00"))]
    assert found[:4] == ["12-29", "01-29", "03-29", "04-29"]
    assert found[-1] == "02-29"


@given(
    st.integers(ms(2000, 1, 1) // 60_000, ms(2099, 12, 31) // 60_000),
    st.sampled_from(["America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_an_instant_comes_back_from_its_wall_time_but_for_the_second_of_two(minute: int, name: str) -> None:
    where, at_ms = zone(name), minute * 60_000
    back = instant_ms(wall_time(at_ms, where), where)
    second = datetime.fromtimestamp(at_ms / 1000, where).fold
    assert (back == at_ms) is not bool(second)


@pytest.mark.parametrize(
    "text", ["2026-02-30T08:00", "2026-02-29T08:00", "2026-01-01T24:00", "2026-01-01", "soon"]
)
def test_a_wall_time_is_a_day_of_the_calendar(text: str) -> None:
    with pytest.raises(ProtocolError, match="day of the calendar"):
        parse_wall(text)
