"""Catching up from the store: the lower lane that live messages and pages always pass.

Theory of operation. A follow that is not live waits here for its next page of `BATCH_BYTES`; a log with a
hole waits to be filled. Three lanes are served strictly in order (fills and inboxes; epochs, grants and
directories; content), each one round robin, a page at a time, by `READERS` tasks that give the event loop
back after every page. So the cost of catching up is a cursor for each follow and a page for each reader,
however far behind they are, and nobody's backlog delays anybody's next page by more than one round.

Many sockets that come back together ask for the same pages: the newest `PAGES_KEPT` framed pages are kept for
`PAGE_KEPT_S` and written again, the last page of a log too. A range that was read stays true: what changes behind it
has a later offset.

What fails (the store is away) is left to the poll, which calls `add` for every follow that stands still.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

from leeside_protocol.ids import AgencyId, ChannelAddress
from leeside_protocol.limits import BATCH_BYTES, PAGE_ENTRIES
from leeside_server.core.writes import LogPage
from leeside_server.ports import Clock, Store, StoreUnavailable
from leeside_server.relay.hub import Hub
from leeside_server.relay.logs import LANES, UNKNOWN, Follow, Log, batch_frames, wire_entry
from leeside_server.relay.metrics import Metrics

READERS: Final = 3
PAGES_KEPT: Final = 256
"""About 8 MiB."""
PAGE_KEPT_S: Final = 2.0
READ_TIMEOUT_S: Final = 10.0


class CatchUp:
    """The scheduler of reads. Run `read_forever` in `READERS` tasks."""

    def __init__(self, hub: Hub, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._lanes: tuple[deque[Follow | Log], ...] = tuple(deque() for _ in range(LANES))
        self._waiting = asyncio.Semaphore(0)
        self._reading = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._pages: OrderedDict[tuple[AgencyId, ChannelAddress, int], _Page] = OrderedDict()

    def add(self, follow: Follow) -> None:
        """Let a follow catch up until it is live, gone, or its socket congested."""
        if not follow.queued and not follow.gone:
            follow.queued = True
            self._put(follow.log.lane, follow)

    def fill(self, log: Log) -> None:
        """Read what a log has beyond its head."""
        if not log.filling:
            log.filling = True
            self._put(0, log)

    def forget_pages(self) -> None:
        """What was read may not be what stands (another generation, a prune)."""
        self._pages.clear()

    @property
    def waiting(self) -> int:
        """How many pages are waited for."""
        return sum(len(lane) for lane in self._lanes)

    async def settled(self) -> None:
        """Returns once nothing waits and no page is being read."""
        await self._settled.wait()

    async def read_forever(self) -> None:
        """Serve the lanes until cancelled."""
        while True:
            await self._waiting.acquire()
            work = next(lane for lane in self._lanes if lane).popleft()
            self._reading += 1
            try:
                if isinstance(work, Log):
                    await self._fill(work)
                else:
                    await self._step(work)
            finally:
                self._reading -= 1
                if not self._reading and not self.waiting:
                    self._settled.set()
            # Live sockets first: whatever became ready in the meantime runs now.
            await asyncio.sleep(0)

    def _put(self, lane: int, work: Follow | Log) -> None:
        self._lanes[lane].append(work)
        self._settled.clear()
        self._waiting.release()

    async def _fill(self, log: Log) -> None:
        log.filling = False
        if log.idle or log.held or log.head == UNKNOWN:
            return
        before = log.head
        page = await self._read(log, before)
        if page is None:
            return
        self._hub.heal(log, page)
        if before < log.head < page.head:
            self.fill(log)

    async def _step(self, follow: Follow) -> None:
        """One page for one follow."""
        follow.queued = False
        log, receiver = follow.log, follow.receiver
        if not follow.wants_page():
            return
        if follow.cursor >= log.head:
            if not log.held:
                self._hub.settle(follow)
            return
        page = self._kept(log, follow.cursor)
        if page is None:
            page = await self._fetch(log, follow.cursor)
        if page is None or page.generation != self._hub.generation:
            return
        if log.channel is not None:
            row = self._hub.rows.held_row(log.agency, log.channel)
            if row is None or row.epoch < page.needs_epoch:
                try:
                    row = await self._hub.rows.refresh(log.agency, log.channel)
                except StoreUnavailable:
                    return
                if row is None or row.epoch < page.needs_epoch:
                    return
        # Both may have changed while the page or the roster was read.
        if not follow.wants_page() or page.to <= follow.cursor:
            return
        follow.cursor = page.to
        receiver.deliver(page.frames)
        self._metrics.pages.inc()
        self._hub.settle(follow)

    async def _fetch(self, log: Log, after: int) -> _Page | None:
        page = await self._read(log, after)
        if page is None:
            return None
        self._hub.heal(log, page)
        entries = [wire_entry(row) for row in page.entries]
        made = _Page(
            page.to,
            page.generation,
            log.needs_epoch(page.to, entries),
            batch_frames(log.address, after, page.to, entries),
            self._clock.monotonic_s(),
        )
        if page.to > after:
            self._pages[log.agency, log.address, after] = made
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return made

    def _kept(self, log: Log, after: int) -> _Page | None:
        page = self._pages.get((log.agency, log.address, after))
        if page is None or self._clock.monotonic_s() - page.read_s > PAGE_KEPT_S:
            return None
        return page

    async def _read(self, log: Log, after: int) -> LogPage | None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._store.read(log.agency, log.address, after, PAGE_ENTRIES, BATCH_BYTES)
        except (StoreUnavailable, TimeoutError):
            return None


class _Page:
    """A page as it goes out to any number of sockets."""

    __slots__ = ("frames", "generation", "needs_epoch", "read_s", "to")

    def __init__(self, to: int, generation: int, needs_epoch: int, frames: bytes, read_s: float) -> None:
        self.to = to
        self.generation = generation
        self.needs_epoch = needs_epoch
        self.frames = frames
        self.read_s = read_s
