"""Reports of when packets arrived: written by one end, read by the other, and believed only as far as they reach."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video import rtcp
from leeside_protocol.video.twcc import REFERENCE_US, STATUSES, Arrivals, read_twcc


def read(data: bytes) -> list[tuple[int, int | None]] | None:
    """Each packet that a report speaks of, and when it came."""
    parts = rtcp.compound(data)
    assert parts is not None
    (part,) = parts
    assert (part.kind, part.variant) == (205, 15)
    report = read_twcc(data, part)
    return None if report is None else list(report.packets)


def report(base: int, count: int, reference: int, rest: bytes) -> bytes:
    body = struct.pack("!LLHHL", 1, 2, base, count, reference << 8) + rest
    padding = -len(body) % 4
    body += bytes(padding - 1) + bytes([padding]) if padding else b""
    return struct.pack("!BBH", 0x8F | (0x20 if padding else 0), 205, len(body) // 4) + body


class TestReading:
    def test_a_run_and_both_kinds_of_vectors(self) -> None:
        chunks = struct.pack("!HHH", 1 << 13 | 2, 0x8000 | 0b10 << 12, 0xC000 | 0b00_10 << 10)
        data = report(0xFFFF, 2 + 14 + 3, 3, chunks + b"\x04\x08\x0c" + struct.pack("!h", -4))
        packets = read(data)
        assert packets is not None
        assert [number for number, _ in packets] == [(0xFFFF + place) & 0xFFFF for place in range(19)]
        start = 3 * REFERENCE_US
        assert [when for _, when in packets if when is not None] == [
            start + 1_000, start + 3_000, start + 6_000, start + 5_000,
        ]  # fmt: skip
        assert [number for number, when in packets if when is not None] == [0xFFFF, 0, 1, 16]

    @pytest.mark.parametrize(
        "data",
        [
            report(0, 0, 0, struct.pack("!H", 1 << 13 | 1) + b"\0"),
            report(0, 5, 0, struct.pack("!H", 1 << 13 | 4) + b"\0\0\0\0"),
            report(0, 5, 0, struct.pack("!H", 1 << 13 | 5) + b"\0\0"),
            report(0, 2, 0, struct.pack("!H", 2 << 13 | 2) + b"\0\1\0"),
            report(0, 2, 0, struct.pack("!H", 3 << 13 | 2) + b"\0\0\0\0"),
            report(0, 65_535, 0, struct.pack("!HHHHHHHHH", *[8_191] * 9)),
            report(0, STATUSES + 1, 0, struct.pack("!H", 8_191)),
            report(0, 7, 0, b""),
            struct.pack("!BBHLLHH", 0x8F, 205, 3, 1, 2, 0, 1),
        ],
        ids=[
            "of nothing", "run too short", "fewer times than arrivals", "half a time", "reserved status",
            "more than a link carries", "one more than that", "no chunks", "cut",
        ],
    )  # fmt: skip
    def test_a_report_that_lies_is_refused(self, data: bytes) -> None:
        assert read(data) is None

    def test_a_run_that_claims_more_than_the_report_is_cut_to_it(self) -> None:
        packets = read(report(7, 3, 0, struct.pack("!H", 8_191)))
        assert packets == [(7, None), (8, None), (9, None)]

    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFF), st.binary(max_size=60))
    def test_whatever_comes_is_read_or_refused(
        self, base: int, count: int, reference: int, rest: bytes
    ) -> None:
        packets = read(report(base, count, reference, rest))
        assert packets is None or len(packets) == count <= STATUSES


class TestWriting:
    @given(
        first=st.integers(0, 0xFFFF),
        begin_us=st.integers(0, 10**12),
        steps=st.lists(st.tuples(st.integers(1, 30), st.integers(-3_000, 200_000)), min_size=1, max_size=150),
    )
    def test_what_arrived_is_told_and_what_did_not(
        self, first: int, begin_us: int, steps: list[tuple[int, int]]
    ) -> None:
        arrivals = Arrivals()
        number, now_us = first, begin_us + 10_000_000
        came: dict[int, int] = {}
        for gap, wait_us in steps:
            number += gap
            now_us += wait_us
            arrivals.add(number & 0xFFFF, now_us / 1e6)
            came[number & 0xFFFF] = now_us
        told: dict[int, int | None] = {}
        for packet in arrivals.reports(2):
            assert len(packet) <= 1_200
            packets = read(packet)
            assert packets is not None
            told.update(packets)
        assert {number for number, when in told.items() if when is not None} == set(came)
        assert len(told) == (number - first - steps[0][0]) + 1
        wrap = REFERENCE_US << 24
        for number, when in told.items():
            if when is not None:
                assert abs((when - came[number] + wrap // 2) % wrap - wrap // 2) <= 251
        assert arrivals.reports(2) == []

    def test_a_good_second_takes_one_run(self) -> None:
        arrivals = Arrivals()
        for place in range(50):
            arrivals.add(place, 1.0 + place / 50)
        (packet,) = arrivals.reports(2)
        assert packet[20:22] == struct.pack("!H", 1 << 13 | 50)

    def test_what_was_lost_between_two_reports_is_told(self) -> None:
        arrivals = Arrivals()
        arrivals.add(10, 1.0)
        arrivals.reports(2)
        arrivals.add(13, 1.1)
        (packet,) = arrivals.reports(2)
        packets = read(packet)
        assert packets is not None
        assert [number for number, _ in packets] == [11, 12, 13]
        assert [when is None for _, when in packets] == [True, True, False]

    def test_what_comes_late_is_told_after_all(self) -> None:
        arrivals = Arrivals()
        arrivals.add(0, 1.0)
        arrivals.add(2, 1.1)
        arrivals.reports(2)
        arrivals.add(1, 1.15)
        arrivals.add(3, 1.2)
        (packet,) = arrivals.reports(2)
        packets = read(packet)
        assert packets is not None
        assert [number for number, when in packets if when is not None] == [1, 3]
        arrivals.add(4, 1.3)
        (packet,) = arrivals.reports(2)
        assert read(packet) is not None
        assert [number for number, _ in read(packet) or []] == [4]

    def test_a_silence_is_not_told_packet_by_packet(self) -> None:
        arrivals = Arrivals()
        arrivals.add(0, 1.0)
        arrivals.reports(2)
        arrivals.add(30_000, 9.0)
        arrivals.add(60_000, 9.0)
        told = [read(packet) for packet in arrivals.reports(2)]
        assert [[number for number, _ in packets or []] for packets in told] == [[30_000], [60_000]]

    def test_a_flood_before_a_report_is_bounded(self) -> None:
        arrivals = Arrivals()
        for place in range(9_000):
            arrivals.add(place, 1.0)
        assert len(arrivals) == 4_000

    def test_reports_are_numbered(self) -> None:
        arrivals = Arrivals()
        numbers: list[int] = []
        for place in range(300):
            arrivals.add(place, 1.0)
            (packet,) = arrivals.reports(2)
            numbers.append(packet[19])
        assert numbers == [place & 0xFF for place in range(300)]
