"""RTCP as the bridge and its peers read and write it (RFC 3550, RFC 4585, RFC 5104).

A compound whose lengths do not add up is refused whole. What a peer may ask for in one packet is bounded where it is
read; how often it may ask, where it is answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SDES: Final = 202
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206
NACK: Final = 1
TWCC: Final = 15
PLI: Final = 1
FIR: Final = 4

OWN_SSRC: Final = 1
"""The name under which the bridge and its peers report what they receive."""
NACK_ENTRIES: Final = 64
"""Entries of one NACK that are read or written, of 17 packets each."""

_NTP_EPOCH_S: Final = 2_208_988_800
_head: Final = struct.Struct("!BBH")
_block: Final = struct.Struct("!LLLLLL")
_sender: Final = struct.Struct("!LQLLL")
_two: Final = struct.Struct("!LL")
_entry: Final = struct.Struct("!HH")


class Part(NamedTuple):
    """One packet of a compound: `variant` is its 5-bit field (a count of blocks, or the kind of feedback); its body is
    `data[start:end]`, without padding."""

    kind: int
    variant: int
    start: int
    end: int


class SenderInfo(NamedTuple):
    """Of a sender report: at `ntp` (64 bits of the sender's clock) its media stood at `rtp`."""

    ssrc: int
    ntp: int
    rtp: int


class ReportBlock(NamedTuple):
    """How one stream arrives. `fraction`: lost of 256 since the report before; `delay`: in 1/65,536 s."""

    ssrc: int
    fraction: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int


def compound(data: bytes) -> list[Part] | None:
    """The packets of a compound; None: not RTCP, or a length in it lies."""
    parts: list[Part] = []
    at, length = 0, len(data)
    while at < length:
        if at + 4 > length:
            return None
        first, kind, words = _head.unpack_from(data, at)
        end: int = at + 4 + 4 * words
        if first & 0xC0 != 0x80 or end > length:
            return None
        body_end = end
        if first & 0x20:
            padding = data[end - 1]
            if end != length or words == 0 or not 0 < padding <= 4 * words:
                return None
            body_end -= padding
        parts.append(Part(kind, first & 0x1F, at + 4, body_end))
        at = end
    return parts or None


def read_sender(data: bytes, part: Part) -> SenderInfo | None:
    """What a sender report says of its sender."""
    if part.end - part.start < _sender.size:
        return None
    ssrc, ntp, rtp, _packets, _octets = _sender.unpack_from(data, part.start)
    return SenderInfo(ssrc, ntp, rtp)


def read_blocks(data: bytes, part: Part) -> Iterator[ReportBlock]:
    """The report blocks of a sender or receiver report: as many as it has room for, whatever it claims."""
    at = part.start + (_sender.size if part.kind == SENDER_REPORT else 4)
    for _ in range(part.variant):
        if at + _block.size > part.end:
            return
        ssrc, lost, highest, jitter, last_report, delay = _block.unpack_from(data, at)
        yield ReportBlock(ssrc, lost >> 24, lost & 0xFFFFFF, highest, jitter, last_report, delay)
        at += _block.size


def read_nack(data: bytes, part: Part) -> tuple[int, list[int]] | None:
    """The stream, and the sequence numbers (16 bits) that were asked for, of 64 entries at most."""
    if part.end - part.start < 12:
        return None
    _, ssrc = _two.unpack_from(data, part.start)
    numbers: list[int] = []
    for at in range(part.start + 8, min(part.end - 3, part.start + 8 + 4 * NACK_ENTRIES), 4):
        first, following = _entry.unpack_from(data, at)
        numbers.append(first)
        number = first
        while following:
            number = (number + 1) & 0xFFFF
            if following & 1:
                numbers.append(number)
            following >>= 1
    return ssrc, numbers


def read_picture_requests(data: bytes, part: Part) -> list[int]:
    """The streams of which a PLI or FIR wants a key frame."""
    if part.variant == PLI and part.end - part.start >= 8:
        return [_two.unpack_from(data, part.start)[1]]
    if part.variant == FIR:
        return [_two.unpack_from(data, at)[0] for at in range(part.start + 8, part.end - 7, 8)]
    return []


def write_pli(ssrc: int) -> bytes:
    """A key frame of this stream, please."""
    return struct.pack("!BBHLL", 0x81, PAYLOAD_FEEDBACK, 2, OWN_SSRC, ssrc)


def write_nacks(ssrc: int, numbers: Iterable[int]) -> list[bytes]:
    """These packets again, please: rising unwrapped sequence numbers, in as few packets as hold them."""
    entries: list[tuple[int, int]] = []
    first = following = 0
    for number in numbers:
        if entries and number - first <= 16:
            following |= 1 << (number - first - 1)
            entries[-1] = (first & 0xFFFF, following)
        else:
            first, following = number, 0
            entries.append((first & 0xFFFF, 0))
    packets: list[bytes] = []
    for at in range(0, len(entries), NACK_ENTRIES):
        some = entries[at : at + NACK_ENTRIES]
        head = struct.pack("!BBHLL", 0x80 | NACK, TRANSPORT_FEEDBACK, 2 + len(some), OWN_SSRC, ssrc)
        packets.append(head + b"".join(_entry.pack(*entry) for entry in some))
    return packets


def write_receiver_report(blocks: Iterable[ReportBlock]) -> bytes:
    """How the streams of one peer arrive; 31 at most."""
    body = [
        _block.pack(
            block.ssrc,
            block.fraction << 24 | min(max(block.lost, 0), 0x7FFFFF),
            block.highest & 0xFFFF_FFFF,
            block.jitter & 0xFFFF_FFFF,
            block.last_report,
            block.delay & 0xFFFF_FFFF,
        )
        for block in blocks
    ][:31]
    return struct.pack("!BBHL", 0x80 | len(body), RECEIVER_REPORT, 1 + 6 * len(body), OWN_SSRC) + b"".join(
        body
    )


def write_sender_report(info: SenderInfo, packets: int, octets: int, cname: bytes) -> bytes:
    """A sender report with the name (`cname`, 255 bytes at most) that ties a seat's sound to its picture."""
    report = _head.pack(0x80, SENDER_REPORT, 6) + _sender.pack(
        info.ssrc, info.ntp, info.rtp & 0xFFFF_FFFF, packets & 0xFFFF_FFFF, octets & 0xFFFF_FFFF
    )
    items = bytes([1, len(cname)]) + cname + b"\0"
    items += bytes(-len(items) % 4)
    return report + _head.pack(0x81, SDES, 1 + len(items) // 4) + struct.pack("!L", info.ssrc) + items


def middle(ntp: int) -> int:
    """The middle 32 bits of a time of a sender report: how reports name it."""
    return (ntp >> 16) & 0xFFFF_FFFF


def ntp_of(unix_s: float) -> int:
    """The 64 bits of a time (for peers, which have a clock; the bridge passes on its publishers' own)."""
    return int((unix_s + _NTP_EPOCH_S) * (1 << 32))
