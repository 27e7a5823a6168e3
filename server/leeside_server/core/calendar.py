"""Calendars in and out: iCalendar (RFC 5545) becomes shifts of a rota, and a rota becomes a feed (spec 08, "Calendars").

A calendar comes from a stranger's program. Of it only the events are read, each by itself, and of each only the properties of
`_READ`: no alarms, no time zones of its own making (whose rules could be followed for ever), no extensions. Its rules are
those that a rotation may have (`recurrence`), so that an event of every second is refused and not expanded; and no more
occurrences are made than a rota holds. What cannot be placed is refused with the number of its event, never with its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from icalendar import Calendar, Event
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId, RotaId
from leeside_protocol.limits import ROTA_ENTRIES
from leeside_protocol.sealing.public.encoding import digest
from leeside_server.core.recurrence import (
    FIRST_MS,
    LAST_MS,
    MARGIN,
    Rule,
    instant_ms,
    parse_rule,
    utc,
    wall_time,
    zone,
)
from leeside_server.core.rota import OverrideRow, RotaRow, Span

AHEAD_MS: Final = 366 * 86_400_000
"""How far ahead a calendar's events are placed."""
_READ: Final = frozenset(
    [
        "UID",
        "DTSTART",
        "DTEND",
        "DURATION",
        "RRULE",
        "EXDATE",
        "RDATE",
        "RECURRENCE-ID",
        "STATUS",
        "SUMMARY",
        "ATTENDEE",
        "ORGANIZER",
    ]
)
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_TZID: Final = re.compile(r';TZID="?([^":;,]*)"?', re.IGNORECASE)
_DEEP: Final = 8


# ---- in


class _Event(msgspec.Struct, frozen=True):
    """An event, understood. Its length is `days` of wall time and then `rest` of real time."""

    number: int
    uid: str
    start: datetime
    where: ZoneInfo
    days: timedelta
    rest: timedelta
    rule: Rule | None
    added: tuple[int, ...]
    """Instants of RDATE."""
    left_out: frozenset[int]
    """Instants of EXDATE."""
    replaces: int | None
    """The instant of RECURRENCE-ID: this is another version of that occurrence."""
    cancelled: bool
    names: tuple[tuple[str, ...], ...]
    """Whom it may name, best first: attendees, organizer, summary."""


def shifts(
    ics: str, members: Mapping[str, MemberId], default: ZoneInfo | None, now_ms: int
) -> tuple[OverrideRow, ...]:
    """The shifts of a calendar from now on, 366 days ahead, in the order in which they begin.

    `members` says whom names mean: addresses, or what stands as summary. `default` is the zone of times that name none.
    Raises `invalid` with a sentence about the first event that cannot be placed, and `too_large` beyond `ROTA_ENTRIES`.
    """
    known = _known(members)
    events = [_event(number, lines, default) for number, lines in enumerate(_events(ics), 1)]
    replaced = {(event.uid, event.replaces) for event in events if event.replaces is not None}
    found: dict[bytes, OverrideRow] = {}
    made = 0
    for event in events:
        if event.cancelled:
            continue
        for start_ms, end_ms in _occurrences(event, now_ms):
            if event.replaces is None and (event.uid, start_ms) in replaced:
                continue
            made += 1
            # The same shift may stand there twice, and is one; but nobody has a machine make it a million times.
            if len(found) > ROTA_ENTRIES or made > 2 * ROTA_ENTRIES:
                raise _too_many()
            member = _member(event, known)
            shift_id = digest(b"shift", member, start_ms.to_bytes(8, "big"), end_ms.to_bytes(8, "big"))[:16]
            found[shift_id] = OverrideRow(shift_id, start_ms, end_ms, member, "shift")
    if len(found) > ROTA_ENTRIES:
        raise _too_many()
    return tuple(sorted(found.values(), key=lambda shift: (shift.from_ms, shift.until_ms, shift.id)))


def _too_many() -> ProtocolError:
    detail = f"a rota holds {ROTA_ENTRIES} shifts; what repeats is better a rotation"
    return ProtocolError(WireError.TOO_LARGE, detail)


def with_shifts(row: RotaRow, imported: Sequence[OverrideRow], now_ms: int) -> RotaRow:
    """The rota with these shifts in the place of those that an earlier calendar gave for the time from now on. Covers and
    swaps stay, and still count before them."""
    past = [entry for entry in row.overrides if entry.why == "shift" and entry.until_ms <= now_ms]
    by_hand = [entry for entry in row.overrides if entry.why != "shift"]
    return msgspec.structs.replace(row, overrides=(*past, *imported, *by_hand))


def zone_of(ics: str) -> str:
    """The zone that a calendar names for times without one (X-WR-TIMEZONE), empty when it names none."""
    for line in _lines(ics):
        name, _, value = line.partition(":")
        if name.upper() == "X-WR-TIMEZONE":
            return _iana(value.strip())
    return ""


