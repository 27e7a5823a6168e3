"""consult: dozens of consults climb their ladders while nodes are killed and frozen and the database restarts.

On two nodes with PostgreSQL and Redis, and on the embedded default with one node. Some psychiatrists answer, some decline,
some never do; pushes fail and hang; calls fail. Promises: G5 and G6 (docs/guarantees.md), by what clients, the push service
and the gateway saw; then twenty accept at once, over and over, with kills: exactly one wins, and the history is linearizable.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from leeside_protocol import oncall as o
from leeside_protocol.limits import STEP_DELAY_S
from tests.faults import consult_checks as checks
from tests.faults.accepts import LINEAR, SAME, Moment, Race, judge, race
from tests.faults.checks import no_traceback
from tests.faults.consult_book import Book, Rung
from tests.faults.doors import Doors, open_doors
from tests.faults.doorway import Moods
from tests.faults.history import Broken
from tests.faults.installation import Installation, one_node, two_nodes, workplace
from tests.faults.node import NodeSettings, PagingBy
from tests.faults.outcome import SHOWN_BREAKS, Findings, percentile, seconds
from tests.faults.people import Answer, Play, Scene
from tests.faults.staff import Crew, Person, Staff, open_staff
from tests.faults.trouble import Made, Trouble, all_up, kill, trouble
from tests.faults.uptime import Uptime
from tests.support.services import HOST

PUSHES: Final = Moods(failing=0.3, hanging=0.1)
CALLS: Final = Moods(failing=0.1)
RUNGS: Final = (Rung(5.0), Rung(5.0, 1), Rung(float(STEP_DELAY_S)))
"""The shortest delay that there may be, so that a run can be short; the second step rings twice."""
SLOW_RUNGS: Final = (Rung(20.0), *RUNGS[1:])
"""In a full run some climb slowly: longer than a step may be late."""
EACH: Final = 3
"""Psychiatrists on a written step."""
RACERS: Final = 20
AT_ONCE_S: Final = 0.005
A_DEVICE: Final = 3
"""Consults that one device may ask for before a supervisor must release them."""
SHORT_AFTER_S: Final = 3.0
"""A short run goes on beside much else, which may keep a node from the core between its last look and its call."""
QUIET_S: Final = 3.0
"""Behind the last consult: what should not come any more would come now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. `spread_s`: the time over which consults are asked for; `last_s`: until all are settled."""

    consults: int
    spread_s: float
    last_s: float
    restarts_s: tuple[float, ...]
    long_s: float
    embedded: int
    races: int


PLANS: Final = {
    "short": Plan(50, 16.0, 60.0, (8.0,), 0.0, 12, 20),
    "full": Plan(50, 30.0, 300.0, (10.0, 25.0, 60.0), 12.0, 20, 200),
}


async def run(findings: Findings) -> None:
    """See the module. Both installations at the same time: people mostly wait."""
    plan = PLANS[findings.mode]
    async with asyncio.TaskGroup() as group:
        group.create_task(_two_nodes(findings, plan))
        group.create_task(_embedded(findings, plan))


async def _two_nodes(findings: Findings, plan: Plan) -> None:
    chance = random.Random()
    async with (
        workplace() as folder,
        open_doors(chance.getrandbits(32), push=PUSHES, gateway=CALLS) as doors,
        two_nodes(folder, settings=_reach(doors)) as site,
    ):
        crew = Crew(_devices(plan.consults + plan.races), RACERS)
        async with open_staff(site, doors, crew) as staff:
            peril = Trouble(chance, (1.0, 3.0), long_s=plan.long_s, restarts_s=plan.restarts_s)
            await _climb(findings, "two nodes", site, doors, staff, plan.consults, plan, peril)
            await _accept(findings, plan, site, doors, staff, chance)
        no_traceback(findings, site)


async def _embedded(findings: Findings, plan: Plan) -> None:
    chance = random.Random()
    async with (
        workplace() as folder,
        open_doors(chance.getrandbits(32), push=PUSHES, gateway=CALLS) as doors,
        one_node(folder, _reach(doors)) as site,
    ):
        async with open_staff(site, doors, Crew(_devices(plan.embedded), 2 * EACH)) as staff:
            peril = Trouble(chance, (1.0, 3.0), frozen_share=0.3)
            await _climb(findings, "embedded", site, doors, staff, plan.embedded, plan, peril)
        no_traceback(findings, site)


def _reach(doors: Doors) -> NodeSettings:
    return NodeSettings(paging_by=PagingBy(doors.gateway_url, (HOST,)))


def _devices(consults: int) -> int:
    """How many responders it takes to ask for so many consults."""
    return -(-consults // A_DEVICE)


# ---- climbing


async def _climb(
    findings: Findings,
    where: str,
    site: Installation,
    doors: Doors,
    staff: Staff,
    count: int,
    plan: Plan,
    peril: Trouble,
) -> None:
    book, uptime, made = Book(), Uptime(), Made()
    all_up(site, uptime)
    scene = Scene(site, staff, doors, book, peril.chance)
    async with scene.playing() as crowd:
        cast = [await _cast(staff, number, peril.chance, full=findings.full) for number in range(count)]
        async with trouble(site, uptime, peril, made), asyncio.TaskGroup() as group:
            for number, part in enumerate(cast):
                group.create_task(_ask(scene, part, number * plan.spread_s / count))
            began_s = time.monotonic()
            while len(book.asked) < count or not all(_done(scene, consult) for consult in book.asked):
                crowd.check()
                if time.monotonic() - began_s > plan.last_s:
                    # The checker says which, and what became of it.
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(QUIET_S)
        await crowd.all_live()
        await scene.tell()
    findings.injected += made.count
    _judge(findings, where, scene, uptime, made)
    findings.minimum(f"{where}: consults", len(book.asked), count)
    findings.minimum(
        f"{where}: attempts that failed or hung", doors.fates["failed"] + doors.fates["hung"], count // 4
    )
    findings.minimum(f"{where}: kills and freezes", made.killed + made.frozen, 4)
    findings.minimum(f"{where}: restarts of the database", made.restarted, len(peril.restarts_s[:1]))


async def _ask(scene: Scene, part: Part, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await scene.ask(part.by, part.wanted, part.phone, part.rungs, part.play)


def _done(scene: Scene, consult: bytes) -> bool:
    """Accepted, over, or alarmed; and taken where it is to be, after its alarm was heard three times."""
    taken = any(did.kind == "take" and did.consult == consult for did in scene.book.deeds)
    to_be_taken = scene.plays[consult].take_s and consult not in scene.book.decided
    return scene.settled(consult) and (not to_be_taken or taken)


@dataclass(frozen=True, slots=True)
class Part:
    """One consult: who asks for it, with what, the number of its phone tree, its ladder, and how it goes."""

    by: Person
    wanted: o.ConsultPost
    phone: str
    rungs: tuple[Rung, ...]
    play: Play


async def _cast(staff: Staff, number: int, chance: random.Random, *, full: bool) -> Part:
    asked = chance.sample(staff.psychiatrists, 2 * EACH)
    first, second, last = asked[:EACH], asked[EACH:], staff.supervisor
    phone = staff.new_number()
    rungs = SLOW_RUNGS if full and number % 3 == 2 else RUNGS
    steps = [
        o.LadderStep(
            members=tuple(who.member.hex() for who in people), delay_s=int(rung.delay_s), repeats=rung.repeats
        )
        for people, rung in zip((first, second), rungs, strict=False)
    ]
    by = staff.responders[number // A_DEVICE]
    wanted = staff.wanted(by, await staff.ladder(steps, phone), (*asked, last))
    # Who is told while nothing can be asked may ask when it rings no more: then it climbs to the supervisor, who comes.
    comes = _all([last], "accept")
    plays = [
        Play("somebody of the first step accepts", _all(first[:1], "accept") | comes),
        Play("all of the first step accept at once", _all(first, "accept") | comes, think_s=(0.0, 0.1)),
        Play("the first step declines", _all(first, "decline") | _all(second, "accept") | comes),
        Play("the second step accepts", _all(second[1:], "accept") | comes),
        Play("the second step accepts when it rings again", _all(second[:1], "accept") | comes, (5.5, 7.0)),
        Play("a supervisor comes", comes),
        Play("nobody comes, the supervisor declines", _all([last], "decline")),
        Play("the requester goes on by hand", _all(second, "accept") | comes, escalate_s=1.5),
        Play("it is cancelled", {}, cancel_s=3.0),
    ]
    if full:
        plays.append(Play("nobody answers at all", {}, take_s=70.0))
    return Part(by, wanted, phone, rungs, plays[number % len(plays)])


def _all(people: Sequence[Person], answer: Answer) -> dict[bytes, Answer]:
    return {who.member: answer for who in people}


def _judge(findings: Findings, where: str, scene: Scene, uptime: Uptime, made: Made) -> None:
    book, doors = scene.book, scene.doors
    after_s = checks.AFTER_S if findings.full else SHORT_AFTER_S
    broken = checks.check(book, uptime, after_s)
    states = Counter(told.state.value for told in book.told.values())
    ways = Counter[str](sight.way for sight in book.sights)
    lates, afters = checks.lateness_s(book, uptime), checks.after_s(book, uptime)
    first = _first_rings(book)
    figures = {
        checks.ENDS: _listed(states),
        checks.ALARMED: f"{sum(map(len, book.alarms.values()))} alarms of {len(book.alarms)} consults",
        checks.ONE_PAGE: f"{len({sight.page for sight in book.sights})} pages seen by {_listed(ways)}",
        checks.EARLY: f"{len(lates)} steps begun; nodes killed {made.killed}, frozen {made.frozen} times, "
        f"database restarted {made.restarted} times",
        checks.LATE: f"p50 {seconds(percentile(lates, 0.5))}, latest {seconds(max(lates, default=0.0))} of working time; "
        f"first ring {seconds(percentile(first, 0.5))} after the request stood, p95 {seconds(percentile(first, 0.95))}",
        checks.AFTER: f"{len(afters)} attempts came after it, the last by {seconds(max(afters, default=0.0))}"
        f"{'' if findings.full else f' (1 s is judged by --full, {after_s:.0f} s here)'}",
    }
    for promise, figure in figures.items():
        _promise(findings, f"{where}: {promise} {checks.PROMISES[promise]}", promise, broken, figure)
    findings.judge(
        f"{where}: no way is told more than that a consult is waiting",
        not doors.strange,
        f"{_listed(doors.fates)}; strange: {doors.strange[:3] or 'none'}",
    )
    most = max((len(keys) for keys in doors.keys.values()), default=0)
    findings.judge(
        f"{where}: a retry has the idempotency key of the attempt before",
        # A turn that nobody was there to end rings once more.
        0 < most <= 2 + max(rung.repeats for rung in RUNGS),
        f"{len(doors.keys)} messages and calls, {most} keys at most for one page and way",
    )


def _first_rings(book: Book) -> list[float]:
    """From each request's confirmation to the first sign of it at anybody's door, which may come before."""
    consult_of = {page: consult for page, consult, _ in book.owners()}
    first: dict[bytes, float] = {}
    for sight in book.sights:
        consult = consult_of.get(sight.page, b"")
        first[consult] = min(sight.at_s, first.get(consult, sight.at_s))
    return [
        max(0.0, first[consult] - asked.confirmed_s)
        for consult, asked in book.asked.items()
        if consult in first
    ]


# ---- accepting


async def _accept(
    findings: Findings, plan: Plan, site: Installation, doors: Doors, staff: Staff, chance: random.Random
) -> None:
    """Races on consults of their own, one after the other."""
    uptime, made, book = Uptime(), Made(), Book()
    scene = Scene(site, staff, doors, book, chance)
    racers = staff.psychiatrists
    step = o.LadderStep(members=tuple(who.member.hex() for who in racers), delay_s=STEP_DELAY_S)
    ladder = await staff.ladder([step], staff.new_number())
    races: list[Race] = []
    doors.on_knock = lambda knock: None
    moments = itertools.cycle(Moment)
    for number in range(plan.races):
        by = staff.responders[-1 - number // A_DEVICE]
        wanted = staff.wanted(by, ladder, (*racers, staff.supervisor))
        await scene.insist(partial(by.api.create_consult, wanted))
        people = chance.sample(racers, len(racers))
        if number % 4 == 1:
            harm = partial(kill, chance.choice(site.nodes), uptime, made)
            races.append(await race(site, wanted.consult, people, chance, harm, next(moments)))
        else:
            races.append(await race(site, wanted.consult, people, chance))
        await scene.act(by, wanted.consult, "cancel")
    findings.injected += made.killed
    broken = [found for one in races for found in judge(one)]
    operations = sum(len(one.history) for one in races)
    at_once = sum(one.spread_s <= AT_ONCE_S for one in races)
    spread = seconds(percentile([one.spread_s for one in races], 0.5))
    unanswered = sum(one.unanswered for one in races)
    _promise(
        findings,
        f"{LINEAR}: {RACERS} at once over two nodes, one winner",
        LINEAR,
        broken,
        f"{len(races)} races, {operations} operations, {unanswered} without an answer, {made.killed} kills",
    )
    _promise(findings, SAME, SAME, broken, f"{len(races)} winners")
    findings.minimum(
        f"races whose requests left within {seconds(AT_ONCE_S)} (median {spread})", at_once, plan.races // 2
    )
    findings.minimum("claims that a kill left without an answer", unanswered, 1)


def _promise(findings: Findings, words: str, promise: str, broken: Sequence[Broken], figure: str) -> None:
    found = [one.what for one in broken if one.promise == promise]
    told = "; ".join(found[:SHOWN_BREAKS])
    findings.judge(words, not found, f"{len(found)} times: {told}" if found else figure)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
