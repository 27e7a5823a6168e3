"""From sockets to the store: what many sockets publish is written together, in the order it arrived.

`WRITERS` batches are under way at a time, so that the store has the next one when it finishes a commit. The
queue is bounded: beyond `QUEUE_ITEMS` a publish is refused with `busy`, provably not stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from leeside_protocol.errors import WireError
from leeside_server.core.writes import Item, Outcome
from leeside_server.log import get_logger
from leeside_server.ports import StoreFull, StoreUnavailable

WRITERS: Final = 2
BATCH_ITEMS: Final = 2_048
QUEUE_ITEMS: Final = 16_384
WRITE_TIMEOUT_S: Final = 30.0

Done = Callable[[Outcome | WireError], None]
"""Hears what became of an item; must not block or raise."""

_log = get_logger("leeside.relay")


class Intake:
    """The queue in front of the store. Run `write_forever` in `WRITERS` tasks."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]]) -> None:
        self._write = write
        self._queue: deque[tuple[Item, Done]] = deque()
        self._wake = asyncio.Event()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, item: Item, done: Done) -> None:
        """Write an item; `done` is called exactly once, after it is durable or refused."""
        if len(self._queue) >= QUEUE_ITEMS:
            done(WireError.BUSY)
            return
        self._queue.append((item, done))
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Returns once nothing is queued or under way."""
        await self._idle.wait()

    async def write_forever(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._wake.wait()
            if not self._queue:
                self._wake.clear()
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ITEMS))]
            self._under_way += 1
            try:
                results = await self._results([item for item, _ in batch])
            finally:
                self._under_way -= 1
            for (_, done), result in zip(batch, results, strict=True):
                _tell(done, result)
            if not self._queue and not self._under_way:
                self._idle.set()

    async def _results(self, items: Sequence[Item]) -> Sequence[Outcome | WireError]:
        failed: WireError
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                return await self._write(items)
        except StoreFull:
            failed = WireError.STORAGE_FULL
        except (StoreUnavailable, TimeoutError):
            failed = WireError.UNAVAILABLE
        except Exception as error:  # noqa: BLE001
            # A fault of ours must cost one batch, not the node. The type alone: a text could repeat content.
            _log.error("write_failed", error=type(error).__name__)
            failed = WireError.UNAVAILABLE
        return [failed] * len(items)


def _tell(done: Done, result: Outcome | WireError) -> None:
    try:
        done(result)
    except Exception as error:  # noqa: BLE001
        # Another's answer must not depend on this one's.
        _log.error("answer_failed", error=type(error).__name__)
