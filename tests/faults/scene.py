"""An agency under load, to break something under: what most fault runs share.

async with under_load(site, Load(clients=40, rate_per_s=600, messages=150)) as scene:
    ...                     # break things; messages flow all the while
    await scene.quiet()     # no new messages; wait until all that was begun is answered and shown
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.faults.diary import Diary
from tests.faults.installation import Installation
from tests.faults.load import Client, Crowd, LoadFailed, load_outboxes, running
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.world import Entropy, World, open_world, seal

ROOM: Final = 10
"""Devices of a room, beside the supervisor's, which is in all of them."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much goes on. `messages` are sealed beforehand for each client."""

    clients: int
    rate_per_s: float
    messages: int
    room: int = ROOM
    filler_bytes: int = 0


@dataclass(slots=True)
class Scene:
    """The agency, its clients, and what they wrote down so far."""

    site: Installation
    world: World
    diary: Diary
    clients: tuple[Client, ...]
    crowd: Crowd
    load: Load
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def baseline(self, findings: Findings, duration_s: float) -> None:
        """Let the load run without a fault, to compare with."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.sleep(duration_s)
        took_s = loop.time() - began_s
        acks = self.diary.lags_between(self.diary.ack_lags, began_s, loop.time())
        shown = self.diary.lags_between(self.diary.delivery_lags, began_s, loop.time())
        findings.judge(
            "baseline without a fault: messages are acknowledged and delivered",
            bool(acks) and bool(shown),
            f"{len(acks) / took_s:.0f}/s acknowledged in {_shares(acks)}, {len(shown) / took_s:.0f}/s delivered in "
            f"{_shares(shown)} (p50, p99)",
        )

    async def progress(self, deadline_s: float) -> float:
        """Wait for an acknowledgement from now on; the seconds until it came. Raises `LoadFailed`."""
        loop = asyncio.get_running_loop()
        from_s = loop.time()
        while self.diary.last_ack_s < from_s:
            self.crowd.check()
            if not any(client.outbox.ready or client.outbox.flying for client in self.clients):
                raise LoadFailed("the load ran out of sealed messages: seal more")
            if loop.time() - from_s > deadline_s:
                raise LoadFailed(f"no message was acknowledged within {deadline_s:.0f} s")
            await asyncio.sleep(0.005)
        return self.diary.last_ack_s - from_s

    async def quiet(self, deadline_s: float = 60.0) -> None:
        """End the load; wait until every message that was begun is answered and shown to every reader."""
        self.ended.set()
        for client in self.clients:
            client.outbox.ready.clear()
        await self.crowd.settled(deadline_s)


@asynccontextmanager
async def under_load(site: Installation, load: Load) -> AsyncGenerator[Scene]:
    """Make the agency on the first node, spread its clients over all nodes, and let them publish in turn."""
    rooms = [
        range(start, min(start + load.room, load.clients)) for start in range(0, load.clients, load.room)
    ]
    async with open_world(site.first, load.clients, rooms) as world:
        diary = Diary()
        clients = tuple(
            Client(
                device,
                site.nodes[number % len(site.nodes)].port,
                [room.address for room in world.rooms_of(device)],
                diary,
            )
            for number, device in enumerate(world.devices)
        )
        entropy = Entropy()
        load_outboxes(
            clients,
            lambda c: seal(
                world.rooms_of(c.device)[-1],
                c.device,
                load.messages,
                filler_bytes=load.filler_bytes,
                entropy=entropy,
            ),
        )
        async with running(clients, diary) as crowd:
            await crowd.all_live()
            scene = Scene(site, world, diary, clients, crowd, load)
            async with asyncio.TaskGroup() as group:
                group.create_task(crowd.publish(load.rate_per_s, scene.ended.is_set))
                try:
                    yield scene
                finally:
                    scene.ended.set()


def _shares(lags: list[float]) -> str:
    return f"{seconds(percentile(lags, 0.5))}, {seconds(percentile(lags, 0.99))}"
