"""G-rules of a phone without signal: what was written is kept over reloads, and arrives exactly once."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside.client import Leeside
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.line import Line, open_line
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

NO_LINK = r"net::ERR_|Failed to load resource|WebSocket connection to|An SSL|fetching the script"
"""What the browser itself writes to its console when a request finds nobody."""


async def airplane(screen: Screen, line: Line, *, on: bool) -> None:
    """The switch of the phone: nothing leaves it, and it knows."""
    if on:
        line.cut()
    else:
        line.mend()
    await screen.context.set_offline(on)


async def installed(screen: Screen) -> None:
    """Until the page would open without a link."""
    await screen.page.evaluate("async () => { await navigator.serviceWorker.ready }")
    await screen.page.reload()  # the first page of an origin was not served by the worker


async def test_airplane_mode_for_two_reloads_then_everything_arrives_exactly_once(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        open_line(one.node(0).port, spare_port) as line,
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, line.url) as ana,
    ):
        ana.watch.expect(NO_LINK)
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await installed(ana)
        await ana.open_channel(channel)
        said = [f"Without signal {n}" for n in range(1, 4)]
        await airplane(ana, line, on=True)
        await ana.say(said[0])
        await ana.sees(said[0])
        for text in said[1:]:
            await ana.page.reload()
            await expect(ana.messages).to_be_visible()
            await ana.say(text)
            await ana.sees(text)
        await expect(ana.page.get_by_text(words("notice.offline_do")).first).to_be_visible()
        assert texts(desk, channel) == []
        await airplane(ana, line, on=False)
        await until(lambda: len(texts(desk, channel)) >= len(said), "they arrive")
        await expect(ana.page.get_by_text(words("notice.offline_do"))).to_have_count(0)
        await ana.say("Back.")
        await until(lambda: "Back." in texts(desk, channel), "what was said behind them")
        assert once(desk, channel, [*said, "Back."])
        for text in said:
            await ana.sees(text, times=1)


def once(client: Leeside, channel: ChannelId, said: list[str]) -> bool:
    """Each of these, in this order, and nothing twice."""
    assert texts(client, channel) == said
    return True
