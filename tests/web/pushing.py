"""A push to a page's service worker, delivered as a push service would: through the browser's debugging protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.browser import WAIT_MS, DevTools
from tests.web.screen import Screen

NOTICES = """\
async () => {
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map(({ title, body, tag }) => [title, body, tag]);
}
"""
"""What stands on the device, of this origin."""


async def pusher(screen: Screen) -> Callable[[str], Awaitable[None]]:
    """Loads the page anew, waits for its service worker, and gives what pushes to it."""
    tools = await DevTools.of(screen.page)
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def registered(told: dict[str, Any]) -> None:
        for one_of in told["registrations"]:
            if not found.done():
                found.set_result(one_of["registrationId"])

    tools.session.on("ServiceWorker.workerRegistrationUpdated", registered)
    await tools.send("ServiceWorker.enable")
    await screen.page.goto(screen.url)
    await screen.page.evaluate("async () => { await navigator.serviceWorker.ready }")
    registration = await asyncio.wait_for(found, WAIT_MS / 1_000)

    async def push(data: str) -> None:
        await tools.send(
            "ServiceWorker.deliverPushMessage", origin=screen.url, registrationId=registration, data=data
        )

    return push
