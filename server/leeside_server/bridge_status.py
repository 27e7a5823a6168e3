"""What a process that holds nothing but the bridge says of itself: that it is alive, whether it takes calls, and its figures.
Beside `bridging`; a relay that holds a bridge tells all this on its own port.

It listens by the relay's rules: `[server] host` alone, TLS where the configuration has it, and without TLS on an address that
others can reach it answers nobody but this machine and `trusted_proxies`. Nothing it says names anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import TYPE_CHECKING, Final

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from leeside_server.config import Config
from leeside_server.errors import Problem, StartRefused
from leeside_server.log import get_logger
from leeside_server.places import tls_context
from leeside_server.ports import Bridges, BridgesUnavailable, Clock
from leeside_server.relay.serve import Listening, listen, uvicorn_settings
from leeside_server.relay.sources import ProxiesOnly

if TYPE_CHECKING:
    from leeside_server.video.supervisor import Supervisor

KEPT_S: Final = 1.0
"""How long an answer about the registry is given again: who asks needs no token."""
DRAIN_S: Final = 1.0

_log: Final = get_logger("leeside.video")


def build_status(supervisor: Supervisor, bridges: Bridges, clock: Clock) -> ASGIApp:
    """The app: `/healthz`, `/readyz`, `/metrics`."""
    registry = CollectorRegistry()
    registry.register(supervisor.figures)
    registered = Registered(bridges, clock)

    async def healthz(_request: Request) -> Response:
        """The process answers. Says nothing of its workers: restarting it would end those that carry calls."""
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        """Whether new calls find a worker here. While the registry is away those that run go on."""
        standing = supervisor.standing
        ready = bool(standing.open) and not standing.draining
        said = {
            "status": "draining" if standing.draining else "ok" if ready else "unavailable",
            "bus": "ok" if await registered.answers() else "degraded",
            "workers": standing.living,
            "open": standing.open,
            "wanted": standing.wanted,
            "failing": standing.failing,
        }
        return JSONResponse(said, status_code=200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


class Registered:
    """Whether nodes can find the workers of this process, asked once in `KEPT_S` at most."""

    def __init__(self, bridges: Bridges, clock: Clock) -> None:
        self._bridges = bridges
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        self._answered = False

    async def answers(self) -> bool:
        """What the registry said last, or says now."""
        async with self._asking:
            if self._clock.monotonic_s() - self._asked_s >= KEPT_S:
                try:
                    await self._bridges.workplaces()
                    self._answered = True
                except BridgesUnavailable:
                    self._answered = False
                self._asked_s = self._clock.monotonic_s()
            return self._answered


def listen_for_status(config: Config) -> tuple[Listening, tuple[socket.socket, ...]]:
    """Where it is told, and the listening sockets. Raises `ServerError`."""
    place = Listening(config.server.host, config.video.status_port, tls_context(config), DRAIN_S)
    try:
        return place, listen(place)
    except OSError:
        raise StartRefused(
            Problem(
                f"{place.host} port {place.port} cannot be listened on, where the bridge tells how it is.",
                "[server] host is an address of this machine; choose another [video] status_port if that one is taken.",
            )
        ) from None


def guarded(config: Config, app: ASGIApp) -> ASGIApp:
    """The app for whom the configuration lets ask."""
    closed = config.server.tls or config.server.loopback
    return app if closed else ProxiesOnly(app, config.server.proxy_networks)


@contextlib.asynccontextmanager
async def status_told(
    config: Config, app: ASGIApp, place: Listening, listeners: Sequence[socket.socket]
) -> AsyncGenerator[None]:
    """Answers while the block runs. A failure here ends no call."""
    server = _Server(uvicorn_settings(guarded(config, app), place))
    serving = asyncio.create_task(_serve(server, listeners), name="bridge status")
    _log.info("bridge_tells", port=listeners[0].getsockname()[1])
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait((serving,))


async def _serve(server: uvicorn.Server, listeners: Sequence[socket.socket]) -> None:
    try:
        await server.serve(list(listeners))
    except Exception:  # noqa: BLE001
        _log.error("bridge_status_failed", exc_info=True)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the bridge drains first, and is told by its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
