"""What the bridge owes real browsers, seen on bare pages: several people, late ones, new paths, dead workers, and nothing of
what is not sealed."""

import os
import signal
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import MediaKind
from leeside_server.core.video import Spoken
from tests.support.call_browser import call_browser_running
from tests.video.worker.bare_page import BarePage
from tests.video.worker.test_supervisor import Node, supervised
from tests.video.worker.world import ROOM, World, bridge, ticket, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

ANA = DeviceId(b"a" * 16)
BEN = DeviceId(b"b" * 16)
EVE = DeviceId(b"e" * 16)


@pytest_asyncio.fixture
async def browser() -> AsyncGenerator[Browser]:
    async with call_browser_running() as running:
        yield running


async def came(world: World, browser: Browser, device: DeviceId, *, sealed: bool = True) -> BarePage:
    """A page that joins as this device."""
    allowed = ticket(device)
    page = await BarePage.open(
        browser, lambda said: world.bridge.spoken(Spoken(1, allowed, s.encode_signal(said))), sealed=sealed
    )
    world.clients[device] = page
    world.everyone.append(page)
    page.join()
    return page


async def test_three_see_and_hear_each_other_and_the_last_one_came_late(browser: Browser) -> None:
    async with bridge() as world:
        ana, ben = await came(world, browser, ANA), await came(world, browser, BEN)
        await ana.sees(1)
        await ben.hears(1)
        eve = await came(world, browser, EVE)
        for page in (eve, ana, ben):
            await page.sees(2)
        await eve.hears(2)
        # A new path, on the same connection: nobody's picture is lost for it.
        ana.say(s.RestartIce(1))
        await until(lambda: len([x for x in ana.heard if isinstance(x, s.Offer)]) >= 2)
        await until(lambda: world.bridge.halls[ROOM].peers[ANA].version >= 2)
        await ana.sees(2)
        await ben.sees(2)
        assert (await ana.media.now())["made"] == 1
        # A camera that is off is passed on to nobody, and comes back.
        ana.say(s.Mute(1, MediaKind.VIDEO, muted=True))
        await ben.sees_no_more("b")
        ana.say(s.Mute(1, MediaKind.VIDEO, muted=False))
        await ben.sees(2)
        assert world.bridge.counts.faulty == 0
        assert world.bridge.counts.joins == 3


async def test_what_is_not_sealed_is_seen_and_heard_by_nobody(browser: Browser) -> None:
    async with bridge() as world:
        ana = await came(world, browser, ANA, sealed=False)
        ben = await came(world, browser, BEN)
        await ana.sees(1)
        await until(lambda: any(isinstance(each, s.Violation) and each.device == ANA for each in ben.heard))
        before = (await ana.media.now())["encoded"]
        await until(lambda: world.bridge.counts.unsealed >= 2)
        await ana.sees(1)
        assert (await ana.media.now())["encoded"] > before
        seen = await ben.media.now()
        assert sum(seen["decoded"].values()) == 0
        assert sum(seen["heard"].values()) == 0


async def test_a_call_goes_on_when_its_worker_was_killed(browser: Browser) -> None:
    async with supervised() as (supervisor, node):
        ana, ben = await joined(node, browser, ANA), await joined(node, browser, BEN)
        await ana.sees(1)
        (post,) = supervisor.posts
        assert post.pid is not None
        os.kill(post.pid, signal.SIGKILL)
        await until(lambda: node.gone == 1)
        await until(lambda: bool(post.worker))
        for page in (ana, ben):
            await page.join_again()
        for page in (ana, ben):
            await page.sees(1)
            await page.hears(1)
        for page in (ana, ben):
            await page.close()


async def joined(node: Node, browser: Browser, device: DeviceId) -> BarePage:
    page = await BarePage.open(browser, node.speaker(device))
    node.clients[device] = page
    page.join()
    return page
