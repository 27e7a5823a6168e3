"""kill9: the server is killed at random moments under load, again and again, and started anew each time.

Promises: G1 to G4 hold across every kill; after each one messages are acknowledged again; it listens again soon.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Final

from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.installation import embedded, workplace
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.scene import Load, under_load

LISTENING_S: Final = 1.0
PROGRESS_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. `pause_s`: the range of the random time under load between restart and kill."""

    load: Load
    kills: int
    pause_s: tuple[float, float]
    baseline_s: float


PLANS: Final = {
    "short": Plan(Load(40, 600, 150), 5, (0.2, 0.8), 1.0),
    "full": Plan(Load(200, 1_000, 250), 20, (0.3, 2.0), 5.0),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with workplace() as folder, embedded(folder) as site:
        listening: list[float] = []
        progress: list[float] = []
        async with under_load(site, plan.load) as scene:
            await scene.baseline(findings, plan.baseline_s)
            for _ in range(plan.kills):
                # The moment is the point here: anywhere in a batch, a commit, a delivery.
                await asyncio.sleep(random.uniform(*plan.pause_s))
                killed_s = time.monotonic()
                await site.first.kill()
                findings.injected += 1
                await site.first.start()
                listening.append(time.monotonic() - killed_s)
                progress.append(await scene.progress(PROGRESS_S))
            await scene.quiet()
            findings.judge(
                "progress after every kill",
                len(progress) == plan.kills,
                f"{len(progress)} of {plan.kills}, slowest {seconds(max(progress))} after it listened",
            )
            median = seconds(percentile(listening, 0.5))
            findings.timed("listening again after kill -9", max(listening), LISTENING_S, f"median {median}")
            await conclude(
                findings,
                scene.diary,
                scene.clients,
                Minimum(100 * plan.kills, 1_000 * plan.kills, plan.kills),
            )
        no_traceback(findings, site)
