"""A publisher and a receiver around the bridge's plane, with neither sockets nor SRTP.

`Ear` is a tiny independent reader of RTP: it shares no code with what it judges.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from leeside_protocol.video.formats import OPUS, VP8, VP8_RTX, MediaKind
from leeside_protocol.video.rtcp import Part
from leeside_protocol.video.rtp import split_vp8, write_rtp
from leeside_protocol.video.twcc import TwccReport, read_twcc
from leeside_server.video.forward import Downlink, Uplink
from leeside_server.video.layer import Layer, Track
from leeside_server.video.pacer import Pacer
from leeside_server.video.slot import Held, Slot
from leeside_server.video.ways import LinkState
from tests.support.fast_way import link, ways

SEALED = b"\x0aLS\x01"
AUDIO_SSRC, VIDEO_SSRC, REPAIR_SSRC = 1_111, 2_222, 3_333


@dataclass
class Heard:
    """One packet that reached a receiver. `extensions`: by id."""

    first: int
    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    extensions: dict[int, bytes]
    payload: bytes


def read(packet: bytes) -> Heard:
    """An RTP packet with one-byte extensions, as RFC 3550 and RFC 8285 have it."""
    first, second, sequence, timestamp, ssrc = struct.unpack("!BBHLL", packet[:12])
    at = 12 + 4 * (first & 15)
    extensions: dict[int, bytes] = {}
    if first & 16:
        profile, words = struct.unpack("!HH", packet[at : at + 4])
        assert profile == 0xBEDE
        block, at = packet[at + 4 : at + 4 + 4 * words], at + 4 + 4 * words
        while block:
            if block[0] == 0:
                block = block[1:]
                continue
            size = (block[0] & 15) + 1
            assert len(block) > size
            extensions[block[0] >> 4] = block[1 : 1 + size]
            block = block[1 + size :]
    end = len(packet) - (packet[-1] if first & 32 else 0)
    assert end >= at
    return Heard(first, second > 127, second & 127, sequence, timestamp, ssrc, extensions, packet[at:end])


@dataclass
class Ear:
    """A receiving peer: an `Outlet` that keeps what it is sent."""

    ready: bool = True
    out: bytearray = field(default_factory=lambda: bytearray(2_048))
    heard: list[Heard] = field(default_factory=list[Heard])
    control: list[bytes] = field(default_factory=list[bytes])
    reports: list[TwccReport] = field(default_factory=list[TwccReport])
    copies: int = 0
    """Of `heard`: of which the receiver tells nothing."""
    link: LinkState = field(default_factory=LinkState)

    def next_seq(self) -> int:
        self.link.seq = self.link.seq + 1 & 0xFFFF
        return self.link.seq

    def send_rtp(self, length: int, transport_seq: int | None) -> None:
        packet = bytes(self.out[:length])
        if transport_seq is None:
            self.copies += 1
        else:
            assert read(packet).extensions[3] == struct.pack("!H", transport_seq)
        self.hear(packet)

    def hear(self, packet: bytes) -> None:
        """A packet leaves, by either way."""
        self.heard.append(read(packet))

    def send_rtcp(self, packet: bytes) -> None:
        self.control.append(packet)

    def report(self, data: bytes, part: Part, now_s: float) -> bool:
        """What its receiver says of what came."""
        del now_s
        report = read_twcc(data, part)
        if report is not None:
            self.reports.append(report)
        return report is not None

    def held(self) -> None:
        """Who tests a pacer asks it what is due."""

    def missing(self, slot: Slot) -> list[int]:
        """The numbers between what came of a slot that did not come, in either way."""
        got = {packet.sequence for packet in self.of(slot)}
        got |= {struct.unpack("!H", packet.payload[:2])[0] for packet in self.repairs(slot) if packet.payload}
        newest = max(got, default=0)
        return [number for number in range(1, newest) if number not in got]

    def of(self, slot: Slot) -> list[Heard]:
        return [packet for packet in self.heard if packet.ssrc == slot.ssrc]

    def repairs(self, slot: Slot) -> list[Heard]:
        return [packet for packet in self.heard if packet.ssrc == slot.repair_ssrc]

    def frames(self, slot: Slot) -> list[tuple[int, bytes]]:
        """The whole frames that can be put together from what came, in order: (timestamp, bytes)."""
        got: dict[int, tuple[int, bool, bytes]] = {}
        for packet in self.heard:
            if packet.ssrc == slot.ssrc and packet.payload:
                got[packet.sequence] = (packet.timestamp, packet.marker, packet.payload)
            elif packet.ssrc == slot.repair_ssrc and len(packet.payload) > 2:
                (number,) = struct.unpack("!H", packet.payload[:2])
                got[number] = (packet.timestamp, packet.marker, packet.payload[2:])
        frames: list[tuple[int, bytes]] = []
        parts: list[bytes] | None = None
        before: tuple[int, int] | None = None
        for number in sorted(got):
            timestamp, marker, payload = got[number]
            if before is not None and before != (number - 1, timestamp):
                parts = None if payload[0] & 0x10 == 0 else parts
            if payload[0] & 0x10:
                parts = []
            if parts is not None:
                parts.append(payload[4:])
                if marker:
                    frames.append((timestamp, b"".join(parts)))
            before = None if marker else (number, timestamp)
        return frames


@dataclass
class Camera:
    """A publisher of VP8 frames and Opus packets. Frames are sealed unless said otherwise."""

    uplink: Uplink
    ssrc: int = VIDEO_SSRC
    repair_ssrc: int = REPAIR_SSRC
    rid: str = ""
    sequence: int = 100
    timestamp: int = 900_000
    picture: int = 0
    audio_sequence: int = 500
    audio_timestamp: int = 48_000
    sent: list[bytes] = field(default_factory=list[bytes])
    frames: list[bytes] = field(default_factory=list[bytes])

    def frame(
        self, *, key: bool = False, size: int = 3_000, sealed: bool = True, step: int = 3_000
    ) -> list[bytes]:
        """The packets of the next frame; nothing is sent yet."""
        self.timestamp = self.timestamp + step & 0xFFFF_FFFF
        self.picture += 1
        body = bytes([0x10 if key else 0x11]) + struct.pack("!L", self.picture) * (size // 4)
        data = body + (SEALED if sealed else b"")
        self.frames.append(data)
        payloads = split_vp8(data, self.picture)
        packets: list[bytes] = []
        for place, payload in enumerate(payloads):
            packets.append(self.packet(payload, marker=place == len(payloads) - 1))
        return packets

    def packet(self, payload: bytes, *, marker: bool) -> bytes:
        extensions = {1: b"1", 3: struct.pack("!H", len(self.sent) & 0xFFFF)}
        if self.rid:
            extensions[5] = self.rid.encode()
        packet = write_rtp(
            payload,
            payload_type=VP8,
            marker=marker,
            sequence=self.sequence,
            timestamp=self.timestamp,
            ssrc=self.ssrc,
            extensions=extensions,
        )
        self.sequence = self.sequence + 1 & 0xFFFF
        self.sent.append(packet)
        return packet

    def repair(self, packet: bytes) -> bytes:
        """The same packet again, on the repair stream (RFC 4588)."""
        was = read(packet)
        extensions = {1: b"1", 6: self.rid.encode()} if self.rid else {1: b"1"}
        return write_rtp(
            struct.pack("!H", was.sequence) + was.payload,
            payload_type=VP8_RTX,
            marker=was.marker,
            sequence=was.sequence + 7_000,
            timestamp=was.timestamp,
            ssrc=self.repair_ssrc,
            extensions=extensions,
        )

    def sound(self, *, sealed: bool = True) -> bytes:
        """The next 20 ms of sound."""
        self.audio_timestamp = self.audio_timestamp + 960 & 0xFFFF_FFFF
        packet = write_rtp(
            b"\x78" + bytes(60) + (SEALED if sealed else b""),
            payload_type=OPUS,
            marker=False,
            sequence=self.audio_sequence,
            timestamp=self.audio_timestamp,
            ssrc=AUDIO_SSRC,
            extensions={1: b"0", 3: b"\0\1"},
        )
        self.audio_sequence = self.audio_sequence + 1 & 0xFFFF
        return packet

    def resent(self, nack: bytes) -> list[bytes]:
        """What a NACK of the bridge asks for, on the repair stream; read without the plane's own reader."""
        ssrc = struct.unpack("!L", nack[8:12])[0]
        wanted: set[int] = set()
        for at in range(12, len(nack), 4):
            number, following = struct.unpack("!HH", nack[at : at + 4])
            wanted |= {number} | {number + 1 + bit & 0xFFFF for bit in range(16) if following >> bit & 1}
        assert ssrc == self.ssrc
        return [self.repair(packet) for packet in self.sent if read(packet).sequence in wanted]

    def send(self, packets: list[bytes] | bytes, now_s: float) -> None:
        """Give packets to the bridge."""
        for packet in [packets] if isinstance(packets, bytes) else packets:
            buffer = bytearray(2_048)
            buffer[: len(packet)] = packet
            self.uplink.receive_rtp(buffer, len(packet), now_s)


