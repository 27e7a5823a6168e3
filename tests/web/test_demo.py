"""The demo's links, opened as a person opens them: each leads to a screen at work, with nobody's help."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import DESK, PHONE, watched
from tests.support.demo import demo
from tests.support.web_words import words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def come_in(page: Page, link: str) -> None:
    """Open the link and set the device up; nobody approves it by hand."""
    await page.goto(link)
    await page.get_by_role("button", name=words("enrol.do")).click()
    await expect(page.get_by_text(words("pending.title"))).to_have_count(0)
    await expect(page.get_by_role("button", name=words("enrol.do"))).to_have_count(0)


async def test_each_link_leads_to_a_screen_at_work(browser: Browser, built: Path, tmp_path: Path) -> None:
    async with demo(tmp_path, "--pace", "0.5") as running:
        url = running.invitation["url"]
        async with (
            watched(browser, url, viewport=PHONE) as (phone, _),
            watched(browser, url, viewport=DESK) as (desk, _),
            watched(browser, url, viewport=DESK) as (office, _),
        ):
            responder, dispatcher, admin = (
                await phone.new_page(),
                await desk.new_page(),
                await office.new_page(),
            )
            await come_in(responder, running.links["responder"])
            await expect(responder.get_by_text("Crisis 7").first).to_be_visible()
            await come_in(dispatcher, running.links["dispatcher"])
            for unit in ("Crisis 7", "Crisis 9"):
                await expect(dispatcher.get_by_text(unit).first).to_be_visible()
            await come_in(admin, running.links["admin"])
        assert await running.end() == 0