def _lines(ics: str) -> list[str]:
    """The content lines, unfolded."""
    return re.sub(r"\r?\n[ \t]", "", ics).replace("\r\n", "\n").split("\n")


def _events(ics: str) -> Iterator[list[str]]:
    """The lines of each event that are read, without what stands inside it."""
    inside: list[str] = []
    lines: list[str] = []
    calendars = 0
    for line in _lines(ics):
        found = _NAME.match(line)
        name = found[0].upper() if found else ""
        value = line[len(name) + 1 :].strip().upper() if name in {"BEGIN", "END"} else ""
        if name == "BEGIN":
            calendars += not inside and value == "VCALENDAR"
            inside.append(value)
            if len(inside) > _DEEP or inside[0] != "VCALENDAR":
                raise _no_calendar()
            if inside == ["VCALENDAR", "VEVENT"]:
                lines = []
        elif name == "END":
            if not inside or inside[-1] != value:
                raise _no_calendar()
            if inside == ["VCALENDAR", "VEVENT"]:
                yield lines
            inside.pop()
        elif inside == ["VCALENDAR", "VEVENT"] and name in _READ:
            lines.append(line)
    if inside or calendars != 1:
        raise _no_calendar()


def _no_calendar() -> ProtocolError:
    return ProtocolError(WireError.INVALID, "this is not one iCalendar file (RFC 5545)")


def _event(number: int, lines: Sequence[str], default: ZoneInfo | None) -> _Event:
    try:
        return _understood(number, [_with_iana_zone(line) for line in lines], default)
    except ProtocolError as error:
        raise ProtocolError(error.code, f"event {number}: {error.detail}") from None
    except (ValueError, OverflowError, KeyError, AttributeError, TypeError, IndexError):
        # The library's own texts repeat what it read.
        raise _refused(f"event {number} cannot be read") from None


def _understood(number: int, lines: Sequence[str], default: ZoneInfo | None) -> _Event:
    parsed = Event.from_ical("\r\n".join(("BEGIN:VEVENT", *lines, "END:VEVENT", "")))
    if not isinstance(parsed, Event) or parsed.errors:
        raise _refused("a line of it cannot be read")
    found: Any = parsed
    begins = found["DTSTART"].dt
    start, where = _wall(begins, default)
    days, rest = _length(found, begins, start, where, default)
    if days + rest <= timedelta():
        raise _refused("it ends before it begins")
    if days + rest > timedelta(days=366):
        raise _refused("it lasts longer than 366 days")
    rule = found.get("RRULE")
    replaces = found.get("RECURRENCE-ID")
    if isinstance(rule, list) or (replaces is not None and "RANGE" in replaces.params):
        raise _refused("two rules, or a change of all that follows, are not taken")
    return _Event(
        number,
        str(found.get("UID", f"event {number}")),
        start,
        where,
        days,
        rest,
        None if rule is None else parse_rule(rule.to_ical().decode(), start, where),
        tuple(_instants(found.get("RDATE"), default)),
        frozenset(_instants(found.get("EXDATE"), default)),
        None if replaces is None else instant_ms(*_wall(replaces.dt, default)),
        str(found.get("STATUS", "")).upper() == "CANCELLED",
        _names(found),
    )


def _wall(value: object, default: ZoneInfo | None) -> tuple[datetime, ZoneInfo]:
    """A time as clocks of its zone show it; a day is its midnight, and what names no zone is of the default one."""
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            where = value.tzinfo if isinstance(value.tzinfo, ZoneInfo) else ZoneInfo("UTC")
            value = value.astimezone(where) if where is not value.tzinfo else value
            return _bounded(value.replace(tzinfo=None, fold=0)), where
        wall = value
    elif isinstance(value, date):
        wall = datetime(value.year, value.month, value.day)  # noqa: DTZ001  a wall time has no zone of its own
    else:
        raise _refused("a period of time stands where a time is wanted")
    if default is None:
        raise _refused("its times name no zone, and neither does the calendar: say which is meant")
    return _bounded(wall), default


def _bounded(wall: datetime) -> datetime:
    if not 2000 <= wall.year < 2100:
        raise _refused("its times are not between the years 2000 and 2100")
    return wall


def _length(
    found: Any, begins: object, start: datetime, where: ZoneInfo, default: ZoneInfo | None
) -> tuple[timedelta, timedelta]:
    ends, duration = found.get("DTEND"), found.get("DURATION")
    if ends is not None:
        end, there = _wall(ends.dt, default)
        return (end if there == where else wall_time(instant_ms(end, there), where)) - start, timedelta()
    if duration is not None:
        # A day of a duration is a day of the calendar; hours are hours.
        whole: timedelta = duration.dt
        return timedelta(days=whole.days), whole - timedelta(days=whole.days)
    return timedelta(days=0 if isinstance(begins, datetime) else 1), timedelta()


def _instants(given: Any, default: ZoneInfo | None) -> Iterator[int]:
    """The instants of EXDATE or RDATE, which may stand there several times with several values each."""
    for listed in _listed(given):
        for value in listed.dts:
            yield instant_ms(*_wall(value.dt, default))


