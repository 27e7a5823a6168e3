"""An event loop whose time jumps to the next timer when nothing is ready: minutes pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
START_MS = 1_800_000_000_000


class _Jumping(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("nothing is left that could happen: the test would wait for ever")
        self.loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock moves only when everyone waits."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


class VirtualClock:
    """The client's clock on a virtual loop."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return START_MS + self.ahead_ms + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def play(story: Coroutine[Any, Any, _T]) -> _T:
    """Run a story to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


async def eventually(holds: Callable[[], bool], within_s: float = 120.0) -> None:
    """Wait until `holds()` is true; fail when it is not within so many virtual seconds."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - whatever is awaited for has no event of its own
            await asyncio.sleep(0.05)
