"""The composition on top: opens the adapters that the configuration names and runs a node on them.

Only the command line imports this module; relay and adapters never know each other. An adapter's libraries are
imported when it is chosen: a server that comes back after a crash has clients waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable

from leeside_protocol.ids import AgencyId
from leeside_server.adapters.blobs_files import FileBlobs
from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.memory import MemoryBus, MemoryGateway, MemoryLatest, MemoryPresence, MemoryPush
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.adapters.webhook import Webhook
from leeside_server.bridging import SECRET_FILE, open_bridges, supervised, supervisor_of, turn_settings
from leeside_server.config import Config
from leeside_server.errors import NotReachable, Problem, StartRefused
from leeside_server.log import get_logger
from leeside_server.places import (
    make_data_dir,
    read_dsn,
    read_oidc_secret,
    read_redis_url,
    read_webhook_secret,
    tls_context,
)
from leeside_server.ports import (
    Blobs,
    Bus,
    Clock,
    Gateway,
    Latest,
    Presence,
    Push,
    Store,
    StoreRefused,
    StoreUnavailable,
)
from leeside_server.relay.app import build_app
from leeside_server.relay.http import HttpSettings, OidcSettings, routes
from leeside_server.relay.node import Node
from leeside_server.relay.retention import Retention, RetentionSettings
from leeside_server.relay.serve import Listening, listen, run
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.tokens import load_secret
from leeside_server.relay.vapid import load_vapid_key
from leeside_server.relay.web import WebSettings, web_routes

_log = get_logger("leeside.serve")


async def serve(config: Config, on_ready: Callable[[int], None] | None = None) -> None:
    """Run a node until a signal; `on_ready` hears the port once connections are taken.

    Raises `ServerError` (what to change, or what does not answer) before anything was served.
    """
    make_data_dir(config)
    place = Listening(config.server.host, config.server.port, tls_context(config), config.server.drain_s)
    try:
        listeners = listen(place)
    except OSError:
        raise StartRefused(
            Problem(
                f"{place.host} port {place.port} cannot be listened on.",
                "Another process may have it: choose another port, or stop that one.",
            )
        ) from None
    with contextlib.ExitStack() as listening:
        for listener in listeners:
            listening.enter_context(listener)
        async with started(config) as node, Retention(node, retention_settings(config)).running():
            app = build_app(node, [*routes(node, http_settings(config)), *web_routes(web_settings(config))])

            def ready(port: int) -> None:
                _log.info("serving", port=port, store=config.store.kind, bus=config.bus.kind, pid=os.getpid())
                if on_ready is not None:
                    on_ready(port)

            await run(node, app, place, listeners, ready)


@contextlib.asynccontextmanager
async def started(config: Config) -> AsyncGenerator[Node]:
    """A started node on the adapters that the configuration names; all of it is closed in the end."""
    clock = SystemClock()
    try:
        secret = await asyncio.to_thread(load_secret, config.server.data_dir / SECRET_FILE, os.urandom)
        async with contextlib.AsyncExitStack() as stack:
            store = await open_store(config)
            stack.push_async_callback(store.close)
            blobs = await open_blobs(config)
            stack.push_async_callback(blobs.close)
            bus, latest, presence = open_bus(config, clock)
            for port in (bus, latest, presence):
                stack.push_async_callback(port.close)
            push = await open_push(config, store, secret, clock)
            stack.push_async_callback(push.close)
            gateway = open_gateway(config, clock)
            stack.push_async_callback(gateway.close)
            bridges = open_bridges(config, clock)
            if bridges is not None:
                stack.push_async_callback(bridges.close)
            node = Node(
                relay_settings(config),
                store=store,
                bus=bus,
                latest=latest,
                presence=presence,
                blobs=blobs,
                push=push,
                gateway=gateway,
                bridges=bridges,
                clock=clock,
                secret=secret,
            )
            await node.start()
            stack.push_async_callback(node.close)
            if bridges is not None and "video" in config.server.roles:
                supervisor = supervisor_of(config, bridges, secret, clock)
                node.metrics.registry.register(supervisor.figures)
                node.calls.failing = lambda: supervisor.standing.failing
                await stack.enter_async_context(supervised(supervisor))
            yield node
    except StoreRefused as refused:
        raise StartRefused(
            Problem("The server must not run on this store.", f"{str(refused).rstrip('.')}.")
        ) from None
    except StoreUnavailable:
        raise NotReachable(
            Problem("The store does not answer.", "Look at its own log, and try again.")
        ) from None


async def open_store(config: Config) -> Store:
    """The store. Raises `StoreRefused`, `StoreUnavailable`."""
    if config.store.kind == "postgres":
        # What is not used is not read: an embedded node listens again that much sooner after a crash.
        from leeside_server.adapters.postgres import PostgresStore

        return await PostgresStore.open(read_dsn(config))
    return await SqliteStore.open(config.store_path, synchronous=config.store.synchronous)


async def open_blobs(config: Config) -> Blobs:
    """Attachments: beside the database that keeps the messages."""
    if config.store.kind == "postgres":
        from leeside_server.adapters.blobs_postgres import PostgresBlobs

        return await PostgresBlobs.open(read_dsn(config))
    return await FileBlobs.open(config.blobs_path)


async def open_push(config: Config, store: Store, secret: bytes, clock: Clock) -> Push:
    """What tells phones that sleep; with a key that every node has from the store."""
    if not config.push.hosts:
        return MemoryPush()
    from leeside_server.adapters.webpush import WebPush

    origins = (origin for origin in config.server.public_origins if origin.startswith("https://"))
    contact = config.push.contact or next(origins, "")
    private = await load_vapid_key(store, secret, clock.now_ms(), os.urandom)
    return WebPush(private, config.push.hosts, contact, clock)


def open_gateway(config: Config, clock: Clock) -> Gateway:
    """What sends text messages and calls people. Reads its secret: raises `ConfigInvalid`."""
    url = config.paging.webhook_url
    return Webhook(url, read_webhook_secret(config), clock) if url else MemoryGateway()


def open_bus(config: Config, clock: Clock) -> tuple[Bus, Latest, Presence]:
    """What nodes share besides the store; nothing of it has to be there for a node to start."""
    if config.bus.kind == "redis":
        from leeside_server.adapters.redis_bus import RedisBus
        from leeside_server.adapters.redis_connection import RedisPlace
        from leeside_server.adapters.redis_latest import RedisLatest
        from leeside_server.adapters.redis_presence import RedisPresence

        place = RedisPlace(read_redis_url(config), config.bus.prefix)
        name = os.urandom(8).hex()
        return RedisBus(place, name, clock), RedisLatest(place, clock), RedisPresence(place, clock)
    return MemoryBus(), MemoryLatest(clock), MemoryPresence()


def relay_settings(config: Config) -> RelaySettings:
    """What the configuration says of sockets."""
    server, limits = config.server, config.limits
    return RelaySettings(
        public_origins=frozenset(server.public_origins),
        sockets=limits.max_connections,
        handshakes_per_source=limits.sockets_per_source,
        handshakes=limits.sockets,
        trusted_proxies=server.proxy_networks,
        proxies_only=not (server.tls or server.loopback),
        probe_hours=config.paging.probe_hours,
        turn=turn_settings(config),
    )


def oidc_settings(config: Config) -> OidcSettings | None:
    """What the configuration says of an agency's own sign-in. Reads its secret: raises `ConfigInvalid`."""
    oidc = config.oidc
    if not oidc.issuer:
        return None
    agency = AgencyId(bytes.fromhex(oidc.agency))
    secret = read_oidc_secret(config)
    return OidcSettings(oidc.issuer, oidc.client_id, secret, agency, oidc.auth_time_required)


def http_settings(config: Config) -> HttpSettings:
    """What the configuration says of HTTP."""
    limits = config.limits
    return HttpSettings(
        bootstrap_codes=config.code_path,
        trusted_proxies=config.server.proxy_networks,
        public_origins=config.server.public_origins,
        oidc=oidc_settings(config),
        tls=config.server.tls,
        blob_bytes=limits.blob_bytes,
        incident_days=config.retention.incident_days,
        video="video" in config.server.roles or config.video.elsewhere,
        video_phone=config.video.phone,
        body_deadline_s=limits.body_deadline_s,
        requests_per_source=limits.requests_per_source,
        requests_per_device=limits.requests_per_device,
        sign_ins_per_source=limits.sign_ins_per_source,
        enrolments_per_source=limits.enrolments_per_source,
        agencies_per_source=limits.agencies_per_source,
    )


def web_settings(config: Config) -> WebSettings:
    """What the configuration says of the web client's files."""
    return WebSettings(map_file=config.web.map_file, tls=config.server.tls)


def retention_settings(config: Config) -> RetentionSettings:
    """What the configuration says of how long things are kept."""
    kept = config.retention
    return RetentionSettings(kept.incident_days, kept.standing_days, kept.inbox_days, kept.ids_days)
