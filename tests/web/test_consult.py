"""A consult between browsers on two nodes: requested, rung for, accepted, talked over and read back; climbing, and without a
server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Error, Locator, expect

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import MemberId, PageId
from leeside_protocol.limits import STEP_DELAY_S
from leeside_protocol.words import Discipline, Role, TargetState
from leeside_server.core.paging import PageKind, push_payload
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_engine import Engine, asleep, listening
from tests.support.web_words import words
from tests.web.pushing import pusher
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REQUEST: Final[dict[str, Any]] = {
    "incident": None,
    "unit": None,
    "urgency": "urgent",
    "language": "es",
    "interpreter": True,
    "specialty": "",
    "summary": "He says that he hears his brother.",
}
DETAILS: Final = {
    "typeCode": "EDP",
    "district": "Harbour",
    "address": "Quay Street 4",
    "place": None,
    "narrative": "The sister called.",
    "disposition": "",
}
LINE: Final = "He has not slept for three days."
SHORT_S: Final = 5
"""The shortest delay that a step may have."""
UNMEANT_MS: Final = 700
"""A little longer than a ring that has just begun takes no tap for an answer."""
SHOWN: Final = """\
async () => {
    for (let look = 0; look < 300; look++) {
        const shown = (await registration.getNotifications()).map(({ title }) => title);
        if (shown.length > 0) return shown;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return [];
}
"""
"""What stands on the device, once something does."""
TREE_S: Final = 25
"""Ten seconds without a word of the server, and what a busy machine takes to show it; before the link is given up."""


@asynccontextmanager
async def opened(
    browser: Browser, url: str, town: Town, role: Role, discipline: Discipline | None = None, **options: Any
) -> AsyncGenerator[tuple[Screen, Engine]]:
    """Somebody's enrolled browser, and the engine in it."""
    async with Screen.opened(browser, url, **options) as screen:
        await listening(screen.context)
        await screen.page.close()
        screen.page = await screen.context.new_page()
        made = await town.office.create_member(r.NewMember((role,), discipline))
        if role is Role.RESPONDER:
            await town.office.create_unit(r.NewUnit((made.id,)))
        await screen.enrol(town, role, discipline, member=MemberId(bytes.fromhex(made.id)))
        engine = Engine(screen.page)
        await engine.until("link", "(told) => told.link.state === 'online'")
        yield screen, engine


async def ladder(town: Town, *steps: MemberId, delay_s: int = STEP_DELAY_S) -> None:
    """One member a step. Whoever is rung for has the time that people have, unless a story is about its end."""
    written = tuple(o.LadderStep(members=(member.hex(),), delay_s=delay_s) for member in steps)
    phones = (o.Phone("Night desk", "+12025550100"),)
    await town.office.create_ladder(o.NewLadder("Night", written, phones))


async def asks(rosa: Screen, line: str) -> None:
    """Two taps, and one sealed line between them."""
    asking = rosa.page.get_by_role("region", name=words("consult.ask"))
    await asking.get_by_role("button", name=words("urgency.urgent"), exact=True).click()
    await rosa.page.get_by_label(words("consult.line")).fill(line)
    await rosa.button("consult.go").click()
    await expect(rosa.page.get_by_role("dialog")).to_have_count(0)


def ring(screen: Screen) -> Locator:
    """What stands over everything while a consult rings."""
    return screen.page.get_by_role("alertdialog", name=words("ring.title"))


async def answers(screen: Screen, key: str) -> None:
    """A tap that came too soon was on its way to something else, and counts for nothing."""
    await expect(ring(screen)).to_be_visible()
    await screen.page.wait_for_timeout(UNMEANT_MS)
    await ring(screen).get_by_role("button", name=words(key), exact=True).click()
    await expect(ring(screen)).to_have_count(0)


async def accepts(screen: Screen) -> None:
    await answers(screen, "do.accept")


async def test_from_the_request_to_a_recommendation_that_was_read_back(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST, viewport=DESK) as (lee, lees),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST) as (kim, kims),
    ):
        await ladder(city, lee.member, kim.member)
        await asks(rosa, LINE)
        await expect(ring(lee)).to_contain_text(LINE)
        told = await lees.until("consult", "({consult}) => consult.ringing")
        await lees.until("ring", "(told) => told.why === 'page'")

        # Whoever comes reads and talks at once, and nobody else of the ladder does any more.
        await accepts(lee)
        with pytest.raises(Error, match=r"already_accepted"):
            await kims.call("actOnConsult", told["consult"]["id"], "accept")
        await rosa.page.get_by_role("link", name=words("do.open_room")).click()
        await lee.say("I am here.")
        await rosa.sees("I am here.")
        await rosa.say("We are in the kitchen.")
        await lee.sees("We are in the kitchen.")
        await rosas.until("consult", "({consult}) => consult.state === 'in_session'")
        await expect(ring(kim)).to_have_count(0)
        assert await kim.page.get_by_text("We are in the kitchen.").count() == 0

        # It sounds until the asking side has said it in its own words, and the screen shows which.
        await lee.button("recommend.do").click()
        await lee.page.get_by_label(words("recommend.label")).fill("Offer him water. No restraints.")
        await lee.button("recommend.send").click()
        await expect(lee.page.get_by_role("dialog")).to_have_count(0)
        await rosas.until("sound")
        await rosa.page.get_by_role("button", name=words("readback.title"), exact=True).first.click()
        await rosa.page.get_by_label(words("readback.label")).fill("Water, and no restraints.")
        sheet = rosa.page.get_by_role("dialog")
        await sheet.get_by_role("button", name=words("readback.send"), exact=True).click()
        await expect(sheet).to_have_count(0)
        said = lee.messages.get_by_role("article").filter(has_text="Offer him water. No restraints.")
        await expect(said).to_contain_text("Water, and no restraints.")

        await lee.button("do.end_consult").click()
        await lee.button("do.end_sure").click()
        await rosas.until("consult", "({consult}) => consult.state === 'ended'")


