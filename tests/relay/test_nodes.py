"""Two nodes on one store: fast with a bus, right without one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from leeside_protocol.ids import AgencyId, MessageId, StateKind, state_key
from leeside_protocol.messages import Accepted, Batch, Beat, Entry, Live, Publish
from leeside_protocol.words import Lane
from leeside_server.adapters.memory import MemoryBus, MemoryExchange
from leeside_server.core.writes import Append
from leeside_server.ports import BusUnavailable
from tests.relay.world import DEADLINE_S, Client, World, joined, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)


class BadBus(MemoryBus):
    """Loses, doubles and reorders hints; or says that it is down."""

    def __init__(self, exchange: MemoryExchange, seed: int) -> None:
        super().__init__(exchange)
        self._random = random.Random(seed)
        self._kept: list[tuple[str, bytes]] = []
        self.down = False

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        if self.down:
            raise BusUnavailable
        for hint in batch:
            fate = self._random.random()
            if fate < 0.3:
                continue
            if fate < 0.5:
                self._kept.append(hint)
                continue
            await super().publish([hint])
            if fate < 0.7:
                await super().publish([hint])
            if self._kept and fate > 0.8:
                await super().publish([self._kept.pop()])

    def healthy(self) -> bool:
        return not self.down and super().healthy()


class CountingBus(MemoryBus):
    """Counts what is published."""

    def __init__(self, exchange: MemoryExchange | None) -> None:
        super().__init__(exchange)
        self.published = 0

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self.published += len(batch)
        await super().publish(batch)


def entries(client: Client) -> list[Entry]:
    """All entries that a client was given."""
    return [entry for batch in client.batches for entry in batch.entries]


async def poll(w: World) -> None:
    """A round of polling everything. A store that is too slow for it is asked again in the next one, as by a node."""
    for node in w.nodes:
        node.beats.poll_everything_next()
        with contextlib.suppress(TimeoutError):
            await node.beats.poll()


async def test_who_was_let_in_by_another_node_is_not_refused_for_good(tmp_path: Path) -> None:
    """The hint of the commit is still on its way; a message that is refused as `not_found` is given up."""
    # No exchange between them: the first node hears nothing of the second.
    buses = [MemoryBus(), MemoryBus()]
    async with world(tmp_path, nodes=2, buses=buses) as w, serving(w) as port:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        rooms = [await w.room(anna), await w.room(anna)]
        async with joined(w, port, anna) as a, joined(w, port, ben) as b:
            for room in rooms:
                await a.subscribe(room.content)
                room.members[ben.id] = 0b1110
                await w.commit(room, node=w.nodes[1])
            await b.publish(rooms[0], b"let in")
            assert (await b.expect(Accepted)).offset == 1
            assert (await b.subscribe(rooms[1].content)).status == 0


async def test_a_message_reaches_the_other_node(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=2) as w, serving(w, w.nodes[0]) as here, serving(w, w.nodes[1]) as there:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, here, anna) as a, joined(w, there, ben, node=w.nodes[1]) as b:
            await b.subscribe(room.content)
            await a.publish(room, b"over the bus")
            batch = await b.expect(Batch)
            assert (batch.after, batch.to) == (0, 1)
            assert batch.entries[0].device == anna.id
            key = state_key(StateKind.POSITION, anna.id)
            frame = room.frame(anna.id, b"here", key_class=2)
            await a.send(Publish(a.req(), room.content, Lane.STREAM, key, MessageId(os.urandom(16)), frame))
            assert (await b.expect(Live)).payload == frame


@pytest.mark.parametrize("exchange", [None, MemoryExchange()], ids=["alone", "shared"])
async def test_hints_are_made_when_another_node_may_hear_them(
    tmp_path: Path, exchange: MemoryExchange | None
) -> None:
    bus = CountingBus(exchange)
    async with world(tmp_path, buses=[bus]) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        room = await w.room(anna)
        async with joined(w, port, anna) as a, joined(w, port, anna) as b:
            await b.subscribe(room.content)
            await a.publish(room, b"one")
            assert (await b.expect(Batch)).to == 1
            await a.publish(room, b"two")
            assert (await b.expect(Batch)).to == 2
    assert bool(bus.published) is (exchange is not None)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_bus_does_everyone_ends_with_the_log(tmp_path: Path, seed: int) -> None:
    exchange = MemoryExchange()
    buses = [BadBus(exchange, seed), BadBus(exchange, seed + 100)]
    async with (
        world(tmp_path, nodes=2, buses=buses) as w,
        serving(w, w.nodes[0]) as here,
        serving(w, w.nodes[1]) as there,
    ):
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, here, anna) as a, joined(w, there, ben, node=w.nodes[1]) as b:
            await a.subscribe(room.content)
            await b.subscribe(room.content)
            for number in range(60):
                await (a if number % 2 else b).publish(room, b"%d" % number)
                if number == 30:
                    buses[0].down = True
            for client in (a, b):
                for _ in range(30):
                    await client.expect(Accepted)
            async with asyncio.timeout(DEADLINE_S):
                while any(node.hub.logs[AGENCY, room.content].head < 60 for node in w.nodes):
                    await poll(w)
                    await asyncio.sleep(0.01)
            for client in (a, b):
                while not client.batches or client.batches[-1].to < 60:
                    await client.expect(Batch)
            for client in (a, b):
                ends = [0, *(batch.to for batch in client.batches)]
                assert [batch.after for batch in client.batches] == ends[:-1]
                assert [e.offset for x in client.batches for e in x.entries] == list(range(1, 61))
            assert entries(a) == entries(b)


async def test_who_moves_to_a_node_that_heard_less_goes_on_where_they_stood(tmp_path: Path) -> None:
    """The last hints of a node that died went with it: its clients have more than the next node delivered. That is no
    other history, and they must not be told to drop theirs."""
    buses = [MemoryBus(), MemoryBus()]
    async with (
        world(tmp_path, nodes=2, buses=buses) as w,
        serving(w, w.nodes[0]) as here,
        serving(w, w.nodes[1]) as there,
    ):
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, there, ben, node=w.nodes[1]) as b:
            await b.subscribe(room.content)
            async with joined(w, here, anna) as a:
                before = await a.subscribe(room.content)
                await a.publish(room, b"one")
                assert (await a.expect(Batch)).to == 1
            async with joined(w, there, anna, node=w.nodes[1]) as a:
                answer = await a.subscribe(room.content, before.generation, 1)
                assert (answer.status, answer.head) == (0, 1)
                await a.publish(room, b"two")
                batch = await a.expect(Batch)
                assert (batch.after, batch.to) == (1, 2)
            assert [entry.offset for entry in await b.entries(2)] == [1, 2]


async def test_a_lost_last_hint_is_found_by_polling(tmp_path: Path) -> None:
    exchange = MemoryExchange()
    buses = [BadBus(exchange, 1), MemoryBus(exchange)]
    buses[0].down = True  # type: ignore[attr-defined]
    async with (
        world(tmp_path, nodes=2, buses=buses) as w,
        serving(w, w.nodes[0]) as a_port,
        serving(w, w.nodes[1]) as port,
    ):
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, a_port, anna) as a, joined(w, port, ben, node=w.nodes[1]) as b:
            await b.subscribe(room.content)
            await a.publish(room, b"unheard")
            await a.expect(Accepted)
            await poll(w)
            assert (await b.expect(Batch)).to == 1
            assert w.nodes[0].degraded
            assert isinstance(w.clock, FakeClock)
            w.clock.advance(10)
            await w.nodes[0].beats.check()
            assert (await a.expect(Beat)).degraded


async def test_a_planted_hint_is_never_delivered(tmp_path: Path) -> None:
    exchange = MemoryExchange()
    intruder = MemoryBus(exchange)
    overheard: list[tuple[str, bytes]] = []
    await intruder.start(lambda topic, data: overheard.append((topic, data)))
    buses = [MemoryBus(exchange), MemoryBus(exchange)]
    async with world(tmp_path, nodes=2, buses=buses) as w, serving(w, w.nodes[1]) as port:
        anna = await w.phone(AGENCY)
        room, other = await w.room(anna), await w.room(anna)
        async with joined(w, port, anna, node=w.nodes[1]) as a:
            await a.subscribe(room.content)
            await a.subscribe(other.content)
            topics = [f"{AGENCY.hex()}/{r.content.hex()}" for r in (room, other)]
            await intruder.subscribe(topics)
            real_frame = room.frame(anna.id, b"real")
            real_append = Append(room.content, Lane.LOG, b"", anna.id, MessageId(os.urandom(16)), real_frame)
            await w.write(AGENCY, real_append, node=w.nodes[0])
            await a.expect(Batch)
            _, real = overheard[0]
            await intruder.publish([(topics[1], real), (topics[1], os.urandom(80)), (topics[1], b"")])
            await a.publish(other, b"real too")
            batch = await a.expect(Batch)
            assert (batch.channel, batch.after, batch.to) == (other.content, 0, 1)
            refused = w.nodes[1].metrics.registry.get_sample_value("leeside_hints_refused_total")
            assert refused == 3
    await intruder.close()


async def test_nodes_leave_topics_that_nobody_follows(tmp_path: Path) -> None:
    async with world(tmp_path) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        room = await w.room(anna)
        async with joined(w, port, anna) as a:
            await a.subscribe(room.content)
            held = len(w.node.hub.logs)
            await w.node.beats.sweep()
            assert len(w.node.hub.logs) == held
        async with asyncio.timeout(DEADLINE_S):
            while len(w.node.sockets):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await w.node.beats.sweep()
        await w.node.beats.sweep()
        assert {log.address[:1] for log in w.node.hub.logs.values()} == {b"a"}
