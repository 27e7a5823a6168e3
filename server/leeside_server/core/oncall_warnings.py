"""What will leave a page unanswered, seen ahead of the shift, and told twice: a day before and an hour before (spec 08).

Pure. A gap, a holder to whom no way leads, a holder one of whose devices did not answer its daily probe. Each is told once a
distance for as long as it is the same one: `WarnedRow` remembers it by its rota, kind, member and true beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

import msgspec

from leeside_protocol.ids import MemberId, RotaId
from leeside_protocol.sealing.public.encoding import digest
from leeside_server.core.rota import RotaRow, Span, spans

HOUR_MS: Final = 3_600_000
AHEAD_MS: Final = 24 * HOUR_MS
BEHIND_MS: Final = 7 * 24 * HOUR_MS
"""How far back the beginning of what goes on is looked for; what is older begins at 0."""

Kind = Literal["gap", "unreachable", "probe_failed"]


class Reach(msgspec.Struct, frozen=True):
    """How a member can be reached. `lasting`: by a push that was proven within a day, or a telephone. `live`: a socket now,
    which is a way while a shift goes on, and no promise for the next one. `probe_failed`: of one of their devices."""

    lasting: bool
    live: bool = False
    probe_failed: bool = False


class Warned(msgspec.Struct, frozen=True):
    """A warning, and the span that it is about. `from_ms` is the span's own beginning, 0 for one that began long ago."""

    rota: RotaId
    kind: Kind
    member: MemberId | None
    from_ms: int
    until_ms: int

    @property
    def id(self) -> bytes:
        """What tells it from others, the same for as long as it is the same."""
        begins = self.from_ms.to_bytes(8, "big")
        return digest(b"warned", self.rota, self.kind.encode(), self.member or b"", begins)[:16]


class WarnedRow(msgspec.Struct, frozen=True):
    """That a warning was told, `hours` ahead; kept until `due_ms` of its object, so that it is not told again."""

    hours: int
    at_ms: int


def warnings(
    rotas: Mapping[RotaId, RotaRow],
    people: Mapping[MemberId, Reach],
    now_ms: int,
    ended: Collection[MemberId] = (),
) -> list[Warned]:
    """What the next 24 hours of all rotas in use lack, the nearest first. Who is not in `people` cannot be reached."""
    found = [
        Warned(
            rota, kind, span.member, span.from_ms if span.from_ms > now_ms - BEHIND_MS else 0, span.until_ms
        )
        for rota, row in rotas.items()
        if not row.ended_ms
        for span in spans(rotas, rota, now_ms - BEHIND_MS, now_ms + AHEAD_MS, ended)
        if span.until_ms > now_ms
        for kind in _kinds(span, people, now_ms)
    ]
    return sorted(found, key=lambda one: (one.from_ms, one.rota, one.kind))


def holders_ahead(
    rotas: Mapping[RotaId, RotaRow], now_ms: int, ended: Collection[MemberId] = ()
) -> frozenset[MemberId]:
    """Everybody who holds a rota within the next 24 hours: of whom `warnings` must know how they are reached."""
    return frozenset(
        span.member
        for rota in rotas
        for span in spans(rotas, rota, now_ms, now_ms + AHEAD_MS, ended)
        if span.member is not None
    )


def to_tell(warned: Warned, told: WarnedRow | None, now_ms: int) -> WarnedRow | None:
    """What to remember when this must be told now; None when it was told at this distance already."""
    hours = 1 if warned.from_ms - now_ms <= HOUR_MS else 24
    return WarnedRow(hours, now_ms) if told is None or told.hours > hours else None


def forget_ms(warned: Warned) -> int:
    """When a told warning may be forgotten: not while the same could be seen again."""
    return warned.until_ms + BEHIND_MS + AHEAD_MS


def _kinds(span: Span, people: Mapping[MemberId, Reach], now_ms: int) -> Iterator[Kind]:
    if span.member is None:
        yield "gap"
        return
    reach = people.get(span.member)
    if reach is None or not (reach.lasting or (reach.live and span.from_ms <= now_ms)):
        yield "unreachable"
    elif reach.probe_failed:
        yield "probe_failed"
