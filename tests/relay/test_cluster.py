"""The relay on what production runs on: PostgreSQL and Redis, and uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import uvloop

from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import Accepted
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.redis_bus import RedisBus
from leeside_server.adapters.redis_connection import RedisPlace
from leeside_server.core.notices import Access
from tests.relay.world import DEADLINE_S, World, joined, serving, world

AGENCY = AgencyId(b"A" * 16)


async def story(w: World) -> None:
    """Two people on two nodes hear each other in order; one loses access and is cut off, and resumes nothing."""
    first, last = w.nodes[0], w.nodes[-1]
    async with serving(w, first) as here, serving(w, last) as there:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, here, anna) as a, joined(w, there, ben, node=last) as b:
            for client in (a, b):
                await client.subscribe(room.content)
            for number in range(10):
                await (a if number % 2 else b).publish(room, b"%d" % number)
            got = [await client.entries(10) for client in (a, b)]
            assert got[0] == got[1]
            assert [entry.offset for entry in got[0]] == list(range(1, 11))
            await w.out(AGENCY, Access.DEVICE_OUT, ben.id)
            assert await b.closed() == CloseCode.REVOKED
            await a.publish(room, b"without ben")
            assert (await a.expect(Accepted)).offset == 11
        async with joined(w, there, anna, node=last) as again:
            assert (await again.subscribe(room.content, w.node.store.generation, 4)).status == 0
            assert [entry.offset for entry in await again.entries(7)] == list(range(5, 12))


async def test_two_nodes_on_postgresql_and_redis(tmp_path: Path, postgres_dsn: str, redis_url: str) -> None:
    store = await PostgresStore.open(postgres_dsn)
    try:
        buses = [RedisBus(RedisPlace(redis_url, "test:"), name) for name in ("one", "two")]
        async with world(tmp_path, nodes=2, store=store, buses=buses) as w:
            async with asyncio.timeout(DEADLINE_S):
                while not all(bus.healthy() for bus in buses):  # noqa: ASYNC110 - a bus tells nobody when it is well
                    await asyncio.sleep(0.01)
            await story(w)
    finally:
        await store.close()


def test_two_nodes_on_uvloop(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path, nodes=2) as w:
            await story(w)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
