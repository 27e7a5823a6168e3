"""The checker against planted faults: each must be found, and a clean history must stay clean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history import Acked, Delivered, Entry, History, Sent, check

CHANNEL, A, B = b"c" * 16, b"a" * 16, b"b" * 16
READERS = (A, B)


def _id(n: int) -> bytes:
    return n.to_bytes(16, "big")


def _digest(n: int) -> bytes:
    return n.to_bytes(32, "big")


def clean(count: int = 6) -> History:
    """Every message sent by A, acknowledged, delivered to both readers, and in both final logs."""
    history = History()
    for n in range(1, count + 1):
        history.sent.append(Sent(CHANNEL, A, _id(n), _digest(n)))
        history.acked.append(Acked(CHANNEL, A, _id(n), _digest(n), n))
        history.delivered += [Delivered(CHANNEL, r, 1, n, A, _id(n), _digest(n)) for r in READERS]
    history.final = {
        CHANNEL: {r: [Entry(n, A, _id(n), _digest(n)) for n in range(1, count + 1)] for r in READERS}
    }
    return history


def _lose_for_all(h: History) -> None:
    for log in h.final[CHANNEL].values():
        del log[-1]


def _lose_for_one(h: History) -> None:
    del h.final[CHANNEL][B][-1]


def _lose_in_the_middle(h: History) -> None:
    for log in h.final[CHANNEL].values():
        del log[2]


def _close_the_hole(h: History) -> None:
    for reader, log in h.final[CHANNEL].items():
        kept = [e for e in log if e.offset != 3]
        h.final[CHANNEL][reader] = [e._replace(offset=i) for i, e in enumerate(kept, 1)]


def _double(h: History) -> None:
    for log in h.final[CHANNEL].values():
        log.append(log[1]._replace(offset=len(log) + 1))


def _swap_for_one(h: History) -> None:
    log = h.final[CHANNEL][B]
    log[1], log[2] = log[2]._replace(offset=2), log[1]._replace(offset=3)


def _change_bytes(h: History) -> None:
    for log in h.final[CHANNEL].values():
        log[1] = log[1]._replace(digest=_digest(99))


def _phantom(h: History) -> None:
    for log in h.final[CHANNEL].values():
        log.append(Entry(len(log) + 1, B, _id(77), _digest(77)))


def _two_offsets(h: History) -> None:
    h.acked.append(h.acked[0]._replace(offset=2))


def _shown_but_not_kept(h: History) -> None:
    h.delivered.append(Delivered(CHANNEL, A, 1, 7, A, _id(7), _digest(7)))
    h.sent.append(Sent(CHANNEL, A, _id(7), _digest(7)))


def _shown_twice(h: History) -> None:
    h.delivered.append(h.delivered[-1])


def _skipped(h: History) -> None:
    h.delivered = [d for d in h.delivered if d.offset != 3]


FAULTS: list[tuple[Callable[[History], None], str]] = [
    (_lose_for_all, "G1 acknowledged stands"),
    (_lose_for_one, "G3 same log"),
    (_lose_in_the_middle, "G3 no gap"),
    (_close_the_hole, "G1 acknowledged stands"),
    (_double, "G2 exactly once"),
    (_swap_for_one, "G3 same log"),
    (_change_bytes, "G1 acknowledged stands"),
    (_phantom, "no phantom"),
    (_two_offsets, "G2 exactly once"),
    (_shown_but_not_kept, "G4 durable before delivered"),
    (_shown_twice, "G3 no gap"),
    (_skipped, "G3 no gap"),
]


def test_a_clean_history_breaks_nothing() -> None:
    assert check(clean()) == []


@pytest.mark.parametrize(("plant", "promise"), FAULTS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_planted_fault_is_found(plant: Callable[[History], None], promise: str) -> None:
    history = clean()
    plant(history)
    assert promise in {b.promise for b in check(history)}


def test_an_unacknowledged_message_may_stand_or_not() -> None:
    history = clean()
    history.sent.append(Sent(CHANNEL, B, _id(50), _digest(50)))
    assert check(history) == []
    for log in history.final[CHANNEL].values():
        log.append(Entry(7, B, _id(50), _digest(50)))
    assert check(history) == []


def test_a_repeat_marked_as_differing_is_no_loss() -> None:
    history = clean()
    history.acked.append(Acked(CHANNEL, A, _id(2), _digest(99), 2, differs=True))
    assert check(history) == []


def test_a_new_connection_starts_where_it_resumes() -> None:
    history = clean()
    history.delivered += [Delivered(CHANNEL, B, 2, n, A, _id(n), _digest(n)) for n in (4, 5, 6)]
    assert check(history) == []


@given(st.integers(1, 40), st.data())
def test_dropping_any_acknowledged_entry_is_found(count: int, data: st.DataObject) -> None:
    history = clean(count)
    victim = data.draw(st.integers(0, count - 1))
    for log in history.final[CHANNEL].values():
        del log[victim]
    assert check(history)
