"""The store away, full or late: what is promised then, and that everything goes on afterwards."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import jwt
import pytest

from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, MessageId, StateKind, state_key
from leeside_protocol.limits import IN_FLIGHT_MESSAGES
from leeside_protocol.messages import Accepted, Batch, Online, Publish, Refused, Subscribe, Subscribed, Who
from leeside_protocol.words import Lane
from leeside_server.adapters.memory import MemoryBus
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.core.channels import ChannelRow
from leeside_server.core.writes import Append, Item, LogPage, Object, Outcome
from leeside_server.ports import StoreFull, StoreUnavailable
from leeside_server.relay.app import READY_KEPT_S, build_app
from leeside_server.relay.intake import QUEUE_ITEMS, Intake
from leeside_server.relay.tokens import KEY_LEAD_MS, KEY_LIFE_MS, Tokens
from tests.relay.plain_store import PlainStore
from tests.relay.world import DEADLINE_S, SECRET, Client, Room, World, dial, joined, say_hello, serving, world

AGENCY = AgencyId(b"A" * 16)


class FaultyStore(SqliteStore):
    """SQLite, until a test takes it away."""

    away = False
    full = False
    refused: asyncio.Event
    """Set when something was refused for want of room."""
    silent: asyncio.Event | None = None
    """Set once it answers again: until then it is asked for heads in vain, as behind a broken network."""
    shorter: int | None = None
    """Where every log ends since history was lost."""
    before_heads: Callable[[], Awaitable[None]] | None = None
    """What happens between reading heads and answering."""

    async def apply(self, items: Sequence[Item]) -> Sequence[Outcome]:
        if self.full:
            self.refused.set()
            raise StoreFull
        if self.away:
            raise StoreUnavailable
        return await super().apply(items)

    async def read(
        self, agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        if self.away:
            raise StoreUnavailable
        return await super().read(agency, channel, after, limit, max_bytes)

    async def heads(self, channels: Sequence[tuple[AgencyId, ChannelAddress]]) -> Sequence[int]:
        if self.silent is not None:
            await self.silent.wait()
        if self.away:
            raise StoreUnavailable
        found = await super().heads(channels)
        if self.before_heads is not None:
            await self.before_heads()
        return found if self.shorter is None else [min(head, self.shorter) for head in found]

    async def get(self, agency: AgencyId, kind: str, key: bytes) -> Object | None:
        if self.away:
            raise StoreUnavailable
        return await super().get(agency, kind, key)

    async def get_many(self, names: Sequence[tuple[AgencyId, str, bytes]]) -> Sequence[Object | None]:
        if self.away:
            raise StoreUnavailable
        return await super().get_many(names)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[FaultyStore]:
    opened = await FaultyStore.open(tmp_path / "faulty.db")
    assert isinstance(opened, FaultyStore)
    opened.refused = asyncio.Event()
    yield opened
    await opened.close()


@pytest.fixture
async def w(tmp_path: Path, store: FaultyStore) -> AsyncGenerator[World]:
    async with world(tmp_path, store=store) as made:
        yield made


@pytest.fixture
async def port(w: World) -> AsyncGenerator[int]:
    async with serving(w) as number:
        yield number


async def test_a_publish_is_refused_with_the_reason_and_may_be_repeated(
    w: World, port: int, store: FaultyStore
) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    name = os.urandom(16)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        store.away = True
        await a.publish(room, b"kept by the sender", name)
        refused = await a.expect(Refused)
        assert (refused.error, refused.retry_ms) == (WireError.UNAVAILABLE, 1_000)
        store.away, store.full = False, True
        await a.publish(room, b"kept by the sender", name)
        assert (await a.expect(Refused)).error == WireError.STORAGE_FULL
        store.full = False
        await a.publish(room, b"kept by the sender", name)
        assert (await a.expect(Accepted)).repeat == 0
        batch = await a.expect(Batch)
        assert (batch.after, batch.to) == (0, 1)


async def test_a_subscription_that_cannot_be_read_is_refused(w: World, port: int, store: FaultyStore) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    async with joined(w, port, anna) as a:
        store.away = True
        await a.send(Subscribe(9, room.content))
        refused = await a.expect(Refused)
        assert (refused.req, refused.error) == (9, WireError.UNAVAILABLE)
        store.away = False
        assert (await a.subscribe(room.content)).status == 0


async def test_a_log_that_nobody_waits_for_any_more_is_opened_to_its_end(
    w: World, port: int, store: FaultyStore
) -> None:
    """A sign-in gives up sooner than the store, and tidying up comes in between."""
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    store.silent = asyncio.Event()
    log = w.node.hub.pin(AGENCY, room.content)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await w.node.hub.opened(log)
    w.node.hub.unpin(log)
    await w.node.beats.sweep()
    store.away = True
    store.silent.set()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(DEADLINE_S):
            await w.node.hub.opened(log)
    store.away, store.silent = False, None
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        await a.publish(room, b"goes on")
        assert len(await a.entries(1)) == 1


async def test_a_store_without_room_for_the_next_signing_key_ends_no_node(
    w: World, store: FaultyStore
) -> None:
    old = jwt.get_unverified_header(w.token(await w.phone(AGENCY)))["kid"]
    ben = await w.phone(AGENCY)
    w.clock.advance(KEY_LIFE_MS / 1000 - 60)
    store.full = True
    await w.node.beats.refresh_tokens()
    starting = Tokens(store, w.clock, SECRET, os.urandom)
    await starting.refresh()
    starting.verify(w.token(ben), w.clock.now_ms())
    store.full = False
    await w.node.beats.refresh_tokens()
    w.clock.advance(KEY_LEAD_MS / 1000)
    assert jwt.get_unverified_header(w.token(ben))["kid"] != old


async def test_a_node_lives_on_without_any_signing_key(
    tmp_path: Path, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leeside_server.relay.beats.TOKENS_S", 0.0)
    async with world(tmp_path, store=store) as w:
        store.full = True
        w.clock.advance(2 * KEY_LIFE_MS / 1000)
        store.refused.clear()
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(3):
                await store.refused.wait()
                store.refused.clear()


async def test_a_roster_that_could_not_be_read_anew_is_not_trusted(
    tmp_path: Path, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, store=store, nodes=2) as w:
        anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
        room = await w.room(anna, ben)
        here, there = w.nodes
        assert await here.heads.get(AGENCY, room.id) is not None
        del room.members[anna.id]
        await w.commit(room, node=there)
        with monkeypatch.context() as patch:
            patch.setattr(store, "get", away)
            with pytest.raises(StoreUnavailable):
                await here.heads.hold(AGENCY, room.id)
        await here.heads.hold(AGENCY, room.id)
        row = here.heads.held_row(AGENCY, room.id)
        assert row is not None
        assert (row.epoch, anna.id in row.masks) == (room.epoch, False)


async def test_a_read_from_before_a_channel_began_shuts_nobody_out_of_it(tmp_path: Path) -> None:
    """It looked first and is answered last: of a channel that stands and is followed by then."""
    store = PlainStore()
    async with world(tmp_path, store=store) as w:
        anna = await w.phone(AGENCY)
        room = Room(AGENCY, ChannelId(os.urandom(16)), {anna.id: 0b1110})
        store.turns = itertools.cycle((50, 1))
        early = asyncio.ensure_future(w.node.heads.refresh(AGENCY, room.id))
        await asyncio.sleep(0)
        store.turns = itertools.repeat(1)
        await w.commit(room)
        assert not early.done()
        found = await early
        assert found is w.node.heads.held_row(AGENCY, room.id)
        assert found is not None
        assert anna.id in found.masks


async def away(*_: object) -> Object | None:
    raise StoreUnavailable


async def test_a_fault_of_ours_costs_the_request_and_not_what_comes_behind_it(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    w.node.heads.forget()
    refresh = w.node.heads.refresh
    faults = 3

    async def faulty(agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise ValueError
        return await refresh(agency, channel)

    monkeypatch.setattr(w.node.heads, "refresh", faulty)
    async with joined(w, port, anna) as a:
        await a.publish(room, b"meets the fault")
        assert (await a.expect(Refused)).error == WireError.UNAVAILABLE
        for request in (Subscribe, Who):
            await a.send(request(a.req(), room.content))
            assert (await a.expect(Refused)).error == WireError.UNAVAILABLE
        await a.publish(room, b"behind it")
        assert (await a.expect(Accepted)).offset == 1
        assert (await a.subscribe(room.content)).head == 1
        await a.send(Who(a.req(), room.content))
        await a.expect(Online)


async def test_a_log_held_for_a_roster_that_cannot_be_read_goes_on_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, nodes=2) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        room = await w.room(anna)
        async with joined(w, port, anna) as a:
            await a.subscribe(room.content)
            refresh = w.node.heads.refresh
            faults = 2  # one for each of the two logs that are held

            async def faulty(agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
                nonlocal faults
                faults -= 1
                if faults >= 0:
                    raise ValueError
                return await refresh(agency, channel)

            monkeypatch.setattr(w.node.heads, "refresh", faulty)
            await w.commit(room, node=w.nodes[1])
            frame = room.frame(anna.id)
            append = Append(room.content, Lane.LOG, b"", anna.id, MessageId(os.urandom(16)), frame)
            await w.write(AGENCY, append, node=w.nodes[1])
            assert len(await a.entries(1)) == 1
            assert faults < 0


async def test_values_that_wait_for_a_silent_store_are_bounded(
    w: World, port: int, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await w.phone(AGENCY)
    answers = asyncio.Event()

    async def silent(agency: AgencyId, kind: str, key: bytes) -> Object | None:
        await answers.wait()
        return await SqliteStore.get(store, agency, kind, key)

    def dropped() -> float:
        return w.node.metrics.registry.get_sample_value("leeside_stream_values_dropped_total") or 0.0

    async with joined(w, port, anna) as a:
        room = await w.room(anna)
        w.node.heads.forget()
        monkeypatch.setattr(store, "get", silent)
        key, count = state_key(StateKind.POSITION, anna.id), 3 * IN_FLIGHT_MESSAGES
        for number in range(count):
            frame = room.frame(anna.id, b"%d" % number, key_class=2)
            await a.send(Publish(a.req(), room.content, Lane.STREAM, key, MessageId(os.urandom(16)), frame))
        await a.publish(room, b"waits behind them")
        async with asyncio.timeout(DEADLINE_S):
            while dropped() < count - IN_FLIGHT_MESSAGES:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0)
        answers.set()
        assert (await a.expect(Accepted)).offset == 1
        assert dropped() == count - IN_FLIGHT_MESSAGES


async def test_catching_up_goes_on_after_the_store_came_back(w: World, port: int, store: FaultyStore) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    for _ in range(3):
        frame = room.frame(anna.id)
        await w.write(AGENCY, Append(room.content, Lane.LOG, b"", anna.id, MessageId(os.urandom(16)), frame))
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content, store.generation, 3)
        log = w.node.hub.logs[AGENCY, room.content]
        store.away = True
        # Asking for all of it again: the floor is known by now, so only the page is missing.
        log.floor_read_s = w.clock.monotonic_s()
        await a.subscribe(room.content)
        await w.node.catchup.settled()
        assert not a.batches
        store.away = False
        w.node.beats.poll_everything_next()
        await w.node.beats.poll()
        assert (await a.expect(Batch)).to == 3


async def test_a_sign_in_that_cannot_be_checked_is_told_to_come_back(
    w: World, port: int, store: FaultyStore
) -> None:
    anna = await w.phone(AGENCY)
    async with dial(port) as socket:
        client = Client(socket, anna)
        store.away = True
        await say_hello(w, client)
        assert await client.closed() == CloseCode.INTERNAL


async def test_readiness_tells_store_and_bus(w: World, store: FaultyStore) -> None:
    transport = httpx.ASGITransport(build_app(w.node))
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as http:
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "store": "ok", "bus": "ok"})
        bus = w.node.bus
        assert isinstance(bus, MemoryBus)
        await bus.close()
        assert (await http.get("/readyz")).json()["bus"] == "degraded"
        store.away = True
        w.clock.advance(READY_KEPT_S)
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
        store.away = False
        metrics = (await http.get("/metrics")).text
        assert "leeside_published_total 0.0" in metrics
        await bus.start(w.node.hub.on_hint)


async def test_a_flood_of_questions_for_readiness_asks_the_store_once(
    w: World, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def counting(agency: AgencyId, kind: str, key: bytes) -> Object | None:
        asked.append(kind)
        return await SqliteStore.get(store, agency, kind, key)

    monkeypatch.setattr(store, "get", counting)
    transport = httpx.ASGITransport(build_app(w.node))
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as http:
        for _ in range(2):
            answers = await asyncio.gather(*(http.get("/readyz") for _ in range(50)))
            assert {answer.status_code for answer in answers} == {200}
            w.clock.advance(READY_KEPT_S)
    assert len(asked) == 2


async def test_the_queue_in_front_of_the_store_is_bounded() -> None:
    gate = asyncio.Event()

    async def write(items: Sequence[Item]) -> Sequence[Outcome]:
        await gate.wait()
        raise StoreUnavailable

    intake = Intake(write)
    told: list[Outcome | WireError] = []
    item = Item(AGENCY, 0, ())
    for _ in range(QUEUE_ITEMS + 3):
        intake.submit(item, told.append)
    assert told == [WireError.BUSY] * 3
    async with asyncio.TaskGroup() as group:
        task = group.create_task(intake.write_forever())
        gate.set()
        await intake.drained()
        task.cancel()
    assert told[3:] == [WireError.UNAVAILABLE] * QUEUE_ITEMS


async def test_one_answer_that_fails_does_not_stop_the_others() -> None:
    async def write(items: Sequence[Item]) -> Sequence[Outcome]:
        raise RuntimeError

    def fails(_result: Outcome | WireError) -> None:
        raise RuntimeError

    intake = Intake(write)
    told: list[Outcome | WireError] = []
    for done in (fails, told.append):
        intake.submit(Item(AGENCY, 0, ()), done)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(intake.write_forever())
        await intake.drained()
        task.cancel()
    assert told == [WireError.UNAVAILABLE]


async def test_a_store_that_lost_history_is_found_out_and_everyone_told(w: World, store: FaultyStore) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    before = store.generation
    async with serving(w) as port, joined(w, port, anna) as a:
        await a.subscribe(room.content)
        for number in range(3):
            await a.publish(room, b"%d" % number)
        await a.entries(3)
        store.shorter = 1
        w.node.beats.poll_everything_next()
        await w.node.beats.poll()
        # Once may be an answer that was on its way; and a round that asks for other logs alone proves nothing.
        await w.node.beats.poll()
        assert store.generation == before
        # Nor does a log that is held: its head may be that of the generation before.
        log = w.node.hub.logs[AGENCY, room.content]
        log.held = True
        w.node.beats.poll_everything_next()
        await w.node.beats.poll()
        assert store.generation == before
        log.held = False
        w.node.beats.poll_everything_next()
        await w.node.beats.poll()
        assert store.generation == before
        w.node.beats.poll_everything_next()
        await w.node.beats.poll()
        again = await a.expect(Subscribed)
        assert (again.req, again.status, again.head) == (0, 2, 1)
        assert again.generation == store.generation > before


async def test_messages_stored_while_heads_are_read_are_no_lost_history(w: World, store: FaultyStore) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    before = store.generation
    async with serving(w) as port, joined(w, port, anna) as a:
        await a.subscribe(room.content)

        async def publish() -> None:
            store.before_heads = None
            await a.publish(room, b"meanwhile")
            await a.entries(1)

        for _ in range(3):
            store.before_heads = publish
            w.node.beats.poll_everything_next()
            await w.node.beats.poll()
    assert store.generation == before
