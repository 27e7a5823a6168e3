"""The linearizability checker against planted violations, and against every order tried one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.linear import Answer, Claim, Operation, Read, linearizable, winners

A, B, C = b"a", b"b", b"c"
WON, LOST, UNKNOWN = Answer.WON, Answer.LOST, Answer.UNKNOWN


def won(member: bytes, called: float, answered: float) -> Claim:
    return Claim(member, WON, called, answered)


def lost(member: bytes, called: float, answered: float) -> Claim:
    return Claim(member, LOST, called, answered)


def unknown(member: bytes, called: float) -> Claim:
    return Claim(member, UNKNOWN, called)


RIGHT: dict[str, list[Operation]] = {
    "nothing happened": [],
    "one wins, the others lose": [won(A, 0, 5), lost(B, 0, 5), lost(C, 1, 4)],
    "a loser is answered before the winner": [won(A, 0, 9), lost(B, 1, 2)],
    "the winner's retry is answered alike": [won(A, 0, 1), won(A, 2, 3), lost(B, 2, 4)],
    "the answer was lost, and the retry tells": [unknown(A, 0), lost(B, 2, 3), won(A, 4, 5)],
    "the answer was lost, and nobody ever knew": [unknown(A, 0), Read(None, 1, 2)],
    "a claim without an answer takes effect late": [unknown(A, 0), Read(None, 5, 6), Read(A, 7, 8)],
    "it never took effect, and another one won": [unknown(A, 0), won(B, 1, 2), Read(B, 3, 4)],
    "a read during the claim sees either": [won(A, 0, 9), Read(None, 1, 2), Read(A, 3, 4)],
}

WRONG: dict[str, list[Operation]] = {
    "two winners at once": [won(A, 0, 5), won(B, 0, 5)],
    "two winners, one after the other": [won(A, 0, 1), won(B, 2, 3)],
    "the winner's retry is told that it lost": [won(A, 0, 1), lost(A, 2, 3)],
    "all lost": [lost(A, 0, 1), lost(B, 0, 1)],
    "who was first alone lost": [lost(A, 0, 1), won(B, 2, 3)],
    "an old read after the claim was answered": [won(A, 0, 1), Read(None, 2, 3)],
    "a read names somebody who lost": [won(A, 0, 1), lost(B, 0, 1), Read(B, 2, 3)],
    "a read goes back to nobody": [unknown(A, 0), Read(A, 1, 2), Read(None, 3, 4)],
    "two reads name two": [unknown(A, 0), unknown(B, 0), Read(A, 1, 2), Read(B, 3, 4)],
    "a read names somebody before they called": [Read(A, 0, 1), won(A, 2, 3)],
    "a read names who never claimed": [won(A, 0, 1), Read(C, 2, 3)],
    "a loser before anybody could have won": [lost(A, 0, 1), unknown(B, 2)],
    "a winner that another's answer rules out": [unknown(A, 0), Read(A, 1, 2), won(B, 3, 4)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_could_have_happened_is_let_through(name: str) -> None:
    assert linearizable(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_planted_violation_is_found(name: str) -> None:
    assert not linearizable(WRONG[name])


@pytest.mark.parametrize("plant", range(4))
def test_one_lie_among_twenty_at_once_is_found(plant: int) -> None:
    names = [bytes([n]) for n in range(20)]
    history: list[Operation] = [won(names[0], 0, 9), *(lost(name, 0.1, 9) for name in names[1:])]
    history += [Read(names[0], 10, 11), won(names[0], 12, 13), *(lost(name, 12, 13) for name in names[1:])]
    assert linearizable(history)
    assert winners(history) == {names[0]}
    lies = (won(names[7], 0.1, 9), won(names[7], 12, 13), lost(names[0], 12, 13), Read(None, 10, 11))
    history.append(lies[plant])
    assert not linearizable(history)


def test_winners_are_those_that_anybody_was_told() -> None:
    assert winners([won(A, 0, 1), lost(B, 0, 1), unknown(C, 0), Read(None, 0, 1)]) == {A}
    assert winners([unknown(A, 0), Read(A, 1, 2), won(B, 1, 2)]) == {A, B}
    assert winners([lost(A, 0, 1)]) == set()


# ---- every order, one by one


def by_trying(history: Sequence[Operation]) -> bool:
    """The definition itself: some of the unanswered claims happened, and some order of the rest is right."""
    answered = [op for op in history if not (isinstance(op, Claim) and op.answer is UNKNOWN)]
    open_ones = [op for op in history if isinstance(op, Claim) and op.answer is UNKNOWN]
    return any(
        _in_time(order) and _right(order)
        for count in range(len(open_ones) + 1)
        for happened in itertools.combinations(open_ones, count)
        for order in itertools.permutations([*answered, *happened])
    )


def _in_time(order: Sequence[Operation]) -> bool:
    return all(
        later.answered_s >= earlier.called_s for at, earlier in enumerate(order) for later in order[at + 1 :]
    )


def _right(order: Sequence[Operation]) -> bool:
    holder: bytes | None = None
    for op in order:
        if isinstance(op, Read):
            if op.holder != holder:
                return False
            continue
        holder = op.member if holder is None else holder
        if op.answer is not UNKNOWN and (op.answer is WON) != (holder == op.member):
            return False
    return True


_members = st.sampled_from([A, B])
_times = st.tuples(st.integers(0, 5), st.integers(0, 3))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    called, took = draw(_times)
    kind = draw(st.sampled_from(["read", "won", "lost", "unknown"]))
    if kind == "read":
        return Read(draw(st.none() | _members), called, called + took)
    answer = Answer(kind)
    return Claim(draw(_members), answer, called, math.inf if answer is UNKNOWN else called + took)


@settings(max_examples=400)
@given(st.lists(operations(), max_size=5))
def test_it_agrees_with_every_order_tried(history: list[Operation]) -> None:
    assert linearizable(history) == by_trying(history)
