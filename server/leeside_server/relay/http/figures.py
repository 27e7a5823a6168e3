"""Figures of consults, for supervisors: read from the store, counted by `core.figures` (spec 08, "Figures")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.figures import figures as count
from leeside_server.core.figures import figures_csv as as_csv
from leeside_server.core.policy import Action
from leeside_server.core.recurrence import FIRST_MS, LAST_MS
from leeside_server.core.rows import KINDS, read
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler

SCANNED: Final = 50_000
"""Consults that are read for one answer at most: some thirty years of a city with five a day."""


async def figures(call: Call) -> o.Figures:
    """GET /v1/consults/figures."""
    call.actor.require(Action.READ_FIGURES)
    zone = call.query.get("zone", "UTC")
    from_ms = call.number("from_ms", FIRST_MS, FIRST_MS, LAST_MS)
    until_ms = call.number("until_ms", call.now_ms, FIRST_MS, LAST_MS)
    # A window or zone that is none is refused before anything is read for it.
    count((), from_ms, until_ms, zone)
    return count(await _within(call, from_ms, until_ms), from_ms, until_ms, zone)


async def figures_csv(call: Call) -> bytes:
    """GET /v1/consults/figures.csv: the same for a spreadsheet."""
    return as_csv(await figures(call)).encode()


async def _within(call: Call, from_ms: int, until_ms: int) -> list[ConsultRow]:
    """The consults asked for in a window, without what no figure is made of; `too_large` when there are too many to read."""
    rows: list[ConsultRow] = []
    after, scanned = b"", 0
    while True:
        items = await call.host.store.objects(call.actor.agency, KINDS[ConsultRow], None, after, PAGE_ENTRIES)
        for item in items:
            row = read(ConsultRow, item).row
            if from_ms <= row.requested_ms < until_ms:
                rows.append(msgspec.structs.replace(row, steps=(), phones=(), targets=(), tried=()))
        scanned += len(items)
        if len(items) < PAGE_ENTRIES:
            return rows
        if scanned >= SCANNED:
            raise ProtocolError(WireError.TOO_LARGE, "there are more consults than are counted at once")
        after = items[-1].id


HANDLERS: Final[Mapping[str, Handler]] = {"figures": figures, "figures_csv": figures_csv}
