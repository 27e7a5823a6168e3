"""What the server itself writes: notices in a device's inbox, and its nodes' access log.

A notice is `[kind, id16, ..]` in MessagePack, in the `log` lane of `inbox/<device>`; its sender is `NO_DEVICE`.
It tells a client what to fetch, and is never an authority: every fact it points to is read, and verified where it
is signed, at its own place (spec 03, "Inbox").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelKind, DeviceId, MessageId, address
from leeside_protocol.words import Lane, Urgency
from leeside_server.core.writes import NO_DEVICE, Append

Random = Callable[[int], bytes]
"""Gives that many random bytes."""


class Notice(IntEnum):
    """Kinds of notices; a number once given is never reused."""

    DEVICE_WAITS = 1
    """[1, device, member]: a new device waits for approval; told to who may post directory entries."""
    DEVICE_CERTIFIED = 2
    """[2, device, member]: told to the device and its member's others."""
    DEVICE_REVOKED = 3
    """[3, device, member]: told to the member's other devices and who may post directory entries."""
    CHANNEL_JOINED = 4
    """[4, channel]: this device is in the channel's roster now."""
    CHANNEL_LEFT = 5
    """[5, channel]: it is no longer."""
    CHANNEL_ARCHIVED = 6
    """[6, channel]: nothing more can be published there."""
    PAGE = 7
    """[7, page, consult]: this member is asked for (spec 08, "Paging"). Urgent, as 9 and 11 are."""
    CONSULT_CHANGED = 8
    """[8, consult]: fetch it."""
    CONSULT_ALARM = 9
    """[9, consult]: nobody answered; repeats until somebody takes it."""
    GUEST_WAITS = 10
    """[10, guest, consult]: told to the device that made the link: somebody came by it, or went by another's hand."""
    TEST_PAGE = 11
    """[11, page]: the test that this device asked for."""
    ON_CALL_WARNING = 12
    """[12, rota]: it has a gap ahead, or a holder whom nothing reaches; told to supervisors, who fetch who is on call."""


class Access(IntEnum):
    """What an entry of an agency's ACCESS log says."""

    DEVICE_OUT = 1
    SESSION_OUT = 2
    DEVICE_BACK = 3


_encode: Final = msgspec.msgpack.Encoder().encode


URGENT: Final = frozenset({Notice.PAGE, Notice.CONSULT_ALARM, Notice.TEST_PAGE})


def notices(
    kind: Notice, ids: tuple[bytes, ...], to: Iterable[DeviceId], random: Random
) -> tuple[Append, ...]:
    """The same notice for several devices."""
    payload = _encode([int(kind), *ids])
    urgency = Urgency.URGENT if kind in URGENT else Urgency.ROUTINE
    return tuple(
        Append(
            address(ChannelKind.INBOX, device),
            Lane.LOG,
            b"",
            NO_DEVICE,
            MessageId(random(16)),
            payload,
            urgency,
        )
        for device in to
    )


def kind_of(notice: bytes) -> int:
    """The number of a notice that `notices` made: the first element of a short array."""
    return notice[1]


def access_entry(agency: AgencyId, kind: Access, subject: bytes, random: Random) -> Append:
    """What every node follows: a device or session (16 bytes) is out, or back. Stands with its cause in one item."""
    return Append(
        address(ChannelKind.ACCESS, agency),
        Lane.LOG,
        b"",
        NO_DEVICE,
        MessageId(random(16)),
        _encode([int(kind), subject]),
    )
