"""A consult's call between real browsers, through the real bridge: sealed on every path, and decoded on every side."""

from __future__ import annotations

import contextlib
import os
import signal
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REQUEST: Final[dict[str, Any]] = {
    "incident": None,
    "unit": None,
    "urgency": "urgent",
    "language": "",
    "interpreter": False,
    "specialty": "",
    "summary": "",
}


DISCIPLINES: Final = {Role.RESPONDER: Discipline.CLINICIAN}


async def member_of(town: Town, role: Role) -> MemberId:
    made = await town.office.create_member(r.NewMember((role,), DISCIPLINES.get(role)))
    return MemberId(bytes.fromhex(made.id))


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
    # A worker that a story killed is no complaint.
    told = [line for line in bridge.complaints()[before:] if "worker_ended" not in line]
    assert told == []


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody's enrolled browser, with a camera."""

    screen: Screen
    engine: Engine
    media: Media

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, browser: Browser, url: str, town: Town, role: Role, member: MemberId, before: str = ""
    ) -> AsyncGenerator[Caller]:
        """Enrolled and online. `before`: a script that runs in every page first."""
        async with Screen.opened(browser, url) as screen:
            await listening(screen.context)
            await watching(screen.context)
            if before:
                await screen.context.add_init_script(before)
            await screen.page.close()
            screen.page = await screen.context.new_page()
            await screen.enrol(town, role, DISCIPLINES.get(role), member=member)
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

    async def taps(self, name: str) -> None:
        """A control of the call."""
        await self.screen.page.get_by_role("button", name=words(name), exact=True).click()

    async def told(self, tag: int) -> None:
        """Until the bridge said something with this tag."""
        await self.engine.until("video", f"({{body}}) => body[1] === {tag}")


RESTRICTED: Final = 54
"""The tag of the bridge's word that media reach the team, the psychiatrist and the interpreter alone."""


@dataclass(frozen=True, slots=True)
class Night:
    """An accepted consult with a consent in force: a unit of two beside the person, and a psychiatrist."""

    rosa: Caller
    lee: Caller
    consult: str
    channel: str
    mate: Caller | None = None
    """The other one of the unit, where this night has one."""


@asynccontextmanager
async def accepted(
    cameras: Browser, url: str, town: Town, before: str = "", *, with_mate: bool = False
) -> AsyncGenerator[Night]:
    """`before`: a script for the responder's pages."""
    rosa_member, mate = await member_of(town, Role.RESPONDER), await member_of(town, Role.RESPONDER)
    lee_member = await member_of(town, Role.PSYCHIATRIST)
    unit = await town.office.create_unit(r.NewUnit((rosa_member.hex(), mate.hex())))
    step = o.LadderStep(members=(lee_member.hex(),), delay_s=60)
    await town.office.create_ladder(o.NewLadder("Night", (step,), ()))
    async with AsyncExitStack() as stack:

        async def enter(role: Role, member: MemberId, before: str = "") -> Caller:
            return await stack.enter_async_context(Caller.opened(cameras, url, town, role, member, before))

        mates = [await enter(Role.RESPONDER, mate)] if with_mate else []
        rosa = await enter(Role.RESPONDER, rosa_member, before)
        lee = await enter(Role.PSYCHIATRIST, lee_member)
        await rosa.engine.until("unit")
        consult = await rosa.engine.call("requestConsult", {**REQUEST, "unit": unit.id})
        await lee.engine.until("consult", "({consult}) => consult.ringing")
        await lee.engine.call("actOnConsult", consult, "accept")
        told = await rosa.engine.until(
            "consult", "({consult}) => consult.acceptedBy !== null && consult.channel"
        )
        await lee.engine.until("consult", "({consult}) => consult.channel !== null")
        await rosa.engine.call("recordConsent", consult, consent())
        for one in (lee, *mates):
            await one.engine.until("consent", "({consent}) => consent?.state === 'in_force'")
        yield Night(rosa, lee, consult, told["consult"]["channel"], *mates)


def bridge_worker(stage: Stage) -> int:
    """The process that carries media: of those of the bridge the one that has worked the most; another one stands by."""
    node = stage.node(0).pid
    worked: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == node and b"leeside_server.video" in (stat.parent / "cmdline").read_bytes():
                worked[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    return max(worked, key=lambda pid: worked[pid])


async def test_two_browsers_see_and_hear_each_other(cameras: Browser, bridge: Stage, harbour: Town) -> None:
    async with accepted(cameras, bridge.url(0), harbour) as night:
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for one in (night.rosa, night.lee):
            await one.media.decodes()
            await one.media.hears()

        # A camera that is off shows nothing, its light is out, and it comes back.
        await night.rosa.taps("control.camera_off")
        await night.lee.media.stands_still()
        await night.lee.media.hears()
        await night.rosa.taps("control.camera_on")
        await night.lee.media.decodes()

        # The worker dies in mid-call: both are back, and what is written goes on.
        os.kill(bridge_worker(bridge), signal.SIGKILL)
        await night.lee.engine.call("send", night.channel, "I still read you.", "routine")
        await night.rosa.engine.reads(night.channel, "I still read you.")
        for one in (night.rosa, night.lee):
            await one.media.decodes()
            await one.media.hears()


async def test_a_third_comes_late_and_everybody_sees_everybody(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour, with_mate=True) as night:
        assert night.mate is not None
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        await night.rosa.media.decodes()
        await night.mate.joins(night.consult)
        for one in (night.mate, night.rosa, night.lee):
            await one.media.decodes(others=2)
            await one.media.hears(others=2)

        # Consent ends: what they say stays between the team and the psychiatrist, sealed with keys of a new epoch.
        await night.rosa.engine.forget()
        await night.rosa.engine.call("withdrawConsent", night.consult)
        await night.lee.engine.until("consent", "({consent}) => consent?.state === 'withdrawn'")
        await night.rosa.told(RESTRICTED)
        for one in (night.mate, night.lee):
            await one.media.hears(others=2)


LATE: Final = """\
{
    const own = Object.getOwnPropertyDescriptor(RTCRtpSender.prototype, 'transform');
    Object.defineProperty(RTCRtpSender.prototype, 'transform', {
        set(transform) { setTimeout(() => own.set.call(this, transform), 0); },
    });
}
"""
"""A transform set one task too late: the browser ignores it in silence, and sends what it encodes as it is."""


async def test_a_sender_that_is_not_sealed_is_stopped_and_told(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour, LATE) as night:
        await night.lee.joins(night.consult)
        await night.rosa.joins(night.consult)
        await expect(night.rosa.screen.page.get_by_text(words("why.unsealed"))).to_be_visible()
        # Nothing of it came to anybody.
        media = await night.lee.media.now()
        assert sum(media["decoded"].values()) == 0
        assert (await night.rosa.media.now())["live"] == 0
