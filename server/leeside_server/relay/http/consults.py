"""Consults: requested together with their sealed channel, listed for whom they concern, and moved by actions (spec 08).

What a consult does is decided in `core.consult`, and carried out by `relay.consults`; here requests are read and answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, assert_never

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ID_BYTES, ChannelId, ConsultId, IncidentId, MemberId, UnitId
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.words import ChannelPurpose, Compartment, ConsultActionKind, Role, Urgency
from leeside_server.core.asked import AskedRow, admit, outside_window
from leeside_server.core.channels import ChannelRow
from leeside_server.core.consult import Request
from leeside_server.core.consult_moves import (
    Accept,
    Cancel,
    Decline,
    End,
    Escalate,
    Hold,
    Input,
    Join,
    Leave,
    Release,
    Side,
    Take,
)
from leeside_server.core.consult_rights import could_come, may, watchers
from leeside_server.core.consult_row import ACTIVE, ENDED, FINAL, ConsultRow, ringing
from leeside_server.core.incidents import ENDED as ENDED_INCIDENT
from leeside_server.core.incidents import IncidentRow, UnitRow, open_incident
from leeside_server.core.ladder import World
from leeside_server.core.policy import Action
from leeside_server.core.rows import KINDS, Held, change, create, read
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import ATTEMPTS, Call
from leeside_server.relay.http.channels import (
    Genesis,
    door_part,
    genesis_parts,
    read_genesis,
    standing,
    store_commit,
)
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused

LANGUAGE: Final = re.compile(r"^[a-z]{2,3}$")
SPECIALTY_CHARS: Final = 40
PRIORITIES: Final = {Urgency.URGENT: 1, Urgency.IMPORTANT: 2, Urgency.ROUTINE: 3}
"""Of the incident that is made for a consult that has none."""
SCANNED: Final = 4 * PAGE_ENTRIES
"""Consults that one page of a listing looks at, at most."""
_PARENTS: Final[Mapping[str, bytes | None]] = {"": None, "active": ACTIVE, "ended": ENDED}
_K = ConsultActionKind


# ---- requesting


async def create_consult(call: Call) -> r.CommitAnswer:
    """POST /v1/consults: consult, channel, first frame, pages and notices stand together or not at all."""
    call.actor.require(Action.REQUEST_CONSULT)
    body = call.body(o.ConsultPost)
    genesis = _genesis(body)
    left = ATTEMPTS
    while True:
        repeat = await standing(call, genesis.commit)
        if repeat is not None:
            return repeat
        try:
            row, parts = await _opening(call, body, genesis)
        except ProtocolError:
            # The very same request may have been stored meanwhile: somebody got no answer, and asked another node.
            repeat = await standing(call, genesis.commit)
            if repeat is None:
                raise
            return repeat
        left -= 1
        try:
            stands = await store_commit(call, genesis.commit, parts)
        except Refused as error:
            # Its incident may have ended at the same moment, or its device asked for another consult.
            if error.code is not WireError.CONFLICT or not left:
                raise
        else:
            if not stands.repeat:
                call.host.consults.opened(row)
            return stands


def _genesis(body: o.ConsultPost) -> Genesis:
    """The consult's channel; `invalid` when the request does not hold together."""
    ids = (body.incident, body.unit, body.ladder)
    if len(body.consult) != ID_BYTES or any(len(i) not in (0, ID_BYTES) for i in ids):
        raise ProtocolError(WireError.INVALID, "ids have 16 bytes")
    if body.urgency not in set(Urgency) or (body.language and not LANGUAGE.match(body.language)):
        raise ProtocolError(WireError.INVALID, "the urgency or the language")
    if len(body.specialty) > SPECIALTY_CHARS:
        raise ProtocolError(WireError.INVALID, f"a specialty has {SPECIALTY_CHARS} characters at most")
    if body.channel.subject != (body.incident or body.consult):
        raise ProtocolError(WireError.INVALID, "the channel's subject is the incident, or the consult itself")
    genesis = read_genesis(body.channel)
    if genesis.purpose is not ChannelPurpose.CONSULT or genesis.commit.compartment != Compartment.OPERATIONS:
        raise ProtocolError(WireError.INVALID, "a consult begins with its operations channel")
    if body.channel.first is None:
        raise ProtocolError(WireError.INVALID, "a consult's channel begins with what it is about")
    return genesis


