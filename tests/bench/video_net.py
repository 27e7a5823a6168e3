"""video-net: what a call is on a weak link: sound, picture, and how soon it comes back.

A worker of the bridge in a process of its own; a Chromium that sends a moving picture in three sizes (up to 960x544 at 15
frames a second, 800 kbit/s); another Chromium that gets them through a UDP relay (tests/support/impair.py), which makes the link as bad
as the profile says. Each profile is a call of its own that begins on a good link. The peer of each figure is its target
(docs and issue: the design's), so that a ratio of 1 is the target itself. Figures are the receiving browser's own
(webrtc-stats), and what the bridge told it. Everybody speaks as well. For how soon a call begins, people come one after
another to a call that stands, with 80 ms of round trip for their media and their signals; the camera of that call is no browser,
since nobody's camera is on the machine of who joins.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from playwright.async_api import Browser

from leeside_protocol.video.signalling import Part
from tests.bench.figures import LIMIT, Result, Row, median, spread
from tests.bench.programs import MeasureFailed
from tests.bench.rounds import run_folder, tell
from tests.bench.video_film import film, filmed
from tests.bench.video_page import Caller, Join, Seen, caller, callers_running, worker_running
from tests.support.impair import Relay, impaired

TARGET: Final = "target"
FROZEN: Final = 0.01
CONCEALED: Final = 0.02
SOUND_ALONE_S: Final = 3.0
BACK_S: Final = 3.0
JOINED_S: Final = 1.0
FILM_KBPS: Final = 300.0
JOINING_S: Final = 20.0
"""The longest that one join is waited for."""
GROWN_S: Final = 10.0
LARGEST: Final = 720
"""The lines that the largest size is named by, whatever the picture has."""
WARM_S: Final = 60.0
"""The longest that a call may take to be good on a good link."""
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """`measured_s`: how long each profile is watched once it stands; `rounds`: calls of each; `joins`: in each round."""

    measured_s: float
    rounds: int
    joins: int


SHORT: Final = Plan(8.0, 1, 3)
FULL: Final = Plan(20.0, 2, 10)


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose receiver is behind a relay."""

    camera: Caller
    screen: Caller
    relay: Relay
    browser: Browser

    def both(self, *, delay_s: float = 0.0, jitter_s: float = 0.0, loss: float = 0.0) -> None:
        """Make both directions alike."""
        for way in (self.relay.down, self.relay.up):
            way.delay_s, way.jitter_s, way.loss = delay_s, jitter_s, loss


@dataclass(slots=True)
class Findings:
    """The figures of all rounds by what they measure."""

    by_measure: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    joins: list[Join] = field(default_factory=list[Join])

    def add(self, measure: str, value: float) -> None:
        self.by_measure.setdefault(measure, []).append(value)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    findings = Findings()
    with run_folder() as folder:
        for number in range(plan.rounds):
            for scene in SCENES:
                tell(f"round {number + 1} of {plan.rounds}: {scene.__doc__}")
                try:
                    await scene(folder, number + 1, plan, findings)
                except* MeasureFailed as group:
                    # One call that did not come about must not cost the figures of the others.
                    result.notes.append(f"{scene.__doc__}, round {number + 1}: {_first(group)}")
    for measure, (unit, target) in MEASURES.items():
        values = findings.by_measure.get(measure, [])
        result.add(
            Row(
                measure,
                unit,
                percentile(values, PERCENT) if measure == JOIN else median(values),
                TARGET if target is not None else "",
                target,
                LIMIT if target is not None else None,
                spread(values),
            )
        )
    slowest = sorted(findings.joins, key=lambda join: join.pictured_s)[-3:]
    result.notes.append("the slowest joins: " + "; ".join(str(join) for join in slowest))
    result.notes.append(
        f"median of {plan.rounds} calls of each profile, {plan.measured_s:.0f} s each, and {plan.joins} joins a call; "
        f"the relay's queue holds 300 ms; load of the machine at the end: {os.getloadavg()[0]:.1f}"
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The least value that so many of a hundred do not exceed; None of nothing."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", group).exceptions[0]
    return group


@asynccontextmanager
async def a_call(folder: Path, seed: int) -> AsyncGenerator[Call]:
    """Two browsers in a call, of which the receiver has had the largest picture: the link is good yet."""
    async with (
        worker_running(folder) as worker,
        impaired(("127.0.0.1", worker.port), seed=seed) as relay,
        callers_running() as browser,
    ):
        room = secrets.token_bytes(16)
        camera = await caller(browser, worker, room, Part.RESPONDER, sends=True)
        screen = await caller(browser, worker, room, Part.PSYCHIATRIST, through=relay.address)
        async with asyncio.TaskGroup() as group:
            hearing = [group.create_task(each.hear()) for each in (camera, screen)]
            call = Call(camera, screen, relay, browser)
            call.both(delay_s=0.02)
            await until(screen, lambda: screen.lines == LARGEST, WARM_S, "the largest picture on a good link")
            await shows(screen, WARM_S)
            yield call
            for task in hearing:
                task.cancel()


async def until(screen: Caller, holds: Callable[[], bool], within_s: float, what: str) -> float:
    """Seconds until it holds."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > within_s:
            told = [repr(signal)[:120] for _, signal in screen.history[-5:]]
            raise MeasureFailed(f"{what} did not come within {within_s:.0f} s; last heard: {told}")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began_s


async def shows(screen: Caller, within_s: float) -> float:
    """Seconds until the screen decodes a further frame."""
    began_s = time.monotonic()
    before = (await screen.seen()).frames
    while (await screen.seen()).frames <= before:
        if time.monotonic() - began_s > within_s:
            raise MeasureFailed(f"no frame came within {within_s:.0f} s")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began_s


async def over(screen: Caller, seconds: float) -> tuple[Seen, Seen]:
    """The screen's statistics now, and after so long."""
    before = await screen.seen()
    await asyncio.sleep(seconds)
    return before, await screen.seen()


