"""A real browser under test, watched: what a page may not do fails the test that did it.

    async with browser_running() as browser, watched(browser, node.url) as (context, watch):
        page = await context.new_page()
        await page.goto(node.url)
        ...
    # here: AssertionError for a request that left the origin, a breach of the content policy, an error on the console

One browser serves all tests of a process; a context is a person's device: storage, permissions and workers of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Page,
    ViewportSize,
    WebError,
    async_playwright,
)

from deploy.devtool.services import CHROMIUM
from tests.support.patience import PATIENCE_S
from tests.support.services import program_path

PHONE: Final = ViewportSize(width=360, height=740)
DESK: Final = ViewportSize(width=1440, height=900)
WAIT_MS: Final = PATIENCE_S * 1_000
"""How long a page may take for what must come."""
_LOOK_S: Final = 0.05

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--no-first-run",
    # A name that is not this machine's leads nowhere, whoever asks for it.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

_VIOLATIONS: Final = """\
addEventListener('securitypolicyviolation', (event) =>
    console.error(`content policy: ${event.effectiveDirective} ${event.blockedURI}`));
"""
_INSIDE: Final = frozenset({"about", "blob", "data"})
"""Schemes of addresses that no network sees."""


@dataclass  # without slots: Playwright writes its own name for each handler into the object
class Watch:
    """What a context did. `allowed` are the origins that it may speak to; complaints of others fail the test.

    `visited` are those that a person may be led to, as an agency's own sign-in: as a page alone, never by ours.
    """

    allowed: set[str]
    visited: set[str] = field(default_factory=set[str])
    complaints: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    _expected: list[re.Pattern[str]] = field(default_factory=list[re.Pattern[str]])

    def expect(self, pattern: str) -> None:
        """Complaints that match are this test's own doing: a link that it cut, a sign-in that it refused."""
        self._expected.append(re.compile(pattern))

    def asked(self, url: str, *, leads_there: bool = False) -> None:
        """A page, worker or socket asked for this address, or the person was led there."""
        self.requests.append(url)
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        origin = f"{scheme}://{parts.netloc}"
        if scheme not in _INSIDE and origin not in self.allowed | (self.visited if leads_there else set()):
            self.complaints.append(f"left the origin: {url}")

    def console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "assert"}:
            self.complaints.append(f"console: {message.text} ({message.location['url']})")

    def error(self, error: WebError) -> None:
        self.complaints.append(f"error of the page: {error.error}")

    def page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self.asked(socket.url))
        page.on("crash", lambda _page: self.complaints.append("the page crashed"))

    def unexpected(self) -> list[str]:
        """What nobody expected."""
        return [told for told in self.complaints if not any(p.search(told) for p in self._expected)]


@dataclass(frozen=True, slots=True)
class DevTools:
    """The Chrome DevTools Protocol of a page: for what a person's device does and Playwright has no word for."""

    session: CDPSession

    @classmethod
    async def of(cls, page: Page) -> DevTools:
        return cls(await page.context.new_cdp_session(page))

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method; what it answers."""
        answer = await self.session.send(method, parameters)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return cast("dict[str, Any]", answer)


class Evaluated(Protocol):
    """What a condition gave when it held."""

    async def json_value(self) -> Any: ...


class Scripted(Protocol):
    """A page that runs scripts: Playwright's, or another browser's."""

    async def evaluate(self, script: str, arg: Any = None, /) -> Any: ...

    async def wait_for_function(
        self,
        script: str,
        /,
        *,
        arg: Any = None,
        timeout: float | None = None,
    ) -> Evaluated: ...


async def comes_true(page: Scripted, script: str, arg: object = None) -> None:
    """Until an `async` function of the page answers true; `TimeoutError` after `WAIT_MS`.

    `Page.wait_for_function` waits for no promise: it takes the promise itself for the answer, which is always true.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await page.evaluate(script, arg):
                return
            await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def browser_running() -> AsyncGenerator[Browser]:
    """The system's Chromium, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program_path(CHROMIUM), headless=True, args=list(FLAGS), chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watched(
    browser: Browser,
    *origins: str,
    viewport: ViewportSize = PHONE,
    folder: Path | None = None,
    **options: Any,
) -> AsyncGenerator[tuple[BrowserContext, Watch]]:
    """A device of its own, which may speak to these origins only. Raises `AssertionError` at the end.

    With a `folder` it keeps its profile there, as a person's browser does, and is a process of its own.
    """
    context = await _context(browser, folder, {"viewport": viewport, "locale": "en-US", **options})
    context.set_default_timeout(WAIT_MS)
    watch = Watch({origin.rstrip("/") for origin in origins})
    context.on(
        "request",
        lambda request: watch.asked(
            request.url, leads_there=request.is_navigation_request() and request.frame.parent_frame is None
        ),
    )
    context.on("console", watch.console)
    context.on("weberror", watch.error)
    context.on("page", watch.page)
    await context.add_init_script(_VIOLATIONS)
    try:
        yield context, watch
    finally:
        await asyncio.shield(context.close())
    if told := watch.unexpected():
        raise AssertionError("\n".join(told))


async def _context(browser: Browser, folder: Path | None, options: dict[str, Any]) -> BrowserContext:
    if folder is None:
        return await browser.new_context(**options)
    return await browser.browser_type.launch_persistent_context(
        folder, executable_path=program_path(CHROMIUM), args=list(FLAGS), chromium_sandbox=False, **options
    )
