"""A consult between browsers on two nodes: requested, rung for, accepted, talked over and read back; climbing, and without a
server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Error

from leeside_protocol import oncall as o
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Discipline, Role
from tests.support.browser import DESK
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_engine import Engine, listening
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REQUEST: Final = {
    "incident": None,
    "unit": None,
    "urgency": "urgent",
    "language": "es",
    "interpreter": True,
    "specialty": "",
    "summary": "He says that he hears his brother.",
}
SHORT_S: Final = 5
"""The shortest delay that a step may have."""


@asynccontextmanager
async def opened(
    browser: Browser, url: str, town: Town, role: Role, discipline: Discipline | None = None, **options: Any
) -> AsyncGenerator[tuple[Screen, Engine]]:
    """Somebody's enrolled browser, and the engine in it."""
    async with Screen.opened(browser, url, **options) as screen:
        await listening(screen.context)
        await screen.page.close()
        screen.page = await screen.context.new_page()
        await screen.enrol(town, role, discipline)
        engine = Engine(screen.page)
        await engine.until("link", "(told) => told.link.state === 'online'")
        yield screen, engine


async def ladder(town: Town, *steps: MemberId) -> None:
    """One member a step, with the shortest delay."""
    written = tuple(o.LadderStep(members=(member.hex(),), delay_s=SHORT_S) for member in steps)
    phones = (o.Phone("Night desk", "+12025550100"),)
    await town.office.create_ladder(o.NewLadder("Night", written, phones))


async def says(speaker: Engine, hearer: Engine, channel: str, text: str) -> None:
    said = await speaker.call("send", channel, text, "routine", None)
    heard = await hearer.until("row", f"({{row}}) => row.id === '{said}'")
    assert heard["row"]["text"] == text


async def test_from_the_request_to_a_recommendation_that_was_read_back(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (_, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST, viewport=DESK) as (lee, lees),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST) as (kim, kims),
    ):
        await ladder(city, lee.member, kim.member)
        consult = await rosas.call("requestConsult", REQUEST)
        told = await lees.until("consult", "({consult}) => consult.ringing && consult.opened")
        assert told["consult"]["id"] == consult
        assert told["consult"]["summary"] == REQUEST["summary"]
        await lees.until("ring", f"(told) => told.consult === '{consult}' && told.why === 'page'")

        # Whoever comes reads and talks at once, and nobody else of the ladder does any more.
        await lees.call("actOnConsult", consult, "accept")
        accepted = await rosas.until("consult", "({consult}) => consult.state === 'accepted'")
        assert accepted["consult"]["acceptedBy"] == lee.member.hex()
        channel = accepted["consult"]["channel"]
        with pytest.raises(Error, match=r"already_accepted"):
            await kims.call("actOnConsult", consult, "accept")
        await says(lees, rosas, channel, "I am here.")
        await says(rosas, lees, channel, "We are in the kitchen.")
        await lees.call("actOnConsult", consult, "join")
        await rosas.until("consult", "({consult}) => consult.state === 'in_session'")

        # It sounds until the asking side has said it in its own words.
        said = await lees.call("recommend", channel, "Offer him water. No restraints.")
        await rosas.until("sound", f"(told) => told.id === '{said}'")
        await rosas.call("readBack", channel, said, "Water, and no restraints.")
        read = await lees.until("row", f"({{row}}) => row.id === '{said}' && row.readBack.length === 1")
        assert read["row"]["readBack"][0]["text"] == "Water, and no restraints."

        await lees.call("actOnConsult", consult, "end")
        await rosas.until("consult", "({consult}) => consult.state === 'ended'")


async def test_no_answer_climbs_to_the_supervisor_who_is_alarmed_until_somebody_takes_it(
    browser: Browser, two: Stage, city: Town
) -> None:
    async with (
        opened(browser, two.url(0), city, Role.RESPONDER, Discipline.CLINICIAN) as (_, rosas),
        opened(browser, two.url(1), city, Role.PSYCHIATRIST) as (lee, lees),
        opened(browser, two.url(0), city, Role.SUPERVISOR, viewport=DESK) as (_, bosses),
    ):
        await ladder(city, lee.member)
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
        await bosses.call("actOnConsult", consult, "take")
        taken = await rosas.until("consult", "({consult}) => consult.takenBy !== null")
        assert taken["consult"]["tried"][-1]["event"] == "taken"


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
        consult = await rosas.call("requestConsult", REQUEST)
        waiting = await rosas.until("consult", f"({{consult}}) => consult.id === '{consult}'")
        assert waiting["consult"]["state"] == "unconfirmed"
        assert await rosas.call("phoneTree") == [{"label": "Night desk", "number": "+12025550100"}]
        await one.start()
        await lees.until("consult", f"({{consult}}) => consult.id === '{consult}' && consult.ringing", 60_000)
