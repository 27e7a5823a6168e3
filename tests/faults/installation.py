"""What is put up for a run: one embedded node, or two nodes with their own PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.machine import all_cores, on_cores
from tests.faults.node import Node, NodeSettings
from tests.support.services import PostgresServer, RedisServer, postgres_running, redis_running


@dataclass(slots=True)
class Installation:
    """Running nodes; `postgres` and `redis` stand where the nodes use them."""

    folder: Path
    nodes: tuple[Node, ...]
    postgres: PostgresServer | None = None
    redis: RedisServer | None = None

    @property
    def first(self) -> Node:
        return self.nodes[0]

    async def close(self) -> None:
        """End all nodes without a goodbye: what they hold is no longer of interest."""
        for node in self.nodes:
            await node.kill()

    def tracebacks(self) -> int:
        """Stack traces in all logs."""
        return sum(node.log_text().count("Traceback (most recent call last)") for node in self.nodes)


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="leeside-faults-"))
    # PostgreSQL runs as somebody else, and must be able to look inside.
    folder.chmod(0o755)
    return folder


@asynccontextmanager
async def workplace() -> AsyncGenerator[Path]:
    """A folder for one run, gone afterwards."""
    folder = _new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def embedded(folder: Path, data: Path | None = None) -> AsyncGenerator[Installation]:
    """One node on SQLite."""
    async with one_node(folder, NodeSettings(), data) as installation:
        yield installation


@asynccontextmanager
async def one_node(
    folder: Path, settings: NodeSettings, data: Path | None = None
) -> AsyncGenerator[Installation]:
    """One node on the store and bus that the settings name."""
    node = Node(folder / "node", data or folder / "data", settings)
    installation = Installation(folder, (node,))
    await node.start()
    try:
        yield installation
    finally:
        await installation.close()


@asynccontextmanager
async def two_nodes(
    folder: Path, postgres: PostgresServer | None = None, settings: NodeSettings | None = None
) -> AsyncGenerator[Installation]:
    """Two nodes on one PostgreSQL and one Redis, which `settings` need not name. The services run where there is room."""
    async with AsyncExitStack() as stack:
        services = stack.enter_context(ExitStack())
        with on_cores(all_cores()):
            redis = services.enter_context(redis_running())
            if postgres is None:
                postgres = services.enter_context(postgres_running())
            dsn = await asyncio.to_thread(postgres.create_database)
        settings = replace(settings or NodeSettings(), dsn=dsn, redis_url=redis.url)
        # One data folder: nodes share the server's own keys and attachments.
        nodes = tuple(Node(folder / f"node{n}", folder / "data", settings) for n in (1, 2))
        installation = Installation(folder, nodes, postgres, redis)
        try:
            for node in nodes:
                await node.start()
            yield installation
        finally:
            await installation.close()
