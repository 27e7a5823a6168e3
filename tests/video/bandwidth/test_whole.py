"""Whole calls through the bridge's own plane, in virtual time: how a call starts, and what a weak link shows."""

import pytest

from leeside_protocol.video.signalling import Part
from leeside_server.video.bwe import AHEAD, Bandwidth
from leeside_server.video.quality import FAIR
from tests.video.bandwidth.simulated import Link, World
from tests.video.bandwidth.whole import SIMULCAST, Publisher, Sizes, Whole

SEEDS = (1, 2, 3)
PYTHON: Sizes = (("", 250_000),)
DEAR: Sizes = (("", 1_200_000),)
CAMERA: Sizes = (("q", 100_000), ("h", 300_000), ("f", 800_000))


def a_call(seed: int, *sizes: Sizes, bps: float, delay_s: float, loss: float = 0.0) -> Whole:
    """Somebody joins a call in which each of these is shown; the first is the person."""
    world = World(seed)
    parts = (Part.RESPONDER, Part.INTERPRETER, Part.SUPERVISOR)
    publishers = [
        Publisher(world, each, part=part, person=not place)
        for place, (each, part) in enumerate(zip(sizes, parts, strict=False))
    ]
    world.run(2.0)
    down = Link(world, bps=bps, delay_s=delay_s, loss=loss)
    return Whole(down, Link(world, delay_s=delay_s), publishers)


def weaken(call: Whole) -> None:
    """From now on: 450 kbit/s, 120 ms there and back, and 1 % of loss each way."""
    call.down.bps = 450_000
    for way in (call.down, call.up):
        way.delay_s, way.loss = 0.06, 0.01


@pytest.mark.parametrize("sizes", [SIMULCAST, PYTHON, DEAR])
@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_good_link_a_picture_comes_within_a_second_and_stays(seed: int, sizes: Sizes) -> None:
    call = a_call(seed, sizes, bps=20e6, delay_s=0.04)
    call.world.run(12.0)
    assert call.frames["b"][0] - 2.0 < 1.0
    assert 0 not in [lines for _, lines in call.switches(2.0, 12.0)[1:]], "what flows is never paused"
    assert call.frozen(call.frames["b"][0], 12.0) == 0
    assert call.estimate(3.0) > sizes[-1][1]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_room_of_three_in_one_size_each_is_whole_within_two_seconds(seed: int) -> None:
    call = a_call(seed, DEAR, DEAR, DEAR, bps=20e6, delay_s=0.04)
    call.world.run(8.0)
    assert all(call.frames[mid][0] - 2.0 < 2.0 for mid in "bdf")
    assert all(call.frozen(4.0, 8.0, place) == 0 for place in range(3))


@pytest.mark.parametrize("sizes", [SIMULCAST, PYTHON, DEAR])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_begins_on_120_kbit_is_sound_alone_within_three_seconds(seed: int, sizes: Sizes) -> None:
    call = a_call(seed, sizes, bps=120_000, delay_s=0.06)
    call.world.run(40.0)
    assert call.given(5.0) == 0
    assert len(call.switches(5.0, 40.0)) == 0
    assert call.late_sound(5.0, 40.0) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_450_kbit_120_ms_and_one_percent_of_loss_keep_the_picture(seed: int) -> None:
    call = a_call(seed, SIMULCAST, bps=2e7, delay_s=0.02)
    call.world.run(12.0)
    weaken(call)
    call.world.run(80.0)
    assert call.given(17.0) >= 180
    assert call.frozen(17.0, 80.0) < 0.01
    assert all(lines for _, lines in call.switches(12.0, 80.0))


