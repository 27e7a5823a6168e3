"""Who joins later sees nothing of before, until a member grants it."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import ChannelPurpose, Discipline, PrimaryStatus, Role, SecondaryStatus
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, settled
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def test_a_member_added_mid_incident_sees_nothing_then_the_granted_past(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ben:
        _, channel = await desk.openings.incident([], priority=2, first="Quay Street 4, second floor.")
        await settled(desk, channel)
        await desk.send(channel, "The sister is inside.")
        await ben.enrol(town, Role.RESPONDER, Discipline.LAW_ENFORCEMENT_OFFICER)
        await desk.openings.admit(channel, [ben.device])
        await ben.open_channel(channel)
        await desk.send(channel, "Ben joins us.")
        await ben.sees("Ben joins us.")
        await expect(ben.messages.get_by_text(words("closed.not_granted")).first).to_be_visible()
        for text in ("Quay Street 4, second floor.", "The sister is inside."):
            await ben.sees(text, times=0)
        await desk.openings.grant(channel, ben.device)
        for text in ("Quay Street 4, second floor.", "The sister is inside."):
            await ben.sees(text)
        await expect(ben.messages.get_by_text(words("closed.not_granted"))).to_have_count(0)


async def test_a_status_set_before_one_joined_is_there_once_it_is_granted(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, one.url(0), viewport=DESK) as eva,
    ):
        await eva.enrol(town, Role.DISPATCHER)
        unit = await town.unit(deniz)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [], subject=unit)
        await settled(desk, channel)
        status = await desk.set_status(channel, unit, PrimaryStatus.NOT_AVAILABLE, SecondaryStatus.ON_SCENE)
        await status.wait(timeout_s=WAIT_S)
        await desk.openings.admit(channel, [eva.device])
        await expect(eva.page.get_by_text(words("status.unknown"))).to_be_visible()
        await desk.openings.grant(channel, eva.device)
        await expect(eva.page.get_by_text(words("status.OnScene"))).to_be_visible()