async def _opening(call: Call, body: o.ConsultPost, genesis: Genesis) -> tuple[ConsultRow, tuple[Part, ...]]:
    actor, key = call.actor, ConsultId(body.consult)
    # First of all: whoever ends the incident meanwhile writes it too.
    door = await door_part(call, body.channel.subject, genesis.commit.channel_id)
    incident = await _incident(call, body)
    unit = await _unit(call, body.unit)
    asked, held = await _asked(call, key)
    request = Request(
        IncidentId(body.channel.subject),
        unit,
        actor.member,
        actor.device,
        Urgency(body.urgency),
        body.language,
        body.interpreter,
        body.specialty,
        genesis.commit.channel_id,
    )
    row, parts = await call.host.consults.opening(actor.agency, key, request, body.ladder, held=held)
    return row, (*(await genesis_parts(call, genesis)), door, *incident, *asked, *parts)


async def _incident(call: Call, body: o.ConsultPost) -> tuple[Part, ...]:
    """The incident must go on; where there is none, one is made that has the consult's id."""
    agency = call.actor.agency
    if await call.find(agency, ConsultRow, body.consult) is not None:
        raise ProtocolError(WireError.INVALID, "a consult has this id")
    if body.incident:
        held = await call.need(IncidentRow, body.incident)
        if held.row.state in ENDED_INCIDENT:
            raise ProtocolError(WireError.FORBIDDEN, "this incident has ended")
        return ()
    # The client chooses the id, and channels name what they belong to by it.
    for kind in (IncidentRow, UnitRow):
        if await call.find(agency, kind, body.consult) is not None:
            raise ProtocolError(WireError.INVALID, "something else has this id")
    row = open_incident(PRIORITIES[Urgency(body.urgency)], (), call.actor.device, call.now_ms)
    return (
        create(body.consult, row),
        Audit("incident_opened", call.actor.device, body.consult, row.state.value),
    )


async def _unit(call: Call, unit: bytes) -> UnitId | None:
    """The unit that asks: one's own, or any for the desk."""
    if not unit:
        return None
    held = await call.find(call.actor.agency, UnitRow, unit)
    if held is None or held.row.ended_ms:
        raise ProtocolError(WireError.INVALID, "the unit that asks is one that works")
    desk = {Role.DISPATCHER, Role.SUPERVISOR}
    if call.actor.member not in held.row.members and desk.isdisjoint(call.actor.roles):
        raise ProtocolError(WireError.FORBIDDEN, "this is not your unit")
    return UnitId(unit)


async def _asked(call: Call, key: ConsultId) -> tuple[tuple[Part, ...], bool]:
    """Whether this device asks for too many at once, and what to write for it: nothing when it does."""
    agency, device = call.actor.agency, call.actor.device
    held = await call.find(agency, AskedRow, device)
    row = AskedRow() if held is None else held.row
    now_ms = (await call.host.consults.now()).steady_ms
    ended: set[ConsultId] = set()
    for earlier in outside_window(row, now_ms):
        found = await call.find(agency, ConsultRow, earlier)
        if found is None or found.row.state in FINAL:
            ended.add(earlier)
    new, too_many = admit(row, key, now_ms, ended)
    if too_many:
        return (), True
    return (create(device, new) if held is None else change(held, new),), False


# ---- reading


async def consults(call: Call) -> o.Consults:
    """GET /v1/consults: those that concern the asker, in the order of ids."""
    call.actor.require(Action.READ_CONSULTS)
    state = call.query.get("state", "")
    if state not in _PARENTS:
        raise ProtocolError(WireError.INVALID, "`state` is active or ended")
    found: list[o.Consult] = []
    after, scanned = call.after_id, 0
    while len(found) < call.limit and scanned < SCANNED:
        items = await call.host.store.objects(
            call.actor.agency, KINDS[ConsultRow], _PARENTS[state], after, PAGE_ENTRIES
        )
        for item in items:
            after = item.id
            held = read(ConsultRow, item)
            # Most that a long list looks at are over, and a list of them must not read every rota for each.
            over = held.row.state in FINAL
            world = await (_over(call, held.row) if over else _world(call, held.row))
            if _concerns(held.row, call.actor.member, world):
                found.append(answer(held, call.actor.member, world))
                if len(found) == call.limit:
                    break
        else:
            scanned += len(items)
            if len(items) < PAGE_ENTRIES:
                after = b""
                break
    return o.Consults(after.hex(), tuple(found))


async def consult(call: Call) -> o.Consult:
    """GET /v1/consults/{id}."""
    call.actor.require(Action.READ_CONSULTS)
    held, world = await _mine(call)
    return answer(held, call.actor.member, world)


async def _mine(call: Call, *, coming: bool = False) -> tuple[Held[ConsultRow], World]:
    """`coming`: by who wants to accept. They were told of it, and must hear that somebody was first, not that there is none."""
    held = await call.need(ConsultRow, call.id)
    world = await _world(call, held.row)
    member = call.actor.member
    if not _concerns(held.row, member, world) and not (coming and could_come(held.row, member, world)):
        raise ProtocolError(WireError.NOT_FOUND)
    return held, world


