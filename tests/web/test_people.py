"""A supervisor writes what a ladder's step may ask of somebody."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import Role
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def test_what_a_supervisor_writes_of_somebody_is_what_the_server_pages_by(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with Screen.opened(browser, one.url(0)) as mei:
        await mei.enrol(town, Role.SUPERVISOR)
        await mei.page.goto(f"{mei.url}/#/supervisor/people")
        await mei.page.get_by_text(words("skills.open"), exact=True).first.click()
        phone = mei.page.get_by_role("textbox", name=words("skills.phone"))
        await phone.fill("555 0100")
        await mei.page.get_by_role("checkbox", name="Spanish").check()
        await mei.page.get_by_role("textbox", name=words("skills.specialties")).fill("children, addiction")
        await mei.button("do.save").click()
        await expect(mei.page.get_by_text(words("skills.phone_fault"))).to_be_visible()
        await phone.fill("+1 555 010 0100")
        await mei.button("do.save").click()
        await expect(mei.page.get_by_role("dialog")).to_have_count(0)
        kept = [one for one in (await town.office.members()).items if one.languages]
        assert [(one.languages, one.specialties, one.phone) for one in kept] == [
            (("es",), ("children", "addiction"), "+15550100100")
        ]
