"""Calls over links as they are in the field: what the estimate finds, what is shown, and what is heard.

Every link is tried with several seeds, because a rule that holds for one draw of jitter and loss holds by chance.
"""

import math

import pytest

from leeside_protocol.video.signalling import Part
from leeside_server.video.allocator import Demand
from tests.video.bandwidth.simulated import USUAL, Call, Download, Link, World

SEEDS = (1, 2, 3, 4)


def a_call(
    seed: int,
    *,
    bps: float,
    delay_s: float = 0.03,
    loss: float = 0.0,
    jitter_s: float = 0.0,
    queue_s: float = 0.3,
    reports_lost: float = 0.0,
) -> Call:
    """A call over a link of this kind, with an unhindered way back."""
    world = World(seed)
    down = Link(world, bps=bps, delay_s=delay_s, loss=loss, jitter_s=jitter_s, queue_s=queue_s)
    return Call(down, Link(world, delay_s=delay_s, loss=reports_lost, jitter_s=jitter_s))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_good_link_shows_the_largest_picture_within_seconds(seed: int) -> None:
    call = a_call(seed, bps=5e6)
    call.world.run(30)
    assert call.shown(0.2) == 180, "the first picture comes at once"
    assert call.shown(6.0) == 720
    assert call.switches(6.0, 30.0) == 0
    assert call.concealed(0.0, 30.0) < 0.01
    assert call.padding_bytes * 8 / 30 < 60_000, "padding stops when nothing more is wanted"


@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
@pytest.mark.parametrize("seed", SEEDS)
def test_450_kbit_120_ms_and_one_percent_of_loss_keep_the_picture(seed: int, jitter_s: float) -> None:
    call = a_call(seed, bps=450_000, delay_s=0.06, loss=0.01, jitter_s=jitter_s)
    call.world.run(60)
    assert call.frozen(1.0, 60.0) < 0.01
    assert min(call.shown(second) for second in range(1, 60)) >= 180
    assert call.concealed(5.0, 60.0) < 0.04
    assert call.switches(5.0, 60.0) <= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_120_kbit_go_to_sound_alone_within_three_seconds_and_stay_there(seed: int) -> None:
    call = a_call(seed, bps=120_000, delay_s=0.06)
    call.world.run(90)
    assert call.shown(3.0) == 0
    assert call.switches(3.0, 90.0) == 0
    assert call.concealed(3.0, 90.0) < 0.02
    assert 90_000 < call.estimate(90.0) < 130_000


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_that_falls_to_120_kbit_goes_to_sound_alone_within_three_seconds(seed: int) -> None:
    call = a_call(seed, bps=2e6, delay_s=0.06)
    call.world.at(20, lambda: setattr(call.down, "bps", 120_000))
    call.world.run(80)
    assert call.shown(20.0) == 720
    assert call.shown(23.0) == 0
    assert call.switches(23.0, 80.0) == 0
    assert call.concealed(23.0, 80.0) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_from_sound_alone_the_picture_comes_back_when_the_link_does(seed: int) -> None:
    call = a_call(seed, bps=120_000, delay_s=0.06)
    call.world.at(30, lambda: setattr(call.down, "bps", 2_000_000))
    call.world.run(60)
    assert call.shown(29.9) == 0
    assert call.shown(45.0) >= 180
    assert call.shown(59.0) == 720
    assert call.concealed(30.0, 60.0) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_percent_of_loss_that_is_the_links_own_costs_neither_sound_nor_picture(seed: int) -> None:
    call = a_call(seed, bps=2e6, loss=0.1)
    call.world.run(60)
    assert call.concealed(5.0, 60.0) < 0.02
    assert call.estimate(60.0) > 1_000_000
    assert min(call.shown(second) for second in range(15, 60)) >= 360
    assert call.frozen(1.0, 60.0) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_in_bursts_is_borne_as_well(seed: int) -> None:
    call = a_call(seed, bps=1.5e6, delay_s=0.04, loss=0.05, jitter_s=0.01)
    call.down.in_a_row = 4.0
    call.world.run(60)
    assert call.frozen(1.0, 60.0) < 0.02
    assert call.estimate(60.0) > 400_000
    assert min(call.shown(second) for second in range(15, 60)) >= 180
    assert call.concealed(5.0, 60.0) < 0.07, "bursts take both copies of what was said"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_that_fades_and_comes_back_keeps_its_picture(seed: int) -> None:
    """Between 240 kbit/s and 2.2 Mbit/s, every twelve seconds."""
    call = a_call(seed, bps=1.2e6, delay_s=0.04, jitter_s=0.01)
    world = call.world
    world.every(
        0.1, lambda: setattr(call.down, "bps", 1.2e6 * (1 + 0.8 * math.sin(world.now_s * math.pi / 6)))
    )
    world.run(72)
    assert call.frozen(1.0, 72.0) < 0.02
    assert call.concealed(5.0, 72.0) < 0.12
    assert call.switches(0.0, 72.0) <= 30, "about two up and two down in each turn"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_round_trip_of_half_a_second_shows_what_fits(seed: int) -> None:
    call = a_call(seed, bps=700_000, delay_s=0.25, jitter_s=0.03)
    call.world.run(60)
    assert min(call.shown(second) for second in range(20, 60)) >= 360
    assert call.concealed(5.0, 60.0) < 0.06
    assert call.switches(20.0, 60.0) <= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_60_kbit_carry_sound_and_nothing_breaks_it(seed: int) -> None:
    call = a_call(seed, bps=60_000, delay_s=0.05, queue_s=2.0)
    call.world.run(60)
    assert call.shown(4.0) == 0
    assert call.switches(4.0, 60.0) == 0
    assert call.concealed(10.0, 60.0) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_by_a_policer_lowers_the_estimate_to_what_passes(seed: int) -> None:
    """A queue of two packets: no delay ever tells of it."""
    call = a_call(seed, bps=500_000, queue_s=0.02)
    call.world.run(60)
    assert 200_000 < call.estimate(60.0) < 600_000
    assert call.frozen(1.0, 60.0) < 0.02
    assert call.concealed(5.0, 60.0) < 0.04


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_four_seconds_of_nothing_the_picture_is_as_before_within_three(
    seed: int, both_ways: bool
) -> None:
    call = a_call(seed, bps=1.5e6, delay_s=0.04)

    def switch(up: bool) -> None:
        call.down.up = up
        call.up.up = up or not both_ways

    call.world.at(20, lambda: switch(False))
    call.world.at(24, lambda: switch(True))
    call.world.run(40)
    before = call.shown(20.0)
    assert before >= 360
    assert call.bandwidth.silent_s(40.0) < 1.0
    assert call.shown(27.0) == before
    assert call.frozen(24.5, 40.0) == 0
    assert call.concealed(25.0, 40.0) < 0.02


