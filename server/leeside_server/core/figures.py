"""How long consults waited: figures of an agency from the clear times alone (spec 08, "Figures").

Pure. Times are of the first page, acceptance and joining, so that a session that was lost and found again does not make its
consult look slow, or quick. A quantile is the nearest rank: a time that somebody did wait.

**Small cells.** What stands for fewer than `FEWEST` consults could be somebody's story, and figures are passed on. Such a cell is
hidden. A single hidden cell could be had back from the sum, so the smallest others are hidden with it until they are two at
least, and stand for `FEWEST` consults together: nothing that is subtracted from the whole tells of fewer. Not prevented: two
windows that differ by one consult. Who may ask for figures sees each consult anyway; who was given them cannot ask.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.oncall import FigureCell, Figures
from leeside_server.core.consult_row import FINAL, ConsultRow
from leeside_server.core.recurrence import zone as zone_of

FEWEST: Final = 5
"""A number that stands for fewer consults is not shown."""
FEWEST_P95: Final = 20
"""Of fewer times the 95th of a hundred is but the longest."""
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def figures(rows: Iterable[ConsultRow], from_ms: int, until_ms: int, zone: str) -> Figures:
    """Figures of the consults asked for from `from_ms` until before `until_ms`; hours and weekdays are those of `zone`.

    Raises `invalid` for a zone that is none and a window that is empty.
    """
    where = zone_of(zone)
    if from_ms >= until_ms:
        raise ProtocolError(WireError.INVALID, "a window ends after it begins")
    chosen = [row for row in rows if from_ms <= row.requested_ms < until_ms]
    hours = [f"{hour:02}" for hour in range(24)]
    return Figures(
        from_ms=from_ms,
        until_ms=until_ms,
        zone=zone,
        fewest=FEWEST,
        all=_cell("all", chosen, hidden=0 < len(chosen) < FEWEST),
        by_hour=_cut(chosen, hours, lambda row: _local(row, where).hour),
        by_weekday=_cut(chosen, WEEKDAYS, lambda row: _local(row, where).weekday()),
    )


def figures_csv(found: Figures) -> str:
    """The same as CSV (RFC 4180): a line for each cell, `all`, `hour` and `weekday`. What is hidden, or was not measured, is
    empty; no field holds anything that a person typed."""
    text = io.StringIO()
    write = csv.writer(text).writerow
    names = FigureCell.__struct_fields__[1:]
    write(("cut", "cell", *names))
    cuts = (("all", (found.all,)), ("hour", found.by_hour), ("weekday", found.by_weekday))
    for cut, cells in cuts:
        for cell in cells:
            values = [getattr(cell, name) for name in names]
            write((cut, cell.label, *("" if value is None else value for value in values)))
    return text.getvalue()


def hidden_cells(counts: Sequence[int]) -> frozenset[int]:
    """Which cells of one cut are hidden: those that are small, and as many others as it takes that the sum does not give them
    away. A cell of none tells of nobody, and is shown."""
    hidden = {at for at, count in enumerate(counts) if 0 < count < FEWEST}
    others = sorted((count, at) for at, count in enumerate(counts) if count >= FEWEST)
    while hidden and others and (len(hidden) < 2 or sum(counts[at] for at in hidden) < FEWEST):
        hidden.add(others.pop(0)[1])
    return frozenset(hidden)


def _cut(
    rows: Sequence[ConsultRow], labels: Sequence[str], key: Callable[[ConsultRow], int]
) -> tuple[FigureCell, ...]:
    groups: list[list[ConsultRow]] = [[] for _ in labels]
    for row in rows:
        groups[key(row)].append(row)
    hidden = hidden_cells([len(group) for group in groups])
    return tuple(
        _cell(label, group, hidden=at in hidden)
        for at, (label, group) in enumerate(zip(labels, groups, strict=True))
    )


def _cell(label: str, rows: Sequence[ConsultRow], *, hidden: bool) -> FigureCell:
    if hidden:
        return FigureCell(label, None)
    to_page = [row.paged_ms - row.requested_ms for row in rows if row.paged_ms]
    to_accept = [row.answered_ms - row.requested_ms for row in rows if row.answered_ms]
    to_join = [row.met_ms - row.requested_ms for row in rows if row.met_ms]
    settled = [row for row in rows if row.answered_ms or row.exhausted_ms or row.state in FINAL]
    climbed = [row.deepest + 1 for row in rows if row.deepest >= 0]
    return FigureCell(
        label=label,
        consults=len(rows),
        to_page_p50_ms=_quantile(to_page, 0.5),
        to_page_p90_ms=_quantile(to_page, 0.9),
        to_page_p95_ms=_quantile(to_page, 0.95),
        to_accept_p50_ms=_quantile(to_accept, 0.5),
        to_accept_p90_ms=_quantile(to_accept, 0.9),
        to_accept_p95_ms=_quantile(to_accept, 0.95),
        to_join_p50_ms=_quantile(to_join, 0.5),
        to_join_p90_ms=_quantile(to_join, 0.9),
        to_join_p95_ms=_quantile(to_join, 0.95),
        unanswered=_mean([not row.answered_ms for row in settled]),
        exhausted=_mean([bool(row.exhausted_ms) for row in settled]),
        depth=_mean(climbed),
    )


def _quantile(values_ms: Sequence[int], share: float) -> int | None:
    """The smallest value that so large a share does not exceed. Clocks that were set may make one negative: 0."""
    if len(values_ms) < (FEWEST_P95 if share > 0.9 else FEWEST):
        return None
    return max(0, sorted(values_ms)[math.ceil(share * len(values_ms)) - 1])


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if len(values) >= FEWEST else None


def _local(row: ConsultRow, where: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=row.requested_ms)).astimezone(where)
