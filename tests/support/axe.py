"""WCAG 2.2 AA, as far as a program can see: axe-core over a page, in words that say what to mend."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from playwright.async_api import Page

from deploy.devtool.web import MODULES

_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_RUN: Final = """\
async (tags) => {
    const found = await axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] });
    return found.violations.map(({ id, help, nodes }) => ({
        id, help, where: nodes.slice(0, 5).map((node) => `${node.target.join(' ')}: ${node.html.slice(0, 120)}`),
    }));
}
"""


@cache
def _axe() -> str:
    return (MODULES / "axe-core/axe.min.js").read_text()


async def violations(page: Page) -> list[str]:
    """What axe finds on this page as it stands, a line each. No rule of the level is left out."""
    # Evaluated by the browser's tools, which no content policy binds: nothing is added to the page itself.
    await page.evaluate(_axe())
    found: list[dict[str, Any]] = await page.evaluate(_RUN, _TAGS)
    return [f"{one['id']}: {one['help']}: {json.dumps(one['where'])}" for one in found]
