"""The first thing that must work: a device is enrolled by a link and a compared code, and what is said arrives."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def test_a_browser_is_enrolled_by_a_link_and_talks_with_a_terminal(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ana:
        await ana.use_link(town, Role.RESPONDER, Discipline.CLINICIAN)
        await expect(ana.page.get_by_text(words("pending.title"))).to_be_visible()
        await ana.approved(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await desk.send(channel, "Where are you?")
        await ana.sees("Where are you?")
        await ana.say("On Quay Street.")
        await until(lambda: "On Quay Street." in texts(desk, channel), "it arrived")
        # The place in the conversation and the messages are there again after a reload.
        await ana.page.reload()
        await ana.sees("On Quay Street.")
        await ana.sees("Where are you?")


async def test_two_browsers_on_two_nodes_talk(browser: Browser, two: Stage, city: Town) -> None:
    sofia = await city.enrol("sofia", Role.SUPERVISOR)
    async with (
        sofia.open(two.url(0)) as office,
        Screen.opened(browser, two.url(0)) as ana,
        Screen.opened(browser, two.url(1)) as ben,
    ):
        await ana.enrol(city, Role.RESPONDER, Discipline.CLINICIAN)
        await ben.enrol(city, Role.RESPONDER, Discipline.EMT)
        channel = await office.openings.channel(
            ChannelPurpose.UNIT, [ana.device, ben.device], subject=await city.unit()
        )
        for screen in (ana, ben):
            await screen.open_channel(channel)
        await ana.say("Arrived.")
        await ben.sees("Arrived.")
        await ben.say("Copy.")
        await ana.sees("Copy.")