async def test_no_answer_climbs_to_the_supervisor_who_is_alarmed_until_somebody_takes_it(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (_, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST) as (lee, lees),
        opened(browser, two.url(0), city, Role.SUPERVISOR, viewport=DESK) as (boss, bosses),
    ):
        await ladder(city, lee.member, delay_s=SHORT_S)
        consult = await rosas.call("requestConsult", REQUEST)
        await lees.until("consult", "({consult}) => consult.ringing")
        told = await bosses.until("consult", "({consult}) => consult.ringing")
        assert told["consult"]["step"] == 1
        assert told["consult"]["summary"] == REQUEST["summary"]
        await lees.until("consult", "({consult}) => !consult.ringing")
        tried = (await rosas.until("consult", "({consult}) => consult.step === 1"))["consult"]["tried"]
        assert [line["event"] for line in tried] == ["paged", "timed_out", "paged"]

        # The last step goes by, too: from here on it is an alarm, and it does not end by itself.
        await rosas.call("actOnConsult", consult, "escalate")
        await rosas.until("consult", "({consult}) => consult.state === 'exhausted'")
        await bosses.until("ring", "(told) => told.why === 'alarm' && told.times >= 2")
        await ring(boss).get_by_role("button", name=words("do.take")).click()
        await expect(ring(boss)).to_have_count(0)
        taken = await rosas.until("consult", "({consult}) => consult.takenBy !== null")
        assert taken["consult"]["tried"][-1]["event"] == "taken"
        await rosas.call("actOnConsult", consult, "cancel")

        # "5 minutes" pages the backup at once; "no" of all who are left is the alarm at once.
        later = await rosas.call("requestConsult", {**REQUEST, "urgency": "important"})
        await answers(lee, "do.hold")
        held = await rosas.until(
            "consult", f"({{consult}}) => consult.id === '{later}' && consult.step === 1"
        )
        assert held["consult"]["heldUntilMs"] > 0
        assert [line["event"] for line in held["consult"]["tried"]] == ["paged", "held", "paged"]
        await answers(boss, "do.decline")
        await rosas.until(
            "consult", f"({{consult}}) => consult.id === '{later}' && consult.state === 'exhausted'"
        )


