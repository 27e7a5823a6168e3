"""A unit that an administrator made: the desk opens its channel, lets in who is outside, and takes out who left it."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import ChannelPurpose, Role
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town, settled
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def on_the_desk(screen: Screen, channel: ChannelId) -> None:
    """A channel in the middle of the desk, caught up and ready to write."""
    await screen.page.get_by_role("button", name=words("desk.channels"), exact=True).click()
    await screen.page.get_by_label(words("desk.channel")).select_option(channel.hex())
    await expect(screen.messages).to_be_visible()
    await expect(screen.page.get_by_text(words("chat.catching_up"))).to_have_count(0)
    await expect(screen.writing).to_be_visible()


async def test_the_desk_opens_a_units_channel_and_keeps_it_to_its_people(
    browser: Browser, one: Stage, town: Town
) -> None:
    ana, ben = await town.enrol("ana", Role.RESPONDER), await town.enrol("ben", Role.RESPONDER)
    made = await town.office.create_unit(r.NewUnit((ana.member.hex(),)))
    async with (
        ana.open(one.url(0)) as before,
        ben.open(one.url(0)) as after,
        Screen.opened(browser, one.url(0), viewport=DESK) as deniz,
    ):
        await deniz.enrol(town, Role.DISPATCHER)
        await deniz.page.get_by_role("list", name="1 unit").get_by_role("button").first.click()
        await deniz.button("board.open_channel").click()
        await expect(deniz.button("board.open_channel")).to_have_count(0)
        [info] = await before.refresh()
        assert (info.purpose, info.subject) == (ChannelPurpose.UNIT, made.id)
        channel = ChannelId(bytes.fromhex(info.id))
        await settled(before, channel)
        assert after.channels() == ()
        await on_the_desk(deniz, channel)
        await deniz.say("Who is on tonight?")

        # Ben takes Ana's place. The lists are the server's word: a person says who may read.
        unit = await town.office.unit(made.id)
        await town.office.change_unit(unit.id, r.UnitChange(unit.revision, (ben.member.hex(),)))
        await deniz.page.reload()
        await on_the_desk(deniz, channel)
        await deniz.button("strays.let_in").click()
        await expect(deniz.button("strays.let_in")).to_have_count(0)
        await settled(after, channel)
        assert before.device in before.readers(channel)
        await deniz.button("strays.take_out").click()
        await expect(deniz.button("strays.take_out")).to_have_count(0)
        assert set(after.readers(channel)) >= {after.device, deniz.device}
        await deniz.say("Ben has the unit.")

        # By its address, as a notice names it: the desk shows it, and stays what it is.
        await deniz.page.get_by_label(words("desk.channel")).select_option("")
        await expect(deniz.messages).to_have_count(0)
        await deniz.open_channel(channel)
        await deniz.sees("Ben has the unit.")
