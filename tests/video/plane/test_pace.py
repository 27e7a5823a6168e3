"""A link that bears less than a picture needs: fewer pictures, and none of them late."""

from __future__ import annotations

import pytest

from leeside_server.video.pacer import Pacer
from tests.support.video_plane import Ear, Heard, Plane, read

STEP_S = 0.005


class Watch(Ear):
    """A receiver that knows when each packet came."""

    now_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[float, Heard]] = []

    def send_rtp(self, length: int, transport_seq: int | None) -> None:
        super().send_rtp(length, transport_seq)
        self.came.append((self.now_s, self.heard[-1]))


@pytest.mark.parametrize("bears_bps", [150_000, 400_000, 700_000])
def test_what_does_not_fit_is_left_out_whole_and_nothing_is_late(bears_bps: int) -> None:
    """A camera of 900 kbit/s that answers every request with a key frame, five seconds long."""
    plane = Plane()
    ear = Watch()
    downlink = plane.receiver(ear, Pacer(bears_bps))
    picture = downlink.slots["b"]
    picture.attach(plane.uplink.tracks["1"], 0.0)
    made: dict[bytes, float] = {}
    asked = 0
    for tick in range(1_000):
        ear.now_s = now_s = 1.0 + tick * STEP_S
        if tick % 7 == 0:
            wanted = len(plane.asked(206, 1))
            asked += wanted
            packets = plane.camera.frame(key=tick == 0 or wanted > 0, size=9_000 if wanted else 3_600)
            made |= {read(packet).payload[4:]: now_s for packet in packets}
            plane.camera.send(packets, now_s)
        if tick % 4 == 0:
            plane.uplink.due(now_s)
        downlink.due(now_s)
    late = [now_s - made[heard.payload[4:]] for now_s, heard in ear.came if heard.payload]
    assert max(late) < 0.25 + 1.1 * 9_000 * 8 / bears_bps, "what went before it, and the longest frame itself"
    sequences = [heard.sequence for heard in ear.of(picture)]
    assert sequences == list(range(1, len(sequences) + 1)), "what was left out leaves no hole to be asked for"
    shown = [int.from_bytes(frame[1:5]) for _, frame in ear.frames(picture)]
    keys = {int.from_bytes(frame[1:5]) for frame in plane.camera.frames if not frame[0] & 1}
    assert all(number in keys or number - 1 in shown for number in shown), "every picture can be shown"
    assert len(shown) > 5
    assert asked <= 15
    plane.sane()


def test_a_picture_may_begin_while_anothers_is_still_leaving() -> None:
    """Two people towards one receiver: the second's key frame waits behind the first's, and is not asked for again."""
    one, other = Plane(pacer=Pacer(200_000)), Plane()
    one.attach()
    second = one.downlink.slots["d"]
    second.attach(other.uplink.tracks["1"], 0.0)
    other.camera.send(other.camera.frame(key=True, size=500), 0.5)
    second.begin_anew(0.9)
    one.camera.send(one.camera.frame(key=True, size=12_000), 1.0)
    other.camera.send(other.camera.frame(key=True, size=1_500), 1.0)
    assert len(one.ear.frames(second)) == 1
    for tick in range(200):
        one.downlink.due(1.0 + tick * STEP_S)
    assert len(one.ear.frames(one.picture)) == 1
    assert [data for _, data in one.ear.frames(second)] == other.camera.frames
    assert not second.stalled
    one.sane()
