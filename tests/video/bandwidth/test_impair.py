"""The weak network of tests: its arithmetic in virtual time, and packets through real sockets."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from tests.support.impair import CLIENTS, HELD_PACKETS, Bottleneck, Direction, Relay, Way, impaired
from tests.support.patience import PATIENCE_S

HOST = "127.0.0.1"


def test_a_perfect_way_takes_no_time() -> None:
    assert Bottleneck(Way(), 1).admit(1_000, 5.0) == 5.0


def test_packets_leave_at_the_rate_and_the_queue_overflows() -> None:
    link = Bottleneck(Way(bps=800_000, queue_s=0.1, delay_s=0.05), 1)
    times = [link.admit(1_000, 0.0) for _ in range(20)]
    through = [at for at in times if at is not None]
    assert through == pytest.approx([0.05 + 0.01 * (number + 1) for number in range(11)])
    assert link.overflowed == 9
    assert link.admit(1_000, 1.0) == pytest.approx(1.06), "and drains"


def test_loss_is_of_its_share_and_the_same_each_time() -> None:
    first, second = (Bottleneck(Way(loss=0.1), 7) for _ in range(2))
    came = [first.admit(100, 0.0) is not None for _ in range(5_000)]
    assert came == [second.admit(100, 0.0) is not None for _ in range(5_000)]
    assert 400 < first.lost < 600
    assert first.passed + first.lost == 5_000


def test_jitter_keeps_the_order() -> None:
    link = Bottleneck(Way(delay_s=0.02, jitter_s=0.03), 1)
    times = [link.admit(100, number / 100) for number in range(500)]
    assert times == sorted(at for at in times if at is not None)
    late = [at - number / 100 for number, at in enumerate(times) if at is not None]
    assert min(late) >= 0.02
    assert max(late) > 0.05


def test_a_way_that_is_down_loses_all_until_it_is_up() -> None:
    way = Way(up=False)
    link = Bottleneck(way, 1)
    assert link.admit(100, 0.0) is None
    way.up = True
    assert link.admit(100, 0.1) == 0.1


async def test_a_direction_holds_no_more_than_it_may() -> None:
    direction = Direction(Way(delay_s=3_600), 1)
    for _ in range(HELD_PACKETS + 5):
        direction.pass_on(100, lambda: None)
    assert direction.bottleneck.passed == HELD_PACKETS
    assert direction.bottleneck.overflowed == 5
    direction.close()


class Echo(asyncio.DatagramProtocol):
    """Answers each datagram to who sent it; `clients`: from how many places they came."""

    def __init__(self) -> None:
        self.clients: set[tuple[str, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of that class before Python 3.12, though it is one in all else.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.clients.add(addr)
        self._transport.sendto(data[::-1], addr)


@asynccontextmanager
async def echoing() -> AsyncGenerator[tuple[Echo, Relay]]:
    """An echo behind a relay."""
    transport, echo = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    try:
        async with impaired(transport.get_extra_info("sockname")) as relay:
            yield echo, relay
    finally:
        transport.close()


def client() -> socket.socket:
    """A socket that nobody reads yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((HOST, 0))
    return made


async def answer(of: socket.socket) -> bytes:
    """The next datagram."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(of, 2_048)


async def test_each_client_has_its_own_answers() -> None:
    async with echoing() as (echo, relay):
        with client() as one, client() as other:
            one.sendto(b"abc", relay.address)
            other.sendto(b"xyz", relay.address)
            assert (await answer(one), await answer(other)) == (b"cba", b"zyx")
            assert len(echo.clients) == 2
        assert (relay.upward.passed, relay.downward.passed) == (2, 2)


async def test_the_delay_is_of_both_directions_and_the_order_kept() -> None:
    async with echoing() as (_, relay):
        relay.up.delay_s, relay.down.delay_s, relay.down.jitter_s = 0.05, 0.03, 0.01
        loop = asyncio.get_running_loop()
        with client() as one:
            began_s = loop.time()
            for number in range(20):
                one.sendto(bytes([number]), relay.address)
            assert [await answer(one) for _ in range(20)] == [bytes([number]) for number in range(20)]
            assert loop.time() - began_s >= 0.08 - 0.002


async def test_clients_beyond_the_bound_are_refused() -> None:
    async with echoing() as (echo, relay):
        sockets = [client() for _ in range(CLIENTS + 2)]
        for each in sockets:
            each.sendto(b"abc", relay.address)
        for each in sockets[:CLIENTS]:
            assert await answer(each) == b"cba"
        assert len(echo.clients) == CLIENTS
        assert relay.refused == 2
        for each in sockets:
            each.close()
