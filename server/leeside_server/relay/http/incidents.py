"""Incidents: opened together with their operations channel, moved on, and closed with all their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ID_BYTES, ChannelId, UnitId
from leeside_protocol.words import ChannelPurpose, Compartment, IncidentState
from leeside_server.core.channels import ACTIVE, ChannelRow
from leeside_server.core.commits import archive_parts
from leeside_server.core.incidents import ENDED, IncidentRow, UnitRow
from leeside_server.core.incidents import change_incident as changed_incident
from leeside_server.core.incidents import open_incident as opened_incident
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import Call, ids
from leeside_server.relay.http.channels import door_part, genesis_parts, read_genesis, standing, store_commit
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused

NO_CHANNEL: Final = ChannelId(bytes(ID_BYTES))


async def incidents(call: Call) -> r.Incidents:
    """GET /v1/incidents."""
    call.actor.require(Action.READ_INCIDENTS)
    rows, following = await call.page(IncidentRow)
    return r.Incidents(following, tuple(_answer(held) for held in rows))


async def incident(call: Call) -> r.Incident:
    """GET /v1/incidents/{id}."""
    call.actor.require(Action.READ_INCIDENTS)
    return _answer(await call.need(IncidentRow, call.id))


async def open_incident(call: Call) -> r.CommitAnswer:
    """POST /v1/incidents: row, genesis, boxes and first message stand together or not at all."""
    call.actor.require(Action.OPEN_INCIDENT)
    body = call.body(r.IncidentPost)
    if len(body.incident) != ID_BYTES or body.channel.subject != body.incident:
        raise ProtocolError(WireError.INVALID, "the channel's subject is the incident")
    genesis = read_genesis(body.channel)
    if genesis.purpose is not ChannelPurpose.INCIDENT or genesis.commit.compartment != Compartment.OPERATIONS:
        raise ProtocolError(WireError.INVALID, "an incident begins with its operations channel")
    repeat = await standing(call, genesis.commit)
    if repeat is not None:
        return repeat
    if await call.find(call.actor.agency, UnitRow, body.incident) is not None:
        # The client chooses the id, and channels name unit and incident alike: its end would take the unit's channels.
        raise ProtocolError(WireError.INVALID, "a unit has this id")
    units = tuple(UnitId(unit) for unit in body.units)
    # First, because it bounds how many units there are to be looked up.
    row = opened_incident(body.priority, units, call.actor.device, call.now_ms)
    await _check_units(call, units)
    parts = (
        *(await genesis_parts(call, genesis)),
        create(body.incident, row),
        Audit("incident_opened", call.actor.device, body.incident, row.state.value),
    )
    return await store_commit(call, genesis.commit, parts)


async def change_incident(call: Call) -> r.Incident:
    """PATCH /v1/incidents/{id}: a responder moves on what their own unit works; the desk does all else.

    Its end archives every channel of it in the same item, and hands it to retention.
    """
    body = call.body(r.IncidentChange)
    return await call.write_anew(call.actor.agency, lambda: _changed(call, body))


async def _changed(call: Call, body: r.IncidentChange) -> tuple[Sequence[Part], r.Incident]:
    door = await door_part(call, call.id, NO_CHANNEL) if body.state in ENDED else None
    held = await call.need(IncidentRow, call.id)
    if not await _may_change(call, held.row, body):
        raise ProtocolError(WireError.FORBIDDEN, "your role does not permit this")
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    if body.state in ENDED and await call.host.consults.active_of(call.actor.agency, held.id) is not None:
        raise ProtocolError(WireError.FORBIDDEN, "a consult of this incident goes on: end or cancel it first")
    found = ids(body.units)
    units = None if found is None else tuple(UnitId(unit) for unit in found)
    await _check_units(call, [unit for unit in units or () if unit not in held.row.units])
    row = changed_incident(held.row, body.priority, body.state, units, call.now_ms)
    parts: list[Part] = [Audit("incident_changed", call.actor.device, held.id, row.state.value)]
    due_ms: int | None = None
    if door is not None:
        due_ms = call.now_ms
        parts.append(door)
        for channel in await _channels_of(call, held.id):
            parts += archive_parts(channel, call.actor.device, call.random)
    return (change(held, row, due_ms), *parts), _answer(Held(held.id, row, held.revision + 1))


async def _may_change(call: Call, row: IncidentRow, body: r.IncidentChange) -> bool:
    if call.actor.permits(Action.CHANGE_INCIDENT):
        return True
    progress = body.state is IncidentState.ON_SCENE and body.priority is None and body.units is None
    if not progress or not call.actor.permits(Action.PROGRESS_INCIDENT):
        return False
    for unit in row.units:
        team = await call.find(call.actor.agency, UnitRow, unit)
        if team is not None and call.actor.member in team.row.members:
            return True
    return False


async def _channels_of(call: Call, subject: bytes) -> list[Held[ChannelRow]]:
    active = await call.every(call.actor.agency, ChannelRow, ACTIVE)
    return [held for held in active if held.row.subject == subject.hex()]


async def _check_units(call: Call, units: Sequence[UnitId]) -> None:
    for unit in units:
        held = await call.find(call.actor.agency, UnitRow, unit)
        if held is None or held.row.ended_ms:
            raise ProtocolError(WireError.INVALID, "an incident's units are units of the agency that work")


def _answer(held: Held[IncidentRow]) -> r.Incident:
    row = held.row
    return r.Incident(
        held.id.hex(),
        row.priority,
        row.state,
        tuple(unit.hex() for unit in row.units),
        row.created_ms,
        row.closed_ms,
        held.revision,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "incidents": incidents,
    "incident": incident,
    "open_incident": open_incident,
    "change_incident": change_incident,
}
