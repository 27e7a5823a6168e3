"""Losing access: sockets close, delivery stops, on every node, with and without a bus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, MessageId, StateKind, state_key
from leeside_protocol.messages import Accepted, Batch, Live, Publish, Refused, Renew, Renewed, Unsubscribe
from leeside_protocol.words import Lane
from leeside_server.adapters.memory import MemoryBus, MemoryExchange
from leeside_server.core.notices import Access
from leeside_server.core.writes import Append, LogPage
from tests.relay.world import DEADLINE_S, Client, World, dial, joined, say_hello, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)


class BlackHole(MemoryBus):
    """Takes every hint, carries none, and has not noticed."""

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        return


def clock_of(w: World) -> FakeClock:
    assert isinstance(w.clock, FakeClock)
    return w.clock


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Access.DEVICE_OUT, CloseCode.REVOKED), (Access.SESSION_OUT, CloseCode.TOKEN_INVALID)],
)
async def test_open_sockets_close_on_every_node(tmp_path: Path, kind: Access, code: CloseCode) -> None:
    async with world(tmp_path, nodes=2) as w, serving(w, w.nodes[0]) as here, serving(w, w.nodes[1]) as there:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        async with (
            joined(w, here, anna) as a,
            joined(w, there, anna, node=w.nodes[1]) as a2,
            joined(w, here, ben) as b,
        ):
            await w.out(AGENCY, kind, anna.id if kind is Access.DEVICE_OUT else anna.session)
            assert await a.closed() == code
            assert await a2.closed() == code
            await b.send(Renew(1, w.token(ben)))
            await b.expect(Renewed)
        async with dial(here) as socket:
            late = Client(socket, anna)
            await say_hello(w, late)
            assert await late.closed() == code


async def test_who_gives_up_on_a_long_log_leaves_it_to_be_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leeside_server.relay.access.PAGE_ENTRIES", 1)
    async with world(tmp_path, nodes=2) as w:
        out = [(await w.phone(AGENCY)).id for _ in range(3)]
        for device in out:
            await w.out(AGENCY, Access.DEVICE_OUT, device)
        read, reads = w.node.store.read, 0
        slow, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(agency: AgencyId, log: ChannelAddress, after: int, limit: int, most: int) -> LogPage:
            nonlocal reads
            reads += 1
            if after:
                slow.set()
                await go_on.wait()
            return await read(agency, log, after, limit, most)

        monkeypatch.setattr(w.node.store, "read", slowly)
        access = w.nodes[1].access
        sign_in = asyncio.ensure_future(access.load(AGENCY))
        await slow.wait()
        sign_in.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sign_in
        go_on.set()
        async with asyncio.timeout(DEADLINE_S):
            await access.load(AGENCY)
        assert all(access.is_out(AGENCY, device) for device in out)
        assert reads == len(out)


async def test_a_black_holed_bus_does_not_delay_it_beyond_the_next_poll(tmp_path: Path) -> None:
    exchange = MemoryExchange()
    buses = [BlackHole(exchange), MemoryBus(exchange)]
    async with world(tmp_path, nodes=2, buses=buses) as w, serving(w, w.nodes[1]) as port:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, port, anna, node=w.nodes[1]) as a:
            await a.subscribe(room.content)
            await w.out(AGENCY, Access.DEVICE_OUT, anna.id)
            await w.nodes[1].beats.poll()
            assert await a.closed() == CloseCode.REVOKED
            device = ben.id
            await w.write(
                AGENCY,
                Append(room.content, Lane.LOG, b"", device, MessageId(os.urandom(16)), room.frame(device)),
                node=w.nodes[1],
            )


async def read_until_refused(client: Client) -> list[Batch]:
    """Batches up to the word that a log is lost."""
    got: list[Batch] = []
    while True:
        message = await client.receive()
        if isinstance(message, Batch):
            got.append(message)
        if isinstance(message, Refused):
            assert (message.req, message.error) == (0, WireError.NOT_FOUND)
            return got


@pytest.mark.parametrize("committing", [0, 1], ids=["same node", "other node"])
async def test_who_leaves_the_roster_gets_nothing_more(tmp_path: Path, committing: int) -> None:
    async with world(tmp_path, nodes=2) as w, serving(w, w.nodes[0]) as port:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, port, anna) as a, joined(w, port, ben) as b:
            for client in (a, b):
                await client.subscribe(room.content)
            await b.subscribe(room.epochs)
            await b.expect(Batch)
            del room.members[ben.id]
            await w.commit(room, reason=2, node=w.nodes[committing])
            # Both logs of the channel go, and the commit that ended it is not delivered.
            assert await read_until_refused(b) == []
            assert await read_until_refused(b) == []
            await a.publish(room, b"without ben")
            assert (await a.expect(Accepted)).offset == 1
            assert len(await a.entries(1)) == 1
            await b.publish(room, b"with ben")
            assert (await b.expect(Refused)).error == WireError.NOT_FOUND


@pytest.mark.parametrize("leaves", [False, True], ids=["by itself", "out of the roster"])
async def test_values_kept_for_a_slow_socket_go_with_the_log(tmp_path: Path, leaves: bool) -> None:
    async with world(tmp_path) as w, serving(w) as port:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room, other = await w.room(anna, ben), await w.room(anna, ben)
        async with joined(w, port, anna) as a, joined(w, port, ben) as b:
            for channel in (room, other):
                await b.subscribe(channel.content)
            slow = next(s for s in w.node.sockets.all() if s.claims is not None and s.device == ben.id)
            slow.on_congested()
            key = state_key(StateKind.POSITION, anna.id)
            for channel in (room, other):
                frame = channel.frame(anna.id, key_class=2)
                await a.send(
                    Publish(a.req(), channel.content, Lane.STREAM, key, MessageId(os.urandom(16)), frame)
                )
            await a.publish(other, b"after both")
            await a.expect(Accepted)
            if leaves:
                del room.members[ben.id]
                await w.commit(room, reason=2)
            else:
                await b.send(Unsubscribe(b.req(), room.content))
                while room.content in slow.follows:  # noqa: ASYNC110 - the socket has no event for it
                    await asyncio.sleep(0)
            slow.on_writable()
            live = await b.expect(Live)
            assert live.channel == other.content
            await b.publish(other, b"and nothing else")
            while not isinstance(message := await b.receive(), Accepted):
                assert not isinstance(message, Live)


async def test_a_message_of_the_new_epoch_never_overtakes_the_roster(tmp_path: Path) -> None:
    """The commit's hint is lost and the first frame of the new epoch arrives: the roster is read first."""

    class LosesEpochs(MemoryBus):
        async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
            await super().publish([(topic, data) for topic, data in batch if "/65" not in topic])

    exchange = MemoryExchange()
    async with (
        world(tmp_path, nodes=2, buses=[MemoryBus(exchange), LosesEpochs(exchange)]) as w,
        serving(w, w.nodes[0]) as port,
        serving(w, w.nodes[1]) as other,
    ):
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        async with joined(w, other, anna, node=w.nodes[1]) as a, joined(w, port, ben) as b:
            await b.subscribe(room.content)
            del room.members[ben.id]
            await w.commit(room, node=w.nodes[1])
            await a.publish(room, b"not for ben")
            await a.expect(Accepted)
            assert await read_until_refused(b) == []


async def test_a_token_is_renewed_only_for_the_same_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w, serving(w) as port:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        async with joined(w, port, anna) as a:
            await a.send(Renew(1, w.token(ben)))
            assert (await a.expect(Refused)).error == WireError.UNAUTHENTICATED
            await a.send(Renew(2, "not a token"))
            assert (await a.expect(Refused)).error == WireError.UNAUTHENTICATED
            clock_of(w).advance(20)
            await a.send(Renew(3, w.token(anna)))
            renewed = await a.expect(Renewed)
            assert renewed.token_until_ms > clock_of(w).now_ms()


async def test_the_socket_ends_with_its_token(tmp_path: Path) -> None:
    async with world(tmp_path) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        async with joined(w, port, anna) as a:
            for _ in range(11):
                clock_of(w).advance(28)
                await a.send(Renew(1, "keeps the socket busy, and is not a token"))
                if w.clock.monotonic_s() < 1_000 + 300:
                    await a.expect(Refused)
                await w.node.beats.check()
            assert await a.closed() == CloseCode.TOKEN_EXPIRED