def _listed(given: Any) -> list[Any]:
    """What the library gives for a property that may stand there several times: nothing, one, or a list."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]  # pyright: ignore[reportUnknownVariableType]


def _occurrences(event: _Event, now_ms: int) -> Iterator[tuple[int, int]]:
    """Begin and end of what of an event is not over, and begins within `AHEAD_MS`."""
    length = event.days + event.rest
    walls: Iterable[datetime] = (event.start,)
    if event.rule is not None:
        first = wall_time(max(now_ms, FIRST_MS), event.where) - length - MARGIN
        last = wall_time(min(now_ms + AHEAD_MS, LAST_MS), event.where) + MARGIN
        walls = (wall for _, wall in event.rule.between(first, last))
    more = (wall_time(at_ms, event.where) for at_ms in event.added)
    for wall in chain(walls, more):
        start_ms = instant_ms(wall, event.where)
        end_ms = instant_ms(wall + event.days, event.where) + event.rest // timedelta(milliseconds=1)
        if start_ms not in event.left_out and now_ms < end_ms and start_ms < min(end_ms, now_ms + AHEAD_MS):
            yield start_ms, end_ms


def _names(found: Any) -> tuple[tuple[str, ...], ...]:
    def people(name: str) -> tuple[str, ...]:
        coming = [
            one
            for one in _listed(found.get(name))
            if str(one.params.get("PARTSTAT", "")).upper() != "DECLINED"
        ]
        return tuple(
            text for one in coming for text in (_plain(str(one)), _plain(str(one.params.get("CN", ""))))
        )

    return people("ATTENDEE"), people("ORGANIZER"), (_plain(str(found.get("SUMMARY", ""))),)


def _known(members: Mapping[str, MemberId]) -> dict[str, MemberId]:
    known: dict[str, MemberId] = {}
    for name, member in members.items():
        if known.setdefault(_plain(name), member) != member:
            raise _refused("a name of `members` means two members")
    return known


def _member(event: _Event, known: Mapping[str, MemberId]) -> MemberId:
    for names in event.names:
        meant = {known[name] for name in names if name in known}
        if len(meant) > 1:
            raise _refused(f"event {event.number} names two members: only one is on call")
        if meant:
            return meant.pop()
    raise _refused(f"event {event.number} names nobody of `members`")


def _plain(name: str) -> str:
    return name.strip().casefold().removeprefix("mailto:").strip()


def _with_iana_zone(line: str) -> str:
    """The line with a zone that the server knows in the place of the one it names."""
    head, colon, value = line.partition(":")
    found = _TZID.search(head)
    if found is None:
        if ";TZID=" in head.upper():
            raise _refused("its time zone cannot be read")
        return line
    return f"{head[: found.start()]};TZID={_iana(found[1])}{head[found.end() :]}{colon}{value}"


def _iana(name: str) -> str:
    known = WINDOWS_TO_OLSON.get(name, name)
    try:
        return zone(known.removeprefix("/")).key
    except ProtocolError:
        raise _refused("its time zone is none that the server knows") from None


def _refused(detail: str) -> ProtocolError:
    return ProtocolError(WireError.INVALID, detail)


# ---- out

BEHIND: Final = timedelta(days=8)
AHEAD: Final = timedelta(days=92)


def feed_window(now_ms: int) -> tuple[int, int]:
    """What a feed shows: it begins with a day (UTC), so that it stays the same all day unless a shift changes."""
    today = utc(now_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    return _ms(today - BEHIND), _ms(today + AHEAD)


def feed(rota: RotaId, label: str, found: Iterable[Span], mine: MemberId | None) -> bytes:
    """A rota's spans as a calendar: of `mine` alone, or all with the gaps. Nobody's name stands in it, because whoever has
    the address reads it. The same spans give the same bytes."""
    calendar: Any = Calendar()
    calendar.add("prodid", "-//Leeside//On call//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", f"On call: {label}")
    calendar.add("refresh-interval", timedelta(minutes=15), parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", "PT15M")
    for span in found:
        if mine is not None and span.member != mine:
            continue
        event: Any = Event()
        begin, member = span.from_ms.to_bytes(8, "big"), span.member or b""
        event.add("uid", f"{digest(b'feed', rota, begin, member)[:16].hex()}@leeside")
        event.add("dtstamp", utc(span.from_ms))
        event.add("dtstart", utc(span.from_ms))
        event.add("dtend", utc(span.until_ms))
        event.add("summary", _summary(label, span, mine))
        event.add("transp", "TRANSPARENT" if span.member is None else "OPAQUE")
        calendar.add_component(event)
    written: bytes = calendar.to_ical()
    return written


def _summary(label: str, span: Span, mine: MemberId | None) -> str:
    if span.member is None:
        return f"Nobody on call: {label}"
    return f"On call: {label}" if mine is not None else f"On call: {label} ({span.member.hex()[:8]})"


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp()) * 1000
