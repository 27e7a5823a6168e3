"""Keys pressed in a test, and nothing else: the focus is never lost on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from playwright.async_api import TimeoutError as Late
from playwright.async_api import expect

from tests.web.screen import Screen

_SEEN: Final = """\
() => {
    const here = document.activeElement;
    if (here === null || here === document.body) return false;
    const { width, height } = here.getBoundingClientRect();
    return here.matches(':focus-visible') && here.checkVisibility() && width > 0 && height > 0;
}
"""
MOUSE: Final = """\
globalThis.pointed = 0;
for (const kind of ['pointerdown', 'mousedown', 'touchstart'])
    addEventListener(kind, () => { globalThis.pointed += 1; }, true);
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Presses keys and nothing else. The focus is never lost: it stands on something that a person sees."""

    screen: Screen

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.screen.page.keyboard.press(key)
            await self.seen()

    async def write(self, text: str) -> None:
        await self.screen.page.keyboard.type(text)

    async def seen(self) -> None:
        try:
            await self.screen.page.wait_for_function(_SEEN)
        except Late:
            where: str = await self.screen.page.evaluate(
                "() => document.activeElement?.outerHTML.slice(0, 200)"
            )
            raise AssertionError(f"the focus is lost, at: {where}") from None

    async def at(self, words_of_it: str) -> None:
        """Until the focus stands on what is named so."""
        await expect(self.screen.page.locator(":focus")).to_have_accessible_name(words_of_it)

    async def tab_to(
        self,
        words_of_it: str | re.Pattern[str],
        role: Literal["button", "textbox"] = "button",
        most: int = 30,
    ) -> None:
        """Forward through the page, as far as a person would go."""
        button = self.screen.page.get_by_role(role, name=words_of_it)
        await expect(button.first).to_be_visible()
        named = self.screen.page.locator(":focus").and_(button)
        for _ in range(most):
            if await named.count():
                return
            await self.press("Tab")
        raise AssertionError(f"no way by Tab to {words_of_it}")

    async def dialog(self, title: str | None) -> None:
        """Until this sheet is open, or none, and the focus is somewhere again."""
        sheets = self.screen.page.get_by_role("dialog")
        if title is None:
            await expect(sheets).to_have_count(0)
        else:
            await expect(
                sheets.filter(has=self.screen.page.get_by_role("heading", name=title))
            ).to_be_visible()
        await self.seen()
