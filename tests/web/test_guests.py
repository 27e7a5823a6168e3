"""An interpreter comes into a consult by a link: waits at the door, is let in, is seen, and is out within two seconds."""

from __future__ import annotations

import time
from typing import Final

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from leeside_protocol.words import Discipline, Role
from tests.support.browser import DESK, comes_true
from tests.support.patience import in_time
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_engine import Engine
from tests.support.web_words import words
from tests.web.screen import Screen
from tests.web.test_consult import REQUEST, ladder, opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GONE_S: Final = 2.0
_DATABASES: Final = "async () => (await indexedDB.databases()).map(({ name }) => name)"


async def _consult(rosas: Engine, lees: Engine) -> str:
    """Rosa asked, and Lee accepted."""
    consult: str = await rosas.call("requestConsult", REQUEST)
    await lees.until("consult", "({consult}) => consult.ringing && consult.opened")
    await lees.call("actOnConsult", consult, "accept")
    await rosas.until("consult", "({consult}) => consult.state === 'accepted'")
    return consult


async def _enter(screen: Screen, consult: str) -> None:
    await screen.page.evaluate(f"() => {{ location.hash = '#/consult/{consult}/room' }}")
    await expect(screen.button("guests.invite")).to_be_visible()


async def _link(screen: Screen) -> str:
    """Made by what stands on the screen, and read from it."""
    await screen.button("guests.invite").click()
    await screen.button("guests.make").click()
    await expect(screen.page.get_by_role("img", name=words("guests.picture"))).to_be_visible()
    return await screen.page.get_by_label(words("guests.link"), exact=True).input_value()


def _in_sheet(screen: Screen, key: str) -> Locator:
    return screen.page.get_by_role("dialog").get_by_role("button", name=words(key), exact=True)


def _title(page: Page, key: str) -> Locator:
    return page.get_by_role("heading", name=words(key), exact=True)


async def test_an_interpreter_comes_by_a_link_is_let_in_and_is_ended(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST, viewport=DESK) as (lee, lees),
        Screen.opened(browser, two.url(0)) as carla,
        Screen.opened(browser, two.url(0)) as second,
    ):
        # Refused is what they are at the end, and the second from the first.
        for guest in (carla, second):
            guest.watch.expect("40[134]")
        await ladder(city, lee.member)
        consult = await _consult(rosas, lees)
        await _enter(rosa, consult)
        await _enter(lee, consult)
        link = await _link(rosa)

        # She waits at the door. The link stands nowhere in her browser any more.
        asked: list[str] = []
        carla.page.on("request", lambda request: asked.append(request.url + (request.post_data or "")))
        await carla.page.goto(link)
        await expect(_title(carla.page, "guest.waiting")).to_be_visible()
        assert carla.page.url == f"{two.url(0)}/guest"
        secret = link.rpartition(".")[2]
        assert asked
        assert not any(secret in one for one in asked)

        # Whoever made the link lets her in; each sees the other.
        await _in_sheet(rosa, "guests.let_in").click()
        await expect(_title(carla.page, "guest.in")).to_be_visible()
        await expect(carla.page.get_by_role("listitem")).to_have_count(2)
        await expect(carla.page.get_by_text(words("role.psychiatrist"), exact=True)).to_be_visible()
        await rosa.page.keyboard.press("Escape")
        for screen in (rosa, lee):
            await expect(screen.page.locator(".guest", has_text=words("role.interpreter"))).to_be_visible()

        # A link serves once, and says so to the second who opens it.
        await second.page.goto(link)
        await expect(_title(second.page, "guest.over.used")).to_be_visible()
        await comes_true(second.page, f"async () => !(await ({_DATABASES})()).includes('leeside-guest')")

        # A page that is loaded anew comes back to its seat.
        await carla.page.reload()
        await expect(_title(carla.page, "guest.in")).to_be_visible()
        assert "leeside-guest" in await carla.page.evaluate(_DATABASES)

        # The psychiatrist, who did not invite her, ends it.
        async def ended() -> float:
            if await lee.page.locator(".guest").count() == 0:
                await carla.page.goto(await _link(rosa))
                await _in_sheet(rosa, "guests.let_in").click()
                await expect(_title(carla.page, "guest.in")).to_be_visible()
                await rosa.page.keyboard.press("Escape")
            await lee.page.locator(".guest").get_by_role("button", name=words("guests.end")).click()
            began_s = time.monotonic()
            over = _title(carla.page, "guest.over.ended").or_(_title(carla.page, "guest.over.removed"))
            await expect(over).to_be_visible()
            took_s = time.monotonic() - began_s
            await comes_true(carla.page, f"async () => !(await ({_DATABASES})()).includes('leeside-guest')")
            for screen in (rosa, lee):
                await expect(screen.page.locator(".guest")).to_have_count(0)
            return took_s

        await in_time(GONE_S, ended)


async def test_somebody_else_by_the_link_is_shown_as_such_and_refused(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with (
        opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, one.url(0), town, Role.PSYCHIATRIST) as (lee, lees),
        Screen.opened(browser, one.url(0)) as mallory,
    ):
        await ladder(town, lee.member)
        mallory.watch.expect("40[134]")
        consult = await _consult(rosas, lees)
        await _enter(rosa, consult)
        link = await _link(rosa)
        # The code is all that a server knows: the secret is guessed.
        await mallory.page.goto(f"{link.rpartition('.')[0]}.{'A' * 43}")
        await expect(_title(mallory.page, "guest.waiting")).to_be_visible()
        await expect(rosa.page.get_by_role("dialog").get_by_text(words("guests.false"))).to_be_visible()
        await expect(rosa.button("guests.let_in")).to_have_count(0)
        await _in_sheet(rosa, "guests.refuse").click()
        await expect(_title(mallory.page, "guest.over.ended")).to_be_visible()


async def test_a_guest_leaves_by_itself(browser: Browser, one: Stage, town: Town) -> None:
    async with (
        opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, one.url(0), town, Role.PSYCHIATRIST) as (lee, lees),
        Screen.opened(browser, one.url(0)) as carla,
    ):
        await ladder(town, lee.member)
        carla.watch.expect("40[134]")
        consult = await _consult(rosas, lees)
        await _enter(rosa, consult)
        await carla.page.goto(await _link(rosa))
        await _in_sheet(rosa, "guests.let_in").click()
        await expect(_title(carla.page, "guest.in")).to_be_visible()
        await carla.button("guest.leave").click()
        await carla.button("guest.leave_sure").click()
        await expect(_title(carla.page, "guest.over.left")).to_be_visible()
        await rosa.page.keyboard.press("Escape")
        await expect(rosa.page.locator(".guest")).to_have_count(0)
