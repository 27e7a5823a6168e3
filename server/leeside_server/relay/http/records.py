"""Legal holds on incidents and the shredding of what is left of them: for records officers, each a security event.

Everything is decided in `core.records`. A hold changes the incident's row, too, in the same item: whatever retention had
decided meanwhile from an older row is then not carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_server.core.incidents import ENDED, IncidentRow
from leeside_server.core.policy import Action
from leeside_server.core.records import (
    RecordsRow,
    kept_until_ms,
    order_shredding,
    place_hold,
    release_hold,
)
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit
from leeside_server.relay.erasure import Erasure
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused

ATTEMPTS: Final = 4
"""How often a change is decided anew when a node's retention, or a colleague, writes at the same moment."""


async def records(call: Call) -> r.RecordsStates:
    """GET /v1/records: every incident of the agency, in the order of ids."""
    call.actor.require(Action.READ_RECORDS)
    rows, following = await call.page(IncidentRow)
    return r.RecordsStates(following, tuple([await _state(call, held) for held in rows]))


async def incident_records(call: Call) -> r.RecordsState:
    """GET /v1/incidents/{id}/records."""
    call.actor.require(Action.READ_RECORDS)
    return await _state(call, await call.need(IncidentRow, call.id))


async def hold_records(call: Call) -> r.RecordsState:
    """POST /v1/incidents/{id}/records/hold: from when this is answered, nothing more of the incident goes."""
    call.actor.require(Action.HOLD_RECORDS)
    reason = call.body(r.HoldPost).reason

    def hold(row: RecordsRow, _: IncidentRow) -> RecordsRow:
        return place_hold(row, reason, call.actor.device, call.now_ms)

    return await _change(call, hold, "records_held", reason)


async def release_records(call: Call) -> r.RecordsState:
    """POST /v1/incidents/{id}/records/release: with the last hold gone, retention takes its course again."""
    call.actor.require(Action.RELEASE_RECORDS)
    reason = call.body(r.HoldPost).reason
    return await _change(call, lambda row, _: release_hold(row, reason), "records_released", reason)


async def shred_records(call: Call) -> r.RecordsState:
    """POST /v1/incidents/{id}/records/shred: the order is written first, so that it is carried out whatever happens
    to this node. The same order again carries on, or says when it was done."""
    call.actor.require(Action.SHRED_RECORDS)
    reason = call.body(r.ShredPost).reason

    def order(row: RecordsRow, incident: IncidentRow) -> RecordsRow:
        return order_shredding(row, incident, call.settings.incident_days, call.actor.device, call.now_ms)

    state = await _change(call, order, "records_shred_ordered", reason)
    if state.shredded_ms:
        return state
    ordered = await call.need(RecordsRow, call.id)
    await Erasure(call.host, call.random).shred(call.actor.agency, ordered, call.now_ms)
    return await incident_records(call)


async def _change(
    call: Call, decide: Callable[[RecordsRow, IncidentRow], RecordsRow], event: str, reason: str
) -> r.RecordsState:
    """Decide on the newest rows and write what was decided, with its security event; again when somebody else was
    first. Retention looks at the incident anew once its records are neither held nor shredded."""
    for left in reversed(range(ATTEMPTS)):
        incident = await call.need(IncidentRow, call.id)
        held = await call.find(call.actor.agency, RecordsRow, call.id)
        before = RecordsRow() if held is None else held.row
        after = decide(before, incident.row)
        if after is before:
            break
        ordered = bool(after.shred_ms)
        retained = incident.row.state in ENDED and not after.holds and not ordered
        save = (
            create(incident.id, after, call.now_ms if ordered else None)
            if held is None
            else change(held, after, call.now_ms if ordered else None)
        )
        looked_at = change(incident, incident.row, call.now_ms if retained else None)
        audit = Audit(event, call.actor.device, incident.id, reason)
        try:
            await call.write(call.actor.agency, save, looked_at, audit)
        except Refused as error:
            if error.code is not WireError.CONFLICT or not left:
                raise
        else:
            break
    return await incident_records(call)


async def _state(call: Call, incident: Held[IncidentRow]) -> r.RecordsState:
    held = await call.find(call.actor.agency, RecordsRow, incident.id)
    row = RecordsRow() if held is None else held.row
    return r.RecordsState(
        incident.id.hex(),
        incident.row.state,
        incident.row.closed_ms,
        kept_until_ms(incident.row, call.settings.incident_days),
        tuple(r.Hold(hold.reason, hold.since_ms, hold.by.hex()) for hold in row.holds),
        row.emptied_ms,
        row.shred_ms,
        row.shredded_ms,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "records": records,
    "incident_records": incident_records,
    "hold_records": hold_records,
    "release_records": release_records,
    "shred_records": shred_records,
}
