"""Units: teams of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId
from leeside_server.core.identity import MemberRow
from leeside_server.core.incidents import UnitRow, new_unit
from leeside_server.core.incidents import change_unit as changed_unit
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit
from leeside_server.relay.http.call import Call, ids
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused


async def units(call: Call) -> r.Units:
    """GET /v1/units."""
    call.actor.require(Action.READ_UNITS)
    rows, following = await call.page(UnitRow)
    return r.Units(following, tuple(_answer(held) for held in rows))


async def unit(call: Call) -> r.Unit:
    """GET /v1/units/{id}."""
    call.actor.require(Action.READ_UNITS)
    return _answer(await call.need(UnitRow, call.id))


async def create_unit(call: Call) -> r.Unit:
    """POST /v1/units."""
    call.actor.require(Action.CHANGE_UNITS)
    body = call.body(r.NewUnit)
    row = new_unit(_members(ids(body.members)) or (), _member(body.lead), call.now_ms)
    await _check_members(call, row.members)
    unit_id = call.random(16)
    await call.write(
        call.actor.agency, create(unit_id, row), Audit("unit_created", call.actor.device, unit_id, "done")
    )
    return _answer(Held(unit_id, row, 1))


async def change_unit(call: Call) -> r.Unit:
    """PATCH /v1/units/{id}."""
    call.actor.require(Action.CHANGE_UNITS)
    body = call.body(r.UnitChange)
    held = await call.need(UnitRow, call.id)
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    row = changed_unit(held.row, _members(ids(body.members)), _member(body.lead), body.ended, call.now_ms)
    await _check_members(call, [m for m in row.members if m not in held.row.members])
    await call.write(
        call.actor.agency,
        change(held, row),
        Audit("unit_ended" if body.ended else "unit_changed", call.actor.device, held.id, "done"),
    )
    return _answer(Held(held.id, row, held.revision + 1))


async def _check_members(call: Call, members: Sequence[MemberId]) -> None:
    for member in members:
        held = await call.find(call.actor.agency, MemberRow, member)
        if held is None or held.row.ended_ms:
            raise ProtocolError(WireError.INVALID, "a unit's members are members of the agency")


def _members(found: tuple[bytes, ...] | None) -> tuple[MemberId, ...] | None:
    return None if found is None else tuple(MemberId(one) for one in found)


def _member(text: str | None) -> MemberId | None:
    return None if text is None else MemberId(bytes.fromhex(text))


def _answer(held: Held[UnitRow]) -> r.Unit:
    row = held.row
    return r.Unit(
        held.id.hex(),
        tuple(member.hex() for member in row.members),
        None if row.lead is None else row.lead.hex(),
        row.created_ms,
        row.ended_ms,
        held.revision,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "units": units,
    "unit": unit,
    "create_unit": create_unit,
    "change_unit": change_unit,
}
