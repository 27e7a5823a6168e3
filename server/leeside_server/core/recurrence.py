"""Wall time and its repetitions: zones, and the n-th occurrence of a rule (RFC 5545, "Recurrence Rule").

A rule is followed in wall time and only then resolved in its zone, so that "every day at 8" stays at 8 when the clocks
change. A wall time that comes twice is its first coming; one that is skipped lies as far behind the change as it lies in the
gap (PEP 495 with fold 0, and RFC 5545, "Date-Time"). Days and weeks are never counted from the rule's start: ten years of
them are stepped over in one division.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from dateutil.rrule import rrulestr

from leeside_protocol.errors import ProtocolError, WireError

FIRST_MS: Final = 946_684_800_000
"""2000-01-01: nothing of a rota lies before it."""
LAST_MS: Final = 4_102_444_800_000
"""2100-01-01: nothing of a rota lies behind it."""
MARGIN: Final = timedelta(hours=26)
"""More than any two offsets of one zone are apart: Samoa once skipped a day."""
MOST_HANDOVERS: Final = 6
"""Hand-overs of one rotation in a day."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE: Final = re.compile(
    r"(?!posix|right|localtime|Factory)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,3}\Z"
)
_WEEK: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY: Final = r"(MO|TU|WE|TH|FR|SA|SU)"
_NTH_DAY: Final = rf"-?[1-5]{_DAY}"
_HOUR: Final = r"([01]?[0-9]|2[0-3])"
_MONTH_DAY: Final = r"-?([1-9]|[12][0-9]|3[01])"
_COMMON: Final = {
    "FREQ": r"[A-Z]+",
    "INTERVAL": r"[1-9][0-9]{0,2}",
    "COUNT": r"[1-9][0-9]{0,2}",
    "UNTIL": r"[0-9]{8}(T[0-9]{6}Z?)?",
    "WKST": _DAY,
}
_BY_DAYS: Final = {
    "BYDAY": rf"{_DAY}(,{_DAY}){{0,6}}",
    "BYHOUR": rf"{_HOUR}(,{_HOUR}){{0,{MOST_HANDOVERS - 1}}}",
}
_BY_MONTHS: Final = {
    "BYDAY": rf"{_DAY}(,{_DAY}){{0,6}}|{_NTH_DAY}(,{_NTH_DAY}){{0,6}}",
    "BYMONTHDAY": rf"{_MONTH_DAY}(,{_MONTH_DAY}){{0,6}}",
}
_TAKEN: Final = {"DAILY": _COMMON | _BY_DAYS, "WEEKLY": _COMMON | _BY_DAYS, "MONTHLY": _COMMON | _BY_MONTHS}
_DAYS_A_STEP: Final = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 0}
_LONGEST_STEP: Final = {"DAILY": 366, "WEEKLY": 52, "MONTHLY": 12}


def zone(name: str) -> ZoneInfo:
    """A zone of the IANA database; `invalid` when there is none of this name."""
    try:
        if len(name) <= 64 and _ZONE.match(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise ProtocolError(WireError.INVALID, "a zone is a name of the IANA database, such as America/New_York")


def instant_ms(wall: datetime, where: ZoneInfo) -> int:
    """The instant of a wall time in a zone."""
    return (wall.replace(tzinfo=where, fold=0) - _EPOCH) // timedelta(milliseconds=1)


def utc(at_ms: int) -> datetime:
    """An instant as a UTC time."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def wall_time(at_ms: int, where: ZoneInfo) -> datetime:
    """What clocks in a zone show at an instant, without the zone."""
    return utc(at_ms).astimezone(where).replace(tzinfo=None, fold=0)


def parse_wall(text: str) -> datetime:
    """A wall time such as 2026-03-01T08:00; `invalid` when the calendar has no such day."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M")  # noqa: DTZ007  a wall time has no zone of its own
    except ValueError:
        raise _refused("a wall time is a day of the calendar and an hour, as in 2026-03-01T08:00") from None