class Plane:
    """One publisher and one receiver whose first picture and sound slots show it. What the publisher would say by RTCP the
    receiver may say: a peer is both."""

    def __init__(self, pacer: Pacer[Held] | None = None) -> None:
        self.publisher = Ear()
        self.layers: list[tuple[str, bool]] = []
        self.unsealed: list[MediaKind] = []
        self.uplink = Uplink(self.publisher, self._layer, self._unsealed, ways())
        self.camera = Camera(self.uplink)
        self.ear = Ear()
        self.downlink = self.receiver(self.ear, pacer)
        self.sound = self.downlink.slots["a"]
        self.picture = self.downlink.slots["b"]

    def receiver(self, ear: Ear, pacer: Pacer[Held] | None = None) -> Downlink:
        ear.link = link(ear.hear, pacer)
        names = range(10_001, 10_100)
        return Downlink(
            ear,
            ear.out,
            names,
            ear.report,
            self.uplink.clock,
            pacer,
            ear.link,
            ways(),
        )

    def attach(self, now_s: float = 0.0) -> None:
        self.sound.attach(self.uplink.tracks["0"], now_s)
        self.picture.attach(self.uplink.tracks["1"], now_s)

    def asked(self, kind: int, variant: int) -> list[bytes]:
        """What the publisher was told of this kind of RTCP, and forgets."""
        some = [
            packet for packet in self.publisher.control if packet[1] == kind and packet[0] & 31 == variant
        ]
        self.publisher.control = [packet for packet in self.publisher.control if packet not in some]
        return some

    def sane(self) -> None:
        """No fault of ours was swallowed."""
        assert self.uplink.faults == 0
        assert self.downlink.faults == 0

    def _layer(self, track: Track, layer: Layer) -> None:
        self.layers.append((layer.rid, layer.alive))

    def _unsealed(self, track: Track) -> None:
        self.unsealed.append(track.kind)
