"""Who is on call: compared with a slow model that was written another way, and told by hand for the nights that matter."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.ids import MemberId, RotaId
from leeside_server.core.rota import (
    AbsenceRow,
    OverrideRow,
    RotaRow,
    RotationRow,
    Span,
    gaps,
    holder,
    spans,
)

A, B, C, D = (MemberId(letter * 16) for letter in (b"a", b"b", b"c", b"d"))
MEMBERS = (A, B, C, D)
ONE, TWO, THREE = (RotaId(letter * 16) for letter in (b"1", b"2", b"3"))
ROTAS = (ONE, TWO, THREE)
HOUR = 3_600_000
DAY = 24 * HOUR
QUARTER = timedelta(minutes=15)


def ms(when: str, zone: str = "UTC") -> int:
    """An instant, from a wall time that comes once."""
    return int(datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def rotation(
    start: str,
    rule: str = "FREQ=DAILY",
    hours: float = 24,
    members: tuple[MemberId, ...] = (A, B),
    zone: str = "UTC",
) -> RotationRow:
    return RotationRow(b"r" * 16, zone, start, rule, int(hours * 60), members)


def rota(*rotations: RotationRow, **more: Any) -> RotaRow:
    return RotaRow("crisis line", 0, rotations, **more)


# ---- the model: every quarter of an hour and every day, one by one


@cache
def model_instant(wall: datetime, zone: str) -> int:
    """Looks at the clocks of the zone until they show this time; where they never do, goes on from the last before."""
    where = ZoneInfo(zone)
    at = wall.replace(tzinfo=UTC) - timedelta(hours=16)
    before = at
    while True:
        shown = at.astimezone(where).replace(tzinfo=None, fold=0)
        if shown == wall:
            return int(at.timestamp() * 1000)
        if shown > wall:
            last = before.astimezone(where).replace(tzinfo=None, fold=0)
            return int((before + (wall - last)).timestamp() * 1000)
        before, at = at, at + QUARTER


def model_walls(row: RotationRow, until: date) -> list[datetime]:
    """Occurrences of the rules that `rotations` draws, day after day."""
    parts = dict(part.split("=") for part in row.rule.split(";"))
    start = datetime.fromisoformat(row.start)
    names = parts["BYDAY"].split(",") if "BYDAY" in parts else None
    hours = sorted(int(hour) for hour in parts.get("BYHOUR", str(start.hour)).split(","))
    step = int(parts.get("INTERVAL", "1"))
    monday = start.date() - timedelta(days=start.weekday())
    found: list[datetime] = []
    day = start.date()
    while day <= until:
        if parts["FREQ"] == "MONTHLY":
            months = (day.year - start.year) * 12 + day.month - start.month
            fits = day.day == start.day and months % step == 0
        elif parts["FREQ"] == "WEEKLY":
            wanted = names or [f"{start:%a}"[:2].upper()]
            fits = f"{day:%a}"[:2].upper() in wanted and (day - monday).days // 7 % step == 0
        else:
            fits = (day - start.date()).days % step == 0 and (
                names is None or f"{day:%a}"[:2].upper() in names
            )
        for hour in hours:
            wall = datetime.combine(day, clock(hour, start.minute))
            if fits and wall >= start:
                found.append(wall)
        day += timedelta(days=1)
    return found


def model_holder(
    rotas: Mapping[RotaId, RotaRow],
    rota_id: RotaId,
    at_ms: int,
    ended: Collection[MemberId],
    seen: frozenset[RotaId] = frozenset(),
) -> MemberId | None:
    row = rotas.get(rota_id)
    if row is None or row.ended_ms or rota_id in seen:
        return None
    gone = set(ended)
    away = gone | {a.member for a in row.absences if a.from_ms <= at_ms and not a.until_ms <= at_ms}
    answer: MemberId | None = None
    for override in row.overrides:  # a later one wins
        if override.member not in (away if override.why == "shift" else gone) and not (
            at_ms < override.from_ms or at_ms >= override.until_ms
        ):
            answer = override.member
    if answer is not None:
        return answer
    until = datetime.fromtimestamp(at_ms // 1000, UTC).date() + timedelta(days=2)
    for one in row.rotations:
        current = None
        for number, wall in enumerate(model_walls(one, until)):
            begins = model_instant(wall, one.zone)
            if begins <= at_ms < model_instant(wall + timedelta(minutes=one.length_min), one.zone):
                current = max(current or (0, 0), (begins, number))
        if current is not None:
            member = one.members[current[1] % len(one.members)]
            if member not in away:
                return member
    return None if row.fallback is None else model_holder(rotas, row.fallback, at_ms, ended, seen | {rota_id})


# ---- what is drawn: around the nights on which clocks change

NIGHTS = (
    "2026-03-08T06:00",  # New York
    "2026-11-01T06:00",
    "2026-10-03T15:00",  # Lord Howe
    "2026-04-04T15:00",
    "2026-09-26T14:00",  # Chatham
    "2026-03-29T01:00",  # London, Troll
    "2028-02-29T00:00",
)
ZONES = (
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "Antarctica/Troll",
    "Europe/London",
)
WEEK = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@st.composite
def rotations(draw: st.DrawFn, night: datetime) -> RotationRow:
    start = (
        night.replace(tzinfo=None)
        - timedelta(days=draw(st.integers(0, 70)))
        + draw(st.integers(-60, 60)) * QUARTER
    )
    frequency = draw(st.sampled_from(["DAILY", "DAILY", "WEEKLY", "MONTHLY"]))
    parts = [f"FREQ={frequency}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 3))}")
    if frequency != "MONTHLY" and draw(st.booleans()):
        parts.append(
            "BYDAY="
            + ",".join(sorted(draw(st.sets(st.sampled_from(WEEK), max_size=4)) | {WEEK[start.weekday()]}))
        )
    if frequency != "MONTHLY" and draw(st.booleans()):
        parts.append(
            "BYHOUR="
            + ",".join(map(str, sorted(draw(st.sets(st.integers(0, 23), max_size=2)) | {start.hour})))
        )
    minutes = draw(st.sampled_from([15, 30, 60, 480, 720, 1440, 2880, 10_080]))
    members = tuple(draw(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=5)))
    return RotationRow(
        b"r" * 16, draw(st.sampled_from(ZONES)), f"{start:%Y-%m-%dT%H:%M}", ";".join(parts), minutes, members
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[RotaId, RotaRow], frozenset[MemberId], int]:
    night = datetime.fromisoformat(draw(st.sampled_from(NIGHTS))).replace(tzinfo=UTC)
    night_ms = int(night.timestamp() * 1000)

    def interval() -> tuple[int, int]:
        begin = night_ms + draw(st.integers(-200, 200)) * 900_000
        return begin, begin + draw(st.integers(1, 300)) * 900_000

    rotas: dict[RotaId, RotaRow] = {}
    for rota_id in (ONE, *draw(st.lists(st.sampled_from((TWO, THREE)), max_size=2, unique=True))):
        overrides = tuple(
            OverrideRow(
                b"o" * 16,
                *interval(),
                draw(st.sampled_from(MEMBERS)),
                draw(st.sampled_from(["cover", "swap", "shift"])),
            )
            for _ in range(draw(st.integers(0, 2)))
        )
        absences = tuple(
            AbsenceRow(b"x" * 16, draw(st.sampled_from(MEMBERS)), *interval())
            for _ in range(draw(st.integers(0, 2)))
        )
        rotas[rota_id] = RotaRow(
            "r",
            0,
            tuple(draw(rotations(night)) for _ in range(draw(st.integers(0, 2)))),
            overrides,
            absences,
            fallback=draw(st.none() | st.sampled_from(ROTAS)),
            ended_ms=draw(st.sampled_from([0, 0, 0, 1])),
        )
    return rotas, draw(st.frozensets(st.sampled_from(MEMBERS), max_size=1)), night_ms


@settings(max_examples=500, deadline=None)
@given(
    worlds(), st.lists(st.tuples(st.integers(-300, 300), st.sampled_from([-1, 0, 1])), min_size=1, max_size=4)
)
def test_at_every_instant_exactly_the_holder_of_the_definition(
    world: tuple[dict[RotaId, RotaRow], frozenset[MemberId], int], instants: list[tuple[int, int]]
) -> None:
    rotas, ended, night_ms = world
    for quarter, off_ms in instants:
        at_ms = night_ms + quarter * 900_000 + off_ms
        assert holder(rotas, ONE, at_ms, ended) == model_holder(rotas, ONE, at_ms, ended)


@settings(max_examples=300, deadline=None)
@given(worlds(), st.integers(-300, 100), st.integers(1, 400))
def test_spans_cover_their_window_and_say_what_holder_says(
    world: tuple[dict[RotaId, RotaRow], frozenset[MemberId], int], quarter: int, quarters: int
) -> None:
    rotas, ended, night_ms = world
    from_ms = night_ms + quarter * 900_000 + 1
    until_ms = from_ms + quarters * 900_000
    found = spans(rotas, ONE, from_ms, until_ms, ended)
    assert (found[0].from_ms, found[-1].until_ms) == (from_ms, until_ms)
    for one, following in pairwise(found):
        assert one.until_ms == following.from_ms
        assert (one.member, one.why) != (following.member, following.why)
    for span in found:
        assert (span.member is None) is (span.why == "gap")
        for at_ms in (span.from_ms, span.from_ms + 1, (span.from_ms + span.until_ms) // 2, span.until_ms - 1):
            assert holder(rotas, ONE, at_ms, ended) == span.member
    assert gaps(rotas, ONE, from_ms, until_ms, ended) == [span for span in found if span.why == "gap"]


# ---- told by hand


@pytest.mark.parametrize(
    ("zone", "evening", "hours"),
    [
        ("America/New_York", "2026-03-07T20:00", 11),
        ("America/New_York", "2026-03-08T20:00", 12),
        ("America/New_York", "2026-10-31T20:00", 13),
        ("Australia/Lord_Howe", "2026-10-03T20:00", 11.5),
        ("Australia/Lord_Howe", "2026-04-04T20:00", 12.5),
        ("Asia/Kolkata", "2026-03-07T20:00", 12),
        ("Antarctica/Troll", "2026-03-28T20:00", 10),
    ],
)
def test_a_night_shift_is_as_long_as_its_night(zone: str, evening: str, hours: float) -> None:
    nights = rota(
        rotation("2026-01-01T20:00", hours=12, zone=zone),
        rotation("2026-01-01T08:00", hours=12, members=(C,), zone=zone),
    )
    begins = ms(evening, zone)
    (night,) = [
        span for span in spans({ONE: nights}, ONE, begins - DAY, begins + DAY) if span.from_ms == begins
    ]
    assert night.member in (A, B)
    assert night.until_ms - night.from_ms == hours * HOUR
    assert gaps({ONE: nights}, ONE, begins - 30 * DAY, begins + 30 * DAY) == []


@pytest.mark.parametrize(
    ("start", "rule", "hours"),
    [
        # Shifts that end at 1:45, 2:45 and 3:45 of a night without 1:00 to 3:00: the second ends last.
        ("2026-03-26T20:00", "FREQ=DAILY;BYHOUR=20,21,22", 5.75),
        # Shifts that begin at 1:30, 2:30 and 3:30 of it: the second begins last.
        ("2026-03-26T01:30", "FREQ=DAILY;BYHOUR=1,2,3", 12),
        ("2026-03-26T01:30", "FREQ=DAILY;BYHOUR=1,2,3", 1),
    ],
)
def test_shifts_that_a_long_gap_of_the_clocks_puts_out_of_order(start: str, rule: str, hours: float) -> None:
    night = {ONE: rota(rotation(start, rule, hours, (A, B, C, D), "Antarctica/Troll"))}
    from_ms = ms("2026-03-28T22:00")
    found = spans(night, ONE, from_ms, from_ms + DAY // 2)
    for at_ms in range(from_ms, from_ms + DAY // 2, 900_000):
        expected = model_holder(night, ONE, at_ms, ())
        assert holder(night, ONE, at_ms) == expected
        assert next(span.member for span in found if span.from_ms <= at_ms < span.until_ms) == expected


def test_the_29th_of_february_has_its_own_shift() -> None:
    daily = {ONE: rota(rotation("2028-02-27T08:00", members=(A, B, C, D)))}
    assert [
        holder(daily, ONE, ms(f"{day}T12:00"))
        for day in ("2028-02-27", "2028-02-28", "2028-02-29", "2028-03-01")
    ] == [A, B, C, D]
    without = {ONE: rota(rotation("2027-02-27T08:00", members=(A, B, C, D)))}
    assert [
        holder(without, ONE, ms(f"{day}T12:00")) for day in ("2027-02-27", "2027-02-28", "2027-03-01")
    ] == [A, B, C]


def test_hand_over_is_at_the_very_instant() -> None:
    daily = {ONE: rota(rotation("2026-03-01T08:00"))}
    at_ms = ms("2026-03-02T08:00")
    assert [holder(daily, ONE, at) for at in (at_ms - 1, at_ms, at_ms + 1)] == [A, B, B]
    assert holder(daily, ONE, ms("2026-03-01T08:00") - 1) is None


def test_precedence() -> None:
    noon = ms("2026-03-01T12:00")
    hour = (noon, noon + HOUR)
    plain = rota(rotation("2026-03-01T08:00", members=(A,)), rotation("2026-03-01T08:00", members=(B,)))

    def on_call(ended: Collection[MemberId] = (), at_ms: int = noon, **more: Any) -> MemberId | None:
        return holder(
            {
                ONE: msgspec.structs.replace(plain, **more),
                TWO: rota(rotation("2026-03-01T08:00", members=(D,))),
            },
            ONE,
            at_ms,
            ended,
        )

    cover = OverrideRow(b"1", *hour, C)
    shift = OverrideRow(b"2", *hour, C, "shift")
    away = AbsenceRow(b"3", C, *hour)
    assert on_call() == A
    assert on_call(overrides=(OverrideRow(b"0", *hour, B), cover)) == C, "the newest counts"
    assert on_call(overrides=(cover,), at_ms=noon + HOUR) == A, "until is not included"
    assert on_call(overrides=(cover,), absences=(away,)) == C, "who covers said that they are there"
    assert on_call(overrides=(shift,), absences=(away,)) == A, "a calendar's shift is no such word"
    assert on_call(overrides=(cover,), ended={C}) == A, "nobody pages a member who left"
    assert on_call(absences=(AbsenceRow(b"3", A, *hour),)) == B
    assert on_call(ended={A, B}, fallback=TWO) == D
    assert on_call(ended={A, B}) is None
    assert on_call(ended_ms=1) is None


def test_fallbacks_that_come_back_are_cut() -> None:
    empty = {ONE: rota(fallback=TWO), TWO: rota(fallback=THREE), THREE: rota(fallback=ONE)}
    assert spans(empty, ONE, 10 * DAY, 11 * DAY) == [Span(10 * DAY, 11 * DAY, None, "gap")]
    found = {**empty, THREE: rota(rotation("2026-03-01T08:00", members=(C,)), fallback=ONE)}
    at_ms = ms("2026-03-01T12:00")
    assert spans(found, ONE, at_ms, at_ms + 1) == [Span(at_ms, at_ms + 1, C, "fallback")]
    assert holder({ONE: rota(fallback=ONE)}, ONE, at_ms) is None
    assert holder({}, ONE, at_ms) is None


def test_a_rotation_that_this_node_cannot_follow_is_a_gap_and_stops_nobody() -> None:
    lost = rota(rotation("2026-03-01T08:00", zone="Mars/Olympus"), rotation("2026-03-01T08:00", members=(C,)))
    assert holder({ONE: lost}, ONE, ms("2026-03-01T12:00")) == C


@pytest.mark.parametrize(
    ("rule", "hours"),
    [
        ("FREQ=DAILY", 24),
        ("FREQ=DAILY;BYHOUR=8,20", 12),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 24),
        ("FREQ=WEEKLY;INTERVAL=2", 14 * 24),
        ("FREQ=MONTHLY", 31 * 24),
    ],
)
def test_a_rota_of_ten_years_is_resolved_within_5_ms(rule: str, hours: int) -> None:
    old = {ONE: rota(rotation("2016-01-04T08:00", rule, hours, zone="America/New_York"))}
    at_ms = ms("2026-11-28T12:00")
    took: list[float] = []
    for _ in range(10):
        began = time.process_time()
        assert holder(old, ONE, at_ms) in (A, B)
        took.append(time.process_time() - began)
    assert min(took) < 0.005


def test_the_row_of_a_full_rota_fits_the_store() -> None:
    """An object has 64 KiB at most: a year of a calendar's daily shifts, and eight rotations of everybody."""
    full = rota(
        *(
            rotation(
                "2026-03-01T08:00", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR,SA,SU", members=MEMBERS * 16
            )
            for _ in range(8)
        ),
        overrides=tuple(
            OverrideRow(b"o" * 16, n * DAY + 1_800_000_000_000, n * DAY + 1_800_000_000_001, A, "shift")
            for n in range(400)
        ),
    )
    assert len(msgspec.json.encode(full)) < 60_000
    assert msgspec.json.decode(msgspec.json.encode(full), type=RotaRow) == full
