"""web: what the built client costs a phone and a dispatcher's desk, in the system's Chromium.

The peer of each figure is the limit that it should stay under (docs and issue: the design's budgets), so that a ratio of 1 is
the limit itself. The phone: a cold cache, a slow link (150 ms round trip, 1.6 Mbit/s down, 0.75 up) and a processor slowed
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
from tests.bench.figures import LIMIT, Result, Row, median, spread
from tests.bench.rounds import tell
from tests.faults.machine import all_cores, pin
from tests.faults.outcome import Impossible
from tests.support.browser import PHONE, DevTools, browser_running, watched
from tests.support.stage import one_node

LINK: Final[dict[str, Any]] = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
SLOWED: Final = 4
FIRST_ROUTE_KB: Final = 60.0
FIRST_PAINT_S: Final = 2.0
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


async def throttle(page: Page) -> None:
    """A phone on a bad link."""
    tools = await DevTools.of(page)
    await tools.send("Network.enable")
    await tools.send("Network.setCacheDisabled", cacheDisabled=True)
    await tools.send("Network.emulateNetworkConditions", **LINK)
    await tools.send("Emulation.setCPUThrottlingRate", rate=SLOWED)
