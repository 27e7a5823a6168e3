"""The ports: what the relay needs from the world, as guarantees and not as mechanics.

Every adapter of a port passes the same contract suite (`tests/ports`). Two sets are complete: SQLite with
everything in process (the default), and PostgreSQL with Redis for many nodes. A port raises only the errors
named here; an adapter translates its library's own and never lets their texts out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from leeside_protocol.ids import AgencyId, BlobId, ChannelAddress, ChannelId, DeviceId
from leeside_server.core.writes import AuditRow, Item, LogPage, Object, Outcome


class StoreUnavailable(Exception):
    """The store cannot be reached or is recovering. What was being written may or may not stand: repeat the
    same ids and see. Told to clients as `unavailable`."""


class StoreFull(Exception):
    """There is no room to write; nothing of the batch stands. Reading goes on. Told as `storage_full`."""


class StoreRefused(Exception):
    """The store must not be used: weak durability settings, a foreign schema, another process holding it.
    The text says what to change; the server does not start."""


class BusUnavailable(Exception):
    """A hint could not be sent. Nothing is lost: other nodes find it by polling heads."""


class Store(Protocol):
    """The truth: logs, objects, boxes, security events. Survives kill -9 and power loss."""

    @property
    def generation(self) -> int:
        """Changes whenever acknowledged history may have been lost (restored backup, promoted replica)."""
        ...

    async def apply(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Write items; return their outcomes in order, only after they are durable.

        Items of one call, and items of later calls, take their offsets in the order given. Offsets of a log
        are consecutive from 1 and become visible in order. If the caller is cancelled the items may stand.
        Raises `StoreFull` (nothing stands) or `StoreUnavailable` (unknown).
        """
        ...

    async def read(
        self, agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        """The next entries behind `after`: `limit` at most, and no more than `max_bytes` of payload unless
        the first alone exceeds it. An unknown log is empty: head 0."""
        ...

    async def heads(self, channels: Sequence[tuple[AgencyId, ChannelAddress]]) -> Sequence[int]:
        """Head offsets in the order asked; 0 for logs that do not exist."""
        ...

    async def get(self, agency: AgencyId, kind: str, key: bytes) -> Object | None:
        """One object, or None."""
        ...

    async def get_many(self, names: Sequence[tuple[AgencyId, str, bytes]]) -> Sequence[Object | None]:
        """`get` for many (agency, kind, id) at once, in the order asked; a name may stand there twice."""
        ...

    async def objects(
        self, agency: AgencyId, kind: str, parent: bytes | None, after: bytes, limit: int
    ) -> Sequence[Object]:
        """Objects of a kind (and parent, unless None) with ids above `after`, in the order of ids."""
        ...

    async def due(self, kind: str, now_ms: int, limit: int) -> Sequence[tuple[AgencyId, Object]]:
        """Objects of every agency whose `due_ms` is at or before `now_ms`, the oldest first."""
        ...

    async def boxes(
        self, agency: AgencyId, channel: ChannelId, recipient: bytes, from_epoch: int, limit: int
    ) -> Sequence[tuple[int, bytes | None, bytes]]:
        """(epoch, the recipient's own box or None, shared part) for epochs at or above `from_epoch`, in order."""
        ...

    async def audits(self, agency: AgencyId, after: int, limit: int) -> Sequence[AuditRow]:
        """Security events with a seq above `after`, in order."""
        ...

    async def agencies(self) -> Sequence[AgencyId]:
        """Every agency that has an object of kind `agency`."""
        ...

    async def now_ms(self) -> int:
        """The store's own clock, for deadlines that several nodes must agree on."""
        ...

    async def prune(self, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int) -> int:
        """Drop payloads of `log` entries up to offset `up_to` (their hashes stay) and forget replaced or
        deleted state rows older than `ids_before_ms`. Returns how many rows changed; `floor` follows."""
        ...

    async def forget_pruned(self, agency: AgencyId, channel: ChannelAddress, before_ms: int) -> int:
        """Delete the rows of pruned `log` entries older than `before_ms`, hashes and ids with them: only for logs whose
        order nobody proves. Returns how many."""
        ...

    async def kept(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[bytes]:
        """The payloads of the oldest `log` entry that was not pruned and of every standing `state` value."""
        ...

    async def forget_boxes(self, agency: AgencyId, channel: ChannelId, below: int, shared: bytes) -> int:
        """Delete the boxes of epochs below `below`, and put `shared` in the place of what verified them; the epochs
        themselves still count as written. Returns how many boxes went. Not for boxes that could still be written."""
        ...

    async def bump_generation(self) -> int:
        """Start a new generation, after a restore or promotion. Returns it."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then release everything. Later calls raise `StoreUnavailable`."""
        ...


Hint = Callable[[str, bytes], None]
"""Receives (topic, data) on the event loop; must not block or raise."""


class Bus(Protocol):
    """Hints between nodes: fast, and allowed to lose, double and reorder. Never the truth."""

    @property
    def shared(self) -> bool:
        """Whether another node may ever hear what is published here; the same for as long as the bus lives. When it
        is False a node need not make hints: it alone would get them back."""
        ...

    async def start(self, on_hint: Hint) -> None:
        """Begin; every hint on a subscribed topic, own ones included, reaches `on_hint`."""
        ...

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Send hints, one a topic and tick. Raises `BusUnavailable` within a second when it cannot."""
        ...

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Returns once hints on these topics arrive (or the bus is unhealthy: then polling covers them)."""
        ...

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """Stop; hints under way may still arrive."""
        ...

    def healthy(self) -> bool:
        """True while the bus's own heartbeat came round within 3 s, end to end."""
        ...

    async def close(self) -> None: ...


class LatestValue(msgspec.Struct, frozen=True):
    """The newest value of one stream key."""

    key: bytes
    device: DeviceId
    at_ms: int
    payload: bytes


class Latest(Protocol):
    """The last value per (channel, key) of the stream lane, in memory, for `STREAM_TTL_S` at most."""

    async def put(self, agency: AgencyId, channel: ChannelAddress, value: LatestValue) -> None:
        """Keep it unless a newer one (by `at_ms`) is there. May be lost; never raises."""
        ...

    async def values(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[LatestValue]:
        """What is there and younger than the limit; empty when the adapter cannot tell."""
        ...

    async def drop(self, agency: AgencyId, channel: ChannelAddress) -> None:
        """Forget a channel (its epoch changed or it was archived)."""
        ...

    async def close(self) -> None: ...


class Presence(Protocol):
    """Which devices are connected, by one lease a node."""

    async def renew(self, node: str, devices: Sequence[tuple[AgencyId, DeviceId]], now_ms: int) -> None:
        """Replace what this node says; it lasts `NODE_LEASE_S`. May be lost; never raises."""
        ...

    async def online(self, agency: AgencyId, devices: Sequence[DeviceId], now_ms: int) -> OnlineView:
        """Which of these devices some node holds, as of the oldest report used."""
        ...

    async def leave(self, node: str) -> None: ...

    async def close(self) -> None: ...


class OnlineView(msgspec.Struct, frozen=True):
    """`stale` when a node's lease ran out without it leaving, or the adapter cannot be reached: then
    absence proves nothing. A node that vanished counts for ten minutes, until it reports, leaves or is forgotten.
    `as_of_ms` is 0 when no report could be used at all."""

    devices: frozenset[DeviceId]
    as_of_ms: int
    stale: bool


class Blobs(Protocol):
    """Sealed attachments in chunks. Written once; a chunk acknowledged is durable."""

    async def put(self, agency: AgencyId, blob: BlobId, index: int, data: bytes) -> None:
        """Store one chunk; the same bytes again are fine, others raise `ChunkDiffers`. `StoreFull`,
        `StoreUnavailable` as in `Store`."""
        ...

    async def get(self, agency: AgencyId, blob: BlobId, index: int) -> bytes | None:
        """One chunk, or None."""
        ...

    async def have(self, agency: AgencyId, blob: BlobId) -> Sequence[int]:
        """Indexes that stand, ascending."""
        ...

    async def delete(self, agency: AgencyId, blob: BlobId) -> None: ...

    async def close(self) -> None: ...


class ChunkDiffers(Exception):
    """Another chunk stands at this index."""


class Subscription(msgspec.Struct, frozen=True):
    """Where a browser takes pushes, and what they are encrypted with (RFC 8291)."""

    endpoint: str
    public: bytes
    auth: bytes

    def __repr__(self) -> str:
        return "Subscription(...)"


class PushGone(Exception):
    """The push service knows no such subscription any more: forget it."""


class PushRefused(Exception):
    """The push service does not take this, and would not if it were sent again. `status` is its HTTP status, 0 for an
    endpoint that this server does not connect to."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class PushUnavailable(Exception):
    """The push service did not take it now; the same may succeed later. It may also have arrived."""


WAITING: Final = "leeside"
"""The topic of pushes that say that something waits."""


class Push(Protocol):
    """Tells a browser, over its maker's push service, that something waits. May be lost, late or doubled."""

    @property
    def key(self) -> bytes:
        """What subscriptions are bound to: P-256, uncompressed. Empty: nothing is pushed, and `permits` nothing."""
        ...

    def permits(self, endpoint: str) -> bool:
        """Whether this server would ever connect there."""
        ...

    async def ready(self) -> None:
        """Returns once `send` waits for nothing of its own any more. Call it before a decision that must be fresh when
        the first one is sent."""
        ...

    async def send(self, to: Subscription, payload: bytes, ttl_s: int, topic: str = WAITING) -> None:
        """Returns once the push service has taken it. Ends within 15 s. Raises `PushGone`, `PushRefused`,
        `PushUnavailable`. One that waits for a phone without a network takes the place of the one before of the same
        `topic`: 32 letters or digits at most, which the push service reads."""
        ...

    async def close(self) -> None: ...


class Calling(msgspec.Struct, frozen=True):
    """A text message or a call to a telephone. `id` is the idempotency key: a repeat has the same. `to` is E.164."""

    id: str
    kind: Literal["sms", "voice"]
    to: str
    page: str
    text: str

    def __repr__(self) -> str:
        return "Calling(...)"


class GatewayRefused(Exception):
    """The gateway does not take this, and would not if it were sent again. `status` is its HTTP status, 0 for an address
    that this server does not connect to."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class GatewayUnavailable(Exception):
    """The gateway did not take it now; the same may succeed later. It may also have arrived."""


class Gateway(Protocol):
    """Sends text messages and calls people, by what the operator has for it. May be late or doubled: then with the same
    `id`, by which the gateway knows a repeat."""

    @property
    def on(self) -> bool:
        """Whether there is one: else no number counts as a way to anybody."""
        ...

    async def ready(self) -> None:
        """As of `Push`."""
        ...

    async def send(self, calling: Calling) -> None:
        """Returns once the gateway has taken it. Ends within 15 s. Raises `GatewayRefused`, `GatewayUnavailable`."""
        ...

    async def close(self) -> None: ...


WORKER_LEASE_S: Final = 3
ROOM_LEASE_S: Final = 30


class Workplace(msgspec.Struct, frozen=True):
    """A living worker of the video bridge, as it announced itself. `worker` (8 bytes) is drawn anew with each process, so
    that one which died never comes back; `load` is the share of what it takes, 1.0 full. `open`: it takes new rooms."""

    worker: bytes
    rooms: int = 0
    load: float = 0.0
    open: bool = True


class Placement(msgspec.Struct, frozen=True):
    """Which worker holds a room. A later placement of the same room has a higher `epoch`: what speaks of a lower one is
    out of date."""

    worker: bytes
    epoch: int


class NoBridge(Exception):
    """No worker lives: there is no video now. Told as `unavailable`."""


class BridgesFull(Exception):
    """Every living worker is full, or takes no new rooms. Told as `busy`."""


class BridgesUnavailable(Exception):
    """The word could not be sent, or nothing can be placed now: what runs goes on. Told as `unavailable`."""


Word = Callable[[bytes], None]
"""Receives a word on the event loop; must not block or raise."""


class Bridges(Protocol):
    """Where the rooms of the video bridge are, and words between the nodes and the workers that hold them.

    One a process. A node listens at its own name, a supervisor at the name of each of its workers. Words are opaque here
    (sealed by `core.video.WordSeal`), and may be lost: whoever asks repeats. Inside one process they need nothing else.
    """

    @property
    def shared(self) -> bool:
        """Whether workers of another process could ever be found here."""
        ...

    async def start(self, on_gone: Callable[[bytes], None]) -> None:
        """Begin; a worker that is withdrawn, here or elsewhere, is named to `on_gone`."""
        ...

    async def listen(self, address: bytes, on_word: Word) -> None:
        """Words to this address (8 bytes) reach `on_word` from now on."""
        ...

    async def unlisten(self, address: bytes) -> None: ...

    async def say(self, address: bytes, word: bytes) -> None:
        """Send a word; nobody may be there. Raises `BridgesUnavailable` within a second when it cannot."""
        ...

    async def announce(self, workplace: Workplace) -> None:
        """This process's worker lives; repeat it every second, because it counts for `WORKER_LEASE_S`. Never raises."""
        ...

    async def withdraw(self, worker: bytes) -> None:
        """This worker is no more: its rooms may be placed anew at once, and every `on_gone` hears it. Never raises."""
        ...

    async def workplaces(self) -> Sequence[Workplace]:
        """The workers that live, own ones first. Raises `BridgesUnavailable` when those of others cannot be asked for."""
        ...

    async def place(self, room: bytes) -> Placement:
        """Who holds this room (16 bytes); the least loaded worker from now on, for `ROOM_LEASE_S`, when nobody who lives
        does. Raises `NoBridge`, `BridgesFull`, `BridgesUnavailable`."""
        ...

    async def keep(self, worker: bytes, rooms: Mapping[bytes, int]) -> frozenset[bytes]:
        """The worker goes on holding these rooms (and their epochs); repeat it every `ROOM_LEASE_S / 3`. The answer names
        those that another has: let go of them. Never raises: what cannot be asked is kept."""
        ...

    async def release(self, worker: bytes, room: bytes, epoch: int) -> None:
        """The room is empty. Nothing happens when another holds it. Never raises."""
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time as an argument: the one place that production code and tests get it from."""

    def now_ms(self) -> int:
        """Unix time, for what people and other machines see. May jump."""
        ...

    def monotonic_s(self) -> float:
        """For delays and time-outs. Never jumps."""
        ...
