"""Identifiers: 16 bytes each, random or derived from a public key, never meaningful (spec 01, "Identifiers").

On the socket an identifier is a MessagePack `bin` of 16 bytes; in HTTP paths and JSON it is 32 lowercase
hexadecimal digits. A log is named by a *channel address*: one kind byte, then the 16-byte id it belongs to.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NewType

from leeside_protocol.errors import ProtocolError, WireError

AgencyId = NewType("AgencyId", bytes)
MemberId = NewType("MemberId", bytes)
DeviceId = NewType("DeviceId", bytes)
UnitId = NewType("UnitId", bytes)
IncidentId = NewType("IncidentId", bytes)
ChannelId = NewType("ChannelId", bytes)
MessageId = NewType("MessageId", bytes)
BlobId = NewType("BlobId", bytes)
RotaId = NewType("RotaId", bytes)
LadderId = NewType("LadderId", bytes)
ConsultId = NewType("ConsultId", bytes)
PageId = NewType("PageId", bytes)

ChannelAddress = NewType("ChannelAddress", bytes)
"""17 bytes: a `ChannelKind` byte and the id of the channel, agency or device that the log belongs to."""

ID_BYTES: Final = 16
ADDRESS_BYTES: Final = 17
NO_KEY: Final = b""
_HEX_ID = re.compile(r"[0-9a-f]{32}\Z")


class ChannelKind(Enum):
    """What a log holds; the value is the first byte of its address (spec 03, "Addresses")."""

    CONTENT = b"c"
    """Sealed messages of a channel."""
    EPOCHS = b"e"
    """The signed commits of a channel: offset n holds epoch n - 1. Never pruned while a frame needs it."""
    GRANTS = b"g"
    """Signed history grants of a channel: who was given what, kept for audit."""
    DIRECTORY = b"d"
    """The signed directory of an agency: offset n holds entry seq n. Never pruned."""
    ACCESS = b"a"
    """What the server writes for its own nodes when someone loses access to an agency; no client reads it."""
    INBOX = b"i"
    """Notices that the server writes for one device."""


_CHANNEL_KINDS: Final = {kind.value: kind for kind in ChannelKind}


class StateKind(Enum):
    """What a key of the `state` and `stream` lanes names; the value is its first byte (spec 03, "Keys")."""

    STATUS = b"s"
    """A unit's status; the id is the unit's."""
    POSITION = b"p"
    """A device's position (stream) or last position (state); the id is the device's own."""
    RECEIPT = b"r"
    """How far a device has received and read; the id is the device's own."""
    TYPING = b"t"
    """A device is typing (stream only); the id is the device's own."""
    NAME = b"n"
    """A sealed display name in the agency's channel; the id is a member's or unit's."""
    INCIDENT = b"i"
    """What is sealed about an incident, in its operations channel; the id is the incident's."""


def address(kind: ChannelKind, owner: bytes) -> ChannelAddress:
    """Name a log. `owner` is a 16-byte channel, agency or device id, as the kind demands."""
    if len(owner) != ID_BYTES:
        raise ProtocolError(WireError.INVALID, "an id has 16 bytes")
    return ChannelAddress(kind.value + owner)


def split_address(value: bytes) -> tuple[ChannelKind, bytes]:
    """Take an address apart into its kind and the 16-byte id of its owner; `invalid` when it is none."""
    if len(value) != ADDRESS_BYTES:
        raise ProtocolError(WireError.INVALID, "a channel address has 17 bytes")
    kind = _CHANNEL_KINDS.get(value[:1])
    if kind is None:
        raise ProtocolError(WireError.INVALID, "unknown kind of channel address")
    return kind, value[1:]


def state_key(kind: StateKind, owner: bytes) -> bytes:
    """Name one value of the `state` or `stream` lane: a kind byte and a 16-byte id."""
    if len(owner) != ID_BYTES:
        raise ProtocolError(WireError.INVALID, "an id has 16 bytes")
    return kind.value + owner


def from_hex(text: str) -> bytes:
    """Read an id as HTTP writes it (32 lowercase hexadecimal digits); anything else is `invalid`."""
    if not _HEX_ID.match(text):
        raise ProtocolError(WireError.INVALID, "an id is 32 lowercase hexadecimal digits")
    return bytes.fromhex(text)
