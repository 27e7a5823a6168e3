"""The composition: a configuration becomes a running node, and refuses in sentences."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import msgspec
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
from leeside_server.bridging import SECRET_FILE
from leeside_server.compose import http_settings, relay_settings, retention_settings, serve, started
from leeside_server.config import Config, RetentionSection, ServerSection, VideoSection
from leeside_server.core.video import Caller, Heard, Spoken, WordSeal, ticket_for
from leeside_server.errors import StartRefused
from leeside_server.ports import NoBridge
from leeside_server.relay.tokens import load_secret


def config(folder: Path, port: int = 8470) -> Config:
    """The embedded defaults in a folder of their own."""
    return Config(
        server=ServerSection(data_dir=folder / "data", port=port, public_origins=("https://relay.example",)),
        retention=RetentionSection(standing_days=7),
    )


def children() -> frozenset[str]:
    """The processes that this one started and that are there, where the system says so."""
    named = Path(f"/proc/{os.getpid()}/task/{threading.main_thread().native_id}/children")
    return frozenset(named.read_text().split()) if named.exists() else frozenset()


async def test_the_embedded_defaults_make_a_node_that_answers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config(tmp_path, port), ready.set_result))
        async with asyncio.timeout(20):
            assert await ready == port
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                assert (await http.get("/readyz")).json()["status"] == "ok"
                assert (await http.get("/v1/server")).status_code == 200
        serving.cancel()


async def test_a_second_process_on_the_same_store_is_refused_with_a_sentence(tmp_path: Path) -> None:
    data = config(tmp_path)
    data.server.data_dir.mkdir(parents=True)
    async with started(data):
        with pytest.raises(StartRefused) as refused:
            async with started(data):
                raise AssertionError
        assert str(refused.value).endswith(".")


async def test_a_port_that_is_taken_is_refused_before_the_store_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartRefused):
        await serve(config(tmp_path, int(taken.getsockname()[1])))
    assert not (tmp_path / "data" / "leeside.db").exists()


def test_every_part_gets_its_settings(tmp_path: Path) -> None:
    made = config(tmp_path)
    assert relay_settings(made).public_origins == {"https://relay.example"}
    assert retention_settings(made).standing_days == 7
    assert http_settings(made).bootstrap_codes == made.code_path


def test_an_embedded_node_starts_without_what_it_does_not_use() -> None:
    """The libraries of a cluster, and colour: they cost more than a second, and clients wait for a server that was killed."""
    unwanted = ("alembic", "asyncpg", "pygments", "redis", "rich", "sqlalchemy")
    asked = f"import sys, leeside_server.cli, leeside_server.compose; print([m for m in {unwanted} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True)
    assert told.stdout == "[]\n"


async def test_a_node_with_the_bridge_answers_a_join_with_its_offer(tmp_path: Path) -> None:
    """The whole way: socket, node, supervisor, worker process, and back. Its end takes the worker with it."""
    made = msgspec.structs.replace(
        config(tmp_path),
        server=ServerSection(data_dir=tmp_path / "data", roles=("relay", "video")),
        video=VideoSection(port=0, workers=1, phone="+1 555 0100"),
    )
    made.server.data_dir.mkdir(parents=True)
    async with started(made) as node:
        clock = SystemClock()
        heard: list[BridgeSignal] = []
        room, device = bytes([1]) * 16, DeviceId(bytes([2]) * 16)
        bridges, seal = (
            node.bridges,
            WordSeal(load_secret(made.server.data_dir / SECRET_FILE, os.urandom), os.urandom),
        )
        assert bridges is not None
        welcomed = asyncio.Event()

        def hear(data: bytes) -> None:
            word = seal.open(b"the-test", data, clock.now_ms())
            assert isinstance(word, Heard)
            heard.append(decode_bridge_signal(word.body))
            if isinstance(heard[-1], Offer):
                welcomed.set()

        await bridges.listen(b"the-test", hear)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(NoBridge):
                    placed = await bridges.place(room)
                    break
                await asyncio.sleep(0.05)
            caller = Caller(MemberId(bytes(16)), device)
            ticket = ticket_for(room, caller, Part.RESPONDER, b"the-test", clock.now_ms())
            word = Spoken(placed.epoch, ticket, encode_signal(Join(1)))
            await bridges.say(placed.worker, seal.seal(placed.worker, word, clock.now_ms()))
            await welcomed.wait()
        assert [type(signal) for signal in heard] == [Welcome, Offer]
        workers = children()
    assert workers.isdisjoint(children())
    assert (http_settings(made).video, http_settings(made).video_phone) == (True, "+1 555 0100")


async def test_a_bridge_alone_lets_its_calls_go_when_it_is_told_to_stop(tmp_path: Path) -> None:
    """As a process: its signals are its own."""
    code = f"""
import asyncio, os, signal
from leeside_server import bridging
from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.config import Config, ServerSection, VideoSection
from pathlib import Path

bridging.open_bridges = lambda config, clock: MemoryBridges(clock)
config = Config(server=ServerSection(data_dir=Path({str(tmp_path / "data")!r}), roles=("video",)), video=VideoSection(port=0, workers=1))
def ready(port):
    print("ready", port > 0, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
asyncio.run(bridging.serve_bridge(config, ready))
print("done")
"""
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        told, _ = await program.communicate()
    assert (told.split(b"\n")[:2], program.returncode) == ([b"ready True", b"done"], 0)
