"""A started node behind uvicorn, until a signal or a failure ends it.

On SIGTERM or SIGINT uvicorn stops accepting and calls `shutdown` on every connection; a socket finishes what it
took and closes with `restart`, so clients move on at once. Then the node finishes its writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import uvicorn
from starlette.types import ASGIApp

from leeside_server.relay.direct import DirectSocket
from leeside_server.relay.handshake import HeaderDeadline
from leeside_server.relay.node import Node

BACKLOG: Final = 4_096
QUEUES: Final = 4
"""Listening sockets: room for everyone of a region who comes back in the same second."""
KEEP_ALIVE_S: Final = 30


class Listening(msgspec.Struct, frozen=True):
    """Where to listen, and how. `tls` None: plain, behind a proxy or on loopback."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    drain_s: float = 20.0


def listen(place: Listening) -> tuple[socket.socket, ...]:
    """The listening sockets, all on one port. Raises `OSError` when the address cannot be had, also when another server
    of the same user has it.

    Several on Linux, which deals connections out to them: the system bounds the queue of each (4,096 by default), and
    whoever finds it full is made to wait one second, then three, then seven. Elsewhere one.
    """
    host = "127.0.0.1" if place.host == "localhost" else place.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    alone = socket.create_server((host, place.port), family=family, backlog=BACKLOG)
    if sys.platform != "linux":
        return (alone,)
    # Sockets that share a port would share it with another server's too: only who could have it alone goes on.
    port = alone.getsockname()[1]
    alone.close()
    with contextlib.ExitStack() as made:
        sockets = [
            made.enter_context(
                socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
            )
            for _ in range(QUEUES)
        ]
        made.pop_all()
    return tuple(sockets)


async def run(
    node: Node,
    app: ASGIApp,
    place: Listening,
    listeners: Sequence[socket.socket],
    on_ready: Callable[[int], None],
) -> None:
    """Serve until told to stop; `on_ready` hears the port once connections are taken. The node is drained, not
    closed. Raises what the node died of."""
    server = uvicorn.Server(uvicorn_settings(app, place))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_stop_with(node, server))
        ready = group.create_task(_tell(server, listeners[0], on_ready))
        await server.serve(list(listeners))
        ready.cancel()
        watching.cancel()
    await node.drain()


def uvicorn_settings(app: ASGIApp, place: Listening) -> uvicorn.Config:
    """uvicorn's settings: no log, no trust in headers, and deadlines for what a peer leaves half done."""
    tls = place.tls
    return uvicorn.Config(
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
