"""Calendars of rotas: a file taken over, and feeds that calendar programs read (spec 08, "Calendars").

The library behind `core.calendar` is large: it is loaded when the first calendar comes, and not at a start.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Mounted

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId, RotaId
from leeside_server.core.feeds import MOST_OF_A_ROTA, SECRET_BYTES, FeedRow, feed_id, feed_path
from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.policy import Action
from leeside_server.core.recurrence import zone
from leeside_server.core.rota import RotaRow, spans
from leeside_server.core.rota_changes import checked, pruned
from leeside_server.core.rows import KINDS, Held, create, read, remove
from leeside_server.core.writes import Audit, Item, Part
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler, headers_of, nothing_here
from leeside_server.relay.http.host import Host
from leeside_server.relay.http.limits import RequestLimits
from leeside_server.relay.http.refusals import Refused, answer_of, encode, stored
from leeside_server.relay.http.rotas import written
from leeside_server.relay.http.settings import HttpSettings
from leeside_server.relay.sources import source_of

FRESH_S: Final = 60
"""How long a calendar program may show what it has without asking."""


async def import_calendar(call: Call) -> o.Rota:
    """POST /v1/rotas/{id}/import: the calendar's shifts from now on, in the place of those of the calendar before."""
    call.actor.require(Action.READ_ON_CALL)
    body = call.body(o.CalendarImport)
    return await call.write_anew(call.actor.agency, lambda: _imported(call, body))


async def _imported(call: Call, body: o.CalendarImport) -> tuple[Sequence[Part], o.Rota]:
    held = await call.need(RotaRow, call.id)
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    if held.row.ended_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this rota has ended")
    # A large file takes a tenth of a second, and the first one the library's loading: others are served meanwhile.
    row = await asyncio.to_thread(_taken_over, held.row, body, call.now_ms)
    return await written(call, held, row)


def _taken_over(row: RotaRow, body: o.CalendarImport, now_ms: int) -> RotaRow:
    from leeside_server.core.calendar import shifts, with_shifts, zone_of

    members = {name: MemberId(bytes.fromhex(member)) for name, member in body.members.items()}
    named = body.zone or zone_of(body.ics) or next((one.zone for one in row.rotations), "")
    found = shifts(body.ics, members, zone(named) if named else None, now_ms)
    return checked(with_shifts(pruned(row, now_ms), found, now_ms))


async def create_feed(call: Call) -> o.Feed:
    """POST /v1/rotas/{id}/feeds: the address is told once, and only its hash is kept."""
    call.actor.require(Action.READ_ON_CALL)
    held = await call.need(RotaRow, call.id)
    if held.row.ended_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this rota has ended")
    if len(await _feeds(call, held.id)) >= MOST_OF_A_ROTA:
        raise ProtocolError(
            WireError.FORBIDDEN, "a rota has 64 feeds at most: end them, and hand out new ones"
        )
    path = feed_path(call.random(SECRET_BYTES))
    key = feed_id(path.rpartition("/")[2].removesuffix(".ics"))
    assert key is not None
    actor = call.actor
    row = FeedRow(actor.agency, RotaId(held.id), actor.member, call.body(o.NewFeed).mine, call.now_ms)
    item = Item(NO_AGENCY, call.now_ms, (create(key, row),))
    record = Item(actor.agency, call.now_ms, (Audit("feed_created", actor.device, held.id, "done"),))
    for outcome in await call.apply([item, record]):
        stored(outcome)
    return o.Feed(path)


async def end_feeds(call: Call) -> None:
    """DELETE /v1/rotas/{id}/feeds: of a supervisor and the rota's owners all of them, of others their own."""
    call.actor.require(Action.READ_ON_CALL)
    held = await call.need(RotaRow, call.id)
    actor = call.actor
    everybody = actor.permits(Action.CHANGE_ON_CALL) or actor.member in held.row.owners
    found = [one for one in await _feeds(call, held.id) if everybody or one.row.member == actor.member]
    if not found:
        return
    items = [Item(NO_AGENCY, call.now_ms, (remove(FeedRow, one),)) for one in found]
    record = Item(actor.agency, call.now_ms, (Audit("feeds_ended", actor.device, held.id, str(len(found))),))
    # One that is gone already was ended by somebody else.
    await call.apply([*items, record])


async def _feeds(call: Call, rota: bytes) -> list[Held[FeedRow]]:
    """The feeds of a rota, which was read in the actor's agency."""
    return [
        held for held in await call.every(NO_AGENCY, FeedRow, rota) if held.row.agency == call.actor.agency
    ]


HANDLERS: Final[Mapping[str, Handler]] = {
    "import_calendar": import_calendar,
    "create_feed": create_feed,
    "end_feeds": end_feeds,
}


# ---- what calendar programs read


def pages(host: Host, settings: HttpSettings, limits: RequestLimits) -> list[BaseRoute]:
    """What is mounted beside the route table: a feed is no resource of the API, and no client of ours reads it."""

    async def answer(request: Request) -> Response:
        source = source_of(
            request.client.host if request.client else None,
            request.headers.getlist("x-forwarded-for"),
            settings.trusted_proxies,
        )
        try:
            limits.check_source(source, "feed", host.clock.monotonic_s())
            content = await _content(host, request.path_params["secret"])
        except (Refused, StoreUnavailable) as error:
            refused = answer_of(error)
            assert refused is not None
            status = WireError(refused.number).http_status
            return Response(encode(refused), status, headers_of(settings), media_type="application/json")
        if content is None:
            return nothing_here(settings)
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {**headers_of(settings), "Cache-Control": f"private, max-age={FRESH_S}", "ETag": tag}
        if tag in (known.strip() for known in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="text/calendar")

    return [Mounted("/v1/feeds/{secret}.ics", answer, methods=["GET"])]


async def _content(host: Host, secret: str) -> bytes | None:
    """The calendar, or None where there is none: of no address, an ended one, or one whose maker or rota is no more.
    Looked up by its hash, so that how long it takes says nothing of a secret."""
    key = feed_id(secret)
    found = None if key is None else await host.store.get(NO_AGENCY, KINDS[FeedRow], key)
    if found is None:
        return None
    row = read(FeedRow, found).row
    gone = await host.foresight.gone(row.agency)
    rotas = await host.foresight.rotas(row.agency)
    rota = rotas.get(row.rota)
    if row.member in gone or rota is None or rota.ended_ms:
        return None
    now_ms = host.clock.now_ms()
    return await asyncio.to_thread(_calendar, row, rotas, gone, now_ms)


def _calendar(
    row: FeedRow, rotas: Mapping[RotaId, RotaRow], gone: Collection[MemberId], now_ms: int
) -> bytes:
    from leeside_server.core.calendar import feed, feed_window

    from_ms, until_ms = feed_window(now_ms)
    found = spans(rotas, row.rota, from_ms, until_ms, gone)
    return feed(row.rota, rotas[row.rota].label, found, row.member if row.mine else None)
