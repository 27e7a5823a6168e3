"""What goes up: frames cut into packets, numbered, kept for who misses one, and reported (RFC 3550, 4585, 4588, 7741).

Bytes in, packets out: no codec, no key; the clock is given. A frame is sealed before it comes here (spec 09, "Sealed frames").
"""

from __future__ import annotations

import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from leeside.media.description import Sent
from leeside.media.upward import UpwardRate
from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import (
    AUDIO_HZ,
    OPUS,
    UP_AUDIO_MID,
    UP_VIDEO_MID,
    VIDEO_HZ,
    VP8,
    VP8_RTX,
)
from leeside_protocol.video.rtp import mid_and_transport, split_vp8, write_rtp
from leeside_protocol.video.twcc import read_twcc

KEPT_SOUNDS: Final = 100
KEPT_PICTURES: Final = 1_024
"""Packets that can be sent once more."""
AGAIN_S: Final = 0.03
"""A packet is not repeated twice within this time: both would be on the way."""
CNAME: Final = b"leeside"
_KEPT: Final = struct.Struct("!L?H")

Send = Callable[[bytes], None]


class _Stream:
    """One SSRC: its next number, what it has sent, and what is kept of that."""

    def __init__(self, ssrc: int, kept: int) -> None:
        self.ssrc: Final = ssrc
        self.sequence = secrets.randbelow(0x8000)
        self.origin = secrets.randbelow(0x8000_0000)
        """Where its timestamps begin."""
        self.timestamp = self.origin
        self.packets = self.octets = 0
        self._most = kept
        self._kept: OrderedDict[int, tuple[bytes, float]] = OrderedDict()

    def next(self, payload: bytes, at: int) -> int:
        """The number of one more packet, of this time."""
        self.timestamp = self.origin + at & 0xFFFF_FFFF
        self.sequence = self.sequence + 1 & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return self.sequence

    def keep(self, sequence: int, data: bytes) -> None:
        self._kept[sequence] = (data, 0.0)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def again(self, sequence: int, now_s: float) -> bytes | None:
        """What was kept under a number, when it may be sent once more now."""
        data, sent_s = self._kept.get(sequence, (b"", 0.0))
        if not data or now_s - sent_s < AGAIN_S:
            return None
        self._kept[sequence] = (data, now_s)
        return data


class Uplink:
    """The two streams of a client and the repair of its pictures. `key_wanted`: somebody cannot show the pictures that come;
    whoever encodes makes a key frame and puts it back to false. `rate`: how much picture the link bears. `clock` gives the
    seconds that are passed to `take`."""

    def __init__(self, sent: Sent, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self.key_wanted = True
        self.repaired = 0
        self.rate: Final = UpwardRate()
        self._send = send
        self._clock = clock
        self._sound = _Stream(sent.audio, KEPT_SOUNDS)
        self._pictures = _Stream(sent.video, KEPT_PICTURES)
        self._repair = _Stream(sent.repair, 0)
        self._transport = secrets.randbelow(0x8000)
        self._picture_id = secrets.randbelow(0x8000)

    def sound(self, frame: bytes, at: int) -> None:
        """Send a sealed Opus frame; `at`: when it was heard, in 1/48,000 s since the call began."""
        stream = self._sound
        sequence = stream.next(frame, at)
        packet = self._packet(UP_AUDIO_MID, OPUS, stream, sequence, frame)
        # Repaired in its own stream: the same packet to the last byte, or one SRTP nonce would serve two.
        stream.keep(sequence, packet)
        self._send(packet)

    def picture(self, frame: bytes, at: int) -> None:
        """Send a sealed VP8 frame; `at`: when it was seen, in 1/90,000 s since the call began."""
        stream = self._pictures
        self._picture_id = self._picture_id + 1 & 0x7FFF
        payloads = split_vp8(frame, self._picture_id)
        for left, payload in enumerate(payloads, 1 - len(payloads)):
            sequence = stream.next(payload, at)
            stream.keep(sequence, _KEPT.pack(stream.timestamp, left == 0, sequence) + payload)
            self._send(self._packet(UP_VIDEO_MID, VP8, stream, sequence, payload, marker=left == 0))

    def take(self, data: bytes, now_s: float) -> None:
        """Answer what the bridge asks for in an RTCP compound; what is none changes nothing."""
        for part in rtcp.compound(data) or ():
            if part.kind == rtcp.TRANSPORT_FEEDBACK and part.variant == rtcp.NACK:
                ssrc, numbers = rtcp.read_nack(data, part) or (0, [])
                for number in numbers:
                    self._repeat(ssrc, number, now_s)
            elif part.kind == rtcp.TRANSPORT_FEEDBACK and part.variant == rtcp.TWCC:
                report = read_twcc(data, part)
                if report is not None:
                    self.rate.told(report, now_s)
            elif part.kind == rtcp.PAYLOAD_FEEDBACK:
                self.key_wanted |= self._pictures.ssrc in rtcp.read_picture_requests(data, part)

    def report(self, unix_s: float, at_s: float) -> None:
        """Say how the streams' clocks go, once a second: `at_s` since the call began is `unix_s` of this machine."""
        for stream, hz in ((self._sound, AUDIO_HZ), (self._pictures, VIDEO_HZ)):
            if stream.packets:
                at = stream.origin + int(at_s * hz)
                info = rtcp.SenderInfo(stream.ssrc, rtcp.ntp_of(unix_s), at)
                self._send(rtcp.write_sender_report(info, stream.packets, stream.octets, CNAME))

    def _repeat(self, ssrc: int, number: int, now_s: float) -> None:
        if ssrc == self._sound.ssrc:
            packet = self._sound.again(number, now_s)
            if packet is not None:
                self.repaired += 1
                self._send(packet)
        elif ssrc == self._pictures.ssrc:
            kept = self._pictures.again(number, now_s)
            if kept is not None:
                timestamp, marker, original = _KEPT.unpack_from(kept)
                payload = struct.pack("!H", original) + kept[_KEPT.size :]
                repair = self._repair
                sequence = repair.next(payload, timestamp - repair.origin)
                self.repaired += 1
                self._send(self._packet(UP_VIDEO_MID, VP8_RTX, repair, sequence, payload, marker=marker))

    def _packet(
        self, mid: str, kind: int, stream: _Stream, sequence: int, payload: bytes, *, marker: bool = False
    ) -> bytes:
        self._transport = self._transport + 1 & 0xFFFF
        self.rate.sent(self._transport, self._clock())
        return write_rtp(
            payload,
            payload_type=kind,
            marker=marker,
            sequence=sequence,
            timestamp=stream.timestamp,
            ssrc=stream.ssrc,
            extensions=mid_and_transport(mid, self._transport),
        )
