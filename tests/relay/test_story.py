"""One message between two real sockets, through SQLite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import Accepted, Batch
from tests.relay.world import joined, serving, world


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "asgi"])
async def test_a_message_reaches_both_after_it_is_durable(tmp_path: Path, direct: bool) -> None:
    async with world(tmp_path) as w, serving(w, direct=direct) as port:
        agency = AgencyId(os.urandom(16))
        anna, ben = await w.phone(agency), await w.phone(agency)
        room = await w.room(anna, ben)
        async with joined(w, port, anna) as a, joined(w, port, ben) as b:
            for client in (a, b):
                answer = await client.subscribe(room.content)
                assert (answer.status, answer.head) == (0, 0)
            req = await a.publish(room, b"hello")
            accepted = await a.expect(Accepted)
            assert (accepted.req, accepted.offset, accepted.repeat) == (req, 1, 0)
            for client in (a, b):
                batch = await client.expect(Batch)
                assert (batch.channel, batch.after, batch.to) == (room.content, 0, 1)
                assert batch.entries[0].device == anna.id
                assert batch.entries[0].payload == room.frame(anna.id, b"hello")
            page = await w.node.store.read(agency, room.content, 0, 10, 1 << 20)
            assert [e.offset for e in page.entries] == [1]
