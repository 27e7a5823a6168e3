"""A browser, the built client, and agencies for the tests in a browser. All run in one event loop: the browser is in it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from deploy.devtool.web import DIST
from tests.faults.node import NodeSettings
from tests.support.browser import browser_running
from tests.support.services import HOST, free_port
from tests.support.stage import Stage, one_node, two_nodes
from tests.support.town import Town, open_town

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for what is here, and the marker by which `--fast` leaves out what needs a browser."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.is_relative_to(HERE):
            if inspect.iscoroutinefunction(item.obj):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if "browser" in item.fixturenames:
                item.add_marker("browser")


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built client. Fails where nobody built it: ./dev does."""
    assert (DIST / "index.html").is_file(), "the web client is not built: ./dev web"
    return DIST


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(built: Path) -> AsyncGenerator[Browser]:
    """One browser for this test process."""
    async with browser_running() as running:
        yield running


@pytest.fixture(scope="session")
def spare_port() -> int:
    """A port whose origin the one node takes for its own pages': for what stands between it and a browser."""
    return free_port()


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory, spare_port: int) -> Generator[Stage]:
    """One node on the embedded store."""
    settings = NodeSettings(origins=(f"http://{HOST}:{spare_port}",))
    with one_node(tmp_path_factory.mktemp("one"), settings) as stage:
        yield stage


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Generator[Stage]:
    """Two nodes on one PostgreSQL and one Redis."""
    with two_nodes(tmp_path_factory.mktemp("two"), request.getfixturevalue("postgres_server")) as stage:
        yield stage


@asynccontextmanager
async def _town(stage: Stage, folder: Path) -> AsyncGenerator[Town]:
    await stage.ready()
    before = len(stage.complaints())
    async with open_town(stage.url(0), stage.node(0).codes, folder / "people") as found:
        yield found
    assert stage.complaints()[before:] == []


@pytest_asyncio.fixture(loop_scope="session")
async def town(one: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    """An agency of its own on the one node."""
    async with _town(one, tmp_path) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def city(two: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    """An agency of its own on the two nodes."""
    async with _town(two, tmp_path) as found:
        yield found
