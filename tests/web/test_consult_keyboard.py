"""A consult without a mouse: asked for, rung for, accepted, advised and ended by keys, and each step told to a screen reader."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import oncall as o
from leeside_protocol.words import Discipline, Role
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import pattern, words
from tests.web.keys import MOUSE, Keys
from tests.web.test_consult import LINE, opened, ring

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UNMEANT_MS: Final = 1_700
"""A little longer than letters must have been quiet before one of them answers."""
PAGING: Final = words("stage.paging").split("{")[0]
LATE_MS: Final = 1_000
"""Long after the page of a consult stands there."""
LATE_NEWS: Final = f"""\
const heard = MessagePort.prototype.addEventListener;
MessagePort.prototype.addEventListener = function (kind, act, options) {{
    heard.call(this, kind, (event) => setTimeout(() => act(event), {LATE_MS}), options);
}};
"""
"""What the engine tells the screen of itself comes late; what it answers does not."""
ADVICE: Final = "Offer him water. No restraints."


async def test_a_consult_by_keyboard_from_the_ring_to_its_end(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with (
        opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, one.url(0), town, Role.PSYCHIATRIST, viewport=DESK) as (lee, _),
    ):
        for screen in (rosa, lee):
            await screen.context.add_init_script(MOUSE)
            await screen.page.reload()
        await town.office.create_ladder(o.NewLadder("Night", (o.LadderStep(members=(lee.member.hex(),)),)))

        # Two keys pressed, and a line between them; who asked is told aloud how far it is.
        keys = Keys(rosa)
        await keys.tab_to(words("urgency.urgent"))
        await keys.press("Enter")
        await keys.dialog(words("consult.ask"))
        await keys.tab_to(words("consult.line"), "textbox")
        await keys.write(LINE)
        await keys.tab_to(pattern("consult.go"))
        await keys.press("Enter")
        await keys.dialog(None)
        progress = rosa.page.get_by_role("status").filter(has_text=PAGING)
        await expect(progress).to_be_visible()
        keys = Keys(lee)

        # It is announced as an alert with its name, and says what is asked; the focus stands in it.
        await expect(ring(lee)).to_be_visible()
        await expect(ring(lee)).to_contain_text(LINE)
        await expect(ring(lee).locator(":focus")).to_have_count(1)
        # A key pressed by somebody who was just writing is not meant for it.
        await lee.page.keyboard.press("d")
        await expect(ring(lee)).to_be_visible()
        await lee.page.wait_for_timeout(UNMEANT_MS)
        await lee.page.keyboard.press("a")
        await expect(ring(lee)).to_have_count(0)
        await rosas.until("consult", "({consult}) => consult.state === 'in_session'")
        # Who is in the room is said, not only shown.
        await expect(lee.page.get_by_role("status").filter(has_text=words("room.who"))).to_be_visible()

        await keys.tab_to(words("recommend.do"))
        await keys.press("Enter")
        await keys.dialog(words("recommend.title"))
        await keys.at(words("recommend.label"))
        await keys.write(ADVICE)
        await keys.tab_to(words("recommend.send"))
        await keys.press("Enter")
        await keys.dialog(None)
        await rosas.until("row", "({row}) => row.kind === 'recommendation'")

        await keys.tab_to(words("do.end_consult"))
        await keys.press("Enter")
        await keys.tab_to(words("do.end_sure"))
        await lee.page.keyboard.press("Enter")
        await rosas.until("consult", "({consult}) => consult.state === 'ended'")
        for screen in (rosa, lee):
            assert await screen.page.evaluate("() => globalThis.pointed") == 0


async def test_who_asks_for_a_consult_stands_in_its_page_also_when_it_comes_late(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, _):
        await rosa.context.add_init_script(LATE_NEWS)
        await rosa.page.reload()
        keys = Keys(rosa)
        await keys.tab_to(words("urgency.urgent"))
        await keys.press("Enter")
        await keys.dialog(words("consult.ask"))
        await keys.tab_to(pattern("consult.go"))
        await keys.press("Enter")
        content = rosa.page.locator("#content:focus")
        await expect(content).to_contain_text(words("consult.unknown"))
        await expect(content).to_contain_text(words("do.cancel_consult"))
