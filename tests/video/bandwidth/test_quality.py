"""The four words for a link."""

import random

import pytest

from leeside_server.video.quality import FAIR, GOOD, LOST, POOR, Grader, Link, Missing, grade

GIVES_UP_S = 8.0
"""A client goes to sound alone after so long on a poor link (`ladder.ts`: twice `DOWN_MS`)."""


@pytest.mark.parametrize(
    ("link", "word"),
    [
        (Link(), GOOD),
        (Link(loss=0.02, queue_s=0.05, rtt_s=0.2, bps=2_000_000), GOOD),
        (Link(loss=0.05), FAIR),
        (Link(queue_s=0.15), FAIR),
        (Link(rtt_s=0.5), FAIR),
        (Link(bps=200_000), FAIR),
        (Link(loss=0.2), POOR),
        (Link(queue_s=0.4), POOR),
        (Link(rtt_s=1.0), POOR),
        (Link(bps=100_000), POOR),
        (Link(silent_s=3.0), LOST),
    ],
)
def test_the_worst_measure_gives_the_word(link: Link, word: int) -> None:
    assert grade(link) == word


def test_one_bad_moment_alarms_nobody() -> None:
    grader = Grader()
    assert grader.grade(Link(loss=0.5), 0.0) == GOOD
    assert grader.grade(Link(), 0.5) == GOOD
    assert grader.grade(Link(loss=0.5), 1.0) == GOOD, "the second of badness begins anew"
    assert grader.grade(Link(loss=0.5), 2.0) == POOR


def test_the_word_rises_after_four_seconds_and_only_as_far_as_held_throughout() -> None:
    grader = Grader()
    for at_s in (0.0, 1.0):
        grader.grade(Link(loss=0.5), at_s)
    assert grader.word == POOR
    assert grader.grade(Link(), 2.0) == POOR
    assert grader.grade(Link(loss=0.05), 4.0) == POOR
    assert grader.grade(Link(), 6.0) == FAIR
    assert grader.grade(Link(), 7.0) == FAIR
    assert grader.grade(Link(), 11.0) == GOOD


def test_what_was_lost_is_there_again_after_a_second() -> None:
    grader = Grader()
    assert grader.grade(Link(silent_s=9), 0.0) == LOST
    assert grader.grade(Link(loss=0.5), 1.0) == LOST
    assert grader.grade(Link(loss=0.5), 2.0) == POOR


def test_it_falls_only_as_far_as_was_so_for_a_second() -> None:
    grader = Grader()
    grader.grade(Link(loss=0.05), 0.0)
    grader.grade(Link(loss=0.5), 0.5)
    assert grader.grade(Link(loss=0.5), 1.0) == FAIR
    assert grader.grade(Link(loss=0.5), 2.5) == FAIR
    assert grader.grade(Link(loss=0.5), 3.5) == POOR


def test_a_lost_link_is_told_at_once() -> None:
    grader = Grader()
    assert grader.grade(Link(silent_s=3.0), 0.0) == LOST


def test_what_does_not_come_is_counted_over_all_streams_and_two_seconds() -> None:
    missing = Missing()
    shares = [missing.share(30 * look, 30 * look - look, look / 2) for look in range(10)]
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([1 / 30] * 9)
    # One of few says nothing, and what begins anew has lost nothing yet.
    assert missing.share(280, 270, 5.0) == pytest.approx(1 - 96 / 100)
    assert missing.share(20, 10, 5.5) == 0
    assert missing.share(40, 20, 6.0) == 0
    assert missing.share(60, 30, 6.5) == pytest.approx(0.5)
    assert missing.share(160, 130, 9.0) == 0
    assert missing.share(260, 230, 9.5) == 0


@pytest.mark.parametrize(("loss", "longest_s"), [(0.05, 0.0), (0.1, GIVES_UP_S)])
def test_loss_that_repairs_hide_takes_no_picture_away(loss: float, longest_s: float) -> None:
    """Sound and two pictures of fifteen frames: a few packets a second of each."""
    for seed in range(20):
        chance, missing, grader = random.Random(seed), Missing(), Grader()
        expected = came = poor = 0
        for look in range(600):
            expected += 55
            came += sum(chance.random() >= loss for _ in range(55))
            word = grader.grade(Link(loss=missing.share(expected, came, look / 2)), look / 2)
            poor = poor + 1 if word < FAIR else 0
            assert poor == 0 or poor / 2 < longest_s
