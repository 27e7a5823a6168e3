"""video: what it costs to forward sealed calls, against Janus' videoroom and against aiortc's MediaRelay.

Rooms of five at 720 lines and 1.2 Mbit/s, everybody shown to everybody, packet for packet the same for each forwarder; each is one
process on one core, and the load has the other. Steps of more and more rooms are measured in turn, ours and Janus' each time,
so that a slow minute hits both. Measured is a call that goes on: once every link is known to carry all (ours tries that out with
padding), and nothing but media flows. A step is *whole* when everything arrives in time. Where the load itself could not keep
its times, a step says nothing of the forwarder, and is told apart. MediaRelay decodes and encodes, and is compared in a room of two
with real pictures. What the fast way of packets saves is told by a worker without it, beside the step that is nearest to four rooms.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.curve import Curve
from tests.bench.figures import LIMIT, MISSING, Result, Row, Target, median, spread
from tests.bench.memory import rss_kib
from tests.bench.peers import Missing
from tests.bench.programs import MeasureFailed
from tests.bench.rounds import Figures, run_folder, tell
from tests.bench.video_load import OWN_S, Pace, Seen, VideoLoad, synthetic
from tests.bench.video_pictures import pictures
from tests.bench.video_rooms import Forwarder, Janus, MediaRelay, PlainWorker, Worker

KBPS: Final = 1_200.0
OURS: Final = Worker.name
CORE_PER_PACKET: Final = Target(1.1)
RELAY_SHARE: Final = Target(1 / 20)
ROOMS_A_CORE: Final = 16.0
DELAY_MS: Final = 5.0
WHOLE: Final = 0.99
"""Of what should be handed on. A step with less says nothing about cost."""
IN_TIME_MS: Final = 20.0
"""As long as a packet of sound: nobody notices less."""
LATE_MS: Final = 10.0
"""A load whose sendings were later than this was full itself."""
MOST_ROOMS: Final = 28
FURTHER: Final = 4
BUSY: Final = 0.7
"""Of a core: where the delay is judged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`plain_rooms`: the step at which our worker is measured without its fast way as well."""

    rooms: tuple[int, ...]
    plain_rooms: int
    size: int
    rounds: int
    pace: Pace


SHORT: Final = Plan((1,), 1, 3, 1, Pace(10.0, 3.0))
FULL: Final = Plan((1, 4, 8, 12, 16), 4, 5, 1, Pace(60.0, 15.0, own_s=10, most_s=60.0))


@dataclass(frozen=True, slots=True)
class Step:
    """One forwarder with so many rooms. `grown_kb`: resident memory for each room."""

    rooms: int
    seen: Seen
    grown_kb: float

    @property
    def whole(self) -> bool:
        """Everything arrived, and nearly all of it in time."""
        return self.seen.arrived >= WHOLE and self.seen.delay_ms(0.99) < IN_TIME_MS

    def __str__(self) -> str:
        seen = self.seen
        told = f"{self.rooms} rooms: {seen.arrived:.1%} arrived at {seen.cores:.2f} core, p99 {seen.delay_ms(0.99):.1f} ms"
        of = f"of {len(seen.seconds)} seconds"
        if seen.by_own and seen.own_seconds < len(seen.seconds):
            told += f" in the {seen.own_seconds} {of} that were our own, {seen.any_delay_ms(0.99):.1f} in all"
        elif not seen.by_own:
            told += f" (only {seen.own_seconds} {of} were our own: this is of all)"
        if seen.own_seconds < len(seen.seconds):
            told += f" (others had {seen.stolen:.1%} of a core)"
        if seen.late_ms >= LATE_MS:
            told += f" (the load was full: {seen.load_cores:.2f} core, {seen.late_ms:.0f} ms late)"
        return told


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    figures = Figures()
    steps: dict[str, list[Step]] = {OURS: [], Janus.name: []}
    plain: list[Step] = []
    with run_folder() as folder:
        frames = synthetic(KBPS)
        for number in range(plan.rounds):
            for rooms in plan.rooms:
                kinds: list[type[Worker | Janus]] = [Worker, Janus]
                kinds += [PlainWorker] if rooms == plan.plain_rooms else []
                for kind in kinds:
                    tell(f"round {number + 1} of {plan.rounds}: {kind.name}, {rooms} rooms of {plan.size}")
                    place = folder / f"{kind.name}-{number}-{rooms}"
                    step = await _step(kind, place, rooms, plan.size, frames, plan, figures)
                    if step is not None:
                        tell(f"{kind.name}, {step}")
                        steps.get(kind.name, plain).append(step)
        while not result.short and (more := further(steps[OURS])) is not None:
            step = await _step(Worker, folder / f"more-{more}", more, plan.size, frames, plan, figures)
            assert step is not None, "only a peer can be missing"
            tell(f"{OURS}, {step}")
            steps[OURS].append(step)
        for number in range(plan.rounds):
            await _relay(folder / f"relay-{number}", plan, figures)
    _rows(result, plan, steps, plain, figures)


def further(steps: Sequence[Step]) -> int | None:
    """How many rooms to try next, to know what one core carries to within two rooms; None: that is known."""
    carried = max((step.rooms for step in steps if step.whole), default=0)
    beyond = [step.rooms for step in steps if step.rooms > carried]
    if not beyond:
        return carried + FURTHER if carried + FURTHER <= MOST_ROOMS else None
    return (carried + min(beyond)) // 2 if min(beyond) - carried > 2 else None


async def _step(
    kind: Callable[[Path], Forwarder],
    folder: Path,
    rooms: int,
    size: int,
    frames: Sequence[bytes],
    plan: Plan,
    figures: Figures,
    *,
    stamped: bool = True,
) -> Step | None:
    """Start, fill, measure, end. A peer that cannot is noted as missing; what of ours cannot ends the run."""
    name = str(getattr(kind, "name", ""))
    if name in figures.missing:
        return None
    await asyncio.to_thread(folder.mkdir, parents=True)
    forwarder: Forwarder | None = None
    try:
        forwarder = kind(folder)
        warm = await forwarder.fill(1, 2)
        warm.close()
        before_kib = rss_kib(forwarder.pid)
        filled = await forwarder.fill(rooms, size)
        load = VideoLoad(filled.senders, filled.lines, frames, size - 1, stamped=stamped)
        seen = await asyncio.to_thread(load.run, forwarder.pid, plan.pace)
        grown_kb = (rss_kib(forwarder.pid) - before_kib) * 1.024 / rooms
        filled.close()
    except Missing as missing:
        figures.missing[name] = str(missing)
        return None
    except MeasureFailed as problem:
        if name not in (Janus.name, MediaRelay.name):
            raise
        figures.missing[name] = f"failed with {rooms} rooms: {problem}"
        return None
    finally:
        if forwarder is not None:
            forwarder.close()
    return Step(rooms, seen, grown_kb)


async def _relay(folder: Path, plan: Plan, figures: Figures) -> None:
    """A room of two with real pictures: ours and MediaRelay, one after the other."""
    frames = await asyncio.to_thread(pictures, KBPS)
    # No delays are told of these pictures.
    plan = replace(plan, pace=replace(plan.pace, own_s=0))
    for kind in (Worker, MediaRelay):
        tell(f"{kind.name}, a room of two")
        step = await _step(kind, folder / kind.name, 1, 2, frames, plan, figures, stamped=False)
        if step is not None and step.seen.pictures > 0:
            figures.add(kind.name, "picture", step.seen.cores / step.seen.pictures * 1e3)
            figures.add(kind.name, "pictures", step.seen.pictures)


# ---- what came of it


def _rows(
    result: Result, plan: Plan, steps: dict[str, list[Step]], plain: list[Step], figures: Figures
) -> None:
    ours, theirs = steps[OURS], steps[Janus.name]
    missing = f"{MISSING}: {figures.missing[Janus.name]}" if Janus.name in figures.missing else ""
    near = _near_busy(plan, ours)
    for rooms in plan.rooms:
        our_us, their_us = (_each(of, rooms, lambda seen: seen.cpu_us) for of in (ours, theirs))
        words = f"processor time for a packet handed on, {rooms} rooms of {plan.size}"
        judged = CORE_PER_PACKET if rooms == near else None
        note = missing or _shares(ours, theirs, rooms)
        result.add(Row(words, "us", median(our_us), Janus.name, median(their_us), judged, note))
    fast_us, plain_us = (_each(of, plan.plain_rooms, lambda seen: seen.cpu_us) for of in (ours, plain))
    words = f"the same, {plan.plain_rooms} rooms of {plan.size}, beside Python alone"
    note = _shares(ours, plain, plan.plain_rooms)
    result.add(Row(words, "us", median(fast_us), "Python alone", median(plain_us), None, note))
    carried = max((step for step in ours if step.whole), key=_rooms, default=None)
    beyond = min((step for step in ours if not step.whole), key=_rooms, default=None)
    result.add(
        Row(
            f"rooms of {plan.size} that one core carries whole",
            "rooms",
            float(carried.rooms) if carried else 0.0,
            "target",
            ROOMS_A_CORE,
            Target(1.0, at_most=False),
            "; ".join(str(step) for step in (carried, beyond) if step is not None),
        )
    )
    _delays(result, plan, near, ours, theirs)
    last = plan.rooms[-1]
    kb = [step.grown_kb for step in ours if step.rooms == last]
    their_kb = [step.grown_kb for step in theirs if step.rooms == last]
    result.add(
        Row(
            f"memory for a room of {plan.size}",
            "kB",
            median(kb),
            Janus.name,
            median(their_kb),
            None,
            spread(kb),
        )
    )
    note = f"{MISSING}: {figures.missing[MediaRelay.name]}" if MediaRelay.name in figures.missing else ""
    pictures_s = median(figures.of(MediaRelay.name, "pictures"))
    if pictures_s is not None and not note:
        note = f"it hands on {pictures_s:.0f} of 30 pictures a second"
    result.add(
        Row(
            "processor time for a picture handed on, a room of two",
            "ms",
            median(figures.of(OURS, "picture")),
            MediaRelay.name,
            median(figures.of(MediaRelay.name, "picture")),
            RELAY_SHARE,
            note,
        )
    )
    result.curve = Curve(
        f"Rooms of {plan.size} at 720 lines: processor cores used",
        f"rooms of {plan.size}",
        "cores",
        [(name, _line(of, plan)) for name, of in steps.items()],
    )
    result.notes.append(
        f"each forwarder is one process on one core, the load on another; {KBPS / 1_000:.1f} Mbit/s of VP8 and 50 sounds a second from "
        f"everybody; {plan.pace.least_s:.0f} s each once everything arrives and nothing else does, or after {plan.pace.warm_s:.0f} s; delays end "
        "when the system has the packet for its receiver"
    )
    if plan.pace.own_s:
        result.notes.append(
            f"a step goes on, for {plan.pace.most_s:.0f} s at most, until {plan.pace.own_s} seconds were our own: in these the machine's "
            f"owner gave others less than {OWN_S * 1e3:.0f} ms of both cores (/proc/stat, steal). Delays are judged by them, and by all "
            "seconds where there are not so many; what arrived, and what it cost, is of all"
        )
    result.notes.append(
        f"rooms are whole when {WHOLE:.0%} of all packets arrive and 99 of 100 of these within {IN_TIME_MS:.0f} ms; the share that was "
        "handed on stands behind each row"
    )


def _near_busy(plan: Plan, ours: list[Step]) -> int:
    """The step, of those that were whole, in which ours used about seven tenths of a core: there cost and delay are judged. With
    little to do a process is woken for every packet, and costs more for each."""
    steps = [step for step in ours if step.rooms in plan.rooms]
    whole = [step for step in steps if step.whole] or steps
    return min(whole, key=lambda step: abs(step.seen.cores - BUSY)).rooms


def _delays(result: Result, plan: Plan, near: int, ours: list[Step], theirs: list[Step]) -> None:
    told = "; ".join(str(step) for step in ours if step.rooms == near)
    for name, share, figure in (
        ("median", 0.5, Seen.delay_ms),
        ("p99", 0.99, Seen.delay_ms),
        ("p99 of all seconds, whoever had the machine", 0.99, Seen.any_delay_ms),
    ):
        words = f"delay of a packet, {near} rooms of {plan.size}, {name}"
        our_ms, their_ms = (_each(of, near, partial(figure, share=share)) for of in (ours, theirs))
        result.add(Row(words, "ms", median(our_ms), Janus.name, median(their_ms), None, spread(our_ms)))
        if name == "p99":
            result.add(Row(words, "ms", median(our_ms), "limit", DELAY_MS, LIMIT, told))


def _each(steps: Sequence[Step], rooms: int, figure: Callable[[Seen], float]) -> list[float]:
    values = (figure(step.seen) for step in steps if step.rooms == rooms)
    return [value for value in values if math.isfinite(value)]


def _shares(ours: Sequence[Step], theirs: Sequence[Step], rooms: int) -> str:
    told = [
        f"{name} {min(values):.1%}"
        for name, values in (
            ("handed on: ours", _each(ours, rooms, _arrived)),
            ("its", _each(theirs, rooms, _arrived)),
        )
        if values
    ]
    return ", ".join(told)


def _arrived(seen: Seen) -> float:
    return seen.arrived


def _rooms(step: Step) -> int:
    return step.rooms


def _line(steps: Sequence[Step], plan: Plan) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for rooms in plan.rooms:
        cores = median(_each(steps, rooms, lambda seen: seen.cores))
        if cores is not None:
            points.append((float(rooms), cores))
    return points
