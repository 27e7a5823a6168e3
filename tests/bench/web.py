"""web: what the built client costs a phone and a dispatcher's desk, in the system's Chromium.

The peer of each figure is the limit that it should stay under (docs and issue: the design's budgets), so that a ratio of 1 is
the limit itself. The desk: the dispatcher's real views over a pretended engine with a thousand units and ten thousand
messages. The phone: a cold cache, a slow link (150 ms round trip, 1.6 Mbit/s down, 0.75 up) and a processor slowed
four times, by the browser's own means. What is useful is the largest paint of the first screen.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page

from deploy.devtool.web import DIST
from tests.bench.figures import LIMIT, Result, Row, Target, median, spread
from tests.bench.rounds import tell
from tests.faults.machine import all_cores, pin
from tests.faults.outcome import Impossible
from tests.support.browser import DESK, PHONE, DevTools, browser_running, watched
from tests.support.pages import built_stage, pages_served
from tests.support.stage import one_node
from tests.support.web_words import words

LINK: Final[dict[str, Any]] = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
SLOWED: Final = 4
FIRST_ROUTE_KB: Final = 60.0
FIRST_PAINT_S: Final = 2.0
INPUT_TO_PAINT_MS: Final = 100.0
UNITS: Final = 1_000
FLAT: Final = Target(1.1)
"""What may be left behind: an hour of messages is kept in the stage's own engine, which forgets nothing."""
_PARTS: Final = re.compile(r'(?:src|href)="/(assets/[^"]+\.(?:js|css))"')

_PAINT: Final = """\
() => new Promise((resolve) => {
    let newest = 0;
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) newest = entry.startTime; })
        .observe({ type: 'largest-contentful-paint', buffered: true });
    const quiet = () => (newest > 0 ? resolve(newest) : setTimeout(quiet, 50));
    setTimeout(quiet, 300);
})
"""


_WATCH: Final = """\
() => {
    globalThis.paints = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (entry.interactionId) paints.push(entry.duration);
    }).observe({ type: 'event', durationThreshold: 16, buffered: false });
}
"""
"""Interactions that were painted within the first frame are not told by the browser: they would only better the figure."""

_TOWN: Final = """\
async ([second, units]) => {
    const { engine, world, start } = globalThis.stage;
    const atMs = Date.now() + second * 1_000;
    const events = [];
    for (let n = 0; n < 20; n++) {
        const of = start.positions[(second * 20 + n) % start.positions.length];
        const fix = { ...of.fix, latE7: of.fix.latE7 + (second % 7) * 100, fixMs: atMs };
        events.push({ kind: 'position', position: { ...of, fix, atMs, live: true } });
    }
    const status = start.statuses[second % start.statuses.length];
    events.push({ kind: 'status', status: { ...status, atMs, sinceMs: atMs } });
    const channel = start.channels.find((one) => one.purpose === 'incident');
    if (channel) await engine.send(channel.id, `Minute ${Math.floor(second / 60)}`, 'routine');
    engine.tell(events);
    world.clock.tick();
    await new Promise(requestAnimationFrame);
}
"""
"""Two seconds of a town at night: twenty phones moved, a unit changed, somebody said something."""


async def run(result: Result) -> None:
    """See the module. Raises `Impossible` where nobody built the client."""
    if not (DIST / "index.html").is_file():
        raise Impossible("the web client is not built: ./dev web")
    pin(all_cores())  # nothing is compared in turns here, and a browser wants all that its people have
    size_kb = first_route_bytes(DIST) / 1000
    result.add(Row("first route, gzipped", "kB", size_kb, "limit", FIRST_ROUTE_KB, LIMIT))
    with tempfile.TemporaryDirectory(prefix="leeside-bench-") as folder:
        # The node starts and ends in loops of its own.
        stage = one_node(Path(folder))
        node = await asyncio.to_thread(stage.__enter__)
        try:
            async with browser_running() as browser:
                await _first_paint(result, browser, node.url(0))
                await _board(result, browser, Path(folder) / "desk")
        finally:
            await asyncio.to_thread(stage.__exit__, None, None, None)


