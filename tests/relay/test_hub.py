"""The hub against a plain model: two nodes, one store that goes away and answers out of turn, a bus that does what it
likes, and people who come and go.

Whatever happens, each follower is given the log in order and without a hole, nobody sees a message of an epoch that
they are not in any more, and once everything was polled everyone has all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelId,
    DeviceId,
    MemberId,
    MessageId,
)
from leeside_protocol.messages import Batch, Beat, Refused, ServerMessage, Subscribe, Subscribed, Unsubscribe
from leeside_protocol.session import Phase
from leeside_protocol.words import Lane, Role
from leeside_server.adapters.memory import (
    MemoryBus,
    MemoryExchange,
    MemoryGateway,
    MemoryLatest,
    MemoryPresence,
    MemoryPush,
)
from leeside_server.core.channels import frame_epoch
from leeside_server.core.writes import Append, Item
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.frames import payloads
from leeside_server.relay.node import Node
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.socket import Socket
from leeside_server.relay.tokens import Claims
from tests.relay.plain_store import PlainStore
from tests.relay.world import NO_BLOBS, SECRET, Room, World
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)
DEVICES = tuple(DeviceId(bytes([number]) * 16) for number in (1, 2, 3))
TURNS = 100
"""Turns of the event loop in which whatever a step began comes to rest."""


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until a test moves it: no timer fires by itself."""

    now_s = 1_000.0

    def time(self) -> float:
        return self.now_s


class WildBus(MemoryBus):
    """Keeps what is published until the test says what becomes of it."""

    def __init__(self, exchange: MemoryExchange) -> None:
        super().__init__(exchange)
        self.waiting: list[tuple[str, bytes]] = []

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self.waiting.extend(batch)

    async def let_through(self, at: int, *, keep: bool) -> None:
        """Deliver one hint that waits, out of turn; `keep` it to deliver it again."""
        if self.waiting:
            at %= len(self.waiting)
            await super().publish([self.waiting[at] if keep else self.waiting.pop(at)])


