"""Steady time over every store: its clock jumps two hours either way, and nothing is early or held up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.rows import KINDS
from leeside_server.core.steady import STEADY_ID, SteadyRow
from leeside_server.ports import Store, StoreUnavailable
from leeside_server.relay.steady import ANSWER_S, KEPT_S, Steady
from tests.support.clock import FakeClock

HOURS_2_MS = 2 * 3_600_000


class Set:
    """A store whose clock is the test's: real time and what an operator set it by."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self._store = store
        self.clock = clock
        self.slow_s = 0.0
        """How long its answer takes, or the node is stopped while it comes."""

    async def now_ms(self) -> int:
        now_ms = self.clock.now_ms()
        slow_s, self.slow_s = self.slow_s, 0.0
        self.clock.advance(slow_s)
        return now_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def nodes_on(stores: Sequence[Store], clock: FakeClock) -> list[tuple[Set, Steady]]:
    made = [Set(store, clock) for store in stores]
    return [(one, Steady(cast("Store", one), clock)) for one in made]


@pytest.mark.parametrize("jump_ms", [HOURS_2_MS, -HOURS_2_MS])
async def test_a_jump_moves_nothing_on_either_node(nodes: Sequence[Store], jump_ms: int) -> None:
    clock = FakeClock()
    both = [steady for _, steady in nodes_on(nodes, clock)]
    start_ms, began_s = await both[0].now_ms(), clock.monotonic_s()
    for turn in range(20):
        if turn == 10:
            clock.jump(jump_ms)
        for steady in both:
            assert await steady.now_ms() == start_ms + round((clock.monotonic_s() - began_s) * 1_000)
        clock.advance(0.5)
    late = Steady(cast("Store", Set(nodes[0], clock)), clock)
    assert await late.now_ms() == await both[0].now_ms(), "who starts now has the others' time"


async def test_between_two_looks_the_store_is_not_asked(store: Store) -> None:
    clock = FakeClock()
    ((asked, steady),) = nodes_on([store], clock)
    first_ms = await steady.now_ms()
    asked.clock = FakeClock(0)
    clock.advance(KEPT_S / 2)
    assert await steady.now_ms() == first_ms + KEPT_S * 500
    assert steady.estimate_ms() == first_ms + KEPT_S * 500


async def test_a_node_stopped_while_the_answer_came_takes_no_old_time_for_new(store: Store) -> None:
    """Stopped for 30 s between the store's word and its own clock: steady time must not run ahead for that."""
    clock = FakeClock()
    ((asked, steady),) = nodes_on([store], clock)
    start_ms = await steady.now_ms()
    clock.advance(1)
    asked.slow_s = 30
    assert await steady.now_ms() == start_ms + 31_000
    found = await store.get(NO_AGENCY, KINDS[SteadyRow], STEADY_ID)
    assert found is not None
    assert b'"offset_ms":0' in found.body


async def test_a_store_that_never_answers_in_time_tells_no_time(store: Store) -> None:
    clock = FakeClock()
    ((asked, steady),) = nodes_on([store], clock)

    async def slow() -> int:
        clock.advance(ANSWER_S + 1)
        return clock.now_ms()

    asked.now_ms = slow  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await steady.now_ms()


async def test_two_nodes_that_see_a_jump_at_once_move_time_once(nodes: Sequence[Store]) -> None:
    clock = FakeClock()
    both = [steady for _, steady in nodes_on(nodes, clock)]
    start_ms = await both[0].now_ms()
    assert await both[1].now_ms() == start_ms
    clock.advance(1)
    clock.jump(HOURS_2_MS)
    assert await asyncio.gather(*(steady.now_ms() for steady in both)) == [start_ms + 1_000] * 2
