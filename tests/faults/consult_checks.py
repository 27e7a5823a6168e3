"""Judges what a run of consults wrote down: every promise of G5 and G6 that it broke. Pure.

It takes no server's word alone. That a step began when its lines say so is compared with when its pages came to people's
doors; whose a page is, and that it is one and the same, with what devices, the push service and the gateway were given; and
when nobody was to be paged any more, with the answer that a person got.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeAlias

from leeside_protocol.limits import ALARM_S
from leeside_protocol.words import ConsultState
from tests.faults.consult_book import OVER, Book, Sight
from tests.faults.history import Broken
from tests.faults.uptime import Uptime

LEASE_S: Final = 10.0
LATE_S: Final = LEASE_S + 5.0
"""Working time that a step, or a page of it, may be late."""
AFTER_S: Final = 1.0
"""Pages may still begin so long after an acceptance."""
MISSED_S: Final = 5.0
"""A step whose end nobody was there to see for so long may get its time anew, once."""
ROUNDING_S: Final = 0.02
"""Servers write whole milliseconds, and read two clocks one after the other."""

ENDS, ALARMED, ONE_PAGE = "G5 every consult ends", "G5 exhausted is alarmed", "G5 one page id each"
EARLY, LATE, AFTER = "G6 no step early", "G6 no step late", "G6 no attempt after acceptance"
PROMISES: Final = {
    ENDS: "accepted, or exhausted and alarmed",
    ALARMED: "and again, until somebody takes it",
    ONE_PAGE: "for each consult, step and member",
    EARLY: "by the ladder's delays",
    LATE: f"by more than {LATE_S:.0f} s in which a node and the store were up",
    AFTER: f"begun more than {AFTER_S:.0f} s later",
}

Check: TypeAlias = Callable[[Book, Uptime], list[Broken]]


def check(book: Book, uptime: Uptime, after_s: float = AFTER_S) -> list[Broken]:
    """Every broken promise, empty when all held. Attempts may begin `after_s` behind an acceptance."""
    return [*(broken for one in CHECKS for broken in one(book, uptime)), *_after(book, uptime, after_s)]


def lateness_s(book: Book, uptime: Uptime) -> list[float]:
    """How late every step that followed another one was, in working time; for the figures of a run."""
    return [late_s for consult in book.told for _, late_s in _lates(book, uptime, consult)]


def after_s(book: Book, uptime: Uptime) -> list[float]:
    """How long after acceptance the attempts that came after it began, in the running time of their nodes."""
    return [late_s for _, late_s in _afters(book, uptime)]


def _afters(book: Book, uptime: Uptime) -> list[tuple[Sight, float]]:
    owner = {page: consult for page, consult, _ in book.owners()}
    found: list[tuple[Sight, float]] = []
    for sight in book.sights:
        decided_s = book.decided.get(owner.get(sight.page, b""))
        if sight.way != "socket" and decided_s is not None and sight.at_s > decided_s:
            frozen_s = uptime.down_s(sight.node, decided_s, sight.at_s) if sight.node else 0.0
            found.append((sight, sight.at_s - decided_s - frozen_s))
    return found


def _ends(book: Book, uptime: Uptime) -> list[Broken]:
    del uptime
    broken: list[Broken] = []
    for consult in book.asked:
        told = book.told.get(consult)
        if told is None:
            broken.append(Broken(ENDS, f"{_name(consult)} was confirmed, and is nowhere"))
        elif told.state is ConsultState.EXHAUSTED:
            if not book.alarms.get(consult):
                broken.append(Broken(ENDS, f"{_name(consult)} is exhausted, and no supervisor was alarmed"))
        elif told.state not in OVER:
            broken.append(Broken(ENDS, f"{_name(consult)} is {told.state.value} at the end"))
        elif told.accepted_by is None and told.state is not ConsultState.CANCELLED:
            broken.append(Broken(ENDS, f"{_name(consult)} is {told.state.value}, and nobody accepted"))
    return broken


def _alarmed(book: Book, uptime: Uptime) -> list[Broken]:
    """Soon after the ladder's end, and again until it is taken or somebody accepts."""
    broken: list[Broken] = []
    for consult, told in book.told.items():
        last_s = told.first("exhausted")
        if last_s is None:
            continue
        until_s = min(
            [
                book.over_s(consult),
                *(d.called_s for d in book.deeds if d.kind == "take" and d.consult == consult),
            ]
        )
        allowed_s = LATE_S
        for at_s in [*sorted(book.alarms.get(consult, [])), until_s]:
            silent_s = uptime.worked_s(last_s, min(at_s, until_s))
            if silent_s > allowed_s:
                broken.append(Broken(ALARMED, f"{_name(consult)}: no alarm for {silent_s:.1f} s"))
            last_s, allowed_s = at_s, ALARM_S + LATE_S
    return broken


