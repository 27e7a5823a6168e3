"""A client that does not read costs itself, and a bounded amount of us."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId, DeviceId, MessageId, StateKind, state_key
from leeside_protocol.limits import HIGH_WATER_BYTES, STALL_S, STREAM_KEYS
from leeside_protocol.messages import Accepted, Batch, Live, Publish
from leeside_protocol.words import Lane
from leeside_server.core.writes import Append
from leeside_server.relay.socket import Socket
from tests.relay.world import Room, World, joined, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture(params=["direct", "asgi"])
async def port(w: World, request: pytest.FixtureRequest) -> AsyncGenerator[int]:
    async with serving(w, direct=request.param == "direct") as number:
        yield number


async def write(w: World, room: Room, device: DeviceId, count: int, size: int) -> None:
    frame = room.frame(device, os.urandom(size))
    for _ in range(count):
        await w.write(AGENCY, Append(room.content, Lane.LOG, b"", device, MessageId(os.urandom(16)), frame))


def socket_of(w: World, device: DeviceId) -> Socket:
    return next(s for s in w.node.sockets.all() if s.claims is not None and s.device == device)


async def test_who_does_not_read_keeps_a_cursor_and_catches_up_without_a_hole(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, anna) as a, joined(w, port, ben, rcvbuf=8_192) as b:
        await a.subscribe(room.content)
        await b.subscribe(room.content)
        slow = socket_of(w, ben.id)
        written = 0
        while not slow.congested:
            await write(w, room, anna.id, 4, 40_000)
            written += 4
            await a.entries(4)
        most = 0
        for _ in range(20):
            await write(w, room, anna.id, 2, 40_000)
            written += 2
            # The one that reads is served as if the other were not there.
            await a.entries(2)
            most = max(most, slow.unsent_bytes)
        assert most <= 2 * HIGH_WATER_BYTES
        while not b.batches or b.batches[-1].to < written:
            await b.expect(Batch)
        ends = [0, *(x.to for x in b.batches)]
        assert [x.after for x in b.batches] == ends[:-1]
        assert [e.offset for x in b.batches for e in x.entries] == list(range(1, written + 1))
        await a.publish(room, b"live again")
        assert (await b.expect(Batch)).after == written


async def test_of_stream_values_the_newest_are_kept(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, anna) as a, joined(w, port, ben, rcvbuf=8_192) as b:
        await b.subscribe(room.content)
        await a.subscribe(room.content)
        slow = socket_of(w, ben.id)
        while not slow.congested:
            await write(w, room, anna.id, 4, 40_000)
            await a.entries(4)
        for number in range(50):
            key = state_key(StateKind.POSITION, anna.id)
            frame = room.frame(anna.id, b"%d" % number, key_class=2)
            await a.send(Publish(a.req(), room.content, Lane.STREAM, key, MessageId(os.urandom(16)), frame))
            assert (await a.expect(Live)).payload == frame
        live = await b.expect(Live)
        assert live.payload == room.frame(anna.id, b"49", key_class=2)


async def test_kept_stream_values_are_bounded(w: World, port: int) -> None:
    anna = await w.phone(AGENCY)
    room = await w.room(anna)
    async with joined(w, port, anna) as a:
        await a.subscribe(room.content)
        slow = socket_of(w, anna.id)
        slow.on_congested()
        for number in range(STREAM_KEYS + 10):
            slow.deliver_value(room.content, b"p" + number.to_bytes(16, "big"), b"")
        dropped = w.node.metrics.registry.get_sample_value("leeside_stream_values_dropped_total")
        assert dropped == 10
        slow.on_writable()


async def test_nothing_drained_for_long_closes_as_slow(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, ben, rcvbuf=8_192) as b:
        await b.subscribe(room.content)
        slow = socket_of(w, ben.id)
        while not slow.congested:
            await write(w, room, anna.id, 4, 40_000)
        assert isinstance(w.clock, FakeClock)
        while not slow.closed:
            w.clock.advance(STALL_S / 3)
            await w.node.beats.check()
        closed = w.node.metrics.registry.get_sample_value(
            "leeside_closed_total", {"code": CloseCode.SLOW.label}
        )
        assert closed == 1


async def test_a_congested_client_can_still_send(w: World, port: int) -> None:
    anna, ben = await w.phone(AGENCY), await w.phone(AGENCY)
    room = await w.room(anna, ben)
    async with joined(w, port, anna) as a, joined(w, port, ben, rcvbuf=8_192) as b:
        await a.subscribe(room.content)
        await b.subscribe(room.content)
        slow = socket_of(w, ben.id)
        while not slow.congested:
            await write(w, room, anna.id, 4, 40_000)
            await a.entries(4)
        await b.publish(room, b"urgent")
        batch = await a.expect(Batch)
        assert batch.entries[-1].device == ben.id
        await b.expect(Accepted)
