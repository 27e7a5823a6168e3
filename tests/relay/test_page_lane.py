"""The pages' own lane: a notice of a page passes the backlog of its socket, and of everybody else's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelKind, DeviceId, MessageId, address
from leeside_protocol.messages import Batch, Subscribe, Subscribed
from leeside_protocol.words import Lane
from leeside_server.core.notices import Notice, notices
from leeside_server.core.writes import Append, LogPage
from leeside_server.relay.catchup import READERS
from leeside_server.relay.hub import Hub
from leeside_server.relay.logs import Log
from leeside_server.relay.socket import Socket
from tests.relay.world import DEADLINE_S, Client, Phone, Room, World, joined, serving, world

AGENCY = AgencyId(b"A" * 16)
CLIENTS = 200


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture(params=["direct", "asgi"])
async def port(w: World, request: pytest.FixtureRequest) -> AsyncGenerator[int]:
    async with serving(w, direct=request.param == "direct") as number:
        yield number


def inbox(phone: Phone) -> ChannelAddress:
    return address(ChannelKind.INBOX, phone.id)


async def page(w: World, phone: Phone) -> None:
    """A notice as it stands in the item that moved a consult."""
    (notice,) = notices(Notice.PAGE, (os.urandom(16), os.urandom(16)), [phone.id], os.urandom)
    await w.write(AGENCY, notice)


async def talk(w: World, room: Room, device: DeviceId, count: int) -> None:
    frame = room.frame(device, os.urandom(30_000))
    for _ in range(count):
        await w.write(AGENCY, Append(room.content, Lane.LOG, b"", device, MessageId(os.urandom(16)), frame))


async def before_page(client: Client, log: ChannelAddress) -> int:
    """How many entries of other logs came before the notice."""
    came = 0
    while True:
        batch = await client.expect(Batch)
        if batch.channel == log:
            return came
        came += len(batch.entries)


def socket_of(w: World, device: DeviceId) -> Socket:
    return next(s for s in w.node.sockets.all() if s.claims is not None and s.device == device)


async def test_it_passes_the_backlog_of_a_socket_that_takes_no_more(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, ben, rcvbuf=8_192) as client:
        await client.subscribe(inbox(ben))
        await client.subscribe(room.content)
        slow = socket_of(w, ben.id)
        written = 0
        while not slow.congested:
            await talk(w, room, anna.id, 1)
            written += 1
        # All of this waits in the store.
        await talk(w, room, anna.id, 40)
        assert slow.congested
        unsent = slow.unsent_bytes
        await page(w, ben)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert slow.unsent_bytes > unsent, "it is written at the tick, and not kept for later"
        assert await before_page(client, inbox(ben)) <= written, "nothing of what waited"


async def test_a_socket_that_asks_for_its_inbox_last_follows_it_first(w: World, port: int) -> None:
    """Behind no more than the one log whose subscription is being made."""
    anna = await w.phone(AGENCY)
    rooms = [await w.room(anna) for _ in range(20)]
    async with joined(w, port, anna) as client:
        opening = asyncio.Event()
        opened = w.node.hub.opened

        async def held(_: Hub, log: Log) -> None:
            await opening.wait()
            await opened(log)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Hub, "opened", held)
            for room in rooms:
                await client.send(Subscribe(client.req(), room.content, 0, 0))
            await client.send(Subscribe(client.req(), inbox(anna), 0, 0))
            socket = socket_of(w, anna.id)
            async with asyncio.timeout(DEADLINE_S):
                while socket.session.in_flight_messages < 21:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            opening.set()
            order = [(await client.expect(Subscribed)).channel for _ in range(21)]
    assert order[1] == inbox(anna)
    assert [log for log in order if log != inbox(anna)] == [room.content for room in rooms]


async def test_it_passes_two_hundred_clients_that_catch_up(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reader of the store is at work for somebody's backlog, and hundreds of pages wait behind: it needs none."""
    talker = await w.phone(AGENCY)
    phones = [await w.phone(AGENCY) for _ in range(CLIENTS)]
    rooms = [await w.room(talker, *phones[at : at + 20]) for at in range(0, CLIENTS, 20)]
    for room in rooms:
        await talk(w, room, talker.id, 4)
    node, woken, go_on = w.node, phones[0], asyncio.Event()
    read = node.store.read

    async def slow(
        agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        if channel[:1] == ChannelKind.CONTENT.value and limit > 1:
            await go_on.wait()
        return await read(agency, channel, after, limit, max_bytes)

    monkeypatch.setattr(node.store, "read", slow)
    async with joined(w, port, woken) as client:
        await client.subscribe(inbox(woken))
        await client.subscribe(rooms[0].content)
        # The others, as the hub sees them: receivers that are far behind.
        for at, phone in enumerate(phones[1:], start=1):
            log = node.hub.pin(AGENCY, rooms[at // 20].content)
            await node.hub.opened(log)
            node.hub.follow(log, Behind(phone.id), 0)
        await page(w, woken)
        assert await before_page(client, inbox(woken)) == 0, "nor its own backlog"
        assert node.catchup.waiting >= CLIENTS - READERS
        go_on.set()
        assert len(await client.entries(4)) == 4


class Behind:
    """A receiver that takes whatever it is given."""

    agency = AGENCY
    congested = False

    def __init__(self, device: DeviceId) -> None:
        self.device = device

    def deliver(self, frames: bytes) -> None: ...

    def deliver_value(self, channel: ChannelAddress, key: bytes, frames: bytes) -> None: ...

    def lost(self, follow: object) -> None: ...
