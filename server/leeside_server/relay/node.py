"""A node: the ports it was given and everything that lives between them.

`Node` is the composition that is passed everywhere. Its `write` is the one path of every write, from sockets and
from HTTP: the store first, and only after it said so the hub and, once a tick, the bus.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelKind, address
from leeside_server.core import notices
from leeside_server.core.channels import CHANNEL, StreamValue
from leeside_server.core.video import WordSeal
from leeside_server.core.writes import Item, Outcome, Repeated, Save, Stored
from leeside_server.log import get_logger
from leeside_server.ports import (
    Blobs,
    Bridges,
    Bus,
    Clock,
    Gateway,
    Latest,
    LatestValue,
    Presence,
    Push,
    Store,
    StoreUnavailable,
)
from leeside_server.relay import foresight
from leeside_server.relay.access import Access
from leeside_server.relay.beats import Beats
from leeside_server.relay.catchup import READERS, CatchUp
from leeside_server.relay.clockwork import Clockwork
from leeside_server.relay.consults import LOOK_S, Consults
from leeside_server.relay.directories import Directories
from leeside_server.relay.door import Door
from leeside_server.relay.foresight import Foresight
from leeside_server.relay.heads import Heads
from leeside_server.relay.hints import NODE_BYTES, HintSeal
from leeside_server.relay.hub import Hub
from leeside_server.relay.intake import WRITERS, Intake
from leeside_server.relay.logs import Log
from leeside_server.relay.metrics import Metrics
from leeside_server.relay.paging import Paging
from leeside_server.relay.probes import EVERY_S as PROBES_S
from leeside_server.relay.probes import Probes
from leeside_server.relay.pushes import SENDERS, Pushes
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.signin import SERVERS, SignIns
from leeside_server.relay.sockets import Sockets
from leeside_server.relay.staff import Staff
from leeside_server.relay.steady import Steady
from leeside_server.relay.synthetic import EVERY_S as SYNTHETIC_S
from leeside_server.relay.synthetic import Synthetic
from leeside_server.relay.tokens import Tokens
from leeside_server.relay.video import Calls

FLOOR_KEPT_S: Final = 2.0
READ_TIMEOUT_S: Final = 5.0
VALUES_WAITING: Final = 8_192
"""Stream values on their way to `Latest`; beyond, they reach who listens now and nobody who comes later."""
DRAIN_S: Final = 10.0

_log = get_logger("leeside.relay")
T = TypeVar("T")


class Node:
    """One node of the relay. Make it inside a running event loop, `start` it, and `close` it in the end.

    `secret` has 32 bytes and is the same on every node (`tokens.load_secret`).
    """

    def __init__(
        self,
        config: RelaySettings,
        *,
        store: Store,
        bus: Bus,
        latest: Latest,
        presence: Presence,
        blobs: Blobs,
        push: Push,
        gateway: Gateway,
        bridges: Bridges | None = None,
        clock: Clock,
        secret: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.config = config
        self.store = store
        self.bus = bus
        self.latest = latest
        self.presence = presence
        self.blobs = blobs
        self.push = push
        self.gateway = gateway
        self.bridges = bridges
        self.clock = clock
        self.random = random
        self.id = random(NODE_BYTES)
        self.metrics = Metrics()
        self.tokens = Tokens(store, clock, secret, random)
        self.directories = Directories(store)
        seal = HintSeal(HKDF(SHA256(), 32, None, b"leeside1 hints").derive(secret), self.id)
        self.hub = Hub(store, bus, seal, self.metrics, self.spawn)
        self.heads = Heads(store, clock, self.hub, self.spawn)
        self.catchup = CatchUp(self.hub, store, clock, self.metrics)
        self.sockets = Sockets(self.metrics)
        self.access = Access(store, clock, self.hub, self._out, self.spawn)
        self.intake = Intake(self._publish)
        self.sign_ins = SignIns(self)
        self.door = Door(config.handshakes_per_source, config.handshakes)
        self.pushes = Pushes(self)
        self.steady = Steady(store, clock)
        self.paging = Paging(self)
        self.clockwork = Clockwork(self.steady, clock)
        self.staff = Staff(store, clock)
        self.consults = Consults(self)
        self.clockwork.add("pages", self.paging.carry_out)
        self.clockwork.add("consults", self.consults.carry_out)
        self.clockwork.add("people", self.consults.look, LOOK_S)
        self.foresight = Foresight(self)
        self.clockwork.add("foresight", self.foresight.look, foresight.LOOK_S, vital=False)
        self.probes = Probes(self)
        self.clockwork.add("probes", self.probes.carry_out, PROBES_S, vital=False)
        self.synthetic = Synthetic(self)
        self.clockwork.add("synthetic", self.synthetic.carry_out, SYNTHETIC_S, vital=False)
        self.calls = Calls(self, bridges, WordSeal(secret, random))
        self.beats = Beats(self)
        self.hub.rows = self.heads
        self.hub.catchup = self.catchup
        self.hub.on_generation = self._on_generation
        self.draining = False
        self._values: dict[tuple[AgencyId, ChannelAddress, bytes], LatestValue] = {}
        self._values_wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    # ---- life

    async def start(self) -> None:
        """Read the signing keys, join the bus, begin to work. Raises `StoreRefused`, `StoreUnavailable`."""
        await self.tokens.refresh()
        await self.bus.start(self.hub.on_hint)
        await self.calls.start()
        started = asyncio.Event()
        self._running = asyncio.get_running_loop().create_task(self._run(started), name="node")
        await started.wait()

    async def finished(self) -> None:
        """Returns when the node was closed; raises what it died of."""
        assert self._running is not None
        await asyncio.shield(self._running)

    async def drain(self) -> None:
        """Take no new sockets, finish what was taken, close sockets with `restart`."""
        self.draining = True
        for socket in self.sockets.all():
            socket.on_shutdown()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self.intake.drained()
        except TimeoutError:
            _log.warning("drain_timed_out")

    async def close(self) -> None:
        """Drain, stop the tasks, leave presence. The ports stay open: who opened them closes them."""
        await self.drain()
        self._stop.set()
        if self._running is not None:
            await asyncio.wait((self._running,))
            if not self._running.cancelled():
                # `finished` raises what it died of; here it is only taken note of.
                self._running.exception()
        await self.calls.close()
        await self.presence.leave(self.id.hex())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for a socket or the hub. Its failure costs itself, not the node."""
        if self._group is None:
            work.close()
            return
        task = self._group.create_task(_contained(work))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    # ---- the one path of writes

    async def write(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Store items and, once they are durable, deliver what was appended. Raises what `Store.apply` does;
        then nothing of them was announced."""
        began_s = self.clock.monotonic_s()
        outcomes = await self.store.apply(items)
        self.metrics.write_s.observe(self.clock.monotonic_s() - began_s)
        for item, outcome in zip(items, outcomes, strict=True):
            if type(outcome) is Stored:
                for part in item.parts:
                    if type(part) is Save:
                        self._saved(item.agency, part, outcome.generation)
        self.hub.stored(items, outcomes)
        self.pushes.stored(items, outcomes)
        return outcomes

    def _saved(self, agency: AgencyId, part: Save, generation: int) -> None:
        """Whoever keeps what a row says takes notice. Most writes are messages, and have none."""
        self.calls.saved(agency, part)
        if part.kind == CHANNEL:
            # What another generation says of a channel is read anew when the hub begins with it.
            if generation == self.hub.generation:
                self.heads.saved(agency, part)
                # Who is new in the roster cannot open what was sealed before, and who left must not get it.
                self.spawn(self.latest.drop(agency, address(ChannelKind.CONTENT, part.id)))
            return
        self.staff.saved(agency, part)
        self.paging.saved(part)

    def _out(self, agency: AgencyId, kind: notices.Access, subject: bytes) -> None:
        """A device was revoked or a session has ended, on any node."""
        self.sockets.out(agency, kind, subject)
        self.calls.out(agency, kind, subject)

    async def _publish(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """`write` for sockets. Counted once a batch: thousands of messages a second would feel a lock each."""
        outcomes = await self.write(items)
        kinds = [type(outcome) for outcome in outcomes]
        self.metrics.published.inc(kinds.count(Stored))
        self.metrics.repeated.inc(kinds.count(Repeated))
        return outcomes

    def pass_on(self, agency: AgencyId, value: StreamValue) -> None:
        """Pass a stream value on to who listens, and keep it for who comes."""
        self.metrics.values.inc()
        self.hub.value(agency, value)
        key = (agency, value.channel, value.key)
        if key in self._values or len(self._values) < VALUES_WAITING:
            self._values[key] = LatestValue(value.key, value.device, value.at_ms, value.payload)
            self._values_wake.set()

    # ---- what sockets ask

    async def floor(self, log: Log, offset: int) -> int:
        """The log's floor, as far as it matters to a follower at `offset`. Raises `StoreUnavailable`."""
        now_s = self.clock.monotonic_s()
        if offset >= log.head or now_s - log.floor_read_s < FLOOR_KEPT_S:
            return log.floor
        page = await in_time(self.store.read(log.agency, log.address, offset, 1, 1))
        log.floor, log.floor_read_s = page.floor, now_s
        return log.floor

    async def head(self, log: Log, offset: int) -> int:
        """Where the log ends, as far as it matters to a follower at `offset`: who was given more by another node than
        this one has delivered yet is not ahead of the store. Raises `StoreUnavailable`."""
        if offset <= log.head:
            return log.head
        (head,) = await in_time(self.store.heads([(log.agency, log.address)]))
        return head

    async def values(self, log: Log) -> Sequence[LatestValue]:
        """The stream values of a content log that are not too old; none for other logs."""
        if log.kind is not ChannelKind.CONTENT:
            return ()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self.latest.values(log.agency, log.address)
        except TimeoutError:
            return ()

    @property
    def degraded(self) -> bool:
        """Nodes find each other's messages by polling now."""
        return not self.bus.healthy()

    # ---- inside

    async def _run(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [
                group.create_task(work)
                for work in (
                    self.hub.join_forever(),
                    self.hub.hint_forever(),
                    self._keep_values_forever(),
                    *(_contained_forever(self.catchup.read_forever) for _ in range(READERS)),
                    *(self.intake.write_forever() for _ in range(WRITERS)),
                    *(_contained_forever(self.sign_ins.serve_forever) for _ in range(SERVERS)),
                    _contained_forever(self.pushes.look_forever),
                    *(_contained_forever(self.pushes.send_forever) for _ in range(SENDERS)),
                    _contained_forever(self.paging.look_forever),
                    _contained_forever(self.calls.look_forever),
                    *self.clockwork.loops(),
                    *self.beats.loops(),
                )
            ]
            started.set()
            await self._stop.wait()
            self._group = None
            for task in (*tasks, *self._spawned):
                task.cancel()

    async def _keep_values_forever(self) -> None:
        while True:
            await self._values_wake.wait()
            self._values_wake.clear()
            values, self._values = self._values, {}
            for (agency, channel, _), value in values.items():
                await self.latest.put(agency, channel, value)

    def _on_generation(self) -> None:
        self.catchup.forget_pages()
        self.heads.forget()
        self.spawn(self._begin_anew())

    async def _begin_anew(self) -> None:
        """The store has another history: read every head again, then tell every follower to start over."""
        generation = self.hub.generation
        logs = [log for log in self.hub.logs.values() if log.ready.done()]
        for log in logs:
            log.held = True
            log.pending.clear()
        wait_s = 0.1
        while True:
            try:
                heads = await in_time(self.store.heads([(log.agency, log.address) for log in logs]))
                for log, head in zip(logs, heads, strict=True):
                    log.head, log.floor = head, 0
                await self._read_rosters()
                await self.access.reload()
                break
            except Exception as error:  # noqa: BLE001
                # Every log is held until this succeeds, whatever it was that failed.
                if not isinstance(error, StoreUnavailable):
                    _log.error("generation_unread", error=type(error).__name__)
            await asyncio.sleep(wait_s)
            wait_s = min(2.0, wait_s * 2)
        if generation != self.hub.generation:
            # What was read is of a history that has ended as well; who began after it holds all these logs, too.
            return
        for socket in self.sockets.all():
            socket.reset(self.hub.generation)
        for log in logs:
            self.hub.release(log)
        _log.warning("generation_changed", generation=self.hub.generation)

    async def _read_rosters(self) -> None:
        """Of every channel that is followed here, before anybody is told to start over. Raises `StoreUnavailable`."""
        for agency, channel in self.heads.watched:
            try:
                await self.heads.refresh(agency, channel)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001
                # A row that this node cannot read (a later version's) holds its own channel, and none of the others.
                _log.error("roster_unread", error=type(error).__name__)


async def in_time(work: Awaitable[T]) -> T:
    """A read of the store with a deadline; `StoreUnavailable` when it passes."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await work
    except TimeoutError:
        raise StoreUnavailable from None


async def _contained_forever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A worker whose fault must cost one piece of work: it goes on with the next."""
    while True:
        await _contained(work())


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001
        # A fault of ours must cost one socket's request, not the node. Its text could repeat content.
        _log.error("task_failed", error=type(error).__name__)
