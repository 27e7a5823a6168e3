"""Publishing over real sockets: exactly once, epochs, refusals."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelKind, MessageId, address
from leeside_protocol.limits import IN_FLIGHT_MESSAGES
from leeside_protocol.messages import Accepted, Batch, Online, Publish, Refused, Who
from leeside_protocol.words import Lane
from tests.relay.world import World, joined, serving, world

AGENCY = AgencyId(b"A" * 16)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def port(w: World) -> AsyncGenerator[int]:
    async with serving(w) as number:
        yield number


async def test_a_repeat_gets_the_first_offset_and_stands_once(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    name = os.urandom(16)
    async with joined(w, port, anna) as a:
        await a.publish(room, b"same", name)
        first = await a.expect(Accepted)
        await a.publish(room, b"same", name)
        again = await a.expect(Accepted)
        await a.publish(room, b"other", name)
        differs = await a.expect(Accepted)
    assert [first.repeat, again.repeat, differs.repeat] == [0, 1, 2]
    assert {first.offset, again.offset, differs.offset} == {1}
    counted = w.node.metrics.registry.get_sample_value
    assert (counted("leeside_published_total"), counted("leeside_repeated_total")) == (1, 2)
    assert (await w.node.store.read(AGENCY, room.content, 0, 10, 1 << 20)).head == 1


async def test_fifty_at_once_stand_once(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    name = os.urandom(16)
    async with joined(w, port, anna) as a, joined(w, port, anna) as b:
        for client in (a, b):
            for _ in range(25):
                await client.publish(room, b"same", name)
        answers = [await c.expect(Accepted) for c in (a, b) for _ in range(25)]
    assert sorted(x.repeat for x in answers) == [0] + [1] * 49
    assert {x.offset for x in answers} == {1}


async def test_more_than_may_be_in_flight_is_answered_all_the_same(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    count = 10 * IN_FLIGHT_MESSAGES
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        sent = [await a.publish(room, b"%d" % n) for n in range(count)]
        answers: list[Accepted] = []
        position = 0
        while len(answers) < count or position < count:
            message = await a.receive()
            if isinstance(message, Accepted):
                answers.append(message)
            elif isinstance(message, Batch):
                assert message.after == position
                position = message.to
        assert [x.req for x in answers] == sent
        assert [x.offset for x in answers] == list(range(1, count + 1))


async def test_a_repeat_of_an_older_epoch_is_accepted_and_a_new_message_is_stale(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    name = MessageId(os.urandom(16))
    old = room.frame(anna.id, b"sealed before")
    async with joined(w, port, anna) as a:
        await a.send(Publish(1, room.content, Lane.LOG, b"", name, old))
        first = await a.expect(Accepted)
        await w.commit(room)
        await w.commit(room, reason=2)
        await a.send(Publish(2, room.content, Lane.LOG, b"", name, old))
        assert (await a.expect(Accepted)) == Accepted(2, first.offset, first.generation, 1)
        await a.send(Publish(3, room.content, Lane.LOG, b"", MessageId(os.urandom(16)), old))
        stale = await a.expect(Refused)
        assert (stale.req, stale.error, stale.head) == (3, WireError.STALE, room.epoch)
        await a.publish(room, b"sealed anew", name)
        assert (await a.expect(Accepted)).repeat == 2


async def test_a_frame_of_an_epoch_that_this_node_has_not_seen_yet(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=2) as w, serving(w, w.nodes[1]) as port:
        anna = await w.phone(AGENCY)
        room = await w.room(anna)
        async with joined(w, port, anna, node=w.nodes[1]) as a:
            await a.publish(room, b"first")
            await a.expect(Accepted)
            await w.commit(room, node=w.nodes[0])
            await a.publish(room, b"second")
            assert (await a.expect(Accepted)).offset == 2


async def test_refusals_carry_their_number_and_leave_nothing(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    mine, foreign = await w.room(anna), await w.room(ben)
    frame = mine.frame(anna.id, b"x")
    name = MessageId(os.urandom(16))
    tries = [
        (foreign.content, foreign.frame(anna.id), WireError.NOT_FOUND),
        (address(ChannelKind.CONTENT, bytes(16)), frame, WireError.NOT_FOUND),
        (mine.epochs, frame, WireError.NOT_FOUND),
        (address(ChannelKind.INBOX, ben.id), frame, WireError.NOT_FOUND),
        (address(ChannelKind.DIRECTORY, AGENCY), frame, WireError.NOT_FOUND),
        (mine.content, mine.frame(ben.id), WireError.SEALING_REFUSED),
        (mine.content, b"plain words", WireError.SEALING_REFUSED),
    ]
    async with joined(w, port, anna) as a:
        for req, (log, payload, error) in enumerate(tries):
            await a.send(Publish(req, log, Lane.LOG, b"", name, payload))
            answer = await a.expect(Refused)
            assert (answer.req, answer.error, answer.retry_ms) == (req, error, 0)
        await a.publish(mine, b"still open", name)
        assert (await a.expect(Accepted)).repeat == 0


async def test_who_is_there(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, anna) as a:
        await w.node.beats.renew_presence()
        await a.send(Who(5, room.content))
        online = await a.expect(Online)
        assert (online.req, online.stale, online.devices) == (5, False, (anna.id,))
        async with joined(w, port, ben):
            await w.node.beats.renew_presence()
            await a.send(Who(6, room.content))
            assert set((await a.expect(Online)).devices) == {anna.id, ben.id}


async def test_two_writers_see_one_order(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, anna) as a, joined(w, port, ben) as b:
        await a.subscribe(room.content)
        await b.subscribe(room.content)
        await asyncio.gather(*(c.publish(room, b"%d" % n) for n in range(50) for c in (a, b)))
        seen = [await c.entries(100) for c in (a, b)]
        assert [e.id for e in seen[0]] == [e.id for e in seen[1]]
        assert [e.offset for e in seen[0]] == list(range(1, 101))
