"""storm: everybody's connection broke at once, and all come back: connect, authenticate, resume 20 messages each.

Socket.IO's bare connect (no authentication, nothing to resume) is the peer, dialled by the same loop. Clients come without
the jitter that ours have, so that the server alone decides how long it takes; its own rate of handshakes is set out of the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contenders import Contender
from tests.bench.dial import DialFailed, LeesideOpening, dial
from tests.bench.figures import LIMIT, MISSING, Result, Row, figure, median, spread
from tests.bench.peers import SOCKETIO
from tests.bench.programs import Orders, load, raise_file_limit, write_frames
from tests.bench.rounds import Figures, Numbers, cpu_s, interleaved, peers_running, run_folder
from tests.bench.subject import ACK_BASE, Leeside, leeside_running, sealed_frames
from tests.faults.world import Entropy

BEHIND: Final = 20
TOOK_S, CPU_S, LAST_S, AGAIN = "took", "cpu", "p99", "again"
LIMIT_S: Final = 3.0
LIMIT_CLIENTS: Final = 5_000
"""The limit is for so many clients, and in proportion for fewer."""


@dataclass(frozen=True, slots=True)
class Plan:
    clients: int
    devices: int
    rooms: int
    rounds: int


SHORT: Final = Plan(200, 10, 2, 1)
FULL: Final = Plan(5_000, 200, 10, 5)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    raise_file_limit(plan.clients + 1_000)
    figures, numbers = Figures(), Numbers()
    with run_folder() as folder:
        async with (
            leeside_running(folder, devices=plan.devices, rooms=plan.rooms) as ours,
            peers_running((SOCKETIO,), folder, figures) as peers,
        ):

            async def visit(contender: Contender) -> None:
                if contender is ours:
                    ours.catch_up()
                    _fall_behind(ours, folder, numbers)
                before_s = cpu_s(contender.pid)
                openings = [contender.reader() for _ in range(plan.clients)]
                dialled = dial(contender.port, openings, at_once=plan.clients, again=contender.reader)
                dialled.close()
                figures.add(contender.name, AGAIN, dialled.again)
                figures.add(contender.name, TOOK_S, dialled.took_s)
                figures.add(contender.name, LAST_S, dialled.waits_s[int(len(dialled.waits_s) * 0.99)])
                figures.add(contender.name, CPU_S, cpu_s(contender.pid) - before_s)
                resumed = [
                    opening.received for opening in dialled.scripts if isinstance(opening, LeesideOpening)
                ]
                if any(count != BEHIND for count in resumed):
                    raise DialFailed(f"{min(resumed)} to {max(resumed)} messages were resumed, not {BEHIND}")

            await interleaved([ours, *peers], plan.rounds, figures, visit)
            _rows(result, figures, ours, plan)


def _fall_behind(ours: Leeside, folder: Path, numbers: Numbers) -> None:
    """Put so many messages into each room that those who come next have to resume them."""
    entropy = Entropy()
    for room in ours.world.rooms:
        first = numbers.take(BEHIND)
        frames = write_frames(sealed_frames(room, ours.world.devices[0], first, BEHIND, entropy), folder)
        publisher = dial(ours.port, [ours.publisher()])
        try:
            load(
                Orders(
                    pid=ours.pid,
                    frames=frames,
                    publishers=publisher.descriptors,
                    window=BEHIND,
                    warm_s=0.0,
                    measure_s=0.0,
                    ack="binary",
                    first=first,
                    ack_base=ACK_BASE,
                )
            )
        finally:
            publisher.close()
            frames.unlink()


def _rows(result: Result, figures: Figures, ours: Leeside, plan: Plan) -> None:
    took = median(figures.of(ours.name, TOOK_S))
    limit_s = LIMIT_S * plan.clients / LIMIT_CLIENTS
    words = f"{plan.clients:,} come back, sign in, resume {BEHIND} messages"
    result.add(Row(words, "s", took, "limit", limit_s, LIMIT, spread(figures.of(ours.name, TOOK_S))))
    missing = figures.missing.get(SOCKETIO.name)
    theirs = figures.of(SOCKETIO.name, TOOK_S)
    note = f"{MISSING}: {missing}" if missing else spread(theirs)
    result.add(Row(words, "s", took, f"{SOCKETIO.name}, bare connect", median(theirs), LIMIT, note))
    for name in (ours.name, SOCKETIO.name):
        cpu, last = median(figures.of(name, CPU_S)), median(figures.of(name, LAST_S))
        if cpu is not None:
            each = figure(cpu * 1e6 / plan.clients, "us")
            result.notes.append(
                f"{name}: {each} of the server's processor each; p99 of one client {figure(last, 's')}; "
                f"{figure(median(figures.of(name, AGAIN)))} had to connect again"
            )
