"""A screen that nobody touches locks itself, and silences nothing: what is urgent sounds, a consult rings; neither is shown."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import oncall as o
from leeside_protocol.words import ChannelPurpose, Discipline, Role, Urgency
from tests.support.stage import Stage
from tests.support.town import Town, settled
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow
LINE: Final = "He says that he hears his brother."
URGENT: Final = "Shots heard at the harbour."
EARS: Final = """\
window.heard = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...at) { window.heard += 1; return start.apply(this, at); };
"""
"""Counts the tones that the page really starts."""


async def test_an_urgent_message_sounds_on_a_locked_screen_and_shows_nothing(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ana:
        await ana.page.add_init_script(EARS)
        # A person's clock, of which ten minutes can be skipped. The engine, in its worker, keeps the real one.
        await ana.page.clock.install()
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await ana.writing.click()  # lets the page sound

        await ana.page.clock.fast_forward("10:05")
        locked = ana.page.get_by_role("heading", name=words("idle.title"))
        await expect(locked).to_be_visible()
        assert await ana.page.evaluate("window.heard") == 0

        await desk.send(channel, URGENT, urgency=Urgency.URGENT)
        await expect(ana.page.get_by_text(words("idle.urgent"))).to_be_visible()
        await ana.page.wait_for_function("window.heard > 0")
        await expect(locked).to_be_visible()
        # Neither on the screen, nor hidden in the page.
        assert URGENT not in await ana.page.content()
        assert channel.hex() not in await ana.page.inner_text("body")

        await ana.button("idle.tap").click()
        await ana.sees(URGENT)


async def test_a_consult_rings_on_a_locked_screen_and_is_shown_once_it_is_open(
    browser: Browser, one: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    async with ana.open(one.url(0)) as phone, Screen.opened(browser, one.url(0)) as lee:
        await lee.page.add_init_script(EARS)
        await lee.page.clock.install()
        await lee.enrol(town, Role.PSYCHIATRIST)
        step = o.LadderStep(members=(lee.member.hex(),))
        await town.office.create_ladder(o.NewLadder("Night", (step,)))
        await expect(lee.page.get_by_role("switch")).to_be_visible()
        await lee.page.get_by_role("heading").first.click()  # lets the page sound
        await lee.page.clock.fast_forward("10:05")
        await expect(lee.page.get_by_role("heading", name=words("idle.title"))).to_be_visible()
        assert await lee.page.evaluate("window.heard") == 0

        await phone.consults.request(LINE, urgency=Urgency.URGENT, unit=await town.unit(ana))
        await expect(lee.page.get_by_text(words("ring.locked"))).to_be_visible()
        await lee.page.wait_for_function("window.heard > 0")
        assert LINE not in await lee.page.content()

        await lee.button("idle.tap").click()
        ring = lee.page.get_by_role("alertdialog", name=words("ring.title"))
        await expect(ring).to_contain_text(LINE)
