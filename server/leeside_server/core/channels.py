"""Channels as the relay sees them: the verified head of each, and what may be published to it or read from it.

`ChannelRow` is the body (JSON) of the store's object of kind "channel"; it changes only in the transaction
that appends the commit it was made from. Everything here is a table lookup or a comparison: no IO, no clock.

The server is a keyless observer. It compares a frame's clear header (spec 04, "Frame") with the channel's
head; it never sees, and never needs, what the frame holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec

from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelId,
    ChannelKind,
    DeviceId,
    StateKind,
    address,
)
from leeside_protocol.limits import EPOCH_GRACE_S, STATE_KEY_BYTES
from leeside_protocol.messages import Publish
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL
from leeside_protocol.sealing.public.frame import HEADER_BYTES, FrameHeader, parse_frame
from leeside_protocol.words import ChannelPurpose, Compartment, Lane
from leeside_server.core.writes import Append

CHANNEL: Final = "channel"
"""The store's object kind of a `ChannelRow`; its id is the channel's, its parent one of the next two."""
ACTIVE: Final = b"active"
ARCHIVED: Final = b"archived"

REASON_REVOKE: Final = 2
"""A commit's reason: it drops a revoked device, so frames of the epoch before end at once (spec 04)."""

_CLASS_OF_LANE: Final = {Lane.LOG: DURABLE, Lane.STATE: DURABLE, Lane.STREAM: EPHEMERAL}

_KINDS_OF_LANE: Final[dict[Lane, frozenset[StateKind]]] = {
    Lane.LOG: frozenset(),
    Lane.STATE: frozenset(
        {StateKind.STATUS, StateKind.POSITION, StateKind.RECEIPT, StateKind.NAME, StateKind.INCIDENT}
    ),
    Lane.STREAM: frozenset({StateKind.POSITION, StateKind.TYPING}),
}
"""Which kinds of key a lane carries (spec 03, "Keys")."""

_OWN: Final = frozenset({StateKind.POSITION, StateKind.RECEIPT, StateKind.TYPING})
"""Kinds whose key must name the device that publishes."""


class RosterDevice(msgspec.Struct, frozen=True, array_like=True):
    """A device of the head's roster: 32 hexadecimal digits, and bit c set for each class c it holds."""

    device: str
    class_mask: int


class ChannelRow(msgspec.Struct, frozen=True, dict=True):
    """What the server keeps of a channel's newest verified commit.

    `subject` is the unit or incident (32 hexadecimal digits) or None; `creator` a device. `commit_hash` has
    32 bytes, `prev_commit_prefix` the first 16 of the commit before (zero at genesis). `epoch_since_ms` is
    the server's time when the head was stored; `reason` the commit's.
    """

    purpose: ChannelPurpose
    compartment: Compartment
    subject: str | None
    epoch: int
    commit_hash: bytes
    prev_commit_prefix: bytes
    epoch_since_ms: int
    reason: int
    devices: tuple[RosterDevice, ...]
    archived: bool
    creator: str

    @cached_property
    def masks(self) -> dict[DeviceId, int]:
        """The roster as a lookup: device id to class mask."""
        return {DeviceId(bytes.fromhex(d.device)): d.class_mask for d in self.devices}


class StreamValue(msgspec.Struct, frozen=True, gc=False):
    """A stream publish that may be passed on: newest wins, nothing is stored."""

    channel: ChannelAddress
    key: bytes
    device: DeviceId
    at_ms: int
    payload: bytes


class Refusal(msgspec.Struct, frozen=True):
    """A request that must not be carried out. `head` is the epoch to fetch when `stale`, else 0."""

    code: WireError
    detail: str = ""
    head: int = 0


NOT_FOUND: Final = Refusal(WireError.NOT_FOUND)
"""The one answer for what does not exist, is another agency's, or is not yours: same number, same shape."""


class Ahead(msgspec.Struct, frozen=True):
    """The frame names an epoch beyond `row`: read the row anew, ask again, then answer `refusal`."""

    refusal: Refusal


def accept(
    publish: Publish, device: DeviceId, row: ChannelRow | None, now_ms: int
) -> Append | StreamValue | Ahead | Refusal:
    """Decide what becomes of a publish to a content channel whose head is `row` (None: there is none).

    `Append` goes to the store and `StreamValue` to whoever listens. A stale epoch still goes to the store,
    as an `Append` with `refuse`, because a message that stands already must be answered as such first
    (spec 03, "Order of checks"). The message's address must have the kind CONTENT; the caller looked `row`
    up by its owner id.
    """
    mask = None if row is None else row.masks.get(device)
    if row is None or mask is None:
        return NOT_FOUND
    if row.archived:
        return Refusal(WireError.FORBIDDEN, "the channel is archived")
    wrong_key = _check_key(publish.lane, publish.key, device)
    if wrong_key is not None:
        return wrong_key
    key_class = _CLASS_OF_LANE[publish.lane]
    if not mask >> key_class & 1:
        return Refusal(WireError.FORBIDDEN, "this device was not given that class")
    if not publish.payload:
        if publish.lane is not Lane.STATE:
            return Refusal(WireError.INVALID, "only a state value may be empty, which deletes it")
        return _append(publish, device, None, None)
    try:
        header = parse_frame(publish.payload)
    except SealingError:
        return Refusal(WireError.SEALING_REFUSED, "not a sealed frame")
    wrong_frame = _check_frame(header, publish, device, key_class)
    if wrong_frame is not None:
        return wrong_frame
    standing = _epoch_stands(header, row, now_ms)
    if standing is not None and not isinstance(standing, Ahead) and standing.code is not WireError.STALE:
        return standing
    if isinstance(standing, Ahead):
        return standing
    if publish.lane is Lane.STREAM:
        if standing is not None:
            return standing
        return StreamValue(publish.channel, publish.key, device, now_ms, publish.payload)
    return _append(publish, device, header.epoch, None if standing is None else WireError.STALE)


