"""What a hostile peer can send: it is bounded, it harms nobody else, and costs no more than its own packets."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.video.rtp import write_rtp
from leeside_protocol.video.signalling import PausedWhy
from leeside_server.video.forward import Allowance, Uplink
from leeside_server.video.pacer import Pacer
from tests.support.video_plane import SEALED, Camera, Ear, Plane


def packet(ssrc: int, mid: bytes = b"1", payload_type: int = 96, sequence: int = 1, **extra: bytes) -> bytes:
    names = {"rid": 5, "repaired": 6}
    return write_rtp(
        b"\x10\x00" + SEALED,
        payload_type=payload_type,
        marker=True,
        sequence=sequence,
        timestamp=9,
        ssrc=ssrc,
        extensions={1: mid, **{names[name]: value for name, value in extra.items()}},
    )


class TestAllowance:
    def test_so_many_a_second(self) -> None:
        allowance = Allowance(3)
        assert [allowance.take(5.0 + place / 10) for place in range(5)] == [True, True, True, False, False]
        assert allowance.room(5.9) == 0
        assert allowance.take(6.0, 3)
        assert not allowance.take(6.5)


class TestRates:
    def test_three_thousand_packets_a_second(self) -> None:
        plane = Plane()
        plane.attach()
        for place in range(4_000):
            plane.camera.send(plane.camera.sound(), 1.0 + place / 5_000)
        assert (plane.uplink.packets, plane.uplink.over) == (3_000, 1_000)
        plane.camera.send(plane.camera.sound(), 2.1)
        assert plane.uplink.packets == 3_001

    def test_control_packets_too(self) -> None:
        plane = Plane()
        for _ in range(1_000):
            plane.downlink.receive_rtcp(b"junk", 1.0)
        assert (plane.downlink.refused, plane.downlink.over) == (400, 600)


class TestStreams:
    def test_a_peer_has_eight_at_most(self) -> None:
        plane = Plane()
        send = plane.camera.send
        for place, rid in enumerate((b"q", b"h", b"f")):
            send(packet(10 + place, rid=rid), 1.0)
            send(packet(20 + place, payload_type=97, repaired=rid), 1.0)
        send(packet(30, b"0", 111), 1.0)
        assert plane.uplink.refused == 0
        send(packet(40), 1.0)
        assert plane.uplink.refused == 0
        send(packet(41, payload_type=97), 1.0)
        assert plane.uplink.refused == 1
        assert sorted(layer.rid for layer in plane.uplink.tracks["1"].layers.values()) == ["", "f", "h", "q"]

    def test_a_ninth_leaves_nothing_behind(self) -> None:
        plane = Plane()
        for place, rid in enumerate((b"q", b"h", b"f")):
            plane.camera.send(packet(10 + place, rid=rid), 1.0)
            plane.camera.send(packet(20 + place, payload_type=97, repaired=rid), 1.0)
        plane.camera.send(packet(40), 1.0)
        plane.uplink.bind("1", 40, 41, 1.0)
        plane.camera.send(packet(30, b"0", 111), 1.0)
        assert plane.uplink.refused == 1
        assert not plane.uplink.tracks["0"].layers

    @pytest.mark.parametrize(
        "data",
        [
            packet(9, b"2"),
            packet(9, b"10"),
            packet(9, b"\xff\xfe"),
            packet(9, rid=b"x"),
            packet(9, b"0", 111, rid=b"q"),
            packet(9, b"0", 96),
            packet(9, b"1", 111),
            packet(9, b"1", 35),
            packet(9, payload_type=97),
            packet(9, payload_type=97, repaired=b"q"),
            write_rtp(b"\x10\x00" + SEALED, payload_type=96, marker=True, sequence=1, timestamp=9, ssrc=9),
        ],
        ids=[
            "no such m-line", "a longer name", "no text", "no such layer", "sound in layers", "a picture as sound",
            "sound as a picture", "another codec", "repair of nothing", "repair of no layer", "no m-line",
        ],
    )  # fmt: skip
    def test_one_that_is_nobodys_is_refused(self, data: bytes) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(data, 1.0)
        assert plane.uplink.refused == 1
        assert plane.ear.heard == []
        assert not plane.uplink.tracks["1"].layers

    def test_a_known_stream_cannot_change_its_codec(self) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        before = len(plane.ear.heard)
        plane.camera.send(packet(plane.camera.ssrc, payload_type=111, sequence=plane.camera.sequence), 1.1)
        assert len(plane.ear.heard) == before

    def test_numbers_that_change_with_every_packet_cost_one_stream_a_second(self) -> None:
        plane = Plane()
        plane.attach()
        for place in range(1_000):
            plane.camera.send(packet(1_000 + place, sequence=place), 1.0 + place / 500)
        assert len({id(layer) for layer in plane.uplink.tracks["1"].layers.values()}) == 1
        assert len(plane.layers) <= 6
        plane.sane()

    def test_what_the_answer_says_binds_before_the_first_packet(self) -> None:
        plane = Plane()
        plane.uplink.bind("1", 2_222, 3_333, 0.0)
        plane.uplink.bind("7", 1, 2, 0.0)
        plane.attach()
        bare = [data[:12].replace(b"\x90", b"\x80", 1) + data[24:] for data in plane.camera.frame(key=True)]
        plane.camera.send([bare[0], bare[2]], 1.0)
        plane.camera.send(plane.camera.repair(plane.camera.sent[1]), 1.1)
        assert len(plane.ear.frames(plane.picture)) == 1
        plane.uplink.bind("1", 2_222, 3_333, 2.0)
        assert len(plane.uplink.tracks["1"].layers) == 1


class TestFaults:
    def test_an_exception_costs_its_packet_alone(self) -> None:
        class Breaking(Ear):
            breaks = False

            def send_rtp(self, length: int, transport_seq: int | None) -> None:
                if self.breaks:
                    raise OSError
                super().send_rtp(length, transport_seq)

        plane = Plane()
        ear = Breaking()
        plane.receiver(ear).slots["b"].attach(plane.uplink.tracks["1"], 0.0)
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        first, second, third = plane.camera.frame()
        plane.camera.send(first, 1.1)
        # Where there is no room, the fast way leaves a packet to the slot.
        ear.breaks, ear.link.most = True, -1.0
        plane.camera.send(second, 1.1)
        ear.breaks, ear.link.most = False, float("inf")
        ear.link.room = float("inf")
        plane.camera.send(third, 1.1)
        assert plane.uplink.faults == 1
        assert [packet.sequence for packet in ear.heard] == [1, 2, 3, 4, 6]

    def test_a_break_while_answering_is_counted_too(self) -> None:
        class Breaking(Ear):
            def send_rtcp(self, packet: bytes) -> None:
                raise OSError

        plane = Plane()
        uplink = Uplink(Breaking(), lambda _track, _layer: None, lambda _track: None)
        camera = Camera(uplink)
        camera.send(camera.frame(), 1.0)
        (layer,) = uplink.tracks["1"].layers.values()
        slot = plane.picture
        with pytest.raises(OSError):
            slot.attach(uplink.tracks["1"], 1.0)
        pli = struct.pack("!BBHLL", 0x81, 206, 2, 1, slot.ssrc)
        plane.downlink.receive_rtcp(pli, 5.0)
        assert plane.downlink.faults == 1
        assert layer.keys_asked == 2


class TestFuzz:
    @settings(max_examples=150)
    @given(st.lists(st.binary(max_size=60), max_size=20), st.randoms(use_true_random=False))
    def test_bytes_that_mean_nothing(self, datagrams: list[bytes], chance: random.Random) -> None:
        plane = Plane()
        plane.attach()
        for data in datagrams:
            plane.camera.send(data, 1.0)
            plane.camera.send(b"\x90" + data, 1.0)
            plane.downlink.receive_rtcp(data, 1.0)
        plane.uplink.due(2.0)
        plane.sane()

    @settings(max_examples=100)
    @given(
        st.lists(
            st.tuples(st.integers(0, 60), st.integers(0, 255), st.integers(0, 1_200), st.booleans()),
            min_size=1,
            max_size=60,
        )
    )
    def test_packets_with_a_byte_changed_or_cut(self, changes: list[tuple[int, int, int, bool]]) -> None:
        plane = Plane()
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True), 1.0)
        now_s = 1.0
        for place, byte, length, cut in changes:
            now_s += 0.01
            for data in plane.camera.frame(key=place % 7 == 0, size=1_500):
                bad = bytearray(data)
                bad[place % len(bad)] = byte
                plane.camera.send(bytes(bad[:length]) if cut else bytes(bad), now_s)
            plane.uplink.due(now_s)
        plane.sane()
        assert all(len(packet.payload) <= 1_500 for packet in plane.ear.heard)

    @settings(max_examples=100)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 0xFFFF),
                st.integers(0, 0xFFFFFFFF),
                st.booleans(),
                st.booleans(),
                st.sampled_from([0, 1, 2]),
            ),
            min_size=1,
            max_size=80,
        )
    )
    def test_numbers_and_times_that_leap(self, packets: list[tuple[int, int, bool, bool, int]]) -> None:
        plane = Plane()
        plane.attach()
        camera = plane.camera
        now_s = 1.0
        for sequence, timestamp, marker, key, kind in packets:
            now_s += 0.02
            camera.sequence, camera.timestamp = sequence, timestamp
            body = (
                b"\x90\x80\x80\x01" + (b"\x10" if key else b"\x11") + SEALED,
                b"\x80\x80\x80\x01abc" + SEALED,
                b"",
            )[kind]
            data = camera.packet(body, marker=marker)
            camera.send(camera.repair(data) if sequence % 5 == 0 else data, now_s)
            camera.send(camera.sound(), now_s)
            plane.uplink.due(now_s)
            plane.downlink.due(now_s)
            for number in (1, sequence):
                plane.picture.resend(number, now_s)
        (layer,) = plane.uplink.tracks["1"].layers.values() if plane.uplink.tracks["1"].layers else [None]
        if layer is not None:
            assert layer.report(now_s) is not None
            assert layer.held <= 512
        plane.sane()


def test_every_number_wraps_without_a_step() -> None:
    """More packets than 16 bits count, and timestamps around their 32 bits some sixteen times."""

    class Counting(Ear):
        def hear(self, packet: bytes) -> None:
            seen.append(struct.unpack_from("!H", packet, 2)[0])

    seen: list[int] = []
    plane = Plane()
    ear = Counting()
    slot = plane.receiver(ear).slots["b"]
    plane.camera.send(plane.camera.frame(key=True, size=8), 1.0)
    (layer,) = plane.uplink.tracks["1"].layers.values()
    slot.attach(plane.uplink.tracks["1"], 1.0)
    payload = b"\x90\x80\x80\x01\x10" + SEALED
    for place in range(1, 70_001):
        timestamp = plane.camera.timestamp + place * 1_000_000 & 0xFFFFFFFF
        layer.receive(100 + place & 0xFFFF, 0xE0, timestamp, -1, payload, 1.0 + place / 30)
    assert seen == [place & 0xFFFF for place in range(1, 70_001)]
    report = layer.report(5_000.0)
    assert report is not None
    assert (report.lost, report.highest) == (0, 100 + 70_000)
    assert slot.resend(70_000 & 0xFFFF, 5_000.0)
    assert not slot.resend(70_000 - 1_024 & 0xFFFF, 5_000.0)


def test_what_waits_when_a_picture_is_paused_is_not_sent_and_leaves_no_hole() -> None:
    plane = Plane(pacer=Pacer(200_000))
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True, size=12_000), 1.0)
    assert [packet.marker for packet in plane.ear.heard if packet.marker] == [], "its last packet waits"
    before = len(plane.ear.heard)
    plane.picture.pause(PausedWhy.MUTED)
    for tick in range(100):
        plane.downlink.due(1.0 + tick / 100)
    assert not plane.downlink.waits
    assert len(plane.ear.heard) == before
    plane.picture.resume(2.0)
    plane.camera.send(plane.camera.frame(key=True, size=800), 2.1)
    heard = plane.ear.of(plane.picture)
    assert [packet.sequence for packet in heard] == list(range(1, len(heard) + 1))
    assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames[1:]
    plane.sane()


@pytest.mark.parametrize("ends", ["key frame", "pause", "unsealed"])
def test_no_number_is_given_to_two_packets(ends: str) -> None:
    """A late packet waits with a low number while higher ones have left: those are never given again."""
    plane = Plane(pacer=Pacer(100_000))
    plane.attach()
    camera = plane.camera
    camera.send(camera.frame(key=True), 1.0)
    first, late, last = camera.frame()
    camera.send([first, last], 2.0)
    assert plane.ear.of(plane.picture)[-1].sequence == 6
    for place in range(3):
        camera.send(camera.frame(), 2.0 + place / 1_000)
    camera.send(camera.repair(late), 2.01)
    if ends == "pause":
        plane.picture.pause(PausedWhy.BANDWIDTH)
        plane.picture.resume(2.02)
    elif ends == "unsealed":
        camera.send(camera.frame(sealed=False), 2.02)
    else:
        plane.picture.attach(plane.uplink.tracks["1"], 2.02)
    camera.send(camera.frame(key=True), 2.03)
    for tick in range(200):
        plane.downlink.due(2.03 + tick / 100)
    heard = sorted(packet.sequence for packet in plane.ear.of(plane.picture))
    assert heard == [number for number in range(1, heard[-1] + 1) if number != 5], "nor is another left out"
    assert plane.ear.frames(plane.picture)[-1][1] == camera.frames[-1]
    plane.sane()


def test_padding_probes_stand_on_the_repair_stream_and_disturb_nothing() -> None:
    plane = Plane()
    assert plane.downlink.pad() == 0, "nobody is shown"
    plane.attach()
    assert plane.downlink.pad() == 24 + 255, "a link may be measured before its first picture"
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.downlink.pad()
    plane.camera.send(plane.camera.frame(), 1.1)
    probes = plane.ear.repairs(plane.picture)
    assert [(probe.payload, probe.payload_type) for probe in probes] == [(b"", 97)] * 2
    assert probes[1].sequence == probes[0].sequence + 1
    assert [packet.sequence for packet in plane.ear.of(plane.picture)] == [1, 2, 3, 4, 5, 6]
    plane.ear.ready = False
    assert plane.downlink.pad() == 0
