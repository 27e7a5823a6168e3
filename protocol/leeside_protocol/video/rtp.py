"""RTP packets as the bridge and its peers read and write them (RFC 3550, RFC 8285, RFC 7741).

Bytes in, bytes out. Every length in a packet is a claim of whoever sent it: nothing here reads beyond the packet, and
a packet whose lengths lie is refused whole. The payloads are sealed (spec 09): only the descriptor before a VP8 frame,
which packets need, and the frame's clear bytes say anything.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

from leeside_protocol.video.formats import EXT_MID, EXT_ORIENTATION, EXT_TRANSPORT_SEQ

Buffer: TypeAlias = "bytes | bytearray | memoryview[int]"

RTP_HEADER_BYTES: Final = 12
RTP_PACKET_BYTES: Final = 1_472
"""The largest packet: what fits an Ethernet frame over IPv4. Browsers stay below 1,250."""
PAYLOAD_BYTES: Final = 1_100
"""What our own packets carry of a frame at most: leaves room for headers, SRTP and TURN in 1,280 bytes."""

_VERSION: Final = 0x80
_PADDING: Final = 0x20
_EXTENSION: Final = 0x10
_MARKER: Final = 0x80
_ONE_BYTE: Final = 0xBEDE
_TWO_BYTES: Final = 0x1000
_FIXED: Final = struct.Struct("!BBHLL")
_unpack_fixed: Final = _FIXED.unpack_from

_HALF_16: Final = 0x8000
_HALF_32: Final = 0x8000_0000


def ahead16(number: int, of: int) -> int:
    """How far `number` is ahead of `of` on the circle of 16 bits: -32,768 to 32,767. Either may be unwrapped."""
    return ((number - of + _HALF_16) & 0xFFFF) - _HALF_16


def ahead32(number: int, of: int) -> int:
    """How far `number` is ahead of `of` on the circle of 32 bits (timestamps)."""
    return ((number - of + _HALF_32) & 0xFFFF_FFFF) - _HALF_32


class RtpHeader:
    """Reads one packet after another; made once and used again, so that a packet costs no object.

    After `read` was true: the fields of the packet. `marker_type` is the second byte as it stands (marker and payload
    type), the payload is `buffer[start:end]` without padding, and `transport_seq` and `orientation` are -1 when absent.
    """

    __slots__ = (
        "_from", "_to", "_two_bytes", "end", "marker_type", "orientation", "sequence", "ssrc", "start", "timestamp",
        "transport_seq",
    )  # fmt: skip

    def __init__(self) -> None:
        self.marker_type: int = 0
        self.sequence: int = 0
        self.timestamp: int = 0
        self.ssrc: int = 0
        self.start: int = 0
        self.end: int = 0
        self.transport_seq: int = -1
        self.orientation: int = -1
        self._from: int = 0
        self._to: int = 0
        self._two_bytes = False

    @property
    def marker(self) -> bool:
        """The last packet of a video frame."""
        return self.marker_type >= _MARKER

    @property
    def payload_type(self) -> int:
        """7 bits."""
        return self.marker_type & 0x7F

    def read(self, buffer: Buffer, length: int) -> bool:
        """Read the packet in `buffer[:length]`; false: no RTP, or a length in it lies. The fields mean nothing then."""
        if length < RTP_HEADER_BYTES:
            return False
        first, self.marker_type, self.sequence, self.timestamp, self.ssrc = _unpack_fixed(buffer)
        if first & 0xC0 != _VERSION:
            return False
        start: int = RTP_HEADER_BYTES + ((first & 0x0F) << 2)
        self.transport_seq = self.orientation = -1
        self._from = self._to = 0
        if first & _EXTENSION:
            body = start + 4
            if body > length:
                return False
            profile = buffer[start] << 8 | buffer[start + 1]
            start = body + ((buffer[start + 2] << 8 | buffer[start + 3]) << 2)
            if start > length:
                return False
            if profile == _ONE_BYTE:
                self._two_bytes = False
            elif profile & 0xFFF0 == _TWO_BYTES:
                self._two_bytes = True
            else:
                body = start  # An extension of another kind: skipped.
            self._from, self._to = body, start
            if body < start and not self._elements(buffer):
                return False
        if start > length:
            return False
        self.start = start
        self.end = length
        if first & _PADDING:
            padding = buffer[length - 1]
            if padding == 0 or start + padding > length:
                return False
            self.end = length - padding
        return True

    def _elements(self, buffer: Buffer) -> bool:
        """Look through the elements for what every packet needs; false: one overruns the extension."""
        at, end, two_bytes = self._from, self._to, self._two_bytes
        while at < end:
            byte = buffer[at]
            if byte == 0:
                at += 1
                continue
            if two_bytes:
                name = byte
                at += 2
                if at > end:
                    return False
                size = buffer[at - 1]
            else:
                name = byte >> 4
                if name in {0, 15}:  # Reserved: whatever follows is not read (RFC 8285, 4.2).
                    self._to = at
                    return True
                size = (byte & 0x0F) + 1
                at += 1
            if at + size > end:
                return False
            if name == EXT_TRANSPORT_SEQ:
                if size == 2:
                    self.transport_seq = buffer[at] << 8 | buffer[at + 1]
            elif name == EXT_ORIENTATION and size == 1:
                self.orientation = buffer[at]
            at += size
        return True

    def extension(self, buffer: Buffer, wanted: int) -> bytes | None:
        """The element with the id `wanted` of the packet read last, or None. For what only a stream's first packets
        need, as `EXT_MID` and `EXT_RID`."""
        at, end = self._from, self._to
        while at < end:
            byte = buffer[at]
            if byte == 0:
                at += 1
                continue
            if self._two_bytes:
                name, size, at = byte, buffer[at + 1], at + 2
            else:
                name, size, at = byte >> 4, (byte & 0x0F) + 1, at + 1
            if name == wanted:
                return bytes(buffer[at : at + size])
            at += size
        return None


def write_rtp(
    payload: bytes,
    *,
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    extensions: dict[int, bytes] | None = None,
) -> bytes:
    """One packet, with one-byte extension elements (1-14, 1 to 16 bytes each). Numbers are cut to their bits."""
    elements = b""
    for name, value in (extensions or {}).items():
        if not (1 <= name <= 14 and 1 <= len(value) <= 16):
            raise ValueError("an element has an id of 1 to 14 and 1 to 16 bytes")
        elements += bytes([name << 4 | len(value) - 1]) + value
    head = _FIXED.pack(
        _VERSION | (_EXTENSION if elements else 0),
        (_MARKER if marker else 0) | payload_type,
        sequence & 0xFFFF,
        timestamp & 0xFFFF_FFFF,
        ssrc,
    )
    if elements:
        elements += bytes(-len(elements) % 4)
        head += struct.pack("!HH", _ONE_BYTE, len(elements) // 4) + elements
    return head + payload


def mid_and_transport(mid: str, transport_seq: int) -> dict[int, bytes]:
    """The extensions of a packet to the bridge: which m-line it belongs to, and its number on the transport."""
    return {EXT_MID: mid.encode(), EXT_TRANSPORT_SEQ: struct.pack("!H", transport_seq & 0xFFFF)}


# ---- VP8 (RFC 7741)


class Vp8Descriptor(NamedTuple):
    """What stands before the piece of a VP8 frame in its packet. `size`: its bytes; `picture_id` -1: none."""

    size: int
    begins_frame: bool
    picture_id: int


def read_vp8(payload: Buffer) -> Vp8Descriptor | None:
    """The descriptor of a packet; None: it is cut, or nothing follows it."""
    length = len(payload)
    if length < 2:
        return None
    first = payload[0]
    at = 1
    picture_id = -1
    if first & 0x80:
        flags = payload[1]
        at = 2
        if flags & 0x80:
            if at + 2 > length:
                return None
            picture_id = payload[at]
            at += 1
            if picture_id & 0x80:
                picture_id = (picture_id & 0x7F) << 8 | payload[at]
                at += 1
        if flags & 0x40:
            at += 1
        if flags & 0x30:
            at += 1
    if at >= length:
        return None
    return Vp8Descriptor(at, first & 0x17 == 0x10, picture_id)


def begins_key_frame(payload: Buffer) -> bool:
    """Whether this packet holds the beginning of a VP8 key frame. The bit lies in the clear bytes of a sealed frame."""
    if len(payload) < 2 or payload[0] & 0x17 != 0x10:
        return False
    descriptor = read_vp8(payload)
    return descriptor is not None and not payload[descriptor.size] & 1


def split_vp8(frame: bytes, picture_id: int, limit: int = PAYLOAD_BYTES) -> list[bytes]:
    """The payloads of a frame's packets, all about as long, so that a frame's trailer is never cut: the last packet
    takes the marker. `picture_id`: 15 bits, one more a frame."""
    if not frame:
        raise ValueError("a frame has bytes")
    descriptor = struct.pack("!BBH", 0x80, 0x80, 0x8000 | picture_id & 0x7FFF)
    pieces = -(-len(frame) // (limit - len(descriptor)))
    size, longer = divmod(len(frame), pieces)
    payloads: list[bytes] = []
    at = 0
    for piece in range(pieces):
        end = at + size + (piece < longer)
        payloads.append(descriptor + frame[at:end])
        at = end
    payloads[0] = b"\x90" + payloads[0][1:]
    return payloads


class JoinedFrame(NamedTuple):
    """A whole frame, as it was before it was split (sealed). `first` and `last`: the unwrapped sequences of its packets at
    the ends, by which a reader sees that no frame is missing between two."""

    data: bytes
    timestamp: int
    key: bool
    first: int
    last: int


class Vp8Joiner:
    """Joins packets to frames, in whatever order they come; a frame with a packet missing waits for it.

    Bounded: the packets of the newest 1,024 sequence numbers are kept. Frames come out when they are whole, which is
    not the order of their pictures when packets were lost; the reader passes over what is older than it has shown.
    """

    WINDOW: Final = 1_024

    def __init__(self) -> None:
        self._newest = -1
        self._kept: dict[int, tuple[int, bool, bytes]] = {}

    def push(self, sequence: int, timestamp: int, marker: bool, payload: bytes) -> JoinedFrame | None:
        """Take a packet; the frame that it made whole, or None."""
        if read_vp8(payload) is None:
            return None
        if self._newest < 0:
            self._newest = sequence + 0x1_0000  # So that what was overtaken stays positive.
        at = self._newest + ahead16(sequence, self._newest)
        if at > self._newest:
            if at - self._newest >= self.WINDOW:
                self._kept.clear()
            else:
                for old in range(self._newest - self.WINDOW + 1, at - self.WINDOW + 1):
                    self._kept.pop(old, None)
            self._newest = at
        elif at <= self._newest - self.WINDOW or at in self._kept:
            return None
        self._kept[at] = (timestamp, marker, payload)
        return self._whole(at, timestamp)

    def _whole(self, at: int, timestamp: int) -> JoinedFrame | None:
        kept = self._kept
        first = at
        while (packet := kept.get(first)) is not None and packet[0] == timestamp:
            if packet[2][0] & 0x17 == 0x10:
                break
            first -= 1
        else:
            return None
        last = at
        while (packet := kept.get(last)) is not None and packet[0] == timestamp:
            if packet[1]:
                break
            last += 1
        else:
            return None
        payloads = [kept.pop(place)[2] for place in range(first, last + 1)]
        data = b"".join(
            payload[descriptor.size :] for payload in payloads if (descriptor := read_vp8(payload))
        )
        return JoinedFrame(data, timestamp, begins_key_frame(payloads[0]), first, last)
