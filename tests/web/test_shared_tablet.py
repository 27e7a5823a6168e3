"""A shared tablet: enrolled for one shift under a PIN, locked by it, and empty when the shift or the tries are over."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import MemberId
from leeside_protocol.messages import Beat, ServerMessage
from leeside_protocol.words import Discipline, Role
from tests.support.browser import comes_true
from tests.support.crooked import crooked
from tests.support.stage import Stage
from tests.support.town import Town, now_ms
from tests.support.web_words import pattern, words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow
PIN = "493817"
SHIFT_MS = 12 * 3_600_000


async def begin_shift(town: Town, tablet: Screen) -> None:
    """As an administrator's link for a shift is used: until the tablet is at work."""
    until_ms = now_ms() + SHIFT_MS
    made = await town.office.create_member(r.NewMember((Role.RESPONDER,), Discipline.CLINICIAN))
    tablet.member = MemberId(bytes.fromhex(made.id))
    new = r.NewEnrolment("tablet", shift=True, until_ms=until_ms)
    code = (await town.office.create_enrolment(tablet.member, new)).code
    root = town.directory.root_public.hex()
    await tablet.page.goto(f"{tablet.url}/#enrol={code}&root={root}&shift={until_ms}")
    await expect(tablet.page.get_by_text(pattern("enrol.shift"))).to_be_visible()
    # Nobody gets by without a PIN.
    await tablet.button("enrol.do").click()
    await expect(tablet.page.get_by_text(words("enrol.pin_wrong"))).to_be_visible()
    await tablet.page.get_by_label(words("enrol.pin_shared")).fill(PIN)
    await tablet.button("enrol.do").click()
    await tablet.short_code()
    await tablet.approved(town, Role.RESPONDER, Discipline.CLINICIAN)
    await is_at_work(tablet)


async def is_at_work(tablet: Screen) -> None:
    await expect(tablet.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()


async def try_pin(tablet: Screen, pin: str) -> None:
    await tablet.page.get_by_label(words("locked.pin"), exact=True).fill(pin)
    await tablet.button("locked.open").click()


async def databases(tablet: Screen) -> list[str]:
    found: list[str] = await tablet.page.evaluate(
        "async () => (await indexedDB.databases()).map((one) => one.name)"
    )
    return found


async def is_empty(tablet: Screen) -> None:
    await comes_true(tablet.page, "async () => (await indexedDB.databases()).length === 0")


def tries_left(number: int) -> str:
    """The sentence with the number of tries that are left; English has one form for one and another for more."""
    return "1 try is left." if number == 1 else f"{number} tries are left."


async def test_the_pin_opens_it_and_the_fifth_wrong_one_erases_it(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with Screen.opened(browser, one.url(0)) as tablet:
        tablet.watch.expect(r"40[13]")
        await begin_shift(town, tablet)

        await tablet.page.reload()
        await expect(tablet.page.get_by_role("heading", name=words("locked.title"))).to_be_visible()
        await try_pin(tablet, "000000")
        await expect(tablet.page.get_by_text(tries_left(4))).to_be_visible()
        # Counted on disk: loading the page anew gives no try back.
        await tablet.page.reload()
        await expect(tablet.page.get_by_text(tries_left(4))).to_be_visible()
        await try_pin(tablet, PIN)
        await is_at_work(tablet)

        await tablet.page.reload()
        for left in (4, 3, 2, 1):
            await try_pin(tablet, "000000")
            await expect(tablet.page.get_by_text(tries_left(left))).to_be_visible()
        assert await databases(tablet) == ["leeside"]
        await try_pin(tablet, "000000")
        await expect(tablet.page.get_by_role("heading", name=words("enrol.title"))).to_be_visible()
        await is_empty(tablet)


async def test_when_the_shift_is_over_by_the_servers_clock_it_says_so_and_is_empty(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    def later(message: ServerMessage) -> Sequence[ServerMessage]:
        """Twelve hours have gone by at the server."""
        if isinstance(message, Beat):
            return (msgspec.structs.replace(message, server_ms=message.server_ms + SHIFT_MS),)
        return (message,)

    async with (
        crooked(one.url(0), spare_port) as server,
        Screen.opened(browser, server.url) as tablet,
    ):
        tablet.watch.expect(r"40[13]")
        await begin_shift(town, tablet)
        server.says = later
        # A heartbeat tells the time, and the tablet looks at it: ten seconds each at most.
        ended = tablet.page.get_by_role("heading", name=words("ended.shift_over"))
        await expect(ended).to_be_visible()
        await expect(tablet.page.get_by_text(words("ended.shift_over_do"))).to_be_visible()
        await is_empty(tablet)
        await tablet.page.reload()
        await expect(tablet.page.get_by_role("heading", name=words("enrol.title"))).to_be_visible()
