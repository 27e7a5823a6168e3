"""A picture in several sizes: who sees which, and that the stream a receiver sees has no step when it changes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.video import rtcp
from leeside_protocol.video.signalling import PausedWhy
from leeside_server.video.pacer import Pacer
from leeside_server.video.pictures import PICTURES, read_numbers
from leeside_server.video.slot import Held, SlotState
from tests.support.video_plane import Camera, Ear, Plane

RIDS = ("q", "h", "f")


class Simulcast:
    """A camera in three sizes, each with its own numbers and its own clock."""

    def __init__(self, pacer: Pacer[Held] | None = None) -> None:
        self.plane = Plane(pacer)
        self.cameras = {
            rid: Camera(
                self.plane.uplink,
                ssrc=2_000 + place,
                repair_ssrc=3_000 + place,
                rid=rid,
                sequence=65_000 + 300 * place,
                timestamp=0xFFFF0000 + 1_000_003 * place & 0xFFFFFFFF,
                picture=1_000_000 * (place + 1),
            )
            for place, rid in enumerate(RIDS)
        }
        self.sizes = {"q": 600, "h": 2_000, "f": 4_000}
        self.now_s = 1.0

    def step(self, *rids: str, key: str = "") -> None:
        """A thirtieth of a second: a frame of each of these (all three when none is named)."""
        self.now_s += 1 / 30
        for rid in rids or RIDS:
            camera = self.cameras[rid]
            camera.send(camera.frame(key=rid in key, size=self.sizes[rid]), self.now_s)
        self.plane.uplink.due(self.now_s)
        self.plane.downlink.due(self.now_s)
        self.plane.sane()

    def clocks(self) -> None:
        """Sender reports of all three: the frames of one step were made at one time."""
        for camera in self.cameras.values():
            info = rtcp.SenderInfo(camera.ssrc, rtcp.ntp_of(10_000 + self.now_s), camera.timestamp)
            self.plane.downlink.receive_rtcp(rtcp.write_sender_report(info, 1, 1, b"x"), self.now_s)

    def shown(self) -> str:
        """Of which layer each frame was that the receiver could put together."""
        of = {frame: rid for rid, camera in self.cameras.items() for frame in camera.frames}
        return "".join(of[frame] for _, frame in self.plane.ear.frames(self.plane.picture))


def whole_and_rising(plane: Plane) -> None:
    """What a receiver relies on: numbers without a step, of packets and of pictures, timestamps that never go back, one
    timestamp a frame."""
    heard = sorted(plane.ear.of(plane.picture), key=lambda packet: packet.sequence)
    assert [packet.sequence for packet in heard] == list(range(1, len(heard) + 1))
    assert all(
        (later.timestamp - before.timestamp) & 0xFFFFFFFF < 90_000 * 10 for before, later in pairwise(heard)
    )
    pictures = [read_numbers(packet.payload).picture for packet in heard if packet.payload]
    assert all((later - before) % PICTURES in (0, 1) for before, later in pairwise(pictures))
    frames = plane.ear.frames(plane.picture)
    assert len({timestamp for timestamp, _ in frames}) == len(frames)


def test_a_receiver_sees_the_largest_it_wants_from_its_key_frame_on() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.plane.picture.want(360, call.now_s)
    call.step(key="q")
    assert call.shown() == ""
    call.step(key="h")
    call.step()
    assert call.shown() == "hh"
    whole_and_rising(call.plane)


def test_up_and_down_without_a_step() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    picture = call.plane.picture
    picture.want(180, call.now_s)
    call.step(key="q")
    call.step()
    picture.want(720, call.now_s)
    assert picture.state is SlotState.SWITCHING
    call.step()
    call.step(key="f")
    call.step()
    assert picture.layer is not None
    assert picture.layer.lines == 720
    picture.want(360, call.now_s)
    call.step()
    call.step(key="h")
    call.step()
    assert call.shown() == "qqqqfffhh"
    whole_and_rising(call.plane)


def test_the_publishers_clock_decides_the_step_between_two_layers() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.plane.picture.want(180, call.now_s)
    call.step(key="q")
    call.clocks()
    call.step()
    call.plane.picture.want(720, call.now_s)
    call.now_s += 0.007  # What the network adds is not part of the picture's clock.
    call.step("q", "f", key="f")
    assert call.shown() == "qqqf"
    timestamps = [timestamp for timestamp, _ in call.plane.ear.frames(call.plane.picture)]
    assert timestamps[3] - timestamps[2] == 1, "both were made at one time: the second goes behind the first"
    call.step()
    timestamps = [timestamp for timestamp, _ in call.plane.ear.frames(call.plane.picture)]
    assert timestamps[4] - timestamps[2] == pytest.approx(3_000, abs=2)
    whole_and_rising(call.plane)


def test_a_clock_that_leads_astray_is_not_believed() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.plane.picture.want(180, call.now_s)
    call.step(key="q")
    for rid, ahead_s in (("q", 0), ("f", 4_000)):
        info = rtcp.SenderInfo(call.cameras[rid].ssrc, rtcp.ntp_of(ahead_s), 5)
        call.plane.downlink.receive_rtcp(rtcp.write_sender_report(info, 1, 1, b"x"), call.now_s)
    call.plane.picture.want(720, call.now_s)
    call.step(key="f")
    assert call.shown() == "qqf"
    whole_and_rising(call.plane)


def test_a_layer_that_stops_is_left_and_taken_up_again() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.step(key="f")
    for _ in range(40):
        call.step("q", "h")
    assert ("f", False) in call.plane.layers
    assert call.plane.picture.state is SlotState.SWITCHING
    call.step("q", "h", key="h")
    call.step("q", "h")
    call.step()
    assert call.plane.layers[-1] == ("f", True)
    call.step(key="f")
    assert call.shown() == "fhhhhf"
    whole_and_rising(call.plane)


def test_what_was_shown_before_a_change_is_sent_again_when_asked_for() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    picture = call.plane.picture
    picture.want(180, call.now_s)
    call.step(key="q")
    picture.want(720, call.now_s)
    call.step(key="f")
    for packet in call.plane.ear.of(picture):
        assert picture.resend(packet.sequence, call.now_s)
    heard = call.plane.ear.of(picture)
    again = call.plane.ear.repairs(picture)
    assert [packet.payload[2:] for packet in again] == [packet.payload for packet in heard]
    assert [packet.timestamp for packet in again] == [packet.timestamp for packet in heard]


def test_of_what_nobody_sees_nothing_is_kept() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.step(key="qhf")
    layers = call.plane.uplink.tracks["1"].layers
    kept = {rid: sum(layer.kept(at) is not None for at in range(140_000)) for rid, layer in layers.items()}
    assert kept["f"] > 0
    assert kept["q"] == kept["h"] == 0
    last = max(at for at in range(140_000) if layers["f"].kept(at))
    call.plane.picture.want(180, call.now_s)
    call.step(key="q")
    call.step()
    assert layers["f"].kept(last), "what was seen a moment ago can still be asked for"
    for _ in range(70):
        call.step()
    assert layers["f"].kept(last) is None


def test_a_pause_ends_with_a_key_frame() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    picture = call.plane.picture
    call.step(key="f")
    picture.pause(PausedWhy.BANDWIDTH)
    call.step(key="f")
    assert picture.state is SlotState.PAUSED
    picture.want(180, call.now_s)
    call.step(key="q")
    assert call.shown() == "f"
    call.plane.asked(206, 1)
    call.now_s += 1
    picture.resume(call.now_s)
    assert len(call.plane.asked(206, 1)) == 1
    call.step()
    call.step(key="q")
    assert call.shown() == "fq"
    whole_and_rising(call.plane)


def test_another_person_in_the_same_place() -> None:
    call, other = Simulcast(), Plane()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    call.step(key="f")
    picture = call.plane.picture
    picture.attach(other.uplink.tracks["1"], call.now_s)
    other.camera.send(other.camera.frame(key=True), call.now_s + 0.5)
    other.camera.send(other.camera.frame(), call.now_s + 0.53)
    call.step(key="f")
    frames = call.plane.ear.frames(picture)
    assert [frame for _, frame in frames[1:]] == other.camera.frames
    assert frames[1][0] - frames[0][0] == pytest.approx(45_000, abs=2)
    whole_and_rising(call.plane)
    assert picture not in call.plane.uplink.tracks["1"].slots


def test_requests_for_key_frames_are_throttled_and_not_forgotten() -> None:
    plane = Plane()
    plane.attach(0.0)
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.asked(206, 1)
    pli = rtcp.write_pli(plane.picture.ssrc)
    for tick in range(20):
        plane.downlink.receive_rtcp(pli, 1.6 + tick / 100)
        plane.uplink.due(1.6 + tick / 100)
    assert len(plane.asked(206, 1)) == 1
    plane.uplink.due(1.95)
    assert len(plane.asked(206, 1)) == 1
    plane.uplink.due(2.4)
    assert plane.asked(206, 1) == []
    plane.sane()


def test_a_request_soon_after_one_for_another_size_is_not_made_in_vain() -> None:
    call = Simulcast()
    call.step(key="qhf")
    plane = call.plane
    plane.attach(call.now_s)
    assert len(plane.asked(206, 1)) == 1
    call.step(key="qhf")
    plane.picture.want(180, call.now_s)
    # A browser heeds one request in 300 ms: now it would not this one.
    for _ in range(9):
        call.step()
    assert plane.asked(206, 1) == []
    call.step()
    assert len(plane.asked(206, 1)) == 1


def test_a_sender_that_begins_anew_under_another_number_is_followed() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    fresh = Camera(plane.uplink, ssrc=77, repair_ssrc=78, sequence=9, timestamp=5, picture=50)
    fresh.send(fresh.frame(key=True), 1.5)
    assert len(plane.ear.frames(plane.picture)) == 1, "not more often than once a second"
    fresh.send(fresh.frame(), 2.5)
    assert plane.picture.state is SlotState.WAIT_KEY
    fresh.send(fresh.frame(key=True), 2.55)
    fresh.send(fresh.frame(), 2.6)
    assert len(plane.ear.frames(plane.picture)) == 3
    whole_and_rising(plane)
    lost = fresh.frame()
    fresh.send([lost[0], lost[2]], 2.7)
    plane.uplink.due(2.72)
    (nack,) = plane.asked(205, 1)
    fresh.send(fresh.resent(nack), 2.75)
    assert len(plane.ear.frames(plane.picture)) == 4
    assert plane.ear.missing(plane.picture) == []
    plane.sane()


def test_receivers_do_not_disturb_each_other() -> None:
    call = Simulcast()
    call.step(key="qhf")
    call.plane.attach(call.now_s)
    other = Ear()
    slot = call.plane.receiver(other).slots["d"]
    slot.attach(call.plane.uplink.tracks["1"], call.now_s)
    slot.want(180, call.now_s)
    call.step(key="qf")
    call.step()
    slot.detach()
    call.step()
    assert call.shown() == "fff"
    assert len(other.frames(slot)) == 2
    whole_and_rising(call.plane)


def test_sound_begins_at_once_and_rests_while_paused() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.sound(), 1.0)
    plane.sound.pause(PausedWhy.MUTED)
    plane.camera.send(plane.camera.sound(), 1.02)
    plane.sound.resume(1.03)
    plane.camera.send(plane.camera.sound(), 1.04)
    first, second = plane.ear.of(plane.sound)
    assert second.sequence == first.sequence + 1
    assert second.timestamp - first.timestamp == pytest.approx(1_920, abs=2)


def test_sound_and_picture_have_slots_of_their_own() -> None:
    plane = Plane()
    with pytest.raises(ValueError):
        plane.sound.attach(plane.uplink.tracks["1"], 0.0)


def test_what_turns_the_picture_is_passed_on() -> None:
    plane = Plane()
    plane.attach()
    for packet in plane.camera.frame(key=True):
        turned = packet[:12] + b"\xbe\xde\0\2" + b"\x10\x31\x70\x01" + bytes(4) + packet[12 + 4 + 8 :]
        plane.camera.send(turned, 1.0)
    assert {packet.extensions.get(7) for packet in plane.ear.of(plane.picture)} == {b"\x01"}


def test_what_was_shown_is_forgotten_with_whom_it_showed() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.picture.detach()
    plane.picture.attach(Plane().uplink.tracks["1"], 1.1)
    assert not plane.picture.resend(1, 1.2)


def test_close_empties_the_slots_of_others_and_its_own() -> None:
    plane = Plane()
    plane.attach()
    plane.uplink.close()
    assert plane.picture.state is SlotState.EMPTY
    plane.attach()
    plane.downlink.close()
    assert not plane.uplink.tracks["1"].slots
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    assert plane.ear.heard == []


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["want", "pause", "resume", "attach", "detach", "step"]),
        st.sampled_from([180, 360, 720]),
        st.sampled_from(["", "q", "h", "f", "qhf"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=80)
@given(MOVES, st.sampled_from([None, 600_000, 2_000_000]))
def test_whatever_is_done_a_receiver_sees_one_unbroken_stream(
    moves: list[tuple[str, int, str]], pace_bps: int | None
) -> None:
    call = Simulcast(None if pace_bps is None else Pacer(pace_bps))
    picture = call.plane.picture
    call.step(key="qhf")
    for move, lines, key in moves:
        if move == "want":
            picture.want(lines, call.now_s)
        elif move == "pause" and picture.track is not None:
            picture.pause(PausedWhy.BANDWIDTH)
        elif move == "resume":
            picture.resume(call.now_s)
        elif move == "attach":
            picture.attach(call.plane.uplink.tracks["1"], call.now_s)
        elif move == "detach":
            picture.detach()
        call.step(key=key)
        placed = [
            layer for layer in call.plane.uplink.tracks["1"].layers.values() if picture in layer.flowing.slots
        ]
        waits = [layer for layer in call.plane.uplink.tracks["1"].layers.values() if picture in layer.waiting]
        assert placed == ([picture.layer] if picture.layer else [])
        assert waits == ([picture.pending] if picture.pending else [])
    while call.plane.downlink.waits:
        call.now_s += 0.02
        call.plane.downlink.due(call.now_s)
    assert pace_bps != 2_000_000 or call.plane.downlink.dropped == 0
    if call.plane.downlink.dropped:
        return
    whole_and_rising(call.plane)
    of = {frame: camera for camera in call.cameras.values() for frame in camera.frames}
    shown = [frame for _, frame in call.plane.ear.frames(picture)]
    for before, frame in pairwise([b"", *shown]):
        follows = before in of and of[before] is of[frame] and before in of[frame].frames
        if not (follows and of[frame].frames.index(frame) == of[frame].frames.index(before) + 1):
            assert not frame[0] & 1, "what does not follow its forerunner is a key frame"
