"""Figures: what is counted, by whose clock, and what is hidden so that no sum gives it away."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.oncall import FigureCell, Figures
from leeside_protocol.words import ConsultState
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.figures import FEWEST, WEEKDAYS, figures, figures_csv, hidden_cells
from tests.core.oncall_world import OnCall

NEW_YORK = ZoneInfo("America/New_York")
ROW = OnCall().row


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    """The instant of a wall time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


START, END = at("2026-11-01T00:00"), at("2026-12-01T00:00")


def asked(
    when: str | int = "2026-11-03T10:00",
    page_s: float | None = 0.1,
    accept_s: float | None = 30,
    join_s: float | None = 40,
    exhausted_s: float | None = None,
    deepest: int = 0,
    state: ConsultState = ConsultState.ENDED,
) -> ConsultRow:
    """A consult by its clear times, in seconds after it was asked for."""
    start = at(when) if isinstance(when, str) else when

    def later(seconds: float | None) -> int:
        return 0 if seconds is None else start + round(seconds * 1000)

    return replace(
        ROW, requested_ms=start, paged_ms=later(page_s), answered_ms=later(accept_s), met_ms=later(join_s),
        exhausted_ms=later(exhausted_s), deepest=deepest, state=state,
    )  # fmt: skip


def unanswered(state: ConsultState = ConsultState.EXHAUSTED) -> ConsultRow:
    return asked(accept_s=None, join_s=None, exhausted_s=120, deepest=1, state=state)


def made(*rows: ConsultRow) -> Figures:
    return figures(rows, START, END, "America/New_York")


def test_times_are_counted_from_the_request_to_the_first_of_each() -> None:
    rows = [asked(page_s=n / 10, accept_s=n, join_s=2 * n) for n in range(1, 21)]
    cell = made(*rows).all
    assert cell.consults == 20
    assert (cell.to_page_p50_ms, cell.to_page_p90_ms, cell.to_page_p95_ms) == (1_000, 1_800, 1_900)
    assert (cell.to_accept_p50_ms, cell.to_accept_p90_ms, cell.to_accept_p95_ms) == (10_000, 18_000, 19_000)
    assert (cell.to_join_p50_ms, cell.to_join_p90_ms, cell.to_join_p95_ms) == (20_000, 36_000, 38_000)


def test_a_time_needs_five_that_had_it_and_a_95th_of_a_hundred_twenty() -> None:
    rows = [asked() for _ in range(4)] + [unanswered() for _ in range(15)]
    cell = made(*rows).all
    assert (cell.consults, cell.to_accept_p50_ms, cell.to_page_p50_ms) == (19, None, 100)
    assert cell.to_page_p95_ms is None
    cell = made(*rows, asked()).all
    assert (cell.to_accept_p50_ms, cell.to_page_p95_ms) == (30_000, 100)


def test_what_nobody_accepted_is_counted_once_it_is_settled() -> None:
    going_on = asked(accept_s=None, join_s=None, state=ConsultState.PAGING)
    withdrawn = asked(accept_s=None, join_s=None, state=ConsultState.CANCELLED)
    late = asked(accept_s=300, exhausted_s=120, deepest=1)
    rows = [asked(), asked(), asked(), late, unanswered(), withdrawn, going_on, going_on]
    cell = made(*rows).all
    assert (cell.consults, cell.unanswered, cell.exhausted) == (8, 0.333, 0.333)
    assert cell.depth == 1.25
    assert made(*[going_on] * 6).all.unanswered is None


def test_a_held_request_that_was_never_released_has_no_page_and_no_depth() -> None:
    held = asked(page_s=None, accept_s=None, join_s=None, deepest=-1, state=ConsultState.REQUESTED)
    cell = made(*[held] * 6).all
    assert (cell.consults, cell.to_page_p50_ms, cell.depth) == (6, None, None)


def test_the_window_is_half_open() -> None:
    rows = [
        asked(START),
        asked(START),
        asked(START - 1),
        asked(END - 1),
        asked(END),
        asked(START),
        asked(START),
    ]
    assert made(*rows).all.consults == 5


