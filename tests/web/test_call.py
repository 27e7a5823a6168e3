"""A consult's call between real browsers, through the real bridge: sealed on every path, and decoded on every side."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Discipline, Role
from tests.faults.node import NodeSettings, VideoBy
from tests.support.call_browser import Media, call_browser_running, watching
from tests.support.stage import Stage, one_node
from tests.support.town import Town, now_ms, open_town
from tests.support.web_engine import Engine, listening
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

REQUEST: Final[dict[str, Any]] = {
    "incident": None,
    "unit": None,
    "urgency": "urgent",
    "language": "",
    "interpreter": False,
    "specialty": "",
    "summary": "",
}


def consent(**change: Any) -> dict[str, Any]:
    """As a page records it."""
    return {
        "by": "person",
        "scope": "This call, with picture.",
        "purpose": "Advice tonight.",
        "recipients": ["psychiatrist", "supervisor"],
        "expiresMs": now_ms() + 3_600_000,
        "method": "spoken",
        "capacity": "",
        "interpreter": False,
        "reason": "",
        **change,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cameras(built: Path) -> AsyncGenerator[Browser]:
    async with call_browser_running() as running:
        yield running


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """A node that holds a bridge."""
    with one_node(tmp_path_factory.mktemp("bridge"), NodeSettings(video_by=VideoBy())) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def harbour(bridge: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    await bridge.ready()
    before = len(bridge.complaints())
    async with open_town(bridge.url(0), bridge.node(0).codes, tmp_path / "people") as town:
        yield town
    assert bridge.complaints()[before:] == []


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody's enrolled browser, with a camera."""

    screen: Screen
    engine: Engine
    media: Media

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, browser: Browser, url: str, town: Town, role: Role, discipline: Discipline | None = None
    ) -> AsyncGenerator[Caller]:
        async with Screen.opened(browser, url) as screen:
            await listening(screen.context)
            await watching(screen.context)
            await screen.page.close()
            screen.page = await screen.context.new_page()
            made = await town.office.create_member(r.NewMember((role,), discipline))
            if role is Role.RESPONDER:
                await town.office.create_unit(r.NewUnit((made.id,)))
            await screen.enrol(town, role, discipline, member=MemberId(bytes.fromhex(made.id)))
            engine = Engine(screen.page)
            await engine.until("link", "(told) => told.link.state === 'online'")
            yield cls(screen, engine, Media(screen.page))

    async def joins(self, consult: str) -> None:
        """One tap, on the consult's own page."""
        page = self.screen.page
        await page.evaluate(f"() => {{ location.hash = '#/consult/{consult}/room' }}")
        door = page.get_by_role("button", name=words("door.start")).or_(
            page.get_by_role("button", name=words("door.join"))
        )
        await door.click()

    async def is_inside(self) -> None:
        await expect(self.screen.page.get_by_role("button", name=words("call.leave"))).to_be_visible()


@dataclass(frozen=True, slots=True)
class Night:
    """A consult that was accepted, with a consent in force, between a responder and a psychiatrist."""

    rosa: Caller
    lee: Caller
    consult: str
    channel: str


@asynccontextmanager
async def accepted(cameras: Browser, url: str, town: Town) -> AsyncGenerator[Night]:
    async with AsyncExitStack() as stack:
        rosa = await stack.enter_async_context(
            Caller.opened(cameras, url, town, Role.RESPONDER, Discipline.CLINICIAN)
        )
        lee = await stack.enter_async_context(Caller.opened(cameras, url, town, Role.PSYCHIATRIST))
        step = o.LadderStep(members=(lee.screen.member.hex(),), delay_s=60)
        await town.office.create_ladder(o.NewLadder("Night", (step,), ()))
        consult = await rosa.engine.call("requestConsult", REQUEST)
        await lee.engine.until("consult", "({consult}) => consult.ringing")
        await lee.engine.call("actOnConsult", consult, "accept")
        told = await rosa.engine.until(
            "consult", "({consult}) => consult.acceptedBy !== null && consult.channel"
        )
        await lee.engine.until("consult", "({consult}) => consult.channel !== null")
        await rosa.engine.call("recordConsent", consult, consent())
        await lee.engine.until("consent", "({consent}) => consent?.state === 'in_force'")
        yield Night(rosa, lee, consult, told["consult"]["channel"])


async def test_two_browsers_see_and_hear_each_other(cameras: Browser, bridge: Stage, harbour: Town) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for one in (night.rosa, night.lee):
            await one.media.decodes()
            await one.media.hears()
