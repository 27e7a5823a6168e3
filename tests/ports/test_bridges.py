"""The contract of `Bridges`, on both adapters: a room is on one living worker, and who lost it is told."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.adapters.redis_bridges import GRACE_S, RedisBridges
from leeside_server.adapters.redis_connection import Command, RedisPipe, RedisPlace
from leeside_server.ports import (
    ROOM_LEASE_S,
    WORKER_LEASE_S,
    Bridges,
    BridgesFull,
    BridgesUnavailable,
    NoBridge,
    Placement,
    Workplace,
)
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S
from tests.support.services import RedisServer, free_port, redis_running

ROOM, OTHER_ROOM = bytes([1]) * 16, bytes([2]) * 16
FIRST, SECOND = b"worker-1", b"worker-2"
NODE = b"node-aaa"


class Scene:
    """A set of bridges, the time they go by, and the workers they said were gone."""

    def __init__(self, bridges: Bridges, clock: FakeClock, redis: RedisPipe | None = None) -> None:
        self.bridges = bridges
        self.clock = clock
        self.redis = redis
        self.gone: list[bytes] = []

    async def pass_time(self, seconds: float) -> None:
        """Let leases run, without waiting for them: those of Redis by taking the time off each."""
        self.clock.advance(seconds)
        if self.redis is None:
            return
        (keys,) = await self.redis.call([("KEYS", "*")])
        left_ms = await self.redis.call([("PTTL", key) for key in keys]) if keys else []
        # Nothing left deletes it, as time would; -1 is a key without an end.
        shorter: list[Command] = [
            ("PEXPIRE", key, max(0, left - round(seconds * 1_000)))
            for key, left in zip(keys, left_ms, strict=True)
            if left >= 0
        ]
        if shorter:
            await self.redis.call(shorter)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    clock = FakeClock()
    if request.param == "memory":
        made = Scene(MemoryBridges(clock), clock)
    else:
        url = str(request.getfixturevalue("redis_url"))
        place = RedisPlace(url)
        made = Scene(RedisBridges(place, "here", clock), clock, RedisPipe(place))
    await made.bridges.start(made.gone.append)
    yield made
    await made.bridges.close()
    if made.redis is not None:
        await made.redis.close()


class TestPlacing:
    async def test_no_worker_is_no_bridge(self, scene: Scene) -> None:
        with pytest.raises(NoBridge):
            await scene.bridges.place(ROOM)

    async def test_a_room_stays_where_it_is(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST, load=0.1))
        placed = await scene.bridges.place(ROOM)
        assert placed.worker == FIRST
        await scene.bridges.announce(Workplace(FIRST, load=0.9))
        await scene.bridges.announce(Workplace(SECOND, load=0.0))
        assert await scene.bridges.place(ROOM) == placed
        assert (await scene.bridges.place(OTHER_ROOM)).worker == SECOND

    async def test_a_room_that_runs_stays_also_where_no_new_one_is_taken(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        placed = await scene.bridges.place(ROOM)
        await scene.bridges.announce(Workplace(FIRST, open=False))
        assert await scene.bridges.place(ROOM) == placed
        with pytest.raises(BridgesFull):
            await scene.bridges.place(OTHER_ROOM)

    async def test_the_least_loaded_takes_the_next(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST, rooms=3, load=0.5))
        await scene.bridges.announce(Workplace(SECOND, rooms=9, load=0.4))
        assert (await scene.bridges.place(ROOM)).worker == SECOND

    async def test_of_equal_load_the_one_with_fewer_rooms(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST, rooms=3))
        await scene.bridges.announce(Workplace(SECOND, rooms=2))
        assert (await scene.bridges.place(ROOM)).worker == SECOND

    async def test_full_is_not_missing(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST, load=1.0))
        with pytest.raises(BridgesFull):
            await scene.bridges.place(ROOM)

    async def test_a_worker_that_is_silent_is_gone(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        old = await scene.bridges.place(ROOM)
        await scene.pass_time(WORKER_LEASE_S - 0.5)
        assert [place.worker for place in await scene.bridges.workplaces()] == [FIRST]
        await scene.bridges.announce(Workplace(SECOND))
        await scene.pass_time(1.0)
        new = await scene.bridges.place(ROOM)
        assert new.worker == SECOND
        assert new.epoch > old.epoch

    async def test_a_worker_that_was_withdrawn_is_gone_at_once(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        old = await scene.bridges.place(ROOM)
        await scene.bridges.announce(Workplace(SECOND))
        await scene.bridges.withdraw(FIRST)
        assert FIRST in scene.gone
        new = await scene.bridges.place(ROOM)
        assert (new.worker, new.epoch > old.epoch) == (SECOND, True)

    async def test_an_empty_room_is_placed_anew(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        old = await scene.bridges.place(ROOM)
        await scene.bridges.release(FIRST, ROOM, old.epoch)
        assert (await scene.bridges.place(ROOM)).epoch > old.epoch

    async def test_nobody_releases_what_another_holds(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        placed = await scene.bridges.place(ROOM)
        await scene.bridges.release(SECOND, ROOM, placed.epoch)
        await scene.bridges.release(FIRST, ROOM, placed.epoch - 1)
        assert await scene.bridges.place(ROOM) == placed


class TestKeeping:
    async def test_a_room_that_is_kept_lasts(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        placed = await scene.bridges.place(ROOM)
        for _ in range(4):
            await scene.pass_time(ROOM_LEASE_S / 2)
            assert await scene.bridges.keep(FIRST, {ROOM: placed.epoch}) == frozenset()
            await scene.bridges.announce(Workplace(FIRST))
        assert await scene.bridges.place(ROOM) == placed

    async def test_a_room_that_is_not_kept_is_free(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        placed = await scene.bridges.place(ROOM)
        await scene.pass_time(ROOM_LEASE_S + 1)
        await scene.bridges.announce(Workplace(FIRST))
        assert (await scene.bridges.place(ROOM)).epoch > placed.epoch

    async def test_who_comes_back_late_is_told_what_was_lost(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        old = await scene.bridges.place(ROOM)
        await scene.pass_time(WORKER_LEASE_S + 1)
        await scene.bridges.announce(Workplace(SECOND))
        new = await scene.bridges.place(ROOM)
        assert await scene.bridges.keep(FIRST, {ROOM: old.epoch}) == {ROOM}
        assert await scene.bridges.keep(SECOND, {ROOM: new.epoch}) == frozenset()
        assert await scene.bridges.place(ROOM) == new

    async def test_a_lease_that_ended_unseen_is_taken_up_again(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(FIRST))
        placed = await scene.bridges.place(ROOM)
        await scene.pass_time(ROOM_LEASE_S + 1)
        assert await scene.bridges.keep(FIRST, {ROOM: placed.epoch}) == frozenset()
        await scene.bridges.announce(Workplace(FIRST))
        assert await scene.bridges.place(ROOM) == Placement(FIRST, placed.epoch)


class TestWords:
    async def test_a_word_reaches_who_listens(self, scene: Scene) -> None:
        heard: list[bytes] = []
        await scene.bridges.listen(NODE, heard.append)
        await scene.bridges.say(NODE, b"one")
        await scene.bridges.say(FIRST, b"to nobody")
        await scene.bridges.say(NODE, b"two")
        assert heard == [b"one", b"two"]

    async def test_nothing_is_heard_after_unlisten(self, scene: Scene) -> None:
        heard: list[bytes] = []
        await scene.bridges.listen(NODE, heard.append)
        await scene.bridges.unlisten(NODE)
        await scene.bridges.say(NODE, b"one")
        assert heard == []

    async def test_a_reader_that_fails_costs_its_word_alone(self, scene: Scene) -> None:
        heard: list[bytes] = []

        def fails_once(word: bytes) -> None:
            if word == b"bad":
                raise RuntimeError
            heard.append(word)

        await scene.bridges.listen(NODE, fails_once)
        await scene.bridges.say(NODE, b"bad")
        await scene.bridges.say(NODE, b"good")
        assert heard == [b"good"]


async def soon(holds: Callable[[], bool]) -> None:
    """Until it holds: words between processes take a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is another connection's
            await asyncio.sleep(0.01)


