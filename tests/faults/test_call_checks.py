"""The checker of calls against planted faults: each must be found, and a clean run must stay clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults import call_checks as checks
from tests.faults.call_checks import CallBook, Held, Sound

ANA, BEN = b"a" * 16, b"b" * 16
EVA, FAY = b"e" * 16, b"f" * 16
ONE, TWO = b"1" * 16, b"2" * 16
ROOMS = {ANA: ONE, BEN: ONE, EVA: TWO, FAY: TWO}
KILLS_S = (10.0, 20.0)
AWAY_S = 0.8
END_S = 30.0


def clean() -> CallBook:
    """Two rooms of two who talk for 30 s; the bridge is killed twice, and everybody is back after 0.8 s."""
    book = CallBook(dict(ROOMS), kills_s=list(KILLS_S), ended_s=END_S)
    for step in range(int(END_S / 0.02)):
        at_s = step * 0.02
        if any(0.01 < at_s - kill_s < AWAY_S for kill_s in KILLS_S):
            continue
        for listener, speaker in ((ANA, BEN), (BEN, ANA), (EVA, FAY), (FAY, EVA)):
            transport = 1 + sum(at_s > kill_s + 0.01 for kill_s in KILLS_S)
            book.said[speaker, step] = at_s
            book.heard.append(Sound(at_s + 0.001, listener, transport, ROOMS[speaker], speaker, step))
    return book


def test_a_clean_run_is_clean() -> None:
    book = clean()
    assert checks.check(book) == []
    back = checks.back_s(book)
    assert len(back) == len(KILLS_S) * len(ROOMS)
    assert all(AWAY_S <= each <= AWAY_S + 0.05 for each in back)


def test_who_is_back_late_is_counted_as_late() -> None:
    book = clean()
    book.heard = [s for s in book.heard if not (s.listener == EVA and 10.0 < s.at_s < 14.0)]
    assert checks.check(book) == []
    assert max(checks.back_s(book)) == pytest.approx(4.0, abs=0.05)


def test_what_was_on_its_way_at_the_kill_is_no_return() -> None:
    """The last sounds before the kill arrive behind it."""
    book = clean()
    book.heard += [Sound(10.012 + n / 100, ANA, 1, ONE, BEN, 501 + n) for n in range(3)]
    book.heard.sort(key=lambda sound: sound.at_s)
    assert min(checks.back_s(book)) >= AWAY_S


def never_again(book: CallBook) -> None:
    book.heard = [s for s in book.heard if not (s.listener == BEN and s.at_s > 20.0)]


def away_until_the_next_kill(book: CallBook) -> None:
    book.heard = [s for s in book.heard if not (s.listener == FAY and 10.0 < s.at_s < 20.0)]


def another_room(book: CallBook) -> None:
    book.heard[700] = replace(book.heard[700], room=TWO if book.heard[700].room == ONE else ONE)


def a_stranger(book: CallBook) -> None:
    book.heard.append(replace(book.heard[-1], speaker=b"?" * 16))


def a_repeat(book: CallBook) -> None:
    book.heard.append(replace(book.heard[100], at_s=29.99))


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (never_again, checks.LOST),
        (away_until_the_next_kill, checks.LOST),
        (another_room, checks.FOREIGN),
        (a_stranger, checks.FOREIGN),
        (a_repeat, checks.AGAIN),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[CallBook], None], promise: str) -> None:
    book = clean()
    plant(book)
    assert promise in {fault.promise for fault in checks.check(book)}


# ---- under attack: from the 22nd to the 28th second

ATTACK_S = (22.0, 28.0)
SHARE = 0.9


def test_calls_that_nothing_disturbed() -> None:
    book = clean()
    assert checks.disturbed(book, *ATTACK_S, ROOMS, SHARE) == []
    assert checks.delays_s(book, *ATTACK_S, ROOMS) == pytest.approx([0.001] * (4 * 301), abs=1e-6)
    assert set(checks.shares(book, *ATTACK_S).values()) == {1.0}


def every_seventh_is_lost(book: CallBook) -> None:
    book.heard = [s for s in book.heard if not (s.listener == EVA and s.number % 7 == 0)]


def one_hears_nothing(book: CallBook) -> None:
    book.heard = [s for s in book.heard if s.listener != FAY]


def doubles_hide_what_is_missing(book: CallBook) -> None:
    late = [s for s in book.heard if s.listener == ANA and s.number % 2]
    book.heard = [s for s in book.heard if s.listener != ANA] + late + late


def nobody_said_anything(book: CallBook) -> None:
    book.said = {}


@pytest.mark.parametrize(
    "plant",
    [every_seventh_is_lost, one_hears_nothing, doubles_hide_what_is_missing, nobody_said_anything],
)
def test_a_disturbed_call_is_found(plant: Callable[[CallBook], None]) -> None:
    book = clean()
    plant(book)
    assert checks.DISTURBED in {fault.promise for fault in checks.disturbed(book, *ATTACK_S, ROOMS, SHARE)}


def test_sounds_that_come_late_are_seen_as_late() -> None:
    book = clean()
    book.heard = [replace(s, at_s=s.at_s + (0.4 if s.listener == BEN else 0.0)) for s in book.heard]
    assert max(checks.delays_s(book, *ATTACK_S, ROOMS)) == pytest.approx(0.401, abs=1e-6)
    assert max(checks.delays_s(book, *ATTACK_S, {ANA})) == pytest.approx(0.001, abs=1e-6)


def test_nobody_at_all_is_no_proof() -> None:
    assert len(checks.disturbed(clean(), *ATTACK_S, (), SHARE)) == 1
    assert len(checks.disturbed(CallBook(), *ATTACK_S, [ANA], SHARE)) == 1


BEFORE = Held(100_000_000, 15, 200_000_000, 60)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (BEFORE, 0),
        (Held(110_000_000, 15, 205_000_000, 66), 0),
        (Held(116_000_001, 15, 200_000_000, 60), 1),
        (Held(100_000_000, 24, 200_000_000, 60), 1),
        (Held(100_000_000, 15, 220_000_000, 69), 2),
    ],
)
def test_what_grows_is_found(after: Held, found: int) -> None:
    assert len(checks.grown(BEFORE, after)) == found
