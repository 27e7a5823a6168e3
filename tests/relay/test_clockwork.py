"""The clockwork: works that do not wait for one another, and a node that says when one of them stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast
from unittest.mock import patch

import httpx
import pytest

from leeside_server.ports import Store, StoreUnavailable
from leeside_server.relay import clockwork as module
from leeside_server.relay.app import build_app
from leeside_server.relay.clockwork import STALLED_S, Clockwork
from leeside_server.relay.steady import Steady
from tests.relay.paging_scene import outbox
from tests.support.clock import FakeClock


class Time(Steady):
    """Steady time that is the fake clock's."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(cast("Store", None), clock)
        self.clock = clock
        self.away = False

    async def now_ms(self) -> int:
        if self.away:
            raise StoreUnavailable
        return self.clock.now_ms()


def clockwork() -> tuple[FakeClock, Time, Clockwork]:
    clock = FakeClock()
    time = Time(clock)
    return clock, time, Clockwork(time, clock)


def work(*results: Exception | None) -> tuple[list[int], Callable[[int], Awaitable[None]]]:
    """A work that does what it is told, turn by turn, and then well; and when it was asked."""
    asked: list[int] = []
    left = list(results)

    async def carry_out(now_ms: int) -> None:
        asked.append(now_ms)
        error = left.pop(0) if left else None
        if error is not None:
            raise error

    return asked, carry_out


async def test_a_work_is_given_steady_time() -> None:
    clock, _, works = clockwork()
    asked, carry_out = work()
    works.add("pages", carry_out)
    await works.cycle()
    assert asked == [clock.now_ms()]


@pytest.mark.parametrize("error", [StoreUnavailable(), TimeoutError(), ValueError("a fault of ours")])
async def test_a_turn_that_failed_is_not_complete_and_stops_no_other(error: Exception) -> None:
    clock, _, works = clockwork()
    failing, healthy = work(error), work()
    works.add("consults", failing[1])
    works.add("pages", healthy[1])
    clock.advance(STALLED_S + 1)
    await works.cycle()
    assert works.stalled
    assert len(healthy[0]) == 1
    await works.cycle()
    assert not works.stalled


async def test_without_a_completed_turn_for_15_seconds_it_has_stalled() -> None:
    clock, time, works = clockwork()
    works.add("pages", work()[1], every_s=0.5)
    time.away = True
    for _ in range(31):
        await works.cycle()
        assert not works.stalled
        clock.advance(0.5)
    await works.cycle()
    clock.advance(0.1)
    assert works.stalled, "no completed turn, however many were begun"
    time.away = False
    await works.cycle()
    assert (works.stalled, works.age_s) == (False, 0.0)


async def test_what_is_not_vital_makes_no_node_unready() -> None:
    clock, _, works = clockwork()
    works.add("probes", work()[1], every_s=5.0, vital=False)
    clock.advance(3_600)
    assert not works.stalled


async def test_a_work_that_hangs_is_given_up_and_counts_as_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.01)
    clock, _, works = clockwork()

    async def hang(_: int) -> None:
        await asyncio.Event().wait()

    works.add("consults", hang)
    clock.advance(STALLED_S + 1)
    await works.cycle()
    assert works.stalled


async def test_a_node_that_stalled_is_not_ready_and_lives(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        transport = httpx.ASGITransport(build_app(box.node), client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://leeside.test") as http:
            await box.node.clockwork.cycle()
            assert (await http.get("/readyz")).status_code == 200
            box.world.clock.advance(STALLED_S + 3)
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.json()["clockwork"]) == (503, "stalled")
            assert (await http.get("/healthz")).status_code == 200, "to be started anew would not help"
            await box.node.clockwork.cycle()
            assert (await http.get("/readyz")).status_code == 200
            await box.node.beats.check()
            assert b"leeside_clockwork_age_seconds 0.0" in box.node.metrics.text()
            with patch.object(box.node.steady, "now_ms", side_effect=StoreUnavailable):
                box.world.clock.advance(STALLED_S + 3)
                await box.node.clockwork.cycle()
            await box.node.beats.check()
            assert b"leeside_clockwork_age_seconds 17." in box.node.metrics.text()
