"""The contract of `Presence`, on both adapters: what is stale must look stale."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from leeside_protocol.ids import AgencyId, DeviceId
from leeside_protocol.limits import NODE_BEAT_S, NODE_LEASE_S
from leeside_server.adapters.memory import NODE_FORGOTTEN_S, MemoryPresence
from leeside_server.adapters.redis_connection import RedisPlace
from leeside_server.adapters.redis_presence import RedisPresence
from leeside_server.ports import OnlineView, Presence
from tests.support.services import RedisServer, free_port

OURS = AgencyId(bytes([1]) * 16)
THEIRS = AgencyId(bytes([2]) * 16)
CAR = DeviceId(bytes([5]) * 16)
VAN = DeviceId(bytes([6]) * 16)
DESK = DeviceId(bytes([7]) * 16)
START_MS = 1_800_000_000_000
LEASE_MS = NODE_LEASE_S * 1_000
BEAT_MS = NODE_BEAT_S * 1_000
Warm = Callable[[], Awaitable[int]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
async def presence(request: pytest.FixtureRequest) -> AsyncIterator[Presence]:
    made: Presence
    if request.param == "memory":
        made = MemoryPresence()
    else:
        made = RedisPresence(RedisPlace(request.getfixturevalue("redis_url")))
    yield made
    await made.close()


@pytest.fixture
async def now_ms(presence: Presence) -> int:
    """A time at which node `a` has reported for a whole lease, holding CAR."""
    for at_ms in range(START_MS, START_MS + LEASE_MS + 1, BEAT_MS):
        await presence.renew("a", [(OURS, CAR)], at_ms)
    return START_MS + LEASE_MS


class TestContract:
    async def test_nobody_has_reported(self, presence: Presence) -> None:
        assert await presence.online(OURS, [CAR], START_MS) == OnlineView(frozenset(), 0, stale=True)

    async def test_who_is_held_is_online(self, presence: Presence, now_ms: int) -> None:
        assert await presence.online(OURS, [CAR, VAN], now_ms + 1) == OnlineView(
            frozenset({CAR}), now_ms, stale=False
        )

    async def test_only_who_was_asked_for(self, presence: Presence, now_ms: int) -> None:
        await presence.renew("a", [(OURS, CAR), (OURS, VAN)], now_ms)
        assert (await presence.online(OURS, [VAN], now_ms)).devices == {VAN}
        assert (await presence.online(OURS, [], now_ms)).devices == frozenset()

    async def test_agencies_are_apart(self, presence: Presence, now_ms: int) -> None:
        assert (await presence.online(THEIRS, [CAR], now_ms)).devices == frozenset()

    async def test_nodes_add_up_and_the_oldest_report_dates_the_view(
        self, presence: Presence, now_ms: int
    ) -> None:
        await presence.renew("b", [(OURS, VAN), (OURS, CAR)], now_ms + 5_000)
        assert await presence.online(OURS, [CAR, VAN, DESK], now_ms + 6_000) == OnlineView(
            frozenset({CAR, VAN}), now_ms, stale=False
        )

    async def test_a_report_replaces_the_one_before(self, presence: Presence, now_ms: int) -> None:
        await presence.renew("a", [(OURS, VAN)], now_ms + 1)
        assert await presence.online(OURS, [CAR, VAN], now_ms + 1) == OnlineView(
            frozenset({VAN}), now_ms + 1, stale=False
        )

    async def test_a_node_without_devices_reports_too(self, presence: Presence, now_ms: int) -> None:
        await presence.renew("a", [], now_ms + 1)
        assert await presence.online(OURS, [CAR], now_ms + 1) == OnlineView(
            frozenset(), now_ms + 1, stale=False
        )

    async def test_a_node_that_vanished_makes_absence_prove_nothing(
        self, presence: Presence, now_ms: int
    ) -> None:
        await presence.renew("b", [(OURS, VAN)], now_ms)
        later_ms = now_ms + LEASE_MS
        await presence.renew("a", [(OURS, CAR)], later_ms)
        assert await presence.online(OURS, [CAR, VAN], later_ms) == OnlineView(
            frozenset({CAR}), later_ms, stale=True
        )

    async def test_a_node_that_left_is_missed_by_nobody(self, presence: Presence, now_ms: int) -> None:
        await presence.renew("b", [(OURS, VAN)], now_ms)
        await presence.leave("b")
        await presence.leave("never came")
        assert await presence.online(OURS, [CAR, VAN], now_ms) == OnlineView(
            frozenset({CAR}), now_ms, stale=False
        )

    async def test_a_vanished_node_that_reports_again_is_whole(self, presence: Presence, now_ms: int) -> None:
        later_ms = now_ms + LEASE_MS + 1
        assert await presence.online(OURS, [CAR], later_ms) == OnlineView(frozenset(), 0, stale=True)
        await presence.renew("a", [(OURS, CAR)], later_ms)
        assert await presence.online(OURS, [CAR], later_ms) == OnlineView(
            frozenset({CAR}), later_ms, stale=False
        )

    async def test_a_vanished_node_is_forgotten_in_the_end(self, presence: Presence, now_ms: int) -> None:
        await presence.renew("b", [(OURS, VAN)], now_ms)
        end_ms = now_ms + NODE_FORGOTTEN_S * 1_000
        await presence.renew("a", [(OURS, CAR)], end_ms - 1)
        assert (await presence.online(OURS, [CAR], end_ms - 1)).stale
        assert await presence.online(OURS, [CAR], end_ms) == OnlineView(
            frozenset({CAR}), end_ms - 1, stale=False
        )

    async def test_thousands_of_devices(self, presence: Presence, now_ms: int) -> None:
        devices = [DeviceId(n.to_bytes(16, "big")) for n in range(5_000)]
        await presence.renew("a", [(OURS, device) for device in devices], now_ms)
        view = await presence.online(OURS, [*devices[4_990:], CAR], now_ms)
        assert view.devices == set(devices[4_990:])


class TestRedis:
    async def test_after_flushall_views_are_stale_until_every_node_had_its_turn(
        self, redis_server: RedisServer, redis_url: str
    ) -> None:
        a, b = RedisPresence(RedisPlace(redis_url)), RedisPresence(RedisPlace(redis_url))
        for at_ms in range(START_MS, START_MS + LEASE_MS + 1, BEAT_MS):
            await a.renew("a", [(OURS, CAR)], at_ms)
            await b.renew("b", [(OURS, VAN)], at_ms)
        now_ms = START_MS + LEASE_MS
        assert not (await a.online(OURS, [CAR, VAN], now_ms)).stale
        redis_server.flush()
        # Nobody has reported since: what this process reported itself is still known.
        assert await a.online(OURS, [CAR, VAN], now_ms) == OnlineView(frozenset({CAR}), now_ms, stale=True)
        await a.renew("a", [(OURS, CAR)], now_ms + 1)
        assert await a.online(OURS, [CAR, VAN], now_ms + 1) == OnlineView(
            frozenset({CAR}), now_ms + 1, stale=True
        )
        await b.renew("b", [(OURS, VAN)], now_ms + 1)
        end_ms = now_ms + 1 + LEASE_MS
        for node, presence, device in (("a", a, CAR), ("b", b, VAN)):
            await presence.renew(node, [(OURS, device)], end_ms)
        assert await a.online(OURS, [CAR, VAN], end_ms) == OnlineView(
            frozenset({CAR, VAN}), end_ms, stale=False
        )
        await a.close()
        await b.close()

    async def test_without_redis_a_view_is_stale_and_holds_what_is_here(self) -> None:
        presence = RedisPresence(RedisPlace(f"redis://127.0.0.1:{free_port()}/0"))
        await presence.renew("a", [(OURS, CAR)], START_MS)
        assert await presence.online(OURS, [CAR, VAN], START_MS + 1) == OnlineView(
            frozenset({CAR}), START_MS, stale=True
        )
        assert await presence.online(OURS, [CAR], START_MS + LEASE_MS) == OnlineView(
            frozenset(), 0, stale=True
        )
        await presence.leave("a")
        assert (await presence.online(OURS, [CAR], START_MS)).devices == frozenset()
        await presence.close()
