"""Is there one order in which all of it could have happened? A linearizability checker for claims by compare-and-set.

Pure. Many claim one thing at once, over several nodes that may die before they answer. The history is linearizable when
every operation can be given one instant between its call and its answer such that, in the order of these instants, a
register that takes the first claim and no other would have given exactly these answers:

    claim(m)   WON   when nobody had claimed before, or m had         (a retry of the winner is answered as the first time)
               LOST  when somebody else had
    read       who had claimed, or nobody

What got no answer may have happened at any time after its call, or never (its answer is `UNKNOWN`, its end infinite).

Theory of operation: the search of Wing and Gong (1993), which takes one operation after the other that no other one must
precede, and goes back where nothing fits. An operation that fits and leaves the register alone is taken at once: whatever
order exists, this one may stand first in it. So it branches only where the register is first set, which it is once, and is
exact at a cost that is polynomial. `tests/faults/test_linear.py` compares it with all orders tried one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

Holder: TypeAlias = bytes | None
"""Who claimed; None: nobody yet."""


class Answer(Enum):
    """What became of a claim, as its caller knows it."""

    WON = "won"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim. Seconds of one clock; `answered_s` infinite where no answer came."""

    member: bytes
    answer: Answer
    called_s: float
    answered_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Read:
    """One look at who claimed, that was answered."""

    holder: Holder
    called_s: float
    answered_s: float


Operation: TypeAlias = Claim | Read


def linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order explains every answer. The register begins with nobody."""
    return _fits(None, list(history))


def winners(history: Sequence[Operation]) -> set[bytes]:
    """All who were told that they won, or whom a read named; exactly one where claims were answered at all."""
    told = {op.member for op in history if isinstance(op, Claim) and op.answer is Answer.WON}
    return told | {op.holder for op in history if isinstance(op, Read) and op.holder is not None}


def _fits(holder: Holder, left: list[Operation]) -> bool:
    while True:
        horizon_s = min((op.answered_s for op in left), default=math.inf)
        # Nothing that is left had ended before one of these was called: each may be the next.
        first = [op for op in left if op.called_s <= horizon_s]
        still = [op for op in first if _after(holder, op) == (holder,)]
        if not still:
            break
        left = [op for op in left if op not in still]
    if all(isinstance(op, Claim) and op.answer is Answer.UNKNOWN for op in left):
        return True
    return any(
        _fits(after, [other for other in left if other is not op])
        for op in first
        for after in _after(holder, op)
        if after != holder
    )


_WON: Final = frozenset({Answer.WON, Answer.UNKNOWN})
_LOST: Final = frozenset({Answer.LOST, Answer.UNKNOWN})


def _after(holder: Holder, op: Operation) -> tuple[Holder, ...]:
    """What the register holds after it, where its answer is the right one now; else nothing."""
    if isinstance(op, Read):
        return (holder,) if op.holder == holder else ()
    if holder is None:
        return (op.member,) if op.answer in _WON else ()
    right = _WON if holder == op.member else _LOST
    return (holder,) if op.answer in right else ()
