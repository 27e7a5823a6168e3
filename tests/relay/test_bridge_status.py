"""What a bridge that stands apart tells of itself, to whom, and that it does so in every state."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.bridge_status import build_status, guarded, listen_for_status
from leeside_server.config import Config, ServerSection, VideoSection
from leeside_server.core.video import WordSeal
from leeside_server.errors import StartRefused
from leeside_server.ports import BridgesUnavailable, Workplace
from leeside_server.video import supervisor as supervising
from leeside_server.video.metrics import Counts
from leeside_server.video.settings import VideoSettings
from leeside_server.video.supervisor import Supervisor
from leeside_server.video.words import Load
from tests.support.clock import FakeClock


class Registry(MemoryBridges):
    """Workers that can be found, unless the registry is away."""

    away = False
    asked = 0

    async def workplaces(self) -> Sequence[Workplace]:
        self.asked += 1
        if self.away:
            raise BridgesUnavailable
        return await super().workplaces()


class Bridge:
    """A supervisor of two posts whose workers are played by the test, and what it tells."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bridges = Registry(self.clock)
        seal = WordSeal(bytes(32), os.urandom)
        self.supervisor = Supervisor(VideoSettings(workers=2), self.bridges, seal, self.clock)
        self.app = build_status(self.supervisor, self.bridges, self.clock)

    def has(self, *loads: Load | None) -> None:
        """Each post has a worker that said this last; None: it has none."""
        for post, load in zip(self.supervisor.posts, loads, strict=True):
            post.worker = b"" if load is None else bytes([post.number + 1]) * 8
            post.load = load

    async def ready(self) -> tuple[int, dict[str, Any]]:
        answer = await asked(self.app, "/readyz")
        return answer.status_code, answer.json()


def load(*, takes: bool = True) -> Load:
    return Load(3, 9, 0.5 if takes else 1.0, takes, 0.4, 2, Counts(joins=9))


async def asked(app: ASGIApp, path: str, source: str = "127.0.0.1") -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(source, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge.test") as client:
        return await client.get(path)


async def test_it_is_ready_while_one_worker_takes_calls() -> None:
    bridge = Bridge()
    told = {"status": "ok", "bus": "ok", "workers": 2, "open": 2, "wanted": 2, "failing": 0}
    bridge.has(load(), load())
    assert await bridge.ready() == (200, told)
    bridge.has(load(), None)
    assert await bridge.ready() == (200, told | {"workers": 1, "open": 1})
    bridge.has(load(takes=False), load(takes=False))
    assert await bridge.ready() == (503, told | {"status": "unavailable", "open": 0})
    bridge.has(None, None)
    assert await bridge.ready() == (503, told | {"status": "unavailable", "workers": 0, "open": 0})


async def test_while_it_drains_it_says_so_and_lives() -> None:
    bridge = Bridge()
    bridge.has(load(), load())
    draining = asyncio.create_task(bridge.supervisor.drain(60.0))
    await asyncio.sleep(0)
    code, told = await bridge.ready()
    assert (code, told["status"], told["workers"]) == (503, "draining", 2)
    assert (await asked(bridge.app, "/healthz")).status_code == 200
    draining.cancel()


async def test_without_its_registry_calls_go_on_and_it_is_asked_once_a_second() -> None:
    bridge = Bridge()
    bridge.has(load(), load())
    bridge.bridges.away = True
    for _ in range(20):
        code, told = await bridge.ready()
        assert (code, told["status"], told["bus"]) == (200, "ok", "degraded")
    assert bridge.bridges.asked == 1
    bridge.bridges.away = False
    bridge.clock.advance(1.0)
    assert (await bridge.ready())[1]["bus"] == "ok"
    assert bridge.bridges.asked == 2


async def test_workers_that_end_at_once_are_told_until_one_stays() -> None:
    bridge = Bridge()
    bridge.has(load(), load())
    failing, _ = bridge.supervisor.posts
    failing.began_s = bridge.clock.monotonic_s()
    failing.quick_ends = supervising.FAILS - 1
    assert (await bridge.ready())[1]["failing"] == 0
    failing.quick_ends = supervising.FAILS
    assert (await bridge.ready())[1]["failing"] == 1
    assert "leeside_video_workers_failing 1.0" in (await asked(bridge.app, "/metrics")).text
    bridge.clock.advance(supervising.STEADY_S)
    assert (await bridge.ready())[1]["failing"] == 0


async def test_figures_are_those_of_its_workers() -> None:
    bridge = Bridge()
    bridge.has(load(), load())
    answer = await asked(bridge.app, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        "leeside_video_workers 2.0",
        "leeside_video_workers_wanted 2.0",
        "leeside_video_peers 18.0",
        "leeside_video_joins_total 18.0",
        'leeside_video_dropped_total{why="faulty"} 0.0',
    ):
        assert line in answer.text.splitlines()
    assert (await asked(bridge.app, "/v1/agency")).status_code == 404


@pytest.mark.parametrize(
    ("server", "source", "code"),
    [
        (ServerSection(), "127.0.0.1", 200),
        (ServerSection(host="10.0.0.21", trusted_proxies=("10.0.0.5",)), "10.0.0.5", 200),
        (ServerSection(host="10.0.0.21", trusted_proxies=("10.0.0.5",)), "127.0.0.1", 200),
        (ServerSection(host="10.0.0.21", trusted_proxies=("10.0.0.5",)), "10.0.0.6", 403),
        (ServerSection(host="10.0.0.21", tls_cert=Path("c"), tls_key=Path("k")), "10.0.0.6", 200),
    ],
)
async def test_it_answers_whom_a_relay_would_answer(server: ServerSection, source: str, code: int) -> None:
    bridge = Bridge()
    bridge.has(load(), load())
    app = guarded(Config(server=server), bridge.app)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await asked(app, path, source)).status_code == code


def test_a_port_that_is_taken_is_refused_with_what_to_change() -> None:
    place, listeners = listen_for_status(Config(video=VideoSection(status_port=0)))
    try:
        port = listeners[0].getsockname()[1]
        assert (place.host, listeners[0].getsockname()[0]) == ("127.0.0.1", "127.0.0.1")
        with pytest.raises(StartRefused) as refusal:
            listen_for_status(Config(video=VideoSection(status_port=port)))
        assert "[video] status_port" in str(refusal.value)
    finally:
        for listener in listeners:
            listener.close()
