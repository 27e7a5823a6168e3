"""What a node does when its time has come: consults, pages, probes, the synthetic consult (spec 08, "Clockwork").

Theory of operation. Deadlines are rows, and every node asks what is due, each kind of work in a loop of its own, so that none
waits for another. Nothing is assigned: each change is saved by compare-and-set, one node wins, the others find it done. So a
node may die or be stopped at any instant, and needs no successor to be chosen.

A turn is complete when its work returned. A node whose works did not all complete a turn lately is not ready (`stalled`):
that it answers proves nothing about the person who waits for its next step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from leeside_server.log import get_logger
from leeside_server.ports import Clock, StoreFull, StoreUnavailable
from leeside_server.relay.steady import Steady

CYCLE_S: Final = 0.5
TURN_S: Final = 10.0
"""A turn that takes longer is given up, and begun anew: what it did stands, by its rows."""
AGAIN_S: Final = 1.0
"""How soon a turn is tried again that did not complete."""
STALLED_S: Final = 15.0

Work = Callable[[int], Awaitable[None]]
"""Carries out what is due at that steady time. May be cancelled anywhere; raises the store's errors."""

_log = get_logger("leeside.clockwork")


class Clockwork:
    """The works of one node. `add` them before `loops` is run."""

    def __init__(self, steady: Steady, clock: Clock) -> None:
        self._steady = steady
        self._clock = clock
        self._gears: list[_Gear] = []

    def add(self, name: str, work: Work, every_s: float = CYCLE_S, *, vital: bool = True) -> None:
        """Have this done every `every_s`, beginning one period after the start. `vital`: a node that cannot do it is
        not ready."""
        self._gears.append(_Gear(name, work, every_s, vital, self._clock.monotonic_s()))

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """One coroutine a work, to be run until cancelled."""
        return tuple(self._turn_forever(gear) for gear in self._gears)

    async def cycle(self) -> None:
        """One turn of every work, for tests."""
        for gear in self._gears:
            await self._turn(gear)

    @property
    def age_s(self) -> float:
        """How long ago the vital work completed a turn that is the furthest behind, beyond its own period."""
        now_s = self._clock.monotonic_s()
        ages = (now_s - gear.completed_s - gear.every_s for gear in self._gears if gear.vital)
        return max(0.0, *ages, 0.0)

    @property
    def stalled(self) -> bool:
        """Whether a vital work did not complete a turn for `STALLED_S`."""
        return self.age_s > STALLED_S

    async def _turn_forever(self, gear: _Gear) -> None:
        wait_s = gear.every_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = gear.every_s if await self._turn(gear) else min(gear.every_s, AGAIN_S)

    async def _turn(self, gear: _Gear) -> bool:
        """Whether it completed."""
        try:
            async with asyncio.timeout(TURN_S):
                await gear.work(await self._steady.now_ms())
        except (StoreUnavailable, StoreFull, TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001
            # A fault of ours in one work must not stop the others; the age of its last turn tells. Its text could
            # repeat content.
            _log.error("clockwork_failed", kind=gear.name, error=type(error).__name__)
            return False
        gear.completed_s = self._clock.monotonic_s()
        return True


class _Gear:
    """One work and when it last completed a turn."""

    __slots__ = ("completed_s", "every_s", "name", "vital", "work")

    def __init__(self, name: str, work: Work, every_s: float, vital: bool, completed_s: float) -> None:
        self.name = name
        self.work = work
        self.every_s = every_s
        self.vital = vital
        self.completed_s = completed_s
