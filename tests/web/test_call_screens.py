"""What is tapped in a call, by people with real browsers, through the real bridge: consent, what is written, leaving."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, Locator, Page, ViewportSize, expect

from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.calling import Caller, accepted
from tests.web.test_call import bridge, cameras, harbour

__all__ = ["bridge", "cameras", "harbour"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PHONE: Final = ViewportSize(width=360, height=740)
DESK: Final = ViewportSize(width=1440, height=900)


def button(page: Page, key: str) -> Locator:
    return page.get_by_role("button", name=words(key), exact=True)


async def withdraws(one: Caller) -> None:
    """The person took it back: a tap, and one that confirms."""
    await button(one.screen.page, "consent.withdraw_label").click()
    await button(one.screen.page, "consent.withdraw_sure").click()


async def test_consent_is_withdrawn_and_an_emergency_recorded_by_taps(
    cameras: Browser,
    bridge: Stage,
    harbour: Town,
) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        rosa, lee = night.rosa.screen.page, night.lee.screen.page
        await rosa.set_viewport_size(PHONE)
        await lee.set_viewport_size(DESK)
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        await night.rosa.media.decodes()
        await night.lee.media.decodes()

        # Lee takes it back on Rosa's word. Both screens say so, and who treats goes on.
        await withdraws(night.lee)
        for page in (rosa, lee):
            await expect(page.get_by_text(words("consent.withdrawn_do"))).to_be_visible()
        await night.lee.media.decodes()

        # Two taps, and it stands on both screens with its reason.
        await button(rosa, "consent.emergency").click()
        await button(rosa, "emergency.danger_to_life").click()
        for page in (rosa, lee):
            await expect(page.locator(".notes .emergency")).to_be_visible()
        await lee.locator(".notes .about").click()
        await expect(lee.get_by_role("dialog")).to_contain_text(words("emergency.danger_to_life"))
        await lee.keyboard.press("Escape")

        # What is written stands under the pictures on the telephone, and beside them on the desk.
        await rosa.get_by_role("toolbar").get_by_role("button", name=words("control.chat")).click()
        await rosa.keyboard.type("He took nothing.")
        await button(rosa, "do.send").click()
        await expect(lee.locator(".talk")).to_contain_text("He took nothing.")
        await expect(rosa.locator(".seats video").first).to_be_visible()

        # On another page the call goes on, and is a tap away.
        await rosa.evaluate("() => { location.hash = '#/phones' }")
        await night.rosa.media.hears()
        await rosa.get_by_role("link", name=words("around.back")).click()
        await night.rosa.media.decodes()

        # Who leaves is told that the others are there, and comes back in one tap.
        await button(rosa, "control.leave").click()
        await rosa.get_by_role("dialog").get_by_role("button", name=words("leave.do"), exact=True).click()
        await expect(rosa.get_by_text(words("why.left_do"))).to_be_visible()
        await expect(lee.get_by_text(words("call.alone"))).to_be_visible()
        await button(rosa, "why.again").click()
        await night.lee.media.decodes()


async def test_who_joins_early_is_in_as_soon_as_consent_is_recorded(
    cameras: Browser,
    bridge: Stage,
    harbour: Town,
) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        rosa, lee = night.rosa.screen.page, night.lee.screen.page
        await night.rosa.engine.call("withdrawConsent", night.consult)
        await night.lee.engine.until("consent", "({consent}) => consent?.state === 'withdrawn'")
        await night.lee.joins(night.consult)
        await expect(lee.get_by_text(words("why.no_consent"))).to_be_visible()
        await night.rosa.joins(night.consult)
        await button(rosa, "consent.again").click()
        await button(rosa, "consent.do").click()
        for one in (night.rosa, night.lee):
            await one.media.decodes()
