"""Steady time on one node: `core/steady.py` over the store, and between two looks over the node's monotonic clock."""

from __future__ import annotations

import asyncio
from typing import Final

from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.rows import KINDS, Held, change, create, read
from leeside_server.core.steady import STEADY_ID, Seen, SteadyRow, look
from leeside_server.core.writes import Item, Stored
from leeside_server.ports import Clock, Store, StoreUnavailable

KEPT_S: Final = 0.25
"""How long what was seen is carried on by the monotonic clock alone."""
ANSWER_S: Final = 1.0
"""A store's clock whose answer took longer, or met a process that was stopped meanwhile, tells no time."""
TRIES: Final = 8


class Steady:
    """Steady time, the same on every node. Ask for it at each decision: it is read from the store often enough."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: Seen | None = None
        self._looking = asyncio.Lock()

    async def now_ms(self) -> int:
        """Steady time now. Raises the store's errors, `StoreUnavailable` too where no answer came in time."""
        seen = self._seen
        if seen is not None and 0 <= self._clock.monotonic_s() - seen.monotonic_s < KEPT_S:
            return seen.expected_ms(self._clock.monotonic_s())
        async with self._looking:
            return await self.look()

    def estimate_ms(self) -> int:
        """Steady time as the last look has it, for what was decided under that. 0 before the first."""
        return 0 if self._seen is None else self._seen.expected_ms(self._clock.monotonic_s())

    async def look(self) -> int:
        """Read the store's clock, and correct the row where it jumped."""
        for _ in range(TRIES):
            held = await self._row()
            before_s = self._clock.monotonic_s()
            store_ms = await self._store.now_ms()
            after_s = self._clock.monotonic_s()
            if after_s - before_s > ANSWER_S:
                continue
            at_s = (before_s + after_s) / 2
            row = look(None if held is None else held.row, self._seen, store_ms, at_s)
            if held is None or row != held.row:
                save = create(STEADY_ID, row) if held is None else change(held, row)
                (outcome,) = await self._store.apply([Item(NO_AGENCY, store_ms, (save,))])
                if not isinstance(outcome, Stored):
                    # Another node wrote first, and may have seen more.
                    continue
            self._seen = Seen(store_ms + row.offset_ms, at_s)
            return self._seen.steady_ms
        raise StoreUnavailable

    async def _row(self) -> Held[SteadyRow] | None:
        found = await self._store.get(NO_AGENCY, KINDS[SteadyRow], STEADY_ID)
        return None if found is None else read(SteadyRow, found)
