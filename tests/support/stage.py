"""Where stories play: one node on SQLite, or two nodes on one PostgreSQL and one Redis. Real processes, real sockets.

    async def test_a_story(stage: Stage, town: Town) -> None:
        async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk: ...

A stage serves all stories of a test process; each gets an agency of its own. `url(0)` and `url(1)` are two different
nodes where there are two, and the same one otherwise: a story is written once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.faults.node import Node, NodeFailed, NodeSettings, VideoBy
from tests.support.patience import PATIENCE_S
from tests.support.services import PostgresServer, RedisServer, redis_running
from tests.support.town import Town, now_ms, open_town

READY_S = PATIENCE_S
ATTEMPTS = 3
EX_UNAVAILABLE = 69
"""How a node ends whose disk, store or bus does not answer now."""


@dataclass(slots=True)
class Stage:
    """Running nodes; `postgres` and `redis` stand where the nodes use them."""

    folder: Path
    nodes: tuple[Node, ...]
    postgres: PostgresServer | None = None
    dsn: str = ""
    redis: RedisServer | None = None

    @property
    def clustered(self) -> bool:
        return len(self.nodes) > 1

    def node(self, number: int) -> Node:
        """The first or the second node; the same one where there is only one."""
        return self.nodes[number % len(self.nodes)]

    def url(self, number: int) -> str:
        return self.node(number).url

    async def start(self) -> None:
        """Start every node, again where its store was too slow to answer: as a service manager does."""
        await asyncio.gather(*(self._start(node) for node in self.nodes))

    async def _start(self, node: Node) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await node.start()
            except NodeFailed as failed:
                if attempt == ATTEMPTS - 1 or f"ended with {EX_UNAVAILABLE} " not in str(failed):
                    raise
            else:
                return

    async def kill(self) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def ready(self) -> None:
        """Until every node says that all is well: the story before may have broken something."""
        deadline_ms = now_ms() + READY_S * 1000
        for node in self.nodes:
            if not node.alive:
                await node.start()
            while (told := await node.readiness())["http"] != "200" or not {"degraded", "down"}.isdisjoint(
                told.values()
            ):
                assert now_ms() < deadline_ms, f"a node is not ready: {told}"
                await asyncio.sleep(0.02)

    @contextmanager
    def frozen_bus(self) -> Generator[None]:
        """A black hole where the bus was: its connections stay open and nothing comes back."""
        assert self.redis is not None
        os.kill(self.redis.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.redis.process.pid, signal.SIGCONT)

    def log_lines(self) -> list[dict[str, object]]:
        """Every line of every node's log that is one."""
        return [
            msgspec.json.decode(line, type=dict[str, object])
            for node in self.nodes
            for line in node.log_text().splitlines()
            if line.startswith("{")
        ]

    def complaints(self) -> list[str]:
        """What the nodes logged as an error, and any traceback: a story in which all goes well has none."""
        told = [str(line) for line in self.log_lines() if line.get("level") in {"error", "critical"}]
        texts = [node.log_text() for node in self.nodes]
        told += ["a traceback" for text in texts if "Traceback (most recent call last)" in text]
        return told


@contextmanager
def one_node(folder: Path, settings: NodeSettings = NodeSettings()) -> Generator[Stage]:  # noqa: B008 - frozen
    """One node on the embedded defaults."""
    with _running(Stage(folder, (Node(folder / "node", folder / "data", settings),))) as stage:
        yield stage


@contextmanager
def two_nodes(folder: Path, postgres: PostgresServer, video_by: VideoBy | None = None) -> Generator[Stage]:
    """Two nodes on a database of this PostgreSQL and a Redis of their own; with a bridge each where `video_by` says so."""
    dsn = postgres.create_database()
    try:
        with redis_running() as redis:
            settings = NodeSettings(dsn, redis.url, video_by=video_by)
            # One data folder: nodes of a cluster share the server's own keys.
            nodes = tuple(Node(folder / f"node{n}", folder / "data", settings) for n in (1, 2))
            with _running(Stage(folder, nodes, postgres, dsn, redis)) as stage:
                yield stage
    finally:
        postgres.drop_database(dsn)


@contextmanager
def _running(stage: Stage) -> Generator[Stage]:
    # Outside of any test's loop: processes outlive it.
    try:
        asyncio.run(stage.start())
        yield stage
    finally:
        asyncio.run(stage.kill())


EACH = (
    pytest.param("one", id="one-node"),
    pytest.param("two", id="two-nodes", marks=pytest.mark.services),
)


@contextmanager
def staged(kind: str, request: pytest.FixtureRequest, folder: Path) -> Generator[Stage]:
    """The stage of that kind; PostgreSQL comes from its fixture, only where it is wanted."""
    if kind == "one":
        with one_node(folder) as stage:
            yield stage
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        with two_nodes(folder, postgres) as stage:
            yield stage


@pytest.fixture(scope="session", params=EACH)
def shared_stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Stage]:
    """One stage of each kind for all stories of this test process."""
    with staged(str(request.param), request, tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture
async def stage(shared_stage: Stage) -> AsyncGenerator[Stage]:
    """The stage, ready; afterwards its nodes must have had nothing to complain of."""
    await shared_stage.ready()
    before = len(shared_stage.complaints())
    yield shared_stage
    assert shared_stage.complaints()[before:] == []


@pytest.fixture(params=EACH)
def own_stage(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Stage]:
    """A stage for one story alone: for those that stop or replace what the others stand on."""
    with staged(str(request.param), request, tmp_path) as stage:
        yield stage


@pytest.fixture
async def town(stage: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    """An agency for this story, with its administrator on the first node."""
    node = stage.node(0)
    async with open_town(node.url, node.codes, tmp_path / "people") as found:
        yield found
