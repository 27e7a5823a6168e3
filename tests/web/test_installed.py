"""The installed client: woken by a push that says nothing, and replaced by a newer version when a person says so."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.ids import PageId
from leeside_protocol.limits import PUSH_BYTES
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from leeside_server.core.paging import PageKind, push_payload
from tests.support.browser import WAIT_MS, comes_true
from tests.support.crooked import crooked
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.web_words import words
from tests.web.pushing import NOTICES, pusher
from tests.web.screen import Screen

pytestmark = pytest.mark.slow
LASTING = """\
async () => {
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map((one) => [
        one.title, one.body, one.requireInteraction, one.silent === true,
    ]);
}
"""
TAKEN_AWAY = """\
async () => {
    const registration = await navigator.serviceWorker.ready;
    const notices = await registration.getNotifications();
    for (const notice of notices) notice.close();
    while ((await registration.getNotifications()).length > 0) await new Promise((go) => setTimeout(go, 20));
    return notices.map(({ title, body, tag }) => [title, body, tag]);
}
"""
"""What stood on the device, of this origin; nothing does any more."""
CLICK = """\
async () => {
    const [notification] = await registration.getNotifications();
    dispatchEvent(new NotificationEvent('notificationclick', { notification }));
}
"""
"""A person's tap, which no browser lets a program make otherwise."""


@asynccontextmanager
async def woken(
    browser: Browser, url: str
) -> AsyncGenerator[tuple[Screen, Callable[[str], Awaitable[None]]]]:
    """A page whose service worker stands, and what delivers a push to it as a push service would."""
    async with Screen.opened(browser, url, permissions=["notifications"]) as ana:
        push = await pusher(ana)
        yield ana, push


async def test_a_push_shows_that_something_waits_and_nothing_more(browser: Browser, one: Stage) -> None:
    async with woken(browser, one.url(0)) as (ana, push):
        # Whatever the push says: a push service that lied would put its own words on a locked screen.
        waiting = ["Leeside", "Something is waiting. Open Leeside.", "leeside-waiting"]
        for data in ("something is waiting".ljust(PUSH_BYTES), "Quay Street 4"):
            await push(data)
            # One after the other: while a notice takes the place of its like, a browser may list neither.
            await comes_true(ana.page, f"async () => (await ({NOTICES})()).length > 0")
            assert await ana.page.evaluate(TAKEN_AWAY) == [waiting]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (PageKind.CONSULT, ["A consult is waiting", "Open Leeside to answer.", True, False]),
        (
            PageKind.TEST,
            ["A test of your pages", "This is how a consult rings. Open Leeside.", True, False],
        ),
        (PageKind.PROBE, ["Leeside", "Checked: this device gets pages.", False, True]),
    ],
)
async def test_a_page_is_shown_and_the_server_told_that_it_came(
    browser: Browser, one: Stage, spare_port: int, kind: PageKind, shown: list[object]
) -> None:
    """Without a token: the page's id is the right to say so."""
    page = PageId(os.urandom(16))
    async with (
        crooked(one.url(0), spare_port) as server,
        woken(browser, server.url) as (ana, push),
    ):
        receipt = server.expect(f"/v1/pages/{page.hex()}/receipt")
        await push(push_payload(kind, page).decode())
        posted = await asyncio.wait_for(receipt, WAIT_MS / 1_000)
        assert (posted.method, json.loads(posted.body)) == ("POST", {"state": "delivered", "path": "push"})
        assert "authorization" not in posted.headers
        assert "cookie" not in posted.headers
        # The same page again sounds again in its own place: its receipt leaves once the notice stands.
        again = server.expect(f"/v1/pages/{page.hex()}/receipt")
        await push(push_payload(kind, page).decode())
        await asyncio.wait_for(again, WAIT_MS / 1_000)
        assert await ana.page.evaluate(LASTING) == [shown]


async def test_who_opens_the_notice_of_a_page_has_seen_it(
    browser: Browser, one: Stage, spare_port: int
) -> None:
    page = PageId(os.urandom(16))
    async with (
        crooked(one.url(0), spare_port) as server,
        woken(browser, server.url) as (ana, push),
    ):
        path = f"/v1/pages/{page.hex()}/receipt"
        came = server.expect(path)
        await push(push_payload(PageKind.CONSULT, page).decode())
        await asyncio.wait_for(came, WAIT_MS / 1_000)
        seen = server.expect(path)
        worker = ana.page.context.service_workers[0]
        await worker.evaluate(CLICK)
        posted = await asyncio.wait_for(seen, WAIT_MS / 1_000)
        assert json.loads(posted.body) == {"state": "seen", "path": "push"}
        await comes_true(ana.page, f"async () => (await ({NOTICES})()).length === 0")


async def test_a_newer_version_waits_until_a_person_takes_it(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        crooked(one.url(0), spare_port) as server,
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, server.url) as ana,
    ):
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.page.evaluate("async () => { await navigator.serviceWorker.ready }")
        await ana.page.reload()  # the first page of an origin was not served by the worker
        await ana.open_channel(channel)
        await ana.writing.fill("Half a sentence")
        await ana.page.evaluate("() => { globalThis.before = true }")

        server.answers = lambda path, body: body + b"\n// newer" if path == "/service-worker.js" else body
        await ana.page.evaluate("async () => { await (await navigator.serviceWorker.ready).update() }")
        await expect(ana.page.get_by_text(words("notice.update"))).to_be_visible()
        # It only says so: what is being written goes on, and leaves.
        assert await ana.page.evaluate("() => globalThis.before === true")
        await expect(ana.writing).to_have_value("Half a sentence")

        await ana.button("notice.update_do").click()
        await ana.page.wait_for_function("() => globalThis.before === undefined")
        await expect(ana.writing).to_have_value("Half a sentence")
        await ana.button("do.send").click()
        await until(lambda: texts(desk, channel) == ["Half a sentence"], "what was written before the update")
