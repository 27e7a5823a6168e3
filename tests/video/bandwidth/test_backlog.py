"""What a receiver gets of sound and picture when its pacer has more to do than the link bears."""

from leeside_server.video.pacer import Pacer
from tests.support.video_plane import Plane


def backlogged() -> Plane:
    """A picture of which some packets went, and many wait."""
    plane = Plane(pacer=Pacer(50_000))
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True, size=20_000), 1.0)
    assert plane.downlink.waits
    return plane


def test_sound_waits_for_nothing() -> None:
    plane = backlogged()
    for number in range(50):
        plane.camera.send(plane.camera.sound(), 1.0 + number / 50)
        assert len(plane.ear.of(plane.sound)) == number + 1


def test_sound_takes_its_share_of_the_pace() -> None:
    plane = backlogged()
    before = len(plane.ear.of(plane.picture))
    for number in range(120):
        now_s = 1.0 + number / 200
        plane.camera.send(plane.camera.sound(), now_s)
        plane.downlink.due(now_s)
    assert len(plane.ear.of(plane.picture)) == before, (
        "200 packets of sound a second are all that 50 kbit/s bear"
    )


def test_a_new_beginning_takes_the_place_of_what_waits() -> None:
    plane = backlogged()
    went = len(plane.ear.of(plane.picture))
    plane.picture.pause(plane.picture.why.BANDWIDTH)
    plane.picture.resume(1.1)
    plane.camera.send(plane.camera.frame(key=True, size=2_000), 1.1)
    for tick in range(100):
        plane.downlink.due(1.1 + tick / 100)
    assert plane.ear.missing(plane.picture) == [], "nothing seems lost that was never sent"
    assert len(plane.ear.of(plane.picture)) < went + 5
    assert len(plane.ear.frames(plane.picture)) == 1
    plane.sane()


def test_repairs_from_before_a_beginning_are_not_waited_for() -> None:
    plane = backlogged()
    plane.picture.pause(plane.picture.why.BANDWIDTH)
    plane.picture.resume(1.1)
    first = plane.ear.of(plane.picture)[0].sequence
    plane.camera.send(plane.camera.frame(key=True, size=9_000), 1.1)
    assert plane.downlink.waits
    assert not plane.picture.resend(first, 1.1)


def test_a_picture_that_begins_anew_waits_for_a_key_frame_and_asks_for_it() -> None:
    plane = Plane()
    plane.attach()
    plane.camera.send(plane.camera.frame(key=True), 1.0)
    plane.asked(206, 1)
    plane.picture.begin_anew(2.0)
    assert len(plane.asked(206, 1)) == 1
    went = len(plane.ear.of(plane.picture))
    plane.camera.send(plane.camera.frame(), 2.1)
    assert len(plane.ear.of(plane.picture)) == went
    plane.camera.send(plane.camera.frame(key=True), 2.2)
    assert len(plane.ear.frames(plane.picture)) == 2
    assert plane.ear.missing(plane.picture) == []