def _one_page(book: Book, uptime: Uptime) -> list[Broken]:
    """The ladders of these runs name a member in one step alone, so that a member stands for the step."""
    del uptime
    broken: list[Broken] = []
    pages: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    owners: dict[bytes, set[tuple[bytes, bytes]]] = defaultdict(set)
    for page, consult, member in book.owners():
        pages[consult, member].add(page)
        owners[page].add((consult, member))
    for (consult, member), ids in pages.items():
        if len(ids) > 1:
            broken.append(Broken(ONE_PAGE, f"{_name(consult)}: {_name(member)} has {len(ids)} page ids"))
    for page, of in owners.items():
        if len(of) > 1:
            broken.append(Broken(ONE_PAGE, f"page {_name(page)} stands for {len(of)}"))
    for sight in book.sights:
        of = owners.get(sight.page, set())
        if not of:
            broken.append(
                Broken(ONE_PAGE, f"a {sight.way} brought page {_name(sight.page)}, which is nobody's")
            )
        elif sight.member is not None and sight.member not in {member for _, member in of}:
            broken.append(Broken(ONE_PAGE, f"a {sight.way} brought {_name(sight.member)} another's page"))
    return broken


def _early(book: Book, uptime: Uptime) -> list[Broken]:
    del uptime
    broken: list[Broken] = []
    begun = {consult: _begun(book, consult) for consult in book.told}
    for consult, times in begun.items():
        name, asked = _name(consult), book.asked[consult]
        if times and times[0] < asked.asked_s - ROUNDING_S:
            broken.append(Broken(EARLY, f"{name}: began before it was asked for"))
        for step, following_s in _next_steps(book, consult):
            due_s = _due_s(book, consult, step, by_call=True)
            if following_s < due_s - ROUNDING_S:
                broken.append(Broken(EARLY, f"{name}: step {step} ended {due_s - following_s:.2f} s early"))
    steps = {
        (consult, member): step
        for consult, told in book.told.items()
        for step in range(len(book.asked[consult].rungs))
        for member in told.paged(step)
    }
    owner = {page: (consult, member) for page, consult, member in book.owners()}
    for sight in book.sights:
        of = owner.get(sight.page)
        if of is None or of not in steps:
            continue
        step = steps[of]
        began_s = begun[of[0]].get(step)
        if began_s is not None and sight.at_s < began_s - ROUNDING_S:
            early_s = began_s - sight.at_s
            broken.append(
                Broken(EARLY, f"{_name(of[0])}: {sight.way} of step {step} came {early_s:.2f} s early")
            )
    return broken


def _late(book: Book, uptime: Uptime) -> list[Broken]:
    """Steps follow in time, and every page comes to some door in time."""
    broken: list[Broken] = []
    seen: dict[tuple[bytes, bytes], float] = {}
    owner = {page: (consult, member) for page, consult, member in book.owners()}
    for sight in book.sights:
        of = owner.get(sight.page)
        if of is not None:
            seen[of] = min(sight.at_s, seen.get(of, sight.at_s))
    for consult, told in book.told.items():
        for step, late_s in _lates(book, uptime, consult):
            if late_s > LATE_S:
                broken.append(Broken(LATE, f"{_name(consult)}: step {step} ended {late_s:.1f} s late"))
        for line in told.lines:
            if line.event != "paged" or line.member is None:
                continue
            # A step's pages are over when the next one begins.
            until_s = dict(_next_steps(book, consult)).get(line.step, book.over_s(consult))
            came_s = seen.get((consult, line.member), until_s)
            last_s = min(came_s, until_s, book.over_s(consult))
            waited_s = uptime.worked_s(line.at_s, last_s)
            # A node that falls with a page in its hands keeps it for its lease, each time.
            if waited_s > LATE_S + LEASE_S * uptime.falls(line.at_s, last_s):
                broken.append(
                    Broken(
                        LATE,
                        f"{_name(consult)}: {_name(line.member)}'s page came nowhere for {waited_s:.1f} s",
                    )
                )
    return broken


