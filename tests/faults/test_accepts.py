"""What is judged of a race: a planted fault is found whichever way it shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.accepts import LINEAR, SAME, Race, Won, judge
from tests.faults.linear import Answer, Claim, Read

MEMBERS = [bytes([n]) * 16 for n in range(20)]


def clean() -> Race:
    """The first of twenty wins; their answer is lost, and they learn it by asking again."""
    made = Race(won={Won(MEMBERS[0].hex(), "d1", 1_000)})
    made.history.append(Claim(MEMBERS[0], Answer.UNKNOWN, 0.0))
    made.history += [Claim(member, Answer.LOST, 0.001, 0.5) for member in MEMBERS[1:]]
    made.history.append(Read(MEMBERS[0], 0.2, 0.3))
    made.history.append(Claim(MEMBERS[0], Answer.WON, 0.9, 1.0))
    return made


def _second_winner(made: Race) -> None:
    made.history.append(Claim(MEMBERS[3], Answer.WON, 1.1, 1.2))


def _nobody_ever(made: Race) -> None:
    made.history = [Claim(member, Answer.UNKNOWN, 0.0) for member in MEMBERS]


def _winner_told_otherwise(made: Race) -> None:
    made.history.append(Claim(MEMBERS[0], Answer.LOST, 1.1, 1.2))


def _neither(made: Race) -> None:
    made.strange["forbidden"] += 1


def _another_time(made: Race) -> None:
    made.won.add(Won(MEMBERS[0].hex(), "d1", 1_007))


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (_second_winner, LINEAR),
        (_nobody_ever, LINEAR),
        (_winner_told_otherwise, LINEAR),
        (_neither, LINEAR),
        (_another_time, SAME),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Race], None], promise: str) -> None:
    made = clean()
    assert judge(made) == []
    plant(made)
    assert promise in {broken.promise for broken in judge(made)}
