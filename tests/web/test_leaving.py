"""A device that may not go on: its screen locks at once, and nothing stays on it."""

from __future__ import annotations

import time

import pytest
from playwright.async_api import Browser, expect

from leeside.client import Leeside
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.browser import comes_true
from tests.support.patience import in_time
from tests.support.stage import Stage
from tests.support.town import Town, settled
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

LOCKED_S = 1.0

_KEPT = """\
async () => ({
    databases: (await indexedDB.databases()).map((found) => found.name),
    local: Object.keys(localStorage),
    session: Object.keys(sessionStorage),
    files: await (async () => {
        const names = [];
        for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
        return names;
    })(),
})
"""
"""What the origin keeps besides the client's own files."""


async def test_a_revoked_device_locks_within_a_second_and_keeps_nothing(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk:
        await in_time(LOCKED_S, lambda: _revoked(browser, one, town, desk))


async def _revoked(browser: Browser, one: Stage, town: Town, desk: Leeside) -> float:
    """A device is at work, is revoked, and keeps nothing; how long it went on."""
    async with Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await ana.say("For us alone.")
        await ana.sees("For us alone.")
        assert (await ana.page.evaluate(_KEPT))["databases"] != []
        ana.watch.expect("401|403")
        gone = ana.page.get_by_role("heading", name=words("ended.revoked"))
        began_s = time.monotonic()
        await town.office.revoke_device(ana.device)
        await gone.wait_for()
        took_s = time.monotonic() - began_s
        await expect(ana.page.get_by_text("For us alone.")).to_have_count(0)
        await comes_true(
            ana.page, f"async () => Object.values(await ({_KEPT})()).every((kept) => kept.length === 0)"
        )
        # Nor does it come back.
        await ana.page.reload()
        await expect(ana.page.get_by_text("For us alone.")).to_have_count(0)
    return took_s
