"""The contract of `Bridges`, on both adapters: a room is on one living worker, and who lost it is told."""

from collections.abc import AsyncIterator

import pytest

from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.ports import (
    ROOM_LEASE_S,
    WORKER_LEASE_S,
    Bridges,
    BridgesFull,
    NoBridge,
    Placement,
    Workplace,
)
from tests.support.clock import FakeClock

ROOM, OTHER_ROOM = bytes([1]) * 16, bytes([2]) * 16
FIRST, SECOND = b"worker-1", b"worker-2"
NODE = b"node-aaa"


class Scene:
    """A set of bridges, the time they go by, and the workers they said were gone."""

    def __init__(self, bridges: Bridges, clock: FakeClock) -> None:
        self.bridges = bridges
        self.clock = clock
        self.gone: list[bytes] = []

    async def pass_time(self, seconds: float) -> None:
        """Let leases run, without waiting for them."""
        self.clock.advance(seconds)


@pytest.fixture(params=["memory"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    clock = FakeClock()
    assert request.param == "memory"
    made = Scene(MemoryBridges(clock), clock)
    await made.bridges.start(made.gone.append)
    yield made
    await made.bridges.close()


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
