"""What a node does by the clock: heartbeats, deadlines, polling heads, presence, tidying up.

Every loop waits a fixed time between rounds; a round is a method of its own, so tests call it without waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from leeside_protocol.ids import ChannelKind
from leeside_protocol.limits import NODE_BEAT_S
from leeside_server.log import get_logger
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable
from leeside_server.relay.logs import UNKNOWN, Log

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

CHECK_S: Final = 1.0
POLL_S: Final = 2.0
"""How often heads are polled anyway: what a bus lost without knowing shows within this time."""
POLL_ACCESS_S: Final = 1.0
POLL_DEGRADED_S: Final = 0.25
POLL_LOGS: Final = 1_000
POLL_TIMEOUT_S: Final = 5.0
PRESENCE_SOON_S: Final = 1.0
"""A device that went is told to the other nodes within this time."""
ARRIVALS_S: Final = 0.2
"""One that came, within this: whoever looks for somebody to come to a consult passes over who seems to be away."""
SWEEP_S: Final = 10.0
TOKENS_S: Final = 60.0

_log = get_logger("leeside.relay")


class Beats:
    """The loops of a node that run by the clock."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._polled_s = float("-inf")
        self._shorter: set[Log] = set()
        self._renewed_s = float("-inf")

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """One coroutine a loop, to be run until cancelled."""
        return (
            self._every(lambda: CHECK_S, self.check),
            self._every(lambda: POLL_DEGRADED_S if self._node.degraded else POLL_ACCESS_S, self.poll),
            self._every(lambda: PRESENCE_SOON_S, self.renew_presence),
            self._every(lambda: ARRIVALS_S, self.tell_arrivals),
            self._every(lambda: SWEEP_S, self.sweep),
            self._every(lambda: CHECK_S, self._node.pushes.look_again),
            self._every(lambda: TOKENS_S, self.refresh_tokens),
        )

    async def check(self) -> None:
        """Deadlines and heartbeats of every socket."""
        node = self._node
        now_s, now_ms, degraded = node.clock.monotonic_s(), node.clock.now_ms(), node.degraded
        # A loop that was held up has timers due before it looks at its sockets: what came by now is read first, so that
        # nobody is closed for a Hello or a beat that waits in our buffers. The first turn sees it, the second is behind it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number, socket in enumerate(node.sockets.all()):
            socket.check(now_s, now_ms, degraded)
            if number % 256 == 255:
                await asyncio.sleep(0)
        node.metrics.congested.set(len(node.sockets.congested))
        node.metrics.logs.set(len(node.hub.logs))
        node.metrics.degraded.set(degraded)
        node.metrics.catchup_waiting.set(node.catchup.waiting)
        node.metrics.pushes_waiting.set(node.pushes.waiting)
        node.metrics.pages_running.set(node.paging.running)
        node.metrics.clockwork_age_s.set(node.clockwork.age_s)

    async def poll(self) -> None:
        """Ask the store for heads beyond ours. ACCESS logs every round; all others every `POLL_S`, or every
        round while the bus does not carry."""
        node = self._node
        now_s = node.clock.monotonic_s()
        everything = node.degraded or now_s - self._polled_s >= POLL_S
        if everything:
            self._polled_s = now_s
        logs = [
            log
            for log in node.hub.logs.values()
            if log.head != UNKNOWN and (everything or log.kind is ChannelKind.ACCESS)
        ]
        node.hub.check_generation()
        for first in range(0, len(logs), POLL_LOGS):
            await self._poll(logs[first : first + POLL_LOGS])

    def poll_everything_next(self) -> None:
        """Let the next round of `poll` ask for every log."""
        self._polled_s = float("-inf")

    async def renew_presence(self) -> None:
        """Say which devices are here: every `NODE_BEAT_S`, and soon after one came or went."""
        node = self._node
        now_s = node.clock.monotonic_s()
        if node.sockets.devices_changed or now_s - self._renewed_s >= NODE_BEAT_S:
            node.sockets.devices_changed = False
            self._renewed_s = now_s
            async with asyncio.timeout(POLL_TIMEOUT_S):
                await node.presence.renew(node.id.hex(), node.sockets.devices(), node.clock.now_ms())

    async def tell_arrivals(self) -> None:
        """Wait until a device came, and say so."""
        await self._node.sockets.came.wait()
        self._node.sockets.came.clear()
        await self.renew_presence()

    async def sweep(self) -> None:
        """Let go of what nobody needs."""
        self._node.heads.sweep()
        self._node.access.sweep()
        self._node.hub.sweep()

    async def refresh_tokens(self) -> None:
        """Know the signing keys that other nodes made."""
        await self._node.tokens.refresh()

    async def _poll(self, logs: list[Log]) -> None:
        node = self._node
        delivered = [log.head for log in logs]
        async with asyncio.timeout(POLL_TIMEOUT_S):
            heads = await node.store.heads([(log.agency, log.address) for log in logs])
        # A held log may be on its way into a new generation already, with the head of the old one.
        shorter = {
            log
            for log, head, known in zip(logs, heads, delivered, strict=True)
            if head < known and not log.held
        }
        lost = shorter & self._shorter
        self._shorter = (self._shorter - set(logs)) | shorter
        if lost:
            await self._tell_of_lost_history()
            return
        for log, head in zip(logs, heads, strict=True):
            if head > log.head and not log.held:
                node.metrics.polled.inc()
                node.catchup.fill(log)
            if len(log.live) != len(log.follows):
                # Who stands still because a read failed goes on; the others are queued or congested.
                for follow in tuple(log.follows.values()):
                    node.hub.settle(follow)

    async def _tell_of_lost_history(self) -> None:
        """The store ends before what was delivered of a log, seen twice: it lost what it had said was durable, as a
        standby does that was promoted before it had received everything. Everyone is told by a new generation (G3);
        otherwise what takes the lost offsets would be passed over in silence."""
        self._shorter.clear()
        _log.error("history_lost", generation=await self._node.store.bump_generation())
        self._node.hub.check_generation()

    async def _every(
        self, wait_s: Callable[[], float], work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        while True:
            await asyncio.sleep(wait_s())
            try:
                await work()
            except (StoreUnavailable, StoreFull, TimeoutError):
                # The store is away, or has no room for a signing key: the next round tries again.
                continue
            except StoreRefused:
                _log.error("store_refused")
