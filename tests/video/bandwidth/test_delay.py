"""The queue of a link, out of one-way delays that are known up to a constant."""

import random

import pytest

from leeside_server.video.delay import BASE_WINDOW_S, QueueDelay


def test_a_delay_that_never_changes_is_no_queue() -> None:
    delay = QueueDelay()
    for tenth in range(50):
        assert not delay.told(123.456, tenth / 10)
    assert delay.standing_s == 0
    assert delay.slope == pytest.approx(0, abs=1e-9)


def test_jitter_alone_is_no_queue() -> None:
    delay, chance = QueueDelay(), random.Random(3)
    for tenth in range(300):
        delay.told(min(abs(chance.gauss(0, 0.03)) for _ in range(8)), tenth / 10)
        assert delay.standing_s < 0.02
    assert abs(delay.slope) < 0.02


def test_a_queue_that_grows_is_seen_with_its_slope_and_one_that_drains_too() -> None:
    delay = QueueDelay()
    for tenth in range(20):
        delay.told(5.0, tenth / 10)
    for tenth in range(20, 40):
        delay.told(5.0 + 0.2 * (tenth - 20) / 10, tenth / 10)
    assert delay.slope == pytest.approx(0.2)
    assert delay.standing_s == pytest.approx(0.36, abs=0.03)
    for tenth in range(40, 52):
        delay.told(5.4 - 0.2 * (tenth - 40) / 10, tenth / 10)
    assert delay.slope < -0.15


def test_a_burst_that_passes_is_no_standing_queue() -> None:
    delay = QueueDelay()
    for twentieth in range(40):
        delay.told(0.3 if twentieth == 30 else 0.1, twentieth / 20)
        assert delay.standing_s < 0.01


def test_the_base_of_a_path_is_forgotten_after_a_while() -> None:
    delay = QueueDelay()
    delay.told(0.0, 0.0)
    for tenth in range(4, 300):
        delay.told(0.15, tenth / 10)
        before = tenth / 10 <= BASE_WINDOW_S
        assert delay.standing_s == pytest.approx(0.15 if before else 0.0)


def test_a_quicker_path_is_told() -> None:
    delay = QueueDelay()
    assert not delay.told(0.2, 0.0)
    assert not delay.told(0.19, 0.1), "a little less is jitter"
    assert delay.told(0.1, 0.2)
    assert not delay.told(0.1, 0.3)
