"""slow: some clients never read while megabytes are pushed past them.

Promises: the others get everything, in time; the server's memory does not grow with what was pushed, only by a bounded
amount for each stalled client; those are closed with `slow` (a full run waits for it) or go on, and in the end they
hold everything.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from leeside_protocol.limits import STALL_S
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.diary import Diary
from tests.faults.disk import MB
from tests.faults.installation import embedded, workplace
from tests.faults.load import Client, Crowd, running
from tests.faults.node import Node
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.world import Entropy, Room, open_world, seal

READING: Final = 4
"""Clients that read, two of which publish."""
PUBLISHING: Final = 2
FILLER_BYTES: Final = 30_000
EACH_BYTES: Final = 200 * 1024
"""What one stalled client may cost in memory."""
SLACK_BYTES: Final = 4 * MB
"""What caches and the allocator may do beside that."""
RECEIVE_BYTES: Final = 32_768
LIVE_LIMIT_S: Final = 1.0
PUSH_S: Final = 120.0
CAUGHT_UP_S: Final = 60.0
CONGESTED_S: Final = 5.0
CONGESTED: Final = "leeside_sockets_congested"
CLOSED_SLOW: Final = r'leeside_closed_total\{code="slow"\}'


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does."""

    stalled: int
    pushed_bytes: int
    warm_bytes: int
    """Pushed before anybody stalls, so that the server's caches are full (SQLite's is 64 MiB)."""


PLANS: Final = {
    "short": Plan(8, 4 * MB, 72 * MB),
    "full": Plan(20, 40 * MB, 100 * MB),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with (
        workplace() as folder,
        embedded(folder) as site,
        open_world(site.first, READING + plan.stalled, [range(READING + plan.stalled)]) as world,
    ):
        diary, room = Diary(), world.rooms[0]
        clients = tuple(
            Client(
                device,
                site.first.port,
                [room.address],
                diary,
                receive_bytes=0 if number < READING else RECEIVE_BYTES,
            )
            for number, device in enumerate(world.devices)
        )
        reading, stalled = clients[:READING], clients[READING:]
        push = Push(room, clients[:PUBLISHING], reading, diary)
        async with running(reading, diary) as readers:
            await readers.all_live()
            alone = await push.through(readers, plan.warm_bytes)
            skipped = push.begun
            for client in stalled:
                # They join at the head: what went before was for the server's caches.
                client.followers[room.address].position = reading[0].followers[room.address].position
            async with running(stalled, diary) as others:
                await others.all_live()
                before = site.first.rss_bytes()
                for client in stalled:
                    client.stall()
                    findings.injected += 1
                beside = await push.through(readers, plan.pushed_bytes)
                grown = site.first.rss_bytes() - before
                await _judge_stall(findings, others, site.first, push.begun, room)
                for client in stalled:
                    client.recover()
                await Crowd(clients, diary).settled(CAUGHT_UP_S)
        findings.judge(
            "others go on beside stalled clients",
            beside.per_s > 0,
            f"{beside.per_s:.1f} MB/s delivered to readers, {alone.per_s:.1f} MB/s without stalled ones "
            f"({beside.per_s / alone.per_s:.2f} of it)",
        )
        findings.timed(
            "delivery to others, p99",
            beside.p99_s,
            LIVE_LIMIT_S,
            f"{seconds(alone.p99_s)} without stalled clients",
        )
        limit = plan.stalled * EACH_BYTES + SLACK_BYTES
        findings.judge(
            "memory is bounded for each stalled client",
            grown <= limit,
            f"{grown / 1024:.0f} KiB for {plan.stalled} clients and {plan.pushed_bytes // MB} MB pushed past each "
            f"(at most {limit // 1024} KiB)",
        )
        whole = len(clients) * push.begun - len(stalled) * skipped
        findings.judge(
            "everybody holds everything in the end",
            diary.delivered == whole,
            f"{diary.delivered} of {whole} entries",
        )
        await conclude(findings, diary, clients, Minimum(push.begun, whole, plan.stalled))
        no_traceback(findings, site)


async def _judge_stall(findings: Findings, others: Crowd, node: Node, begun: int, room: Room) -> None:
    """That they were really stalled, and in a full run that the server gave them up for it."""
    stalled = others.clients
    unread = all(c.followers[room.address].position.offset < begun for c in stalled)
    congested = await _counted(others, node, CONGESTED, len(stalled), CONGESTED_S)
    findings.judge(
        "the stalled clients really had not read it",
        unread and congested == len(stalled),
        f"{congested} of {len(stalled)} congested",
    )
    if findings.full:
        closed = await _counted(others, node, CLOSED_SLOW, len(stalled), 2 * STALL_S)
        findings.judge(
            "stalled clients are closed with `slow`", closed == len(stalled), f"{closed} of {len(stalled)}"
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """How a push went for those who read."""

    per_s: float
    """Megabytes a second, to all readers together."""
    p99_s: float


@dataclass(slots=True)
class Push:
    """Large messages, published in turn as fast as they are accepted."""

    room: Room
    senders: tuple[Client, ...]
    readers: tuple[Client, ...]
    diary: Diary
    begun: int = 0

    async def through(self, crowd: Crowd, size_bytes: int) -> Pace:
        """Push that much; returns once every reader has it."""
        loop = asyncio.get_running_loop()
        each = size_bytes // FILLER_BYTES // len(self.senders) + 1
        entropy = Entropy()
        for client in self.senders:
            sealed = seal(
                self.room,
                client.device,
                each,
                first_req=self.begun + 1,
                filler_bytes=FILLER_BYTES,
                entropy=entropy,
            )
            client.outbox.ready.extend(sealed)
        self.begun += each * len(self.senders)
        began_s = loop.time()

        def done() -> bool:
            for client in self.senders:
                while client.send_next():
                    pass
            return all(c.idle for c in self.senders) and all(
                c.followers[self.room.address].position.offset >= self.begun for c in self.readers
            )

        took_s = await crowd.until(f"{size_bytes // MB} MB delivered to all readers", done, PUSH_S)
        readers = frozenset[bytes](c.device.id for c in self.readers)
        lags = self.diary.lags_between(self.diary.delivery_lags, began_s, loop.time(), readers)
        pushed = each * len(self.senders) * FILLER_BYTES * len(self.readers)
        return Pace(pushed / MB / took_s, percentile(lags, 0.99))


async def _counted(crowd: Crowd, node: Node, metric: str, wanted: int, deadline_s: float) -> int:
    """What a metric says: once it says what is wanted, or at the deadline."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while True:
        crowd.check()
        answer = await node.ask("/metrics")
        found = None if answer is None else re.search(metric + r" ([0-9.e+]+)", answer[1].decode())
        count = 0 if found is None else int(float(found[1]))
        if count == wanted or loop.time() - began_s > deadline_s:
            return count
        await asyncio.sleep(0.2)
