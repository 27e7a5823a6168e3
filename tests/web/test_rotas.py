"""Who is on call, written at a supervisor's screen: a rota with its turns, covers, swaps and absences; a ladder; and its keeper."""

from __future__ import annotations

import datetime as dt
from typing import Final

import pytest
from playwright.async_api import Browser, Locator, expect

from leeside_protocol import oncall as o
from leeside_protocol.words import Role
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ZONE: Final = "America/New_York"
FIRST_TURN: Final = "2026-01-05T08:00"


def field(ahead: dt.timedelta) -> str:
    """A time from now on, as a field of the browser's takes it (its clock is UTC)."""
    return f"{dt.datetime.now(dt.UTC) + ahead:%Y-%m-%dT%H:00}"


def sheet(screen: Screen) -> Locator:
    return screen.page.get_by_role("dialog")


async def saved(screen: Screen, by: str = "do.save") -> None:
    """Save the sheet, and wait until the server has it."""
    await sheet(screen).get_by_role("button", name=words(by), exact=True).click()
    await expect(sheet(screen)).to_have_count(0)


async def only_rota(town: Town) -> o.Rota:
    (found,) = (await town.office.rotas()).items
    return found


async def test_a_rota_and_a_ladder_are_what_the_supervisors_screen_says_and_its_keeper_covers(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with (
        Screen.opened(browser, one.url(0), viewport=DESK, timezone_id="UTC") as mei,
        Screen.opened(browser, one.url(0), timezone_id="UTC") as lee,
    ):
        await mei.enrol(town, Role.SUPERVISOR)
        await lee.enrol(town, Role.PSYCHIATRIST)
        kim = (await town.enrol("kim", Role.PSYCHIATRIST)).member
        page = mei.page

        # A rota: two take turns of a day each, at a wall time.
        await page.goto(f"{mei.url}/#/supervisor/rotas")
        await mei.button("rota.new").click()
        await sheet(mei).get_by_label(words("rota.label"), exact=True).fill("Night line")
        await saved(mei)
        await mei.button("rotation.new").click()
        await sheet(mei).get_by_label(words("rotation.turn"), exact=True).select_option("day")
        await sheet(mei).get_by_label(words("rotation.start"), exact=True).fill(FIRST_TURN)
        await sheet(mei).get_by_label(words("rotation.zone"), exact=True).fill(ZONE)
        await sheet(mei).get_by_label(words("rotation.hours"), exact=True).fill("24")
        for member in (lee.member, kim):
            await sheet(mei).get_by_label(words("rotation.add"), exact=True).select_option(member.hex())
        await saved(mei)
        (rotation,) = (await only_rota(town)).rotations
        assert (rotation.zone, rotation.start, rotation.rule) == (ZONE, FIRST_TURN, "FREQ=DAILY")
        assert (rotation.length_min, rotation.members) == (1_440, (lee.member.hex(), kim.hex()))

        # A shift of the table is covered, another is swapped with the one behind it.
        await page.get_by_text(words("rota.table"), exact=True).first.click()
        shifts = page.get_by_role("row")
        await shifts.nth(3).get_by_role("button", name=words("rota.cover_short")).click()
        await sheet(mei).get_by_label(words("rota.who"), exact=True).select_option(mei.member.hex())
        await saved(mei)
        await shifts.nth(4).get_by_role("button", name=words("rota.swap")).click()
        await sheet(mei).get_by_label(words("rota.swap_with"), exact=True).select_option(index=1)
        await saved(mei, "rota.swap")
        cover, *swap = (await only_rota(town)).overrides
        assert (cover.member, cover.why, cover.until_ms - cover.from_ms) == (
            mei.member.hex(),
            "cover",
            86_400_000,
        )
        assert [one.why for one in swap] == ["swap", "swap"]
        assert swap[0].member != swap[1].member

        # Somebody is away; and a time that runs backward is refused with its sentence.
        await mei.button("rota.absence").click()
        await sheet(mei).get_by_label(words("rota.who"), exact=True).select_option(kim.hex())
        await sheet(mei).get_by_label(words("rota.from"), exact=True).fill(field(dt.timedelta(days=9)))
        await sheet(mei).get_by_label(words("rota.until"), exact=True).fill(field(dt.timedelta(days=8)))
        await sheet(mei).get_by_role("button", name=words("do.save"), exact=True).click()
        await expect(sheet(mei).get_by_text(words("fault.ends_before"))).to_be_visible()
        await sheet(mei).get_by_label(words("rota.until"), exact=True).fill(field(dt.timedelta(days=10)))
        await saved(mei)
        (away,) = (await only_rota(town)).absences
        assert (away.member, away.until_ms - away.from_ms) == (kim.hex(), 86_400_000)

        # Lee keeps it.
        await page.get_by_text(words("do.more"), exact=True).click()
        await mei.button("rota.settings").click()
        await sheet(mei).get_by_label(words("rota.add_owner"), exact=True).select_option(lee.member.hex())
        await saved(mei)
        rota = await only_rota(town)
        assert (rota.label, rota.owners) == ("Night line", (lee.member.hex(),))

        # A ladder: the rota, half a minute, then everybody and a telephone; and what happens at its end is said.
        await page.goto(f"{mei.url}/#/supervisor/ladders")
        await mei.button("ladder.new").click()
        await sheet(mei).get_by_label(words("ladder.label"), exact=True).fill("Adults")
        await sheet(mei).get_by_role("checkbox", name="Night line").check()
        await sheet(mei).get_by_label(words("ladder.delay"), exact=True).fill("30")
        await mei.button("ladder.add_phone").click()
        await sheet(mei).get_by_label(words("ladder.phone_label"), exact=True).fill("Night desk")
        await sheet(mei).get_by_label(words("ladder.phone_number"), exact=True).fill("+1 202 555 0100")
        await saved(mei)
        (ladder,) = (await town.office.ladders()).items
        (step,) = ladder.steps
        assert (ladder.label, step.rotas, step.delay_s) == ("Adults", (rota.id,), 30)
        assert [(phone.label, phone.number) for phone in ladder.phones] == [("Night desk", "+12025550100")]
        await expect(page.get_by_text(words("ladder.end"), exact=True)).to_be_visible()

        # Who keeps a rota covers a time of it, and changes nothing else.
        await lee.page.reload()
        await lee.page.get_by_role("link", name="The rota that you keep").click()
        await expect(lee.button("rota.cover")).to_be_visible()
        await expect(lee.button("rota.new")).to_have_count(0)
        await expect(lee.button("rotation.new")).to_have_count(0)
        await lee.button("rota.cover").click()
        await sheet(lee).get_by_label(words("rota.who"), exact=True).select_option(lee.member.hex())
        await sheet(lee).get_by_label(words("rota.from"), exact=True).fill(field(dt.timedelta(days=20)))
        await sheet(lee).get_by_label(words("rota.until"), exact=True).fill(field(dt.timedelta(days=21)))
        await saved(lee)
        assert [one.member for one in (await only_rota(town)).overrides][3:] == [lee.member.hex()]

        # A device takes pages from the moment on at which its person says so.
        await lee.page.goto(f"{lee.url}/#/psychiatrist")
        switch = lee.page.get_by_role("switch")
        await expect(switch).to_have_attribute("aria-checked", "false")
        await switch.click()
        await expect(switch).to_have_attribute("aria-checked", "true")
        await lee.page.reload()
        await expect(lee.page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