class Ear:
    """One socket's connection, and what a right follower must be given on it."""

    def __init__(
        self, device: DeviceId, node: int, left: dict[DeviceId, int], content: ChannelAddress
    ) -> None:
        self.device = device
        self.node = node
        self.socket: Socket
        self.at: dict[ChannelAddress, int] = {}
        """Where each log that is followed stands."""
        self.asked: dict[int, tuple[ChannelAddress, int]] = {}
        self.seen: dict[ChannelAddress, list[bytes]] = {}
        self.shut = False
        self.congested = False
        self.lost = 0
        self._left = left
        self._content = content

    def write(self, frames: bytes) -> None:
        for data in payloads(frames):
            message = decode_server(data)
            assert message is not None
            self.hear(message)

    def hear(self, message: ServerMessage) -> None:
        if isinstance(message, Subscribed):
            log, offset = self.asked.pop(message.req)
            assert (message.channel, message.status) == (log, 0)
            self.at[log] = offset
        elif isinstance(message, Batch):
            assert not self.shut, "nothing comes after access was lost"
            assert not self.congested, "who takes no more keeps a cursor, not a buffer"
            assert message.channel in self.at, "nothing comes before the answer, or of a log that was left"
            assert message.after == self.at[message.channel] < message.to, "the range continues the last"
            assert [e.offset for e in message.entries] == list(range(message.after + 1, message.to + 1))
            self.at[message.channel] = message.to
            for entry in message.entries:
                self.seen.setdefault(message.channel, []).append(entry.id)
                epoch = frame_epoch(entry.payload) if message.channel == self._content else entry.offset - 1
                assert epoch < self._left.get(self.device, 1 << 40), "not for who has left"
        elif isinstance(message, Beat):
            for log, head in message.heads:
                follow = self.socket.follows.get(log)
                if follow is not None and follow.live:
                    assert head <= self.at[log], "who is live was given what the heartbeat says"
        elif isinstance(message, Refused):
            assert message.error in {WireError.NOT_FOUND, WireError.UNAVAILABLE}
            assert message.error == WireError.NOT_FOUND or message.req
            self.lost += message.req == 0
            self.asked.pop(message.req, None)

    def close(self, code: CloseCode) -> None: ...

    def abort(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def buffered(self) -> int:
        return 100_000 if self.congested else 0

    unsent = buffered


class HubMachine(RuleBasedStateMachine):
    """The steps; hypothesis chooses and shrinks their order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = StillLoop()
        asyncio.set_event_loop(self.loop)
        self.faults: list[str] = []
        self.loop.set_exception_handler(
            lambda _, context: self.faults.append(repr(context.get("exception")) + str(context))
        )
        self.number = 0
        self.left: dict[DeviceId, int] = {}
        self.ears: list[Ear] = []
        self.clock = FakeClock()
        self.store = PlainStore()
        self.room = Room(AGENCY, ChannelId(b"R" * 16), dict.fromkeys(DEVICES, 0b1110))
        self.run(self._start())

    async def _start(self) -> None:
        exchange = MemoryExchange()
        latest, presence = MemoryLatest(self.clock), MemoryPresence()
        self.buses = [WildBus(exchange), WildBus(exchange)]
        self.nodes = [
            Node(
                RelaySettings(),
                store=self.store,
                bus=bus,
                latest=latest,
                presence=presence,
                blobs=NO_BLOBS,
                push=MemoryPush(),
                gateway=MemoryGateway(),
                clock=self.clock,
                secret=SECRET,
                random=random.Random(number).randbytes,
            )
            for number, bus in enumerate(self.buses)
        ]
        for node in self.nodes:
            await node.start()
        self.world = World(self.nodes[0], self.clock, self.nodes)
        await self.world.commit(self.room)
        self.ears = [self._open(node, device) for device in DEVICES for node in (0, 1)]
        for ear in self.ears:
            self._follow(ear, self.room.content, 0)
        for ear in self.ears[:4]:
            self._follow(ear, self.room.epochs, 0)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def settled() -> None:
            await work
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(settled())
        assert not self.faults, self.faults

    async def _none(self) -> None: ...

    # ---- steps

    @rule(node=st.integers(0, 1), count=st.integers(1, 3))
    def publish(self, node: int, count: int) -> None:
        self.run(self._write(node, [self._item() for _ in range(count)]))

    def _item(self) -> Item:
        self.number += 1
        name = MessageId(self.number.to_bytes(16, "big"))
        frame = self.room.frame(DEVICES[0])
        append = Append(self.room.content, Lane.LOG, b"", DEVICES[0], name, frame, epoch=self.room.epoch)
        return Item(AGENCY, self.clock.now_ms(), (append,))

    async def _write(self, node: int, items: Sequence[Item]) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self.nodes[node].write(items)

    @rule()
    def publish_at_both_nodes(self) -> None:
        """Two writes at a time, whose answers may overtake each other."""

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                for number in (0, 1, 0):
                    group.create_task(self._write(number, [self._item()]))

        self.run(both())

    @rule(node=st.integers(0, 1), device=st.sampled_from(DEVICES[1:]))
    def change_roster(self, node: int, device: DeviceId) -> None:
        """Who is in leaves, who is out comes back; while the store is away nobody."""
        if self.store.away:
            return
        leaves = device in self.room.members
        if leaves:
            del self.room.members[device]
            self.left[device] = self.room.epoch + 1
        else:
            self.room.members[device] = 0b1110

        async def commit() -> None:
            await self.world.commit(self.room, 2 if leaves else 1, self.nodes[node])
            # On the node that wrote it, it holds from here on.
            for ear in self.ears:
                if ear.device == device and ear.node == node:
                    ear.shut = leaves
            if not leaves:
                self.left.pop(device, None)

        self.run(commit())

    def _ear(self, device: DeviceId, node: int) -> Ear:
        return Ear(device, node, self.left, self.room.content)

    def _open(self, node: int, device: DeviceId) -> Ear:
        ear = self._ear(device, node)
        ear.socket = Socket(self.nodes[node], ear)
        until_ms = self.clock.now_ms() + 10**9
        ear.socket.claims = Claims(
            AGENCY, MemberId(bytes(16)), device, (Role.RESPONDER,), bytes(16), bytes(16), until_ms
        )
        ear.socket.session.phase = Phase.CHECKING
        ear.socket.session.opened(self.clock.monotonic_s() + 10**6)
        self.nodes[node].sockets.opened(ear.socket)
        self.nodes[node].sockets.signed_in(ear.socket)
        return ear

    @rule(which=st.integers(0, 5), epochs=st.booleans(), back=st.integers(0, 3))
    def follow(self, which: int, epochs: bool, back: int) -> None:
        """Follow from where one stood, or from a little before, in place of what one followed."""
        ear = self.ears[which]
        log = self.room.epochs if epochs else self.room.content
        # What was on its way of the old subscription ends with the new one's answer.
        old = ear.socket.follows.get(log)
        if old is not None:
            self.nodes[ear.node].hub.unfollow(old.log, ear.socket)
        self._follow(ear, log, max(0, ear.at.pop(log, 0) - back))
        self.run(self._none())

    def _follow(self, ear: Ear, log: ChannelAddress, offset: int) -> None:
        self.number += 1
        req = self.number % 60_000 + 1
        ear.asked[req] = (log, offset)
        if ear.device in self.room.members:
            ear.shut = False
        ear.socket.on_message(encode(Subscribe(req, log, self.store.generation if offset else 0, offset)))

    @rule(which=st.integers(0, 5))
    def stall_or_drain(self, which: int) -> None:
        ear = self.ears[which]
        ear.congested = not ear.congested

        async def turn() -> None:
            (ear.socket.on_congested if ear.congested else ear.socket.on_writable)()

        self.run(turn())

    @rule(which=st.integers(0, 5), epochs=st.booleans())
    def leave(self, which: int, epochs: bool) -> None:
        ear = self.ears[which]
        log = self.room.epochs if epochs else self.room.content
        if log in ear.at:
            ear.socket.on_message(encode(Unsubscribe(self.number % 60_000 + 1, log)))
            del ear.at[log]
        self.run(self._none())

    @rule(node=st.integers(0, 1))
    def sweep(self, node: int) -> None:
        self.run(self.nodes[node].beats.sweep())

    @rule(node=st.integers(0, 1))
    def beat(self, node: int) -> None:
        for ear in self.ears:
            ear.socket.on_sign_of_life()
            ear.socket.beat_due_s = 0.0
        self.run(self.nodes[node].beats.check())

    @rule(turns=st.lists(st.integers(1, 12), min_size=1, max_size=5))
    def store_answers_out_of_turn(self, turns: list[int]) -> None:
        self.store.turns = itertools.cycle(turns)

    @rule()
    def store_goes_or_comes(self) -> None:
        self.store.away = not self.store.away

    @rule(which=st.integers(0, 5), node=st.integers(0, 1))
    def come_back(self, which: int, node: int) -> None:
        """A connection ends, and the device resumes on a new one, perhaps at the other node."""
        old = self.ears[which]
        old.socket.on_close()
        old.shut = True
        ear = self.ears[which] = self._open(node, old.device)
        self._resume(old, ear)
        self.run(self._none())

    def _resume(self, old: Ear, new: Ear) -> None:
        for log, at in old.at.items():
            self._follow(new, log, at)

    @rule(node=st.integers(0, 1), at=st.integers(0, 20), keep=st.booleans())
    def bus_delivers(self, node: int, at: int, keep: bool) -> None:
        self.run(self.buses[node].let_through(at, keep=keep))

    @rule(node=st.integers(0, 1))
    def bus_loses(self, node: int) -> None:
        self.buses[node].waiting.clear()

    @rule(seconds=st.sampled_from((0.1, 1.5, 3.0)))
    def time_passes(self, seconds: float) -> None:
        """Enough for every wait for a hole to end."""
        self.loop.now_s += 0.1
        self.clock.advance(seconds)
        self.run(self._none())

    @rule(node=st.integers(0, 1))
    def poll(self, node: int) -> None:
        async def poll() -> None:
            with contextlib.suppress(StoreUnavailable):
                await self.nodes[node].beats.poll()

        self.nodes[node].beats.poll_everything_next()
        self.run(poll())

    # ---- the end

    def teardown(self) -> None:
        self.store.away = False
        for ear in self.ears:
            if ear.congested:
                ear.congested = False
                ear.socket.on_writable()
        for _ in range(4):
            # Longer than anything pauses after the store was away.
            self.loop.now_s += 3
            self.time_passes(3.0)
            for node in (0, 1):
                self.poll(node)
        try:
            for ear in self.ears:
                for log, at in ear.at.items():
                    if ear.device in self.room.members and log in ear.socket.follows:
                        assert at == len(self.store.logs.get((AGENCY, log), ())), "everyone has all of it"
        finally:
            self.run(self._stop())
            self.loop.close()
            asyncio.set_event_loop(None)

    async def _stop(self) -> None:
        for ear in self.ears:
            ear.socket.on_close()
        for node in self.nodes:
            await node.close()
            await node.bus.close()


HubMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHub = pytest.mark.slow(HubMachine.TestCase)