async def test_a_server_that_dies_leaves_the_phone_tree_and_the_request_which_goes_when_it_is_back(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with (
        opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (rosa, rosas),
        opened(browser, one.url(0), town, Role.PSYCHIATRIST) as (lee, lees),
    ):
        await ladder(town, lee.member)
        for screen in (rosa, lee):
            screen.watch.expect("ERR_CONNECTION|WebSocket")
        # Known on the device since the engine first asked for it.
        first = await rosas.call("requestConsult", REQUEST)
        await lees.until("consult", "({consult}) => consult.ringing")
        await rosas.call("actOnConsult", first, "cancel")
        await one.kill()
        await asks(rosa, LINE)
        await expect(rosa.page.get_by_text(words("stage.unconfirmed"))).to_be_visible()
        tree = rosa.page.get_by_role("region", name=words("consult.phone_tree"))
        await expect(tree.get_by_role("link", name="Night desk")).to_have_attribute(
            "href", "tel:+12025550100", timeout=TREE_S * 1_000
        )
        # Whoever is on call is back before the phone is: a page needs somebody whom it can reach.
        await rosa.context.set_offline(True)
        await lees.forget()
        await one.start()
        await lees.until("link", "(told) => told.link.state === 'online'")
        await rosa.context.set_offline(False)
        await expect(ring(lee)).to_contain_text(LINE)
        await expect(tree).to_have_count(0)


async def test_the_one_who_comes_is_given_what_was_said_before_and_a_channel_of_the_clinicians_own(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (_, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST) as (lee, lees),
        opened(browser, two.url(0), city, Role.DISPATCHER, viewport=DESK) as (desk, desks),
    ):
        await ladder(city, lee.member)
        incident = await desks.call("openIncident", 2, DETAILS)
        opening = await desks.until("incident", "({incident}) => incident.operations !== null")
        operations = opening["incident"]["operations"]
        await desks.call("send", operations, "He took no pills today.", "routine", None)

        consult = await rosas.call("requestConsult", {**REQUEST, "incident": incident})
        await lees.until("consult", "({consult}) => consult.ringing && consult.opened")
        await lees.call("actOnConsult", consult, "accept")
        await lees.until("consult", "({consult}) => consult.context")
        await lees.reads(operations, "He took no pills today.")

        side = await lees.call("openSide", consult, "consent", "He agreed, before his sister.")
        for engine in (lees, rosas):
            await engine.until("consult", f"({{consult}}) => consult.side === '{side}'")
        said = await rosas.call("send", side, "For clinicians.", "routine", None)
        heard = await lees.until("row", f"({{row}}) => row.id === '{said}'")
        assert heard["row"]["channel"] == side
        # The desk follows the consult, and reads nothing clinical.
        told = await desks.until("consult", "({consult}) => consult.state === 'accepted'")
        assert (told["consult"]["side"], told["consult"]["channel"] is None) == (None, False)
        # It stands on the desk for as long as it goes on, and the incident does not end before it.
        running = desk.page.get_by_role("region", name=words("consults.title"))
        await running.get_by_role("button", name=words("calls.look")).click()
        await desk.page.keyboard.press("x")
        sheet = desk.page.get_by_role("dialog")
        await expect(sheet.get_by_text(words("close.consult_do"))).to_be_visible()
        closes = sheet.get_by_role("contentinfo").get_by_role("button", name=words("close.do"), exact=True)
        await expect(closes).to_be_disabled()
        await lees.call("actOnConsult", consult, "end")
        await expect(closes).to_be_enabled()
        await expect(running).to_have_count(0)


async def test_a_tab_that_sleeps_is_woken_by_a_push(browser: Browser, one: Stage, town: Town) -> None:
    sofia = await town.enrol("sofia", Role.SUPERVISOR)
    async with (
        sofia.desk(one.url(0)) as office,
        opened(browser, one.url(0), town, Role.RESPONDER, Discipline.CLINICIAN) as (_, rosas),
        opened(browser, one.url(0), town, Role.PSYCHIATRIST, permissions=["notifications"]) as (lee, _),
    ):
        await ladder(town, lee.member)
        push = await pusher(lee)
        await Engine(lee.page).until("link", "(told) => told.link.state === 'online'")
        sleeping = await asleep(browser, lee.page)
        consult = await rosas.call("requestConsult", REQUEST)
        await rosas.until("consult", "({consult}) => consult.targets.length === 1")
        page = (await office.consult(bytes.fromhex(consult))).targets[0].page
        assert page is not None

        # The engine sleeps: the page stands in its inbox, and nobody has said that it came.
        paths = {way.path: way.state for way in (await office.page(bytes.fromhex(page))).paths}
        assert paths == {"socket": TargetState.SENT}

        # The service worker does not, and says that a consult waits, and no more.
        await push(push_payload(PageKind.CONSULT, PageId(bytes.fromhex(page))).decode())
        worker = lee.context.service_workers[0]
        assert await worker.evaluate(SHOWN) == ["A consult is waiting"]

        # Its person opens it: it has been ringing all the while.
        await sleeping.wake()
        await expect(ring(lee)).to_contain_text(REQUEST["summary"])
        await accepts(lee)
        await rosas.until("consult", "({consult}) => consult.state !== 'paging'")
