"""postgres: two nodes, and the database below them restarts, loses its backends, crashes and freezes.

Promises: a publish meanwhile waits or gets an error that may be retried, and nothing is acknowledged that does not
stand; what was under way is resolved by its id; messages are acknowledged again within 10 s of the database's return.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from leeside_protocol.errors import WireError
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.database import frozen
from tests.faults.installation import Installation, two_nodes, workplace
from tests.faults.machine import all_cores, on_cores
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.scene import Load, Scene, under_load
from tests.support.services import PostgresServer

BACK_S: Final = 10.0
PROGRESS_S: Final = 40.0
RETRYABLE: Final = frozenset(error.label for error in WireError if error.may_retry)
KILL_BACKENDS: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. `frozen_s`: how long the database is frozen each time."""

    load: Load
    rounds: int
    frozen_s: float
    baseline_s: float


PLANS: Final = {
    "short": Plan(Load(20, 200, 500), 1, 3.0, 1.0),
    "full": Plan(Load(60, 400, 2_500), 3, 15.0, 5.0),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with workplace() as folder, two_nodes(folder) as site, under_load(site, plan.load) as scene:
        postgres = site.postgres
        assert postgres is not None
        await scene.baseline(findings, plan.baseline_s)
        faults: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
            "restarted (fast)": lambda: _restarted(postgres, signal.SIGINT),
            "restarted (immediate)": lambda: _restarted(postgres, signal.SIGQUIT),
            "crashed (kill -9)": lambda: _restarted(postgres, signal.SIGKILL),
            "backends killed": lambda: _backends_killed(postgres),
            "frozen (SIGSTOP)": lambda: _frozen_for(postgres, plan.frozen_s),
        }
        for name, fault in faults.items():
            await _judge(findings, plan, site, scene, name, fault)
        await scene.quiet()
        refused = scene.diary.refused
        findings.judge(
            "refusals may all be retried",
            set(refused) <= RETRYABLE,
            ", ".join(f"{name} {count}" for name, count in sorted(refused.items())) or "none",
        )
        await conclude(findings, scene.diary, scene.clients, Minimum(300, 3_000, plan.rounds * len(faults)))
        no_traceback(findings, site)


async def _judge(
    findings: Findings,
    plan: Plan,
    site: Installation,
    scene: Scene,
    name: str,
    fault: Callable[[], AbstractAsyncContextManager[None]],
) -> None:
    """Bring it about some times over; each time messages must be acknowledged again, on both nodes."""
    back: list[float] = []
    for _ in range(plan.rounds):
        await scene.progress(PROGRESS_S)
        async with fault():
            findings.injected += 1
        loop = asyncio.get_running_loop()
        returned_s = loop.time()
        for node in site.nodes:
            await _progress_on(scene, node.port, returned_s)
        back.append(loop.time() - returned_s)
    findings.judge(
        f"database {name}: both nodes acknowledge again", len(back) == plan.rounds, f"{len(back)} times"
    )
    median = seconds(percentile(back, 0.5))
    findings.timed(f"database {name}: back", max(back), BACK_S, f"median {median}")


async def _progress_on(scene: Scene, port: int, from_s: float) -> None:
    """Wait until a client of that node got an acknowledgement after the moment."""
    mine = {client.device.id for client in scene.clients if client.port == port}
    history, lags = scene.diary.history, scene.diary.ack_lags
    seen = 0

    def came() -> bool:
        nonlocal seen
        start, seen = seen, len(lags)
        pairs = zip(lags[start:seen], history.acked[start:seen], strict=True)
        return any(lag.at_s > from_s and ack.device in mine for lag, ack in pairs)

    await scene.crowd.until("acknowledgements after the database's return", came, PROGRESS_S)


@asynccontextmanager
async def _restarted(postgres: PostgresServer, how: signal.Signals) -> AsyncGenerator[None]:
    await asyncio.to_thread(postgres.process.end, how)
    yield
    await asyncio.to_thread(_start, postgres)


def _start(postgres: PostgresServer) -> None:
    with on_cores(all_cores()):
        postgres.start()


@asynccontextmanager
async def _backends_killed(postgres: PostgresServer) -> AsyncGenerator[None]:
    await asyncio.to_thread(postgres.run_sql, KILL_BACKENDS)
    yield


@asynccontextmanager
async def _frozen_for(postgres: PostgresServer, held_s: float) -> AsyncGenerator[None]:
    async with frozen(postgres):
        # Long enough for the nodes' own deadlines to pass.
        await asyncio.sleep(held_s)
        yield
