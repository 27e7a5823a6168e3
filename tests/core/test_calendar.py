"""Calendars in and out: what real programs write is placed, and what would never end is refused at once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId, RotaId
from leeside_protocol.limits import CALENDAR_CHARS, ROTA_ENTRIES
from leeside_server.core.calendar import AHEAD_MS, feed, feed_window, shifts, with_shifts, zone_of
from leeside_server.core.rota import OverrideRow, RotaRow, Span

A, B, C = MemberId(b"a" * 16), MemberId(b"b" * 16), MemberId(b"c" * 16)
MEMBERS = {"Ana": A, "mailto:ben@example.org": B, "Cleo": C}
NEW_YORK = ZoneInfo("America/New_York")
ROTA = RotaId(b"r" * 16)
NOW = int(datetime(2026, 10, 30, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


def calendar(*events: str, head: str = "") -> str:
    body = "".join(f"BEGIN:VEVENT\n{event.strip()}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x\n{head}{body}END:VCALENDAR\n"


def placed(ics: str, default: ZoneInfo | None = None, now_ms: int = NOW) -> list[tuple[str, str, str]]:
    """Member, begin and end (UTC) of each shift."""
    names = {A: "Ana", B: "Ben", C: "Cleo"}

    def shown(at_ms: int) -> str:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%m-%dT%H:%M}"

    return [
        (names[s.member], shown(s.from_ms), shown(s.until_ms)) for s in shifts(ics, MEMBERS, default, now_ms)
    ]


def refused(ics: str, sentence: str, code: WireError = WireError.INVALID, **more: Any) -> None:
    with pytest.raises(ProtocolError) as found:
        shifts(ics, MEMBERS, more.get("default"), NOW)
    assert found.value.code is code
    assert sentence in found.value.detail


NIGHTS = """
UID:nights
DTSTART;TZID=America/New_York:20260101T200000
DTEND;TZID=America/New_York:20260102T080000
SUMMARY:Ana
"""
ONCE = "DTSTART:20261101T120000Z\nDTEND:20261101T200000Z\n"


def test_a_night_of_the_clocks_change_is_as_long_as_it_is() -> None:
    nights = placed(calendar(NIGHTS + "RRULE:FREQ=DAILY;UNTIL=20261103"))
    assert nights[:5] == [
        ("Ana", "10-30T00:00", "10-30T12:00"),
        ("Ana", "10-31T00:00", "10-31T12:00"),
        ("Ana", "11-01T00:00", "11-01T13:00"),
        ("Ana", "11-02T01:00", "11-02T13:00"),
        ("Ana", "11-03T01:00", "11-03T13:00"),
    ]
    assert len(nights) == 6


def test_exceptions_and_other_versions_of_an_occurrence() -> None:
    """A day left out, one added, one swapped to another, one cancelled: as people do it in their calendars."""
    swapped = """
UID:nights
RECURRENCE-ID;TZID=America/New_York:20261102T200000
DTSTART;TZID=America/New_York:20261102T210000
DTEND;TZID=America/New_York:20261103T080000
ATTENDEE;CN="Ben, at home":mailto:BEN@example.org
SUMMARY:whatever
"""
    cancelled = """
UID:nights
STATUS:CANCELLED
RECURRENCE-ID:20261104T010000Z
DTSTART;TZID=America/New_York:20261103T200000
DTEND;TZID=America/New_York:20261104T080000
"""
    rule = """RRULE:FREQ=DAILY;COUNT=310
