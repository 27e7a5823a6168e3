"""Loss: how much, and whose."""

import pytest

from leeside_server.video.losses import WINDOW_S, Losses

SETTLES_S = 0.1


def told(losses: Losses, share: float, seconds: float, from_s: float) -> float:
    """Reports of ten packets each tenth of a second, with this share lost; the time then."""
    lost = 0.0
    now_s = from_s
    for tenth in range(round(seconds * 10)):
        now_s = from_s + tenth / 10
        lost += 10 * share
        losses.told(10 - int(lost), int(lost), now_s, calm=True)
        lost -= int(lost)
    return now_s


def test_a_few_packets_say_nothing() -> None:
    losses = Losses()
    losses.told(10, 10, 0.0, calm=True)
    assert losses.share == 0
    losses.told(10, 10, 0.1, calm=True)
    assert losses.share == 0.5


def test_loss_is_of_the_last_two_seconds() -> None:
    losses = Losses()
    now_s = told(losses, 0.3, 3, 0.0)
    assert losses.share == pytest.approx(0.3, abs=0.02)
    told(losses, 0.0, WINDOW_S + 0.2, now_s + 0.1)
    assert losses.share == 0


def test_loss_that_falls_with_the_rate_was_congestion_and_the_decrease_stays() -> None:
    losses = Losses()
    now_s = told(losses, 0.2, 2, 0.0)
    lower = losses.judge(1_000_000, 800_000, SETTLES_S, now_s)
    assert lower == 800_000
    now_s = told(losses, 0.0, 2.3, now_s + 0.1)
    assert losses.judge(lower, 790_000, SETTLES_S, now_s) == lower
    assert losses.inherent == 0


def test_loss_that_stays_is_the_links_own_and_the_estimate_is_given_back() -> None:
    losses = Losses()
    now_s = told(losses, 0.2, 2, 0.0)
    lower = losses.judge(1_000_000, 700_000, SETTLES_S, now_s)
    assert lower == 800_000, "no further down than the loss itself accounts for"
    now_s = told(losses, 0.2, 1, now_s + 0.1)
    assert losses.judge(lower, 640_000, SETTLES_S, now_s) == lower, "too soon to tell"
    now_s = told(losses, 0.2, 1.3, now_s + 0.1)
    assert losses.judge(lower, 640_000, SETTLES_S, now_s) == 1_000_000
    assert losses.inherent == pytest.approx(0.2, abs=0.02)
    now_s = told(losses, 0.22, 3, now_s + 0.1)
    assert losses.judge(1_000_000, 780_000, SETTLES_S, now_s) == 1_000_000, "borne from now on"


def test_on_a_link_that_loses_by_itself_a_little_more_is_borne_too() -> None:
    losses = Losses()
    losses.inherent = 0.08
    told(losses, 0.14, 20, 0.0)
    assert losses.excess < 0.02
    losses = Losses()
    told(losses, 0.14, 20, 0.0)
    assert losses.inherent == 0, "but never without having tried"


def test_what_was_borne_is_not_borne_for_ever() -> None:
    losses = Losses()
    losses.inherent = 0.2
    told(losses, 0.0, 10, 0.0)
    assert losses.inherent < 0.02
    now_s = told(losses, 0.2, 2, 10.0)
    assert losses.judge(1_000_000, 800_000, SETTLES_S, now_s) == pytest.approx(800_000, rel=0.02)


def test_what_is_lost_while_packets_queue_is_not_usual() -> None:
    losses = Losses()
    told(losses, 0.1, 10, 0.0)
    assert losses.usual == pytest.approx(0.1, abs=0.02)
    for tenth in range(20):
        losses.told(5, 5, 10 + tenth / 10, calm=False)
    assert losses.share > 0.4
    assert losses.usual == pytest.approx(0.1, abs=0.02)
