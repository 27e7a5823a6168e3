"""The ASGI app of a node: the socket, health, metrics, and the HTTP routes."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Final, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from leeside_protocol.errors import CloseCode
from leeside_protocol.messages import SUBPROTOCOL
from leeside_server.core.identity import NO_AGENCY
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.direct import EXTENSION, DirectSocket
from leeside_server.relay.node import Node
from leeside_server.relay.socket import Socket
from leeside_server.relay.sources import ProxiesOnly, source_of
from leeside_server.relay.wire import QueueWire

SOCKET_PATH: Final = "/v1/socket"
READY_TIMEOUT_S: Final = 2.0
READY_KEPT_S: Final = 1.0
NONCE_BYTES: Final = 16


def build_app(node: Node, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The app of a started node; `routes` are the HTTP half's."""

    async def socket(websocket: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await _serve_socket(node, websocket)

    async def healthz(_request: Request) -> Response:
        """The process answers. Says nothing of the store: restarting would not bring it back."""
        return JSONResponse({"status": "ok"})

    probe = StoreProbe(node)

    async def readyz(_request: Request) -> Response:
        """Whether this node can do its work; a degraded bus is told, and does not stop it."""
        if not await probe.answers():
            return JSONResponse({"status": "unavailable", "store": "down"}, status_code=503)
        if node.draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        if node.clockwork.stalled:
            return JSONResponse(
                {"status": "unavailable", "store": "ok", "clockwork": "stalled"}, status_code=503
            )
        said = {"status": "ok", "store": "ok", "bus": "degraded" if node.degraded else "ok"}
        if node.calls.offered:
            # Consults go on without: whoever asks for readiness must not take messaging away because of it.
            said["video"] = node.calls.state
        return JSONResponse(said)

    async def metrics(_request: Request) -> Response:
        return Response(node.metrics.text(), media_type="text/plain; version=0.0.4")

    routed = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *routes,
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # The one path that thousands take at the same moment does not pass through the router's layers.
        if scope["type"] == "websocket" and scope["path"] == SOCKET_PATH:
            await socket(WebSocket(scope, receive, send))
        else:
            await routed(scope, receive, send)

    return ProxiesOnly(app, node.config.trusted_proxies) if node.config.proxies_only else app


class StoreProbe:
    """Whether the store answers, asked once in `READY_KEPT_S` at most: who asks for readiness needs no token and is
    bound by no rate, and must not take the readers away from those who have one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        self._answered = False

    async def answers(self) -> bool:
        """What the store said last, or says now."""
        async with self._asking:
            if self._node.clock.monotonic_s() - self._asked_s >= READY_KEPT_S:
                try:
                    async with asyncio.timeout(READY_TIMEOUT_S):
                        await self._node.store.get(NO_AGENCY, "ready", bytes(16))
                    self._answered = True
                except (StoreUnavailable, TimeoutError):
                    self._answered = False
                self._asked_s = self._node.clock.monotonic_s()
            return self._answered


async def _serve_socket(node: Node, websocket: WebSocket) -> None:
    offered = SUBPROTOCOL in cast("list[str]", websocket.scope["subprotocols"])
    refused = _refusal(node, websocket, offered=offered)
    subprotocol = SUBPROTOCOL if offered else None
    if refused is not None:
        # Accepted first: a browser's page does not get to see the reason of a refused handshake.
        node.metrics.closed.labels(refused.label).inc()
        await websocket.accept(subprotocol)
        await websocket.close(int(refused), refused.label)
        return
    direct = websocket.scope.get("extensions", {}).get(EXTENSION)
    wire = direct if isinstance(direct, DirectSocket) else QueueWire(websocket)
    socket = Socket(node, wire)
    # Counted before it is accepted: many may be on their way at once.
    node.sockets.opened(socket)
    if isinstance(wire, DirectSocket):
        wire.attach(socket)
    try:
        await websocket.accept(subprotocol)
    except BaseException:
        socket.on_close()
        raise
    socket.challenge(node.random(NONCE_BYTES))
    if isinstance(wire, DirectSocket):
        wire.detach()
    else:
        await wire.run(socket)


def _refusal(node: Node, websocket: WebSocket, *, offered: bool) -> CloseCode | None:
    if node.draining:
        return CloseCode.RESTART
    peer, headers = websocket.client, websocket.headers
    source = source_of(
        None if peer is None else peer.host, headers.getlist("x-forwarded-for"), node.config.trusted_proxies
    )
    if len(node.sockets) >= node.config.sockets or not node.door.let_in(source, node.clock.monotonic_s()):
        return CloseCode.CROWDED
    if not all(origin in node.config.public_origins for origin in headers.getlist("origin")):
        return CloseCode.ORIGIN
    return None if offered else CloseCode.UNSUPPORTED
