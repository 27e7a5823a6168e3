"""The video bridge of a process: its registry, and the workers that it starts. Beside `compose`, which runs messaging: a
failure here never touches that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.config import Config
from leeside_server.core.video import WordSeal
from leeside_server.errors import NotReachable, Problem, StartRefused
from leeside_server.log import get_logger
from leeside_server.places import make_data_dir, read_redis_url, read_turn_secret
from leeside_server.ports import Bridges, Clock, StoreRefused
from leeside_server.relay.settings import TurnSettings
from leeside_server.relay.tokens import load_secret

if TYPE_CHECKING:
    from leeside_server.video.supervisor import Supervisor

SECRET_FILE: Final = "server-secret"  # noqa: S105
"""In the data folder: what signing keys, hints and words about calls are sealed with; the same file on every node of a
cluster, and where its bridges are."""
AGAIN_S: Final = 5.0
"""From a supervisor's end that nobody asked for to the next one."""

_log: Final = get_logger("leeside.video")


def open_bridges(config: Config, clock: Clock) -> Bridges | None:
    """Where this process finds workers; None when there is no video. A bridge that does not live yet is no reason not to
    start."""
    if config.bus.kind == "redis" and ("video" in config.server.roles or config.video.elsewhere):
        from leeside_server.adapters.redis_bridges import RedisBridges
        from leeside_server.adapters.redis_connection import RedisPlace

        place = RedisPlace(read_redis_url(config), config.bus.prefix)
        return RedisBridges(place, os.urandom(8).hex(), clock)
    return MemoryBridges(clock) if "video" in config.server.roles else None


def turn_settings(config: Config) -> TurnSettings | None:
    """What the configuration says of TURN. Reads its secret: raises `ConfigInvalid`."""
    return TurnSettings(config.turn.urls, read_turn_secret(config)) if config.turn.urls else None


def supervisor_of(config: Config, bridges: Bridges, secret: bytes, clock: Clock) -> Supervisor:
    """What starts and watches the workers that the configuration asks for."""
    # Not at the top: a node without a bridge does not read it.
    from leeside_server.video.settings import VideoSettings
    from leeside_server.video.supervisor import Supervisor

    video = config.video
    settings = VideoSettings(video.listen, video.public, video.port, video.workers)
    return Supervisor(settings, bridges, WordSeal(secret, os.urandom), clock)


@contextlib.asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncGenerator[None]:
    """The workers run beside what happens here. Should their supervisor fail, another try is made: messaging goes on."""
    running = asyncio.create_task(_run_for_ever(supervisor), name="video supervisor")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def _run_for_ever(supervisor: Supervisor) -> None:
    while True:
        try:
            await supervisor.run()
        except Exception:  # noqa: BLE001
            _log.error("video_supervisor_failed", exc_info=True)
        await asyncio.sleep(AGAIN_S)


async def serve_bridge(config: Config, on_ready: Callable[[int], None] | None = None) -> None:
    """Run a process that holds nothing but the bridge, until a signal; `on_ready` hears the first worker's UDP port. How it is
    stands at `[video] status_port` from the start to the end.

    Raises `ServerError` before anything was served. On SIGTERM and SIGINT no new rooms are taken, and people in calls are told
    to join elsewhere, for `drain_s` at most.
    """
    make_data_dir(config)
    clock = SystemClock()
    if not (config.server.data_dir / SECRET_FILE).exists():
        # One of its own would open no word of any node.
        raise NotReachable(
            Problem(
                f"There is no {SECRET_FILE} in {config.server.data_dir} yet.",
                "A relay makes it at its first start; onto another machine, copy it from one (mode 0600).",
            )
        )
    try:
        secret = await asyncio.to_thread(load_secret, config.server.data_dir / SECRET_FILE, os.urandom)
    except StoreRefused as refused:
        raise StartRefused(
            Problem("The bridge's secret cannot be used.", f"{str(refused).rstrip('.')}.")
        ) from None
    # Not at the top: a node tells of its bridge on its own port.
    from leeside_server.bridge_status import build_status, listen_for_status, status_told

    bridges = open_bridges(config, clock)
    assert bridges is not None, "a configuration with the role video has bridges"
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    place, listeners = listen_for_status(config)
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        stack.push_async_callback(bridges.close)
        await bridges.start(lambda _worker: None)
        supervisor = supervisor_of(config, bridges, secret, clock)
        app = build_status(supervisor, bridges, clock)
        await stack.enter_async_context(status_told(config, app, place, listeners))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
            stack.callback(loop.remove_signal_handler, number)
        running = asyncio.create_task(supervisor.run(), name="video supervisor")
        waiting = asyncio.create_task(_until_told(supervisor, stopping, on_ready))
        try:
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await supervisor.drain(config.server.drain_s)
        finally:
            for task in (running, waiting):
                task.cancel()
            await asyncio.wait((running, waiting))
        if not running.cancelled():
            running.result()


async def _until_told(
    supervisor: Supervisor, stopping: asyncio.Event, on_ready: Callable[[int], None] | None
) -> None:
    # One worker takes calls: a service manager that waited for all would end it because another's port is taken.
    ready = asyncio.create_task(supervisor.ready(every=False))
    told = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((ready, told), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            port = next(post.udp_port for post in supervisor.posts if post.worker)
            _log.info("bridge_serving", port=port, workers=len(supervisor.posts), pid=os.getpid())
            if on_ready is not None:
                on_ready(port)
            await told
    finally:
        ready.cancel()
        told.cancel()
