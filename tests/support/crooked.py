"""A server that lies: it stands between browsers and an honest node, and changes what the node says.

    async with crooked(node.url, port) as server:
        ...                          # browsers use server.url, an origin that the node knows (`NodeSettings.origins`)
        server.says = lambda message: [changed(message)]

Everything passes through unchanged until a test sets `says` (what a socket hears) or `answers` (what a request is
answered). A dispatcher's browser cannot tell it from the node: that is what it must not need to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.messages import ServerMessage
from tests.support.pages import asgi_served
from tests.support.services import HOST

_HOP: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-encoding",
        "host",
        "transfer-encoding",
        "date",
        "server",
        "if-none-match",
        "if-modified-since",
    }
)
"""Headers of one leg of the way; and what would let a browser keep an answer that is changed here."""

Says = Callable[[ServerMessage], Sequence[ServerMessage]]
Answers = Callable[[str, bytes], bytes]


def truthfully(message: ServerMessage) -> Sequence[ServerMessage]:
    """What the node said, as it said it."""
    return (message,)


def unchanged(_path: str, body: bytes) -> bytes:
    """What the node answered."""
    return body


@dataclass(frozen=True)
class Posted:
    """A request as it came from a browser."""

    method: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Crooked:
    """The server in the middle. `heard` are all messages that the node sent over sockets, in order."""

    node: str
    url: str
    says: Says = truthfully
    answers: Answers = unchanged
    heard: list[ServerMessage] = field(default_factory=list[ServerMessage])
    _expected: dict[str, asyncio.Future[Posted]] = field(default_factory=dict[str, asyncio.Future[Posted]])
    _sockets: set[WebSocket] = field(default_factory=set[WebSocket])

    async def cut(self) -> None:
        """Break every socket; browsers come back by themselves."""
        for socket in tuple(self._sockets):
            with contextlib.suppress(RuntimeError):
                await socket.close(1012)

    def expect(self, path: str) -> asyncio.Future[Posted]:
        """The next request to this path."""
        return self._expected.setdefault(path, asyncio.get_running_loop().create_future())

    async def http(self, request: Request) -> Response:
        """Pass a request on, and its answer back."""
        expected = self._expected.pop(request.url.path, None)
        if expected is not None:
            expected.set_result(Posted(request.method, dict(request.headers), await request.body()))
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        if "origin" in headers:
            headers["origin"] = self.node
        async with httpx.AsyncClient(base_url=self.node) as client:
            answer = await client.request(
                request.method,
                request.url.path,
                params=request.query_params,
                headers=headers,
                content=await request.body(),
            )
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return Response(self.answers(request.url.path, answer.content), answer.status_code, kept)

    async def socket(self, browser: WebSocket) -> None:
        """Carry a socket's messages in both directions until one end closes."""
        wire = f"ws{self.node.removeprefix('http')}{browser.url.path}"
        offered = [Subprotocol(name) for name in browser.scope["subprotocols"]]
        async with connect(
            wire,
            subprotocols=offered,
            origin=Origin(self.node),
            compression=None,
            ping_interval=None,
            proxy=None,
        ) as node:
            await browser.accept(subprotocol=node.subprotocol)
            self._sockets.add(browser)
            ways = [
                asyncio.ensure_future(self._up(browser, node)),
                asyncio.ensure_future(self._down(browser, node)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._sockets.discard(browser)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self, browser: WebSocket, node: ClientConnection) -> None:
        with contextlib.suppress(WebSocketDisconnect, ConnectionClosed):
            while True:
                await node.send(await browser.receive_bytes())

    async def _down(self, browser: WebSocket, node: ClientConnection) -> None:
        try:
            async for data in node:
                assert isinstance(data, bytes)
                message = decode_server(data)
                if message is None:
                    await browser.send_bytes(data)
                    continue
                self.heard.append(message)
                for said in self.says(message):
                    await browser.send_bytes(encode(said))
        except ConnectionClosed:
            pass
        code = node.close_code or 1006
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await browser.close(1011 if code == 1006 else code)


@asynccontextmanager
async def crooked(node: str, port: int) -> AsyncGenerator[Crooked]:
    """A server between, on this port; honest until it is told otherwise."""
    found = Crooked(node, f"http://{HOST}:{port}")
    routes = [
        WebSocketRoute("/v1/socket", found.socket),
        Route("/{path:path}", found.http, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    ]
    async with asgi_served(Starlette(routes=routes), port):
        yield found
