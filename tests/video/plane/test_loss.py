"""Loss, order and repetition: what the bridge asks for, sends again, and reports."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.video import rtcp
from leeside_protocol.video.twcc import read_twcc
from tests.support.video_plane import AUDIO_SSRC, VIDEO_SSRC, Ear, Plane, read


def nacked(packets: list[bytes]) -> list[int]:
    numbers: list[int] = []
    for packet in packets:
        parts = rtcp.compound(packet)
        assert parts is not None
        nack = rtcp.read_nack(packet, parts[0])
        assert nack is not None
        numbers += nack[1]
    return numbers


def ask_for(plane: Plane, ssrc: int, numbers: list[int], now_s: float) -> None:
    for packet in rtcp.write_nacks(ssrc, numbers):
        plane.downlink.receive_rtcp(packet, now_s)


class TestUpstream:
    def test_what_was_lost_here_is_not_asked_for_and_a_key_frame_goes_on(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, _, last = plane.camera.frame()
        plane.camera.send([first, last], 1.5)
        plane.asked(206, 1)
        plane.uplink.due(1.6, behind=True)
        assert len(plane.asked(206, 1)) == 1
        for tick in range(50):
            plane.uplink.due(1.62 + tick / 50)
        assert plane.asked(205, 1) == []
        (layer,) = plane.uplink.tracks["1"].layers.values()
        assert layer.lost == 1
        plane.camera.send(plane.camera.frame(key=True), 2.7)
        assert plane.ear.frames(plane.picture)[-1][1] == plane.camera.frames[-1]

    def test_a_lost_packet_is_asked_for_and_comes_on_the_repair_stream(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, lost, last = plane.camera.frame()
        plane.camera.send([first, last], 1.03)
        plane.uplink.due(1.031)
        assert plane.asked(205, 1) == [], "it may only be late"
        plane.uplink.due(1.05)
        (nack,) = plane.asked(205, 1)
        plane.camera.send(plane.camera.resent(nack), 1.1)
        assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames
        assert [packet.sequence for packet in plane.ear.of(plane.picture)] == [1, 2, 3, 4, 6]
        (late,) = plane.ear.repairs(plane.picture)
        assert late.payload[:2] == struct.pack("!H", 5), "a late original would teach browsers to wait"
        plane.camera.send(lost, 1.2)
        assert len(plane.ear.heard) == 6, "what came twice goes on once"
        plane.sane()

    def test_it_is_asked_for_every_60_ms_ten_times_and_then_a_key_frame_is(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, _, last = plane.camera.frame()
        plane.camera.send([first, last], 1.03)
        plane.asked(206, 1)
        asked: list[int] = []
        for tick in range(100):
            plane.uplink.due(1.0 + tick / 100)
            if plane.asked(205, 1):
                asked.append(tick)
        assert len(asked) == 10
        assert asked[0] in (4, 5)
        assert all(6 <= later - before <= 7 for before, later in pairwise(asked))
        assert len(plane.asked(206, 1)) == 1
        (layer,) = plane.uplink.tracks["1"].layers.values()
        assert (layer.lost, layer.recovered) == (1, 0)

    def test_sound_is_asked_for_and_comes_as_it_was(self) -> None:
        plane = Plane()
        plane.attach()
        sounds = [plane.camera.sound() for _ in range(4)]
        plane.camera.send([sounds[0], sounds[2], sounds[3]], 1.0)
        plane.uplink.due(1.02)
        (nack,) = plane.asked(205, 1)
        assert struct.unpack("!L", nack[8:12]) == (AUDIO_SSRC,)
        assert nacked([nack]) == [501]
        plane.camera.send(sounds[1], 1.05)
        assert [packet.sequence for packet in plane.ear.of(plane.sound)] == [1, 3, 4, 2]

    def test_a_long_hole_is_answered_by_a_key_frame(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        plane.asked(206, 1)
        plane.camera.sequence += 5_000
        plane.camera.send(plane.camera.frame(), 4.0)
        plane.uplink.due(4.1)
        assert plane.asked(205, 1) == []
        assert len(plane.asked(206, 1)) == 1
        plane.camera.send(plane.camera.frame(key=True), 4.2)
        assert len(plane.ear.frames(plane.picture)) == 3
        (layer,) = plane.uplink.tracks["1"].layers.values()
        report = layer.report(4.3)
        assert report is not None
        assert (report.lost, report.fraction) == (0, 0), "the sender leapt"

    def test_what_came_before_a_leap_does_not_come_again(self) -> None:
        plane = Plane()
        plane.attach()
        for count in range(300):
            plane.camera.send(plane.camera.frame(key=count == 0), 1.0 + count / 30)
        plane.camera.sequence += 600
        plane.camera.send(plane.camera.frame(key=True), 12.0)
        before = len(plane.ear.heard)
        for packet in plane.camera.sent:
            plane.camera.send(plane.camera.repair(packet), 12.1 + len(plane.camera.sent) / 1_000)
        assert len(plane.ear.heard) == before

    def test_what_is_asked_for_in_a_second_is_bounded(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        for _ in range(9):
            plane.camera.sequence += 400
            plane.camera.send(plane.camera.frame(), 1.0)
        asked = 0
        for tick in range(90):
            plane.uplink.due(1.05 + tick / 100)
            asked += len(nacked(plane.asked(205, 1)))
        assert asked == 1_000
        for tick in range(400):
            plane.uplink.due(2.0 + tick / 20)
        (layer,) = plane.uplink.tracks["1"].layers.values()
        assert layer.lost == 1_000, "nor is more than that remembered"

    def test_many_lost_at_once_are_asked_for_by_turns_and_looked_at_when_due(self) -> None:
        """A worker that loses much looks for it fifty times a second: what is not due must not cost anything then."""
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, *lost, last = plane.camera.frame(size=300_000)
        plane.camera.send([first, last], 1.0)
        (layer,) = plane.uplink.tracks["1"].layers.values()
        begin = read(lost[0]).sequence + 0x1_0000
        assert 200 < len(lost) < 400
        assert layer.asks(1.009, 50) == []
        rounds = [layer.asks(1.011 + number * 0.01, 50) for number in range(4)]
        assert [numbers[0] - begin for numbers in rounds] == [0, 50, 100, 150]
        assert all(len(numbers) == 50 for numbers in rounds)
        assert layer.asks(1.05, 0) == []
        assert layer.asks(1.0715, 1_000)[:50] == rounds[0], (
            "the first again, and all that was never asked for"
        )
        plane.camera.send(lost[:50], 1.08)
        assert layer.asks(1.0815, 1_000) == rounds[1]
        assert layer.recovered == 50

    def test_what_was_lost_before_somebody_came_is_not_for_them(self) -> None:
        plane = Plane()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, lost, last = plane.camera.frame()
        plane.camera.send([first, last], 1.03)
        plane.attach(1.05)
        plane.camera.send(plane.camera.frame(key=True), 1.06)
        plane.camera.send(plane.camera.repair(lost), 1.1)
        plane.camera.send(plane.camera.frame(), 1.13)
        assert [packet.sequence for packet in plane.ear.of(plane.picture)] == [1, 2, 3, 4, 5, 6]
        assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames[2:]

    def test_padding_on_the_repair_stream_goes_nowhere(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        before = len(plane.ear.heard)
        next_number = struct.pack("!H", plane.camera.sequence)
        pad = bytearray(plane.camera.repair(plane.camera.sent[0])[:20]) + next_number + bytes(7) + b"\x0a"
        pad[0] |= 0x20
        plane.camera.send(bytes(pad), 1.1)
        assert len(plane.ear.heard) == before
        assert plane.uplink.refused == 0

    def test_padding_among_the_picture_keeps_the_numbers_whole(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        pad = bytearray(plane.camera.packet(b"\0" * 99 + b"\x64", marker=False))
        pad[0] |= 0x20
        plane.camera.send(bytes(pad), 1.01)
        plane.camera.send(plane.camera.frame(), 1.03)
        heard = plane.ear.of(plane.picture)
        assert [packet.sequence for packet in heard] == [1, 2, 3, 4, 5, 6, 7]
        assert heard[3].payload == b""
        assert len(plane.ear.frames(plane.picture)) == 2

    def test_a_late_first_packet_of_a_key_frame_brings_what_stood_behind_it(self) -> None:
        plane = Plane()
        plane.attach()
        first, *others = plane.camera.frame(key=True)
        plane.camera.send(others, 1.0)
        plane.camera.send(plane.camera.frame(), 1.03)
        assert plane.ear.heard == []
        plane.camera.send(plane.camera.repair(first), 1.1)
        assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames
        assert sorted(packet.sequence for packet in plane.ear.of(plane.picture)) == [1, 2, 3, 4, 5, 6]


class TestDownstream:
    def test_a_picture_is_sent_again_on_the_repair_stream(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        original = plane.ear.of(plane.picture)[1]
        ask_for(plane, plane.picture.ssrc, [2], 1.1)
        (again,) = plane.ear.repairs(plane.picture)
        assert again.payload == struct.pack("!H", 2) + original.payload
        assert (again.payload_type, again.timestamp) == (97, original.timestamp)
        assert (again.marker, again.extensions[1]) == (original.marker, b"b")
        ask_for(plane, plane.picture.ssrc, [3], 1.1)
        second = plane.ear.repairs(plane.picture)[1]
        assert (second.sequence, second.marker) == (again.sequence + 1, True)

    def test_sound_is_sent_again_as_it_was(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send([plane.camera.sound(), plane.camera.sound()], 1.0)
        ask_for(plane, plane.sound.ssrc, [1], 1.1)
        first, _, again = plane.ear.of(plane.sound)
        assert (again.sequence, again.timestamp, again.payload) == (1, first.timestamp, first.payload)
        assert again.extensions[3] != first.extensions[3], "the transport counts it anew"
        assert plane.ear.copies == 1, "and nothing is expected of it"

    def test_what_was_never_sent_or_is_not_kept_is_not_sent(self) -> None:
        plane = Plane()
        plane.attach()
        for count in range(500):
            plane.camera.send(plane.camera.frame(key=count == 0), 1.0 + count / 30)
        sent = len(plane.ear.heard)
        for numbers in ([0], [1], [1_501], [40_000]):
            ask_for(plane, plane.picture.ssrc, numbers, 20.0)
        assert len(plane.ear.heard) == sent
        ask_for(plane, plane.picture.ssrc, [1_500 - 1_023], 20.0)
        assert len(plane.ear.heard) == sent + 1
        plane.sane()

    def test_a_storm_of_requests_costs_a_bounded_number_of_packets(self) -> None:
        plane = Plane()
        plane.attach()
        for count in range(300):
            plane.camera.send(plane.camera.frame(key=count == 0), 1.0 + count / 30)
        storm = rtcp.write_nacks(plane.picture.ssrc, range(100, 800))[0]
        for count in range(400):
            plane.downlink.receive_rtcp(storm, 20.0 + count / 1_000)
        assert len(plane.ear.repairs(plane.picture)) == 600
        assert plane.downlink.over > 0
        plane.sane()

    def test_a_storm_of_small_requests_is_bounded_too(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        (nack,) = rtcp.write_nacks(plane.picture.ssrc, [1])
        for _ in range(1_000):
            plane.downlink.receive_rtcp(nack, 2.0)
        assert len(plane.ear.repairs(plane.picture)) == 200


class TestReports:
    def test_the_publisher_hears_how_its_streams_arrive(self) -> None:
        plane = Plane()
        packets = [packet for _ in range(40) for packet in plane.camera.frame()]
        lost = packets[30:40]
        for place, packet in enumerate(packets):
            if packet not in lost:
                plane.camera.send(packet, 1.0 + place / 100)
        plane.uplink.due(2.5)
        (report,) = [packet for packet in plane.publisher.control if packet[1] == 201]
        parts = rtcp.compound(report)
        assert parts is not None
        (block,) = rtcp.read_blocks(report, parts[0])
        assert block.ssrc == VIDEO_SSRC
        assert block.lost == 10
        assert block.fraction == 10 * 256 // 120
        assert block.highest == plane.camera.sequence - 1

    def test_repairs_do_not_hide_the_loss(self) -> None:
        plane = Plane()
        plane.attach()
        packets = plane.camera.frame(key=True, size=10_000)
        plane.camera.send([*packets[:3], *packets[4:]], 1.0)
        plane.camera.send(plane.camera.repair(packets[3]), 1.05)
        plane.uplink.due(1.6)
        (report,) = [packet for packet in plane.publisher.control if packet[1] == 201]
        assert report[12] == 256 // len(packets)

    def test_its_clock_comes_back_so_that_it_knows_the_way_there_and_back(self) -> None:
        plane = Plane()
        plane.camera.send(plane.camera.frame(), 1.0)
        clock = rtcp.ntp_of(1_000.25)
        plane.downlink.receive_rtcp(
            rtcp.write_sender_report(rtcp.SenderInfo(VIDEO_SSRC, clock, 5), 1, 1, b"x"), 1.0
        )
        plane.uplink.due(1.5)
        (report,) = [packet for packet in plane.publisher.control if packet[1] == 201]
        assert struct.unpack("!LL", report[24:32]) == (rtcp.middle(clock), 32_768)

    def test_the_transport_is_reported_every_tenth_of_a_second(self) -> None:
        plane = Plane()
        for count in range(12):
            plane.camera.send(plane.camera.frame(), 1.0 + count * 0.02)
            plane.uplink.due(1.0 + count * 0.02)
        reports = plane.asked(205, 15)
        assert len(reports) in (2, 3)
        told: list[int] = []
        for report in reports:
            parts = rtcp.compound(report)
            assert parts is not None
            read = read_twcc(report, parts[0])
            assert read is not None
            told += [number for number, when in read.packets if when is not None]
        assert told == list(range(len(told)))
        assert len(told) >= 30

    def test_a_receivers_report_tells_loss_and_time(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        clock = rtcp.ntp_of(77.0)
        plane.downlink.receive_rtcp(
            rtcp.write_sender_report(rtcp.SenderInfo(VIDEO_SSRC, clock, 900_000), 1, 1, b"x"), 2.0
        )
        (report,) = [packet for packet in plane.ear.control if packet[1] == 200]
        parts = rtcp.compound(report)
        assert parts is not None
        info = rtcp.read_sender(report, parts[0])
        assert info is not None
        assert (info.ssrc, info.ntp) == (plane.picture.ssrc, clock)
        sent = plane.ear.of(plane.picture)[0].timestamp
        assert (info.rtp - sent) & 0xFFFFFFFF == (900_000 - (plane.camera.timestamp)) & 0xFFFFFFFF
        block = rtcp.ReportBlock(plane.picture.ssrc, 64, 3, 3, 0, rtcp.middle(clock), 6_554)
        plane.downlink.receive_rtcp(rtcp.write_receiver_report([block]), 2.25)
        assert plane.downlink.loss == 0.25
        assert plane.downlink.rtt_s is not None
        assert abs(plane.downlink.rtt_s - 0.15) < 0.001


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1 << 32),
    first=st.sampled_from([100, 65_500, 32_760]),
    up=st.sampled_from([0.0, 0.05, 0.2]),
    down=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_through_loss_and_disorder_both_ways_every_frame_arrives(
    seed: int, first: int, up: float, down: float
) -> None:
    """A publisher and a receiver that only answer what they are asked: every frame comes, and in one unbroken stream."""
    chance = random.Random(seed)
    plane = Plane()
    plane.attach()
    camera = plane.camera
    camera.sequence = first
    camera.timestamp = 0xFFFFFFFF - 20_000
    kept: list[int] = []
    now_s, count = 1.0, 0
    while now_s < 4.0:
        now_s += 0.02
        if count < 40:
            packets = camera.frame(key=count == 0, size=chance.randint(8, 4_000))
            count += 1
            if chance.random() < 0.3:
                chance.shuffle(packets)
            for packet in packets:
                if count == 1 or chance.random() >= up:
                    camera.send(packet, now_s)
        elif count == 40:
            camera.send(
                camera.frame(), now_s
            )  # The last is not lost: nothing behind it would show that it was.
            count += 1
        plane.uplink.due(now_s)
        for nack in plane.asked(205, 1):
            for packet in camera.resent(nack):
                if chance.random() >= up:
                    camera.send(packet, now_s)
        kept = lossy(plane.ear, chance, down if count <= 40 else 0.0, kept)
        ask_for(plane, plane.picture.ssrc, plane.ear.missing(plane.picture), now_s)
    assert [data for _, data in plane.ear.frames(plane.picture)] == camera.frames
    timestamps = [timestamp for timestamp, _ in plane.ear.frames(plane.picture)]
    assert all(later - before == 3_000 for before, later in pairwise(timestamps))
    plane.sane()


def lossy(ear: Ear, chance: random.Random, loss: float, kept: list[int]) -> list[int]:
    """Take some of what newly reached the receiver away from it again."""
    fresh = ear.heard[len(kept) :]
    ear.heard = ear.heard[: len(kept)] + [packet for packet in fresh if chance.random() >= loss]
    return [packet.sequence for packet in ear.heard]
