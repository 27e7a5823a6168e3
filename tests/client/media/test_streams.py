"""What goes up against what comes down: frames through losses, repeats and disorder, with time as an argument."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside.media.description import Sent
from leeside.media.receiving import Downlink, Frame, Gaps
from leeside.media.sending import Uplink
from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import DOWN_MIDS, MediaKind
from leeside_protocol.video.rtp import RtpHeader

AUDIO, VIDEO, REPAIR = 1_001, 1_002, 1_003
SENT = Sent(AUDIO, VIDEO, REPAIR)
TICK_S = 0.02


@dataclass
class Wire:
    """An uplink whose packets reach a downlink, as a bridge that forwards to the same numbers would have it."""

    loss: float = 0.0
    disorder: float = 0.0
    seed: int = 1
    frames: list[Frame] = field(default_factory=list[Frame])
    held: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        self.now_s = 100.0
        self.random = random.Random(self.seed)
        self.up = Uplink(SENT, self.carry, lambda: self.now_s)
        streams = {AUDIO: DOWN_MIDS[0], VIDEO: DOWN_MIDS[1], REPAIR: DOWN_MIDS[1]}
        self.down = Downlink(streams, {REPAIR: VIDEO}, self.frames.append, self.now_s)

    def carry(self, packet: bytes) -> None:
        if self.random.random() < self.loss:
            return
        if self.random.random() < self.disorder:
            self.held.append(packet)
            return
        self.down.receive(packet, self.now_s)
        while self.held:
            self.down.receive(self.held.pop(), self.now_s)

    def tick(self, *, repairs: bool = True) -> None:
        """20 ms pass: both sides tell each other what is due."""
        self.now_s += TICK_S
        for told in self.down.due(self.now_s):
            if repairs or told[1] != rtcp.TRANSPORT_FEEDBACK:
                self.up.take(told, self.now_s)

    def rest(self) -> None:
        """Nothing new is sent for a while, and nothing is lost any more."""
        self.loss = self.disorder = 0.0
        for packet in self.held:
            self.down.receive(packet, self.now_s)
        self.held.clear()
        for _ in range(20):
            self.tick()

    def of(self, media: MediaKind) -> list[bytes]:
        return [frame.data for frame in self.frames if frame.media is media]


def picture(number: int, size: int = 3_000, *, key: bool = False) -> bytes:
    return bytes([0x10 if key else 0x11]) + number.to_bytes(4, "big") + bytes(size)


def test_frames_come_out_whole_and_in_order() -> None:
    wire = Wire()
    sent = [picture(n, 10 + 997 * n, key=n == 0) for n in range(12)]
    for n, frame in enumerate(sent):
        wire.up.picture(frame, 3_000 * n)
        wire.up.sound(b"\x78" + bytes([n]), 960 * n)
    assert wire.of(MediaKind.VIDEO) == sent
    assert wire.of(MediaKind.AUDIO) == [b"\x78" + bytes([n]) for n in range(12)]
    assert {frame.mid for frame in wire.frames} == {"a", "b"}
    times = [frame.timestamp for frame in wire.frames if frame.media is MediaKind.VIDEO]
    assert [(t - times[0]) & 0xFFFF_FFFF for t in times] == [3_000 * n for n in range(12)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.floats(0, 0.2), st.floats(0, 0.3))
def test_losses_and_disorder_are_repaired(seed: int, loss: float, disorder: float) -> None:
    wire = Wire(seed=seed)
    sent = [picture(n, key=n == 0) for n in range(40)]
    wire.up.picture(sent[0], 0)
    wire.loss, wire.disorder = loss, disorder
    for n, frame in enumerate(sent[1:], 1):
        wire.up.picture(frame, 3_000 * n)
        wire.tick()
    wire.rest()
    wire.up.picture(picture(40), 120_000)  # Shows the end of what came before as missing, if it is.
    wire.rest()
    assert wire.of(MediaKind.VIDEO) == [*sent, picture(40)]
    assert wire.up.key_wanted, "nobody took it back: the first picture was wanted"


def test_what_is_lost_for_good_asks_for_a_key_frame_and_goes_on_with_it() -> None:
    wire = Wire()
    wire.up.picture(picture(0, key=True), 0)
    wire.up.key_wanted = False
    wire.loss = 1.0
    wire.up.picture(picture(1), 3_000)
    wire.loss = 0.0
    wire.up.picture(picture(2), 6_000)
    for _ in range(80):
        wire.tick(repairs=False)
    assert wire.of(MediaKind.VIDEO) == [picture(0, key=True)]
    assert wire.up.key_wanted
    wire.up.picture(picture(3, key=True), 9_000)
    wire.up.picture(picture(4), 12_000)
    assert wire.of(MediaKind.VIDEO)[1:] == [picture(3, key=True), picture(4)]


def test_a_reader_that_cannot_show_them_asks_again_each_second_until_told_otherwise() -> None:
    wire = Wire()
    wire.down.want_key("b")
    for _ in range(150):
        wire.tick()
    assert wire.down.keys_asked == 3
    wire.down.want_key("b", wanted=False)
    for _ in range(100):
        wire.tick()
    assert wire.down.keys_asked == 3


def test_a_late_sound_is_waited_for_and_a_lost_one_passed_over() -> None:
    wire = Wire()
    packets: list[bytes] = []
    up = Uplink(SENT, packets.append)
    for n in range(12):
        up.sound(b"\x78" + bytes([n]), 960 * n)
    for at in (0, 2, 1, 4, 5, 6, 7, 8, 9, 3, 10, 11):
        wire.down.receive(packets[at], wire.now_s)
    assert [frame.data[1] for frame in wire.frames] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [frame.data[1] for frame in wire.frames if frame.gap] == [4]


def test_a_repair_of_sound_is_the_same_packet_to_the_last_byte() -> None:
    packets: list[bytes] = []
    up = Uplink(SENT, packets.append)
    up.sound(b"\x78sound", 0)
    header = RtpHeader()
    assert header.read(packets[0], len(packets[0]))
    (nack,) = rtcp.write_nacks(AUDIO, [header.sequence])
    up.take(nack, 1.0)
    up.take(nack, 1.001)  # Too soon: the first one is still on its way.
    assert packets[1:] == packets[:1]
    up.take(nack, 2.0)
    assert len(packets) == 3


def test_reports_say_how_the_streams_go() -> None:
    wire = Wire()
    reports: list[bytes] = []
    for n in range(60):
        wire.up.sound(b"\x78" + bytes([n]), 960 * n)
        wire.loss = 0.0 if n % 4 else 1.0
        wire.now_s += TICK_S
        reports += wire.down.due(wire.now_s)
    blocks = [
        block
        for data in reports
        for part in rtcp.compound(data) or ()
        if part.kind == rtcp.RECEIVER_REPORT
        for block in rtcp.read_blocks(data, part)
    ]
    assert [block.ssrc for block in blocks] == [AUDIO]
    assert 50 < blocks[0].fraction < 80
    told: list[bytes] = []
    up = Uplink(SENT, told.append)
    up.sound(b"\x78", 48_000)
    up.report(1_795_000_000.0, 2.0)
    parts = rtcp.compound(told[1])
    assert parts is not None
    info = rtcp.read_sender(told[1], parts[0])
    header = RtpHeader()
    assert header.read(told[0], len(told[0]))
    assert info is not None
    assert (info.ssrc, info.rtp) == (AUDIO, header.timestamp + 48_000 & 0xFFFF_FFFF)


@given(st.lists(st.integers(0, 0xFFFF), max_size=200))
def test_any_numbers_leave_a_bounded_number_of_gaps(numbers: list[int]) -> None:
    gaps = Gaps()
    for number in numbers:
        gaps.note(number)
        assert len(gaps.due(0.0)) <= 300


@given(st.binary(max_size=80))
def test_any_bytes_change_nothing(data: bytes) -> None:
    wire = Wire()
    wire.down.receive(b"\x80" + data, wire.now_s)
    wire.down.take(data, wire.now_s)
    wire.up.take(data, wire.now_s)
    assert not wire.frames


@pytest.mark.parametrize("end", [0, 1])
def test_padding_on_the_repair_stream_is_no_repair(end: int) -> None:
    wire = Wire()
    packet = b"\x80\x61\x00\x01" + bytes(4) + REPAIR.to_bytes(4, "big") + bytes(end)
    wire.down.receive(packet, wire.now_s)
    assert (wire.down.repaired, wire.down.malformed) == (0, 0)
