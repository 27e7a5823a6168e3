"""browsers: calls between real browsers, our own client in each, while paths die, packets are lost and the bridge's worker is
killed.

Promises: G8 (docs/guarantees.md). Two people of an accepted consult are in its call; between their browsers and the bridge
stands a relay (tests/support/impair.py) at an address of its own. What a fault costs is read from the browsers' own counts of
decoded pictures (webrtc-stats `framesDecoded`, looked at every 40 ms). Then five are in one call: twenty pictures.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Browser, ViewportSize
from playwright.async_api import Error as PageError

from deploy.devtool.web import DIST
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Role
from tests.faults.checks import no_traceback
from tests.faults.installation import Installation, one_node, workplace
from tests.faults.load import LoadFailed
from tests.faults.machine import all_cores, pin
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
JOIN_S: Final = 1.0
TRIP_S: Final = 0.04
"""Media take so long each way while people join."""
STILL_S: Final = 0.4
"""A picture that did not move for so long stands still: of fifteen a second no single one is missed."""
LOOK_S: Final = 0.04
STEADY_S: Final = 31.0
"""A worker that ends sooner than that after its start is replaced more slowly each time."""
LOSS: Final = 0.05
CONCEALED: Final = 0.02
FROZEN: Final = 0.05
MOVES: Final = 8.0
"""Pictures a second, of fifteen: below that nobody calls it moving."""
BACK_S: Final = 60.0
LARGE: Final = CAMERA["width"]
SMALL: Final = LARGE // 2
WIDE: Final = ViewportSize(width=1440, height=900)
NARROW: Final = ViewportSize(width=360, height=320)
FIVE: Final = watching_script(320, 180, 10)
FIVE_FRAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds`, and what each has of everything; `pause_s`: between the last kill of a round and the next one's first."""

    rounds: int
    kills: int
    paths: int
    joins: int
    pause_s: float
    lossy_s: float


PLANS: Final = {"short": Plan(1, 1, 1, 1, 0.0, 4.0), "full": Plan(5, 2, 2, 2, STEADY_S, 12.0)}


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
    joins: list[float] = field(default_factory=list[float])


async def run(findings: Findings) -> None:
    """See the module."""
    if not (DIST / "index.html").is_file():
        raise Impossible("the web client is not built: ./dev web")
    pin(all_cores())
    plan = PLANS[findings.mode]
    port = free_ports(1, socket.SOCK_DGRAM)
    settings = NodeSettings(video_by=VideoBy(port=port, public=(FRONT,)))
    async with workplace() as folder, one_node(folder, settings) as site, call_browser_running() as browser:
        for part in (_two, _five):
            async with (
                impaired((HOST, port), FRONT, port=port) as relay,
                open_town(site.first.url, site.first.codes, folder / part.__name__) as town,
            ):
                try:
                    await part(findings, plan, Scene(site, relay, browser, town))
                except (TimeoutError, PageError) as error:
                    # What one part waited for in vain must not cost the figures of the other.
                    findings.judge(f"{part.__doc__} come to their end", False, type(error).__name__)
        no_traceback(findings, site)


# ---- two


async def _two(findings: Findings, plan: Plan, scene: Scene) -> None:
    """Two in a call"""
    async with called(scene, mates=0) as (consult, people):
        lee = people[1]
        await lee.screen.page.set_viewport_size(WIDE)
        for one in people:
            await one.joins(consult)
        for one in people:
            await one.media.decodes()
        figures = Figures()
        for _ in range(plan.rounds):
            await _round(findings, plan, scene, people, figures)
        _judge(findings, plan, figures)
        await _layers(findings, lee)
        await _loss(findings, plan, scene.relay, people)


async def _round(
    findings: Findings, plan: Plan, scene: Scene, people: list[Caller], figures: Figures
) -> None:
    relay = scene.relay
    loop = asyncio.get_running_loop()
    killed_s = loop.time()
    for _ in range(plan.kills):
        pid = await worker_of(scene.site.first)
        killed_s = loop.time()
        figures.kills += await come_back(people, functools.partial(os.kill, pid, signal.SIGKILL))
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


def _judge(findings: Findings, plan: Plan, figures: Figures) -> None:
    for promise, values, limit_s, least in (
        ("G8 pictures after every path died (p95)", figures.paths, PATH_S, 2 * plan.rounds * plan.paths),
        ("G8 pictures after the worker was killed (p95)", figures.kills, KILL_S, 2 * plan.rounds * plan.kills),
        ("a first picture after a join, 80 ms there and back (p95)", figures.joins, JOIN_S, plan.rounds * plan.joins),
    ):  # fmt: skip
        told = f"median {seconds(percentile(values, 0.5))}, slowest {seconds(max(values, default=0.0))} of {len(values)}"
        findings.timed(promise, percentile(values, 0.95), limit_s, told)
        findings.minimum(promise, len(values), least)


