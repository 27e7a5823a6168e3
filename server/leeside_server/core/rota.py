"""Rotas: who is on call at an instant, in a window, and where nobody is (spec 08, "Rotas").

At every instant a rota has exactly one holder or a gap. The first of these that names a member who has not ended counts:

1. the newest override that covers the instant; one that came from a calendar counts only while its member is not absent;
2. the first rotation whose current shift is one of a member who is not absent: of two shifts that overlap, the one that
   began last is current;
3. the holder of the fallback rota; where that would come back to a rota already asked, nobody.

Every interval is half open: whoever is on call until 8:00 is no longer so at 8:00. Pure: instants, members that have ended
and all rotas are arguments, and nothing is remembered between two calls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Final, Literal

import msgspec

from leeside_protocol.errors import ProtocolError
from leeside_protocol.ids import MemberId, RotaId
from leeside_server.core.recurrence import MARGIN, Rule, instant_ms, parse_rule, parse_wall, wall_time, zone

FALLBACKS: Final = 8
"""Rotas that are asked one after the other."""

Why = Literal["override", "rotation", "fallback", "gap"]


class RotationRow(msgspec.Struct, frozen=True, array_like=True):
    """Shifts that repeat; as `leeside_protocol.oncall.Rotation`."""

    id: bytes
    zone: str
    start: str
    rule: str
    length_min: int
    members: tuple[MemberId, ...]


class OverrideRow(msgspec.Struct, frozen=True, array_like=True):
    """One member from `from_ms` until before `until_ms`. `why` is `cover`, `swap`, or `shift` for a calendar's."""

    id: bytes
    from_ms: int
    until_ms: int
    member: MemberId
    why: Literal["cover", "swap", "shift"] = "cover"


class AbsenceRow(msgspec.Struct, frozen=True, array_like=True):
    """A member who holds no shift from `from_ms` until before `until_ms`."""

    id: bytes
    member: MemberId
    from_ms: int
    until_ms: int


class RotaRow(msgspec.Struct, frozen=True):
    """A rota. `owners` may change its overrides and absences; `ended_ms` 0: it is in use. An ended one has no holder."""

    label: str
    created_ms: int
    rotations: tuple[RotationRow, ...] = ()
    overrides: tuple[OverrideRow, ...] = ()
    absences: tuple[AbsenceRow, ...] = ()
    owners: tuple[MemberId, ...] = ()
    fallback: RotaId | None = None
    ended_ms: int = 0


class Span(msgspec.Struct, frozen=True):
    """One holder, or none, from `from_ms` until before `until_ms`."""

    from_ms: int
    until_ms: int
    member: MemberId | None
    why: Why


def holder(
    rotas: Mapping[RotaId, RotaRow], rota: RotaId, at_ms: int, ended: Collection[MemberId] = ()
) -> MemberId | None:
    """Who is on call at an instant; None in a gap, and for a rota that is unknown or has ended. `ended` are members whom
    nobody can page any more. The instant lies between `FIRST_MS` and `LAST_MS` of `recurrence`."""
    return _Window(rotas, rota, at_ms, at_ms + 1, ended).at(at_ms)[0]


def spans(
    rotas: Mapping[RotaId, RotaRow],
    rota: RotaId,
    from_ms: int,
    until_ms: int,
    ended: Collection[MemberId] = (),
) -> list[Span]:
    """Who is on call from `from_ms` until before `until_ms`: in order, without a hole, and two that follow each other
    differ. What `holder` says at each of their instants."""
    window = _Window(rotas, rota, from_ms, until_ms, ended)
    inside = {edge for edge in window.edges() if from_ms < edge < until_ms}
    found: list[Span] = []
    for start_ms, end_ms in pairwise(sorted({from_ms, until_ms} | inside)):
        member, why = window.at(start_ms)
        if found and (found[-1].member, found[-1].why) == (member, why):
            found[-1] = Span(found[-1].from_ms, end_ms, member, why)
        else:
            found.append(Span(start_ms, end_ms, member, why))
    return found


def gaps(
    rotas: Mapping[RotaId, RotaRow],
    rota: RotaId,
    from_ms: int,
    until_ms: int,
    ended: Collection[MemberId] = (),
) -> list[Span]:
    """The spans in which nobody is on call."""
    return [span for span in spans(rotas, rota, from_ms, until_ms, ended) if span.member is None]


def rule_of(rotation: RotationRow) -> Rule:
    """The rule that a rotation follows; `invalid` for one that was never checked."""
    return parse_rule(rotation.rule, parse_wall(rotation.start), zone(rotation.zone))