def first_route_bytes(dist: Path) -> int:
    """What a first visit must fetch before it shows something: the page, and the scripts and styles that it names."""
    page = (dist / "index.html").read_text()
    files = [dist / "index.html", *(dist / name for name in sorted(set(_PARTS.findall(page))))]
    return sum(len(gzip.compress(file.read_bytes(), 9, mtime=0)) for file in files)


async def _first_paint(result: Result, browser: Browser, url: str) -> None:
    paints: list[float] = []
    for number in range(2 if result.short else 7):
        tell(f"first paint {number + 1}")
        async with watched(browser, url, viewport=PHONE, device_scale_factor=2, has_touch=True) as (
            context,
            _,
        ):
            page = await context.new_page()
            await throttle(page)
            await page.goto(url)
            paints.append(float(await page.evaluate(_PAINT)) / 1000)
    result.add(
        Row(
            "first useful paint, slow phone",
            "s",
            median(paints),
            "limit",
            FIRST_PAINT_S,
            LIMIT,
            spread(paints),
        )
    )


async def _board(result: Result, browser: Browser, folder: Path) -> None:
    """A dispatcher at work over the whole town, while it goes on speaking."""
    tell("building the stage")
    await built_stage("desk", folder)
    async with (
        pages_served(folder) as url,
        watched(browser, url, viewport=DESK) as (context, watch),
    ):
        watch.expect("favicon.ico")  # a stage has no icon
        page = await context.new_page()
        await page.goto(f"{url}/?scene=thousand")
        await page.get_by_role("button", name=words("strips.new")).wait_for()
        await page.evaluate(_WATCH)
        for map_too in (False, True):
            if map_too:
                await page.keyboard.press("4")
            paints = await _work(page, 2 if result.short else 10)
            name = f"input to paint at p95, {UNITS:,} units{', with the map' if map_too else ''}"
            # WebGL is done by the processor here: with the map it is told, and judges nothing.
            target = None if map_too else LIMIT
            result.add(
                Row(name, "ms", percentile(paints, 95), "limit", INPUT_TO_PAINT_MS, target, spread(paints))
            )
        await page.keyboard.press("1")
        await _memory(result, page)


async def _work(page: Page, rounds: int) -> list[float]:
    """A dispatcher's hands: keys, the filters, rows of the board, messages; what each took until it was painted."""
    await page.evaluate("() => { paints.length = 0 }")
    for number in range(rounds):
        tell(f"work {number + 1}")
        await page.keyboard.press("/")
        await page.keyboard.type("Quay", delay=40)
        for _ in range(4):
            await page.keyboard.press("Backspace", delay=40)
        await page.keyboard.press("Escape")
        for key in ("3", "1", "2"):
            await page.keyboard.press(key, delay=40)
            await page.keyboard.press("ArrowDown", delay=40)
            await page.keyboard.press("ArrowUp", delay=40)
        await page.evaluate(_TOWN, [number, UNITS])
    # An interaction is told after its frame.
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    found: list[float] = await page.evaluate("() => paints")
    return found


async def _memory(result: Result, page: Page) -> None:
    """An hour of the drill, told as fast as the page takes it: what stays behind between its tenth minute and its end."""
    tools = await DevTools.of(page)
    minutes = 12 if result.short else 60
    used: dict[int, float] = {}
    for minute in range(minutes + 1):
        if minute in {10, minutes}:
            tell(f"memory after {minute} min")
            await tools.send("HeapProfiler.collectGarbage")
            used[minute] = (await tools.send("Runtime.getHeapUsage"))["usedSize"] / 1e6
        for second in range(0, 60, 2):
            await page.evaluate(_TOWN, [minute * 60 + second, UNITS])
    result.add(
        Row(
            "memory after an hour of drill",
            "MB",
            used[minutes],
            "after its first 10 min",
            used[10],
            FLAT,
        )
    )


def percentile(values: list[float], percent: int) -> float | None:
    """The value that so many percent of them do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def throttle(page: Page) -> None:
    """A phone on a bad link."""
    tools = await DevTools.of(page)
    await tools.send("Network.enable")
    await tools.send("Network.setCacheDisabled", cacheDisabled=True)
    await tools.send("Network.emulateNetworkConditions", **LINK)
    await tools.send("Emulation.setCPUThrottlingRate", rate=SLOWED)