# ---- the profiles


async def weak(call: Call, plan: Plan, findings: Findings) -> None:
    """450 kbit/s, 120 ms, 1 % loss"""
    before, after = await over(call.screen, plan.measured_s / 2)
    findings.add("a good link: picture frozen", 100 * after.frozen_since(before))
    findings.add("a good link: frames a second", (after.frames - before.frames) / (after.at_s - before.at_s))
    call.both(delay_s=0.06, loss=0.01)
    call.relay.down.bps = 450_000
    await asyncio.sleep(5)
    before, after = await over(call.screen, plan.measured_s)
    findings.add("450 kbit/s: picture frozen", 100 * after.frozen_since(before))
    findings.add("450 kbit/s: sound concealed", 100 * after.concealed_since(before))
    findings.add("450 kbit/s: frames a second", (after.frames - before.frames) / (after.at_s - before.at_s))


async def very_weak(call: Call, plan: Plan, findings: Findings) -> None:
    """120 kbit/s, 120 ms"""
    call.both(delay_s=0.06)
    call.relay.down.bps = 120_000
    took_s = await until(call.screen, lambda: call.screen.lines == 0, 30, "sound alone")
    findings.add("120 kbit/s: to sound alone", took_s)
    await asyncio.sleep(2)
    before, after = await over(call.screen, plan.measured_s)
    findings.add("120 kbit/s: sound concealed", 100 * after.concealed_since(before))
    findings.add("120 kbit/s: frames a second", (after.frames - before.frames) / (after.at_s - before.at_s))


async def lossy(call: Call, plan: Plan, findings: Findings) -> None:
    """10 % loss"""
    call.both(delay_s=0.03, loss=0.10)
    await asyncio.sleep(5)
    before, after = await over(call.screen, plan.measured_s)
    findings.add("10 % loss: sound concealed", 100 * after.concealed_since(before))
    findings.add("10 % loss: picture frozen", 100 * after.frozen_since(before))


async def blackout(call: Call, plan: Plan, findings: Findings) -> None:
    """blackout of 4 s"""
    del plan
    call.relay.down.up = call.relay.up.up = False
    await asyncio.sleep(4)
    call.relay.down.up = call.relay.up.up = True
    findings.add("blackout of 4 s: to the next frame", await shows(call.screen, 60))


async def to_wifi(call: Call, plan: Plan, findings: Findings) -> None:
    """3G to Wi-Fi"""
    call.both(delay_s=0.1, jitter_s=0.01)
    call.relay.down.bps = 400_000
    await until(call.screen, lambda: call.screen.lines < LARGEST, 30, "a smaller picture on 3G")
    await asyncio.sleep(plan.measured_s)
    call.both(delay_s=0.015, jitter_s=0.002)
    call.relay.down.bps = 20_000_000
    took_s = await until(
        call.screen, lambda: call.screen.lines == LARGEST, 60, "the largest picture on Wi-Fi"
    )
    findings.add("3G to Wi-Fi: to the largest picture", took_s)


async def joining(folder: Path, seed: int, plan: Plan, findings: Findings) -> None:
    """joins, 80 ms"""
    frames = await asyncio.to_thread(film, FILM_KBPS)
    async with (
        worker_running(folder) as worker,
        impaired(("127.0.0.1", worker.port), seed=seed) as relay,
        callers_running() as browser,
    ):
        room = secrets.token_bytes(16)
        relay.down.delay_s = relay.up.delay_s = 0.04
        async with filmed(worker, room, frames):
            for _ in range(plan.joins):
                comes = await caller(
                    browser, worker, room, Part.PSYCHIATRIST, through=relay.address, signal_s=0.04
                )
                joined = await comes.joined(JOINING_S)
                findings.add(JOIN, joined.pictured_s)
                findings.joins.append(joined)
                await comes.leave()


Scene = Callable[[Path, int, Plan, Findings], Awaitable[None]]


def watched(profile: Callable[[Call, Plan, Findings], Awaitable[None]]) -> Scene:
    """The profile in a call of its own."""

    async def scene(folder: Path, seed: int, plan: Plan, findings: Findings) -> None:
        async with a_call(folder, seed) as call:
            await profile(call, plan, findings)

    scene.__doc__ = profile.__doc__
    return scene


JOIN: Final = "joins, 80 ms: to the first picture (95 of 100)"
PERCENT: Final = 95.0
SCENES: Final = (joining, *map(watched, (weak, very_weak, lossy, blackout, to_wifi)))
MEASURES: Final[dict[str, tuple[str, float | None]]] = {
    JOIN: ("s", JOINED_S),
    "a good link: picture frozen": ("% of the time", None),
    "a good link: frames a second": ("", None),
    "450 kbit/s: picture frozen": ("% of the time", 100 * FROZEN),
    "450 kbit/s: sound concealed": ("%", None),
    "450 kbit/s: frames a second": ("", None),
    "120 kbit/s: to sound alone": ("s", SOUND_ALONE_S),
    "120 kbit/s: sound concealed": ("%", 100 * CONCEALED),
    "120 kbit/s: frames a second": ("", None),
    "10 % loss: sound concealed": ("%", 100 * CONCEALED),
    "10 % loss: picture frozen": ("% of the time", None),
    "blackout of 4 s: to the next frame": ("s", BACK_S),
    "3G to Wi-Fi: to the largest picture": ("s", GROWN_S),
}
"""Each figure's unit and its target, where the design has one."""
