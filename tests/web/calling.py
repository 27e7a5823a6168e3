"""People whose browsers call each other: enrolled, with a consult that was accepted and a consent in force.

async with accepted(cameras, node.url, town) as night:
    await night.rosa.joins(night.consult)
    await night.lee.joins(night.consult)
    await night.lee.media.decodes()
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Browser, expect

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Discipline, Role
from tests.support.call_browser import WATCHING, Media, watching
from tests.support.town import Town, now_ms
from tests.support.web_engine import Engine, listening
from tests.support.web_words import words
from tests.web.screen import Screen

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


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody's enrolled browser, with a camera."""

    screen: Screen
    engine: Engine
    media: Media

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        browser: Browser,
        url: str,
        town: Town,
        role: Role,
        member: MemberId,
        before: str = "",
        *,
        watch: str = WATCHING,
    ) -> AsyncGenerator[Caller]:
        """Enrolled and online. `before`: a script that runs in every page first; `watch`: the one that counts its media."""
        async with Screen.opened(browser, url) as screen:
            await listening(screen.context)
            await watching(screen.context, watch)
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

    async def leaves(self) -> None:
        """Out of the call, to its door."""
        page = self.screen.page
        await self.taps("control.leave")
        await page.get_by_role("dialog").get_by_role("button", name=words("leave.do"), exact=True).click()
        await expect(page.get_by_role("button", name=words("why.again"))).to_be_visible()

    async def taps(self, name: str) -> None:
        """A control of the call."""
        await self.screen.page.get_by_role("button", name=words(name), exact=True).click()

    async def alarmed(self) -> bool:
        """Whether it says of somebody that what comes from them does not hold: so in the last twenty seconds."""
        return await self.screen.page.get_by_text(words("seat.alarm"), exact=True).count() > 0

    async def told(self, tag: int) -> None:
        """Until the bridge said something with this tag."""
        await self.engine.until("video", f"({{body}}) => body[1] === {tag}")


@dataclass(frozen=True, slots=True)
class Night:
    """An accepted consult with a consent in force: a unit of two beside the person, and a psychiatrist."""

    rosa: Caller
    lee: Caller
    consult: str
    channel: str
    mate: Caller | None = None
    """The other one of the unit, where this night has one."""


@dataclass(frozen=True, slots=True)
class Party:
    """The members of a call to come: a responder and their mates in one unit, and the psychiatrist of the only ladder."""

    rosa: MemberId
    mates: tuple[MemberId, ...]
    lee: MemberId
    unit: str

    @classmethod
    async def of(cls, town: Town, mates: int = 1) -> Party:
        rosa, *others = [await member_of(town, Role.RESPONDER) for _ in range(1 + mates)]
        lee = await member_of(town, Role.PSYCHIATRIST)
        unit = await town.office.create_unit(r.NewUnit((rosa.hex(), *(mate.hex() for mate in others))))
        step = o.LadderStep(members=(lee.hex(),))
        await town.office.create_ladder(o.NewLadder("Night", (step,), ()))
        return cls(rosa, tuple(others), lee, unit.id)

    async def agrees(self, rosa: Engine, lee: Engine, *others: Engine) -> tuple[str, str]:
        """Ask for a consult, accept it, and record a consent that all have read: the consult and its channel. Every device that
        shall be in it is enrolled by now."""
        await rosa.until("unit")
        consult = await rosa.call("requestConsult", {**REQUEST, "unit": self.unit})
        await lee.until("consult", "({consult}) => consult.ringing")
        await lee.call("actOnConsult", consult, "accept")
        told = await rosa.until("consult", "({consult}) => consult.acceptedBy !== null && consult.channel")
        await lee.until("consult", "({consult}) => consult.channel !== null")
        await rosa.call("recordConsent", consult, consent())
        for one in (lee, *others):
            await one.until("consent", "({consent}) => consent?.state === 'in_force'")
        return consult, told["consult"]["channel"]


@asynccontextmanager
async def accepted(
    cameras: Browser,
    url: str,
    town: Town,
    before: str = "",
    *,
    with_mate: bool = False,
    near_url: str | None = None,
) -> AsyncGenerator[Night]:
    """`before`: a script for the responder's pages. `near_url`: the address by which the responder's browser reaches the node,
    where it is another than that of the others."""
    party = await Party.of(town)
    async with AsyncExitStack() as stack:

        async def enter(role: Role, member: MemberId, at: str = url, before: str = "") -> Caller:
            return await stack.enter_async_context(Caller.opened(cameras, at, town, role, member, before))

        mates = [await enter(Role.RESPONDER, mate) for mate in party.mates] if with_mate else []
        rosa = await enter(Role.RESPONDER, party.rosa, near_url or url, before)
        lee = await enter(Role.PSYCHIATRIST, party.lee)
        consult, channel = await party.agrees(rosa.engine, lee.engine, *(mate.engine for mate in mates))
        yield Night(rosa, lee, consult, channel, *mates)
