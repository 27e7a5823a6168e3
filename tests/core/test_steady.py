"""Steady time: clocks that jump, machines that sleep, and nodes that die move no deadline."""

from __future__ import annotations

import itertools
import random

import pytest

from leeside_server.core.steady import DOWN_MS, JUMP_MS, TICK_MS, Seen, SteadyRow, look

HOURS_2 = 2 * 3_600_000
START = 1_800_000_000_000


class World:
    """The store's clock, real time, and the row that nodes share."""

    def __init__(self) -> None:
        self.real_ms = 0
        self.set_ms = START
        """What must be added to real time for the store's clock."""
        self.row: SteadyRow | None = None

    @property
    def store_ms(self) -> int:
        return self.set_ms + self.real_ms

    def advance(self, milliseconds: int) -> None:
        self.real_ms += milliseconds

    def jump(self, milliseconds: int) -> None:
        self.set_ms += milliseconds


class Node:
    """One node; `slept_ms` is what its monotonic clock missed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: Seen | None = None
        self.slept_ms = 0

    def now(self) -> int:
        world = self.world
        monotonic_s = (world.real_ms - self.slept_ms) / 1_000
        world.row = look(world.row, self.seen, world.store_ms, monotonic_s)
        self.seen = Seen(world.store_ms + world.row.offset_ms, monotonic_s)
        return self.seen.steady_ms


def test_it_is_the_stores_clock_while_nothing_happens() -> None:
    world = World()
    node = Node(world)
    for _ in range(100):
        assert node.now() == world.store_ms
        world.advance(500)


@pytest.mark.parametrize("jump", [HOURS_2, -HOURS_2, 5_000, -5_000])
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_clock_that_is_set_moves_nothing_on_any_node(jump: int, nodes: int) -> None:
    world = World()
    all_nodes = [Node(world) for _ in range(nodes)]
    for _ in range(7):
        for node in all_nodes:
            node.now()
        world.advance(500)
    world.jump(jump)
    for _ in range(50):
        for node in all_nodes:
            assert node.now() == START + world.real_ms
        world.advance(500)


def test_many_jumps_and_nodes_that_come_and_go() -> None:
    chance = random.Random(4)
    world = World()
    nodes = [Node(world), Node(world)]
    for _ in range(2_000):
        world.advance(chance.randrange(100, 900))
        if chance.random() < 0.02:
            world.jump(chance.choice([HOURS_2, -HOURS_2, 17_000, -9_000]))
            # Who was there when it jumped sees it; who starts later finds it done.
            nodes[0].now()
        if chance.random() < 0.05:
            nodes[1] = Node(world)
        for node in nodes:
            assert abs(node.now() - (START + world.real_ms)) <= 1_000


def test_a_node_whose_machine_slept_takes_nobody_with_it() -> None:
    world = World()
    awake, sleeper = Node(world), Node(world)
    for _ in range(20):
        awake.now()
        sleeper.now()
        world.advance(500)
    for _ in range(240):
        world.advance(500)
        sleeper.slept_ms += 500
        awake.now()
    assert sleeper.now() == awake.now() == START + world.real_ms


def test_where_all_machines_sleep_time_stands_with_them() -> None:
    world = World()
    node = Node(world)
    asleep_at = node.now()
    world.advance(HOURS_2)
    node.slept_ms += HOURS_2
    assert node.now() == asleep_at


def test_a_node_that_was_stopped_knows_how_long() -> None:
    """SIGSTOP stops no clock: for it, and for the store, the same time has passed."""
    world = World()
    node = Node(world)
    node.now()
    world.advance(40_000)
    assert node.now() == START + 40_000


def test_a_store_that_was_away_for_long_lost_no_time_for_who_was_there() -> None:
    world = World()
    node = Node(world)
    node.now()
    world.advance(HOURS_2)
    assert node.now() == START + HOURS_2


class TestWhileAllWereDown:
    def last_seen(self) -> tuple[World, int]:
        world = World()
        node = Node(world)
        last = node.now()
        for _ in range(20):
            world.advance(500)
            last = node.now()
        world.advance(500)
        return world, last

    def test_a_clock_set_back_is_seen_by_the_last_tick(self) -> None:
        world, last = self.last_seen()
        world.jump(-HOURS_2)
        now = Node(world).now()
        assert last - TICK_MS <= now <= last + 1_000

    def test_a_clock_set_forward_counts_as_a_minute(self) -> None:
        world, last = self.last_seen()
        world.jump(HOURS_2)
        assert Node(world).now() <= last + DOWN_MS

    def test_a_restart_loses_no_time(self) -> None:
        world, _ = self.last_seen()
        for _ in range(50):
            world.advance(1_700)
            node = Node(world)
            assert node.now() == START + world.real_ms

    def test_an_outage_counts_for_a_minute(self) -> None:
        world, last = self.last_seen()
        world.advance(600_000)
        node = Node(world)
        assert last + DOWN_MS - TICK_MS <= node.now() <= last + DOWN_MS
        world.advance(500)
        assert node.now() == node.now()


def test_who_used_it_wrote_it_so_that_nobody_takes_it_back() -> None:
    """Beyond `TICK_MS` the row is written before steady time is used: a start right then goes on from there."""
    world = World()
    node = Node(world)
    node.now()
    world.advance(HOURS_2)
    assert node.now() == START + HOURS_2
    assert Node(world).now() == START + HOURS_2


def test_it_is_written_seldom() -> None:
    world = World()
    node = Node(world)
    rows: set[SteadyRow | None] = set()
    for _ in range(120):
        node.now()
        rows.add(world.row)
        world.advance(500)
    assert len(rows) == 60_000 // TICK_MS


def test_small_drift_is_no_jump() -> None:
    for drift, wait in itertools.product((-JUMP_MS + 1, JUMP_MS - 1), (500, 5_000)):
        world = World()
        node = Node(world)
        node.now()
        world.advance(wait)
        world.jump(drift)
        assert node.now() == world.store_ms
