"""Who sees and hears whom in a call, in real browsers: guests and supervisors at the door, what a withdrawal stops, and a bridge
that lies.

One call for all of it: what is asked of it stands in the order in which a night would bring it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from leeside_protocol.words import Role
from tests.faults.node import NodeSettings, VideoBy
from tests.support.call_browser import Media, watching
from tests.support.stage import Stage, one_node
from tests.support.town import Town
from tests.support.web_words import pattern, words
from tests.web.calling import Caller, Night, accepted, consent, member_of
from tests.web.screen import Screen
from tests.web.test_call import cameras, harbour

__all__ = ["cameras", "harbour"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FACILITY: Final = "receiving_facility"
QUIET_MS: Final = 2_000

_STILL: Final = """async (quietMs) => {
    const path = window.leesidePaths.find(({ connectionState }) => connectionState === 'connected');
    const counts = async () => {
        let came = 0, went = 0;
        for (const one of (await path.getStats()).values()) {
            if (one.type === 'inbound-rtp') came += one.kind === 'audio' ? one.packetsReceived : one.framesReceived ?? 0;
            if (one.type === 'outbound-rtp') went += one.kind === 'audio' ? one.packetsSent : one.framesEncoded ?? 0;
        }
        return [came, went];
    };
    let last = await counts();
    const at = [Date.now(), Date.now()];
    while (at.some((ms) => Date.now() - ms < quietMs)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        const now = await counts();
        now.forEach((count, way) => { if (count !== last[way]) at[way] = Date.now(); });
        last = now;
    }
    return at;
}"""
"""Waits until no media came and none went for so long; when the last of both did."""


@dataclass(frozen=True, slots=True)
class Crook:
    """Says what the bridge does with people's sound (tests/support/crooked_bridge)."""

    says: Path

    def tells(self, lie: str) -> None:
        """From now on; empty: it is honest."""
        self.says.write_text(lie)


