"""Trouble for a whole installation: nodes killed and frozen at random, the database restarted, and when each was up.

async with trouble(site, uptime, Trouble(chance, (1.0, 3.0))) as made:
    ...                 # meanwhile every node is killed or frozen again and again
# all of them run again
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.faults.installation import Installation
from tests.faults.machine import all_cores, on_cores
from tests.faults.node import Node, NodeFailed
from tests.faults.uptime import STORE, Uptime
from tests.support.services import PostgresServer

STARTS: Final = 20
START_AGAIN_S: Final = 0.25
KILLED_SHARE: Final = 0.6
"""The others are frozen."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """How much. `every_s`: the range of a node's time in peace. `frozen_s`: of a freeze; `long_s`: of one in eight, longer
    than any lease. `restarts_s`: when the database is restarted, after the beginning."""

    chance: random.Random
    every_s: tuple[float, float]
    frozen_s: tuple[float, float] = (0.3, 2.5)
    long_s: float = 0.0
    restarts_s: tuple[float, ...] = ()
    frozen_share: float = 1.0 - KILLED_SHARE


@dataclass(slots=True)
class Made:
    """What was brought about."""

    killed: int = 0
    frozen: int = 0
    restarted: int = 0

    @property
    def count(self) -> int:
        return self.killed + self.frozen + self.restarted


def all_up(site: Installation, uptime: Uptime) -> None:
    """Everything runs now."""
    for part in (STORE, *(node.name for node in site.nodes)):
        uptime.up(part, time.time())


@asynccontextmanager
async def trouble(site: Installation, uptime: Uptime, plan: Trouble, made: Made) -> AsyncGenerator[None]:
    """Make trouble for as long as the block runs; behind it everything runs again."""
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for node in site.nodes:
            group.create_task(_haunt(node, uptime, plan, made, ended))
        for after_s in plan.restarts_s if site.postgres is not None else ():
            assert site.postgres is not None
            group.create_task(_restart(site.postgres, uptime, after_s, made, ended))
        try:
            yield
        finally:
            ended.set()


async def kill(node: Node, uptime: Uptime, made: Made) -> None:
    """`kill -9`, and start again at once."""
    uptime.down(node.name, time.time())
    await node.kill()
    made.killed += 1
    await _start(node)
    uptime.up(node.name, time.time())


async def _start(node: Node) -> None:
    """As systemd does: a node that finds no store ends, and is started once more. Raises `NodeFailed`."""
    for left in reversed(range(STARTS)):
        try:
            await node.start()
        except NodeFailed:
            if not left:
                raise
            await asyncio.sleep(START_AGAIN_S)
        else:
            return


async def _haunt(node: Node, uptime: Uptime, plan: Trouble, made: Made, ended: asyncio.Event) -> None:
    while not await _within(ended, plan.chance.uniform(*plan.every_s)):
        if plan.chance.random() >= plan.frozen_share:
            await kill(node, uptime, made)
            continue
        frozen_s = (
            plan.long_s
            if plan.chance.random() < 0.125 and plan.long_s
            else plan.chance.uniform(*plan.frozen_s)
        )
        uptime.down(node.name, time.time())
        node.freeze()
        made.frozen += 1
        await _within(ended, frozen_s)
        node.thaw()
        uptime.up(node.name, time.time())


async def _restart(
    postgres: PostgresServer, uptime: Uptime, after_s: float, made: Made, ended: asyncio.Event
) -> None:
    """In order and at once (`SIGINT`) the first time, then as after a crash: recovery reads the log."""
    if await _within(ended, after_s):
        return
    how = signal.SIGQUIT if made.restarted % 2 else signal.SIGINT
    uptime.down(STORE, time.time())
    await asyncio.to_thread(postgres.process.end, how)
    made.restarted += 1
    with on_cores(all_cores()):
        await asyncio.to_thread(postgres.start)
    uptime.up(STORE, time.time())


async def _within(ended: asyncio.Event, wait_s: float) -> bool:
    """Wait so long; whether the end came meanwhile."""
    try:
        async with asyncio.timeout(wait_s):
            await ended.wait()
    except TimeoutError:
        return False
    return True
