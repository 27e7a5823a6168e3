"""The contract of `Latest`, on both adapters."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelKind,
    DeviceId,
    StateKind,
    address,
    state_key,
)
from leeside_protocol.limits import STREAM_TTL_S
from leeside_server.adapters.memory import MemoryLatest
from leeside_server.adapters.redis_connection import Command, RedisConnection, RedisPlace, Reply
from leeside_server.adapters.redis_latest import KEYS_A_CHANNEL, RedisLatest
from leeside_server.ports import Latest, LatestValue
from tests.support.clock import FakeClock
from tests.support.patience import in_time
from tests.support.services import free_port

OURS = AgencyId(bytes([1]) * 16)
THEIRS = AgencyId(bytes([2]) * 16)
CHANNEL = address(ChannelKind.CONTENT, bytes([3]) * 16)
OTHER = address(ChannelKind.CONTENT, bytes([4]) * 16)
CAR = DeviceId(bytes([5]) * 16)
VAN = DeviceId(bytes([6]) * 16)


def value(device: DeviceId = CAR, at_ms: int = 1_000, payload: bytes = b"sealed") -> LatestValue:
    return LatestValue(state_key(StateKind.POSITION, device), device, at_ms, payload)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
async def latest(request: pytest.FixtureRequest) -> AsyncIterator[Latest]:
    made: Latest
    if request.param == "memory":
        made = MemoryLatest(FakeClock())
    else:
        made = RedisLatest(RedisPlace(request.getfixturevalue("redis_url")))
    yield made
    await made.close()


class TestContract:
    async def test_nothing_is_there_at_first(self, latest: Latest) -> None:
        assert list(await latest.values(OURS, CHANNEL)) == []

    async def test_each_key_keeps_its_newest_value(self, latest: Latest) -> None:
        await latest.put(OURS, CHANNEL, value(CAR, 1_000, b"old"))
        await latest.put(OURS, CHANNEL, value(VAN, 900, b"van"))
        await latest.put(OURS, CHANNEL, value(CAR, 2_000, b"new"))
        assert list(await latest.values(OURS, CHANNEL)) == [
            value(CAR, 2_000, b"new"),
            value(VAN, 900, b"van"),
        ]

    async def test_an_older_value_that_comes_late_is_dropped(self, latest: Latest) -> None:
        await latest.put(OURS, CHANNEL, value(at_ms=2_000, payload=b"new"))
        await latest.put(OURS, CHANNEL, value(at_ms=1_999, payload=b"late"))
        assert list(await latest.values(OURS, CHANNEL)) == [value(at_ms=2_000, payload=b"new")]

    async def test_at_the_same_time_the_last_one_stands(self, latest: Latest) -> None:
        await latest.put(OURS, CHANNEL, value(payload=b"first"))
        await latest.put(OURS, CHANNEL, value(payload=b"second"))
        assert list(await latest.values(OURS, CHANNEL)) == [value(payload=b"second")]

    async def test_channels_and_agencies_are_apart(self, latest: Latest) -> None:
        await latest.put(OURS, CHANNEL, value(payload=b"ours"))
        await latest.put(THEIRS, CHANNEL, value(payload=b"theirs"))
        await latest.put(OURS, OTHER, value(payload=b"other"))
        assert [found.payload for found in await latest.values(OURS, CHANNEL)] == [b"ours"]
        assert [found.payload for found in await latest.values(THEIRS, CHANNEL)] == [b"theirs"]
        assert [found.payload for found in await latest.values(OURS, OTHER)] == [b"other"]
        assert list(await latest.values(THEIRS, OTHER)) == []

    async def test_drop_forgets_one_channel(self, latest: Latest) -> None:
        for device in (CAR, VAN):
            await latest.put(OURS, CHANNEL, value(device))
        await latest.put(OURS, OTHER, value())
        await latest.drop(OURS, CHANNEL)
        await latest.drop(THEIRS, CHANNEL)
        assert list(await latest.values(OURS, CHANNEL)) == []
        assert list(await latest.values(OURS, OTHER)) == [value()]

    async def test_after_a_drop_an_older_time_counts_again(self, latest: Latest) -> None:
        await latest.put(OURS, CHANNEL, value(at_ms=2_000))
        await latest.drop(OURS, CHANNEL)
        await latest.put(OURS, CHANNEL, value(at_ms=1_000))
        assert list(await latest.values(OURS, CHANNEL)) == [value(at_ms=1_000)]

    async def test_any_bytes_and_the_largest_time(self, latest: Latest) -> None:
        odd = value(at_ms=2**53 - 1, payload=bytes(range(256)) * 100)
        await latest.put(OURS, CHANNEL, value(at_ms=2**53 - 2))
        await latest.put(OURS, CHANNEL, odd)
        await latest.put(OURS, CHANNEL, value(VAN, payload=b""))
        assert list(await latest.values(OURS, CHANNEL)) == [odd, value(VAN, payload=b"")]

    async def test_puts_at_once_end_with_the_newest(self, latest: Latest) -> None:
        times = list(range(1_000, 1_200))
        shuffled = times[1::2] + times[::2][::-1]
        await asyncio.gather(*(latest.put(OURS, CHANNEL, value(at_ms=at_ms)) for at_ms in shuffled))
        assert list(await latest.values(OURS, CHANNEL)) == [value(at_ms=1_199)]


class TestMemory:
    async def test_a_value_ends_after_its_time(self) -> None:
        clock = FakeClock()
        latest = MemoryLatest(clock)
        await latest.put(OURS, CHANNEL, value(CAR))
        clock.advance(STREAM_TTL_S - 1)
        await latest.put(OURS, CHANNEL, value(VAN))
        assert len(await latest.values(OURS, CHANNEL)) == 2
        clock.advance(1)
        assert list(await latest.values(OURS, CHANNEL)) == [value(VAN)]

    async def test_a_newer_value_lives_its_own_time(self) -> None:
        clock = FakeClock()
        latest = MemoryLatest(clock)
        await latest.put(OURS, CHANNEL, value(at_ms=1))
        clock.advance(STREAM_TTL_S - 1)
        await latest.put(OURS, CHANNEL, value(at_ms=2))
        clock.advance(STREAM_TTL_S - 1)
        assert list(await latest.values(OURS, CHANNEL)) == [value(at_ms=2)]

    async def test_a_jump_of_the_wall_clock_neither_keeps_nor_drops(self) -> None:
        clock = FakeClock()
        latest = MemoryLatest(clock)
        await latest.put(OURS, CHANNEL, value())
        clock.jump(86_400_000)
        assert list(await latest.values(OURS, CHANNEL)) == [value()]
        clock.jump(-2 * 86_400_000)
        clock.advance(STREAM_TTL_S)
        assert list(await latest.values(OURS, CHANNEL)) == []

    async def test_full_means_that_the_oldest_put_makes_room(self) -> None:
        latest = MemoryLatest(FakeClock(), values_kept=2)
        third = DeviceId(bytes([7]) * 16)
        for device in (CAR, VAN):
            await latest.put(OURS, CHANNEL, value(device))
        await latest.put(OURS, CHANNEL, value(CAR, 2_000))
        await latest.put(OURS, OTHER, value(third))
        assert [found.device for found in await latest.values(OURS, CHANNEL)] == [CAR]
        assert [found.device for found in await latest.values(OURS, OTHER)] == [third]


async def ask(url: str, *commands: Command) -> list[Reply]:
    connection = RedisConnection(RedisPlace(url))
    await connection.open()
    await connection.send(commands)
    try:
        return [await connection.read() for _ in commands]
    finally:
        await connection.close()


class TestRedis:
    async def test_every_key_ends_by_itself(self, redis_url: str) -> None:
        latest = RedisLatest(RedisPlace(redis_url, prefix="p:"))
        await latest.put(OURS, CHANNEL, value())
        (keys,) = await ask(redis_url, ("KEYS", "*"))
        assert len(keys) == 2
        for key in keys:
            assert key.startswith(b"p:latest:{")
            (left_ms,) = await ask(redis_url, ("PTTL", key))
            assert 0 < left_ms <= STREAM_TTL_S * 1_000
        await latest.close()

    async def test_a_value_that_ended_is_gone_though_its_channel_lives(self, redis_url: str) -> None:
        latest = RedisLatest(RedisPlace(redis_url, prefix="p:"))
        await latest.put(OURS, CHANNEL, value(CAR))
        (keys,) = await ask(redis_url, ("KEYS", "*:v*"))
        await ask(redis_url, ("DEL", *keys))  # as its end would
        await latest.put(OURS, CHANNEL, value(VAN))
        assert list(await latest.values(OURS, CHANNEL)) == [value(VAN)]
        await latest.close()

    async def test_a_channel_holds_no_more_than_its_bound(self, redis_url: str) -> None:
        latest = RedisLatest(RedisPlace(redis_url))
        devices = [DeviceId(secrets.token_bytes(16)) for _ in range(KEYS_A_CHANNEL + 10)]
        for start in range(0, len(devices), 500):
            await asyncio.gather(
                *(latest.put(OURS, CHANNEL, value(device)) for device in devices[start : start + 500])
            )
        found = await latest.values(OURS, CHANNEL)
        assert len(found) == KEYS_A_CHANNEL
        assert devices[-1] in {one.device for one in found}
        assert await ask(redis_url, ("DBSIZE",)) == [KEYS_A_CHANNEL + 1]
        await latest.close()

    async def test_two_nodes_see_the_same(self, redis_url: str) -> None:
        a, b = RedisLatest(RedisPlace(redis_url)), RedisLatest(RedisPlace(redis_url))
        await asyncio.gather(
            *((a, b)[at_ms % 2].put(OURS, CHANNEL, value(at_ms=at_ms)) for at_ms in range(100, 0, -1))
        )
        assert (
            list(await a.values(OURS, CHANNEL)) == list(await b.values(OURS, CHANNEL)) == [value(at_ms=100)]
        )
        await a.close()
        await b.close()

    async def test_without_redis_it_is_empty_and_never_raises(self) -> None:
        clock = FakeClock()
        latest = RedisLatest(RedisPlace(f"redis://127.0.0.1:{free_port()}/0"), clock)
        await latest.put(OURS, CHANNEL, value())
        assert list(await latest.values(OURS, CHANNEL)) == []
        await latest.drop(OURS, ChannelAddress(CHANNEL))

        async def a_thousand() -> float:
            began_s = time.monotonic()
            for _ in range(1_000):
                await latest.put(OURS, CHANNEL, value())
            return time.monotonic() - began_s

        await in_time(5, a_thousand)
        await latest.close()
