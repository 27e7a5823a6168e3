"""The checkers of consults against planted faults: each must be found, and a clean run must stay clean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.words import ConsultState
from tests.faults import consult_checks as checks
from tests.faults.consult_book import Asked, Book, Did, Line, Rung, Sight, Told
from tests.faults.uptime import STORE, Uptime

ANSWERED, LONELY = b"answered" * 2, b"nobody.." * 2
ADA, BEN, EVE = b"a" * 16, b"b" * 16, b"e" * 16
"""On the first step, on the second, and the supervisor on the last one."""
RUNGS = (Rung(5.0), Rung(5.0, 1), Rung(60.0))
PHASES = ((0.0, ADA), (5.0, BEN), (15.0, EVE))


def page(consult: bytes, member: bytes) -> bytes:
    return consult[:8] + member[:8]


def running() -> Uptime:
    """Two nodes and a store that are up all the time."""
    uptime = Uptime()
    for part in ("one", "two", STORE):
        uptime.up(part, 0.0)
    return uptime


def clean() -> Book:
    """One consult that Ben accepts 3 s into the second step, and one that nobody answers."""
    book = Book(ended_s=400.0)
    for consult, start_s, steps in ((ANSWERED, 100.0, 2), (LONELY, 200.0, 3)):
        book.asked[consult] = Asked(start_s - 0.1, start_s + 0.1, RUNGS)
        lines = [Line(start_s + at_s, "paged", step, who) for step, (at_s, who) in enumerate(PHASES[:steps])]
        # Its second step rings twice, with the same page.
        lines += [Line(start_s + 10.0, "paged", 1, BEN)] if consult == LONELY else []
        for at_s, who in PHASES[:steps]:
            id_ = page(consult, who)
            book.sights.append(Sight(id_, "socket", start_s + at_s + 0.1, who, consult))
            book.sights.append(Sight(id_, "push", start_s + at_s + 0.2, who, node="one"))
            book.sights.append(Sight(id_, "voice", start_s + at_s + 0.3, node="two"))
        pages = tuple((who, page(consult, who)) for _, who in PHASES[:steps])
        state = ConsultState.EXHAUSTED
        if consult == ANSWERED:
            book.deeds.append(Did(consult, BEN, "accept", start_s + 8.0, start_s + 8.1))
            book.saw(consult, ConsultState.ACCEPTED, start_s + 8.1)
            state = ConsultState.IN_SESSION
        else:
            lines.append(Line(start_s + 75.0, "exhausted", 2))
            for number in range(4):
                book.alarmed(consult, start_s + 75.1 + 30.0 * number)
            book.deeds.append(Did(consult, EVE, "take", start_s + 170.0, start_s + 170.1))
        book.told[consult] = Told(state, BEN if consult == ANSWERED else None, tuple(lines), pages)
    return book


def tell(book: Book, consult: bytes, **changes: object) -> None:
    book.told[consult] = replace(book.told[consult], **changes)  # type: ignore[arg-type]


def shift(book: Book, consult: bytes, step: int, by_s: float, *, doors: bool = True) -> None:
    """Let a step begin at another time: in the lines, and, if `doors`, where its pages came as well."""
    who = PHASES[step][1]
    lines = [
        replace(line, at_s=line.at_s + by_s) if line.step == step and line.event == "paged" else line
        for line in book.told[consult].lines
    ]
    tell(book, consult, lines=tuple(lines))
    if doors:
        book.sights = [
            replace(sight, at_s=sight.at_s + by_s) if sight.page == page(consult, who) else sight
            for sight in book.sights
        ]


def _lost(book: Book) -> None:
    del book.told[LONELY]


def _still_paging(book: Book) -> None:
    tell(book, LONELY, state=ConsultState.PAGING)


def _accepted_by_nobody(book: Book) -> None:
    tell(book, ANSWERED, accepted_by=None)


def _silent_end(book: Book) -> None:
    book.alarms.clear()


def _alarm_late(book: Book) -> None:
    book.alarms[LONELY] = [at_s + 20.0 for at_s in book.alarms[LONELY]]


def _alarm_once(book: Book) -> None:
    del book.alarms[LONELY][1:]


def _second_id(book: Book) -> None:
    book.sights.append(Sight(b"another." * 2, "socket", 206.0, BEN, LONELY))


def _second_id_by_push(book: Book) -> None:
    book.sights.append(Sight(b"another." * 2, "push", 206.0, BEN))


def _shared_id(book: Book) -> None:
    book.sights.append(Sight(page(LONELY, BEN), "socket", 216.0, EVE, LONELY))


def _at_the_wrong_door(book: Book) -> None:
    book.sights.append(Sight(page(LONELY, BEN), "push", 206.0, ADA))


def _step_early(book: Book) -> None:
    shift(book, LONELY, 1, -0.5)


def _step_early_behind_its_lines(book: Book) -> None:
    book.sights.append(Sight(page(LONELY, EVE), "voice", 214.5))


def _repeat_forgotten(book: Book) -> None:
    shift(book, LONELY, 2, -5.0)


def _exhausted_early(book: Book) -> None:
    tell(
        book,
        LONELY,
        lines=tuple(
            replace(line, at_s=230.0) if line.event == "exhausted" else line
            for line in book.told[LONELY].lines
        ),
    )


def _excused_by_one_of_two(book: Book) -> None:
    told = book.told[LONELY]
    tell(book, LONELY, lines=(*told.lines, Line(200.0, "paged", 0, EVE)))
    book.deeds.append(Did(LONELY, ADA, "decline", 201.0, 201.1))
    shift(book, LONELY, 1, -3.0)


def _excused_by_a_line_alone(book: Book) -> None:
    told = book.told[LONELY]
    tell(book, LONELY, lines=(*told.lines, Line(202.0, "escalated", 0)))
    shift(book, LONELY, 1, -3.0)


def _before_it_was_asked(book: Book) -> None:
    book.asked[LONELY] = replace(book.asked[LONELY], asked_s=200.5)


def _step_late(book: Book) -> None:
    shift(book, LONELY, 1, 16.0)


def _step_never(book: Book) -> None:
    told = book.told[LONELY]
    tell(book, LONELY, lines=tuple(line for line in told.lines if line.step == 0))


def _declined_and_nothing_follows(book: Book) -> None:
    # The second step ends 20 s behind the only answer of whom it paged.
    book.deeds.append(Did(LONELY, EVE, "decline", 220.0, 221.0))


def _page_nowhere(book: Book) -> None:
    book.sights = [sight for sight in book.sights if sight.page != page(LONELY, EVE)]


def _page_late(book: Book) -> None:
    shift(book, LONELY, 2, -16.0)
    shift(book, LONELY, 2, 16.0, doors=False)
    book.sights = [
        replace(sight, at_s=sight.at_s + 32.0) if sight.page == page(LONELY, EVE) else sight
        for sight in book.sights
    ]


def _attempt_after(book: Book) -> None:
    book.sights.append(Sight(page(ANSWERED, BEN), "push", 109.2, BEN, node="one"))


def _attempt_after_by_nobody_known(book: Book) -> None:
    book.sights.append(Sight(page(ANSWERED, BEN), "voice", 109.2))


def _step_after(book: Book) -> None:
    told = book.told[ANSWERED]
    tell(book, ANSWERED, lines=(*told.lines, Line(115.0, "paged", 2, EVE)))


FAULTS: list[tuple[Callable[[Book], None], str]] = [
    (_lost, checks.ENDS),
    (_still_paging, checks.ENDS),
    (_accepted_by_nobody, checks.ENDS),
    (_silent_end, checks.ENDS),
    (_silent_end, checks.ALARMED),
    (_alarm_late, checks.ALARMED),
    (_alarm_once, checks.ALARMED),
    (_second_id, checks.ONE_PAGE),
    (_second_id_by_push, checks.ONE_PAGE),
    (_shared_id, checks.ONE_PAGE),
    (_at_the_wrong_door, checks.ONE_PAGE),
    (_step_early, checks.EARLY),
    (_step_early_behind_its_lines, checks.EARLY),
    (_repeat_forgotten, checks.EARLY),
    (_exhausted_early, checks.EARLY),
    (_excused_by_one_of_two, checks.EARLY),
    (_excused_by_a_line_alone, checks.EARLY),
    (_before_it_was_asked, checks.EARLY),
    (_step_late, checks.LATE),
    (_step_never, checks.LATE),
    (_declined_and_nothing_follows, checks.LATE),
    (_page_nowhere, checks.LATE),
    (_page_late, checks.LATE),
    (_attempt_after, checks.AFTER),
    (_attempt_after_by_nobody_known, checks.AFTER),
    (_step_after, checks.AFTER),
]


def test_a_clean_run_breaks_nothing() -> None:
    assert checks.check(clean(), running()) == []


@pytest.mark.parametrize(("plant", "promise"), FAULTS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_planted_fault_is_found(plant: Callable[[Book], None], promise: str) -> None:
    book = clean()
    plant(book)
    assert promise in {broken.promise for broken in checks.check(book, running())}


def test_every_promise_has_a_planted_fault() -> None:
    assert {promise for _, promise in FAULTS} == set(checks.PROMISES)


def test_time_in_which_nothing_could_run_does_not_count() -> None:
    book, uptime = clean(), running()
    shift(book, LONELY, 1, 16.0)
    shift(book, LONELY, 2, 16.0)
    tell(
        book,
        LONELY,
        lines=tuple(
            replace(line, at_s=line.at_s + 16.0) if line.event == "exhausted" else line
            for line in book.told[LONELY].lines
        ),
    )
    book.alarms[LONELY] = [at_s + 16.0 for at_s in book.alarms[LONELY]]
    assert checks.LATE in {broken.promise for broken in checks.check(book, uptime)}
    uptime.down(STORE, 205.0)
    uptime.up(STORE, 208.0)
    assert checks.check(book, uptime) == []


def test_a_step_that_nobody_was_there_to_end_may_get_its_time_anew() -> None:
    book, uptime = clean(), running()
    book.asked[LONELY] = replace(book.asked[LONELY], rungs=(Rung(20.0), *RUNGS[1:]))
    # Its first step is to end at 220; nothing runs from 219 to 226, and it rings again.
    told = book.told[LONELY]
    lines = [replace(line, at_s=line.at_s + (41.0 if line.step else 0.0)) for line in told.lines]
    tell(book, LONELY, lines=(*lines, Line(226.0, "paged", 0, ADA)))
    later = {page(LONELY, BEN), page(LONELY, EVE)}
    book.sights = [
        replace(sight, at_s=sight.at_s + 41.0) if sight.page in later else sight for sight in book.sights
    ]
    book.alarms[LONELY] = [at_s + 41.0 for at_s in book.alarms[LONELY]]
    assert checks.LATE in {broken.promise for broken in checks.check(book, uptime)}
    uptime.down(STORE, 219.0)
    uptime.up(STORE, 226.0)
    assert checks.check(book, uptime) == []


def test_a_node_that_fell_with_a_page_may_keep_it_for_its_lease() -> None:
    book, uptime = clean(), running()
    late = [replace(s, at_s=s.at_s + 24.0) if s.page == page(LONELY, EVE) else s for s in book.sights]
    book.sights = late
    assert checks.LATE in {broken.promise for broken in checks.check(book, uptime)}
    uptime.down("one", 216.0)
    assert checks.check(book, uptime) == []


def test_one_node_of_two_is_enough_to_be_late_by() -> None:
    book, uptime = clean(), running()
    shift(book, LONELY, 1, 16.0)
    uptime.down("one", 204.0)
    assert checks.LATE in {broken.promise for broken in checks.check(book, uptime)}


def test_a_frozen_node_may_finish_what_it_had_begun() -> None:
    book, uptime = clean(), running()
    book.sights.append(Sight(page(ANSWERED, BEN), "push", 112.0, BEN, node="two"))
    assert checks.AFTER in {broken.promise for broken in checks.check(book, uptime)}
    uptime.down("two", 108.0)
    uptime.up("two", 111.9)
    assert checks.check(book, uptime) == []
    book.sights[-1] = replace(book.sights[-1], node="one")
    assert checks.AFTER in {broken.promise for broken in checks.check(book, uptime)}


@pytest.mark.parametrize("answered_s", [202.1, math.inf])
def test_all_who_were_paged_decline_and_the_next_step_may_begin_at_once(answered_s: float) -> None:
    book = clean()
    book.deeds.append(Did(LONELY, ADA, "decline", 201.9, answered_s))
    shift(book, LONELY, 1, -3.0)
    # Both times that the second step rang; the last one follows as before.
    shift(book, LONELY, 2, -3.0)
    lines = tuple(
        replace(line, at_s=line.at_s - 3.0) if line.event == "exhausted" else line
        for line in book.told[LONELY].lines
    )
    tell(book, LONELY, lines=lines)
    assert checks.check(book, running()) == []


def test_who_declined_for_all_that_is_known_need_not_be_followed_at_once() -> None:
    book = clean()
    book.deeds.append(Did(LONELY, EVE, "decline", 220.0, math.inf))
    assert checks.check(book, running()) == []


def test_a_step_that_reached_nobody_may_end_at_once() -> None:
    book = clean()
    told = book.told[LONELY]
    lines = [Line(200.0, "no_one_on_call", 0), *(line for line in told.lines if line.step > 0)]
    tell(
        book,
        LONELY,
        lines=tuple(replace(line, at_s=line.at_s - (5.0 if line.step > 0 else 0.0)) for line in lines),
        pages=told.pages[1:],
    )
    book.sights = [
        replace(sight, at_s=sight.at_s - 5.0) if sight.page in dict(told.pages).values() else sight
        for sight in book.sights
        if sight.page != page(LONELY, ADA)
    ]
    assert checks.check(book, running()) == []


_moments = st.lists(st.tuples(st.sampled_from(["one", "two", STORE]), st.integers(0, 20)), max_size=12)


@given(_moments, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_working_time_adds_up(moments: list[tuple[str, int]], a: int, b: int, c: int) -> None:
    uptime = Uptime()
    for part, at_s in sorted(moments, key=lambda pair: pair[1]):
        (uptime.down if uptime.is_up(part, at_s) else uptime.up)(part, at_s)
    first, middle, last = sorted((a, b, c))
    whole = uptime.worked_s(first, last)
    assert whole == uptime.worked_s(first, middle) + uptime.worked_s(middle, last)
    # Second by second, which is as fine as these changes are.
    assert whole == sum(
        uptime.is_up(STORE, at_s) and (uptime.is_up("one", at_s) or uptime.is_up("two", at_s))
        for at_s in range(first, last)
    )
