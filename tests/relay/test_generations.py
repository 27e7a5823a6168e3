"""The hub when the store's history becomes another one under its hands: whatever else happens, each follower ends with
the log that stands, and knows that what it had before does not count.

The same steps as in `test_hub`, with real followers on the sockets, which hear heartbeats and ask again as a client does.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from leeside_protocol.codec import encode
from leeside_protocol.errors import WireError
from leeside_protocol.follow import Dropped, Follower, Step, SubscribeAgain, Take
from leeside_protocol.ids import ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.messages import Batch, Beat, Entry, Refused, ServerMessage, Subscribe, Subscribed
from leeside_protocol.words import Lane
from leeside_server.core.channels import ACTIVE, CHANNEL
from leeside_server.core.writes import Append, Item, Save
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.logs import Log
from tests.relay.plain_store import Backup, PlainStore
from tests.relay.test_hub import AGENCY, DEVICES, TURNS, Ear, HubMachine
from tests.relay.world import Room, World, world


class Client(Ear):
    """One socket's connection, and the client behind it: a follower and a copy of each log."""

    def __init__(
        self, device: DeviceId, node: int, left: dict[DeviceId, int], content: ChannelAddress
    ) -> None:
        super().__init__(device, node, left, content)
        self.followers: dict[ChannelAddress, Follower] = {}
        self.copies: dict[ChannelAddress, dict[int, MessageId]] = {}
        self.again: dict[ChannelAddress, None] = {}
        """Logs that are to be asked for again."""

    def hear(self, message: ServerMessage) -> None:
        if isinstance(message, Subscribed):
            self.asked.pop(message.req, None)
            follower = self.followers.get(message.channel)
            if follower is not None:
                self.carry_out(follower, follower.on_subscribed(message))
        elif isinstance(message, Batch):
            assert not self.congested, "who takes no more keeps a cursor, not a buffer"
            follower = self.followers.get(message.channel)
            if follower is not None:
                self.carry_out(follower, follower.on_batch(message))
        elif isinstance(message, Beat):
            for log, head in message.heads:
                follower = self.followers.get(log)
                if follower is not None:
                    self.carry_out(follower, follower.on_head(head))
        elif isinstance(message, Refused):
            assert message.error in {WireError.NOT_FOUND, WireError.UNAVAILABLE}
            asked = self.asked.pop(message.req, None)
            if asked is not None and asked[0] in self.followers:
                self.followers[asked[0]].on_refused()
                self.again[asked[0]] = None

    def carry_out(self, follower: Follower, steps: tuple[Step, ...]) -> None:
        mine = self.copies.setdefault(follower.channel, {})
        for step in steps:
            if isinstance(step, Take):
                for entry in step.entries:
                    assert entry.offset not in mine, "nothing is shown twice"
                    mine[entry.offset] = entry.id
            elif isinstance(step, Dropped):
                mine.clear()
            elif isinstance(step, SubscribeAgain):
                self.again[follower.channel] = None


class GenerationMachine(HubMachine):
    """`HubMachine` with backups that are restored."""

    def __init__(self) -> None:
        super().__init__()
        self.backup: Backup
        self.then: tuple[Room, dict[DeviceId, int]]
        self.back_up()

    def _ear(self, device: DeviceId, node: int) -> Ear:
        return Client(device, node, self.left, self.room.content)

    def _follow(self, ear: Ear, log: ChannelAddress, offset: int) -> None:
        assert isinstance(ear, Client)
        follower = ear.followers.setdefault(log, Follower(log))
        ear.again.pop(log, None)
        position = follower.subscribe()
        self.number += 1
        req = self.number % 60_000 + 1
        ear.asked[req] = (log, position.offset)
        ear.at[log] = 0
        ear.socket.on_message(encode(Subscribe(req, log, position.generation, position.offset)))

    def _resume(self, old: Ear, new: Ear) -> None:
        assert isinstance(old, Client)
        assert isinstance(new, Client)
        new.followers, new.copies = old.followers, old.copies
        old.followers = {}
        for log, follower in new.followers.items():
            follower.on_disconnected()
            self._follow(new, log, 0)

    @rule()
    def back_up(self) -> None:
        self.backup = self.store.backup()
        self.then = copy.deepcopy((self.room, self.left))

    @rule()
    def restore(self) -> None:
        self.store.restore(self.backup)
        room, left = copy.deepcopy(self.then)
        self.room.__dict__.update(vars(room))
        self.left.clear()
        self.left.update(left)

    @rule(
        turns=st.lists(st.integers(1, 40), min_size=1, max_size=5),
        after=st.integers(0, 60),
        node=st.integers(0, 1),
    )
    def restore_while_something_is_under_way(self, turns: list[int], after: int, node: int) -> None:
        """What was read or written before is answered after."""
        self.store.turns = itertools.cycle(turns)
        for ear in self.ears:
            self._follow(ear, self.room.content, 0)

        async def refresh() -> None:
            with contextlib.suppress(StoreUnavailable):
                await self.nodes[node].heads.refresh(AGENCY, self.room.id)

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(node, [self._item()]))
                group.create_task(refresh())
                for _ in range(after):
                    await asyncio.sleep(0)
                self.restore()
                for each in self.nodes:
                    each.hub.check_generation()
            for _ in range(200):
                await asyncio.sleep(0)

        self.run(both())

    @rule()
    def ask_again(self) -> None:
        """What a client wants to ask for again it asks for sooner or later."""
        for ear in self.ears:
            assert isinstance(ear, Client)
            for log in tuple(ear.again):
                self._follow(ear, log, 0)
        self.run(self._none())

    def teardown(self) -> None:
        self.store.away = False
        self.store.turns = itertools.repeat(1)
        for ear in self.ears:
            if ear.congested:
                ear.congested = False
                ear.socket.on_writable()
        for _ in range(5):
            self.loop.now_s += 3
            self.time_passes(3.0)
            for node in (0, 1):
                self.poll(node)
                self.beat(node)
            self.ask_again()
        try:
            for each in self.nodes:
                row = each.heads.held_row(AGENCY, self.room.id)
                assert row is None or (row.epoch, row.commit_hash) == (self.room.epoch, self.room.hash)
            for ear in self.ears:
                assert isinstance(ear, Client)
                for log, follower in ear.followers.items():
                    if ear.device in self.room.members and log in ear.socket.follows:
                        rows = self.store.logs.get((self.room.agency, log), ())
                        assert follower.position.generation == self.store.generation
                        assert ear.copies.get(log, {}) == {row.offset: row.id for row in rows}
        finally:
            self.run(self._stop())
            self.loop.close()
            asyncio.set_event_loop(None)


GenerationMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestGenerations = pytest.mark.slow(GenerationMachine.TestCase)


# ---- what such steps found, one by one


@pytest.fixture
def store() -> PlainStore:
    return PlainStore()


@pytest.fixture
async def w(tmp_path: Path, store: PlainStore) -> AsyncGenerator[World]:
    async with world(tmp_path, store=store) as made:
        yield made


async def rest() -> None:
    """Whatever was begun comes to rest."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def message(room: Room, number: int) -> Item:
    name = MessageId(number.to_bytes(16, "big"))
    append = Append(room.content, Lane.LOG, b"", DEVICES[0], name, room.frame(DEVICES[0]), epoch=room.epoch)
    return Item(AGENCY, 1_800_000_000_000, (append,))


async def new_room(w: World, letter: bytes = b"R") -> Room:
    room = Room(AGENCY, ChannelId(letter * 16), {DEVICES[0]: 0b1110})
    await w.commit(room)
    await w.node.heads.hold(AGENCY, room.id)
    return room


async def listen(w: World, log: ChannelAddress) -> tuple[Log, list[int]]:
    """The log, and the offsets that are delivered of it from now on."""
    heard: list[int] = []

    def hear(_: Log, entries: Sequence[Entry]) -> None:
        heard.extend(entry.offset for entry in entries)

    joined = w.node.hub.pin(AGENCY, log)
    await w.node.hub.opened(joined)
    joined.watchers.append(hear)
    return joined, heard


def restore_meanwhile(w: World, store: PlainStore) -> None:
    """Between the next call's look at the store and its answer, what stands now as a new generation."""
    backup = store.backup()

    def restore() -> None:
        store.restore(backup)
        w.node.hub.check_generation()

    store.meanwhile = restore


async def test_what_an_ended_history_stored_is_not_delivered_in_the_next(w: World, store: PlainStore) -> None:
    """It would stand, on this node alone, where the next message of the new history belongs."""
    room = await new_room(w)
    log, heard = await listen(w, room.content)
    await w.node.write([message(room, 1)])
    await rest()
    restore_meanwhile(w, store)
    await w.node.write([message(room, 2)])
    await rest()
    assert (heard, log.head) == ([1], 1)
    await w.node.write([message(room, 3)])
    await rest()
    assert (heard, log.head) == ([1, 2], 2)


async def test_a_roster_that_was_read_in_an_ended_history_is_not_kept(w: World, store: PlainStore) -> None:
    room = await new_room(w)
    backup = store.backup()
    await w.commit(room)

    def restore() -> None:
        store.restore(backup)
        w.node.hub.check_generation()

    store.meanwhile = restore
    await w.node.heads.refresh(AGENCY, room.id)
    await rest()
    row = w.node.heads.held_row(AGENCY, room.id)
    assert row is not None
    assert row.epoch == 0


async def test_a_roster_that_was_written_in_an_ended_history_is_not_kept(w: World, store: PlainStore) -> None:
    room = await new_room(w)
    restore_meanwhile(w, store)
    await w.commit(room)
    await rest()
    row = w.node.heads.held_row(AGENCY, room.id)
    assert row is not None
    assert row.epoch == 0


async def test_a_log_that_was_being_joined_has_the_new_historys_head(w: World, store: PlainStore) -> None:
    room = await new_room(w)
    backup = store.backup()
    await w.node.write([message(room, 1)])

    def restore() -> None:
        store.restore(backup)
        w.node.hub.check_generation()

    store.meanwhile = restore
    log, heard = await listen(w, room.content)
    await rest()
    assert log.head == 0
    await w.node.write([message(room, 2)])
    await rest()
    assert heard == [1]


async def test_a_roster_that_cannot_be_read_holds_its_own_channel_alone(w: World, store: PlainStore) -> None:
    broken, whole = await new_room(w, b"B"), await new_room(w, b"W")
    _, heard = await listen(w, whole.content)
    later = Save(CHANNEL, broken.id, broken.revision, b'{"of": "a later version"}', ACTIVE)
    await store.apply([Item(AGENCY, 0, (later,))])
    store.restore(store.backup())
    w.node.hub.check_generation()
    await rest()
    await w.node.write([message(whole, 1)])
    await rest()
    assert heard == [1]
