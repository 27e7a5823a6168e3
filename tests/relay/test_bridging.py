"""The bridge as processes: beside a relay, and alone behind Redis. Real workers, and the words of a node for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.video.signalling import (
    BridgeSignal,
    Join,
    Offer,
    Part,
    Welcome,
    decode_bridge_signal,
    encode_signal,
)
from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.redis_bridges import RedisBridges
from leeside_server.adapters.redis_connection import RedisPlace
from leeside_server.bridging import SECRET_FILE
from leeside_server.compose import http_settings, started
from leeside_server.config import Config, ServerSection, VideoSection
from leeside_server.core.video import Caller, Heard, Spoken, WordSeal, ticket_for
from leeside_server.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from leeside_server.ports import Bridges, BridgesFull, NoBridge, Placement
from leeside_server.relay.tokens import load_secret
from tests.support.patience import PATIENCE_S
from tests.support.services import free_port

DEADLINE_S = PATIENCE_S
NODE = b"the-test"
ROOM = bytes([1]) * 16
DEVICE = DeviceId(bytes([2]) * 16)
PROGRAM = Path(sys.executable).with_name("leeside-server")
CLOCK = SystemClock()


class Asking:
    """A node, played by the test: it has one device join, and hears what the bridge says to it."""

    def __init__(self, bridges: Bridges, data_dir: Path) -> None:
        self.bridges = bridges
        self.seal = WordSeal(load_secret(data_dir / SECRET_FILE, os.urandom), os.urandom)
        self.heard: list[BridgeSignal] = []
        self._came = asyncio.Event()

    def _hear(self, data: bytes) -> None:
        word = self.seal.open(NODE, data, CLOCK.now_ms())
        assert isinstance(word, Heard)
        self.heard.append(decode_bridge_signal(word.body))
        self._came.set()

    async def joins(self) -> None:
        """Have a responder's device join; returns when it was made an offer."""
        await self.bridges.listen(NODE, self._hear)
        async with asyncio.timeout(DEADLINE_S):
            placed = await self._placed()
            ticket = ticket_for(
                ROOM, Caller(MemberId(bytes(16)), DEVICE), Part.RESPONDER, NODE, CLOCK.now_ms()
            )
            word = Spoken(placed.epoch, ticket, encode_signal(Join(1)))
            await self.bridges.say(placed.worker, self.seal.seal(placed.worker, word, CLOCK.now_ms()))
            while not any(isinstance(signal, Offer) for signal in self.heard):
                self._came.clear()
                await self._came.wait()

    async def _placed(self) -> Placement:
        while True:
            with contextlib.suppress(NoBridge):
                return await self.bridges.place(ROOM)
            await asyncio.sleep(0.05)


def children() -> frozenset[str]:
    """The processes that this one started and that are there, where the system says so."""
    named = Path(f"/proc/{os.getpid()}/task/{threading.main_thread().native_id}/children")
    return frozenset(named.read_text().split()) if named.exists() else frozenset()


async def test_beside_a_relay_it_answers_a_join_with_its_offer(tmp_path: Path) -> None:
    """The whole way: node, supervisor, worker process, and back. Their end takes the workers with it."""
    config = Config(
        server=ServerSection(data_dir=tmp_path / "data", roles=("relay", "video")),
        video=VideoSection(port=0, workers=1, phone="+1 555 0100"),
    )
    config.server.data_dir.mkdir(parents=True)
    before = children()
    async with started(config) as node:
        assert node.bridges is not None
        asking = Asking(node.bridges, config.server.data_dir)
        await asking.joins()
        assert [type(signal) for signal in asking.heard] == [Welcome, Offer]
        workers = children() - before
    assert workers.isdisjoint(children())
    assert (http_settings(config).video, http_settings(config).video_phone) == (True, "+1 555 0100")


def settings_of(folder: Path, redis_url: str, status_port: int = 0) -> Path:
    """A file for a bridge alone, whose folder has a node's secret already."""
    folder.mkdir()
    (folder / "data").mkdir(mode=0o700)
    url = folder / "redis-url"
    url.write_text(redis_url)
    url.chmod(0o600)
    path = folder / "leeside.toml"
    path.write_text(
        f'[server]\ndata_dir = "{folder / "data"}"\ndrain_s = 2.0\n'
        f'[bus]\nkind = "redis"\nurl_file = "{url}"\n'
        f"[video]\nport = 0\nworkers = 1\nstatus_port = {status_port}\n"
    )
    return path


@contextlib.asynccontextmanager
async def bridge_alone(settings: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    """`leeside-server serve --roles video`."""
    program = await asyncio.create_subprocess_exec(
        PROGRAM, "serve", "--roles", "video", "--config", settings, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.communicate()


@pytest.mark.services
async def test_alone_it_is_found_by_nodes_and_lets_its_calls_go_when_it_stops(
    tmp_path: Path, redis_url: str
) -> None:
    status_port = free_port()
    settings = settings_of(tmp_path / "bridge", redis_url, status_port)
    bridges = RedisBridges(RedisPlace(redis_url), "a node", CLOCK)
    gone: list[bytes] = []
    await bridges.start(gone.append)
    try:
        asking = Asking(bridges, tmp_path / "bridge" / "data")
        async with bridge_alone(settings) as program:
            await asking.joins()
            (place,) = await bridges.workplaces()
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{status_port}", trust_env=False
            ) as client:
                ready = await client.get("/readyz")
                assert (ready.status_code, ready.json()["status"], ready.json()["wanted"]) == (200, "ok", 1)
                assert "leeside_video_workers_wanted 1.0" in (await client.get("/metrics")).text
            program.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    # It takes no new rooms, or is gone already.
                    with contextlib.suppress(NoBridge, BridgesFull):
                        await bridges.place(os.urandom(16))
                        await asyncio.sleep(0.05)
                        continue
                    break
                assert program.stderr is not None
                told = (await program.stderr.read()).decode()
                assert await program.wait() == 0
            assert "Serving on port" in told
            assert "Traceback" not in told
            async with asyncio.timeout(DEADLINE_S):
                while gone != [place.worker]:  # noqa: ASYNC110 - a word on its way through Redis
                    await asyncio.sleep(0.02)
    finally:
        await bridges.close()


@pytest.mark.services
def test_alone_it_waits_for_the_secret_of_the_nodes(tmp_path: Path, redis_url: str) -> None:
    """One that it made itself would open no word of theirs. Nothing is made, and a service manager tries again."""
    settings = settings_of(tmp_path / "bridge", redis_url)
    done = subprocess.run(
        [PROGRAM, "serve", "--roles", "video", "--config", settings],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, SECRET_FILE in done.stderr) == (EXIT_UNAVAILABLE, True)
    assert list((tmp_path / "bridge" / "data").iterdir()) == []


def test_alone_without_redis_nobody_would_find_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "serve", "--roles", "video"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "no node would find this bridge" in done.stderr) == (EXIT_CONFIG, True)