async def _layers(findings: Findings, lee: Caller) -> None:
    """A picture comes in the size in which it is shown."""
    loop = asyncio.get_running_loop()
    took: list[str] = []
    for size, columns in ((WIDE, LARGE), (NARROW, SMALL), (WIDE, LARGE)):
        began_s = loop.time()
        await lee.screen.page.set_viewport_size(size)
        await lee.media.shows_columns(columns)
        took.append(f"{columns} columns after {seconds(loop.time() - began_s)}")
    findings.judge("a picture comes in the size in which it is shown", True, ", ".join(took))


async def _loss(findings: Findings, plan: Plan, relay: Relay, people: list[Caller]) -> None:
    relay.up.loss = relay.down.loss = LOSS
    await asyncio.sleep(3)
    before = [await one.media.now() for one in people]
    await asyncio.sleep(plan.lossy_s)
    after = [await one.media.now() for one in people]
    relay.up.loss = relay.down.loss = 0.0
    pairs = list(zip(before, after, strict=True))

    def grown(name: str) -> list[float]:
        return [b[name] - a[name] for a, b in pairs]

    frames = min(decoded(b) - decoded(a) for a, b in pairs) / plan.lossy_s
    concealed = max(c / s if s else 1.0 for c, s in zip(grown("concealed"), grown("samples"), strict=True))
    frozen = max(grown("frozenS")) / plan.lossy_s
    figure = (
        f"{frames:.1f} pictures a second, {concealed:.2%} of the sound made up, {max(grown('freezes')):.0f} freezes, "
        f"{frozen:.1%} of the time; the worse of both"
    )
    holds = frames >= MOVES and concealed < CONCEALED and frozen < FROZEN
    findings.judge("5 % loss: pictures go on, sound is whole", holds or not findings.full, figure)


# ---- five


async def _five(findings: Findings, plan: Plan, scene: Scene) -> None:
    """Five in a call"""
    del plan
    loop = asyncio.get_running_loop()
    async with called(scene, mates=3, watch=FIVE) as (consult, people):
        for one in people:
            await one.joins(consult)
        began_s = loop.time()
        others = len(people) - 1
        await asyncio.gather(*(one.media.decodes(others, FIVE_FRAMES) for one in people))
        took_s = loop.time() - began_s
        before = [await one.media.now() for one in people]
        await asyncio.sleep(5)
        after = [await one.media.now() for one in people]
    rates = [
        (b["decoded"][mid] - a["decoded"].get(mid, 0)) / 5
        for a, b in zip(before, after, strict=True)
        for mid in b["decoded"]
    ]
    moving = sum(rate > 0 for rate in rates)
    figure = f"{moving} of 20 pictures, {min(rates):.1f} to {max(rates):.1f} a second; all within {seconds(took_s)}"
    findings.judge("five see each other", moving == len(people) * others, figure)


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
    """Break something; for each of them: how long until pictures move again after they stood still. Raises `LoadFailed`."""
    began_s = asyncio.get_running_loop().time()
    break_it()
    return await asyncio.gather(*(_moves_again(one.media, began_s) for one in people))


async def _moves_again(media: Media, began_s: float) -> float:
    """What was on its way still comes for a moment: that is no return."""
    loop = asyncio.get_running_loop()
    shown, moved_s, stood = decoded(await media.now()), loop.time(), False
    while True:
        await asyncio.sleep(LOOK_S)
        now_s, before, shown = loop.time(), shown, decoded(await media.now())
        # Fewer: a connection was closed, and its count with it.
        if shown > before:
            if stood:
                return now_s - began_s
            moved_s = now_s
        stood |= now_s - moved_s > STILL_S
        if now_s - began_s > BACK_S:
            told = "did not move again" if stood else "never stood still"
            raise LoadFailed(f"a picture {told} within {BACK_S:.0f} s")


async def join_anew(one: Caller) -> float:
    """Leave, come back, and see: from the tap to the first picture. Raises `LoadFailed`."""
    await one.leaves()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await one.taps("why.again")
    while decoded(await one.media.now()) == 0:
        if loop.time() - began_s > BACK_S:
            raise LoadFailed(f"no picture came within {BACK_S:.0f} s of a join")
        await asyncio.sleep(LOOK_S)
    return loop.time() - began_s


def decoded(seen: dict[str, Any]) -> int:
    """All pictures over the connections that live."""
    return sum(seen["decoded"].values())
