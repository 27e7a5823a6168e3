"""All routes of the protocol, mounted: each has exactly one handler, and the table decides the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Mounted

from leeside_protocol.routes import ROUTES
from leeside_server.relay.http import (
    agencies,
    blobs,
    calendars,
    channels,
    consults,
    devices,
    directory,
    figures,
    guests,
    incidents,
    ladders,
    logs,
    members,
    oidc,
    pages,
    passkeys,
    push,
    records,
    rotas,
    security,
    sessions,
    units,
)
from leeside_server.relay.http.endpoint import Endpoint, Handler, Resource, headers_of, nothing_here
from leeside_server.relay.http.host import Host
from leeside_server.relay.http.limits import RequestLimits
from leeside_server.relay.http.openapi import encoded
from leeside_server.relay.http.settings import HttpSettings

HANDLERS: Final[Mapping[str, Handler]] = {
    **agencies.HANDLERS,
    **blobs.HANDLERS,
    **calendars.HANDLERS,
    **channels.HANDLERS,
    **consults.HANDLERS,
    **devices.HANDLERS,
    **directory.HANDLERS,
    **figures.HANDLERS,
    **guests.HANDLERS,
    **incidents.HANDLERS,
    **ladders.HANDLERS,
    **logs.HANDLERS,
    **members.HANDLERS,
    **oidc.HANDLERS,
    **pages.HANDLERS,
    **passkeys.HANDLERS,
    **push.HANDLERS,
    **records.HANDLERS,
    **rotas.HANDLERS,
    **security.HANDLERS,
    **sessions.HANDLERS,
    **units.HANDLERS,
}


def routes(host: Host, settings: HttpSettings) -> list[BaseRoute]:
    """What the relay's application mounts: every route of the table, the OpenAPI, and `not_found` for the rest
    below /v1. Mount the socket's route before these."""
    limits = RequestLimits(settings)
    paths: dict[str, dict[str, Endpoint]] = {}
    for route in ROUTES:
        endpoint = Endpoint(route, HANDLERS[route.name], host, settings, limits)
        paths.setdefault(route.path, {})[route.method] = endpoint
    mounted: list[BaseRoute] = [
        Mounted(path, Resource(endpoints, settings)) for path, endpoints in paths.items()
    ]
    if settings.oidc is not None and settings.public_origins:
        mounted += oidc.pages(host, settings, settings.oidc, limits)

    mounted += calendars.pages(host, settings, limits)

    async def openapi(_: Request) -> Response:
        return Response(encoded(), headers=headers_of(settings), media_type="application/json")

    async def nothing(_: Request) -> Response:
        return nothing_here(settings)

    mounted.append(Mounted("/openapi.json", openapi))
    mounted.append(Mounted("/v1/{rest:path}", nothing, methods=_METHODS))
    return mounted


_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
