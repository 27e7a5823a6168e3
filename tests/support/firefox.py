"""A page of Firefox in a test: Playwright drives only a Firefox of its own, so this one is driven by WebDriver BiDi
(`clients/web/e2e/page.mjs`).

    async with firefox_page(program) as page:
        await page.before(script)
        await page.goto(node.url)
        await page.click("Join")
        assert page.complaints == []

It has those of Playwright's methods that `Media`, `Engine` and `comes_true` call, with the same meaning.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.devtool.web import WEB, environment, node_folder
from tests.support.browser import WAIT_MS

START_S: Final = 90.0
STOP_S: Final = 20.0
LOOK_S: Final = 0.1
LINE_BYTES: Final = 1 << 22


class PageFailed(RuntimeError):
    """A script threw; the text is the browser's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a condition gave when it held."""

    value: Any

    async def json_value(self) -> Any:
        return self.value


@dataclass
class FirefoxPage:
    """One page. `complaints`: what came on its console as an error."""

    process: asyncio.subprocess.Process
    version: str = ""
    complaints: list[str] = field(default_factory=list[str])
    _last: int = 0
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict[int, "asyncio.Future[Any]"])

    async def before(self, script: str) -> None:
        """Run this in every page from now on, before anything of its own."""
        await self._ask({"do": "before", "script": script})

    async def goto(self, url: str) -> None:
        """Load this page."""
        await self._ask({"do": "go", "url": url})

    async def evaluate(self, script: str, arg: object = None) -> Any:
        """What a function of JavaScript answers, once its promise has. Raises `PageFailed`."""
        return await self._ask({"do": "evaluate", "script": script, "arg": arg})

    async def wait_for_function(
        self, script: str, *, arg: object = None, timeout: float | None = None
    ) -> Found:
        """Until a function answers something that is true. Raises `TimeoutError`."""
        async with asyncio.timeout((WAIT_MS if timeout is None else timeout) / 1_000):
            while True:
                if value := await self.evaluate(script, arg):
                    return Found(value)
                await asyncio.sleep(LOOK_S)

    async def click(self, name: str) -> None:
        """Press the button of this name, once it is there and may be pressed."""
        await self.wait_for_function(_CLICK, arg=name, timeout=4 * WAIT_MS)

    async def _ask(self, words: dict[str, object]) -> Any:
        self._last += 1
        answer = self.answer(self._last)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self._last, **words}).encode() + b"\n")
        return await answer

    def answer(self, number: int) -> asyncio.Future[Any]:
        """What will be said to the command of this number; to 0, which nobody asks: the browser's version."""
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        return answer

    async def hear(self) -> None:
        """Take what it says, until it ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if "complaint" in said:
                self.complaints.append(said["complaint"])
                continue
            answer = self._waiting.pop(said["id"], None)
            if answer is None or answer.done():
                continue
            if "error" in said:
                answer.set_exception(PageFailed(said["error"]))
            else:
                answer.set_result(said["value"])
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(PageFailed("the browser has ended"))


_CLICK: Final = """(name) => {
    const button = [...document.querySelectorAll('button')].find(
        (one) => !one.disabled && (one.ariaLabel ?? one.textContent).trim() === name);
    button?.click();
    return button !== undefined;
}"""


@asynccontextmanager
async def firefox_page(program: Path) -> AsyncGenerator[FirefoxPage]:
    """A page of its own browser, empty yet. Raises `PageFailed` where it does not start."""
    node = node_folder()
    process = await asyncio.create_subprocess_exec(
        str(node / "node"),
        "e2e/page.mjs",
        cwd=WEB,
        env={**os.environ, **environment(node), "LEESIDE_TEST_FIREFOX": str(program)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    page = FirefoxPage(process)
    started = page.answer(0)
    hearing = asyncio.ensure_future(page.hear())
    try:
        async with asyncio.timeout(START_S):
            page.version = await started
        yield page
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        await hearing
