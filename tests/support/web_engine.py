"""The engine of a page, spoken to directly: for stories about what an engine does, whatever its screens look like.

It runs in a worker, behind comlink. `listening` goes into a context before its first page; then

    rosa = Engine(page)
    consult = await rosa.call("requestConsult", {...})
    await rosa.until("consult", "(told) => told.consult.ringing")
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Page

from tests.support.browser import WAIT_MS, DevTools, Scripted, comes_true

LISTENING: Final = """\
{
    const told = [];
    const Own = window.Worker;
    let last = 0;
    const waiting = new Map();
    window.Worker = class extends Own {
        constructor(...given) {
            super(...given);
            if (given[1]?.name !== 'engine') return;
            const engine = this;
            engine.addEventListener('message', ({ data }) => {
                const answer = waiting.get(data?.id);
                if (answer === undefined) return;
                waiting.delete(data.id);
                if (data.type === 'HANDLER') answer.reject(new Error(data.value.value.message));
                else answer.resolve(data.value);
            });
            window.leesideEngine = {
                told,
                call: (name, ...all) => new Promise((resolve, reject) => {
                    const id = `test ${++last}`;
                    waiting.set(id, { resolve, reject });
                    const argumentList = all.map((value) => ({ type: 'RAW', value }));
                    engine.postMessage({ id, type: 'APPLY', path: [name], argumentList });
                }),
            };
        }
    };
    const own = MessagePort.prototype.start;
    MessagePort.prototype.start = function () {
        this.addEventListener('message', ({ data }) => {
            const [first] = data?.argumentList ?? [];
            if (Array.isArray(first?.value)) told.push(...first.value);
        });
        return own.call(this);
    };
}
"""
"""A script of a page, before anything of its own."""


async def listening(context: BrowserContext) -> None:
    """Before the context's first page."""
    await context.add_init_script(LISTENING)


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine behind a page of such a context."""

    page: Scripted

    async def call(self, command: str, *given: Any) -> Any:
        """A command and what it answers; rejects with the failure's code as the error's message."""
        script = "([command, given]) => window.leesideEngine.call(command, ...given)"
        return await self.page.evaluate(script, [command, list(given)])

    async def reads(self, channel: str, text: str) -> None:
        """Until a message with this text stands open in the channel's local copy."""
        script = """async ([channel, text]) => {
            const rows = await window.leesideEngine.call('history', channel, Number.MAX_SAFE_INTEGER, 100);
            return rows.some((row) => row.kind === 'text' && row.text === text);
        }"""
        await comes_true(self.page, script, [channel, text])

    async def forget(self) -> None:
        """What was told so far counts no more."""
        await self.page.evaluate("() => { window.leesideEngine.told.length = 0 }")

    async def until(self, kind: str, holds: str = "() => true", timeout_ms: float = WAIT_MS) -> Any:
        """The newest event of a kind, of those told so far, for which `holds` (a function of JavaScript); waits for one."""
        script = f"() => window.leesideEngine?.told.findLast((one) => one.kind === '{kind}' && ({holds})(one)) ?? null"
        found = await self.page.wait_for_function(script, timeout=timeout_ms)
        return await found.json_value()


@dataclass(frozen=True, slots=True)
class Asleep:
    """An engine that a device has put to sleep: its sockets stand, and nothing in it runs."""

    tools: DevTools
    worker: str

    async def wake(self) -> None:
        await self._say(3, "Debugger.resume")

    async def _say(self, number: int, method: str) -> None:
        message = json.dumps({"id": number, "method": method})
        await self.tools.send("Target.sendMessageToTarget", sessionId=self.worker, message=message)

    async def pause(self) -> None:
        """Resolves when the worker has stopped."""
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(given: dict[str, str]) -> None:
            if json.loads(given["message"]).get("method") == "Debugger.paused" and not stopped.done():
                stopped.set_result(None)

        self.tools.session.on("Target.receivedMessageFromTarget", told)
        await self._say(1, "Debugger.enable")
        await self._say(2, "Debugger.pause")
        await asyncio.wait_for(stopped, WAIT_MS / 1_000)


async def asleep(browser: Browser, page: Page) -> Asleep:
    """Put a page's engine to sleep, as a phone does with what nobody looks at. The context has one page."""
    own = await (await DevTools.of(page)).send("Target.getTargetInfo")
    context = own["targetInfo"]["browserContextId"]
    tools = DevTools(await browser.new_browser_cdp_session())
    (worker,) = [
        one["targetId"]
        for one in (await tools.send("Target.getTargets"))["targetInfos"]
        if one["type"] == "worker" and one["browserContextId"] == context
    ]
    attached = await tools.send("Target.attachToTarget", targetId=worker, flatten=False)
    sleeping = Asleep(tools, attached["sessionId"])
    await sleeping.pause()
    return sleeping