class Pair:
    """Two processes on one Redis; the second has workers, too."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.here = RedisBridges(RedisPlace(url), "here", self.clock)
        self.there = RedisBridges(RedisPlace(url), "there", self.clock)
        self.gone: list[bytes] = []


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[Pair]:
    made = Pair(redis_url)
    await made.here.start(made.gone.append)
    await made.there.start(lambda _worker: None)
    yield made
    await made.here.close()
    await made.there.close()


@pytest.mark.services
class TestTwoProcesses:
    async def test_both_find_a_room_where_the_first_placed_it(self, pair: Pair) -> None:
        await pair.there.announce(Workplace(SECOND))
        placed = await asyncio.gather(*(side.place(ROOM) for side in (pair.here, pair.there) * 5))
        assert {one.worker for one in placed} == {SECOND}
        assert len(set(placed)) == 1

    async def test_own_workers_stand_first(self, pair: Pair) -> None:
        await pair.there.announce(Workplace(FIRST))
        await pair.here.announce(Workplace(SECOND))
        assert [place.worker for place in await pair.here.workplaces()] == [SECOND, FIRST]
        assert (await pair.here.place(ROOM)).worker == SECOND

    async def test_words_reach_the_other(self, pair: Pair) -> None:
        heard: list[bytes] = []
        await pair.there.listen(SECOND, heard.append)
        await pair.here.say(SECOND, b"join")
        await soon(lambda: heard == [b"join"])
        await pair.there.unlisten(SECOND)
        await pair.here.say(SECOND, b"to nobody")

    async def test_the_other_hears_at_once_who_is_gone(self, pair: Pair) -> None:
        await pair.there.announce(Workplace(SECOND))
        old = await pair.here.place(ROOM)
        await pair.here.announce(Workplace(FIRST))
        await pair.there.withdraw(SECOND)
        await soon(lambda: pair.gone == [SECOND])
        new = await pair.here.place(ROOM)
        assert (new.worker, new.epoch > old.epoch) == (FIRST, True)

    async def test_epochs_grow_also_after_redis_forgot(self, pair: Pair, redis_server: RedisServer) -> None:
        await pair.there.announce(Workplace(SECOND))
        old = await pair.here.place(ROOM)
        redis_server.flush()
        with pytest.raises(NoBridge):
            await pair.here.place(ROOM)
        pair.clock.advance(1)
        await pair.there.announce(Workplace(SECOND))
        assert await pair.there.keep(SECOND, {ROOM: old.epoch}) == frozenset()
        assert await pair.here.place(ROOM) == old
        assert (await pair.here.place(OTHER_ROOM)).epoch > old.epoch

    async def test_what_is_no_announcement_is_nobody(self, pair: Pair, redis_url: str) -> None:
        await pair.there.announce(Workplace(SECOND))
        pipe = RedisPipe(RedisPlace(redis_url))
        await pipe.call(
            [
                ("SET", "leeside:bridges:{bridges}:worker:planted1", "no announcement"),
                ("ZADD", "leeside:bridges:{bridges}:workers", 0, "planted1"),
            ]
        )
        await pipe.close()
        assert [place.worker for place in await pair.here.workplaces()] == [SECOND]


class TestWithoutRedis:
    @pytest.fixture
    async def alone(self) -> AsyncIterator[Scene]:
        clock = FakeClock()
        place = RedisPlace(f"redis://127.0.0.1:{free_port()}/0")
        made = Scene(RedisBridges(place, "here", clock), clock)
        await made.bridges.start(made.gone.append)
        yield made
        await made.bridges.close()

    async def test_a_new_room_is_placed_with_a_worker_of_this_process(self, alone: Scene) -> None:
        await alone.bridges.announce(Workplace(FIRST))
        placed = await alone.bridges.place(ROOM)
        assert placed.worker == FIRST
        assert await alone.bridges.keep(FIRST, {ROOM: placed.epoch}) == frozenset()
        assert await alone.bridges.place(ROOM) == placed
        await alone.bridges.release(FIRST, ROOM, placed.epoch)

    async def test_without_a_worker_of_its_own_it_cannot(self, alone: Scene) -> None:
        with pytest.raises(BridgesUnavailable):
            await alone.bridges.place(ROOM)

    async def test_what_others_have_is_not_known(self, alone: Scene) -> None:
        with pytest.raises(BridgesUnavailable):
            await alone.bridges.workplaces()

    async def test_words_inside_the_process_need_none(self, alone: Scene) -> None:
        heard: list[bytes] = []
        await alone.bridges.listen(NODE, heard.append)
        await alone.bridges.say(NODE, b"one")
        assert heard == [b"one"]
        with pytest.raises(BridgesUnavailable):
            await alone.bridges.say(FIRST, b"to another machine")

    async def test_a_worker_that_ends_is_told_here(self, alone: Scene) -> None:
        await alone.bridges.announce(Workplace(FIRST))
        await alone.bridges.withdraw(FIRST)
        assert alone.gone == [FIRST]


@pytest.mark.services
async def test_nobody_is_dead_because_redis_was_away() -> None:
    with redis_running() as redis:
        pair = Pair(redis.url)
        await pair.here.start(pair.gone.append)
        try:
            await pair.there.announce(Workplace(SECOND))
            placed = await pair.here.place(ROOM)
            os.kill(redis.process.pid, signal.SIGSTOP)
            await pair.here.announce(Workplace(FIRST))
            os.kill(redis.process.pid, signal.SIGCONT)
            # What was alive says so again at its own time, and its lease has run out meanwhile.
            pipe = RedisPipe(RedisPlace(redis.url))
            await pipe.call([("DEL", b"leeside:bridges:{bridges}:worker:" + SECOND)])
            await pipe.close()
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with contextlib.suppress(BridgesUnavailable):
                        assert await pair.here.place(ROOM) == placed
                        break
                    await asyncio.sleep(0.05)
            with pytest.raises(BridgesUnavailable):
                await pair.here.workplaces()
            # A new room waits for nobody.
            await pair.here.announce(Workplace(FIRST))
            assert (await pair.here.place(OTHER_ROOM)).worker == FIRST
            pair.clock.advance(GRACE_S + 0.1)
            await pair.here.announce(Workplace(FIRST))
            assert (await pair.here.place(ROOM)).worker == FIRST
            assert [place.worker for place in await pair.here.workplaces()] == [FIRST]
        finally:
            await pair.here.close()
            await pair.there.close()


@pytest.mark.services
async def test_a_room_of_another_process_is_not_split_when_redis_goes() -> None:
    with redis_running() as redis:
        pair = Pair(redis.url)
        await pair.here.start(pair.gone.append)
        try:
            await pair.there.announce(Workplace(SECOND))
            assert (await pair.here.place(ROOM)).worker == SECOND
            await pair.here.announce(Workplace(FIRST))
            redis.kill()
            with pytest.raises(BridgesUnavailable):
                await pair.here.place(ROOM)
            pair.clock.advance(ROOM_LEASE_S + 1)
            await pair.here.announce(Workplace(FIRST))
            assert (await pair.here.place(ROOM)).worker == FIRST
        finally:
            await pair.here.close()
            await pair.there.close()
