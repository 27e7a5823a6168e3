"""RTP packets: what is read of them, and that no length in one is believed."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.rtp import (
    RtpHeader,
    Vp8Joiner,
    ahead16,
    ahead32,
    begins_key_frame,
    read_vp8,
    split_vp8,
    write_rtp,
)

FIXED = struct.pack("!BHLL", 96, 7, 9, 11)


def header(packet: bytes) -> RtpHeader | None:
    read = RtpHeader()
    return read if read.read(packet, len(packet)) else None


class TestHeader:
    def test_the_fields_of_a_plain_packet(self) -> None:
        packet = b"\x80\xe0\x12\x34" + struct.pack("!LL", 0xFFFFFFFF, 0xDEADBEEF) + b"payload"
        read = header(packet)
        assert read is not None
        assert (read.marker, read.payload_type, read.sequence) == (True, 96, 0x1234)
        assert (read.timestamp, read.ssrc) == (0xFFFFFFFF, 0xDEADBEEF)
        assert packet[read.start : read.end] == b"payload"
        assert (read.transport_seq, read.orientation) == (-1, -1)

    def test_only_the_length_that_came_counts_and_not_the_buffer(self) -> None:
        buffer = bytearray(b"\x80" + FIXED + b"abc" + b"left of the packet before")
        read = RtpHeader()
        assert read.read(buffer, 15)
        assert buffer[read.start : read.end] == b"abc"
        assert not read.read(buffer, 11)

    def test_contributing_sources_are_passed_over(self) -> None:
        read = header(b"\x82" + FIXED + bytes(8) + b"abc")
        assert read is not None
        assert (read.start, read.end) == (20, 23)
        assert header(b"\x83" + FIXED + bytes(11)) is None

    def test_elements_of_one_byte(self) -> None:
        packet = b"\x90" + FIXED + b"\xbe\xde\0\4" + b"\x10b\0\x31\x01\x02\x52abc\x70\x03\0\0\0\0" + b"xyz"
        read = header(packet)
        assert read is not None
        assert (read.transport_seq, read.orientation) == (0x0102, 3)
        assert read.extension(packet, 1) == b"b"
        assert read.extension(packet, 5) == b"abc"
        assert read.extension(packet, 9) is None
        assert packet[read.start : read.end] == b"xyz"

    def test_elements_of_two_bytes(self) -> None:
        packet = (
            b"\x90"
            + FIXED
            + b"\x10\x00\0\4"
            + b"\x01\x01b\0\x03\x02\x01\x02\x05\x00\x07\x01\x03\0\0\0"
            + b"xyz"
        )
        read = header(packet)
        assert read is not None
        assert (read.transport_seq, read.orientation) == (0x0102, 3)
        assert (read.extension(packet, 1), read.extension(packet, 5)) == (b"b", b"")

    def test_after_a_reserved_element_nothing_is_read(self) -> None:
        packet = b"\x90" + FIXED + b"\xbe\xde\0\2" + b"\x10b\xf0\xff\x31\x01\x02\0"
        read = header(packet)
        assert read is not None
        assert read.extension(packet, 1) == b"b"
        assert read.transport_seq == -1
        assert read.extension(packet, 3) is None

    def test_an_extension_of_another_kind_is_passed_over(self) -> None:
        read = header(b"\x90" + FIXED + b"\x77\x77\0\1" + b"\xff\xff\xff\xff" + b"xyz")
        assert read is not None
        assert (read.start, read.end) == (20, 23)

    def test_padding_is_no_payload(self) -> None:
        read = header(b"\xa0" + FIXED + b"abc\0\0\3")
        assert read is not None
        assert (read.start, read.end) == (12, 15)

    @pytest.mark.parametrize(
        "packet",
        [
            b"",
            b"\x80" + FIXED[:-1],
            b"\x40" + FIXED,
            b"\xc0" + FIXED,
            b"\x90" + FIXED + b"\xbe\xde\0",
            b"\x90" + FIXED + b"\xbe\xde\0\2" + bytes(7),
            b"\x90" + FIXED + b"\xbe\xde\xff\xff" + bytes(40),
            b"\x90" + FIXED + b"\xbe\xde\0\1" + b"\x33\1\2\3",
            b"\x90" + FIXED + b"\xbe\xde\0\1" + b"\0\0\0\x10",
            b"\x90" + FIXED + b"\x10\x00\0\1" + b"\0\0\0\x03",
            b"\x90" + FIXED + b"\x10\x00\0\1" + b"\x03\x03\1\2",
            b"\xa0" + FIXED,
            b"\xa0" + FIXED + b"abc\0",
            b"\xa0" + FIXED + b"abc\5",
            b"\xa0" + FIXED + b"\xff",
        ],
        ids=[
            "nothing", "cut", "version 1", "version 3", "cut extension", "extension overruns", "longest extension",
            "element overruns", "element without a body", "two-byte element without a length", "two-byte overruns",
            "padding of nothing", "padding of 0", "padding longer than the payload", "padding longer than the packet",
        ],
    )  # fmt: skip
    def test_a_length_that_lies_refuses_the_packet(self, packet: bytes) -> None:
        assert header(packet) is None

    @given(st.binary(max_size=80), st.integers(0, 90))
    def test_whatever_comes_stays_within_the_packet(self, data: bytes, length: int) -> None:
        length = min(length, len(data))
        buffer = bytearray(data) + bytearray(8)
        read = RtpHeader()
        if read.read(buffer, length):
            assert 12 <= read.start <= read.end <= length
            for wanted in range(256):
                value = read.extension(buffer, wanted)
                assert value is None or len(value) <= 255

    @given(
        st.binary(max_size=40),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFFFFFF),
        st.booleans(),
        st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=4),
    )
    def test_what_is_written_is_read(
        self, payload: bytes, sequence: int, timestamp: int, marker: bool, extensions: dict[int, bytes]
    ) -> None:
        packet = write_rtp(
            payload,
            payload_type=96,
            marker=marker,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=5,
            extensions=extensions,
        )
        read = header(packet)
        assert read is not None
        assert (read.sequence, read.timestamp, read.marker, read.payload_type) == (
            sequence,
            timestamp,
            marker,
            96,
        )
        assert packet[read.start : read.end] == payload
        assert {name: read.extension(packet, name) for name in extensions} == extensions

    def test_an_element_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ValueError):
            write_rtp(
                b"", payload_type=1, marker=False, sequence=0, timestamp=0, ssrc=0, extensions={15: b"a"}
            )


@given(st.integers(0, 1 << 40), st.integers(-0x8000, 0x7FFF))
def test_numbers_are_compared_across_their_wrap(of: int, step: int) -> None:
    assert ahead16((of + step) & 0xFFFF, of) == step
    assert ahead32((of + step) & 0xFFFFFFFF, of) == step


class TestVp8:
    @pytest.mark.parametrize(
        ("payload", "size", "begins", "picture"),
        [
            (b"\x10\x00", 1, True, -1),
            (b"\x00\x00", 1, False, -1),
            (b"\x11\x00", 1, False, -1),
            (b"\x90\x80\x05\x00", 3, True, 5),
            (b"\x90\x80\x81\x05\x00", 4, True, 0x105),
            (b"\x90\xe0\x81\x05\x07\x20\x00", 6, True, 0x105),
            (b"\x90\x40\x07\x00", 3, True, -1),
            (b"\x90\x00\x00", 2, True, -1),
        ],
    )
    def test_descriptors(self, payload: bytes, size: int, begins: bool, picture: int) -> None:
        descriptor = read_vp8(payload)
        assert descriptor == (size, begins, picture)
        assert begins_key_frame(payload) is begins
        assert not begins_key_frame(payload[:-1] + b"\x01")

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\x10",
            b"\x90",
            b"\x90\x80",
            b"\x90\x80\x85",
            b"\x90\x80\x85\x01",
            b"\x90\xff\x85\x01\x02\x03",
        ],
    )
    def test_what_is_cut_says_nothing(self, payload: bytes) -> None:
        assert read_vp8(payload) is None
        assert not begins_key_frame(payload)

    @given(st.binary(max_size=12))
    def test_whatever_comes_is_read_or_refused(self, payload: bytes) -> None:
        descriptor = read_vp8(payload)
        assert descriptor is None or 0 < descriptor.size < len(payload)
        begins_key_frame(payload)


class TestFrames:
    @given(st.binary(min_size=1, max_size=3_000), st.integers(0, 0x7FFF), st.integers(20, 1_100))
    def test_a_frame_is_split_evenly_and_joined(self, frame: bytes, picture: int, limit: int) -> None:
        payloads = split_vp8(frame, picture, limit)
        sizes = [len(payload) for payload in payloads]
        assert max(sizes) <= limit
        assert max(sizes) - min(sizes) <= 1, "so the trailer of a frame is never alone in its packet"
        joiner = Vp8Joiner()
        last = len(payloads) - 1
        joined = [joiner.push(place, 90, place == last, payload) for place, payload in enumerate(payloads)]
        assert joined[:-1] == [None] * last
        assert joined[-1] is not None
        assert joined[-1].data == frame
        assert joined[-1].key is (not frame[0] & 1)

    def test_a_frame_has_bytes(self) -> None:
        with pytest.raises(ValueError):
            split_vp8(b"", 1)

    @given(st.randoms(use_true_random=False), st.integers(0, 0xFFFF))
    def test_packets_in_any_order_and_twice_give_every_frame_once(
        self, chance: random.Random, first: int
    ) -> None:
        packets: list[tuple[int, int, bool, bytes]] = []
        frames: list[bytes] = []
        for picture in range(12):
            frame = bytes([picture]) * chance.randint(1, 300)
            frames.append(frame)
            payloads = split_vp8(frame, picture, 60)
            for place, payload in enumerate(payloads):
                packets.append(
                    (first + len(packets) & 0xFFFF, picture * 3_000, place == len(payloads) - 1, payload)
                )
        shuffled = packets + chance.sample(packets, 5)
        chance.shuffle(shuffled)
        joiner = Vp8Joiner()
        joined = [came for packet in shuffled if (came := joiner.push(*packet)) is not None]
        whole = [came.data for came in sorted(joined, key=lambda came: came.last)]
        assert [frame for frame in frames if frame not in whole] == []

    def test_a_frame_with_a_packet_missing_waits_and_is_forgotten_when_it_is_old(self) -> None:
        joiner = Vp8Joiner()
        payloads = split_vp8(bytes(200), 1, 100)
        assert joiner.push(0, 90, False, payloads[0]) is None
        assert joiner.push(2, 90, True, payloads[2]) is None
        whole = joiner.push(1, 90, False, payloads[1])
        assert whole is not None
        assert whole.data == bytes(200)
        assert joiner.push(10, 91, False, payloads[0]) is None
        assert joiner.push(12 + Vp8Joiner.WINDOW, 95, False, payloads[1]) is None
        assert joiner.push(11, 91, False, payloads[1]) is None
        assert joiner.push(12, 91, True, payloads[2]) is None, "its first packet is older than the window"
