"""What may become of rotas and ladders, and at whose wish (spec 08, "Rotas").

Pure. What is refused here is refused with a sentence that names the mistake: people write rotas at the end of long days. What
a stored row says is never trusted blindly all the same: `rota` leaves out what it cannot follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId, RotaId
from leeside_server.core.ladder import LadderRow, PhoneRow, StepRow
from leeside_server.core.recurrence import FIRST_MS, LAST_MS
from leeside_server.core.rota import (
    FALLBACKS,
    AbsenceRow,
    OverrideRow,
    RotaRow,
    RotationRow,
    rule_of,
    spans,
)

KEPT_MS: Final = 35 * 86_400_000
"""How long an override or absence stays once it is over: so far back a schedule can be looked up."""
LONGEST_MS: Final = 366 * 86_400_000
ROW_BYTES: Final = 60_000
"""The store takes 64 KiB; a rota that was full could never be changed again."""
BEGUN_MS: Final = 300_000
"""How far back an offered cover may begin: "from now on" was a while ago when it arrives."""
SHIFT_MIN: Final = 92 * 1440
"""Longest shift of a rule that counts days or weeks."""


class Asker(msgspec.Struct, frozen=True):
    """Who wishes a change: `all_` as a supervisor, `offers` as somebody who may give their own shifts away."""

    member: MemberId
    all_: bool
    offers: bool


def new_rota(body: o.NewRota, now_ms: int) -> RotaRow:
    """A new rota; `invalid` with a sentence."""
    return checked(
        RotaRow(
            body.label,
            now_ms,
            _rotations(body.rotations),
            _overrides(body.overrides),
            _absences(body.absences),
            _members(body.owners),
            None if body.fallback is None else RotaId(bytes.fromhex(body.fallback)),
        )
    )


def changed_rota(row: RotaRow, body: o.RotaChange, now_ms: int) -> RotaRow:
    """The rota after a change, without what was over long ago; `forbidden` for one that has ended."""
    if row.ended_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this rota has ended")
    if body.fallback is not None and body.no_fallback:
        raise _refused("a rota has a fallback, or none")
    fallback = row.fallback if body.fallback is None else RotaId(bytes.fromhex(body.fallback))
    return checked(
        pruned(
            msgspec.structs.replace(
                row,
                label=row.label if body.label is None else body.label,
                rotations=row.rotations if body.rotations is None else _rotations(body.rotations),
                overrides=row.overrides if body.overrides is None else _overrides(body.overrides),
                absences=row.absences if body.absences is None else _absences(body.absences),
                owners=row.owners if body.owners is None else _members(body.owners),
                fallback=None if body.no_fallback else fallback,
                ended_ms=now_ms if body.ended else 0,
            ),
            now_ms,
        )
    )


def pruned(row: RotaRow, now_ms: int) -> RotaRow:
    """The rota without overrides and absences that were over `KEPT_MS` ago."""
    return msgspec.structs.replace(
        row,
        overrides=tuple(entry for entry in row.overrides if entry.until_ms > now_ms - KEPT_MS),
        absences=tuple(entry for entry in row.absences if entry.until_ms > now_ms - KEPT_MS),
    )


def checked(row: RotaRow) -> RotaRow:
    """The row itself; `invalid`, or `too_large`, for one that cannot stand."""
    for rotation in row.rotations:
        rule = rule_of(rotation)
        if rule.period and rotation.length_min > SHIFT_MIN:
            raise _refused("a shift of days or weeks lasts 92 days at most; longer ones have FREQ=MONTHLY")
    entries: list[OverrideRow | AbsenceRow] = [*row.overrides, *row.absences]
    for entry in entries:
        if not FIRST_MS <= entry.from_ms < entry.until_ms <= LAST_MS:
            raise _refused("an override or absence ends after it begins, between the years 2000 and 2100")
        if entry.until_ms - entry.from_ms > LONGEST_MS:
            raise _refused("an override or absence lasts 366 days at most")
    for kind in (row.rotations, row.overrides, row.absences):
        ids = [entry.id for entry in kind]
        if len(set(ids)) != len(ids):
            raise _refused("two rotations, overrides or absences of a rota never share an id")
    if len(msgspec.json.encode(row)) > ROW_BYTES:
        raise ProtocolError(
            WireError.TOO_LARGE, "this rota holds too much: split it in two, one the other's fallback"
        )
    return row


def check_fallback(rotas: Mapping[RotaId, RotaRow], rota: RotaId) -> None:
    """`invalid` when a rota's fallbacks come back to it, or lead to one that is not there. `rotas` holds it as it shall be."""
    seen = [rota]
    while (following := rotas[seen[-1]].fallback) is not None:
        if following in seen:
            raise _refused("this fallback would come back to the rota itself: A falls back to B, and B to A")
        row = rotas.get(following)
        if row is None or row.ended_ms:
            raise _refused("a fallback is a rota of the agency that is in use")
        seen.append(following)
        if len(seen) > FALLBACKS:
            raise _refused("eight rotas at most fall back one to the next")


def check_end(rotas: Mapping[RotaId, RotaRow], ladders: Iterable[LadderRow], rota: RotaId) -> None:
    """`invalid` while a rota in use falls back to this one, or a ladder in use pages it."""
    if any(row.fallback == rota and not row.ended_ms for key, row in rotas.items() if key != rota):
        raise _refused("another rota falls back to this one: change that first")
    if any(rota in step.rotas for ladder in ladders if not ladder.ended_ms for step in ladder.steps):
        raise _refused("a ladder pages this rota: change that first")


