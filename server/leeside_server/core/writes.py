"""What the store is asked to write, and what it answers: plain data shared by core, ports and adapters.

An `Item` is all or nothing. Its parts are checked in order under the store's locks and then written
together; many items share one commit (group commit), and none is answered before that commit is durable.

What is made for each message is a `msgspec.Struct`: that is made several times faster than a frozen dataclass, and the
collector need not look at it, because nothing here can be part of a cycle.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.words import Lane, Mark, Urgency

NO_DEVICE = DeviceId(bytes(16))
"""The sender of what the server itself writes."""
OBJECT_BYTES: Final = 262_144
"""The longest body of an object. A row is made of what several requests brought: a consult has its ladder's steps, whom it
paged and what was tried, each bounded, and together more than one request. It must always be possible to save it."""


class Append(msgspec.Struct, frozen=True, gc=False):
    """One message behind the head of a log, exactly once per (agency, device, message id).

    A repeat of an id that stands is not written again: its first offset is the answer, `differs` telling
    whether the bytes are others. In the `state` lane the value that held `key` before is dropped. The first
    part of an item that repeats answers for the whole item: nothing of it is written.
    """

    channel: ChannelAddress
    lane: Lane
    key: bytes
    device: DeviceId
    id: MessageId
    payload: bytes
    urgency: Urgency = Urgency.ROUTINE
    mark: Mark = Mark.NONE
    expect_head: int | None = None
    """Compare-and-set: refused with `conflict` unless the head is exactly this."""
    epoch: int | None = None
    """The frame's epoch: refused with `stale` when the channel's fence (see `Fence`) is beyond it."""
    refuse: WireError | None = None
    """Only look the id up: a repeat is answered as such, anything else is refused with this error. Goes
    through the same queue as writes, so that `stale` really means "provably not stored"."""


class Save(msgspec.Struct, frozen=True):
    """One object by compare-and-set on its revision; `expect` 0 creates. `conflict` when it has another."""

    kind: str
    id: bytes
    expect: int
    body: bytes
    """JSON, at most `OBJECT_BYTES`."""
    parent: bytes = b""
    """What `Store.objects` selects by, besides the kind."""
    due_ms: int | None = None
    """When `Store.due` hands it out."""


class Remove(msgspec.Struct, frozen=True):
    """One object, gone for good, by compare-and-set on its revision; `conflict` when it has another or is not there.

    Only for what may be forgotten: a new object of the same id begins at revision 1 again, so that whoever still
    holds the old one could take it for that.
    """

    kind: str
    id: bytes
    expect: int


class PutBoxes(msgspec.Struct, frozen=True):
    """The boxes of one epoch, each readable by its recipient alone; one row a recipient."""

    channel: ChannelId
    epoch: int
    boxes: tuple[tuple[bytes, bytes], ...]
    """(recipient id, opaque bytes)"""
    shared: bytes
    """What every recipient needs to verify its own (box hashes and the committer's signature)."""


class Fence(msgspec.Struct, frozen=True):
    """Frames of epochs below `min_epoch` are refused from this commit on, on every node."""

    channel: ChannelAddress
    min_epoch: int


class Audit(msgspec.Struct, frozen=True):
    """One append-only security event; `actor` and `subject` are ids, never names or content."""

    event: str
    actor: bytes
    subject: bytes
    outcome: str


Part: TypeAlias = Append | Save | Remove | PutBoxes | Fence | Audit


class Item(msgspec.Struct, frozen=True, gc=False):
    """Parts that stand together or not at all, in one agency. `at_ms` is the server's time."""

    agency: AgencyId
    at_ms: int
    parts: tuple[Part, ...]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The item is durable. `offsets` has one entry for each `Append` of the item, in order."""

    generation: int
    offsets: tuple[int, ...]


class Repeated(msgspec.Struct, frozen=True, gc=False):
    """The message stood already; nothing was written."""

    generation: int
    offset: int
    differs: bool


class NotStored(msgspec.Struct, frozen=True):
    """The item was refused and provably left nothing behind. `head` is the head offset at `conflict`, the
    fence at `stale`, else 0."""

    code: WireError
    head: int = 0


Outcome: TypeAlias = Stored | Repeated | NotStored


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """A row of a log as read back. `payload` None: pruned (its SHA-256 in `hash`)."""

    offset: int
    lane: Lane
    key: bytes
    device: DeviceId
    id: MessageId
    at_ms: int
    payload: bytes | None
    urgency: Urgency
    mark: Mark
    hash: bytes


class LogPage(msgspec.Struct, frozen=True):
    """What stands in a log in the range (after, to]: replaced state values are left out. `to` equals `head`
    when the page reaches the end. `floor` is the offset up to which log payloads were pruned, 0 for none."""

    entries: tuple[StoredEntry, ...]
    after: int
    to: int
    head: int
    floor: int
    generation: int


class Object(msgspec.Struct, frozen=True):
    """An object as read back."""

    kind: str
    id: bytes
    revision: int
    body: bytes
    parent: bytes
    due_ms: int | None


class AuditRow(msgspec.Struct, frozen=True):
    """A security event as read back; `seq` grows within its agency."""

    seq: int
    at_ms: int
    event: str
    actor: bytes
    subject: bytes
    outcome: str
