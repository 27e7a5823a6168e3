"""A person with a browser: enrolled by a link, as an administrator sends it, and used by what stands on the screen.

async with Screen.opened(browser, node.url) as ana:
    await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
    await ana.open_channel(channel)
    await ana.say("On my way.")
    await ana.sees("Copy.")
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from leeside import authority as a
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, DeviceId, MemberId
from leeside_protocol.words import Discipline, Role
from tests.support.browser import WAIT_MS, Watch, watched
from tests.support.town import Town, now_ms
from tests.support.web_words import pattern, words

expect.set_options(timeout=WAIT_MS)


@dataclass
class Screen:
    """One browser of one person. `member` and `device` are set when it is enrolled."""

    url: str
    context: BrowserContext
    page: Page
    watch: Watch
    member: MemberId = MemberId(b"")  # noqa: RUF009 - bytes never change
    device: DeviceId = DeviceId(b"")  # noqa: RUF009

    @classmethod
    @asynccontextmanager
    async def opened(cls, browser: Browser, url: str, **options: Any) -> AsyncGenerator[Screen]:
        """A browser of its own, which may speak to this server only; see `watched`."""
        async with watched(browser, url, **options) as (context, watch):
            yield cls(url, context, await context.new_page(), watch)

    # ---- enrolling

    async def enrol(
        self,
        town: Town,
        role: Role,
        discipline: Discipline | None = None,
        *,
        member: MemberId | None = None,
        authority: bool = False,
    ) -> None:
        """Invited, keys made, code compared, approved: until the screen of an enrolled person is there."""
        await self.use_link(town, role, discipline, member=member, authority=authority)
        await self.approved(town, role, discipline)

    async def use_link(
        self,
        town: Town,
        role: Role,
        discipline: Discipline | None = None,
        *,
        member: MemberId | None = None,
        authority: bool = False,
    ) -> str:
        """Open a link for a new device; the short code that the screen shows."""
        if member is None:
            member = MemberId(
                bytes.fromhex((await town.office.create_member(r.NewMember((role,), discipline))).id)
            )
        self.member = member
        code = (await town.office.create_enrolment(member, r.NewEnrolment("browser"))).code
        seed = f"&authority={town.authority.key.seed.hex()}" if authority else ""
        await self.page.goto(f"{self.url}/#enrol={code}&root={town.directory.root_public.hex()}{seed}")
        await self.button("enrol.do").click()
        return await self.short_code()

    async def short_code(self) -> str:
        """What a person reads to the administrator."""
        shown = await self.page.get_by_role("group", name=words("pending.code")).inner_text()
        return "-".join(re.findall(r"[0-9A-Z]{4}", shown))

    async def approved(self, town: Town, role: Role, discipline: Discipline | None = None) -> None:
        """The administrator compares the code that is on the screen, and certifies the device."""
        waiting = (await town.office.devices(state="pending")).items
        info = next(info for info in waiting if info.member == self.member.hex())
        seen = a.applicant(info.public_key, info.device_key)
        assert seen.short_code == await self.short_code()
        await town.sign(a.device_added(seen.public, self.member, role, now_ms(), discipline=discipline))
        self.device = seen.device_id
        await expect(self.page.get_by_text(words("pending.title"))).to_have_count(0)

    # ---- talking

    async def open_channel(self, channel: ChannelId) -> None:
        """Go to a channel by its address, and wait until it is known and one may write."""
        await self.page.evaluate(f"() => {{ location.hash = '#/channel/{channel.hex()}' }}")
        await expect(self.messages).to_be_visible()
        await expect(self.page.get_by_text(words("chat.catching_up"))).to_have_count(0)
        await expect(self.writing).to_be_visible()

    @property
    def messages(self) -> Locator:
        """The rows of the channel that is open."""
        return self.page.get_by_label(words("chat.rows"), exact=True)

    @property
    def writing(self) -> Locator:
        """Where a message is written."""
        return self.page.get_by_role("textbox", name=words("compose.label"), exact=True)

    async def say(self, text: str) -> None:
        """Write a message into the channel that is open, and send it."""
        await self.writing.fill(text)
        await self.button("do.send").click()

    async def sees(self, text: str, times: int = 1) -> None:
        """Until a message with this text stands there so many times."""
        await expect(self.messages.get_by_text(text, exact=True)).to_have_count(times)

    # ---- what is on the screen

    def button(self, key: str) -> Locator:
        """A button by its words."""
        return self.page.get_by_role("button", name=pattern(key))
