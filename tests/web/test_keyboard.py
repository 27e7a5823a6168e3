"""A dispatcher's main job without a mouse: every step by keys, and after each one sees where the next key goes."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside.bodies import Assignment, Fix
from leeside.client import Leeside
from leeside.events import Progress, Report
from leeside_protocol.ids import ChannelId, DeviceId, UnitId
from leeside_protocol.words import ChannelPurpose, Role, Urgency
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Person, Town, now_ms, settled, texts, until
from tests.support.web_words import words
from tests.web.keys import MOUSE, Keys
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUAY: Final = (475_640_000, 191_200_000)
"""Where it happens, in 1e-7 degrees."""


async def unit_of(
    town: Town, desk: Leeside, phone: Leeside, person: Person, screen: DeviceId, *, away_e7: int
) -> tuple[UnitId, ChannelId]:
    """A unit of one person, whose position this screen knows too; and its channel."""
    unit = await town.unit(person)
    devices = [phone.device, screen]
    channel = await desk.openings.channel(ChannelPurpose.UNIT, devices, subject=unit)
    for client in (desk, phone):
        await settled(client, channel)
    phone.start_sharing(channel)
    await phone.move(Fix(QUAY[0] + away_e7, QUAY[1], 10, now_ms()))
    return unit, channel


def assigned(phone: Leeside) -> list[tuple[ChannelId, UnitId]]:
    """What this phone was told to go to, and of which unit."""
    return [
        (channel, event.content.unit)
        for channel in (ChannelId(bytes.fromhex(info.id)) for info in phone.channels())
        for event in phone.history(channel, limit=1_000)
        if isinstance(event, Report) and isinstance(event.content, Assignment)
    ]


async def test_the_dispatchers_main_job_by_keyboard(browser: Browser, one: Stage, town: Town) -> None:
    sofia = await town.enrol("sofia", Role.SUPERVISOR)
    ana, ben = await town.enrol("ana", Role.RESPONDER), await town.enrol("ben", Role.RESPONDER)
    async with (
        sofia.open(one.url(0)) as office,
        ana.open(one.url(0)) as near,
        ben.open(one.url(0)) as far,
        Screen.opened(browser, one.url(0), viewport=DESK) as deniz,
    ):
        await deniz.context.add_init_script(MOUSE)
        await deniz.enrol(town, Role.DISPATCHER)
        await unit_of(town, office, far, ben, deniz.device, away_e7=90_000)
        unit, _ = await unit_of(town, office, near, ana, deniz.device, away_e7=9_000)
        await deniz.page.reload()
        await expect(deniz.page.get_by_role("heading", name="2 units")).to_be_visible()
        keys = Keys(deniz)

        # The keys, on one page.
        await keys.press("1", "?")
        await keys.dialog(words("keys.title"))
        await keys.press("Escape")
        await keys.dialog(None)

        # A call: how urgent, where, what.
        await keys.press("n")
        await keys.dialog(words("screening.title"))
        await keys.at(words("screening.address"))
        await keys.write("Quay Street 4")
        await keys.press("Tab")
        await keys.at(words("screening.place"))
        await keys.write("47.5640, 19.1200")
        await keys.press("Control+Enter")

        # The nearest unit goes.
        await keys.dialog(words("assign.title", where="Quay Street 4"))
        await keys.at(words("assign.find"))
        await keys.press("ArrowDown", "Enter")
        await keys.dialog(None)
        await until(lambda: [x for _, x in assigned(near)] == [unit], "the nearest is told")
        assert assigned(far) == []
        [(channel, _)] = assigned(near)

        # What is said, read and answered.
        await near.send(channel, "On our way.")
        await deniz.sees("On our way.")
        await keys.press("c")
        await keys.at(words("compose.label"))
        await keys.write("The sister is inside.")
        await keys.press("Enter")
        await until(lambda: "The sister is inside." in texts(near, channel), "it is said")
        await keys.press("Escape")

        # What needs somebody is on top.
        urgent = await near.send(channel, "He has a knife.", Urgency.URGENT)
        calls = deniz.page.get_by_role("region", name=words("calls.title"))
        await expect(calls.get_by_text("He has a knife.")).to_be_visible()
        await keys.press("0")
        await keys.tab_to(words("do.acknowledge"))
        await keys.press("Enter")
        await until(
            lambda: deniz.device in {d for d, p in urgent.devices.items() if p is Progress.ACKNOWLEDGED},
            "it is acknowledged",
        )
        await expect(calls.get_by_text("He has a knife.")).to_have_count(0)
        await keys.seen()

        # A time for the record.
        await keys.press("t")
        await keys.dialog(words("mark.title"))
        await keys.write(words("mark.arrived"))
        await keys.tab_to(words("do.save"))
        await keys.press("Enter")
        await keys.dialog(None)

        # The end: what would be left without an owner is said first, and refused without a word about it.
        await keys.press("x")
        await keys.dialog(words("close.title"))
        await expect(deniz.page.get_by_text(words("close.left"))).to_be_visible()
        await keys.tab_to(words("close.do"))
        await keys.press("Enter")
        await expect(deniz.page.get_by_text(words("close.how_missing"))).to_be_visible()
        await keys.press("Shift+Tab")
        await keys.press("Space")
        await keys.press("Shift+Tab")
        await keys.at(words("close.how"))
        await keys.write(words("disposition.remained_with_support"))
        await keys.tab_to(words("close.do"))
        await keys.press("Enter")
        await keys.dialog(None)
        await expect(deniz.page.get_by_role("heading", name="0 running incidents")).to_be_visible()
        await keys.seen()
        assert await deniz.page.evaluate("() => globalThis.pointed") == 0