EXDATE;TZID=America/New_York:20261101T200000,20261104T200000
RDATE;TZID=America/New_York:20261120T200000
"""
    assert placed(calendar(NIGHTS + rule, swapped, cancelled), now_ms=NOW + 2 * 24 * HOUR) == [
        ("Ana", "11-01T00:00", "11-01T13:00"),
        ("Ben", "11-03T02:00", "11-03T13:00"),
        ("Ana", "11-06T01:00", "11-06T13:00"),
        ("Ana", "11-07T01:00", "11-07T13:00"),
        ("Ana", "11-21T01:00", "11-21T13:00"),
    ]


def test_times_as_programs_write_them() -> None:
    assert placed(calendar(ONCE + "SUMMARY:ana ")) == [("Ana", "11-01T12:00", "11-01T20:00")]
    windows = 'DTSTART;TZID="Eastern Standard Time":20261101T120000\nDURATION:PT8H\nSUMMARY:Ana'
    assert placed(calendar(windows)) == [("Ana", "11-01T17:00", "11-02T01:00")]
    # Eight hours are eight hours, a day is a day of the calendar.
    over = "DTSTART;TZID=America/New_York:20261031T200000\nDURATION:{}\nSUMMARY:Ana"
    assert placed(calendar(over.format("PT12H"))) == [("Ana", "11-01T00:00", "11-01T12:00")]
    assert placed(calendar(over.format("P1D"))) == [("Ana", "11-01T00:00", "11-02T01:00")]
    mixed = "DTSTART;TZID=America/New_York:20261101T120000\nDTEND:20261102T010000Z\nSUMMARY:Ana"
    assert placed(calendar(mixed)) == [("Ana", "11-01T17:00", "11-02T01:00")]
    day = calendar("DTSTART;VALUE=DATE:20261101\nSUMMARY:Ana")
    assert placed(day, NEW_YORK) == [("Ana", "11-01T04:00", "11-02T05:00")]
    floating = calendar(
        "DTSTART:20261101T120000\nDTEND:20261101T130000\nSUMMARY:Ana", head="X-WR-TIMEZONE:Asia/Kolkata\n"
    )
    assert zone_of(floating) == "Asia/Kolkata"
    assert zone_of(day) == ""
    assert placed(floating, ZoneInfo(zone_of(floating))) == [("Ana", "11-01T06:30", "11-01T07:30")]
    for without in (day, floating):
        refused(without, "event 1: its times name no zone")
    folded = calendar("DTSTART:20261101T1200\n 00Z\r\n\nDTEND:20261101T200000Z\nSUMMARY:A\n\tna")
    assert placed(folded) == [("Ana", "11-01T12:00", "11-01T20:00")]


def test_whom_an_event_names() -> None:
    def by(lines: str) -> str:
        return placed(calendar(ONCE + lines))[0][0]

    assert (
        by("ATTENDEE:mailto:ben@example.org\nORGANIZER;CN=Ana:mailto:boss@example.org\nSUMMARY:Cleo") == "Ben"
    )
    assert by("ORGANIZER;CN=Ana:mailto:boss@example.org\nSUMMARY:Cleo") == "Ana"
    assert by("ATTENDEE:mailto:nobody@example.org\nSUMMARY:Cleo") == "Cleo"
    assert by("ATTENDEE;PARTSTAT=DECLINED:mailto:ben@example.org\nATTENDEE;CN=Ana:mailto:a@x.org") == "Ana"
    refused(calendar(ONCE + "SUMMARY:Ana", ONCE + "SUMMARY:Dora"), "event 2 names nobody")
    refused(calendar(ONCE), "event 1 names nobody")
    both = "ATTENDEE:mailto:ben@example.org\nATTENDEE;CN=Ana:mailto:a@x.org"
    refused(calendar(ONCE + both), "event 1 names two members")
    with pytest.raises(ProtocolError, match="means two members"):
        shifts(calendar(ONCE), {"Ana": A, "mailto:ana": B}, None, NOW)


def test_only_what_is_ahead_is_placed() -> None:
    over = "DTSTART:20261001T120000Z\nDTEND:20261001T200000Z\nSUMMARY:whoever it was"
    far = "DTSTART:20271201T120000Z\nDTEND:20271201T200000Z\nSUMMARY:Ana"
    now = "DTSTART:20261029T120000Z\nDTEND:20261030T200000Z\nSUMMARY:Ana"
    assert placed(calendar(over, far, now)) == [("Ana", "10-29T12:00", "10-30T20:00")]
    weekly = shifts(calendar(ONCE + "RRULE:FREQ=WEEKLY\nSUMMARY:Ana"), MEMBERS, None, NOW)
    assert len(weekly) == 52
    assert all(shift.from_ms < NOW + AHEAD_MS for shift in weekly)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (ONCE + "RRULE:FREQ=SECONDLY", "event 1: a rule has FREQ=DAILY"),
        (ONCE + "RRULE:FREQ=MINUTELY;COUNT=9", "event 1: a rule has FREQ=DAILY"),
        (ONCE + "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "event 1: a rule has FREQ=DAILY"),
        (ONCE + "RRULE:FREQ=DAILY;BYSECOND=0,1,2,3,4,5", "event 1: a part of this rule"),
        (ONCE + "RRULE:FREQ=DAILY;COUNT=99999999999999999999", "event 1"),
        (ONCE + "RRULE:FREQ=WEEKLY;BYDAY=MO", "event 1: the start is not one"),
        (ONCE + "RRULE:FREQ=WEEKLY\nRRULE:FREQ=DAILY", "event 1: two rules"),
        (ONCE + "RRULE:;;;===", "event 1"),
        (ONCE + "RECURRENCE-ID;RANGE=THISANDFUTURE:20261101T120000Z", "event 1: two rules, or a change"),
        (ONCE + "RDATE;VALUE=PERIOD:20261105T120000Z/PT1H", "event 1: a period"),
        ("DTSTART:20261101T120000Z\nDTEND:20261101T120000Z", "event 1: it ends before it begins"),
        ("DTSTART:20261101T120000Z", "event 1: it ends before it begins"),
        ("DTSTART:20261101T120000Z\nDURATION:-PT1H", "event 1: it ends before it begins"),
        ("DTSTART:20261101T120000Z\nDURATION:P9999D", "event 1: it lasts longer"),
        ("DTSTART:00010101T120000Z\nDTEND:20261101T120000Z", "event 1: its times"),
        ("DTSTART:99991231T235959Z\nDURATION:P1D", "event 1: its times"),
        ("DTSTART:yesterday\nDTEND:20261101T120000Z", "event 1"),
        ("DTSTART;TZID=Mars/Olympus:20261101T120000\nDURATION:PT1H", "event 1: its time zone is none"),
        ("DTSTART;TZID=../../etc/passwd:20261101T120000\nDURATION:PT1H", "event 1: its time zone is none"),
        ("DTSTART;TZID=right/UTC:20261101T120000\nDURATION:PT1H", "event 1: its time zone is none"),
        ("SUMMARY:Ana", "event 1"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_number(event: str, sentence: str) -> None:
    refused(calendar(event + "\nSUMMARY:Ana"), sentence)


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "BEGIN:VEVENT\nEND:VEVENT", "BEGIN:VCALENDAR", "END:VCALENDAR", calendar(ONCE) * 2,
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\nEND:VEVENT\n", "BEGIN:VCALENDAR\n" * 3_000,
    ],
)  # fmt: skip
def test_what_is_no_calendar_is_told_so(text: str) -> None:
    refused(text, "not one iCalendar file")


def test_zones_and_alarms_of_the_calendar_s_own_are_not_even_read() -> None:
    """A VTIMEZONE has rules as well, which could be followed for ever."""
    hostile = "BEGIN:VTIMEZONE\nTZID:America/New_York\nBEGIN:STANDARD\nDTSTART:00010101T000000\nRRULE:FREQ=SECONDLY\nTZOFFSETFROM:+0000\nTZOFFSETTO:+2300\nEND:STANDARD\nEND:VTIMEZONE\n"
    alarm = "BEGIN:VALARM\nTRIGGER:-PT15M\nDTSTART:19700101T000000Z\nSUMMARY:Ben\nEND:VALARM\n"
    noon = "DTSTART;TZID=America/New_York:20261102T120000\nDURATION:PT1H\nSUMMARY:Ana\n"
    assert placed(calendar(noon + alarm, head=hostile)) == [("Ana", "11-02T17:00", "11-02T18:00")]


def test_no_more_is_made_than_a_rota_holds_however_hostile() -> None:
    """Sixty thousand characters of events that repeat daily since the year 2000, in different or in the same words."""
    old = "DTSTART:20000101T{hour:02}0000Z\nDTEND:20000101T{hour:02}3000Z\nRRULE:FREQ=DAILY;BYHOUR={hour},5,7,9,11,15\nSUMMARY:Ana"
    for hours in (range(16, 24), [16] * 24):
        events = [old.format(hour=hour) for hour in hours] * (CALENDAR_CHARS // 170 // len(hours))
        ics = calendar(*events)
        assert 35_000 < len(ics) <= CALENDAR_CHARS
        began = time.process_time()
        refused(ics, f"a rota holds {ROTA_ENTRIES} shifts", WireError.TOO_LARGE)
        assert time.process_time() - began < 2.0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "UID:1", "SUMMARY:Ana", "DTSTART:20261101T120000Z",
             "DTEND:20261101T200000Z", "DURATION:P1D", "RRULE:FREQ=DAILY", "EXDATE:20261101", "DTSTART;VALUE=DATE:20261101",
             "RDATE:19990101T000000Z", "ATTENDEE;CN=:x", "RECURRENCE-ID:20261101T120000Z", "DTSTART;TZID=:x", "STATUS:CANCELLED"]
        ) | st.text(max_size=12),
        max_size=14,
    ),
    st.booleans(),
)  # fmt: skip
def test_whatever_comes_is_placed_or_refused(lines: list[str], framed: bool) -> None:
    if framed:
        lines = ["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR"]
    try:
        found = shifts("\n".join(lines), MEMBERS, NEW_YORK, NOW)
    except ProtocolError:
        return
    assert all(shift.from_ms < shift.until_ms and shift.until_ms > NOW for shift in found)


def test_a_new_calendar_takes_the_place_of_the_old_and_leaves_what_was_done_by_hand() -> None:
    past, ahead = OverrideRow(b"1", 0, NOW, A, "shift"), OverrideRow(b"2", NOW, NOW + 2, A, "shift")
    cover = OverrideRow(b"3", NOW, NOW + 1, B)
    new = OverrideRow(b"4", NOW, NOW + 9, C, "shift")
    row = with_shifts(RotaRow("x", 0, overrides=(ahead, past, cover)), (new,), NOW)
    assert row.overrides == (past, new, cover)


# ---- out


def events_of(written: bytes) -> list[Any]:
    read: Any = Calendar.from_ical(written)
    return list(read.walk("VEVENT"))


def test_a_feed_says_when_and_never_who() -> None:
    window = feed_window(NOW + 5 * HOUR)
    assert window == feed_window(NOW)
    night = (NOW + 20 * HOUR, NOW + 32 * HOUR)
    spans = [
        Span(window[0], night[0], A, "rotation"),
        Span(*night, B, "override"),
        Span(night[1], window[1], None, "gap"),
    ]
    whole = feed(ROTA, "crisis line; north\\", spans, None)
    assert whole == feed(ROTA, "crisis line; north\\", spans, None)
    events = events_of(whole)
    assert [(e["SUMMARY"], e.start, e.end) for e in events][1:] == [
        (
            f"On call: crisis line; north\\ ({B.hex()[:8]})",
            datetime.fromtimestamp(night[0] / 1000, UTC),
            datetime.fromtimestamp(night[1] / 1000, UTC),
        ),
        (
            "Nobody on call: crisis line; north\\",
            datetime.fromtimestamp(night[1] / 1000, UTC),
            datetime.fromtimestamp(window[1] / 1000, UTC),
        ),
    ]
    assert len({e["UID"] for e in events}) == 3
    (mine,) = events_of(feed(ROTA, "x", spans, B))
    assert mine["SUMMARY"] == "On call: x"


def test_what_a_feed_says_can_be_imported_again() -> None:
    spans = [Span(NOW, NOW + HOUR, A, "rotation"), Span(NOW + HOUR, NOW + 3 * HOUR, B, "rotation")]
    names = {f"On call: x ({member.hex()[:8]})": member for member in (A, B)}
    back = shifts(feed(ROTA, "x", spans, None).decode(), names, None, NOW)
    assert [(s.from_ms, s.until_ms, s.member) for s in back] == [
        (s.from_ms, s.until_ms, s.member) for s in spans
    ]