@pytest.mark.parametrize(
    ("when", "zone", "hour", "weekday"),
    [
        ("2026-11-03T10:59:59", "America/New_York", 10, "tuesday"),
        ("2026-11-02T00:00", "America/New_York", 0, "monday"),
        # 05:30 UTC is the first of the two hours from 1 to 2 of that night, and 06:30 the second
        (at("2026-11-01T05:30", ZoneInfo("UTC")), "America/New_York", 1, "sunday"),
        (at("2026-11-01T06:30", ZoneInfo("UTC")), "America/New_York", 1, "sunday"),
        (at("2026-11-01T07:00", ZoneInfo("UTC")), "America/New_York", 2, "sunday"),
        (at("2026-11-03T18:31", ZoneInfo("UTC")), "Asia/Kolkata", 0, "wednesday"),
        (at("2026-11-03T13:15", ZoneInfo("UTC")), "Australia/Lord_Howe", 0, "wednesday"),
    ],
)
def test_hours_and_weekdays_are_those_of_the_zone(
    when: str | int, zone: str, hour: int, weekday: str
) -> None:
    found = figures([asked(when)] * 6, START, END, zone)
    assert [cell.label for cell in found.by_hour if cell.consults] == [f"{hour:02}"]
    assert [cell.label for cell in found.by_weekday if cell.consults] == [weekday]
    assert (len(found.by_hour), len(found.by_weekday)) == (24, 7)


@pytest.mark.parametrize(
    ("zone", "from_ms", "until_ms"), [("Mars/Olympus", 0, 1), ("UTC", 1, 1), ("UTC", 2, 1)]
)
def test_a_zone_that_is_none_and_an_empty_window_are_invalid(zone: str, from_ms: int, until_ms: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        figures([], from_ms, until_ms, zone)
    assert refused.value.code is WireError.INVALID


def test_a_small_window_is_hidden_whole_and_an_empty_one_is_zero() -> None:
    for few in (1, FEWEST - 1):
        found = made(*[asked()] * few)
        cells = [found.all, *(cell for cell in found.by_hour if cell.consults != 0)]
        assert [msgspec.structs.astuple(cell)[1:] for cell in cells] == [(None,) * 13] * 2
    assert made().all.consults == 0


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ((), ()),
        ((0, 0), ()),
        ((5, 9), ()),
        ((3, 9, 7), (0, 2)),
        ((1, 2, 9, 50), (0, 1, 2)),
        ((2, 3, 9), (0, 1)),
        ((4, 0, 0), (0,)),
        ((4, 0, 80), (0, 2)),
    ],
)
def test_a_hidden_cell_takes_another_with_it(counts: tuple[int, ...], hidden: tuple[int, ...]) -> None:
    assert hidden_cells(counts) == frozenset(hidden)


@given(st.lists(st.integers(0, 12), max_size=24))
def test_what_is_hidden_stands_for_five_together_and_no_small_cell_is_shown(counts: list[int]) -> None:
    hidden = hidden_cells(counts)
    assert all(count == 0 or count >= FEWEST for at, count in enumerate(counts) if at not in hidden)
    if hidden and sum(counts) >= FEWEST:
        assert len(hidden) >= 2
        assert sum(counts[at] for at in hidden) >= FEWEST
    if all(count == 0 or count >= FEWEST for count in counts):
        assert hidden == set()


def test_csv_has_a_line_for_each_cell_and_nothing_where_it_is_hidden() -> None:
    rows = (
        [asked("2026-11-03T10:00")] * 6 + [asked("2026-11-04T11:00")] * 2 + [asked("2026-11-05T12:00")] * 30
    )
    text = figures_csv(made(*rows))
    assert text.endswith("\r\n")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["cut"] for line in lines] == ["all", *["hour"] * 24, *["weekday"] * 7]
    assert list(lines[0]) == ["cut", "cell", *FigureCell.__struct_fields__[1:]]
    by = {line["cell"]: line["consults"] for line in lines}
    assert (by["all"], by["12"], by["thursday"], by["00"]) == ("38", "30", "30", "0")
    assert (by["11"], by["10"], by["wednesday"], by["tuesday"]) == ("", "", "", "")
    assert lines[0]["to_accept_p95_ms"] == "30000"
    assert [line["cell"] for line in lines[25:]] == list(WEEKDAYS)


def test_figures_are_json() -> None:
    found = made(*[asked()] * 6)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Figures) == found