def test_a_link_that_stays_silent_is_believed_in_for_five_seconds_only() -> None:
    call = a_call(1, bps=1.5e6)
    call.world.at(10, lambda: setattr(call.down, "up", False))
    call.world.run(14.5)
    held = call.estimate(14.5)
    assert held > 500_000
    assert 4 < call.bandwidth.silent_s(14.5) < 5
    call.world.run(30)
    assert call.estimate(30.0) < held / 20


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_from_3g_to_wifi_the_picture_grows_within_ten_seconds(seed: int, told: bool) -> None:
    call = a_call(seed, bps=400_000, delay_s=0.1, jitter_s=0.015)

    def wifi() -> None:
        call.down.bps, call.down.jitter_s = 20e6, 0.004
        call.down.delay_s = call.up.delay_s = 0.015
        if told:
            call.bandwidth.path_changed(call.world.now_s)

    call.world.at(20, wifi)
    call.world.run(40)
    assert call.shown(20.0) < 720
    assert call.shown(30.0) == 720
    assert call.switches(30.0, 40.0) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_from_wifi_to_3g_a_longer_path_is_not_taken_for_a_queue_for_ever(seed: int) -> None:
    call = a_call(seed, bps=20e6, delay_s=0.015)

    def radio() -> None:
        call.down.bps, call.down.jitter_s = 400_000, 0.015
        call.down.delay_s = call.up.delay_s = 0.1

    call.world.at(20, radio)
    call.world.run(60)
    assert call.shown(23.0) <= 360
    assert call.estimate(60.0) > 200_000
    assert min(call.shown(second) for second in range(30, 60)) >= 180
    assert call.concealed(25.0, 60.0) < 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_a_download_beside_the_call_takes_neither_all_nor_for_long(seed: int) -> None:
    call = a_call(seed, bps=2e6)
    downloads: list[Download] = []
    call.world.at(20, lambda: downloads.append(Download(call.down, call.up)))
    call.world.at(60, lambda: setattr(downloads[0], "stopped", True))
    call.world.run(80)
    assert downloads[0].came_bytes * 8 / 40 > 1_000_000, "a real competitor"
    assert call.concealed(20.0, 60.0) < 0.1
    shown = [call.shown(20 + tenth / 10) > 0 for tenth in range(400)]
    assert sum(shown) > 120, "the picture is not starved"
    assert call.shown(75.0) == 720, "and comes back when the download is over"


@pytest.mark.parametrize("seed", SEEDS)
def test_two_calls_share_a_link(seed: int) -> None:
    world = World(seed)
    down, up = Link(world, bps=1e6, delay_s=0.03), Link(world, delay_s=0.03)
    calls = [Call(down, up), Call(down, up)]
    world.run(60)
    for call in calls:
        assert call.frozen(5.0, 60.0) < 0.02
        assert call.concealed(10.0, 60.0) < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_reports_do_not_look_like_a_slower_link(seed: int) -> None:
    call = a_call(seed, bps=800_000, delay_s=0.05, reports_lost=0.25)
    call.world.run(60)
    assert min(call.shown(second) for second in range(12, 60)) == 360
    assert 400_000 < call.estimate(60.0) < 900_000
    assert call.concealed(5.0, 60.0) < 0.03


def test_a_picture_of_one_size_is_paused_and_comes_back() -> None:
    """A sender without simulcast: there is nothing smaller to go to."""
    call = a_call(1, bps=1e6)
    call.demands = [Demand("b", Part.RESPONDER, USUAL[1:2], person=True)]
    call.world.at(15, lambda: setattr(call.down, "bps", 200_000))
    call.world.at(30, lambda: setattr(call.down, "bps", 1e6))
    call.world.run(60)
    assert call.shown(14.0) == 360
    assert call.shown(19.0) == 0
    assert call.shown(29.0) == 0
    assert call.shown(45.0) == 360
