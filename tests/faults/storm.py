"""storm: hundreds of clients, each far behind, come back at the same moment.

Promises: everybody gets everything in order, exactly once; meanwhile a live conversation in another room stays under
one second at the 99th percentile (G9). The conversation is measured by a process of its own (`probe`).

How long a storm lasts is the server's to say, so a fast one would end before the conversation had said enough to judge:
then the same crowd comes back once more, as new sockets, until enough was said.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from leeside_protocol.ids import ChannelAddress
from leeside_protocol.messages import Entry
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.diary import Diary
from tests.faults.installation import embedded, workplace
from tests.faults.load import Client, running
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.probe import PACE_S, Report, conversation
from tests.faults.world import ROSTER, Entropy, World, digest_of, open_world, seal

PUBLISHING: Final = 4
LIVE_LIMIT_S: Final = 1.0
CAUGHT_UP_S: Final = 240.0
ALONE_S: Final = 3.0
MARGIN: Final = 2.0
"""Storm to have had, over what the conversation needs at its pace: a busy machine keeps it from every second word."""

Span: TypeAlias = tuple[float, float]
"""When a storm began and ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. More clients than devices: a device may hold several sockets. `talk`: live messages that
    a verdict needs."""

    clients: int
    devices: int
    messages: int
    talk: int


PLANS: Final = {
    "short": Plan(60, 20, 200, 20),
    "full": Plan(600, ROSTER - 1, 2_000, 100),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with (
        workplace() as folder,
        embedded(folder) as site,
        # The first room has everybody in it, the second one the conversation: its two devices alone.
        open_world(site.first, plan.devices + 1, [range(plan.devices), [plan.devices]]) as world,
    ):
        behind, talk = world.rooms
        diary = await _fill(world, plan, site.first.port)
        written = [ack.offset for ack in diary.history.acked]
        entropy = Entropy()
        lines = seal(talk, talk.devices[0], int((CAUGHT_UP_S + ALONE_S) / PACE_S), entropy=entropy)
        checker = Checker(behind.address, {a.offset: (a.id, a.digest) for a in diary.history.acked})
        loop = asyncio.get_running_loop()
        async with conversation(site.first, talk, talk.devices[0], talk.devices[1], lines) as probe:
            os.nice(5)
            alone_s = loop.time()
            await asyncio.sleep(ALONE_S)
            storms: list[Span] = []
            while sum(ended - began for began, ended in storms) < plan.talk * PACE_S * MARGIN:
                clients = [
                    Client(
                        world.devices[n % plan.devices],
                        site.first.port,
                        [behind.address],
                        diary,
                        checker.take,
                    )
                    for n in range(plan.clients)
                ]
                began_s = loop.time()
                async with running(clients, diary) as crowd:
                    findings.injected += len(clients)
                    await crowd.all_live(CAUGHT_UP_S)
                storms.append((began_s, loop.time()))
            report = await probe.report()
        _judge(findings, plan, report, alone_s, storms)
        whole = findings.injected * len(written)
        took_s = sum(ended - began for began, ended in storms)
        findings.judge(
            "everybody gets everything in order, exactly once",
            checker.taken == whole and not checker.wrong,
            f"{checker.taken} of {whole} entries in {seconds(took_s)}, {len(storms)} storms, "
            f"{checker.taken / took_s:.0f}/s; {checker.wrong} wrong",
        )
        diary.delivered += checker.taken
        members = [Client(d, site.first.port, [behind.address], diary) for d in world.devices[: plan.devices]]
        await conclude(findings, diary, members, Minimum(plan.messages, whole, plan.clients))
        no_traceback(findings, site)


async def _fill(world: World, plan: Plan, port: int) -> Diary:
    """Publish what everybody will be behind."""
    diary = Diary()
    room = world.rooms[0]
    publishing = [Client(d, port, [room.address], diary) for d in world.devices[:PUBLISHING]]
    entropy = Entropy()
    for client in publishing:
        client.outbox.ready.extend(seal(room, client.device, plan.messages // PUBLISHING, entropy=entropy))
    async with running(publishing, diary) as crowd:
        await crowd.all_live()
        async with asyncio.TaskGroup() as group:
            sent = asyncio.Event()
            group.create_task(crowd.publish(2_000, sent.is_set))
            await crowd.until("the backlog is written", lambda: all(c.idle for c in publishing), CAUGHT_UP_S)
            sent.set()
        await crowd.settled()
    return diary


@dataclass(slots=True)
class Checker:
    """Compares millions of entries as they come, without keeping them."""

    room: ChannelAddress
    expected: dict[int, tuple[bytes, bytes]]
    taken: int = 0
    wrong: int = 0
    _last: dict[Client, int] = field(default_factory=dict[Client, int])

    def take(self, client: Client, room: ChannelAddress, entries: tuple[Entry, ...]) -> None:
        """`load.Taker`: the follower before us has seen to it that the range has no hole."""
        last = self._last.get(client, 0)
        for entry in entries:
            known = self.expected.get(entry.offset)
            if known != (entry.id, digest_of(entry.payload)) or entry.offset != last + 1:
                self.wrong += 1
            last = entry.offset
        self._last[client] = last
        self.taken += len(entries)


def _judge(findings: Findings, plan: Plan, report: Report, alone_s: float, storms: Sequence[Span]) -> None:
    """Judge the live conversation during the storms against itself before them."""
    before = [row for row in report.sent if alone_s <= row[0] < storms[0][0]]
    during = [row for row in report.sent if any(began <= row[0] < ended for began, ended in storms)]
    lost = [row for row in report.sent if row[1] < 0 or row[2] < 0]
    findings.judge(
        "every live message is acknowledged and delivered", not lost, f"{len(lost)} of {len(report.sent)} not"
    )
    shown, shown_before = [row[2] for row in during], [row[2] for row in before]
    findings.timed(
        "live delivery during the storm, p99",
        percentile(shown, 0.99),
        LIVE_LIMIT_S,
        f"p50 {seconds(percentile(shown, 0.5))} of {len(shown)}; before it p99 {seconds(percentile(shown_before, 0.99))}, "
        f"p50 {seconds(percentile(shown_before, 0.5))}",
    )
    findings.minimum("live messages during the storm", len(during), plan.talk)
