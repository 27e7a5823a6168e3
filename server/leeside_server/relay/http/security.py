"""Security events: what happened to access, append-only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leeside_protocol import resources as r
from leeside_server.core.policy import Action
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler


async def security_events(call: Call) -> r.SecurityEvents:
    """GET /v1/security-events, the oldest first; `after` is the last seq seen."""
    call.actor.require(Action.READ_SECURITY_EVENTS)
    rows = await call.host.store.audits(call.actor.agency, call.number("after", 0), call.limit)
    items = tuple(
        r.SecurityEvent(row.seq, row.at_ms, row.event, row.actor.hex(), row.subject.hex(), row.outcome)
        for row in rows
    )
    return r.SecurityEvents(str(items[-1].seq) if len(items) == call.limit else "", items)


HANDLERS: Final[Mapping[str, Handler]] = {"security_events": security_events}
