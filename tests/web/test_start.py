"""How a page begins: with a secret in its address, in a second tab, without a link, and when it is enrolled but not approved."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import Discipline, Role
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def test_a_link_leaves_the_address_at_once_and_a_reload_goes_on_waiting(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with Screen.opened(browser, one.url(0)) as ana:
        shown = await ana.use_link(town, Role.RESPONDER, Discipline.CLINICIAN)
        assert "enrol" not in ana.page.url
        assert await ana.page.evaluate("() => history.length") == 2  # the empty page, and this one
        await ana.page.reload()
        await expect(ana.page.get_by_text(words("pending.title"))).to_be_visible()
        assert await ana.short_code() == shown
        await ana.approved(town, Role.RESPONDER, Discipline.CLINICIAN)
        await expect(ana.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()

        # A second tab does not begin by itself; it takes over when a person says so, and the first one tells.
        second = await ana.context.new_page()
        await second.goto(ana.url)
        await expect(second.get_by_role("heading", name=words("tab.title"))).to_be_visible()
        await expect(ana.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()
        await second.get_by_role("button", name=words("tab.here")).click()
        await expect(second.get_by_role("navigation", name=words("nav.label"))).to_be_visible()
        await expect(ana.page.get_by_role("heading", name=words("ended.other_tab"))).to_be_visible()
        # And back.
        await ana.page.get_by_role("button", name=words("tab.here")).click()
        await expect(ana.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()
        await expect(second.get_by_role("heading", name=words("ended.other_tab"))).to_be_visible()