def may_follow(
    kind: ChannelKind, owner: bytes, agency: AgencyId, device: DeviceId, row: ChannelRow | None
) -> bool:
    """May this device of this agency follow the log of `kind` that belongs to `owner`?

    `row` is the head of channel `owner` for the three kinds of a channel and is not looked at otherwise. A
    device without the durable class (a guest in a call) may see who is in the room, and nothing else.
    """
    match kind:
        case ChannelKind.CONTENT | ChannelKind.GRANTS:
            return row is not None and bool(row.masks.get(device, 0) >> DURABLE & 1)
        case ChannelKind.EPOCHS:
            return row is not None and device in row.masks
        case ChannelKind.DIRECTORY:
            return owner == agency
        case ChannelKind.INBOX:
            return owner == device
        case ChannelKind.ACCESS:
            return False


def channel_logs(channel: ChannelId) -> tuple[ChannelAddress, ChannelAddress, ChannelAddress]:
    """The addresses of a channel's logs: epochs, grants, content, in the order a reader needs them."""
    return (
        address(ChannelKind.EPOCHS, channel),
        address(ChannelKind.GRANTS, channel),
        address(ChannelKind.CONTENT, channel),
    )


def frame_epoch(payload: bytes) -> int:
    """The epoch in the clear header of a stored frame; -1 for a deleted value or a pruned message."""
    return int.from_bytes(payload[20:28], "big") if len(payload) > HEADER_BYTES else -1


def boxes_unneeded_below(kept: Iterable[bytes], head_epoch: int, ended_below: int) -> int:
    """The epoch below which nobody needs a box any more; 0 when all are needed.

    `kept` are the payloads of the oldest kept message and of every standing value, `head_epoch` is the channel's newest
    epoch, and epochs below `ended_below` are over for longer than the retention time. A frame may be one epoch older
    than one that was stored before it, so a message counts for the epoch before its own, too. What is no frame keeps all.
    """
    lowest = min(ended_below, head_epoch - 1)
    for payload in kept:
        lowest = min(lowest, frame_epoch(payload) - 1)
    return max(0, lowest)


def _append(publish: Publish, device: DeviceId, epoch: int | None, refuse: WireError | None) -> Append:
    return Append(
        publish.channel,
        publish.lane,
        publish.key,
        device,
        publish.id,
        publish.payload,
        publish.urgency,
        publish.mark,
        None,
        epoch,
        refuse,
    )


def _check_key(lane: Lane, key: bytes, device: DeviceId) -> Refusal | None:
    if lane is Lane.LOG:
        return Refusal(WireError.INVALID, "a log message has no key") if key else None
    if len(key) != STATE_KEY_BYTES:
        return Refusal(WireError.INVALID, "a key has 17 bytes")
    try:
        kind = StateKind(key[:1])
    except ValueError:
        return Refusal(WireError.INVALID, "unknown kind of key")
    if kind not in _KINDS_OF_LANE[lane]:
        return Refusal(WireError.INVALID, "this lane does not carry that kind of key")
    if kind in _OWN and key[1:] != device:
        return Refusal(WireError.FORBIDDEN, "the key names another device")
    return None


def _check_frame(header: FrameHeader, publish: Publish, device: DeviceId, key_class: int) -> Refusal | None:
    if header.channel_id != publish.channel[1:]:
        return Refusal(WireError.SEALING_REFUSED, "the frame names another channel")
    if header.sender != device:
        return Refusal(WireError.SEALING_REFUSED, "the frame names another device")
    if header.key_class != key_class:
        return Refusal(WireError.SEALING_REFUSED, "the frame's class does not fit the lane")
    return None


def _epoch_stands(header: FrameHeader, row: ChannelRow, now_ms: int) -> Refusal | Ahead | None:
    """None when the frame's epoch may be used now."""
    if header.epoch == row.epoch:
        if header.commit_prefix == row.commit_hash[:16]:
            return None
        return Refusal(WireError.SEALING_REFUSED, "another branch of this epoch")
    stale = Refusal(WireError.STALE, "seal anew under the newest epoch", row.epoch)
    if header.epoch > row.epoch:
        return Ahead(stale)
    in_grace = (
        header.epoch == row.epoch - 1
        and row.reason != REASON_REVOKE
        and now_ms - row.epoch_since_ms < EPOCH_GRACE_S * 1000
        and header.commit_prefix == row.prev_commit_prefix
    )
    return None if in_grace else stale