class Rule(msgspec.Struct, frozen=True):
    """A rule that was checked: its first occurrence is `start`, and but for `count` and `until` it has no last one.

    `text` is what the library follows, without these two. Every `period` has `in_period` occurrences; a period of nothing
    is of no fixed length (months), and such a rule is followed from its start.
    """

    start: datetime
    text: str
    period: timedelta
    in_period: int
    count: int | None
    until: datetime | None

    def between(self, first: datetime, last: datetime) -> Iterator[tuple[int, datetime]]:
        """Number and wall time of every occurrence from `first` to `last`, both included, in order."""
        skipped = max(0, (first - self.start) // self.period) if self.period else 0
        number = skipped * self.in_period
        for wall in rrulestr(self.text, dtstart=self.start + skipped * self.period):
            over = (self.count is not None and number >= self.count) or (
                self.until is not None and wall > self.until
            )
            if over or wall > last:
                return
            if wall >= first:
                yield number, wall
            number += 1


def parse_rule(text: str, start: datetime, where: ZoneInfo) -> Rule:
    """The rule in an RRULE's text; `invalid`, with a sentence, for what no rota needs or a library could follow for ever.

    FREQ is DAILY, WEEKLY or MONTHLY, with INTERVAL, COUNT or UNTIL, WKST and BYDAY; BYHOUR with days and weeks, BYMONTHDAY
    with months. A yearly rotation has FREQ=MONTHLY;INTERVAL=12. `start` itself must be the first occurrence.
    """
    parts = _parts(text)
    frequency = parts["FREQ"]
    step = int(parts.pop("INTERVAL", "1"))
    if step > _LONGEST_STEP[frequency]:
        raise _refused("INTERVAL goes up to 366 days, 52 weeks or 12 months")
    count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
    if count is not None and until is not None:
        raise _refused("a rule has COUNT or UNTIL, not both")
    if "BYDAY" in parts and "BYMONTHDAY" in parts:
        raise _refused("a rule has BYDAY or BYMONTHDAY, not both")
    every = ";".join(f"{name}={value}" for name, value in parts.items())
    # Every rule that comes this far has an occurrence in each few months, unless it counts them in steps.
    if next(iter(rrulestr(every, dtstart=start)), None) != start:
        raise _refused("the start is not one of the days and hours of the rule: begin with the first shift")
    days = _DAYS_A_STEP[frequency] * step
    period, in_period = _in_period(parts, days, start) if days else (timedelta(), 0)
    return Rule(
        start,
        f"{every};INTERVAL={step}",
        period,
        in_period,
        None if count is None else int(count),
        None if until is None else _until(until, where),
    )


def _parts(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for piece in text.removeprefix("RRULE:").rstrip(";").split(";"):
        name, _, value = piece.partition("=")
        if name in found:
            raise _refused("a part of a rule stands in it once")
        found[name] = value
    taken = _TAKEN.get(found.get("FREQ", ""))
    if taken is None:
        raise _refused("a rule has FREQ=DAILY, FREQ=WEEKLY or FREQ=MONTHLY")
    for name, value in found.items():
        if name not in taken or not re.fullmatch(taken[name], value):
            raise _refused("a part of this rule is not one that its FREQ takes here, or has another form")
    return found


def _in_period(parts: dict[str, str], days: int, start: datetime) -> tuple[timedelta, int]:
    """After how many days the rule begins anew, which has steps of `days`, and how many occurrences it has until then."""
    hours = len({int(hour) for hour in parts["BYHOUR"].split(",")}) if "BYHOUR" in parts else 1
    if "BYDAY" not in parts:
        return timedelta(days=days), hours
    wanted = set(parts["BYDAY"].split(","))
    if parts["FREQ"] == "WEEKLY":
        return timedelta(days=days), len(wanted) * hours
    met = sum(_WEEK[(start.weekday() + n * days) % 7] in wanted for n in range(7))
    return timedelta(days=7 * days), met * hours


def _until(text: str, where: ZoneInfo) -> datetime:
    """The last wall time that UNTIL includes: of a day all of it, of a UTC time what clocks in the zone show then."""
    try:
        if len(text) == 8:
            return datetime.strptime(text, "%Y%m%d") + timedelta(days=1, microseconds=-1)  # noqa: DTZ007
        if text.endswith("Z"):
            at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return at.astimezone(where).replace(tzinfo=None, fold=0)
        return datetime.strptime(text, "%Y%m%dT%H%M%S")  # noqa: DTZ007
    except (ValueError, OverflowError):
        raise _refused("UNTIL is a day of the calendar") from None


def _refused(detail: str) -> ProtocolError:
    return ProtocolError(WireError.INVALID, detail)
