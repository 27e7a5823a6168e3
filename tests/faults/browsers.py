"""browsers: calls between real browsers, our own client in each, while paths die, packets are lost and the bridge's worker is
killed.

Promises: G8 (docs/guarantees.md). Two people of an accepted consult are in its call; between their browsers and the bridge
stands a relay (tests/support/impair.py) at an address of its own. What a fault costs is read from the browsers' own counts of
decoded pictures (webrtc-stats `framesDecoded`, looked at every 40 ms): how long until one came by a way that was not there
before. Then pictures of two sizes, 5 % of all packets lost each way, and five in one call: twenty pictures, twenty voices.

Every part has a browser, people and a call of its own: what one waits for in vain costs the others nothing. A figure says how
busy the machine was with all of it; what a machine without a core to spare makes of a call is no promise, and no excuse.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, ViewportSize

from deploy.devtool.web import DIST
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Role
from tests.faults.browser_checks import LOUD, Counts, NewWay, Watched, alive, directions, watched
from tests.faults.checks import no_traceback
from tests.faults.installation import Installation, one_node, workplace
from tests.faults.machine import Busy, all_cores, pin
from tests.faults.node import NodeSettings, VideoBy
from tests.faults.outcome import Findings, Impossible, percentile, seconds
from tests.faults.video import worker_of
from tests.support.call_browser import CAMERA, WATCHING, Media, call_browser_running, watching_script
from tests.support.impair import Relay, impaired
from tests.support.services import HOST, free_ports
from tests.support.town import Town, open_town
from tests.web.calling import Caller, Party

FRONT: Final = "127.0.0.2"
"""Where browsers reach the bridge: the relay stands there, at the bridge's own port."""
PATH_S: Final = 2.5
KILL_S: Final = 1.5
AGAIN_S: Final = 5.0
"""A worker that is killed as soon as everybody is back is replaced more slowly, and who asked it too early asks again."""
JOIN_S: Final = 1.0
TRIP_S: Final = 0.04
"""Media take so long each way while people join."""
LOOK_S: Final = 0.04
STEADY_S: Final = 32.0
"""A worker that ends sooner than 30 s after its start is replaced more slowly each time."""
LOSS: Final = 0.05
BACK_S: Final = 60.0
"""Who is not back by then is lost."""
PART_S: Final = 600.0
"""Longer takes only a part that hangs."""
LARGE: Final = CAMERA["width"]
SMALL: Final = LARGE // 2
WIDE: Final = ViewportSize(width=1440, height=900)
NARROW: Final = ViewportSize(width=360, height=320)
FIVE_CAMERA: Final = {"width": 320, "height": 180, "rate": 10}
"""Five browsers on one machine encode five pictures and decode twenty: small ones, so that it is not the machine that is measured."""
FIVE_FRAMES: Final = 20
FIVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds`, and what each has of paths and joins. In each a worker is killed that has run for long; where `again`, its
    successor at once as well. `pause_s`: between the last kill of a round and the next one's first."""

    rounds: int
    again: bool
    paths: int
    joins: int
    pause_s: float
    lossy_s: float


PLANS: Final = {"short": Plan(1, False, 1, 1, 0.0, 4.0), "full": Plan(5, True, 2, 2, STEADY_S, 12.0)}


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is: a node with a bridge, the relay before it, and an agency whose people have browsers."""

    site: Installation
    relay: Relay
    browser: Browser
    town: Town


@dataclass(slots=True)
class Figures:
    """Seconds, by what they were of."""

    paths: list[float] = field(default_factory=list[float])
    kills: list[float] = field(default_factory=list[float])
    again: list[float] = field(default_factory=list[float])
    joins: list[float] = field(default_factory=list[float])


async def run(findings: Findings) -> None:
    """See the module."""
    if not (DIST / "index.html").is_file():
        raise Impossible("the web client is not built: ./dev web")
    pin(all_cores())
    port = free_ports(1, socket.SOCK_DGRAM)
    settings = NodeSettings(video_by=VideoBy(port=port, public=(FRONT,)))
    async with workplace() as folder, one_node(folder, settings) as site:
        for name, part in PARTS.items():
            await _carry_out(findings, name, part, site, folder)
        no_traceback(findings, site)


Part = Callable[[Findings, Plan, Scene], Awaitable[None]]


async def _carry_out(findings: Findings, name: str, part: Part, site: Installation, folder: Path) -> None:
    """A part with all that it needs. Whatever ends it before its end is told, and costs the other parts nothing."""
    print(f"{findings.name}: {name}", file=sys.stderr, flush=True)
    port = site.first.settings.video_by.port if site.first.settings.video_by else 0
    stopped = ""
    try:
        async with (
            asyncio.timeout(PART_S),
            call_browser_running() as browser,
            impaired((HOST, port), FRONT, port=port) as relay,
            open_town(site.first.url, site.first.codes, folder / part.__name__) as town,
        ):
            await part(findings, PLANS[findings.mode], Scene(site, relay, browser, town))
    except Exception as error:  # noqa: BLE001 - a browser that died, a page that complained, an API that refused
        traceback.print_exc()
        stopped = f"{type(error).__name__}: {error}".splitlines()[0]
    findings.judge(f"{name}: comes to its end", not stopped, stopped or "it did")


# ---- two


async def _broken(findings: Findings, plan: Plan, scene: Scene) -> None:
    figures, busy = Figures(), Busy()
    try:
        async with _two(scene) as people:
            busy = Busy()
            for _ in range(plan.rounds):
                await _round(findings, plan, scene, people, figures)
    finally:
        judge_figures(findings, plan, figures, busy)


@asynccontextmanager
async def _two(scene: Scene) -> AsyncGenerator[list[Caller]]:
    """The responder and the psychiatrist in a call, who see each other."""
    async with called(scene, mates=0) as (consult, people):
        await people[1].screen.page.set_viewport_size(WIDE)
        for one in people:
            await one.joins(consult)
        for one in people:
            await one.media.decodes()
        yield people


async def _round(
    findings: Findings, plan: Plan, scene: Scene, people: list[Caller], figures: Figures
) -> None:
    relay = scene.relay
    loop = asyncio.get_running_loop()
    killed_s = loop.time()
    for kills in (figures.kills, figures.again)[: 1 + plan.again]:
        pid = await worker_of(scene.site.first)
        killed_s = loop.time()
        kills.extend(await come_back(people, functools.partial(os.kill, pid, signal.SIGKILL)))
        findings.injected += 1
        await asyncio.sleep(2)
    for _ in range(plan.paths):
        figures.paths += await come_back(people, relay.lose_ways)
        findings.injected += 1
        await asyncio.sleep(1)
    relay.up.delay_s = relay.down.delay_s = TRIP_S
    for _ in range(plan.joins):
        figures.joins.append(await join_anew(people[1]))
        await asyncio.sleep(1)
    relay.up.delay_s = relay.down.delay_s = 0.0
    await asyncio.sleep(max(0.0, killed_s + plan.pause_s - loop.time()))


def judge_figures(findings: Findings, plan: Plan, figures: Figures, busy: Busy) -> None:
    """Also of rounds that ended too early: then there were too few, and that is told too."""
    used = f"; {busy} all the time"
    for promise, values, limit_s, least in (
        ("G8 pictures after every path died (p95)", figures.paths, PATH_S, 2 * plan.rounds * plan.paths),
        ("G8 pictures after the worker was killed (p95)", figures.kills, KILL_S, 2 * plan.rounds),
        ("G8 pictures after its successor was killed at once (p95)", figures.again, AGAIN_S, 2 * plan.rounds * plan.again),
        ("a first picture after a join, 80 ms there and back (p95)", figures.joins, JOIN_S, plan.rounds * plan.joins),
    ):  # fmt: skip
        if not least:
            continue
        told = f"median {seconds(percentile(values, 0.5))}, slowest {seconds(max(values, default=0.0))} of {len(values)}{used}"
        findings.timed(promise, percentile(values, 0.95), limit_s, told)
        findings.minimum(promise, len(values), least)
    everything = [*figures.paths, *figures.kills, *figures.again, *figures.joins]
    lost = sum(value >= BACK_S for value in everything)
    findings.judge(
        "G8 everybody sees the others again", not lost, f"{lost} of {len(everything)} times in vain"
    )


async def _sizes(findings: Findings, plan: Plan, scene: Scene) -> None:
    """A picture comes in the size in which it is shown."""
    del plan
    loop = asyncio.get_running_loop()
    took: list[str] = []
    holds = False
    try:
        async with _two(scene) as (_, lee):
            for size, columns in ((WIDE, LARGE), (NARROW, SMALL), (WIDE, LARGE)):
                began_s = loop.time()
                await lee.screen.page.set_viewport_size(size)
                await lee.media.shows_columns(columns)
                took.append(f"{columns} columns after {seconds(loop.time() - began_s)}")
        holds = True
    finally:
        told = ", ".join(took) or "none"
        findings.judge("a picture comes in the size in which it is shown", holds, told)


async def _lossy(findings: Findings, plan: Plan, scene: Scene) -> None:
    """Looked at without loss as well: what the machine itself costs is in both."""
    relay = scene.relay
    async with _two(scene) as people:
        # The estimate of the link has grown, and the large picture comes.
        await people[1].media.shows_columns(LARGE)
        without, idle = await _looked_at(people, plan.lossy_s)
        relay.up.loss = relay.down.loss = LOSS
        lost_before = relay.upward.lost + relay.downward.lost
        await asyncio.sleep(3)
        found, busy = await _looked_at(people, plan.lossy_s)
        lost = relay.upward.lost + relay.downward.lost - lost_before
        alarmed = sum([await one.alarmed() for one in people])
    findings.injected += lost
    findings.judge(
        "5 % loss each way: nobody is told that something does not hold",
        not alarmed,
        f"{alarmed} of {len(people)} were",
    )
    figure = f"{found}; {busy}; the worse of both, {lost} packets lost. Without loss: {without}; {idle}"
    holds = found.holds or (not findings.full and found.pictures > 0)
    findings.judge("5 % loss each way: pictures go on, sound is whole", holds, figure)
    findings.minimum("packets lost", lost, 50)


async def _looked_at(people: list[Caller], for_s: float) -> tuple[Watched, str]:
    busy = Busy()
    before = await _counts(people)
    await asyncio.sleep(for_s)
    return watched(before, await _counts(people), for_s), str(busy)


# ---- five


async def _five(findings: Findings, plan: Plan, scene: Scene) -> None:
    """With pictures as small as phones on a bad link send: see `FIVE_CAMERA`."""
    del plan
    async with called(scene, mates=3, watch=watching_script(**FIVE_CAMERA)) as (consult, people):
        for one in people:
            await one.joins(consult)
        began = await _counts(people)
        took_s = await _all_decode(people, began, others := len(people) - 1)
        busy, before = Busy(), await _counts(people)
        await asyncio.sleep(FIVE_S)
        after, used = await _counts(people), str(busy)
    ways = len(people) * others
    size = "{width}x{height}, {rate} a second".format(**FIVE_CAMERA)
    pictures = directions("decoded", began, after)
    rates = [count / FIVE_S for count in directions("decoded", before, after)]
    sound = directions("loud", before, after)
    seen, moving, heard = alive(pictures, FIVE_FRAMES), alive(rates, 0), alive(sound, LOUD * FIVE_S)
    within = f"within {seconds(took_s)}" if took_s < BACK_S else f"not within {seconds(BACK_S)}"
    findings.judge(
        "five see each other",
        seen == moving == ways and took_s < BACK_S,
        f"{seen} of {ways} pictures with more than {FIVE_FRAMES} frames decoded, all {within} of the last join; "
        f"{moving} move, {min(rates):.1f} to {max(rates):.1f} a second; cameras of {size}; {used}",
    )
    findings.judge(
        "five hear each other",
        heard == ways,
        f"{heard} of {ways} voices above silence, the quietest with an energy of {min(sound) / FIVE_S:.6f} a second",
    )


async def _all_decode(people: list[Caller], began: list[Counts], others: int) -> float:
    """Until everybody has decoded more than `FIVE_FRAMES` of everybody else since `began`; the seconds, or `BACK_S` in vain."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while (took_s := loop.time() - began_s) < BACK_S:
        pictures = directions("decoded", began, await _counts(people))
        if alive(pictures, FIVE_FRAMES) == len(people) * others:
            return took_s
        await asyncio.sleep(LOOK_S)
    return BACK_S


async def _counts(people: list[Caller]) -> list[Counts]:
    return await asyncio.gather(*(one.media.now() for one in people))


PARTS: Final[dict[str, Part]] = {
    "paths that die, workers that are killed, joins": _broken,
    "sizes": _sizes,
    "loss": _lossy,
    "five": _five,
}


# ---- people


@asynccontextmanager
async def called(
    scene: Scene, *, mates: int, watch: str = WATCHING
) -> AsyncGenerator[tuple[str, list[Caller]]]:
    """An accepted consult with a consent in force, and the browsers of who may call: the responder, the psychiatrist, the mates."""
    town, url = scene.town, scene.site.first.url
    party = await Party.of(town, mates)
    async with AsyncExitStack() as stack:

        async def enter(role: Role, member: MemberId) -> Caller:
            return await stack.enter_async_context(
                Caller.opened(scene.browser, url, town, role, member, watch=watch)
            )

        rosa = await enter(Role.RESPONDER, party.rosa)
        lee = await enter(Role.PSYCHIATRIST, party.lee)
        others = [await enter(Role.RESPONDER, mate) for mate in party.mates]
        consult, _ = await party.agrees(rosa.engine, lee.engine, *(mate.engine for mate in others))
        yield consult, [rosa, lee, *others]


async def come_back(people: list[Caller], break_it: Callable[[], object]) -> list[float]:
    """Break something; for each of them: how long until a picture came by a new way, or `BACK_S` in vain."""
    ways = [NewWay(each) for each in await _counts(people)]
    began_s = asyncio.get_running_loop().time()
    break_it()
    return await asyncio.gather(
        *(_brought(one.media, way, began_s) for one, way in zip(people, ways, strict=True))
    )


async def _brought(media: Media, way: NewWay, began_s: float) -> float:
    loop = asyncio.get_running_loop()
    while (took_s := loop.time() - began_s) < BACK_S:
        if way.brings(await media.now()):
            return loop.time() - began_s
        await asyncio.sleep(LOOK_S)
    return min(took_s, BACK_S)


async def join_anew(one: Caller) -> float:
    """Leave, come back, and see: from the tap to the first picture, or `BACK_S` in vain."""
    await one.leaves()
    way = NewWay(await one.media.now())
    began_s = asyncio.get_running_loop().time()
    await one.taps("why.again")
    return await _brought(one.media, way, began_s)
