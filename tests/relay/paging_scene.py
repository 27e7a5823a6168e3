"""Pages on nodes that do nothing by themselves: two nodes over one store, a clock that tests move, ways that fail or hang."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from leeside_protocol.ids import AgencyId, DeviceId, MemberId, PageId
from leeside_protocol.words import Role
from leeside_server.adapters.memory import MemoryGateway, MemoryPush
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import AgencyRow, DeviceRow, DeviceState, MemberRow
from leeside_server.core.paging import PageKind, PageRow, open_page
from leeside_server.core.rows import KINDS, Held, R, Row, create, read
from leeside_server.core.writes import Item, Stored
from leeside_server.ports import PushUnavailable, Store, Subscription
from leeside_server.relay.beats import Beats
from leeside_server.relay.clockwork import Clockwork
from leeside_server.relay.node import Node
from leeside_server.relay.paging import Paging
from tests.relay.world import World, world
from tests.support.patience import PATIENCE_S
from tests.support.push_service import Browser

CONSULT = bytes(range(16))
PUSH_KEY = b"\x04" + bytes(64)


class Doors(MemoryPush):
    """Push services that take what comes, refuse it for now, or say nothing at all."""

    def __init__(self) -> None:
        super().__init__(PUSH_KEY)
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.answer = asyncio.Event()
        """Lets those go on that hang."""
        self.begun: list[str] = []

    async def send(self, to: Subscription, payload: bytes, ttl_s: int, topic: str = "") -> None:
        self.begun.append(to.endpoint)
        if to.endpoint in self.failing:
            raise PushUnavailable
        if to.endpoint in self.hanging:
            await self.answer.wait()
        await super().send(to, payload, ttl_s, topic)


@dataclass
class Outbox:
    """What tests do with pages."""

    world: World
    agency: AgencyId
    doors: Doors
    gateway: MemoryGateway
    captured: list[Coroutine[Any, Any, None]] = field(default_factory=list[Coroutine[Any, Any, None]])
    still: Node | None = None
    """The node that was stopped, or died."""

    @property
    def node(self) -> Node:
        return self.world.nodes[0]

    @property
    def other(self) -> Node:
        return self.world.nodes[1]

    @property
    def store(self) -> Store:
        return self.node.store

    async def keep(self, *rows: tuple[bytes, Row]) -> None:
        parts = tuple(create(key, row) for key, row in rows)
        (outcome,) = await self.store.apply([Item(self.agency, self.world.clock.now_ms(), parts)])
        assert isinstance(outcome, Stored)

    async def held(self, kind: type[R], key: bytes) -> Held[R]:
        found = await self.store.get(self.agency, KINDS[kind], key)
        assert found is not None
        return read(kind, found)

    async def member(self, phone: str = "") -> MemberId:
        member = MemberId(os.urandom(16))
        row = MemberRow((Role.PSYCHIATRIST,), self.world.clock.now_ms(), phone=phone)
        await self.keep((member, row))
        return member

    async def device(self, member: MemberId, *, subscribed: bool = True, duty: bool | None = None) -> str:
        """A device of this member, by its endpoint; `duty` None: nothing is known of it."""
        device = DeviceId(os.urandom(16))
        endpoint = f"https://push.test/{device.hex()}"
        row = DeviceRow(member, bytes(32), DeviceState.ACTIVE, "", "", 0)
        if subscribed:
            browser = Browser()
            row = DeviceRow(
                member,
                bytes(32),
                DeviceState.ACTIVE,
                "",
                "",
                0,
                push_endpoint=endpoint,
                push_public=browser.public,
                push_auth=browser.auth,
            )
        await self.keep((device, row))
        if duty is not None:
            save = self.node.probes.saved(device, None, DutyRow(member, on=duty))
            await self.store.apply([Item(self.agency, self.world.clock.now_ms(), (save,))])
        return endpoint

    async def page(self, member: MemberId, kind: PageKind = PageKind.CONSULT, **more: Any) -> PageId:
        """A page as whoever moves a consult writes it."""
        page = PageId(os.urandom(16))
        wall_ms = self.world.clock.now_ms()
        now_ms = await self.node.steady.now_ms()
        row = open_page(kind, member, now_ms=now_ms, wall_ms=wall_ms, consult=CONSULT, **more)
        parts = await self.node.paging.page_parts(self.agency, page, row)
        (outcome,) = await self.node.write([Item(self.agency, wall_ms, tuple(parts))])
        assert isinstance(outcome, Stored)
        return page

    async def row(self, page: PageId) -> PageRow:
        return (await self.held(PageRow, page)).row

    async def accept(self, page: PageId) -> None:
        """What an acceptance does to a page, on the other node, whatever is written of it meanwhile."""
        while True:
            held = await self.held(PageRow, page)
            item = Item(self.agency, self.world.clock.now_ms(), (self.other.paging.over_part(held),))
            if isinstance((await self.other.write([item]))[0], Stored):
                return

    async def turn(self, node: Node | None = None) -> None:
        """One turn of a node's clockwork for pages; returns once its attempts ended or hang."""
        node = node or self.node
        await node.paging.carry_out(await node.steady.now_ms())
        await self.quiet(node)

    async def quiet(self, node: Node) -> None:
        """Until nothing moves but what hangs."""
        async with asyncio.timeout(PATIENCE_S):
            while node.paging.running > self.hung + (len(self.captured) if node is self.still else 0):  # noqa: ASYNC110
                await asyncio.sleep(0)

    @property
    def hung(self) -> int:
        """Attempts that wait for a service which says nothing."""
        return 0 if self.doors.answer.is_set() else sum(one in self.doors.hanging for one in self.doors.begun)

    @contextlib.contextmanager
    def stopped(self, node: Node) -> Any:
        """A node that is stopped, or dies, between what it writes and what it begins: the attempts wait in `captured`."""
        self.still = node
        with patch.object(node, "spawn", self.captured.append):
            yield

    async def wake(self) -> None:
        """The stopped node goes on with what it was about to begin."""
        captured, self.captured = self.captured, []
        for attempt in captured:
            await attempt

    def sent(self) -> list[tuple[str, str]]:
        """(endpoint, page) of each push that was taken."""
        return [(endpoint, payload.decode().split()[-1]) for endpoint, payload, _ in self.doors.sent]


async def never(*_: object) -> None:
    await asyncio.Event().wait()


def no_loops(_: object) -> tuple[()]:
    """Instead of a node's loops."""
    return ()


@contextlib.asynccontextmanager
async def outbox(folder: Path, *, gateway: bool = True) -> AsyncGenerator[Outbox]:
    """Two nodes whose clockwork and beats stand still, on one store that has the tests' clock."""
    doors, calls = Doors(), MemoryGateway(on=gateway)
    with (
        patch.object(Clockwork, "loops", no_loops),
        patch.object(Beats, "loops", no_loops),
        patch.object(Paging, "look_forever", never),
    ):
        async with world(folder, nodes=2, push=doors, gateway=calls) as opened:

            async def now_ms() -> int:
                return opened.clock.now_ms()

            for node in opened.nodes:
                node.store.now_ms = now_ms  # type: ignore[method-assign]
            agency = AgencyId(os.urandom(16))
            made = Outbox(opened, agency, doors, calls)
            await made.keep((agency, AgencyRow("Harbour", bytes(32), 0)))
            yield made
            for attempt in made.captured:
                attempt.close()
