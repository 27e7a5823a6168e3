"""paging: from a request to the ring, and from an acceptance to the requester's screen, alone and while 200 catch up.

One node as it is shipped. A responder asks for a consult over HTTP, and the psychiatrist's open socket is told; then the
psychiatrist accepts, and the responder's socket is told, and its device has fetched the consult. Both times are measured by
turns without a load and while 200 clients take 2,000 messages each, over and over, in a process of their own. The limit is
the system's budget of 2 s at the 95th percentile, of which the ratio is the share. The push service and the gateway are
stubs that take everything at once: how soon they are asked is told too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from leeside.api import Api
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelAddress, LadderId, UnitId
from leeside_protocol.messages import Entry
from leeside_protocol.words import ConsultActionKind, ConsultState, Role
from leeside_server.core.notices import Notice
from tests.bench.catching_up import storms
from tests.bench.figures import LIMIT, Result, Row, figure
from tests.bench.programs import MeasureFailed, raise_file_limit
from tests.bench.rounds import QUIET_S, quiet, run_folder, tell
from tests.faults.agency import Device
from tests.faults.diary import Diary
from tests.faults.doors import Doors, Knock, open_doors
from tests.faults.installation import Installation, one_node
from tests.faults.load import Client, running
from tests.faults.node import NodeSettings, PagingBy
from tests.faults.outcome import percentile
from tests.faults.staff import Crew, Person, Staff, open_staff
from tests.faults.world import Entropy, Room, open_room, seal
from tests.support.services import HOST

BUDGET_S: Final = 2.0
SHARE: Final = 0.95
WAIT_S: Final = 30.0
A_DEVICE: Final = 3
"""Consults that one device may ask for before a supervisor must release them."""
WRITERS: Final = 4
RING, SCREEN, PUSH, CALL = (
    "request to ring",
    "acceptance to screen",
    "request to push service",
    "request to gateway",
)
ALONE, BEHIND = "nobody catching up", "catching up"


@dataclass(frozen=True, slots=True)
class Plan:
    """`consults`: in each round, without the load and with it."""

    clients: int
    messages: int
    consults: int
    rounds: int


SHORT: Final = Plan(20, 200, 4, 1)
FULL: Final = Plan(200, 2_000, 20, 5)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    raise_file_limit(4 * plan.clients + 1_000)
    times: dict[str, dict[str, list[float]]] = {ALONE: {}, BEHIND: {}}
    storm_count = 0
    with run_folder() as folder:
        async with open_doors(1) as doors:
            settings = NodeSettings(paging_by=PagingBy(doors.gateway_url, (HOST,)))
            async with one_node(folder, settings) as site, _stage(site, doors, plan) as stage:
                for number in range(1, plan.rounds + 1):
                    tell(f"round {number} of {plan.rounds}: alone")
                    await quiet([site.first.pid])
                    await stage.measure(plan.consults, times[ALONE])
                    tell(f"round {number} of {plan.rounds}: {plan.clients} catch up")
                    await quiet([site.first.pid])
                    async with storms(
                        site.first.port, stage.behind.address, plan.messages, stage.crowd
                    ) as crowd:
                        await asyncio.sleep(QUIET_S)
                        await stage.measure(plan.consults, times[BEHIND])
                    storm_count += crowd.told
    if not storm_count:
        raise MeasureFailed("no storm came to its end: there was no load to measure under")
    for measure in (RING, SCREEN):
        for where in (ALONE, BEHIND):
            values = times[where][measure]
            who = f"{plan.clients} {BEHIND}, {plan.messages:,} messages each" if where is BEHIND else where
            result.add(
                Row(
                    f"{measure}, p95, {who}",
                    "s",
                    percentile(values, SHARE),
                    "budget of the system",
                    BUDGET_S,
                    LIMIT,
                    f"p50 {figure(percentile(values, 0.5), 's')}, slowest {figure(max(values), 's')} of {len(values)}",
                )
            )
    for measure in (PUSH, CALL):
        words = (
            f"{where} {figure(percentile(times[where][measure], SHARE), 's')}" for where in (ALONE, BEHIND)
        )
        result.notes.append(f"{measure}, p95: {', '.join(words)}")
    result.notes.append(f"{storm_count} storms of {plan.clients} clients came to their end meanwhile")


@dataclass(slots=True)
class Screens:
    """What devices are told: who waits for something is woken when it comes."""

    _came: dict[tuple[str, bytes], float] = field(default_factory=dict[tuple[str, bytes], float])
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, what: str, key: bytes) -> None:
        """Something came now; only the first time counts."""
        self._came.setdefault((what, key), time.monotonic())
        self._news.set()

    async def when(self, what: str, key: bytes) -> float:
        """The moment when it came. Raises `MeasureFailed` after `WAIT_S`."""
        try:
            async with asyncio.timeout(WAIT_S):
                while (what, key) not in self._came:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise MeasureFailed(f"{what} did not come") from None
        return self._came[what, key]

    def forget(self, what: str, key: bytes) -> None:
        """It may come again."""
        self._came.pop((what, key), None)


@dataclass(slots=True)
class Stage:
    """The people, and what their devices are told."""

    staff: Staff
    doors: Doors
    screens: Screens
    ladder: LadderId
    behind: Room
    crowd: tuple[Device, ...]
    _asked: int = 0

    async def measure(self, count: int, times: dict[str, list[float]]) -> None:
        """So many consults, one after the other."""
        for _ in range(count):
            by = self.staff.responders[self._asked // A_DEVICE]
            self._asked += 1
            await self._one(by, self.staff.psychiatrists[0], times)

    async def _one(self, by: Person, to: Person, times: dict[str, list[float]]) -> None:
        screens = self.screens
        wanted = self.staff.wanted(by, self.ladder, (to, self.staff.supervisor))
        consult = wanted.consult
        asked_s = time.monotonic()
        await by.api.create_consult(wanted)
        ring_s = await screens.when("ring", consult)
        times.setdefault(RING, []).append(ring_s - asked_s)
        page = bytes.fromhex(str((await to.api.consult(consult)).me.page))
        times.setdefault(PUSH, []).append(await screens.when("push", page) - asked_s)
        times.setdefault(CALL, []).append(await screens.when("voice", page) - asked_s)
        accepted_s = time.monotonic()
        accepting = asyncio.create_task(
            to.api.consult_action(consult, o.ConsultAction(ConsultActionKind.ACCEPT))
        )
        # The responder's device is told of every change; it has it once the answer says so.
        state = ConsultState.PAGING
        while state is not ConsultState.ACCEPTED:
            await screens.when("changed", by.device.id + consult)
            screens.forget("changed", by.device.id + consult)
            state = (await by.api.consult(consult)).state
        times.setdefault(SCREEN, []).append(time.monotonic() - accepted_s)
        await accepting
        await by.api.consult_action(consult, o.ConsultAction(ConsultActionKind.END))


@asynccontextmanager
async def _stage(site: Installation, doors: Doors, plan: Plan) -> AsyncGenerator[Stage]:
    """Make the agency, the log that the crowd will be behind, and open the screens."""
    asking = -(-2 * plan.consults * plan.rounds // A_DEVICE)
    async with AsyncExitStack() as stack:
        staff = await stack.enter_async_context(open_staff(site, doors, Crew(asking, 1)))
        member = await staff.office.create_member(r.NewMember((Role.RESPONDER,)))
        # A roster holds 200 devices, the supervisor's with them: the last client is one of these once more.
        devices = await staff.agency.enrol([(member, Role.RESPONDER)] * min(plan.clients, 199))
        crowd = tuple(devices[n % len(devices)] for n in range(plan.clients))
        behind = await _behind(site, staff, devices, plan.messages)
        to = staff.psychiatrists[0]
        step = o.LadderStep(members=(to.member.hex(),))
        ladder = await staff.ladder([step], staff.new_number())
        screens = Screens()

        def noticed(client: Client, inbox: ChannelAddress, entries: tuple[Entry, ...]) -> None:
            for entry in entries:
                kind, *ids = msgspec.msgpack.decode(entry.payload, type=tuple[int | bytes, ...])
                if kind == Notice.PAGE:
                    screens.told("ring", bytes(ids[1]))
                elif kind == Notice.CONSULT_CHANGED:
                    screens.told("changed", client.device.id + bytes(ids[0]))

        def knocked(knock: Knock) -> None:
            screens.told(knock.way, knock.page)

        doors.on_knock = knocked
        diary = Diary()
        listening = [
            Client(who.device, site.first.port, [who.inbox], diary, noticed)
            for who in (to, *staff.responders)
        ]
        screen = await stack.enter_async_context(running(listening, diary))
        await screen.all_live()
        yield Stage(staff, doors, screens, ladder, behind, crowd)


async def _behind(site: Installation, staff: Staff, devices: Sequence[Device], messages: int) -> Room:
    """A room of all these devices, with so many messages in it."""
    async with Api(site.first.url, staff.supervisor.device.session) as desk:
        unit = await staff.office.create_unit(r.NewUnit())
        seated = (staff.supervisor.device, *devices)
        room = await open_room(desk, staff.agency, UnitId(bytes.fromhex(unit.id)), seated)
    diary, entropy = Diary(), Entropy()
    writers = [Client(device, site.first.port, [room.address], diary) for device in devices[:WRITERS]]
    for writer in writers:
        writer.outbox.ready.extend(seal(room, writer.device, messages // WRITERS, entropy=entropy))
    async with running(writers, diary) as crowd:
        await crowd.all_live()
        sent = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(crowd.publish(2_000, sent.is_set))
            await crowd.until("the backlog is written", lambda: all(w.idle for w in writers), WAIT_S * 4)
            sent.set()
    return room