@pytest.fixture(scope="module")
def crook(tmp_path_factory: pytest.TempPathFactory) -> Crook:
    return Crook(tmp_path_factory.mktemp("crook") / "says")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, crook: Crook) -> Generator[Stage]:
    """A node with a bridge that can be made to lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROOKED_BRIDGE", str(crook.says))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support/crooked_bridge"))
        with one_node(tmp_path_factory.mktemp("bridge"), NodeSettings(video_by=VideoBy())) as stage:
            yield stage


def button(page: Page, key: str) -> Locator:
    return page.get_by_role("button", name=words(key), exact=True)


def title(page: Page, key: str) -> Locator:
    return page.get_by_role("heading", name=words(key), exact=True)


async def comes_as_guest(page: Page, night: Night) -> str:
    """By a link of the responder's, who lets them into the room; the guest's id."""
    invited = await night.rosa.engine.call("inviteGuest", night.consult, FACILITY)
    guest: str = invited["guest"]
    await page.goto(invited["url"])
    await expect(title(page, "guest.waiting")).to_be_visible()
    waits = f"({{guests}}) => guests.some((one) => one.id === '{guest}' && one.state === 'waiting')"
    await night.rosa.engine.until("guests", waits)
    await night.rosa.engine.call("letGuestIn", night.consult, guest)
    await expect(title(page, "guest.in")).to_be_visible()
    return guest


async def test_who_is_let_in_who_is_stopped_and_who_lies(
    cameras: Browser, bridge: Stage, harbour: Town, crook: Crook
) -> None:
    url = bridge.url(0)
    chief_member = await member_of(harbour, Role.SUPERVISOR)
    async with (
        Caller.opened(cameras, url, harbour, Role.SUPERVISOR, chief_member) as chief,
        accepted(cameras, url, harbour) as night,
        Screen.opened(cameras, url) as visitor,
    ):
        rosa, lee, guest = night.rosa.screen.page, night.lee.screen.page, visitor.page
        # Refused is what a guest is at its end.
        visitor.watch.expect("40[134]")
        await watching(visitor.context)
        media = Media(guest)
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for one in (night.rosa, night.lee):
            await one.media.decodes()

        # Whoever comes by a link is told as what, tries camera and sound, and waits.
        guest_id = await comes_as_guest(guest, night)
        role = words("guest.role", role=words(f"role.{FACILITY}"))
        await expect(guest.get_by_text(role, exact=True)).to_be_visible()
        await button(guest, "guest.to_call").click()
        await button(guest, "lobby.test").click()
        await expect(guest.get_by_text(words("lobby.camera_here"))).to_be_visible()
        await expect(guest.get_by_label(words("lobby.signs"))).to_have_count(0)
        await button(guest, "lobby.join").click()
        await expect(guest.get_by_text(words("lobby.waiting"))).to_be_visible()

        # One of the team says no: the guest is told, nobody is asked any more, and it may ask again.
        await button(rosa, "admit.refuse").click()
        await expect(guest.get_by_text(words("why.not_admitted"), exact=True)).to_be_visible()
        for page in (rosa, lee):
            await expect(button(page, "admit.refuse")).to_have_count(0)
        await button(guest, "why.again").click()
        await button(lee, "admit.do").click()
        await media.decodes(others=2)
        for one in (night.rosa, night.lee):
            await one.media.decodes(others=2)
        # A guest writes nothing, records nothing, and lets nobody in.
        for key in ("control.chat", "consent.withdraw_label", "consent.do", "consent.emergency", "admit.do"):
            await expect(button(guest, key)).to_have_count(0)

        # A bridge that sends again what somebody said before, or sends it as somebody else's, is found out.
        for lie, alarm in (("replay", "alarm.replayed"), ("swap", "alarm.swapped")):
            crook.tells(lie)
            for page in (lee, guest):
                await expect(page.get_by_text(pattern(alarm)).first).to_be_visible()
            await night.lee.media.is_deaf()
        crook.tells("")
        await night.lee.media.hears(others=2)

        # Consent ends. What came to the guest and went from it stops; who treats goes on.
        began_ms = time.time() * 1_000
        await night.rosa.engine.call("withdrawConsent", night.consult)
        came_ms, went_ms = await guest.evaluate(_STILL, QUIET_MS)
        for way, at_ms in (("received", came_ms), ("sent", went_ms)):
            print(f"withdrawn -> nothing {way}: {at_ms - began_ms:.0f} ms")
        for one in (night.rosa, night.lee):
            await one.media.hears()
        await expect(guest.get_by_text(words("seat.withdrawn")).first).to_be_visible()

        # Asked again and agreed: the guest sees and hears as before, without being let in anew.
        await night.rosa.engine.call("recordConsent", night.consult, consent())
        await media.hears(others=2)
        await night.lee.media.hears(others=2)

        # The stay ends: the guest's call with it.
        await night.lee.engine.call("endGuest", night.consult, guest_id)
        await expect(title(guest, "guest.over.ended").or_(title(guest, "guest.over.removed"))).to_be_visible()

        # A supervisor waits, too, until somebody taps.
        await chief.joins(night.consult)
        await expect(chief.screen.page.get_by_text(words("lobby.waiting"))).to_be_visible()
        await button(rosa, "admit.do").click()
        await chief.media.decodes(others=2)
        await expect(button(chief.screen.page, "admit.do")).to_have_count(0)

        # The responder's phone shows the person: first and large on every screen.
        await button(rosa, "control.more").click()
        await rosa.get_by_role("dialog").get_by_role("button", name=words("more.person_on")).click()
        for page in (lee, chief.screen.page):
            first = page.locator(".seats .large .seat").first
            await expect(first).to_contain_text(words("call.person"))
        # Nobody is written down unless they ask for it.
        await expect(lee.locator(".captions")).to_have_count(0)
        await button(lee, "control.more").click()
        captions = lee.get_by_role("dialog").get_by_role("button", name=words("more.captions"))
        await expect(captions).to_have_attribute("aria-pressed", "false")
