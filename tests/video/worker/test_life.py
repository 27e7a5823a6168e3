"""A peer's life, by a clock of the test's own."""

import pytest

from leeside_server.video.life import (
    FAREWELL_S,
    GONE_S,
    JOIN_S,
    QUIET_S,
    SILENT_S,
    Life,
    State,
)


def live(now_s: float = 0.0) -> Life:
    life = Life(now_s)
    life.offered(now_s)
    life.path(now_s)
    assert life.answered(now_s)
    life.secured(now_s)
    assert life.state is State.LIVE
    return life


@pytest.mark.parametrize("first", ["answer", "path"])
def test_hands_are_shaken_once_path_and_answer_are_there(first: str) -> None:
    life = Life(0)
    life.offered(0)
    told = [life.answered(1), life.path(1)] if first == "answer" else [life.path(1), life.answered(1)]
    assert told == [False, True]
    assert life.state is State.SHAKING
    assert not life.path(2)
    assert not life.answered(2)


def test_who_never_comes_is_gone() -> None:
    life = Life(0)
    life.offered(0)
    assert life.due(JOIN_S) is None
    assert life.due(JOIN_S + 0.1) is State.GONE


def test_a_failed_handshake_is_the_end() -> None:
    life = Life(0)
    life.offered(0)
    life.path(0)
    life.answered(0)
    life.failed(1)
    life.secured(2)
    assert life.state is State.GONE


def test_silence_behind_media_is_noticed_soon_and_forgiven_at_once() -> None:
    life = live()
    life.heard(10, media=True)
    assert life.due(10 + SILENT_S) is None
    assert life.due(10 + SILENT_S + 0.1) is State.STALE
    assert life.due(12) is None
    life.heard(13)
    assert life.state is State.LIVE


def test_who_sends_no_media_may_be_quiet_for_longer() -> None:
    life = live()
    life.heard(10, media=True)
    for second in range(11, 20):
        life.heard(second)
    assert life.due(19 + QUIET_S) is None
    assert life.due(19 + QUIET_S + 0.1) is State.STALE


def test_a_seat_stays_for_half_a_minute() -> None:
    life = live()
    life.heard(0, media=True)
    stale_s = SILENT_S + 0.1
    assert life.due(stale_s) is State.STALE
    assert life.due(stale_s + GONE_S) is None
    assert life.due(stale_s + GONE_S + 0.1) is State.GONE


def test_who_said_goodbye_is_gone_soon_whatever_comes_after() -> None:
    life = live()
    life.farewell(10)
    life.heard(11)
    assert life.state is State.STALE
    assert life.due(10 + FAREWELL_S + 0.1) is State.GONE
