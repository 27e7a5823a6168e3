"""RTCP: compounds are read whole or not at all, and nobody's count is believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video import rtcp


def only(data: bytes) -> rtcp.Part:
    parts = rtcp.compound(data)
    assert parts is not None
    assert len(parts) == 1
    return parts[0]


class TestCompound:
    def test_its_packets_in_order_without_padding(self) -> None:
        data = b"\x80\xc9\0\1" + bytes(4) + b"\xaf\xcd\0\2" + bytes(5) + b"\0\0\3"
        assert rtcp.compound(data) == [rtcp.Part(201, 0, 4, 8), rtcp.Part(205, 15, 12, 17)]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x80\xc9\0",
            b"\x80\xc9\0\1",
            b"\x80\xc9\0\0\0",
            b"\x80\xc9\xff\xff" + bytes(64),
            b"\x40\xc9\0\1" + bytes(4),
            b"\x80\xc9\0\1" + bytes(4) + b"\x80\xc9\0\2" + bytes(4),
            b"\xa0\xc9\0\1" + bytes(4),
            b"\xa0\xc9\0\1\0\0\0\5",
            b"\xa0\xc9\0\0",
            b"\xa0\xc9\0\1\0\0\0\4" + b"\x80\xc9\0\1" + bytes(4),
        ],
        ids=[
            "nothing", "cut head", "cut body", "left over", "longest length", "version 1", "second overruns",
            "padding of 0", "padding longer than the body", "padding of an empty body", "padding before the last",
        ],
    )  # fmt: skip
    def test_a_length_that_lies_refuses_all_of_it(self, data: bytes) -> None:
        assert rtcp.compound(data) is None

    @given(st.binary(max_size=120))
    def test_whatever_comes_is_read_or_refused(self, data: bytes) -> None:
        read_everything(data)

    @given(
        st.lists(
            st.tuples(st.integers(0, 31), st.sampled_from([200, 201, 205, 206]), st.binary(max_size=64)),
            max_size=4,
        )
    )
    def test_so_is_what_is_well_framed(self, packets: list[tuple[int, int, bytes]]) -> None:
        data = b"".join(
            struct.pack("!BBH", 0x80 | variant, kind, -(-len(body) // 4)) + body + bytes(-len(body) % 4)
            for variant, kind, body in packets
        )
        read_everything(data)


def read_everything(data: bytes) -> None:
    """Every reader on every packet: none may read beyond it, or raise."""
    for part in rtcp.compound(data) or []:
        assert 0 < part.start <= part.end <= len(data)
        rtcp.read_sender(data, part)
        assert len(list(rtcp.read_blocks(data, part))) <= (part.end - part.start) // 24
        nack = rtcp.read_nack(data, part)
        assert nack is None or len(nack[1]) <= 17 * rtcp.NACK_ENTRIES
        assert len(rtcp.read_picture_requests(data, part)) <= (part.end - part.start) // 8


class TestNack:
    @given(st.sets(st.integers(0x1_0000, 0x1_0400), min_size=1), st.integers(0, 0xFFFF_FFFF))
    def test_what_is_asked_for_is_heard(self, numbers: set[int], ssrc: int) -> None:
        heard: list[int] = []
        for packet in rtcp.write_nacks(ssrc, sorted(numbers)):
            nack = rtcp.read_nack(packet, only(packet))
            assert nack is not None
            assert nack[0] == ssrc
            heard += nack[1]
        assert sorted(heard) == sorted(number & 0xFFFF for number in numbers)

    def test_across_the_wrap(self) -> None:
        (packet,) = rtcp.write_nacks(7, [0x1_FFFF, 0x2_0000, 0x2_0003])
        assert packet == bytes.fromhex("81cd0003 00000001 00000007 ffff 0009")
        assert rtcp.read_nack(packet, only(packet)) == (7, [0xFFFF, 0, 3])

    def test_a_storm_in_one_packet_is_read_to_a_bound(self) -> None:
        entries = b"".join(struct.pack("!HH", 17 * entry, 0xFFFF) for entry in range(300))
        packet = struct.pack("!BBHLL", 0x81, 205, 2 + 300, 1, 7) + entries
        nack = rtcp.read_nack(packet, only(packet))
        assert nack is not None
        assert len(nack[1]) == 17 * 64

    def test_one_without_entries_asks_for_nothing(self) -> None:
        packet = struct.pack("!BBHLL", 0x81, 205, 2, 1, 7)
        assert rtcp.read_nack(packet, only(packet)) is None


class TestReports:
    def test_a_sender_report_with_its_name(self) -> None:
        data = rtcp.write_sender_report(rtcp.SenderInfo(9, 0x0123456789ABCDEF, -1), 1 << 32, 77, b"seat0")
        parts = rtcp.compound(data)
        assert parts is not None
        assert [part.kind for part in parts] == [200, 202]
        assert rtcp.read_sender(data, parts[0]) == (9, 0x0123456789ABCDEF, 0xFFFFFFFF)
        assert data[20:28] == bytes(4) + struct.pack("!L", 77)
        assert data[28:] == b"\x81\xca\0\3" + struct.pack("!L", 9) + b"\x01\x05seat0\0"
        assert rtcp.middle(0x0123456789ABCDEF) == 0x456789AB

    def test_a_receiver_report(self) -> None:
        block = rtcp.ReportBlock(5, 128, -3, 0x1_2345_0007, 90, 0x456789AB, 65_536)
        data = rtcp.write_receiver_report([block])
        (read,) = rtcp.read_blocks(data, only(data))
        assert read == (5, 128, 0, 0x2345_0007, 90, 0x456789AB, 65_536)

    def test_a_report_has_31_blocks_at_most(self) -> None:
        block = rtcp.ReportBlock(5, 0, 0, 0, 0, 0, 0)
        data = rtcp.write_receiver_report([block] * 40)
        assert len(list(rtcp.read_blocks(data, only(data)))) == 31

    def test_a_count_of_blocks_that_lies_reads_those_that_are_there(self) -> None:
        data = bytearray(rtcp.write_receiver_report([rtcp.ReportBlock(5, 0, 0, 0, 0, 0, 0)]))
        data[0] = 0x80 | 31
        assert len(list(rtcp.read_blocks(bytes(data), only(bytes(data))))) == 1

    def test_a_cut_sender_report_says_nothing(self) -> None:
        data = b"\x80\xc8\0\5" + bytes(20)
        assert rtcp.read_sender(data, only(data)) is None

    def test_ntp_counts_from_1900(self) -> None:
        assert rtcp.ntp_of(0.5) == 2_208_988_800 << 32 | 1 << 31


class TestPictureRequests:
    def test_pli_and_fir(self) -> None:
        pli = rtcp.write_pli(0xABCD)
        assert rtcp.read_picture_requests(pli, only(pli)) == [0xABCD]
        fir = struct.pack("!BBHLLLLLL", 0x84, 206, 6, 1, 0, 5, 0, 6, 0)
        assert rtcp.read_picture_requests(fir, only(fir)) == [5, 6]

    @pytest.mark.parametrize(
        "data", [b"\x81\xce\0\1" + bytes(4), b"\x84\xce\0\3" + bytes(12), b"\x8f\xce\0\4" + bytes(16)]
    )
    def test_others_ask_for_nothing(self, data: bytes) -> None:
        assert rtcp.read_picture_requests(data, only(data)) == []