@pytest.mark.parametrize("seed", [5, 8, 9, 12])
def test_a_weaker_link_that_loses_a_little_is_known_for_one_within_seconds(seed: int) -> None:
    """A good link before it had lost nothing for a thousand packets, which is no reason to wait for another thousand."""
    call = a_call(seed, CAMERA, bps=2e7, delay_s=0.02)
    call.world.run(20.0)
    weaken(call)
    call.world.run(26.0)
    resent = call.downlink.slots["b"].resent
    call.world.run(45.0)
    picture = call.downlink.slots["b"]
    assert picture.resent - resent > 100, "there is room to send it twice"
    assert call.frozen(25.0, 45.0) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_percent_of_loss_is_not_heard_and_seldom_seen_where_there_is_room(seed: int) -> None:
    call = a_call(seed, SIMULCAST, bps=20e6, delay_s=0.03, loss=0.1)
    call.up.loss = 0.1
    call.world.run(40.0)
    assert call.frozen(10.0, 40.0) < 0.05
    assert call.late_sound(10.0, 40.0) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_five_percent_of_loss_on_a_short_path_is_not_seen_nor_taken_for_more(seed: int) -> None:
    """What is sent twice comes once: SRTP lets no packet through that was there, and nothing is reported of it."""
    call = a_call(seed, SIMULCAST, bps=20e6, delay_s=0.0005, loss=0.05)
    call.up.loss = 0.05
    words: list[int] = []
    call.world.every(1.0, lambda: words.append(call.receiver.grade(call.world.now_s)))
    call.world.run(40.0)
    assert call.downlink.slots["a"].resent > 500
    assert call.frozen(10.0, 40.0) < 0.01
    assert call.bandwidth.loss < 0.1
    assert min(words) >= FAIR
    call.down.loss = call.up.loss = 0.0
    call.world.run(80.0)
    resent = call.downlink.slots["a"].resent
    call.world.run(90.0)
    assert call.downlink.slots["a"].resent == resent, "it ends with the loss"


def test_nothing_is_sent_twice_on_a_link_that_loses_nothing_or_has_no_room() -> None:
    for bps, loss in ((20e6, 0.0), (240_000, 0.01)):
        call = a_call(1, SIMULCAST, bps=bps, delay_s=0.06, loss=loss)
        call.world.run(20.0)
        picture = call.downlink.slots["b"]
        assert picture.line.packets > 200
        assert picture.resent <= 10 * loss * picture.line.packets


def test_only_a_link_that_bears_all_that_is_wanted_is_paced_ahead_of_its_estimate() -> None:
    """There a key frame must not hold up what follows it; elsewhere it must not fill the queue before the sound."""
    unknown = Bandwidth()
    assert unknown.pace_bps == unknown.estimate_bps
    for bps, ahead in ((20e6, AHEAD), (400_000, 1.0)):
        call = a_call(1, SIMULCAST, bps=bps, delay_s=0.03)
        call.world.run(20.0)
        bandwidth = call.bandwidth
        assert bandwidth.queue_s < 0.02
        assert (bandwidth.scarce_bps is None) == (ahead == AHEAD)
        assert bandwidth.pace_bps == ahead * bandwidth.estimate_bps


@pytest.mark.parametrize("seed", SEEDS)
def test_a_queue_that_is_not_ours_pauses_no_picture_while_all_that_is_sent_arrives(seed: int) -> None:
    """Somebody else's, or a machine that falls behind: it rises to a quarter of a second, slowly, and stays."""
    call = a_call(seed, SIMULCAST, bps=330_000, delay_s=0.05)
    call.world.run(20.0)

    def rise() -> None:
        call.down.delay_s = min(0.3, call.down.delay_s + 0.0015)

    call.world.every(0.1, rise)
    call.world.run(45.0)
    assert call.given(20.0) == 180
    assert call.switches(20.0, 45.0) == []
    assert call.frozen(20.0, 45.0) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_size_above_what_the_link_bears_is_paused_and_not_trickled(seed: int) -> None:
    call = a_call(seed, DEAR, bps=450_000, delay_s=0.06, loss=0.01)
    call.world.run(60.0)
    assert call.given(4.0) == 0
    assert all(lines == 0 for _, lines in call.switches(4.0, 60.0))
    assert not [at for at in call.frames.get("b", []) if at > 4.5]
    call.down.bps, call.down.loss = 5e6, 0.0
    call.world.run(75.0)
    assert call.given(75.0) == 360
    assert call.frozen(72.0, 75.0) == 0
