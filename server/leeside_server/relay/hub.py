"""The hub: who on this node follows which log, and how what is stored reaches them.

Theory of operation. A log's `head` is the end of what was delivered on this node, and delivery strictly
follows it: local writes, hints of other nodes and pages read from the store are all ranges, and a range is
delivered only when it continues the head. What arrives beyond a hole waits in `pending` for `HOLE_WAIT_S`;
then the hole is filled from the store. Whatever is lost on the way (a hint, a whole bus) shows as a head in
the store beyond ours when heads are polled, and is filled the same way. So the hub is right whatever the bus
does, and the bus only makes it fast.

Work is gathered for one tick of the event loop: answers are joined for each socket, entries for each log;
a log's entries are encoded and framed once, and the same bytes are written to every live follower. Nothing
here waits for a socket: one that takes no more leaves the live set and catches up from the store.

Before entries are delivered, the roster in hand must be at least as new as they are (`Log.needs_epoch`);
else the log is held until it was read anew, and whoever left the roster is dropped first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

from leeside_protocol.codec import encode
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId
from leeside_protocol.messages import Entry, Live
from leeside_server.core.channels import ChannelRow, StreamValue, channel_logs, frame_epoch, may_follow
from leeside_server.core.writes import Append, Item, LogPage, Outcome, Stored
from leeside_server.log import get_logger
from leeside_server.ports import Bus, BusUnavailable, Store, StoreUnavailable
from leeside_server.relay.frames import frame
from leeside_server.relay.hints import HintSeal, StoredHint, StreamHint, StreamHintValue, topic_of
from leeside_server.relay.logs import UNKNOWN, Follow, Log, Receiver, batch_frames, wire_entry
from leeside_server.relay.metrics import Metrics

HOLE_WAIT_S: Final = 0.02
"""Two nodes that write one log announce in any order; a hole is filled from the store after this long."""
PENDING_ENTRIES: Final = 2_048
"""Entries kept beyond a hole; more are dropped, because the store has them."""
JOIN_TIMEOUT_S: Final = 5.0
HINTS_WAITING: Final = 4_096
"""Hints kept while the bus is slow; older ones are dropped, because nodes poll."""
JOIN_LOGS: Final = 512
"""Logs joined with one bus call and one read of heads."""

_log = get_logger("leeside.relay")

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Rows(Protocol):
    """Where the hub gets verified channel heads from (relay/heads.py)."""

    def held_row(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """The row in hand of a channel that is followed here."""
        ...

    async def refresh(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """Read it from the store now, and tell the hub of a change (`Hub.revise`)."""
        ...


class Answering(Protocol):
    """A socket with answers to write at the end of the tick."""

    def flush(self) -> None: ...


class CatchingUp(Protocol):
    """The scheduler of reads from the store (relay/catchup.py)."""

    def add(self, follow: Follow) -> None: ...

    def fill(self, log: Log) -> None: ...


class Hub:
    """Fan-out on one node."""

    def __init__(self, store: Store, bus: Bus, seal: HintSeal, metrics: Metrics, spawn: Spawn) -> None:
        self._store = store
        self._bus = bus
        self._seal = seal
        self._metrics = metrics
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self.logs: dict[tuple[AgencyId, ChannelAddress], Log] = {}
        self._topics: dict[str, Log] = {}
        self._dirty: dict[Log, None] = {}
        self._answering: dict[Answering, None] = {}
        self._fresh: dict[tuple[AgencyId, ChannelAddress], list[Entry]] = {}
        self._values: dict[tuple[AgencyId, ChannelAddress], dict[bytes, StreamValue]] = {}
        self._ticking = False
        self._joining: list[Log] = []
        self._parting: list[str] = []
        self._joins = asyncio.Event()
        self._hints: list[tuple[str, bytes]] = []
        self._hints_wake = asyncio.Event()
        self.generation = store.generation
        self.on_generation: Callable[[], None] = lambda: None
        self.rows: Rows
        self.catchup: CatchingUp

    # ---- following

    def pin(self, agency: AgencyId, address: ChannelAddress) -> Log:
        """The log, to be kept until `unpin`; await `opened` before looking at its head."""
        log = self.logs.get((agency, address))
        if log is None:
            log = Log(agency, address, self._loop.create_future())
            self.logs[agency, address] = log
            self._topics[log.topic] = log
            self._joining.append(log)
            self._joins.set()
        log.pins += 1
        return log

    def unpin(self, log: Log) -> None:
        """Let a log go once nobody else needs it."""
        log.pins -= 1

    async def opened(self, log: Log) -> None:
        """Returns once hints for the log arrive and its head is known. Raises `StoreUnavailable`."""
        if not log.ready.done():
            await asyncio.wait((log.ready,))
        log.ready.result()

    def follow(self, log: Log, receiver: Receiver, cursor: int) -> Follow:
        """Subscribe a socket from `cursor` on, in place of a subscription it has."""
        self.unfollow(log, receiver)
        follow = Follow(log, receiver, cursor)
        log.follows[receiver] = follow
        self.settle(follow)
        return follow

    def settle(self, follow: Follow) -> None:
        """Make a follow live when it has reached the head, else let it catch up."""
        log = follow.log
        if follow.gone or follow.live:
            return
        if follow.receiver.congested:
            return
        if follow.cursor < log.head or log.held:
            self.catchup.add(follow)
        elif follow.cursor > log.head:
            # It read from the store what is still to be delivered here: it must not be given that again.
            log.ahead[follow] = None
            self.catchup.fill(log)
        else:
            follow.live = True
            log.live[follow] = None

    def lag(self, follow: Follow) -> None:
        """The socket takes no more: keep a cursor instead of a buffer."""
        if follow.live:
            follow.live = False
            follow.cursor = follow.log.head
            follow.log.live.pop(follow, None)

    def unfollow(self, log: Log, receiver: Receiver) -> None:
        """End a subscription; nothing happens when there is none."""
        follow = log.follows.pop(receiver, None)
        if follow is not None:
            follow.gone = True
            follow.live = False
            log.live.pop(follow, None)
            log.ahead.pop(follow, None)

    def followed(self, agency: AgencyId, channel: ChannelId) -> bool:
        """Whether anyone on this node follows a log of this channel."""
        logs = (self.logs.get((agency, address)) for address in channel_logs(channel))
        return any(log is not None and (log.follows or log.pins) for log in logs)

    def revise(self, agency: AgencyId, channel: ChannelId, row: ChannelRow | None) -> None:
        """A channel's roster changed: whoever may no longer follow one of its logs is dropped now."""
        for address in channel_logs(channel):
            log = self.logs.get((agency, address))
            if log is None:
                continue
            for receiver, follow in tuple(log.follows.items()):
                if not may_follow(log.kind, log.owner, receiver.agency, receiver.device, row):
                    self.unfollow(log, receiver)
                    receiver.lost(follow)

    async def join_forever(self) -> None:
        """Join and leave topics in batches, one after the other, until cancelled."""
        while True:
            await self._joins.wait()
            self._joins.clear()
            while self._joining or self._parting:
                logs, self._joining = self._joining[:JOIN_LOGS], self._joining[JOIN_LOGS:]
                parting, self._parting = self._parting, []
                await self._part(parting)
                if logs:
                    await self._open(logs)

    def sweep(self) -> None:
        """Let go of logs that nobody needs; call every few seconds.

        One that is being opened stays, also when whoever waited for it gave up: opening it ends here.
        """
        idle = [log for log in self.logs.values() if log.idle and log.ready.done()]
        for log in idle:
            del self.logs[log.agency, log.address]
            del self._topics[log.topic]
            self._dirty.pop(log, None)
            self._parting.append(log.topic)
        if idle:
            self._joins.set()

    # ---- what was stored, here or elsewhere

    def stored(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        """Announce what a write of this node stored. Call only after the store said so."""
        for item, outcome in zip(items, outcomes, strict=True):
            if type(outcome) is not Stored:
                continue
            if outcome.generation != self.generation:
                # Of a history that ended, or of one that every follower is about to be told of.
                self.check_generation()
                continue
            at = 0
            for part in item.parts:
                if type(part) is Append:
                    self._fresh.setdefault((item.agency, part.channel), []).append(
                        Entry(
                            outcome.offsets[at],
                            part.lane,
                            part.key,
                            part.device,
                            part.id,
                            item.at_ms,
                            part.payload,
                            part.urgency,
                            part.mark,
                        )
                    )
                    at += 1
        self.touch()

    def value(self, agency: AgencyId, value: StreamValue) -> None:
        """Pass a stream value on at the end of the tick; a newer one of the same key takes its place."""
        self._values.setdefault((agency, value.channel), {})[value.key] = value
        self.touch()

    def answer(self, socket: Answering) -> None:
        """This socket has answers to write at the end of the tick."""
        self._answering[socket] = None
        self.touch()

    def touch(self) -> None:
        """See to it that a tick comes."""
        if not self._ticking:
            self._ticking = True
            self._loop.call_soon(self.tick)

    def on_hint(self, topic: str, data: bytes) -> None:
        """A hint from the bus, own ones included."""
        log = self._topics.get(topic)
        if log is None or self._seal.own(data):
            return
        hint = self._seal.decode(topic, data)
        if hint is None:
            self._metrics.hints_refused.inc()
            return
        if isinstance(hint, StreamHint):
            self._remote_values(log, hint)
            return
        if hint.generation != self.generation:
            self.check_generation()
            return
        if log.head != UNKNOWN and hint.to <= log.head:
            return
        if hint.entries:
            self._offer(log, hint.entries)
        elif log.head != UNKNOWN:
            self.catchup.fill(log)

    def heal(self, log: Log, page: LogPage) -> None:
        """A page read from the store reaches beyond the head: deliver the rest, as if it had been announced."""
        log.floor = page.floor
        if page.generation != self.generation:
            self.check_generation()
        elif not log.held and page.after <= log.head < page.to:
            entries = [wire_entry(row) for row in page.entries if row.offset > log.head]
            self._advance(log, page.to, entries)
            self._mark(log)

    def check_generation(self) -> None:
        """The store may have another history now: then every follower starts anew."""
        if self._store.generation != self.generation:
            self.generation = self._store.generation
            self.on_generation()

    def release(self, log: Log) -> None:
        """A held log's roster was read: go on."""
        log.held = False
        self._mark(log)
        for follow in tuple(log.follows.values()):
            self.settle(follow)

    # ---- the tick

    def tick(self) -> None:
        """Write answers, then logs by lane, then stream values; then the hints go out."""
        self._ticking = False
        answering, self._answering = self._answering, {}
        for socket in answering:
            socket.flush()
        fresh, self._fresh = self._fresh, {}
        for key, entries in fresh.items():
            log = self.logs.get(key)
            if log is not None:
                self._offer(log, entries)
        dirty, self._dirty = self._dirty, {}
        for log in sorted(dirty, key=_lane):
            self._deliver(log)
        values, self._values = self._values, {}
        self._flush_values(values)
        if self._bus.shared:
            self._queue_hints(fresh, values)

    async def hint_forever(self) -> None:
        """Send hints, a tick's together, until cancelled. What the bus does not take is lost: nodes poll."""
        while True:
            await self._hints_wake.wait()
            self._hints_wake.clear()
            hints, self._hints = self._hints, []
            try:
                async with asyncio.timeout(JOIN_TIMEOUT_S):
                    await self._bus.publish(hints)
                self._metrics.hints_sent.inc(len(hints))
            except (BusUnavailable, TimeoutError):
                self._metrics.hints_lost.inc(len(hints))

    # ---- inside

    def _offer(self, log: Log, entries: Iterable[Entry]) -> None:
        head = log.head
        for entry in entries:
            if entry.offset > head:
                log.pending[entry.offset] = entry
        if len(log.pending) > PENDING_ENTRIES:
            log.pending.clear()
            if head != UNKNOWN:
                self.catchup.fill(log)
        self._mark(log)

    def _mark(self, log: Log) -> None:
        self._dirty[log] = None
        self.touch()

    def _deliver(self, log: Log) -> None:
        """Deliver what continues the head; see to a hole behind it."""
        if log.held or log.head == UNKNOWN or not log.pending:
            return
        entries: list[Entry] = []
        at = log.head + 1
        while (entry := log.pending.pop(at, None)) is not None:
            entries.append(entry)
            at += 1
        if entries:
            self._advance(log, at - 1, entries)
        if log.pending and not log.held:
            for offset in [o for o in log.pending if o <= log.head]:
                del log.pending[offset]
            if log.pending and not log.filling:
                self._loop.call_later(HOLE_WAIT_S, self._fill_hole, log)

    def _fill_hole(self, log: Log) -> None:
        if log.pending and not log.held and log.head != UNKNOWN and log.head + 1 not in log.pending:
            self._metrics.holes.inc()
            self.catchup.fill(log)

    def _advance(self, log: Log, to: int, entries: Sequence[Entry]) -> None:
        """Deliver the range (head, to] to watchers and live followers, unless the roster must be read first."""
        channel = log.channel
        if channel is not None and (log.follows or log.watchers):
            row = self.rows.held_row(log.agency, channel)
            needs_epoch = log.needs_epoch(to, entries)
            if row is None or row.epoch < needs_epoch:
                for entry in entries:
                    log.pending[entry.offset] = entry
                self._hold(log, channel, needs_epoch)
                return
        after, log.head = log.head, to
        for watcher in tuple(log.watchers):
            watcher(log, entries)
        if log.live:
            data = batch_frames(log.address, after, to, entries)
            for follow in tuple(log.live):
                if follow.live:
                    follow.receiver.deliver(data)
            self._metrics.deliveries.inc(len(log.live) * len(entries))
        if log.ahead:
            ahead, log.ahead = log.ahead, {}
            for follow in ahead:
                self.settle(follow)

    def _hold(self, log: Log, channel: ChannelId, needs_epoch: int) -> None:
        if not log.held:
            log.held = True
            self._spawn(self._unhold(log, channel, needs_epoch))

    async def _unhold(self, log: Log, channel: ChannelId, needs_epoch: int) -> None:
        """Read the roster until the store gives one that is new enough. Nothing is delivered meanwhile."""
        wait_s = 0.05
        while not log.idle:
            try:
                row = await self.rows.refresh(log.agency, channel)
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001
                # A row that this node cannot read (a later version's) must not hold the log beyond the row's end.
                _log.error("roster_unread", error=type(error).__name__)
            else:
                if row is None:
                    # The channel is gone, and so is everyone's right to it (`revise` has dropped them).
                    log.pending.clear()
                    break
                if row.epoch >= needs_epoch:
                    break
            await asyncio.sleep(wait_s)
            wait_s = min(2.0, wait_s * 2)
        self.release(log)

    def _flush_values(self, values: dict[tuple[AgencyId, ChannelAddress], dict[bytes, StreamValue]]) -> None:
        for key, newest in values.items():
            log = self.logs.get(key)
            if log is None:
                continue
            for v in newest.values():
                self._live(log, v.key, frame(encode(Live(v.channel, v.key, v.device, v.at_ms, v.payload))))

    def _remote_values(self, log: Log, hint: StreamHint) -> None:
        """Pass on what another node took, unless it is of an epoch whose roster is not known here yet: then
        it is dropped, as a stream value may be, and the roster read."""
        channel = log.channel
        row = None if channel is None else self.rows.held_row(log.agency, channel)
        for v in hint.values:
            if channel is not None and (row is None or row.epoch < frame_epoch(v.payload)):
                self._hold(log, channel, frame_epoch(v.payload))
                return
            self._live(log, v.key, frame(encode(Live(log.address, v.key, v.device, v.at_ms, v.payload))))

    def _live(self, log: Log, key: bytes, frames: bytes) -> None:
        for receiver in tuple(log.follows):
            receiver.deliver_value(log.address, key, frames)

    def _queue_hints(
        self,
        fresh: dict[tuple[AgencyId, ChannelAddress], list[Entry]],
        values: dict[tuple[AgencyId, ChannelAddress], dict[bytes, StreamValue]],
    ) -> None:
        for (agency, address), entries in fresh.items():
            entries.sort(key=_offset)
            topic = topic_of(agency, address)
            hint = StoredHint(self.generation, entries[0].offset - 1, entries[-1].offset, tuple(entries))
            self._hints.append((topic, self._seal.encode(topic, hint)))
        for (agency, address), newest in values.items():
            topic = topic_of(agency, address)
            stream = StreamHint(
                tuple(StreamHintValue(v.key, v.device, v.at_ms, v.payload) for v in newest.values()),
            )
            self._hints.append((topic, self._seal.encode(topic, stream)))
        if self._hints:
            if len(self._hints) > HINTS_WAITING:
                self._metrics.hints_lost.inc(len(self._hints) - HINTS_WAITING)
                del self._hints[:-HINTS_WAITING]
            self._hints_wake.set()

    async def _part(self, topics: Sequence[str]) -> None:
        # Someone may have joined again since.
        gone = [topic for topic in topics if topic not in self._topics]
        if gone:
            await _within_deadline(self._bus.unsubscribe(gone))

    async def _open(self, logs: Sequence[Log]) -> None:
        """Join the bus, then read heads: what is stored after that read arrives as a hint, or is polled."""
        await _within_deadline(self._bus.subscribe([log.topic for log in logs]))
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                while True:
                    generation = self._store.generation
                    heads = await self._store.heads([(log.agency, log.address) for log in logs])
                    if generation == self._store.generation:
                        break
                    # Of another history, and so is what waits: who begins anew leaves logs to us that are not open yet.
                    for log in logs:
                        log.pending.clear()
        except (StoreUnavailable, TimeoutError):
            for log in logs:
                del self.logs[log.agency, log.address]
                del self._topics[log.topic]
                log.ready.set_exception(StoreUnavailable())
                # Whoever waited has it; nobody else must be told of an exception never fetched.
                log.ready.exception()
            await self._part([log.topic for log in logs])
            return
        for log, head in zip(logs, heads, strict=True):
            # A write of this node may have been announced before the read of heads was answered; what it read
            # is older, and the entries wait in `pending`.
            log.head = head
            log.ready.set_result(None)
            self._mark(log)


async def _within_deadline(call: Awaitable[None]) -> None:
    """A bus that does not answer is covered by polling, as one that is down."""
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            await call
    except (BusUnavailable, TimeoutError):
        return


def _lane(log: Log) -> int:
    return log.lane


def _offset(entry: Entry) -> int:
    return entry.offset
