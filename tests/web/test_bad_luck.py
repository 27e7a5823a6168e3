"""Bad luck, each with its sentence, and nothing lost: an old browser, a clock that is a day off, a place that nobody may know, a
device that is full."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.crooked import Answers, crooked
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.web_words import pattern, words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow
DAY_MS = 86_400_000
OLD = """\
const made = crypto.subtle.generateKey.bind(crypto.subtle);
crypto.subtle.generateKey = (algorithm, ...more) => algorithm === 'X25519'
    ? Promise.reject(new DOMException('Unrecognized name.', 'NotSupportedError'))
    : made(algorithm, ...more);
"""


YESTERDAY = f"const today = Date.now; Date.now = () => today() - {DAY_MS};\n"
"""A device whose clock is a day behind, for its page and for its worker."""


def beginning_with(script: str) -> Answers:
    """What the node answers, with this before everything else that the engine's worker does."""

    def answers(path: str, body: bytes) -> bytes:
        return script.encode() + body if path.startswith("/assets/worker-") else body

    return answers


async def test_an_old_browser_is_told_what_it_lacks_and_makes_no_keys(browser: Browser, one: Stage) -> None:
    async with Screen.opened(browser, one.url(0)) as ana:
        await ana.context.add_init_script(OLD)
        await ana.page.goto(ana.url)
        await expect(ana.page.get_by_role("heading", name=words("unfit.title"))).to_be_visible()
        await expect(ana.page.get_by_text(words("unfit.keys"))).to_be_visible()
        found: list[object] = await ana.page.evaluate("() => indexedDB.databases()")
        assert found == []


async def test_a_clock_that_is_a_day_off_is_told_and_messages_pass(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        crooked(one.url(0), spare_port) as server,
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, server.url) as ana,
    ):
        server.answers = beginning_with(YESTERDAY)
        await ana.context.add_init_script(YESTERDAY)
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await expect(ana.page.get_by_text(pattern("notice.clock_behind"))).to_be_visible()
        await ana.say("On my way.")
        await until(lambda: texts(desk, channel) == ["On my way."], "what was said by a wrong clock")


async def test_a_place_that_nobody_may_know_is_said_and_no_more_is_claimed(
    browser: Browser, one: Stage, town: Town
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await ana.page.get_by_label(words("place.open_off")).click()
        await ana.button("place.begin").click()
        await expect(ana.page.get_by_text(words("place.short_refused")).first).to_be_visible()
        assert fix_of(desk.board(channel).position(ana.device)) is None


def fix_of(position: object) -> object:
    return getattr(position, "fix", None)


FULL = """\
{
    let full = false;
    const disk = new BroadcastChannel('disk');
    disk.onmessage = ({ data }) => {
        full = data;
        disk.postMessage('so it is');
    };
    for (const name of ['add', 'put']) {
        const write = IDBObjectStore.prototype[name];
        IDBObjectStore.prototype[name] = function (...given) {
            if (full) throw new DOMException('no room', 'QuotaExceededError');
            return write.apply(this, given);
        };
    }
}
"""
"""A disk that says that it is full when it is told to: for the engine's worker, which alone writes."""


async def fill(screen: Screen, *, full: bool) -> None:
    """Resolves when the worker knows."""
    await screen.page.evaluate(
        """(full) => new Promise((known) => {
            const disk = new BroadcastChannel('disk');
            disk.onmessage = () => {
                disk.close();
                known();
            };
            disk.postMessage(full);
        })""",
        full,
    )


async def test_a_device_that_is_full_loses_nothing_and_goes_on_when_there_is_room(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        crooked(one.url(0), spare_port) as server,
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, server.url) as ana,
    ):
        server.answers = beginning_with(FULL)
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await fill(ana, full=True)
        await ana.say("There is no room for this.")
        await expect(ana.page.get_by_text(words("failure.store_full"))).to_be_visible()
        await expect(ana.page.get_by_text(words("notice.full"))).to_be_visible()
        # Not kept, not sent, and still there to be sent.
        await expect(ana.writing).to_have_value("There is no room for this.")
        assert texts(desk, channel) == []
        await fill(ana, full=False)
        await expect(ana.page.get_by_text(words("notice.full"))).to_have_count(0)
        await ana.button("do.send").click()
        await until(lambda: texts(desk, channel) == ["There is no room for this."], "what had no room before")
