"""The composition: a configuration becomes a running node, and refuses in sentences."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from leeside_server.compose import http_settings, relay_settings, retention_settings, serve, started
from leeside_server.config import Config, RetentionSection, ServerSection
from leeside_server.errors import StartRefused
from tests.support.patience import PATIENCE_S
from tests.support.services import free_port


def config(folder: Path, port: int = 8470) -> Config:
    """The embedded defaults in a folder of their own."""
    return Config(
        server=ServerSection(data_dir=folder / "data", port=port, public_origins=("https://relay.example",)),
        retention=RetentionSection(standing_days=7),
    )


async def test_the_embedded_defaults_make_a_node_that_answers(tmp_path: Path) -> None:
    port = free_port()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config(tmp_path, port), ready.set_result))
        async with asyncio.timeout(PATIENCE_S):
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
