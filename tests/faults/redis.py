"""redis: two nodes on PostgreSQL, and the bus between them breaks in every way that it can.

Promises: publishing and order do not depend on the bus; a message reaches readers on the other node within 5 s while
the bus is down, wedged or forgetful; `/readyz` tells `degraded` while it is, and `ok` again afterwards; nodes start
without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.installation import Installation, two_nodes, workplace
from tests.faults.load import LoadFailed
from tests.faults.machine import all_cores, on_cores
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.scene import Load, Scene, under_load
from tests.support.services import HOST, RedisServer

DELIVERY_LIMIT_S: Final = 5.0
TOLD_S: Final = 15.0
HEALTHY_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. `held_s`: how long a fault lasts that has an end of its own choosing."""

    load: Load
    held_s: float
    resets: int
    baseline_s: float


PLANS: Final = {
    "short": Plan(Load(20, 200, 500), 3.5, 3, 1.0),
    "full": Plan(Load(60, 400, 1_500), 8.0, 10, 5.0),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with workplace() as folder, two_nodes(folder) as site, under_load(site, plan.load) as scene:
        redis = site.redis
        assert redis is not None
        await scene.baseline(findings, plan.baseline_s)
        stage = Stage(findings, plan, site, scene, redis)
        await stage.hold("killed", _kill, _start)
        await stage.hold("black hole (SIGSTOP)", _freeze, _thaw)
        await stage.touch("connections reset", _reset_connections, plan.resets)
        await stage.touch("FLUSHALL", _flush, 1)
        # Judged here: the node that is stopped next refuses what comes while it drains.
        findings.judge(
            "publishing never failed for want of the bus",
            not scene.diary.refused,
            f"{scene.diary.acknowledged} acknowledged; refusals: {dict(scene.diary.refused) or 'none'}",
        )
        await stage.absent_at_start()
        await scene.quiet()
        await conclude(findings, scene.diary, scene.clients, Minimum(500, 5_000, 4 + plan.resets))
        no_traceback(findings, site)


@dataclass(slots=True)
class Stage:
    """One kind of fault after the other, each judged by what was delivered in its time."""

    findings: Findings
    plan: Plan
    site: Installation
    scene: Scene
    redis: RedisServer

    async def hold(
        self,
        name: str,
        begin: Callable[[RedisServer], Awaitable[None]],
        end: Callable[[RedisServer], Awaitable[None]],
    ) -> None:
        """A fault that lasts: it must be told, and delivery must go on meanwhile."""
        loop = asyncio.get_running_loop()
        from_s = loop.time()
        await begin(self.redis)
        self.findings.injected += 1
        told_s = await self._until_bus("degraded", TOLD_S)
        acknowledged = self.scene.diary.acknowledged
        # Long enough for what was sent into the fault to be late by more than its limit.
        await asyncio.sleep(self.plan.held_s)
        gained = self.scene.diary.acknowledged - acknowledged
        await end(self.redis)
        healthy_s = await self._until_bus("ok", HEALTHY_S)
        self.findings.judge(
            f"bus {name}: readyz tells degraded, then ok", True, f"{seconds(told_s)}, {seconds(healthy_s)}"
        )
        self.findings.judge(f"bus {name}: publishing goes on", gained > 0, f"{gained} acknowledged meanwhile")
        self._judge_delivery(name, from_s)

    async def touch(self, name: str, act: Callable[[RedisServer], Awaitable[None]], times: int) -> None:
        """A fault of a moment, some times over."""
        loop = asyncio.get_running_loop()
        from_s = loop.time()
        for _ in range(times):
            await act(self.redis)
            self.findings.injected += 1
            await self.scene.progress(10)
            await self._until_bus("ok", HEALTHY_S)
        await self.scene.progress(10)
        self._judge_delivery(name, from_s)

    async def absent_at_start(self) -> None:
        """The second node starts while there is no Redis: it serves, degraded, and joins the bus once there is one."""
        loop = asyncio.get_running_loop()
        node = self.site.nodes[1]
        from_s = loop.time()
        await node.stop()
        await _kill(self.redis)
        self.findings.injected += 1
        await node.start()
        connected_s = await self.scene.crowd.all_live(30)
        state = await node.readiness()
        shown = self.scene.diary.delivered
        await self.scene.progress(10)
        await self.scene.crowd.until("delivery without a bus", lambda: self.scene.diary.delivered > shown, 10)
        await _start(self.redis)
        healthy_s = await self._until_bus("ok", HEALTHY_S)
        self.findings.judge(
            "bus absent at start: the node serves, degraded, and joins later",
            state.get("http") == "200" and state.get("bus") == "degraded",
            f"readyz said {state}, clients were back in {seconds(connected_s)}; ok {seconds(healthy_s)} after Redis came",
        )
        self._judge_delivery("absent at start", from_s, timed=False)

    async def _until_bus(self, wanted: str, deadline_s: float) -> float:
        """Wait until both nodes say so in `/readyz`; the seconds that took."""
        loop = asyncio.get_running_loop()
        from_s = loop.time()
        while True:
            states = [await node.readiness() for node in self.site.nodes]
            if all(state.get("bus") == wanted and state.get("http") == "200" for state in states):
                return loop.time() - from_s
            if loop.time() - from_s > deadline_s:
                raise LoadFailed(f"readyz did not say {wanted} within {deadline_s:.0f} s, but {states}")
            await asyncio.sleep(0.05)

    def _judge_delivery(self, name: str, from_s: float, *, timed: bool = True) -> None:
        diary = self.scene.diary
        lags = diary.lags_between(diary.delivery_lags, from_s, asyncio.get_running_loop().time())
        self.findings.judge(f"bus {name}: messages are delivered", bool(lags), f"{len(lags)} delivered")
        if timed:
            median = seconds(percentile(lags, 0.5))
            self.findings.timed(
                f"bus {name}: slowest delivery", max(lags, default=0.0), DELIVERY_LIMIT_S, f"median {median}"
            )


async def _kill(redis: RedisServer) -> None:
    await asyncio.to_thread(redis.kill)


async def _start(redis: RedisServer) -> None:
    with on_cores(all_cores()):
        await asyncio.to_thread(redis.start)


async def _freeze(redis: RedisServer) -> None:
    os.kill(redis.process.pid, signal.SIGSTOP)


async def _thaw(redis: RedisServer) -> None:
    os.kill(redis.process.pid, signal.SIGCONT)


async def _flush(redis: RedisServer) -> None:
    await asyncio.to_thread(redis.flush)


async def _reset_connections(redis: RedisServer) -> None:
    """Cut every connection of the nodes, by Redis's own command; publishing and subscribed ones alike."""

    def cut() -> None:
        with contextlib.closing(socket.create_connection((HOST, redis.port), timeout=5)) as connection:
            for kind in (b"pubsub", b"normal"):
                connection.sendall(b"CLIENT KILL TYPE %s SKIPME yes\r\n" % kind)
                if not connection.recv(64).startswith(b":"):
                    raise LoadFailed("Redis did not cut its connections")

    await asyncio.to_thread(cut)
