"""Rotas: who is on call, by which rules, and who says so (spec 08, "Rotas")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId, RotaId
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_server.core.identity import MemberRow
from leeside_server.core.ladder import LadderRow
from leeside_server.core.oncall_warnings import Warned
from leeside_server.core.policy import Action
from leeside_server.core.recurrence import FIRST_MS, LAST_MS
from leeside_server.core.rota import RotaRow, Span, spans
from leeside_server.core.rota_changes import (
    Asker,
    changed_rota,
    check_end,
    check_fallback,
    check_may_change,
    named,
    new_rota,
)
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused

DAY_MS: Final = 86_400_000
SCHEDULE_MS: Final = 100 * DAY_MS
MOST_ROTAS: Final = PAGE_ENTRIES
"""Whoever decides about a page reads all of an agency's at once."""
LOOK_MS: Final = 8 * DAY_MS
"""How far ahead the end of a shift is looked for."""


async def rotas(call: Call) -> o.Rotas:
    """GET /v1/rotas."""
    call.actor.require(Action.READ_ON_CALL)
    rows, following = await call.page(RotaRow)
    return o.Rotas(following, tuple(rota_answer(held) for held in rows))


async def rota(call: Call) -> o.Rota:
    """GET /v1/rotas/{id}."""
    call.actor.require(Action.READ_ON_CALL)
    return rota_answer(await call.need(RotaRow, call.id))


async def create_rota(call: Call) -> o.Rota:
    """POST /v1/rotas."""
    call.actor.require(Action.CHANGE_ON_CALL)
    row = new_rota(call.body(o.NewRota), call.now_ms)
    rota_id, standing = RotaId(call.random(16)), await every_rota(call)
    if len(standing) >= MOST_ROTAS:
        raise ProtocolError(
            WireError.FORBIDDEN, f"an agency has {MOST_ROTAS} rotas at most, those that ended too"
        )
    check_fallback({**standing, rota_id: row}, rota_id)
    await check_members(call, named(row))
    await call.write(
        call.actor.agency, create(rota_id, row), Audit("rota_created", call.actor.device, rota_id, "done")
    )
    return rota_answer(Held(rota_id, row, 1))


async def change_rota(call: Call) -> o.Rota:
    """PATCH /v1/rotas/{id}."""
    call.actor.require(Action.READ_ON_CALL)
    body = call.body(o.RotaChange)
    return await call.write_anew(call.actor.agency, lambda: _changed(call, body))


async def _changed(call: Call, body: o.RotaChange) -> tuple[Sequence[Part], o.Rota]:
    held = await call.need(RotaRow, call.id)
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    return await written(call, held, changed_rota(held.row, body, call.now_ms))


async def written(call: Call, held: Held[RotaRow], row: RotaRow) -> tuple[Sequence[Part], o.Rota]:
    """What writes a rota anew, once all is checked that the row alone does not say."""
    actor, rota_id = call.actor, RotaId(held.id)
    standing = {**await every_rota(call), rota_id: held.row}
    asker = Asker(actor.member, actor.permits(Action.CHANGE_ON_CALL), actor.permits(Action.OFFER_SHIFTS))
    check_may_change(asker, standing, rota_id, row, call.now_ms, await ended_members(call))
    following = {**standing, rota_id: row}
    if row.ended_ms:
        ladders = await call.every(actor.agency, LadderRow)
        check_end(following, (ladder.row for ladder in ladders), rota_id)
    elif row.fallback != held.row.fallback:
        check_fallback(following, rota_id)
    await check_members(call, named(row) - named(held.row))
    event = "rota_ended" if row.ended_ms else "rota_changed"
    parts = (change(held, row), Audit(event, actor.device, held.id, "done"))
    return parts, rota_answer(Held(held.id, row, held.revision + 1))


