"""An incident between two browsers on two nodes: opened, assigned, talked over, in danger, and over."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import pytest
from playwright.async_api import Browser, Locator, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import UnitId
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town, settled, until
from tests.support.web_words import pattern, words
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUAY_STREET: Final = {"latitude": 47.5644, "longitude": 19.1278, "accuracy": 12.0}
HOLD_MS: Final = 4_000
"""Longer than the shield must be held, by more than a busy page is late with what its finger does."""


def sounding(screen: Screen) -> Locator:
    """What is pinned on a phone until its person acknowledges."""
    return screen.page.get_by_role("region", name=words("urgency.urgent"), exact=True)


def calls(screen: Screen) -> Locator:
    """What stands on top of a desk."""
    return screen.page.get_by_role("region", name=words("calls.title"))


async def opens(desk: Screen, address: str) -> None:
    """Take a call at this address, and send the only unit."""
    await desk.page.keyboard.press("n")
    await desk.page.get_by_label(words("screening.address")).fill(address)
    await desk.button("screening.open").click()
    units = desk.page.get_by_role("list", name=words("assign.units"))
    await units.get_by_role("button").first.click()
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)


async def urgently(screen: Screen, text: str) -> None:
    """Say what sounds at the others until it is acknowledged."""
    await screen.page.get_by_role("button", name=pattern("compose.urgency")).click()
    await screen.page.get_by_role("radio", name=words("urgency.urgent")).check(force=True)
    await screen.say(text)


async def test_an_incident_from_the_call_to_its_end(browser: Browser, two: Stage, city: Town) -> None:
    sofia = await city.enrol("sofia", Role.SUPERVISOR)
    async with (
        sofia.open(two.url(0)) as office,
        Screen.opened(browser, two.url(0), viewport=DESK) as deniz,
        Screen.opened(browser, two.url(1), geolocation=QUAY_STREET, permissions=["geolocation"]) as ana,
    ):
        await deniz.enrol(city, Role.DISPATCHER)
        await ana.enrol(city, Role.RESPONDER, Discipline.CLINICIAN)
        unit = UnitId(bytes.fromhex((await city.office.create_unit(r.NewUnit((ana.member.hex(),)))).id))
        devices = [ana.device, deniz.device]
        channel = await office.openings.channel(ChannelPurpose.UNIT, devices, subject=unit)
        await settled(office, channel)
        await deniz.page.reload()
        await expect(deniz.page.get_by_role("heading", name="1 unit", exact=True)).to_be_visible()

        # The phone sounds, and its person answers.
        await opens(deniz, "Quay Street 4")
        there = await sounding(ana).get_by_role("link").get_attribute("href")
        await sounding(ana).get_by_role("button", name=words("do.acknowledge")).click()
        await expect(sounding(ana)).to_have_count(0)
        await expect(calls(deniz).get_by_role("listitem")).to_have_count(0)

        # One tap says where they are.
        await ana.page.get_by_role("button", name=words("status.EnRoute")).first.click()
        board = deniz.page.get_by_role("list", name="1 unit", exact=True)
        await expect(board.get_by_text(words("status.EnRoute"))).to_be_visible()

        # Both ways, and what is urgent until it is acknowledged.
        await ana.page.evaluate("(there) => { location.hash = there }", there)
        await deniz.say("The door is open.")
        await ana.sees("The door is open.")
        await urgently(ana, "He has a knife.")
        await calls(deniz).get_by_role("button", name=words("do.acknowledge")).click()
        await expect(calls(deniz).get_by_role("listitem")).to_have_count(0)
        await expect(
            ana.messages.get_by_role("article")
            .filter(has_text="He has a knife.")
            .get_by_text(words("progress.acknowledged"))
        ).to_be_visible()

        # Where they are, once they say so.
        await ana.page.get_by_label(words("place.open_off")).click()
        await ana.button("place.begin").click()
        await expect(board.get_by_text(re.compile(words("board.place_age", span=".+")))).to_have_count(1)
        await ana.page.keyboard.press("Escape")
        await expect(ana.page.get_by_role("dialog")).to_have_count(0)

        # And on the map, whose ground comes from this server in ranges.
        await deniz.page.keyboard.press("4")
        await expect(deniz.page.locator(".map .unit.mark")).to_be_visible()
        await until(lambda: any("/map/" in url for url in deniz.watch.requests), "the ground of the map")
        for trouble in ("map.unavailable", "map.no_tiles"):
            await expect(deniz.page.get_by_text(words(trouble))).to_have_count(0)
        await deniz.page.keyboard.press("2")

        # In danger: nothing shows on the phone, and its person cannot clear it.
        await ana.page.get_by_role("button", name=words("do.check_in"), exact=True).hover()
        await ana.page.mouse.down()
        await asyncio.sleep(HOLD_MS / 1_000)
        await ana.page.mouse.up()
        # Said in the unit's channel and in the incident's: whoever reads one of them must know, and who reads both, once.
        danger = calls(deniz).get_by_text(pattern("calls.duress_by"))
        await expect(danger).to_have_count(1)
        await expect(sounding(ana)).to_have_count(0)
        await expect(ana.button("do.acknowledge")).to_have_count(0)
        await deniz.button("calls.i_act").first.click()
        await deniz.button("calls.clear").click()
        await expect(danger).to_have_count(0)
        await expect(calls(deniz).get_by_role("listitem")).to_have_count(0)

        # It ends, with a word about the unit that is still busy, and nothing sounds any more.
        await (
            deniz.page.get_by_role("group", name=words("incident.actions"))
            .get_by_role("button", name=words("close.do"))
            .click()
        )
        await deniz.page.get_by_label(words("close.how")).select_option("remained_with_support")
        await deniz.page.get_by_label(words("close.sure")).check()
        await deniz.page.get_by_role("dialog").get_by_role("button", name=words("close.do")).last.click()
        await expect(deniz.page.get_by_role("dialog")).to_have_count(0)
        for screen in (ana, deniz):
            await expect(sounding(screen)).to_have_count(0)
        await expect(calls(deniz).get_by_role("listitem")).to_have_count(0)
        await expect(ana.writing).to_have_count(0)
