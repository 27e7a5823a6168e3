"""Coming in: who is let in, who is told what, and garbage from both sides of the door."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from leeside_protocol.codec import encode
from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import Accepted, Challenge, Hello, Subscribe, Welcome
from leeside_server.core.identity import DeviceState
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.signin import proof_input
from tests.relay.world import Client, Phone, World, dial, joined, say_hello, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)
SETTINGS = RelaySettings(public_origins=frozenset({"https://relay.example"}))


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path, settings=SETTINGS) as made:
        yield made


@pytest.fixture(params=["direct", "asgi"])
async def port(w: World, request: pytest.FixtureRequest) -> AsyncGenerator[int]:
    async with serving(w, direct=request.param == "direct") as number:
        yield number


async def refused(w: World, port: int, phone: Phone, token: str | None = None) -> int:
    """The close code of a sign-in."""
    async with dial(port) as socket:
        client = Client(socket, phone)
        await say_hello(w, client, token=token)
        return await client.closed()


async def test_welcome_says_how_long_and_how_much(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    async with dial(port, origin="https://relay.example") as socket:
        client = Client(socket, anna)
        await say_hello(w, client)
        welcome = await client.expect(Welcome)
    assert welcome.generation == w.node.store.generation
    assert (welcome.beat_s, welcome.in_flight_messages, welcome.in_flight_bytes) == (10, 64, 262_144)
    assert welcome.token_until_ms > welcome.server_ms


async def test_a_foreign_page_is_refused(w: World, port: int) -> None:
    async with dial(port, origin="https://evil.example") as socket:
        assert await Client(socket, await w.phone(AGENCY)).closed() == CloseCode.ORIGIN


async def test_another_subprotocol_is_refused(w: World, port: int) -> None:
    async with dial(port, subprotocol=None) as socket:
        assert await Client(socket, await w.phone(AGENCY)).closed() == CloseCode.UNSUPPORTED


async def test_a_token_that_is_none_an_expired_one_and_one_of_nobody(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    assert await refused(w, port, anna, "nonsense") == CloseCode.TOKEN_INVALID
    ghost = Phone(AGENCY, type(anna.id)(b"G" * 16), anna.key)
    assert await refused(w, port, ghost) == CloseCode.TOKEN_INVALID
    old = w.token(anna)
    assert isinstance(w.clock, FakeClock)
    w.clock.advance(301)
    assert await refused(w, port, anna, old) == CloseCode.TOKEN_EXPIRED


async def test_a_stolen_token_alone_opens_nothing(w: World, port: int) -> None:
    anna, thief = await w.phone(AGENCY), await w.phone(AGENCY)
    stolen = Phone(AGENCY, anna.id, thief.key, anna.session)
    assert await refused(w, port, stolen) == CloseCode.TOKEN_INVALID


async def test_a_proof_for_another_nonce_is_refused(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    async with dial(port) as socket:
        client = Client(socket, anna)
        await client.expect(Challenge)
        token = w.token(anna)
        await client.send(Hello(token, anna.key.sign(proof_input(bytes(16), token))))
        assert await client.closed() == CloseCode.TOKEN_INVALID


async def test_no_hello_in_time(w: World, port: int) -> None:
    async with dial(port) as socket:
        client = Client(socket, await w.phone(AGENCY))
        await client.expect(Challenge)
        assert isinstance(w.clock, FakeClock)
        w.clock.advance(10)
        await w.node.beats.check()
        assert await client.closed() == CloseCode.HELLO_TIMEOUT


async def test_a_hello_that_came_in_time_counts_though_it_was_not_read_yet(w: World) -> None:
    anna = await w.phone(AGENCY)
    async with serving(w) as port, dial(port) as socket:
        client = Client(socket, anna)
        challenge = await client.expect(Challenge)
        token = w.token(anna)
        hello = Hello(token, anna.key.sign(proof_input(challenge.nonce, token)))
        # Nothing between here and the check gives the server's side a turn.
        await client.send(hello)
        assert isinstance(w.clock, FakeClock)
        w.clock.advance(10)
        await w.node.beats.check()
        await client.expect(Welcome)


async def test_silence_ends_a_session(w: World, port: int) -> None:
    async with joined(w, port, await w.phone(AGENCY)) as a:
        assert isinstance(w.clock, FakeClock)
        w.clock.advance(30)
        await w.node.beats.check()
        assert await a.closed() == CloseCode.SILENT


async def test_a_full_node_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, settings=RelaySettings(sockets=1)) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        async with joined(w, port, anna), dial(port) as socket:
            assert await Client(socket, anna).closed() == CloseCode.CROWDED


async def test_a_draining_node_sends_clients_elsewhere_after_answering(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    async with joined(w, port, anna) as a:
        await a.publish(room, b"last")
        await a.expect(Accepted)
        await w.node.drain()
        assert await a.closed() == CloseCode.RESTART
    async with dial(port) as socket:
        assert await Client(socket, anna).closed() == CloseCode.RESTART


def garbage(seed: int) -> bytes:
    """Malformed, truncated, nested, doubled: what a broken or hostile client sends."""
    rng = random.Random(seed)
    valid = encode(Subscribe(1, b"c" + rng.randbytes(16)))  # type: ignore[arg-type]
    return rng.choice(
        [
            rng.randbytes(rng.randrange(200)),
            valid[: rng.randrange(len(valid))],
            valid + rng.randbytes(3),
            b"\x91" * rng.randrange(1, 5_000),
            b"\x82\xa1a\x01\xa1a\x02",
            b"\xdc\xff\xff" + rng.randbytes(20),
            b"\x92\x06\xc6\xff\xff\xff\xff",
            b"\x95\x06\xcf" + b"\xff" * 8 + b"\xc4\x11" + bytes(17) + b"\0\0",
            b"\xdf\xff\xff\xff\xff",
        ]
    )


async def closes(socket: ClientConnection, data: bytes) -> int | None:
    """What a message leads to: a close code, or None while the socket stays open."""
    try:
        await socket.send(data)
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code


@pytest.mark.parametrize("signed_in", [False, True], ids=["before", "after"])
async def test_garbage_closes_only_its_own_socket(
    w: World, port: int, signed_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        for seed in range(30):
            async with dial(port) as socket:
                if signed_in:
                    client = Client(socket, ben)
                    await say_hello(w, client)
                    await client.expect(Welcome)
                assert await closes(socket, garbage(seed)) == CloseCode.PROTOCOL
        await a.publish(room, b"undisturbed")
        assert len(await a.entries(1)) == 1
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_device_that_waits_for_approval_is_not_let_in(w: World, port: int) -> None:
    import msgspec

    from leeside_server.core.identity import DeviceRow
    from leeside_server.core.rows import KINDS
    from leeside_server.core.writes import Save

    for state, code in (
        (DeviceState.PENDING, CloseCode.TOKEN_INVALID),
        (DeviceState.REVOKED, CloseCode.REVOKED),
    ):
        phone = await w.phone(AGENCY)
        found = await w.node.store.get(AGENCY, KINDS[DeviceRow], phone.id)
        assert found is not None
        row = msgspec.structs.replace(msgspec.json.decode(found.body, type=DeviceRow), state=state)
        await w.write(AGENCY, Save(KINDS[DeviceRow], phone.id, found.revision, msgspec.json.encode(row)))
        assert await refused(w, port, phone) == code
