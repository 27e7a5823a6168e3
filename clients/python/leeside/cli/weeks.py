"""Weeks as text: who is on call, half an hour a letter, with the gaps where nobody is.

    America/New_York  00    03    06    09    12    15    18    21
    Mon 30 Nov        aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbaaaaaaaa
    Tue  1 Dec        aaaaaaaaaaaa!!!!bbbbbbbbbbbbbbbbbbbbbbbbaaaaaaaa

A gap of a minute is drawn as one of half an hour: none is overlooked. A half hour that the clocks skip is empty.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as clock
from typing import Final

from leeside_protocol import oncall as o

GAP: Final = "!"
MANY: Final = "*"
"""Whoever comes behind the last letter."""
_LETTERS: Final = string.ascii_lowercase + string.ascii_uppercase
_CELL: Final = timedelta(minutes=30)
_CELLS: Final = 48


def midnight_ms(day: date, zone: tzinfo) -> int:
    """When a day begins in a zone."""
    return _ms(datetime.combine(day, clock(0)), zone)


def draw(spans: Sequence[o.Span], first: date, days: int, zone: tzinfo, title: str) -> list[str]:
    """The picture's lines: a ruler, then one line a day. `letters` says who is who."""
    who = letters(spans)
    width = max(len(title), 10) + 2
    lines = [title.ljust(width) + "".join(f"{hour:02}".ljust(6) for hour in range(0, 24, 3)).rstrip()]
    for number in range(days):
        day = first + timedelta(days=number)
        cells = "".join(_cell(spans, day, cell, zone, who) for cell in range(_CELLS))
        lines.append(f"{day:%a} {day.day:2} {day:%b}".ljust(width) + cells.rstrip())
    return lines


def letters(spans: Sequence[o.Span]) -> dict[str, str]:
    """A letter for each member, in the order in which they come."""
    members = dict.fromkeys(span.member for span in spans if span.member is not None)
    return {member: _LETTERS[n] if n < len(_LETTERS) else MANY for n, member in enumerate(members)}


def legend(spans: Sequence[o.Span], show: Callable[[str], str]) -> str:
    """Who the letters are, and what `GAP` is where there is one."""
    parts = [f"{letter} {show(member)}" for member, letter in letters(spans).items()]
    if any(span.member is None for span in spans):
        parts.append(f"{GAP} nobody")
    return "   ".join(parts)


def _cell(spans: Sequence[o.Span], day: date, cell: int, zone: tzinfo, who: dict[str, str]) -> str:
    wall = datetime.combine(day, clock(0)) + cell * _CELL
    begin_ms, end_ms = _ms(wall, zone), _ms(wall + _CELL, zone)
    if datetime.fromtimestamp(begin_ms / 1000, UTC).astimezone(zone).replace(tzinfo=None, fold=0) != wall:
        return " "
    found = [span for span in spans if span.from_ms < end_ms and span.until_ms > begin_ms]
    if any(span.member is None for span in found):
        return GAP
    most = max(found, key=lambda s: min(s.until_ms, end_ms) - max(s.from_ms, begin_ms), default=None)
    return " " if most is None or most.member is None else who[most.member]


def _ms(wall: datetime, zone: tzinfo) -> int:
    return round(wall.replace(tzinfo=zone).timestamp() * 1000)
