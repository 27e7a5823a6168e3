"""fanout: what one delivery costs the server's processor, one publisher to thousands of subscribers.

The load sends the next message when all readers have the last one (a backlog of 16: while at most 16 are on their way).
Ours is durable before it is delivered, sealed, ordered and authorised; the peers pass 200 bytes on and keep nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contenders import Contender
from tests.bench.dial import dial
from tests.bench.figures import MISSING, Result, Row, Target, figure, median, spread
from tests.bench.peers import MOSQUITTO, NATS, SOCKETIO, STARLETTE
from tests.bench.programs import Measured, Orders, floor_us, load, raise_file_limit, write_frames
from tests.bench.rounds import Figures, Numbers, interleaved, peers_running, run_folder, sign_of_life, tell
from tests.bench.subject import Leeside, leeside_running

SINGLE, BACKLOG, ALONE, BESIDE = "single", "backlog", "alone", "beside"
WINDOW: Final = 16
STALLED_SHARE: Final = 0.01
RECEIVE_BYTES: Final = 4_096
FLOOR: Final = "bare send() in C"
OURS: Final = "Leeside"
BYTES: Final = 204
"""A frame of 200 bytes as a server writes it."""

TARGETS: Final[tuple[tuple[str, str, Target | None], ...]] = (
    (SINGLE, MOSQUITTO.name, Target(0.55)),
    (SINGLE, NATS.name, Target(0.55)),
    (SINGLE, SOCKETIO.name, Target(0.25)),
    (SINGLE, STARLETTE.name, Target(0.5)),
    (SINGLE, FLOOR, Target(1.8)),
    (BACKLOG, MOSQUITTO.name, Target(1 / 8)),
    (BACKLOG, NATS.name, None),
    (BACKLOG, SOCKETIO.name, Target(1 / 15)),
    (BACKLOG, STARLETTE.name, None),
)
WARM_S: Final = 0.5
STALL_WARM_S: Final = 3.0
"""Long enough that stalled clients hold all they may hold, and the server has given them up as readers."""
SINGLE_PER_S, BACKLOG_PER_S = 400_000, 2_000_000
"""Deliveries a second that no server here reaches: so many frames are made."""


@dataclass(frozen=True, slots=True)
class Plan:
    subscribers: int
    devices: int
    rounds: int
    measure_s: float
    stall_subscribers: int


SHORT: Final = Plan(200, 10, 1, 0.6, 200)
FULL: Final = Plan(5_000, 200, 3, 3.0, 1_000)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    raise_file_limit(2 * plan.subscribers + 1_000)
    figures, numbers = Figures(), Numbers()
    with run_folder() as folder:
        async with (
            leeside_running(folder, devices=plan.devices) as ours,
            peers_running((MOSQUITTO, NATS, SOCKETIO, STARLETTE), folder, figures) as peers,
        ):

            async def visit(contender: Contender) -> None:
                if isinstance(contender, Leeside):
                    contender.catch_up()
                    figures.add(FLOOR, SINGLE, floor_us(plan.subscribers, BYTES, min(2.0, plan.measure_s)))
                readers = dial(
                    contender.port, [contender.reader() for _ in range(plan.subscribers)], beat=contender.beat
                )
                try:
                    for measure, window in ((SINGLE, 1), (BACKLOG, WINDOW)):
                        seen = _measure(contender, readers.sockets, folder, numbers, window, plan.measure_s)
                        figures.add(contender.name, measure, seen.cpu_us)
                        figures.add(contender.name, f"{measure} rate", seen.deliveries / seen.elapsed_s)
                        figures.add(contender.name, f"{measure} p50", seen.read_p50_us / 1000)
                        figures.add(contender.name, "missing", seen.missing)
                finally:
                    readers.close()

            await interleaved([ours, *peers], plan.rounds, figures, visit)
            for _ in range(plan.rounds):
                await ours.renewed()
                ours.catch_up()
                for measure, stalled in ((ALONE, 0), (BESIDE, int(plan.stall_subscribers * STALLED_SHARE))):
                    tell(f"{stalled} of {plan.stall_subscribers} clients stalled")
                    figures.add(OURS, measure, _beside_stalled(ours, folder, numbers, plan, stalled))
    _rows(result, figures, plan)


def _measure(
    contender: Contender,
    readers: Sequence[socket.socket],
    folder: Path,
    numbers: Numbers,
    window: int,
    measure_s: float,
    *,
    stalled: int = 0,
    warm_s: float = WARM_S,
) -> Measured:
    """Publish to these readers for a while, over a connection of its own."""
    per_s = SINGLE_PER_S if window == 1 else BACKLOG_PER_S
    count = int((warm_s + measure_s) * per_s / len(readers)) + window
    first = numbers.take(count)
    frames = write_frames(contender.frames(first, count), folder)
    sign_of_life(contender, readers)
    publisher = dial(contender.port, [contender.publisher()])
    try:
        return load(
            Orders(
                pid=contender.pid,
                frames=frames,
                publishers=publisher.descriptors,
                readers=[reader.fileno() for reader in readers],
                window=window,
                warm_s=warm_s,
                measure_s=measure_s,
                first=first,
                stalled=stalled,
            )
        )
    finally:
        publisher.close()
        frames.unlink()


def _beside_stalled(ours: Leeside, folder: Path, numbers: Numbers, plan: Plan, stalled: int) -> float:
    """Messages a second that each reading client gets while others do not read."""
    # Only who stalls has little room in the kernel: the others are the same clients in both runs.
    stuck = dial(ours.port, [ours.reader() for _ in range(stalled)], receive_bytes=RECEIVE_BYTES)
    try:
        reading = dial(ours.port, [ours.reader() for _ in range(plan.stall_subscribers - stalled)])
        try:
            readers = stuck.sockets + reading.sockets
            warm_s = STALL_WARM_S if plan is FULL else WARM_S
            seen = _measure(
                ours, readers, folder, numbers, WINDOW, plan.measure_s, stalled=stalled, warm_s=warm_s
            )
        finally:
            reading.close()
    finally:
        stuck.close()
    return seen.deliveries / seen.elapsed_s / len(reading.sockets)


def _rows(result: Result, figures: Figures, plan: Plan) -> None:
    words = {
        SINGLE: f"processor time a delivery, 1 to {plan.subscribers:,}",
        BACKLOG: f"the same, {WINDOW} messages under way",
    }
    for measure, peer, target in TARGETS:
        theirs = figures.of(peer, measure)
        missing = figures.missing.get(peer)
        note = f"{MISSING}: {missing}" if missing else spread(theirs)
        ours = median(figures.of(OURS, measure))
        result.add(Row(words[measure], "us", ours, peer, median(theirs), target, note))
    alone, beside = (median(figures.of(OURS, measure)) for measure in (ALONE, BESIDE))
    stalled = int(plan.stall_subscribers * STALLED_SHARE)
    result.add(
        Row(
            f"messages a second to each of {plan.stall_subscribers:,}, {stalled} stalled",
            "/s",
            beside,
            "ours, none stalled",
            alone,
            Target(0.95, at_most=False),
        )
    )
    for name, measures in figures.values.items():
        for measure in (SINGLE, BACKLOG):
            if f"{measure} rate" in measures:
                rate, wait = median(measures[f"{measure} rate"]), median(measures[f"{measure} p50"])
                result.notes.append(
                    f"{name}, {measure}: {figure(rate)} deliveries/s, p50 {figure(wait, 'ms')}, "
                    f"{figure(median(measures[measure]), 'us')} ({spread(measures[measure])})"
                )
        if any(measures.get("missing", ())):
            result.notes.append(
                f"{name}: {max(measures['missing']):.0f} deliveries were not there 3 s after the end"
            )
