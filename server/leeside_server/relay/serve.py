"""A started node behind uvicorn, until a signal or a failure ends it.

On SIGTERM or SIGINT uvicorn stops accepting and calls `shutdown` on every connection; a socket finishes what it
took and closes with `restart`, so clients move on at once. Then the node finishes its writes.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable
from typing import Final

import msgspec
import uvicorn
from starlette.types import ASGIApp

from leeside_server.relay.direct import DirectSocket
from leeside_server.relay.handshake import HeaderDeadline
from leeside_server.relay.node import Node

BACKLOG: Final = 4_096
KEEP_ALIVE_S: Final = 30


class Listening(msgspec.Struct, frozen=True):
    """Where to listen, and how. `tls` None: plain, behind a proxy or on loopback."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    drain_s: float = 20.0


def listen(place: Listening) -> socket.socket:
    """The listening socket. Raises `OSError` when the address cannot be had."""
    host = "127.0.0.1" if place.host == "localhost" else place.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, place.port), family=family, backlog=BACKLOG)


async def run(
    node: Node, app: ASGIApp, place: Listening, listener: socket.socket, on_ready: Callable[[int], None]
) -> None:
    """Serve until told to stop; `on_ready` hears the port once connections are taken. The node is drained, not
    closed. Raises what the node died of."""
    tls = place.tls
    config = uvicorn.Config(
        app,
        ws=DirectSocket,
        http=HeaderDeadline,
        lifespan="off",
        log_config=None,
        # Without a level uvicorn takes its logger for one that traces, and reads the addresses that `DirectSocket`
        # let go. What it says of each connection is not for a log anyway.
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(place.drain_s)),
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_stop_with(node, server))
        ready = group.create_task(_tell(server, listener, on_ready))
        await server.serve([listener])
        ready.cancel()
        watching.cancel()
    await node.drain()


async def _stop_with(node: Node, server: uvicorn.Server) -> None:
    """A node that died must not go on answering health checks."""
    try:
        await node.finished()
    finally:
        server.should_exit = True


async def _tell(server: uvicorn.Server, listener: socket.socket, on_ready: Callable[[int], None]) -> None:
    port = int(listener.getsockname()[1])
    while not server.started:  # noqa: ASYNC110
        # uvicorn has no event for it; this ends within one start-up.
        await asyncio.sleep(0.01)
    # What was made until now lives as long as the process: the collector need not look at it again, nor now for the
    # little of it that is garbage, because clients wait.
    gc.freeze()
    on_ready(port)