def check_may_change(
    asker: Asker,
    rotas: Mapping[RotaId, RotaRow],
    rota: RotaId,
    changed: RotaRow,
    now_ms: int,
    ended: Collection[MemberId],
) -> None:
    """`forbidden` unless this member may make this of the rota as it stands in `rotas`.

    A supervisor may all. An owner may change overrides and absences. Whoever may offer shifts may add covers and swaps, of
    time that is their own to whom they agreed it with, or of another's time to themselves; what stands stays, so that nobody
    is on call again who believes to be off.
    """
    if asker.all_:
        return
    row = pruned(rotas[rota], now_ms)
    if asker.member in row.owners and changed == msgspec.structs.replace(
        row, overrides=changed.overrides, absences=changed.absences
    ):
        return
    stand = len(row.overrides)
    added = changed.overrides[stand:]
    if asker.offers and added and changed == msgspec.structs.replace(row, overrides=(*row.overrides, *added)):
        for override in added:
            if override.why == "shift" or override.from_ms < now_ms - BEGUN_MS:
                raise ProtocolError(WireError.FORBIDDEN, "a shift is covered or swapped before it begins")
            mine = all(
                span.member == asker.member
                for span in spans(rotas, rota, override.from_ms, override.until_ms, ended)
            )
            if not mine and override.member != asker.member:
                raise ProtocolError(WireError.FORBIDDEN, "only your own shifts are yours to give")
        return
    raise ProtocolError(WireError.FORBIDDEN, "your role does not permit this")


def named(row: RotaRow) -> frozenset[MemberId]:
    """Every member that a rota names."""
    return frozenset(
        [
            *(member for rotation in row.rotations for member in rotation.members),
            *(override.member for override in row.overrides),
            *(absence.member for absence in row.absences),
            *row.owners,
        ]
    )


# ---- ladders


def new_ladder(body: o.NewLadder, now_ms: int) -> LadderRow:
    """A new ladder; `invalid` with a sentence."""
    return _checked_ladder(LadderRow(body.label, now_ms, _steps(body.steps), _phones(body.phones)))


def changed_ladder(row: LadderRow, body: o.LadderChange, now_ms: int) -> LadderRow:
    """The ladder after a change; `forbidden` for one that has ended. A consult under way keeps the one it began with."""
    if row.ended_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this ladder has ended")
    return _checked_ladder(
        msgspec.structs.replace(
            row,
            label=row.label if body.label is None else body.label,
            steps=row.steps if body.steps is None else _steps(body.steps),
            phones=row.phones if body.phones is None else _phones(body.phones),
            ended_ms=now_ms if body.ended else 0,
        )
    )


def _checked_ladder(row: LadderRow) -> LadderRow:
    if any(not step.rotas and not step.members for step in row.steps):
        raise _refused("a step pages a rota or a member; all supervisors come last by themselves")
    return row


def check_ladder_rotas(row: LadderRow, rotas: Mapping[RotaId, RotaRow]) -> None:
    """`invalid` when a step pages a rota that is not in use."""
    asked = {rota for step in row.steps for rota in step.rotas}
    if any(rota not in rotas or rotas[rota].ended_ms for rota in asked):
        raise _refused("a step pages rotas of the agency that are in use")


# ---- from the wire


def _rotations(given: Sequence[o.Rotation]) -> tuple[RotationRow, ...]:
    return tuple(
        RotationRow(
            bytes.fromhex(one.id),
            one.zone,
            one.start,
            one.rule,
            one.length_min,
            _members(one.members, once=False),
        )
        for one in given
    )


def _overrides(given: Sequence[o.RotaOverride]) -> tuple[OverrideRow, ...]:
    return tuple(
        OverrideRow(
            bytes.fromhex(one.id), one.from_ms, one.until_ms, MemberId(bytes.fromhex(one.member)), one.why
        )
        for one in given
    )


def _absences(given: Sequence[o.RotaAbsence]) -> tuple[AbsenceRow, ...]:
    return tuple(
        AbsenceRow(bytes.fromhex(one.id), MemberId(bytes.fromhex(one.member)), one.from_ms, one.until_ms)
        for one in given
    )


def _steps(given: Sequence[o.LadderStep]) -> tuple[StepRow, ...]:
    return tuple(
        StepRow(
            tuple(dict.fromkeys(RotaId(bytes.fromhex(rota)) for rota in one.rotas)),
            _members(one.members),
            one.delay_s,
            one.repeats,
            one.language,
            one.specialty,
            one.licence,
        )
        for one in given
    )


def _phones(given: Sequence[o.Phone]) -> tuple[PhoneRow, ...]:
    return tuple(PhoneRow(one.label, one.number) for one in given)


def _members(given: Iterable[str], *, once: bool = True) -> tuple[MemberId, ...]:
    """Ids; in a rotation somebody may have two turns."""
    found = [MemberId(bytes.fromhex(one)) for one in given]
    return tuple(dict.fromkeys(found) if once else found)


def _refused(detail: str) -> ProtocolError:
    return ProtocolError(WireError.INVALID, detail)
