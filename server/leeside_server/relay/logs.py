"""One log as a node follows it, and who follows it here: the data that hub and catch-up work on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from leeside_protocol.codec import encode
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, ChannelKind, DeviceId, split_address
from leeside_protocol.limits import BATCH_BYTES, FRAME_BYTES, PAGE_ENTRIES
from leeside_protocol.messages import Batch, Entry
from leeside_server.core.channels import frame_epoch
from leeside_server.core.writes import StoredEntry
from leeside_server.relay.frames import frame
from leeside_server.relay.hints import topic_of

UNKNOWN: Final = -1
"""The head of a log that was not read from the store yet."""

CHANNEL_KINDS: Final = frozenset({ChannelKind.CONTENT, ChannelKind.EPOCHS, ChannelKind.GRANTS})
"""Kinds of log whose owner is a channel, so that its roster decides who may follow."""

LANES: Final = 3
"""Lanes of delivery, first to last: pages and notices, what is needed to read, what is read."""
_LANE_OF: Final = {
    ChannelKind.INBOX: 0,
    ChannelKind.ACCESS: 0,
    ChannelKind.EPOCHS: 1,
    ChannelKind.GRANTS: 1,
    ChannelKind.DIRECTORY: 1,
    ChannelKind.CONTENT: 2,
}

ENTRY_BYTES: Final = 65
"""What an entry takes in a batch beside its key, payload and hash, at most."""
ENTRIES_BYTES: Final = FRAME_BYTES - 64
"""What the entries of a batch may take: a frame less what stands around them."""

Watcher = Callable[["Log", Sequence[Entry]], None]
"""Sees entries before any follower does; must not block or raise."""


class Receiver(Protocol):
    """A socket as a log sees it."""

    @property
    def agency(self) -> AgencyId: ...

    @property
    def device(self) -> DeviceId: ...

    @property
    def congested(self) -> bool:
        """True: write nothing more to it than answers; it catches up from the store later."""
        ...

    @property
    def deliver(self) -> Callable[[bytes], None]:
        """Writes whole frames."""
        ...

    def deliver_value(self, channel: ChannelAddress, key: bytes, frames: bytes) -> None:
        """Write the newest value of a stream key, or keep it (newest wins) while congested."""
        ...

    def lost(self, follow: Follow) -> None:
        """The right to a log is gone: say so, and forget the follow."""
        ...


class Follow:
    """One socket's subscription to one log. While `live` its position is the log's head; else `cursor`."""

    __slots__ = ("cursor", "gone", "live", "log", "queued", "receiver")

    def __init__(self, log: Log, receiver: Receiver, cursor: int) -> None:
        self.log = log
        self.receiver = receiver
        self.cursor = cursor
        self.live = False
        self.queued = False
        self.gone = False

    def wants_page(self) -> bool:
        """It is behind, and its socket takes more."""
        return not (self.gone or self.live or self.receiver.congested)


class Log:
    """One log on this node. `head` is what was delivered here, not what the store has; `pending` holds what
    was announced beyond it, by offset; `held` stops delivery until the roster was read anew; who read further than
    the head meanwhile waits in `ahead`."""

    __slots__ = (
        "address",
        "agency",
        "ahead",
        "filling",
        "floor",
        "floor_read_s",
        "follows",
        "head",
        "held",
        "kind",
        "lane",
        "live",
        "owner",
        "pending",
        "pins",
        "ready",
        "topic",
        "watchers",
    )

    def __init__(self, agency: AgencyId, address: ChannelAddress, ready: asyncio.Future[None]) -> None:
        self.agency = agency
        self.address = address
        self.kind, self.owner = split_address(address)
        self.lane = _LANE_OF[self.kind]
        self.topic = topic_of(agency, address)
        self.head = UNKNOWN
        self.floor = 0
        self.floor_read_s = float("-inf")
        self.pending: dict[int, Entry] = {}
        self.follows: dict[Receiver, Follow] = {}
        self.live: dict[Follow, None] = {}
        self.ahead: dict[Follow, None] = {}
        self.watchers: list[Watcher] = []
        self.pins = 0
        self.filling = False
        self.held = False
        self.ready = ready

    @property
    def channel(self) -> ChannelId | None:
        """The channel that owns this log, if one does."""
        return ChannelId(self.owner) if self.kind in CHANNEL_KINDS else None

    @property
    def idle(self) -> bool:
        """Nobody needs it any more."""
        return not self.follows and not self.watchers and not self.pins

    def needs_epoch(self, to: int, entries: Iterable[Entry]) -> int:
        """The epoch that the roster in hand must have reached before these may be delivered: members of an
        older one may not be members any more."""
        if self.kind is ChannelKind.EPOCHS:
            return to - 1
        if self.kind is ChannelKind.CONTENT:
            return max((frame_epoch(e.payload) for e in entries), default=-1)
        return -1


def wire_entry(row: StoredEntry) -> Entry:
    """A stored row as it goes over the socket."""
    return Entry(
        row.offset,
        row.lane,
        row.key,
        row.device,
        row.id,
        row.at_ms,
        b"" if row.payload is None else row.payload,
        row.urgency,
        row.mark,
        row.hash if row.payload is None else b"",
    )


def batch_frames(address: ChannelAddress, after: int, to: int, entries: Sequence[Entry]) -> bytes:
    """The range (after, to] as framed `Batch` messages: one, or more where they would exceed a frame. Pruned messages
    and deleted values have no payload, and hundreds of them fill a frame all the same."""
    out: list[bytes] = []
    first, payloads, size = 0, 0, 0
    for at, entry in enumerate(entries):
        payload = len(entry.payload)
        whole = ENTRY_BYTES + len(entry.key) + payload + len(entry.hash)
        payloads += payload
        size += whole
        if at > first and (payloads > BATCH_BYTES or size > ENTRIES_BYTES or at - first >= PAGE_ENTRIES):
            end = entries[at - 1].offset
            out.append(frame(encode(Batch(address, after, end, tuple(entries[first:at])))))
            after, first, payloads, size = end, at, payload, whole
    out.append(frame(encode(Batch(address, after, to, tuple(entries[first:])))))
    return out[0] if len(out) == 1 else b"".join(out)