async def _world(call: Call, row: ConsultRow) -> World:
    shell = call.host.consults
    return await shell.worlds.near(call.actor.agency, row, await shell.now())


async def _over(call: Call, row: ConsultRow) -> World:
    return await call.host.consults.worlds.over(call.actor.agency, row)


def _concerns(row: ConsultRow, member: MemberId, world: World) -> bool:
    """Who watches it, and whoever could come: a psychiatrist of its channel who was not paged yet."""
    return member in watchers(row, world) or bool(may(row, member, world))


# ---- acting


async def consult_action(call: Call) -> o.Consult:
    """POST /v1/consults/{id}/actions. A repeat of what was done gets the same answer."""
    call.actor.require(Action.ACT_ON_CONSULT)
    body = call.body(o.ConsultAction)
    held, _ = await _mine(call, coming=body.kind is _K.ACCEPT)
    given = await _input(call, held.row, body)
    event = f"consult_{body.kind.value}"
    key = ConsultId(held.id)
    moved = await call.host.consults.move(call.actor.agency, key, given, call.actor.device, event)
    return answer(moved, call.actor.member, await _world(call, moved.row))


async def _input(call: Call, row: ConsultRow, body: o.ConsultAction) -> Input:
    member, device = call.actor.member, call.actor.device
    if (body.side is not None) is not (body.kind is _K.SIDE):
        raise ProtocolError(WireError.INVALID, "`side` goes with the kind side, and with no other")
    match body.kind:
        case _K.ACCEPT:
            return Accept(member, device)
        case _K.DECLINE:
            return Decline(member)
        case _K.HOLD:
            return Hold(member)
        case _K.ESCALATE:
            return Escalate(member)
        case _K.CANCEL:
            return Cancel(member)
        case _K.JOIN:
            return Join(member, device)
        case _K.LEAVE:
            return Leave(member)
        case _K.END:
            return End(member)
        case _K.TAKE:
            return Take(member)
        case _K.RELEASE:
            return Release(member)
        case _K.SIDE:
            return Side(member, await _side(call, row, body.side or ""))
        case _ as never:
            assert_never(never)


async def _side(call: Call, row: ConsultRow, channel: str) -> ChannelId:
    """The clinicians' own channel: of this consult's incident, sealed for `clinical`, and the asker's device is in it."""
    held = await call.find(call.actor.agency, ChannelRow, bytes.fromhex(channel))
    fits = (
        held is not None
        and held.row.purpose is ChannelPurpose.CONSULT
        and held.row.compartment is Compartment.CLINICAL
        and held.row.subject == row.incident.hex()
        and not held.row.archived
        and call.actor.device in held.row.masks
    )
    if held is None or not fits:
        raise ProtocolError(WireError.INVALID, "this is no clinicians' channel of this consult")
    return ChannelId(held.id)


# ---- answers


def answer(held: Held[ConsultRow], member: MemberId, world: World) -> o.Consult:
    """A consult as one member sees it."""
    row = held.row
    page = ringing(row, member)
    desk = member in world.desk or member in world.supervisors
    return o.Consult(
        id=held.id.hex(),
        incident=row.incident.hex(),
        unit=_hex(row.unit),
        member=row.member.hex(),
        device=row.device.hex(),
        urgency=row.urgency,
        language=row.language,
        interpreter=row.interpreter,
        specialty=row.specialty,
        state=row.state,
        channel=row.channel.hex(),
        side=_hex(row.side),
        ladder=_hex(row.ladder),
        step=row.step,
        steps=len(row.steps),
        turn=row.turn,
        requested_ms=row.requested_ms,
        step_ms=row.step_ms,
        next_ms=row.next_ms,
        accepted_by=_hex(row.accepted_by),
        accepted_device=_hex(row.accepted_device),
        accepted_ms=row.accepted_ms,
        joined_ms=row.joined_ms,
        ended_ms=row.ended_ms,
        held_until_ms=row.held_until_ms,
        alarms=row.alarms,
        taken_by=_hex(row.taken_by),
        targets=tuple(
            o.ConsultTarget(
                t.member.hex(),
                t.step,
                t.state,
                _hex(t.page) if desk or t.member == member else None,
                t.at_ms,
                t.page is not None,
            )
            for t in row.targets
        ),
        tried=tuple(o.Tried(t.at_ms, t.event.value, t.step, _hex(t.member)) for t in row.tried),
        me=o.ConsultMine(may(row, member, world), _hex(page), page is not None),
        revision=held.revision,
    )


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


HANDLERS: Final[Mapping[str, Handler]] = {
    "create_consult": create_consult,
    "consults": consults,
    "consult": consult,
    "consult_action": consult_action,
}