class _Shifts:
    """The shifts of one rotation that touch a window, in the order in which they begin."""

    def __init__(self, rotation: RotationRow, from_ms: int, until_ms: int) -> None:
        self._members = rotation.members
        found = sorted(_touching(rotation, from_ms, until_ms))
        self.found = [shift for shift in found if shift[0] < until_ms and shift[2] > from_ms]
        self._longest_ms = max((end_ms - start_ms for start_ms, _, end_ms in self.found), default=0)

    def current(self, at_ms: int) -> MemberId | None:
        """Whose shift it is: of those that have begun and not ended, the last to begin."""
        for index in reversed(range(bisect_right(self.found, at_ms, key=_begins))):
            start_ms, number, end_ms = self.found[index]
            if at_ms < end_ms:
                return self._members[number % len(self._members)]
            if at_ms >= start_ms + self._longest_ms:
                break
        return None


def _begins(shift: tuple[int, int, int]) -> int:
    return shift[0]


def _touching(rotation: RotationRow, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, int]]:
    """Begin, number and end of the shifts around a window. None for a rotation that cannot be followed here, such as one of
    a zone that this node's database does not have: that is a gap, and gaps are told."""
    try:
        rule, where = rule_of(rotation), zone(rotation.zone)
    except ProtocolError:
        return
    length = timedelta(minutes=rotation.length_min)
    first, last = wall_time(from_ms, where) - length - MARGIN, wall_time(until_ms, where) + MARGIN
    for number, wall in rule.between(first, last):
        yield instant_ms(wall, where), number, instant_ms(wall + length, where)


class _Layers:
    """What one rota says in a window, its fallback apart."""

    def __init__(self, row: RotaRow, from_ms: int, until_ms: int, ended: Collection[MemberId]) -> None:
        self._ended = ended
        self._overrides = [
            entry
            for entry in reversed(row.overrides)
            if entry.from_ms < until_ms and entry.until_ms > from_ms
        ]
        self._absences = [
            entry for entry in row.absences if entry.from_ms < until_ms and entry.until_ms > from_ms
        ]
        self._shifts = [_Shifts(rotation, from_ms, until_ms) for rotation in row.rotations]

    def edges(self) -> Iterator[int]:
        for shifts in self._shifts:
            for start_ms, _, end_ms in shifts.found:
                yield start_ms
                yield end_ms
        entries: tuple[OverrideRow | AbsenceRow, ...] = (*self._overrides, *self._absences)
        for entry in entries:
            yield entry.from_ms
            yield entry.until_ms

    def at(self, at_ms: int) -> tuple[MemberId, Why] | None:
        absent = {entry.member for entry in self._absences if entry.from_ms <= at_ms < entry.until_ms}
        for override in self._overrides:
            covers = override.from_ms <= at_ms < override.until_ms and override.member not in self._ended
            if covers and not (override.why == "shift" and override.member in absent):
                return override.member, "override"
        for shifts in self._shifts:
            member = shifts.current(at_ms)
            if member is not None and member not in absent and member not in self._ended:
                return member, "rotation"
        return None


class _Window:
    """All that decides who holds a rota in a window, gathered once."""

    def __init__(
        self,
        rotas: Mapping[RotaId, RotaRow],
        rota: RotaId,
        from_ms: int,
        until_ms: int,
        ended: Collection[MemberId],
    ) -> None:
        self._layers = [_Layers(row, from_ms, until_ms, ended) for row in _chain(rotas, rota)]

    def edges(self) -> Iterator[int]:
        """Every instant at which the holder may change."""
        for layers in self._layers:
            yield from layers.edges()

    def at(self, at_ms: int) -> tuple[MemberId | None, Why]:
        """The holder at an instant of the window, and why it is theirs."""
        for place, layers in enumerate(self._layers):
            found = layers.at(at_ms)
            if found is not None:
                return found if place == 0 else (found[0], "fallback")
        return None, "gap"


def _chain(rotas: Mapping[RotaId, RotaRow], rota: RotaId) -> Iterator[RotaRow]:
    """A rota and its fallbacks, each once; one that has ended is the end."""
    asked: set[RotaId] = set()
    following: RotaId | None = rota
    while following is not None and following not in asked and len(asked) < FALLBACKS:
        row = rotas.get(following)
        if row is None or row.ended_ms:
            return
        yield row
        asked.add(following)
        following = row.fallback
