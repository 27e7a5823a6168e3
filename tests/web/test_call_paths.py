"""A consult's call between real browsers whose ways change under it: every path dies at once, and a socket is lost for a while."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize

from tests.faults.node import NodeSettings, VideoBy
from tests.support.call_browser import CAMERA, call_browser_running
from tests.support.impair import Relay, impaired
from tests.support.line import open_line
from tests.support.services import HOST, free_port, free_ports
from tests.support.stage import Stage, one_node
from tests.support.town import Town, open_town
from tests.web.calling import accepted
from tests.web.test_offline import NO_LINK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FRONT: Final = "127.0.0.2"
"""Where clients reach the bridge: a relay stands there, at the bridge's own port."""
LARGE: Final = CAMERA["width"]
SMALL: Final = LARGE // 2
WIDE: Final = ViewportSize(width=1440, height=900)
NARROW: Final = ViewportSize(width=360, height=320)


@pytest.fixture(scope="module")
def media_port() -> int:
    return free_ports(1, socket.SOCK_DGRAM)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cameras(built: Path) -> AsyncGenerator[Browser]:
    async with call_browser_running() as running:
        yield running


@pytest.fixture(scope="module")
def line_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, media_port: int, line_port: int) -> Generator[Stage]:
    """A node whose bridge tells its clients the relay's address."""
    by = VideoBy(port=media_port, public=(FRONT,))
    settings = NodeSettings(origins=(f"http://{HOST}:{line_port}",), video_by=by)
    with one_node(tmp_path_factory.mktemp("bridge"), settings) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def relay(bridge: Stage, media_port: int) -> AsyncGenerator[Relay]:
    del bridge
    async with impaired((HOST, media_port), FRONT, port=media_port) as between:
        yield between


@pytest_asyncio.fixture(loop_scope="session")
async def harbour(bridge: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    await bridge.ready()
    before = len(bridge.complaints())
    async with open_town(bridge.url(0), bridge.node(0).codes, tmp_path / "people") as town:
        yield town
    assert bridge.complaints()[before:] == []


async def test_every_path_dies_in_mid_call_and_the_pictures_come_back_by_others(
    cameras: Browser, bridge: Stage, relay: Relay, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        both = (night.rosa, night.lee)
        # A picture comes in the size in which it is shown.
        await night.lee.screen.page.set_viewport_size(WIDE)
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        await night.lee.media.shows_columns(LARGE)
        await night.lee.screen.page.set_viewport_size(NARROW)
        await night.lee.media.shows_columns(SMALL)
        await night.lee.screen.page.set_viewport_size(WIDE)
        await night.lee.media.shows_columns(LARGE)
        # As if both went from one network into another: what they had leads nowhere.
        relay.lose_ways()
        for one in both:
            await one.media.decodes()
            await one.media.hears()


async def test_a_call_goes_on_without_a_socket_and_who_came_meanwhile_is_heard(
    cameras: Browser, bridge: Stage, relay: Relay, harbour: Town, line_port: int
) -> None:
    del relay
    async with (
        open_line(bridge.node(0).port, line_port) as line,
        accepted(cameras, bridge.url(0), harbour, with_mate=True, near_url=line.url) as night,
    ):
        assert night.mate is not None
        night.rosa.screen.watch.expect(NO_LINK)
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        await night.rosa.media.hears()
        line.cut()
        await night.rosa.engine.until("link", "({link}) => link.state !== 'online'")
        # Media never came that way.
        for one in (night.rosa, night.lee):
            await one.media.hears()
        await night.mate.joins(night.consult)
        await night.mate.media.hears(others=2)
        await night.rosa.engine.forget()
        line.mend()
        await night.rosa.engine.until("link", "({link}) => link.state === 'online'")
        # What the bridge said meanwhile is said again: by the path that stood all the time.
        await night.rosa.media.decodes(others=2)
        await night.rosa.media.hears(others=2)
        assert (await night.rosa.media.now())["made"] == 1
