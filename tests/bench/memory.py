"""memory: what a connection costs while it is idle, and what one costs that does not read.

Idle: signed in, following three rooms; against Socket.IO's bare connection. Connections are opened in steps, ours and the
peer's in turn, and all stay open: each step's growth of resident memory is its figure, so that nothing is hidden by memory
that a closed connection gave back to the process but not to the system. Stalled: on a fresh server, memory that grew while
messages were pushed past clients that never read, less what the same push costs beside clients that do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contenders import Contender
from tests.bench.dial import Dialled, dial
from tests.bench.figures import LIMIT, MISSING, Result, Row, Target, median, spread
from tests.bench.peers import SOCKETIO
from tests.bench.programs import MeasureFailed, Orders, load, raise_file_limit, write_frames
from tests.bench.rounds import Figures, Numbers, interleaved, peers_running, run_folder, sign_of_life, tell
from tests.bench.subject import Leeside, leeside_running

FOLLOWS: Final = 3
LIMIT_KB: Final = 6.0
STALLED_KIB: Final = 200.0
RECEIVE_BYTES: Final = 4_096
SETTLE_S: Final = 1.5
WARM: Final = 100
"""Opened first and not counted: caches that the first connections fill."""
WINDOW: Final = 16
IDLE, STALL = "idle", "stalled"
OURS: Final = "Leeside"
READING: Final = 10
"""Clients that read beside the stalled ones."""
PUSH_S: Final = 30.0
"""Before a stalled client is closed for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    connections: int
    """Opened in each step."""
    devices: int
    rounds: int
    stalled: int
    pushed: int
    """Messages published past the stalled ones."""


SHORT: Final = Plan(200, 10, 2, 20, 2_000)
FULL: Final = Plan(1_500, 200, 4, 100, 6_000)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    raise_file_limit(2 * plan.connections * plan.rounds + 1_000)
    figures, numbers = Figures(), Numbers()
    with run_folder() as folder:
        async with (
            leeside_running(folder, devices=plan.devices, rooms=FOLLOWS, follows=FOLLOWS) as ours,
            peers_running((SOCKETIO,), folder, figures) as peers,
        ):
            held: list[tuple[Contender, Dialled]] = []

            async def visit(contender: Contender) -> None:
                for owner, dialled in held:
                    sign_of_life(owner, dialled.sockets)
                before = rss_kib(contender.pid)
                openings = [contender.reader() for _ in range(plan.connections)]
                held.append((contender, dial(contender.port, openings, beat=contender.beat)))
                await asyncio.sleep(SETTLE_S)
                grown = rss_kib(contender.pid) - before
                figures.add(contender.name, IDLE, grown * 1.024 / plan.connections)

            try:
                for contender in (ours, *peers):
                    await contender.renewed()
                    held.append((contender, dial(contender.port, [contender.reader() for _ in range(WARM)])))
                await interleaved([ours, *peers], plan.rounds, figures, visit)
            finally:
                for _, dialled in held:
                    dialled.close()
        async with leeside_running(folder / "stalled", devices=2) as ours:
            _pushed_kib(ours, folder, numbers, plan, stalled=False)
            for number in range(plan.rounds):
                tell(f"stalled clients, {number + 1} of {plan.rounds}")
                beside = _pushed_kib(ours, folder, numbers, plan, stalled=False)
                past = _pushed_kib(ours, folder, numbers, plan, stalled=True)
                figures.add(OURS, STALL, (past - beside) / plan.stalled)
    _rows(result, figures, plan)


def rss_kib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise ValueError("no memory figure")


def _pushed_kib(ours: Leeside, folder: Path, numbers: Numbers, plan: Plan, *, stalled: bool) -> float:
    """Memory that grew while messages were pushed to some readers, and past others that do not read."""
    stalled_count = plan.stalled if stalled else 0
    first = numbers.take(plan.pushed)
    frames = write_frames(ours.frames(first, plan.pushed), folder)
    ours.catch_up()
    openings = [
        ours.opening(ours.world.devices[0], ours.world.rooms[:1]) for _ in range(plan.stalled + READING)
    ]
    readers = dial(ours.port, openings, receive_bytes=RECEIVE_BYTES)
    publisher = dial(ours.port, [ours.publisher()])
    try:
        before = rss_kib(ours.pid)
        seen = load(
            Orders(
                pid=ours.pid,
                frames=frames,
                publishers=publisher.descriptors,
                readers=readers.descriptors,
                window=WINDOW,
                warm_s=0.0,
                measure_s=PUSH_S,
                first=first,
                stalled=stalled_count,
            )
        )
        if seen.missing or seen.used < plan.pushed:
            raise MeasureFailed(
                f"{seen.used} of {plan.pushed} messages pushed, {seen.missing} deliveries missing"
            )
        return rss_kib(ours.pid) - before
    finally:
        readers.close()
        publisher.close()
        frames.unlink()


def _rows(result: Result, figures: Figures, plan: Plan) -> None:
    ours = figures.of(OURS, IDLE)
    words = f"an idle signed-in connection with {FOLLOWS} subscriptions"
    result.add(Row(words, "kB", median(ours), "limit", LIMIT_KB, LIMIT, spread(ours)))
    theirs = figures.of(SOCKETIO.name, IDLE)
    missing = figures.missing.get(SOCKETIO.name)
    note = f"{MISSING}: {missing}" if missing else spread(theirs)
    result.add(Row(words, "kB", median(ours), f"{SOCKETIO.name}, bare", median(theirs), Target(0.35), note))
    stalled = figures.of(OURS, STALL)
    result.add(
        Row(
            "a client that does not read",
            "KiB",
            median(stalled),
            "limit",
            STALLED_KIB,
            LIMIT,
            spread(stalled),
        )
    )
    result.notes.append(
        "resident memory of the process: what the kernel holds for a socket (ours asks for 128 KiB at most) is not in it, "
        "and bytes that wait for many stalled clients are there once"
    )
    result.notes.append(
        f"{plan.rounds} steps of {plan.connections:,} connections; {plan.stalled} stalled while {plan.pushed:,} messages passed"
    )
