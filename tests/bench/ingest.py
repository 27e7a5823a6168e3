"""ingest: how many messages a second become durable and acknowledged, and how long one waits for that.

Ours at 256 in flight against the same server with one commit for each message, and against NATS JetStream that syncs
always: each message is on the disk before it is acknowledged, in all three. Then the wait at 200 messages a second, against
what the disk itself takes, measured in the same run and the same folder.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contenders import Contender
from tests.bench.dial import dial
from tests.bench.figures import LIMIT, MISSING, Result, Row, Target, figure, median, spread
from tests.bench.peers import JETSTREAM
from tests.bench.programs import Measured, Orders, load, write_frames
from tests.bench.rounds import Figures, Numbers, interleaved, peers_running, run_folder
from tests.bench.subject import ACK_BASE, Leeside, leeside_running

IN_FLIGHT: Final = 256
SOCKETS: Final = 8
"""Ours takes 64 messages in flight on one socket."""
RATE_PER_S: Final = 200
SYNCS: Final = 200
BLOCK_BYTES: Final = 4_096
PER_S, WAIT_MS, SYNC_MS = "per s", "wait", "sync"


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    measure_s: float
    per_s: int
    """So many messages a second are made at most."""


SHORT: Final = Plan(1, 0.5, 20_000)
FULL: Final = Plan(3, 2.0, 40_000)
WARM_S: Final = 0.5


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    figures, numbers = Figures(), Numbers()
    with run_folder() as folder:
        async with (
            leeside_running(folder, devices=2) as ours,
            leeside_running(folder, devices=2, grouped=False) as ungrouped,
            peers_running((JETSTREAM,), folder, figures) as peers,
        ):

            async def visit(contender: Contender) -> None:
                seen = _measure(contender, folder, numbers, plan)
                figures.add(contender.name, PER_S, seen.acks / seen.elapsed_s)
                if seen.missing:
                    figures.missing[contender.name] = f"{seen.missing} messages were never answered"
                if contender is ours:
                    figures.add("disk", SYNC_MS, sync_ms(folder))
                    paced = _measure(contender, folder, numbers, plan, RATE_PER_S)
                    figures.add(contender.name, WAIT_MS, paced.ack_p50_us / 1000)
                    figures.add(contender.name, "p99", paced.ack_p99_us / 1000)
                    figures.add("disk", SYNC_MS, sync_ms(folder))

            await interleaved([ours, ungrouped, *peers], plan.rounds, figures, visit)
            _rows(result, figures, ours, ungrouped)


def _measure(
    contender: Contender, folder: Path, numbers: Numbers, plan: Plan, rate_per_s: int = 0
) -> Measured:
    is_ours = isinstance(contender, Leeside)
    count = int((WARM_S + plan.measure_s) * (rate_per_s or plan.per_s)) + IN_FLIGHT
    first = numbers.take(count)
    frames = write_frames(contender.frames(first, count), folder)
    publishers = dial(contender.port, [contender.publisher() for _ in range(SOCKETS if is_ours else 1)])
    try:
        return load(
            Orders(
                pid=contender.pid,
                frames=frames,
                publishers=publishers.descriptors,
                window=0 if rate_per_s else IN_FLIGHT,
                rate_per_s=rate_per_s,
                warm_s=WARM_S,
                measure_s=plan.measure_s,
                ack="binary" if is_ours else "text",
                first=first,
                ack_base=ACK_BASE if is_ours else 0,
            )
        )
    finally:
        publishers.close()
        frames.unlink()


def sync_ms(folder: Path) -> float:
    """The middle of what appending a block and fdatasync take on this disk."""
    path = folder / "sync"
    waits: list[float] = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(handle, b"x" * BLOCK_BYTES)
            began_s = time.perf_counter()
            os.fdatasync(handle)
            waits.append((time.perf_counter() - began_s) * 1000)
    finally:
        os.close(handle)
        path.unlink()
    return statistics.median(waits)


def _rows(result: Result, figures: Figures, ours: Leeside, ungrouped: Leeside) -> None:
    mine = figures.of(ours.name, PER_S)
    words = f"durable, acknowledged messages, {IN_FLIGHT} in flight"
    for peer, least in ((ungrouped.name, 10.0), (JETSTREAM.name, 8.0)):
        theirs = figures.of(peer, PER_S)
        missing = figures.missing.get(peer)
        note = f"{MISSING}: {missing}" if missing else spread(theirs)
        result.add(Row(words, "/s", median(mine), peer, median(theirs), Target(least, at_most=False), note))
    sync = median(figures.of("disk", SYNC_MS))
    result.add(
        Row(
            f"wait for the answer, p50 at {RATE_PER_S}/s",
            "ms",
            median(figures.of(ours.name, WAIT_MS)),
            "1.5 ms + 2 x fdatasync",
            None if sync is None else 1.5 + 2 * sync,
            LIMIT,
        )
    )
    result.notes.append(f"fdatasync of a {BLOCK_BYTES} byte block: p50 {figure(sync, 'ms')}")
    result.notes.append(
        f"{ours.name}: {spread(mine)} /s; p99 at {RATE_PER_S}/s {figure(median(figures.of(ours.name, 'p99')), 'ms')}"
    )
