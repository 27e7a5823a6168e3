"""When a worker is drained because it lags: by loads and no process."""

from typing import Any, cast

import pytest

from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.core.video import WordSeal
from leeside_server.video.metrics import Counts
from leeside_server.video.settings import VideoSettings
from leeside_server.video.supervisor import LAGGING_MS, Post, Supervisor
from leeside_server.video.words import Drain, Kept, Load, ToWorker
from tests.support.clock import FakeClock

ROOM = b"r" * 16


class Process:
    """What a supervisor says to a worker."""

    class inner:  # noqa: N801
        pid = 1

    def __init__(self) -> None:
        self.said: list[ToWorker] = []

    def say(self, word: ToWorker) -> None:
        self.said.append(word)


class Pair:
    """A supervisor with two posts, whose workers say what the test wants."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.bridges = MemoryBridges(clock)
        self.supervisor = Supervisor(
            VideoSettings(workers=2), self.bridges, WordSeal(bytes(32), bytes), clock
        )
        for post in self.supervisor.posts:
            post.worker = bytes([post.number]) * 8
            post.process = cast("Any", Process())

    async def load(self, post: Post, lag_ms: int, *, takes: bool = True) -> None:
        word = Load(1, 2, 0.5, open=takes, cpu=0.5, lag_ms=lag_ms, counts=Counts())
        await self.supervisor.take(post, word)

    def drained(self, post: Post) -> bool:
        process = cast("Process", cast("Any", post.process))
        return Drain() in process.said


async def test_a_worker_that_lags_twice_beside_a_calm_one_is_drained_and_its_rooms_are_free() -> None:
    pair = Pair()
    lags, calm = pair.supervisor.posts
    await pair.load(lags, 0)
    await pair.load(calm, 0, takes=False)
    placed = await pair.bridges.place(ROOM)
    assert placed.worker == lags.worker
    await pair.supervisor.take(lags, Kept(ROOM, placed.epoch))
    await pair.load(calm, 0)
    await pair.load(lags, LAGGING_MS + 1)
    assert not pair.drained(lags)
    await pair.load(lags, LAGGING_MS + 1)
    assert pair.drained(lags)
    again = await pair.bridges.place(ROOM)
    assert again.worker == calm.worker
    assert again.epoch > placed.epoch


async def test_a_lag_that_passes_is_forgotten() -> None:
    pair = Pair()
    lags, calm = pair.supervisor.posts
    await pair.load(calm, 0)
    for lag_ms in (LAGGING_MS + 1, 0) * 3:
        await pair.load(lags, lag_ms)
    assert not pair.drained(lags)


@pytest.mark.parametrize("other", [{"lag_ms": LAGGING_MS + 1}, {"lag_ms": 0, "takes": False}])
async def test_nobody_is_sent_where_it_is_no_better(other: dict[str, Any]) -> None:
    pair = Pair()
    lags, beside = pair.supervisor.posts
    for _ in range(5):
        await pair.load(beside, **other)
        await pair.load(lags, LAGGING_MS + 1)
    assert not pair.drained(lags)
