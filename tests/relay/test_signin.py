"""Hellos in batches: one way to the store for many, and nobody's fault is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import Hello
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.core.notices import Access
from leeside_server.core.writes import Object
from leeside_server.relay.signin import BATCH, proof_input
from leeside_server.relay.tokens import Claims
from tests.relay.world import Phone, World, world

AGENCY = AgencyId(b"A" * 16)
NONCE = b"n" * 16


class CountingStore(SqliteStore):
    """Says how often rows were asked for; `revoke` is revoked between reading and answering."""

    reads = 0
    world: World
    revoke: Phone | None = None

    async def get_many(self, names: Sequence[tuple[AgencyId, str, bytes]]) -> Sequence[Object | None]:
        self.reads += 1
        found = await super().get_many(names)
        if self.revoke is not None:
            await self.world.out(AGENCY, Access.DEVICE_OUT, self.revoke.id)
            # Delivered to the node's own list at the end of the tick.
            await asyncio.sleep(0)
        return found


@dataclass
class Peer:
    """A socket that notes what became of it."""

    closed: bool = False
    faulty: bool = False
    claims: Claims | None = None
    code: CloseCode | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def admitted(self, claims: Claims) -> None:
        if self.faulty:
            self.faulty = False
            raise RuntimeError("a fault of ours")
        self.claims = claims
        self.done.set()

    def close(self, code: CloseCode) -> None:
        self.closed, self.code = True, code
        self.done.set()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[CountingStore]:
    opened = await CountingStore.open(tmp_path / "counting.db")
    assert isinstance(opened, CountingStore)
    yield opened
    await opened.close()


@pytest.fixture
async def w(tmp_path: Path, store: CountingStore) -> AsyncGenerator[World]:
    async with world(tmp_path, store=store) as made:
        store.world = made
        yield made


def hello(w: World, phone: Phone, nonce: bytes = NONCE) -> Hello:
    token = w.token(phone)
    return Hello(token, phone.key.sign(proof_input(nonce, token)))


async def test_what_waits_is_read_together(w: World, store: CountingStore) -> None:
    phones = [await w.phone(AGENCY) for _ in range(3)]
    peers = [Peer() for _ in range(BATCH)]
    for number, peer in enumerate(peers):
        w.node.sign_ins.add(hello(w, phones[number % 3]), NONCE, peer)
    for peer in peers:
        await peer.done.wait()
    assert store.reads == 1
    assert [peer.claims and peer.claims.device for peer in peers] == [
        phones[number % 3].id for number in range(BATCH)
    ]


async def test_each_of_a_batch_has_its_own_answer(w: World) -> None:
    anna, nobody = (
        await w.phone(AGENCY),
        Phone(AGENCY, (await w.phone(AGENCY)).id, (await w.phone(AGENCY)).key),
    )
    good, wrong_key, wrong_nonce, no_token, gone, faulty, last = (Peer() for _ in range(7))
    gone.closed, faulty.faulty = True, True
    add = w.node.sign_ins.add
    add(hello(w, anna), NONCE, good)
    add(hello(w, nobody), NONCE, wrong_key)
    add(hello(w, anna, b"m" * 16), NONCE, wrong_nonce)
    add(Hello("nonsense", bytes(64)), NONCE, no_token)
    add(hello(w, anna), NONCE, gone)
    add(hello(w, anna), NONCE, faulty)
    add(hello(w, anna), NONCE, last)
    await last.done.wait()
    assert good.claims is not None
    assert last.claims is not None
    assert [p.code for p in (wrong_key, wrong_nonce, no_token)] == [CloseCode.TOKEN_INVALID] * 3
    assert (gone.claims, gone.code) == (None, None)
    assert faulty.code is CloseCode.INTERNAL


async def test_who_is_revoked_behind_the_read_is_not_let_in(w: World, store: CountingStore) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    store.revoke = anna
    first, second = Peer(), Peer()
    w.node.sign_ins.add(hello(w, anna), NONCE, first)
    w.node.sign_ins.add(hello(w, ben), NONCE, second)
    await second.done.wait()
    assert (first.claims, first.code) == (None, CloseCode.REVOKED)
    assert second.claims is not None
