"""Pages as devices see them: duty and tests, how far a page came, and its receipts (spec 08, "Paging")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ID_BYTES, PageId, RotaId
from leeside_protocol.words import Role, TargetState
from leeside_server.core import duty as duties
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import DeviceRow, check_device
from leeside_server.core.ladder import StepRow
from leeside_server.core.paging import PageKind, PageRow, Path, open_page, summary
from leeside_server.core.rota import RotaRow
from leeside_server.core.writes import Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler

DESK: Final = frozenset({Role.DISPATCHER, Role.SUPERVISOR})


async def duty(call: Call) -> o.Duty:
    """GET /v1/oncall/me."""
    held = await call.find(call.actor.agency, DutyRow, call.actor.device)
    return await _answer(call, DutyRow(call.actor.member) if held is None else held.row)


async def put_duty(call: Call) -> o.Duty:
    """PUT /v1/oncall/me. A device that begins to take pages is probed at once."""
    body, actor = call.body(o.DutyPut), call.actor

    async def decide() -> tuple[Sequence[Part], DutyRow]:
        check_device((await call.need(DeviceRow, actor.device)).row)
        held = await call.find(actor.agency, DutyRow, actor.device)
        before = DutyRow(actor.member) if held is None else held.row
        row = duties.put(before, on=body.on, sound=body.sound, wall_ms=call.now_ms)
        return (call.host.probes.saved(actor.device, held, row),), row

    return await _answer(call, await call.write_anew(actor.agency, decide))


async def test_page(call: Call) -> o.TestPage:
    """POST /v1/oncall/test: to this device and its member's number, by the ways that a page would take."""
    actor, host = call.actor, call.host
    call.limits.check_test(actor.device, host.clock.monotonic_s())
    page = PageId(call.random(ID_BYTES))
    row = open_page(
        PageKind.TEST,
        actor.member,
        now_ms=await host.steady.now_ms(),
        wall_ms=call.now_ms,
        device=actor.device,
    )
    await call.write(actor.agency, *await host.paging.page_parts(actor.agency, page, row))
    return o.TestPage(page.hex())


async def page(call: Call) -> o.PageReceipts:
    """GET /v1/pages/{id}: one's own, and for the desk everybody's."""
    held = await call.need(PageRow, call.id)
    if held.row.member != call.actor.member and DESK.isdisjoint(call.actor.roles):
        raise ProtocolError(WireError.NOT_FOUND)
    return o.PageReceipts(
        held.id.hex(),
        tuple(o.PagePath(way.path.value, way.state, way.at_ms, way.attempts) for way in summary(held.row)),
    )


async def page_receipt(call: Call) -> None:
    """POST /v1/pages/{id}/receipt. Says nothing of whether there is such a page."""
    body = call.body(o.ReceiptPost)
    await call.host.paging.receipt(PageId(call.id), Path(body.path), TargetState(body.state))


async def _answer(call: Call, row: DutyRow) -> o.Duty:
    device = await call.need(DeviceRow, call.actor.device)
    return o.Duty(
        on=row.on,
        sound=row.sound,
        tested_ms=row.tested_ms,
        probed_ms=row.probed_wall_ms,
        push=bool(device.row.push_endpoint),
        holds=await _holds(call),
    )


async def _holds(call: Call) -> tuple[str, ...]:
    """The rotas that the asking member holds now."""
    agency, member = call.actor.agency, call.actor.member
    rotas = tuple(RotaId(held.id) for held in await call.every(agency, RotaRow))
    people = await call.host.staff.of(agency)
    holders = await call.host.consults.worlds.holders(agency, [StepRow(rotas)], call.now_ms, people)
    return tuple(rota.hex() for rota, holder in holders.items() if holder == member)


HANDLERS: Final[Mapping[str, Handler]] = {
    "duty": duty,
    "put_duty": put_duty,
    "test_page": test_page,
    "page": page,
    "page_receipt": page_receipt,
}
