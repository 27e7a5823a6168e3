"""A consult's call between two real browsers that have nothing but TURN: a real coturn as it is shipped, before the real bridge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.faults.node import NodeSettings, VideoBy
from tests.support.browser import comes_true
from tests.support.call_browser import call_browser_running
from tests.support.coturn import Coturn
from tests.support.stage import Stage, one_node
from tests.support.town import open_town
from tests.web.calling import Caller, accepted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELAY_ONLY: Final = """() => {
    const Own = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Own {
        constructor(settings) {
            super({ ...settings, iceTransportPolicy: 'relay' });
        }
    };
}"""
"""As in a network that lets no other packet out."""
USED: Final = """async () => {
    const live = window.leesidePaths.filter(({ connectionState }) => connectionState === 'connected');
    const kinds = [];
    for (const path of live) {
        const stats = await path.getStats();
        for (const one of stats.values())
            if (one.type === 'transport' && one.selectedCandidatePairId) {
                const pair = stats.get(one.selectedCandidatePairId);
                kinds.push(stats.get(pair.localCandidateId).candidateType);
            }
    }
    return kinds;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cameras(built: Path, coturn_server: Coturn) -> AsyncGenerator[Browser]:
    """A browser that starts when coturn has its addresses: a change of them is a change of network to it."""
    del coturn_server
    async with call_browser_running() as running:
        yield running


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, coturn_server: Coturn) -> Generator[Stage]:
    """A node that holds a bridge on the only address that coturn speaks to, and names coturn to its clients."""
    by = VideoBy((coturn_server.bridge,), turn_urls=coturn_server.urls[:1], turn_secret=coturn_server.secret)
    with one_node(tmp_path_factory.mktemp("bridge"), NodeSettings(video_by=by)) as stage:
        yield stage


async def only_relayed(caller: Caller) -> None:
    """What this page's next connections may use."""
    await caller.screen.page.evaluate(RELAY_ONLY)


async def used(caller: Caller) -> list[Any]:
    """Which kinds of candidates its connections go over."""
    found: list[Any] = await caller.screen.page.evaluate(USED)
    return found


async def test_two_browsers_with_nothing_but_turn_see_and_hear_each_other(
    cameras: Browser, bridge: Stage, tmp_path: Path
) -> None:
    await bridge.ready()
    async with (
        open_town(bridge.url(0), bridge.node(0).codes, tmp_path / "people") as town,
        accepted(cameras, bridge.url(0), town) as night,
    ):
        for caller in (night.rosa, night.lee):
            await only_relayed(caller)
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for caller in (night.rosa, night.lee):
            await caller.media.decodes()
            await caller.media.hears()
            await comes_true(caller.screen.page, f"async () => (await ({USED})()).length > 0", None)
            assert set(await used(caller)) == {"relay"}
