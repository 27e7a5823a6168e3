"""Packets through the bridge: what a receiver is sent of what a publisher sends."""

from __future__ import annotations

from leeside_server.video.slot import SlotState
from tests.support.video_plane import Plane


def test_sound_and_picture_reach_the_receiver_with_headers_of_its_own() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.sound(), 1.0)
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.camera.send(plane.camera.frame(), 1.1)

    (sound,) = plane.ear.of(plane.sound)
    assert (sound.payload_type, sound.extensions[1]) == (111, b"a")
    assert sound.payload.endswith(b"LS\x01")
    pictures = plane.ear.of(plane.picture)
    assert [packet.sequence for packet in pictures] == [1, 2, 3, 4, 5, 6]
    assert {packet.extensions[1] for packet in pictures} == {b"b"}
    assert [data for _, data in plane.ear.frames(plane.picture)] == plane.camera.frames
    assert plane.picture.state is SlotState.FLOW
    plane.sane()


def test_a_key_frame_is_asked_for_when_somebody_begins_to_look() -> None:
    plane = Plane()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.attach(2.0)
    assert len(plane.asked(206, 1)) == 1
    plane.camera.send(plane.camera.frame(), 2.0)
    assert plane.ear.of(plane.picture) == []
    assert plane.picture.state is SlotState.WAIT_KEY
    plane.uplink.due(2.6)
    assert len(plane.asked(206, 1)) == 1, "it is asked for again while it does not come"
    plane.camera.send(plane.camera.frame(key=True), 2.7)
    assert len(plane.ear.frames(plane.picture)) == 1
    plane.uplink.due(3.9)
    assert plane.asked(206, 1) == []
    plane.sane()


def test_redundant_sound_passes_as_it_is() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.sound(), 1.0)
    sound = bytearray(plane.camera.sound())
    sound[1] = 0x80 | 63
    plane.camera.send(bytes(sound), 1.02)
    plain, red = plane.ear.of(plane.sound)
    assert (plain.payload_type, plain.marker) == (111, False)
    assert (red.payload_type, red.marker) == (63, True)
    assert (red.sequence, red.timestamp - plain.timestamp) == (plain.sequence + 1, 960)
    assert red.payload == plain.payload
    plane.sane()


def test_nothing_of_the_publishers_header_passes_but_what_a_receiver_needs() -> None:
    plane = Plane()
    plane.attach()
    for packet in plane.camera.frame(key=True):
        told = (
            packet[:12] + b"\xde\xad\xbe\xef" + b"\xbe\xde\0\4" + b"\x10\x31\x22\1\2\3\xa3abcd\x70\x02\0\0\0"
        )
        plane.camera.send(b"\x91" + told[1:] + packet[12 + 4 + 8 :], 1.0)
    assert len(plane.ear.frames(plane.picture)) == 1
    for heard in plane.ear.heard:
        assert heard.first == 0x90
        assert sorted(heard.extensions) == [1, 3, 7]