async def schedule(call: Call) -> o.Schedule:
    """GET /v1/rotas/{id}/schedule: a week from now, or the window asked for."""
    call.actor.require(Action.READ_ON_CALL)
    held = await call.need(RotaRow, call.id)
    from_ms = call.number("from_ms", call.now_ms, FIRST_MS, LAST_MS)
    until_ms = call.number("until_ms", min(from_ms + 7 * DAY_MS, LAST_MS), FIRST_MS, LAST_MS)
    if not 0 < until_ms - from_ms <= SCHEDULE_MS:
        raise ProtocolError(WireError.INVALID, "a schedule is of 100 days at most")
    found = spans(await every_rota(call), RotaId(held.id), from_ms, until_ms, await ended_members(call))
    return o.Schedule(held.id.hex(), tuple(span_answer(span) for span in found))


async def on_call(call: Call) -> o.OnCall:
    """GET /v1/oncall: who is on call now, and what the next 24 hours lack."""
    call.actor.require(Action.READ_ON_CALL)
    now_ms = call.now_ms
    known, ended = await every_rota(call), await ended_members(call)
    ladders = await call.every(call.actor.agency, LadderRow)
    current: list[o.OnCallRota] = []
    for rota_id, row in sorted(known.items(), key=lambda item: (item[1].created_ms, item[0])):
        if not row.ended_ms:
            now = spans(known, rota_id, now_ms, now_ms + LOOK_MS, ended)[0]
            member = None if now.member is None else now.member.hex()
            current.append(o.OnCallRota(rota_id.hex(), row.label, member, now.until_ms))
    ahead = await call.host.foresight.of(call.actor.agency)
    return o.OnCall(
        now_ms,
        tuple(current),
        tuple(held.id.hex() for held in in_use(ladders)),
        tuple(_warning(one) for one in ahead),
    )


async def every_rota(call: Call) -> dict[RotaId, RotaRow]:
    """All rotas of the actor's agency: a holder may be found in any of them."""
    return {RotaId(held.id): held.row for held in await call.every(call.actor.agency, RotaRow)}


async def ended_members(call: Call) -> frozenset[MemberId]:
    """Members whose membership has ended."""
    rows = await call.every(call.actor.agency, MemberRow)
    return frozenset(MemberId(held.id) for held in rows if held.row.ended_ms)


async def check_members(call: Call, members: Iterable[MemberId]) -> None:
    """`invalid` unless all of these are members."""
    for member in members:
        held = await call.find(call.actor.agency, MemberRow, member)
        if held is None or held.row.ended_ms:
            raise ProtocolError(WireError.INVALID, "who is on call is a member of the agency")


def in_use(ladders: Iterable[Held[LadderRow]]) -> list[Held[LadderRow]]:
    """The ladders that have not ended, the oldest first: the first is the agency's default."""
    return sorted(
        (one for one in ladders if not one.row.ended_ms), key=lambda one: (one.row.created_ms, one.id)
    )


# ---- answers


def rota_answer(held: Held[RotaRow]) -> o.Rota:
    """A rota as it is read."""
    row = held.row
    return o.Rota(
        held.id.hex(),
        row.label,
        tuple(
            o.Rotation(
                one.id.hex(),
                one.zone,
                one.start,
                one.rule,
                one.length_min,
                tuple(member.hex() for member in one.members),
            )
            for one in row.rotations
        ),
        tuple(
            o.RotaOverride(one.id.hex(), one.from_ms, one.until_ms, one.member.hex(), one.why)
            for one in row.overrides
        ),
        tuple(
            o.RotaAbsence(one.id.hex(), one.member.hex(), one.from_ms, one.until_ms) for one in row.absences
        ),
        tuple(member.hex() for member in row.owners),
        None if row.fallback is None else row.fallback.hex(),
        row.created_ms,
        row.ended_ms,
        held.revision,
    )


def span_answer(span: Span) -> o.Span:
    """A span as it is read."""
    return o.Span(span.from_ms, span.until_ms, None if span.member is None else span.member.hex(), span.why)


def _warning(one: Warned) -> o.Warning:
    member = None if one.member is None else one.member.hex()
    return o.Warning(one.rota.hex(), one.kind, member, one.from_ms, one.until_ms)


HANDLERS: Final[Mapping[str, Handler]] = {
    "rotas": rotas,
    "rota": rota,
    "create_rota": create_rota,
    "change_rota": change_rota,
    "schedule": schedule,
    "on_call": on_call,
}
