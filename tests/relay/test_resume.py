"""Following a log over real sockets: from where one stood, across a gap, after a reset."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from leeside_protocol.codec import encode
from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelKind,
    MessageId,
    StateKind,
    address,
    state_key,
)
from leeside_protocol.messages import (
    Accepted,
    Batch,
    Live,
    Publish,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from leeside_protocol.words import Lane
from leeside_server.core.writes import NO_DEVICE, Append, Item, LogPage
from tests.relay.world import Room, World, joined, serving, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def port(w: World) -> AsyncGenerator[int]:
    async with serving(w) as number:
        yield number


AGENCY = AgencyId(b"A" * 16)


async def fill(w: World, room: Room, count: int, size: int = 8) -> None:
    """Messages that stand already."""
    device = next(iter(room.members))
    for _ in range(count):
        frame = room.frame(device, os.urandom(size))
        await w.write(AGENCY, Append(room.content, Lane.LOG, b"", device, MessageId(os.urandom(16)), frame))


async def test_all_of_a_log_comes_in_order_then_what_is_new(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 700, 200)
    async with joined(w, port, anna) as a:
        answer = await a.subscribe(room.content)
        assert (answer.status, answer.head, answer.floor) == (0, 700, 0)
        position = 0
        while position < 700:
            batch = await a.expect(Batch)
            assert batch.after == position
            assert [e.offset for e in batch.entries] == list(range(position + 1, batch.to + 1))
            position = batch.to
        await a.publish(room, b"new")
        batch = await a.expect(Batch)
        assert (batch.after, batch.to) == (700, 701)


async def test_it_goes_on_behind_ones_position(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 5)
    generation = w.node.store.generation
    async with joined(w, port, anna) as a:
        answer = await a.subscribe(room.content, generation, 3)
        assert answer.status == 0
        batch = await a.expect(Batch)
        assert (batch.after, batch.to, [e.offset for e in batch.entries]) == (3, 5, [4, 5])


async def test_a_page_of_many_hashes_and_some_messages_comes_through(w: World, port: int) -> None:
    """Where pruned messages end, a page has hundreds of hashes beside as much payload as any other."""
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    items = [
        Item(
            AGENCY,
            w.clock.now_ms(),
            (Append(room.content, Lane.LOG, b"", anna.id, MessageId(os.urandom(16)), room.frame(anna.id)),),
        )
        for _ in range(500)
    ]
    await w.node.write(items)
    await w.node.store.prune(AGENCY, room.content, 340, 0)
    async with joined(w, port, anna) as a:
        answer = await a.subscribe(room.content)
        assert (answer.status, answer.floor, answer.head) == (1, 340, 500)
        entries = await a.entries(500)
        assert [e.offset for e in entries] == list(range(1, 501))
        assert [e.offset for e in entries if e.payload] == list(range(341, 501))


async def test_who_has_everything_gets_nothing_twice(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 5)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content, w.node.store.generation, 5)
        await a.publish(room, b"next")
        assert (await a.expect(Batch)).after == 5


async def test_a_gap_is_told_and_pruned_messages_come_as_hashes(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 6)
    key = state_key(StateKind.STATUS, b"u" * 16)
    status = room.frame(anna.id, b"status")
    await w.write(AGENCY, Append(room.content, Lane.STATE, key, anna.id, MessageId(os.urandom(16)), status))
    await fill(w, room, 3)
    await w.node.store.prune(AGENCY, room.content, 8, 0)
    async with joined(w, port, anna) as a:
        answer = await a.subscribe(room.content, w.node.store.generation, 2)
        assert (answer.status, answer.floor, answer.head) == (1, 8, 10)
        entries = await a.entries(8)
        assert [e.offset for e in entries] == list(range(3, 11))
        assert all(e.hash and not e.payload for e in entries if e.offset in {3, 4, 5, 6, 8})
        assert next(e.payload for e in entries if e.offset == 7) == status


@pytest.mark.parametrize(("generation", "offset"), [(0, 3), (99, 0), (99, 3), (None, 4)])
async def test_a_position_of_another_history_is_reset(
    w: World, port: int, generation: int | None, offset: int
) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 3)
    async with joined(w, port, anna) as a:
        answer = await a.subscribe(
            room.content, w.node.store.generation if generation is None else generation, offset
        )
        assert (answer.status, answer.generation) == (2, w.node.store.generation)
        batch = await a.expect(Batch)
        assert (batch.after, batch.to) == (0, 3)


async def test_a_new_generation_resets_everyone_who_follows(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 3)
    async with joined(w, port, anna) as a:
        before = await a.subscribe(room.content)
        await a.expect(Batch)
        await w.node.store.bump_generation()
        await w.node.beats.poll()
        again = await a.expect(Subscribed)
        assert (again.status, again.channel, again.head) == (2, room.content, 3)
        assert again.generation > before.generation
        batch = await a.expect(Batch)
        assert (batch.after, batch.to) == (0, 3)


async def test_a_new_generation_resets_everyone_also_after_a_fault_of_ours(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 3)
    reload, faults = w.node.access.reload, [ValueError()]

    async def faulty() -> None:
        if faults:
            raise faults.pop()
        await reload()

    monkeypatch.setattr(w.node.access, "reload", faulty)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        await a.expect(Batch)
        await w.node.store.bump_generation()
        await w.node.beats.poll()
        assert (await a.expect(Subscribed)).status == 2
        assert (await a.expect(Batch)).to == 3
        assert not faults


async def test_unsubscribing_counts_for_a_subscription_that_is_not_made_yet(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    async with joined(w, port, anna) as a:
        (socket,) = w.node.sockets.all()

        def come_at_once(*messages: Subscribe | Unsubscribe) -> None:
            for message in messages:
                socket.on_message(encode(message))

        join, leave = Subscribe(a.req(), room.content), Unsubscribe(a.req(), room.content)
        come_at_once(join, leave)
        assert (await a.expect(Subscribed)).req == join.req
        for _ in range(2):
            await a.publish(room, b"unheard")
            await a.expect(Accepted)
        assert not a.batches
        come_at_once(join, leave, join)
        for _ in range(2):
            await a.expect(Subscribed)
        assert (await a.expect(Batch)).to == 2
        await a.publish(room, b"heard")
        assert (await a.entries(1))[0].offset == 3


async def test_the_last_state_value_and_its_deletion(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    key = state_key(StateKind.STATUS, b"u" * 16)
    async with joined(w, port, anna) as a:
        for body in (b"one", b"two", b"three"):
            await a.send(
                Publish(
                    a.req(),
                    room.content,
                    Lane.STATE,
                    key,
                    MessageId(os.urandom(16)),
                    room.frame(anna.id, body),
                )
            )
            await a.expect(Accepted)
        await a.subscribe(room.content)
        batch = await a.expect(Batch)
        assert (batch.to, [e.offset for e in batch.entries]) == (3, [3])
        await a.send(Publish(a.req(), room.content, Lane.STATE, key, MessageId(os.urandom(16)), b""))
        batch = await a.expect(Batch)
        assert (batch.after, batch.to, batch.entries[0].payload) == (3, 4, b"")


async def test_a_newcomer_gets_the_newest_stream_value(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    key = state_key(StateKind.POSITION, anna.id)
    async with joined(w, port, anna) as a, joined(w, port, ben) as b:
        await a.subscribe(room.content)
        for body in (b"here", b"there"):
            frame = room.frame(anna.id, body, key_class=2)
            await a.send(Publish(a.req(), room.content, Lane.STREAM, key, MessageId(os.urandom(16)), frame))
            live = await a.expect(Live)
            assert (live.key, live.device, live.payload) == (key, anna.id, frame)
        await b.subscribe(room.content)
        assert (await b.expect(Live)).payload == room.frame(anna.id, b"there", key_class=2)
        page = await w.node.store.read(AGENCY, room.content, 0, 10, 1 << 20)
        assert page.head == 0


async def test_after_unsubscribing_nothing_comes(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room, other = await w.room(anna, ben), await w.room(anna)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        await a.subscribe(other.content)
        await a.send(Unsubscribe(a.req(), room.content))
        await a.publish(room, b"unseen")
        await a.expect(Accepted)
        await a.publish(other, b"seen")
        assert (await a.expect(Batch)).channel == other.content


@pytest.mark.parametrize("kind", [ChannelKind.CONTENT, ChannelKind.EPOCHS, ChannelKind.GRANTS])
async def test_a_foreign_and_a_missing_channel_answer_alike(w: World, port: int, kind: ChannelKind) -> None:
    anna, ben, eve = await w.phone(AGENCY), await w.phone(AGENCY), await w.phone(AgencyId(b"E" * 16))
    others = [(await w.room(ben)).id, (await w.room(eve)).id, b"0" * 16]
    async with joined(w, port, anna) as a:
        answers: list[Refused] = []
        for owner in others:
            await a.send(Subscribe(7, address(kind, owner)))
            answers.append(await a.expect(Refused))
        assert set(answers) == {Refused(7, WireError.NOT_FOUND)}


async def test_notices_come_to_ones_own_inbox_only(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    async with joined(w, port, anna) as a:
        mine = address(ChannelKind.INBOX, anna.id)
        await a.subscribe(mine)
        await w.write(AGENCY, Append(mine, Lane.LOG, b"", NO_DEVICE, MessageId(os.urandom(16)), b"notice"))
        assert (await a.entries(1))[0].payload == b"notice"
        await a.send(Subscribe(7, address(ChannelKind.INBOX, ben.id)))
        assert (await a.expect(Refused)).error == WireError.NOT_FOUND
        await a.send(Subscribe(8, address(ChannelKind.ACCESS, AGENCY)))
        assert (await a.expect(Refused)).error == WireError.NOT_FOUND


async def test_the_same_log_again_begins_anew_at_the_position_asked_for(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    await fill(w, room, 4)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        assert (await a.expect(Batch)).to == 4
        await a.subscribe(room.content, w.node.store.generation, 1)
        batch = await a.expect(Batch)
        assert (batch.after, batch.to) == (1, 4)
        await a.publish(room, b"once")
        assert (await a.expect(Batch)).after == 4


async def test_those_who_come_back_together_share_what_is_read(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    await fill(w, room, 20)
    generation, store = w.node.store.generation, w.node.store
    reads: list[int] = []
    read = store.read

    async def counted(
        agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        reads.append(limit)
        return await read(agency, channel, after, limit, max_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read", counted)
        async with joined(w, port, anna) as a, joined(w, port, ben) as b:
            for client in (a, b):
                await client.subscribe(room.content, generation, 5)
                assert [e.offset for e in await client.entries(15)] == list(range(6, 21))
            # What was kept ends where the log ended then: what came since follows it.
            await fill(w, room, 1)
            for client in (a, b):
                assert [e.offset for e in await client.entries(1)] == [21]
                await client.subscribe(room.content, generation, 5)
                assert [e.offset for e in await client.entries(16)] == list(range(6, 22))
    pages = [limit for limit in reads if limit > 1]
    assert len(pages) == 2, "one for what stood at first, one for what came since"
