"""Ladders: in which order people are paged, and whose devices a consult must hold from its first moment (spec 08)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, LadderId, MemberId
from leeside_protocol.limits import ROSTER_DEVICES
from leeside_protocol.words import ChannelPurpose, Role
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow
from leeside_server.core.ladder import LadderRow, Person, StepRow, fits
from leeside_server.core.policy import Action, may_sit
from leeside_server.core.rota import spans
from leeside_server.core.rota_changes import changed_ladder, check_ladder_rotas, new_ladder
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused
from leeside_server.relay.http.rotas import MOST_ROTAS, check_members, ended_members, every_rota, in_use

AHEAD_MS: Final = 3_600_000
"""A consult climbs for an hour at most: who takes over meanwhile must be able to read it."""
SEATS_LEFT: Final = 20
"""Of a channel's devices: for the requester, the unit and the desk."""
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")


async def ladders(call: Call) -> o.Ladders:
    """GET /v1/ladders."""
    call.actor.require(Action.READ_ON_CALL)
    rows, following = await call.page(LadderRow)
    return o.Ladders(following, tuple(_answer(held) for held in rows))


async def ladder(call: Call) -> o.Ladder:
    """GET /v1/ladders/{id}."""
    call.actor.require(Action.READ_ON_CALL)
    return _answer(await call.need(LadderRow, call.id))


async def create_ladder(call: Call) -> o.Ladder:
    """POST /v1/ladders."""
    call.actor.require(Action.CHANGE_ON_CALL)
    row = new_ladder(call.body(o.NewLadder), call.now_ms)
    if len(await call.every(call.actor.agency, LadderRow)) >= MOST_ROTAS:
        raise ProtocolError(WireError.FORBIDDEN, f"an agency has {MOST_ROTAS} ladders at most")
    ladder_id = LadderId(call.random(16))
    await _check_named(call, row, ())
    await call.write(
        call.actor.agency,
        create(ladder_id, row),
        Audit("ladder_created", call.actor.device, ladder_id, "done"),
    )
    return _answer(Held(ladder_id, row, 1))


async def change_ladder(call: Call) -> o.Ladder:
    """PATCH /v1/ladders/{id}."""
    call.actor.require(Action.CHANGE_ON_CALL)
    body = call.body(o.LadderChange)
    return await call.write_anew(call.actor.agency, lambda: _changed(call, body))


async def _changed(call: Call, body: o.LadderChange) -> tuple[Sequence[Part], o.Ladder]:
    held = await call.need(LadderRow, call.id)
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    row = changed_ladder(held.row, body, call.now_ms)
    if not row.ended_ms:
        await _check_named(call, row, held.row.steps)
    event = "ladder_ended" if row.ended_ms else "ladder_changed"
    parts = (change(held, row), Audit(event, call.actor.device, held.id, "done"))
    return parts, _answer(Held(held.id, row, held.revision + 1))


async def _check_named(call: Call, row: LadderRow, before: Iterable[StepRow]) -> None:
    stood = {member for step in before for member in step.members}
    check_ladder_rotas(row, await every_rota(call))
    await check_members(call, {member for step in row.steps for member in step.members} - stood)


async def ladder_roster(call: Call) -> o.LadderRoster:
    """GET /v1/ladders/{id}/roster: all who could be paged within an hour, and their devices that may sit in a consult.

    `language` leaves out whom no step would page for it. Members come in the order in which they would be paged, and with
    `ROSTER_DEVICES` less `SEATS_LEFT` devices the roster is full.
    """
    call.actor.require(Action.READ_ON_CALL)
    language = call.query.get("language", "")
    if language and not _LANGUAGE.fullmatch(language):
        raise ProtocolError(WireError.INVALID, "a language is a primary subtag of BCP 47")
    held = await _asked(call)
    paged = await _paged(call, () if held is None else held.row.steps, language)
    directory = await call.host.directories.fresh(call.actor.agency)
    certificates = {certificate.device_id: certificate for certificate in directory.devices()}
    members: list[MemberId] = []
    devices: list[DeviceId] = []
    for member in paged:
        rows = await call.every(call.actor.agency, DeviceRow, member)
        for row in rows:
            certificate = certificates.get(DeviceId(row.id))
            if (
                certificate is not None
                and row.row.state is DeviceState.ACTIVE
                and certificate.revoked_seq is None
                and certificate.valid_at(call.now_ms)
                and may_sit(certificate.role, ChannelPurpose.CONSULT)
            ):
                devices.append(DeviceId(row.id))
        members.append(member)
        if len(devices) >= ROSTER_DEVICES - SEATS_LEFT:
            break
    return o.LadderRoster(
        None if held is None else held.id.hex(),
        tuple(member.hex() for member in members),
        tuple(device.hex() for device in devices[: ROSTER_DEVICES - SEATS_LEFT]),
        () if held is None else tuple(o.Phone(phone.label, phone.number) for phone in held.row.phones),
    )


async def _asked(call: Call) -> Held[LadderRow] | None:
    """The ladder of the path; for 32 zeros the default, None when the agency has none."""
    if call.params["id"] != o.NO_LADDER:
        return await call.need(LadderRow, call.id)
    standing = in_use(await call.every(call.actor.agency, LadderRow))
    return standing[0] if standing else None


async def _paged(call: Call, steps: Sequence[StepRow], language: str) -> list[MemberId]:
    rotas, ended = await every_rota(call), await ended_members(call)
    everybody = {MemberId(held.id): held.row for held in await call.every(call.actor.agency, MemberRow)}
    found: dict[MemberId, None] = {}
    for step in steps:
        holders = [
            span.member
            for rota in step.rotas
            for span in spans(rotas, rota, call.now_ms, call.now_ms + AHEAD_MS, ended)
        ]
        for member in (*holders, *step.members):
            row = None if member is None else everybody.get(member)
            if member is not None and row is not None and not row.ended_ms and _fits(step, row, language):
                found[member] = None
    for member, row in sorted(everybody.items(), key=lambda item: (item[1].created_ms, item[0])):
        if Role.SUPERVISOR in row.roles and not row.ended_ms:
            found[member] = None
    return list(found)


def _fits(step: StepRow, row: MemberRow, language: str) -> bool:
    return fits(step, language, Person(row.languages, row.specialties, row.licences))


def _answer(held: Held[LadderRow]) -> o.Ladder:
    row = held.row
    return o.Ladder(
        held.id.hex(),
        row.label,
        tuple(
            o.LadderStep(
                tuple(rota.hex() for rota in step.rotas),
                tuple(member.hex() for member in step.members),
                step.delay_s,
                step.repeats,
                step.language,
                step.specialty,
                step.licence,
            )
            for step in row.steps
        ),
        tuple(o.Phone(phone.label, phone.number) for phone in row.phones),
        row.created_ms,
        row.ended_ms,
        held.revision,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "ladders": ladders,
    "ladder": ladder,
    "create_ladder": create_ladder,
    "change_ladder": change_ladder,
    "ladder_roster": ladder_roster,
}
