"""A consult's call between real browsers, through the real bridge: sealed on every path, and decoded on every side."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from leeside_protocol.video import signalling as s
from tests.faults.node import NodeSettings, VideoBy
from tests.support.call_browser import call_browser_running
from tests.support.stage import Stage, one_node
from tests.support.town import Town, open_town
from tests.support.web_words import words
from tests.web.calling import accepted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cameras(built: Path) -> AsyncGenerator[Browser]:
    async with call_browser_running() as running:
        yield running


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """A node that holds a bridge."""
    with one_node(tmp_path_factory.mktemp("bridge"), NodeSettings(video_by=VideoBy())) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def harbour(bridge: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    await bridge.ready()
    before = len(bridge.complaints())
    async with open_town(bridge.url(0), bridge.node(0).codes, tmp_path / "people") as town:
        yield town
    # A worker that a story killed is no complaint.
    told = [line for line in bridge.complaints()[before:] if "worker_ended" not in line]
    assert told == []


MUTED: Final = 40
"""The tag of the bridge's word that somebody's microphone or camera is off, or on again."""
RESTRICTED: Final = 54
"""The tag of the bridge's word that media reach the team, the psychiatrist and the interpreter alone."""


def bridge_worker(stage: Stage) -> int:
    """The process that carries media: of those of the bridge the one that has worked the most; another one stands by."""
    node = stage.node(0).pid
    worked: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == node and b"leeside_server.video" in (stat.parent / "cmdline").read_bytes():
                worked[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    return max(worked, key=lambda pid: worked[pid])


async def test_two_browsers_see_and_hear_each_other(cameras: Browser, bridge: Stage, harbour: Town) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for one in (night.rosa, night.lee):
            await one.media.decodes()
            await one.media.hears()

        # What else changes of somebody stops no picture of theirs.
        await night.lee.engine.forget()
        await night.rosa.taps("control.mute")
        await night.lee.told(MUTED)
        await night.lee.media.decodes()
        stopped = [
            word for word in await night.lee.media.told() if isinstance(word, s.Paused) and not word.lines
        ]
        assert stopped == []
        await night.rosa.taps("control.unmute")

        # A camera that is off shows nothing, its light is out, and it comes back.
        await night.rosa.taps("control.camera_off")
        await night.lee.media.stands_still()
        await night.lee.media.hears()
        await night.rosa.taps("control.camera_on")
        await night.lee.media.decodes()

        # The worker dies in mid-call: both are back, and what is written goes on.
        os.kill(bridge_worker(bridge), signal.SIGKILL)
        await night.lee.engine.call("send", night.channel, "I still read you.", "routine")
        await night.rosa.engine.reads(night.channel, "I still read you.")
        for one in (night.rosa, night.lee):
            await one.media.decodes()
            await one.media.hears()


async def test_a_third_comes_late_and_everybody_sees_everybody(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour, with_mate=True) as night:
        assert night.mate is not None
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        await night.rosa.media.decodes()
        await night.mate.joins(night.consult)
        for one in (night.mate, night.rosa, night.lee):
            await one.media.decodes(others=2)
            await one.media.hears(others=2)

        # Consent ends: what they say stays between the team and the psychiatrist, sealed with keys of a new epoch.
        await night.rosa.engine.forget()
        await night.rosa.engine.call("withdrawConsent", night.consult)
        await night.lee.engine.until("consent", "({consent}) => consent?.state === 'withdrawn'")
        await night.rosa.told(RESTRICTED)
        for one in (night.mate, night.lee):
            await one.media.hears(others=2)


LATE: Final = """\
{
    const own = Object.getOwnPropertyDescriptor(RTCRtpSender.prototype, 'transform');
    Object.defineProperty(RTCRtpSender.prototype, 'transform', {
        set(transform) { setTimeout(() => own.set.call(this, transform), 0); },
    });
}
"""
"""A transform set one task too late: the browser ignores it in silence, and sends what it encodes as it is."""


async def test_a_sender_that_is_not_sealed_is_stopped_and_told(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour, LATE) as night:
        await night.lee.joins(night.consult)
        await night.rosa.joins(night.consult)
        await expect(night.rosa.screen.page.get_by_text(words("why.unsealed"))).to_be_visible()
        # Nothing of it came to anybody.
        media = await night.lee.media.now()
        assert sum(media["decoded"].values()) == 0
        assert (await night.rosa.media.now())["live"] == 0
