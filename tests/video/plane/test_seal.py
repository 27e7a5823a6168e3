"""Nothing unsealed is passed on: the fail-open trap, at the bridge."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.formats import MediaKind
from leeside_server.video.pacer import Pacer
from leeside_server.video.slot import SlotState
from tests.support.video_plane import Ear, Plane


def watched() -> Plane:
    """A receiver that sees a sealed call: one key frame and one more came, at second 1."""
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.camera.send(plane.camera.frame(), 1.03)
    assert len(plane.ear.frames(plane.picture)) == 2
    return plane


def unsealed_bytes(plane: Plane) -> int:
    """How many payload bytes of frames that were not sealed went out: frames say their number every four bytes."""
    bare = {frame[1:5] for frame in plane.camera.frames if not frame.endswith(b"LS\x01")}
    return sum(
        len(packet.payload)
        for packet in plane.ear.of(plane.picture) + plane.ear.repairs(plane.picture)
        if any(mark in packet.payload for mark in bare)
    )


class TestPicture:
    def test_a_camera_that_was_never_sealed_sends_nothing_on(self) -> None:
        plane = Plane()
        plane.attach()
        for count in range(60):
            plane.camera.send(plane.camera.frame(key=count % 10 == 0, sealed=False), 1.0 + count / 30)
            plane.uplink.due(1.0 + count / 30)
        assert plane.ear.heard == []
        assert plane.picture.state is SlotState.WAIT_KEY
        assert plane.unsealed == [MediaKind.VIDEO] * 2, "it is told once a second"
        plane.sane()

    def test_a_frame_is_held_until_its_last_packet_shows_the_trailer(self) -> None:
        plane = Plane()
        plane.attach()
        *earlier, last = plane.camera.frame(key=True)
        plane.camera.send(earlier, 1.0)
        assert plane.ear.heard == []
        plane.camera.send(last, 1.0)
        assert len(plane.ear.heard) == len(earlier) + 1

    def test_what_was_held_goes_on_in_order(self) -> None:
        plane = Plane()
        plane.attach()
        *earlier, last = plane.camera.frame(key=True, size=9_000)
        plane.camera.send([*reversed(earlier), last], 1.0)
        assert [packet.sequence for packet in plane.ear.heard] == list(range(1, len(earlier) + 2))

    def test_frames_of_a_trusted_stream_go_on_as_they_come(self) -> None:
        plane = watched()
        before = len(plane.ear.heard)
        packets = plane.camera.frame()
        for place, packet in enumerate(packets):
            plane.camera.send(packet, 1.06)
            assert len(plane.ear.heard) == before + place + 1

    def test_every_key_frame_is_held(self) -> None:
        plane = watched()
        before = len(plane.ear.heard)
        *earlier, last = plane.camera.frame(key=True)
        plane.camera.send(earlier, 1.06)
        assert len(plane.ear.heard) == before
        plane.camera.send(last, 1.06)
        assert len(plane.ear.heard) == before + len(earlier) + 1

    def test_a_stream_that_turns_unsealed_passes_on_the_beginning_of_one_frame_at_most(self) -> None:
        plane = watched()
        bare = plane.camera.frame(sealed=False)
        plane.camera.send(bare, 1.06)
        passed = plane.ear.of(plane.picture)[6:]
        assert len(passed) == len(bare) - 1, "its last packet shows that it is not sealed"
        assert not any(packet.marker for packet in passed)
        for count in range(30):
            plane.camera.send(plane.camera.frame(key=count == 5, sealed=False), 1.1 + count / 30)
        assert len(plane.ear.of(plane.picture)) == 6 + len(passed)
        assert len(plane.ear.frames(plane.picture)) == 2
        plane.sane()

    def test_without_a_marker_no_second_frame_begins_to_pass(self) -> None:
        plane = watched()
        for count in range(100):
            plane.camera.send(plane.camera.frame(sealed=False)[:-1], 1.06 + count / 30)
        assert len(plane.ear.of(plane.picture)) == 6 + 2
        plane.sane()

    def test_an_unsealed_key_frame_shows_nothing_of_itself(self) -> None:
        plane = watched()
        plane.camera.send(plane.camera.frame(key=True, sealed=False), 1.06)
        assert unsealed_bytes(plane) == 0

    def test_nor_does_one_whose_first_packet_comes_late(self) -> None:
        plane = watched()
        first, *others = plane.camera.frame(key=True, sealed=False)
        plane.camera.send([*others, first], 1.06)
        assert len(plane.ear.frames(plane.picture)) == 2
        assert all(packet.payload[0] & 0x10 == 0 for packet in plane.ear.of(plane.picture)[6:])

    def test_trust_ends_when_nothing_came_for_two_seconds(self) -> None:
        plane = watched()
        plane.camera.send(plane.camera.frame(sealed=False), 3.1)
        assert len(plane.ear.of(plane.picture)) == 6

    def test_after_an_unsealed_frame_the_picture_comes_back_with_a_sealed_key_frame(self) -> None:
        plane = watched()
        plane.camera.send(plane.camera.frame(sealed=False), 1.06)
        assert plane.picture.layer is None
        plane.asked(206, 1)
        plane.uplink.due(1.6)
        assert len(plane.asked(206, 1)) == 1
        plane.camera.send(plane.camera.frame(), 1.7)
        sequences = [packet.sequence for packet in plane.ear.of(plane.picture)]
        plane.camera.send(plane.camera.frame(key=True), 1.75)
        assert plane.picture.state is SlotState.FLOW
        after = [packet.sequence for packet in plane.ear.of(plane.picture)]
        assert after == list(range(1, len(after) + 1)), "no step in the stream"
        assert len(after) == len(sequences) + 3
        assert plane.unsealed == [], "one frame is dropped and forgotten"

    def test_three_unsealed_in_a_row_are_told(self) -> None:
        plane = watched()
        for count in range(2):
            plane.camera.send(plane.camera.frame(sealed=False), 1.1 + count / 30)
        plane.camera.send(plane.camera.frame(), 1.2)
        for count in range(2):
            plane.camera.send(plane.camera.frame(sealed=False), 1.3 + count / 30)
        assert plane.unsealed == []
        plane.camera.send(plane.camera.frame(sealed=False), 1.5)
        assert plane.unsealed == [MediaKind.VIDEO]

    def test_a_lost_last_packet_holds_the_next_frame_back_only_until_its_own(self) -> None:
        plane = watched()
        *earlier, last = plane.camera.frame()
        plane.camera.send(earlier, 1.06)
        plane.camera.send(plane.camera.frame(), 1.1)
        assert len(plane.ear.of(plane.picture)) == 6 + len(earlier) + 3
        plane.camera.send(last, 1.12)
        assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames

    def test_no_receiver_gets_an_unsealed_packet_again(self) -> None:
        plane = watched()
        plane.camera.send(plane.camera.frame(sealed=False), 1.06)
        assert len(plane.ear.of(plane.picture)) == 6 + 2
        again = [number for number in range(1, 40) if plane.picture.resend(number, 1.1)]
        assert again == [1, 2, 3, 4, 5, 6]

    def test_nor_one_that_waited_for_its_turn(self) -> None:
        plane = Plane(pacer=Pacer(120_000))
        plane.attach()
        plane.camera.send(plane.camera.frame(key=True, size=9_000), 1.0)
        plane.camera.send(plane.camera.frame(sealed=False), 1.03)
        for tick in range(100):
            plane.downlink.due(1.03 + tick / 100)
        assert len(plane.ear.frames(plane.picture)) == 1
        assert unsealed_bytes(plane) == 0

    def test_one_who_comes_in_the_middle_gets_nothing_unsealed(self) -> None:
        plane = watched()
        plane.camera.send(plane.camera.frame(sealed=False), 1.06)
        late = Ear()
        slot = plane.receiver(late).slots["b"]
        slot.attach(plane.uplink.tracks["1"], 1.07)
        for count in range(20):
            plane.camera.send(plane.camera.frame(key=count == 3, sealed=False), 1.1 + count / 30)
        assert late.heard == []

    @given(
        st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 4_000)), min_size=1, max_size=30),
        st.randoms(use_true_random=False),
    )
    def test_whatever_mixture_comes_in_whatever_order_no_unsealed_frame_can_be_put_together(
        self, frames: list[tuple[bool, bool, int]], chance: random.Random
    ) -> None:
        plane = watched()
        packets: list[bytes] = []
        for key, sealed, size in frames:
            packets += plane.camera.frame(key=key, sealed=sealed, size=size + 8)
        for place in range(len(packets) - 1):
            if chance.random() < 0.2:
                packets[place], packets[place + 1] = packets[place + 1], packets[place]
        packets = [packet for packet in packets if chance.random() > 0.1]
        at_once = max(1, len(packets) // 20)
        for place, packet in enumerate(packets):
            plane.camera.send(packet, 1.1 + place // at_once / 30)
        markers = [packet for packet in plane.ear.of(plane.picture) if packet.marker]
        assert all(packet.payload.endswith(b"LS\x01") for packet in markers)
        bare_first = {
            frame[1:5]
            for frame, (key, sealed, _) in zip(plane.camera.frames[2:], frames, strict=True)
            if key and not sealed
        }
        begun = [packet.payload[5:9] for packet in plane.ear.of(plane.picture) if packet.payload[0] & 0x10]
        assert not bare_first & set(begun), "no unsealed key frame was begun"
        plane.sane()


class TestSound:
    def test_each_packet_is_looked_at(self) -> None:
        plane = Plane()
        plane.attach()
        sealed = [True, False, True, False, False, True]
        for count, seal in enumerate(sealed):
            plane.camera.send(plane.camera.sound(sealed=seal), 1.0 + count / 50)
        assert len(plane.ear.of(plane.sound)) == 3
        assert all(packet.payload.endswith(b"LS\x01") for packet in plane.ear.of(plane.sound))
        assert plane.unsealed == []

    def test_three_unsealed_in_a_row_are_told_once_a_second(self) -> None:
        plane = Plane()
        plane.attach()
        for count in range(100):
            plane.camera.send(plane.camera.sound(sealed=False), 1.0 + count / 50)
        assert plane.ear.heard == []
        assert plane.unsealed == [MediaKind.AUDIO] * 2
        plane.sane()


def test_what_is_held_is_bounded() -> None:
    plane = Plane()
    plane.attach()
    layer_packets = 0
    for count in range(200):
        packets = plane.camera.frame(key=True, size=20_000)[:-1]
        layer_packets += len(packets)
        plane.camera.send(packets, 1.0 + count / 10)
    assert layer_packets > 3_000
    (layer,) = plane.uplink.tracks["1"].layers.values()
    assert layer.held <= 512
    assert plane.ear.heard == []
    plane.camera.send(plane.camera.frame(key=True), 30.0)
    assert len(plane.ear.frames(plane.picture)) == 1
    plane.sane()


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trailer_must_be_whole(cut: int) -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    bare = plane.camera.frame(key=True)
    bare[-1] = bare[-1][:-cut]
    plane.camera.send(bare, 1.1)
    assert len(plane.ear.frames(plane.picture)) == 1
