"""Members: people with roles, and the codes with which their devices enrol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.words import Role
from leeside_server.core import policy
from leeside_server.core.directory import revocation_parts
from leeside_server.core.identity import (
    CODE_BYTES,
    NO_AGENCY,
    DeviceRow,
    DeviceState,
    MemberRow,
    check_shift,
    code_id,
    end_member,
    enrolment_code,
    issue_enrolment,
)
from leeside_server.core.person import PasskeyRow
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, change, create, remove
from leeside_server.core.writes import Audit, Item, Part
from leeside_server.relay.http.call import Actor, Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused, stored

T = TypeVar("T")
WATCHER_ROLES: Final = frozenset({Role.SUPERVISOR, Role.ADMIN})


async def members(call: Call) -> r.Members:
    """GET /v1/members."""
    call.actor.require(Action.READ_MEMBERS)
    rows, following = await call.page(MemberRow)
    return r.Members(following, tuple(member_answer(call.actor, held) for held in rows if not held.row.guest))


async def member(call: Call) -> r.Member:
    """GET /v1/members/{id}."""
    call.actor.require(Action.READ_MEMBERS)
    return member_answer(call.actor, await call.need(MemberRow, call.id))


async def create_member(call: Call) -> r.Member:
    """POST /v1/members."""
    call.actor.require(Action.CREATE_MEMBER)
    body = call.body(r.NewMember)
    _check_gives(call, body.roles)
    row = MemberRow(
        _once(body.roles),
        call.now_ms,
        body.discipline,
        body.login,
        languages=_once(body.languages),
        specialties=_once(body.specialties),
        licences=_once(body.licences),
        phone=body.phone,
    )
    member_id = MemberId(call.random(16))
    await call.write(
        call.actor.agency,
        create(member_id, row),
        Audit("member_created", call.actor.device, member_id, ",".join(row.roles)),
    )
    return member_answer(call.actor, Held(member_id, row, 1))


async def change_member(call: Call) -> r.Member:
    """PATCH /v1/members/{id}: the end of a membership revokes all its devices in the same item."""
    body = call.body(r.MemberChange)
    call.actor.require(_asked(body))
    told = await watchers(call, call.actor.agency) if body.ended else ()
    return await call.write_anew(call.actor.agency, lambda: _changed(call, body, told))


async def _changed(
    call: Call, body: r.MemberChange, told: Sequence[DeviceId]
) -> tuple[Sequence[Part], r.Member]:
    held = await call.need(MemberRow, call.id)
    if _asked(body) is not Action.CHANGE_SKILLS:
        _check_gives(call, held.row.roles)
    if body.roles is not None:
        _check_gives(call, body.roles)
    if held.row.ended_ms:
        raise ProtocolError(WireError.REVOKED, "this membership has ended")
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    row = msgspec.structs.replace(
        held.row,
        roles=held.row.roles if body.roles is None else _once(body.roles),
        discipline=held.row.discipline if body.discipline is None else body.discipline,
        login=held.row.login if body.login is None else body.login,
        languages=held.row.languages if body.languages is None else _once(body.languages),
        specialties=held.row.specialties if body.specialties is None else _once(body.specialties),
        licences=held.row.licences if body.licences is None else _once(body.licences),
        phone=held.row.phone if body.phone is None else body.phone,
    )
    parts: list[Part] = []
    if Role.ADMIN in held.row.roles and (body.ended or Role.ADMIN not in row.roles):
        # Written with the change: of two administrators who leave at the same moment one is refused.
        stays = await _another_admin(call, held.id)
        parts.append(change(stays, stays.row))
    if body.ended:
        row = end_member(row, call.now_ms)
        parts += await _end(call, MemberId(held.id), told)
    else:
        parts.append(Audit("member_changed", call.actor.device, held.id, ",".join(row.roles)))
    after = Held(held.id, row, held.revision + 1)
    return (change(held, row), *parts), member_answer(call.actor, after)


async def _another_admin(call: Call, leaving: bytes) -> Held[MemberRow]:
    """An administrator who stays; `forbidden` when there is none."""
    for held in await call.every(call.actor.agency, MemberRow):
        if held.id != leaving and Role.ADMIN in held.row.roles and not held.row.ended_ms:
            return held
    raise ProtocolError(WireError.FORBIDDEN, "an agency keeps one administrator")


def _asked(body: r.MemberChange) -> Action:
    """What a change is: of what somebody may do, the end alone, or of what a consult may ask of them alone."""
    skills = any(x is not None for x in (body.languages, body.specialties, body.licences, body.phone))
    if not (body.roles is None and body.discipline is None and body.login is None) or (skills and body.ended):
        return Action.CHANGE_MEMBER
    if body.ended:
        return Action.END_MEMBER
    return Action.CHANGE_SKILLS if skills else Action.CHANGE_MEMBER


async def _end(call: Call, member_id: MemberId, told: Sequence[DeviceId]) -> list[Part]:
    agency, by = call.actor.agency, call.actor.device
    parts: list[Part] = [Audit("member_ended", by, member_id, "done")]
    for device in await call.every(agency, DeviceRow, member_id):
        parts += revocation_parts(agency, device, told, by, call.now_ms, call.random)
    parts += [remove(PasskeyRow, held) for held in await call.every(agency, PasskeyRow, member_id)]
    return parts


async def create_enrolment(call: Call) -> r.EnrolmentCode:
    """POST /v1/members/{id}/enrolments: the code is told once, and only its hash is kept."""
    call.actor.require(Action.CREATE_ENROLMENT)
    held = await call.need(MemberRow, call.id)
    _check_gives(call, held.row.roles)
    body = call.body(r.NewEnrolment)
    agency = call.actor.agency
    shift_ms = check_shift(body.shift, body.until_ms, call.now_ms)
    by, member_id = call.actor.device, MemberId(held.id)
    row = issue_enrolment(agency, held.row, member_id, by, body.label, call.now_ms, shift_ms)
    code = enrolment_code(call.random(CODE_BYTES))
    item = Item(NO_AGENCY, call.now_ms, (create(code_id(code), row),))
    record = Item(
        agency, call.now_ms, (Audit("enrolment_created", by, held.id, "shift" if shift_ms else "done"),)
    )
    for outcome in await call.apply([item, record]):
        stored(outcome)
    return r.EnrolmentCode(code, row.expires_ms)


async def watchers(call: Call, agency: AgencyId) -> list[DeviceId]:
    """Active devices of supervisors and administrators: told when devices come and go."""
    watching = {
        held.id
        for held in await call.every(agency, MemberRow)
        if not held.row.ended_ms and not WATCHER_ROLES.isdisjoint(held.row.roles)
    }
    found: list[DeviceId] = []
    for member_id in sorted(watching):
        devices = await call.every(agency, DeviceRow, member_id)
        found += [DeviceId(held.id) for held in devices if held.row.state is DeviceState.ACTIVE]
    return found


def member_answer(actor: Actor, held: Held[MemberRow]) -> r.Member:
    """A member as the actor sees them: logins and telephones are for those who may read them, and one's own."""
    row = held.row
    own = held.id == actor.member
    return r.Member(
        held.id.hex(),
        row.roles,
        row.discipline,
        row.login if own or actor.permits(Action.READ_LOGINS) else "",
        row.created_ms,
        row.ended_ms,
        held.revision,
        row.languages,
        row.specialties,
        row.licences,
        row.phone if own or actor.permits(Action.READ_PHONES) else "",
    )


def _check_gives(call: Call, roles: tuple[Role, ...]) -> None:
    if not policy.may_give(call.actor.roles, roles):
        raise ProtocolError(WireError.FORBIDDEN, "your role does not permit this for these roles")


def _once(given: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(given))


HANDLERS: Final[Mapping[str, Handler]] = {
    "members": members,
    "member": member,
    "create_member": create_member,
    "change_member": change_member,
    "create_enrolment": create_enrolment,
}