def _after(book: Book, uptime: Uptime, allowed_s: float) -> list[Broken]:
    """A node that was frozen in mid-attempt may finish it when it wakes: its own running time counts."""
    broken = [
        Broken(
            AFTER, f"a {sight.way} of {sight.node or 'nobody known'} began {late_s:.2f} s after acceptance"
        )
        for sight, late_s in _afters(book, uptime)
        if late_s > allowed_s
    ]
    for consult, times in ((consult, _begun(book, consult)) for consult in book.told):
        for step, began_s in times.items():
            if began_s > book.over_s(consult) + ROUNDING_S:
                broken.append(Broken(AFTER, f"{_name(consult)}: step {step} began after it was over"))
    return broken


CHECKS: Final[tuple[Check, ...]] = (_ends, _alarmed, _one_page, _early, _late)


def _begun(book: Book, consult: bytes) -> dict[int, float]:
    told, rungs = book.told[consult], book.asked[consult].rungs
    found = ((step, told.begun_s(step)) for step in range(len(rungs)))
    return {step: at_s for step, at_s in found if at_s is not None}


def _next_steps(book: Book, consult: bytes) -> list[tuple[int, float]]:
    """Each step that another one, or the ladder's end, followed; and when that was."""
    told, times = book.told[consult], _begun(book, consult)
    last = len(book.asked[consult].rungs) - 1
    ends = {step - 1: at_s for step, at_s in times.items() if step > 0}
    exhausted_s = told.first("exhausted")
    if exhausted_s is not None and last in times:
        ends[last] = exhausted_s
    return [(step, ends[step]) for step in sorted(times) if step in ends]


def _lates(book: Book, uptime: Uptime, consult: bytes) -> list[tuple[int, float]]:
    """How late each step ended, in working time; one that has not ended is compared with when it was over, or now."""
    ends = dict(_next_steps(book, consult))
    found: list[tuple[int, float]] = []
    for step in _begun(book, consult):
        due_s, end_s = _due_s(book, consult, step, by_call=False), ends.get(step, book.over_s(consult))
        found.append((step, uptime.worked_s(_renewed_s(book, uptime, consult, step, due_s), end_s)))
    return found


def _renewed_s(book: Book, uptime: Uptime, consult: bytes, step: int, due_s: float) -> float:
    """When a step was due that got its time anew: because nothing could run when it should have ended (core/consult.py,
    "Late"), so that its time had passed on paper alone. Elsewhere the moment itself."""
    if uptime.worked_s(due_s - ROUNDING_S, due_s + MISSED_S):
        return due_s
    told, rungs = book.told[consult], book.asked[consult].rungs
    again = [
        line.at_s for line in told.lines if line.event == "paged" and line.step == step and line.at_s > due_s
    ]
    return min(again, default=due_s) + (rungs[step].delay_s if again else 0.0)


def _due_s(book: Book, consult: bytes, step: int, *, by_call: bool) -> float:
    """When a step was to end: by its delay, or when all whom it paged had declined or the requester went on by hand.

    A deed counts from its call on for what may happen, from its answer on for what must have (`by_call` false).
    """
    told = book.told[consult]
    began_s = _begun(book, consult)[step]
    moments = [began_s + book.asked[consult].rungs[step].lasts_s]
    deeds = [did for did in book.deeds if did.consult == consult]
    declined: dict[bytes, float] = {}
    for did in deeds:
        if did.kind == "decline":
            at_s = did.called_s if by_call else did.answered_s
            declined[did.member] = min(at_s, declined.get(did.member, at_s))
    paged = told.paged(step)
    if paged <= declined.keys():
        moments.append(max([began_s, *(declined[member] for member in paged)]))
    # A line alone is no excuse: somebody must have asked for it.
    asked_s = min((did.called_s for did in deeds if did.kind == "escalate"), default=float("inf"))
    moments += [
        line.at_s
        for line in told.lines
        if line.event == "escalated" and line.step == step and line.at_s >= asked_s - ROUNDING_S
    ]
    return min(moments)


def _name(id_: bytes) -> str:
    return id_.hex()[:8]
