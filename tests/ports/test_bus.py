"""The contract of `Bus`, on both adapters, and what only Redis can do to it: vanish, hang, forget, cut."""

import asyncio
import os
import secrets
import signal
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from leeside_server.adapters import redis_bus
from leeside_server.adapters.memory import MemoryBus, MemoryExchange
from leeside_server.adapters.redis_bus import RedisBus
from leeside_server.adapters.redis_connection import RedisConnection, RedisPlace, Reply
from leeside_server.ports import Bus, BusUnavailable
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S, in_time
from tests.support.services import RedisServer, free_port

NodeMaker = Callable[[], Awaitable["Listener"]]


@dataclass
class Listener:
    """A bus of one node, and every hint that reached it."""

    bus: Bus
    heard: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    poison: bytes | None = None

    def listen(self, topic: str, data: bytes) -> None:
        self.heard.append((topic, data))
        if data == self.poison:
            raise ValueError("cannot take this")

    async def hears(self, topic: str, data: bytes) -> None:
        await until(lambda: (topic, data) in self.heard)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that is on its way; the deadline only ends what is broken."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is across a network and sets no event here
            await asyncio.sleep(0.002)


async def said_until_heard(speaker: Listener, listener: Listener, topic: str) -> None:
    """Repeat new hints until one arrives, as the poll of heads would repeat what was lost."""
    async with asyncio.timeout(PATIENCE_S):
        while not any(heard == topic for heard, _ in listener.heard):
            try:
                await speaker.bus.publish([(topic, b"again")])
            except BusUnavailable:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.005)


async def started(bus: Bus) -> Listener:
    listener = Listener(bus)
    await bus.start(listener.listen)
    return listener


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[NodeMaker]:
    """Makes healthy nodes of one cluster."""
    made: list[Listener] = []
    exchange = MemoryExchange()
    place = RedisPlace(request.getfixturevalue("redis_url")) if request.param == "redis" else None

    async def make() -> Listener:
        bus = MemoryBus(exchange) if place is None else RedisBus(place, secrets.token_hex(8))
        made.append(await started(bus))
        await until(bus.healthy)
        return made[-1]

    yield make
    for listener in made:
        await listener.bus.close()


class TestContract:
    async def test_a_hint_reaches_every_node_that_subscribed_and_the_sender_too(
        self, node: NodeMaker
    ) -> None:
        a, b, c = await node(), await node(), await node()
        await a.bus.subscribe(["t"])
        await b.bus.subscribe(["t", "u"])
        await c.bus.subscribe(["u"])
        await a.bus.publish([("t", b"one"), ("u", b"two")])
        await a.hears("t", b"one")
        await b.hears("u", b"two")
        await c.hears("u", b"two")
        assert a.heard == [("t", b"one")]
        assert b.heard == [("t", b"one"), ("u", b"two")]
        assert c.heard == [("u", b"two")]

    async def test_a_bus_whose_hints_another_node_hears_is_shared(self, node: NodeMaker) -> None:
        a, b = await node(), await node()
        await b.bus.subscribe(["t"])
        await a.bus.publish([("t", b"one")])
        await b.hears("t", b"one")
        assert a.bus.shared
        assert b.bus.shared

    async def test_a_bus_that_one_node_has_to_itself_is_not(self) -> None:
        assert not MemoryBus().shared

    async def test_hints_of_one_node_on_one_topic_keep_their_order(self, node: NodeMaker) -> None:
        a, b = await node(), await node()
        await b.bus.subscribe(["t"])
        for tick in range(50):
            await a.bus.publish([("t", b"%d" % tick)])
        await b.hears("t", b"49")
        assert [data for _, data in b.heard] == [b"%d" % tick for tick in range(50)]

    async def test_subscribe_returns_when_hints_arrive(self, node: NodeMaker) -> None:
        a, b = await node(), await node()
        for round_ in range(20):
            await b.bus.subscribe([f"t{round_}"])
            await a.bus.publish([(f"t{round_}", b"first")])
        await b.hears("t19", b"first")
        assert len(b.heard) == 20

    async def test_subscribing_twice_gives_one_copy(self, node: NodeMaker) -> None:
        a = await node()
        await asyncio.gather(a.bus.subscribe(["t"]), a.bus.subscribe(["t"]), a.bus.subscribe(["t", "t"]))
        await a.bus.publish([("t", b"once"), ("t", b"last")])
        await a.hears("t", b"last")
        assert a.heard == [("t", b"once"), ("t", b"last")]

    async def test_unsubscribe_ends_it_and_subscribe_begins_it_again(self, node: NodeMaker) -> None:
        a = await node()
        await a.bus.subscribe(["t", "mark"])
        await a.bus.unsubscribe(["t", "never"])
        await a.bus.publish([("t", b"unheard"), ("mark", b"1")])
        await a.hears("mark", b"1")
        assert ("t", b"unheard") not in a.heard
        await a.bus.unsubscribe(["mark"])
        await a.bus.subscribe(["t"])
        await a.bus.publish([("t", b"heard")])
        await a.hears("t", b"heard")

    async def test_a_change_of_mind_in_the_same_moment_ends_subscribed(self, node: NodeMaker) -> None:
        a = await node()
        await a.bus.subscribe(["t"])
        leaving = asyncio.ensure_future(a.bus.unsubscribe(["t"]))
        await asyncio.sleep(0)
        await a.bus.subscribe(["t"])
        await leaving
        await a.bus.publish([("t", b"heard")])
        await a.hears("t", b"heard")

    async def test_bytes_and_sizes_arrive_as_they_are(self, node: NodeMaker) -> None:
        a = await node()
        await a.bus.subscribe(["t", "é/ü"])
        big = bytes(range(256)) * 4_000
        await a.bus.publish([("t", b""), ("t", b"\r\n$5\r\n\x00\xff"), ("é/ü", big)])
        await a.hears("é/ü", big)
        assert a.heard == [("t", b""), ("t", b"\r\n$5\r\n\x00\xff"), ("é/ü", big)]

    async def test_many_publishers_at_once_lose_nothing_on_a_healthy_bus(self, node: NodeMaker) -> None:
        a, b = await node(), await node()
        topics = [f"t{n}" for n in range(1_200)]
        await b.bus.subscribe(topics)
        await asyncio.gather(*(a.bus.publish([(topic, b"x")]) for topic in topics))
        await until(lambda: len(b.heard) == len(topics))
        assert {topic for topic, _ in b.heard} == set(topics)

    async def test_publishing_nothing_is_fine(self, node: NodeMaker) -> None:
        a = await node()
        await a.bus.publish([])
        await a.bus.subscribe([])
        await a.bus.unsubscribe([])

    async def test_a_listener_that_raises_ends_neither_the_bus_nor_the_publisher(
        self, node: NodeMaker
    ) -> None:
        a, b = await node(), await node()
        await a.bus.subscribe(["t"])
        await b.bus.subscribe(["t"])
        b.poison = b"poison"
        await a.bus.publish([("t", b"poison"), ("t", b"next")])
        await a.hears("t", b"next")
        await b.hears("t", b"next")
        assert a.heard == b.heard == [("t", b"poison"), ("t", b"next")]

    async def test_after_close_it_is_unhealthy_and_publish_says_so(self, node: NodeMaker) -> None:
        a = await node()
        await a.bus.subscribe(["t"])
        await a.bus.close()
        assert not a.bus.healthy()
        with pytest.raises(BusUnavailable):
            await a.bus.publish([("t", b"late")])
        assert a.heard == []
        await a.bus.close()


# ---- Redis alone


@asynccontextmanager
async def pair(url: str) -> AsyncGenerator[tuple[Listener, Listener]]:
    """Two nodes on one Redis, both following `t`; Redis may be absent."""
    a, b = [await started(RedisBus(RedisPlace(url), secrets.token_hex(8))) for _ in range(2)]
    try:
        for listener in (a, b):
            await listener.bus.subscribe(["t"])
        yield a, b
    finally:
        await a.bus.close()
        await b.bus.close()


async def both_well(a: Listener, b: Listener) -> None:
    await until(lambda: a.bus.healthy() and b.bus.healthy())
    await a.bus.publish([("t", b"well")])
    await b.hears("t", b"well")


GIVEN_UP_S = 1.5
"""The promise is a second; a busy machine gets some grace."""


async def refused_within_a_second(listener: Listener) -> None:
    async def refused() -> float:
        began_s = time.monotonic()
        with pytest.raises(BusUnavailable):
            await listener.bus.publish([("t", b"into the dark")])
        return time.monotonic() - began_s

    await in_time(GIVEN_UP_S, refused)


async def subscribed_within_a_second(listener: Listener, topic: str) -> None:
    async def subscribed() -> float:
        began_s = time.monotonic()
        await listener.bus.subscribe([topic])
        return time.monotonic() - began_s

    await in_time(GIVEN_UP_S, subscribed)


async def ask(url: str, *commands: tuple[str, ...]) -> list[object]:
    connection = RedisConnection(RedisPlace(url))
    await connection.open()
    await connection.send(commands)
    try:
        return [await connection.read() for _ in commands]
    finally:
        await connection.close()


@contextmanager
def frozen(server: RedisServer) -> Generator[None]:
    """A black hole: the kernel still takes connections and bytes, nobody answers."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


class TestFaults:
    async def test_killed_and_restarted(self, redis_server: RedisServer, redis_url: str) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            redis_server.kill()
            try:
                await until(lambda: not a.bus.healthy() and not b.bus.healthy())
                await refused_within_a_second(a)
                await subscribed_within_a_second(a, "u")
            finally:
                redis_server.start()
            await until(b.bus.healthy)
            await said_until_heard(b, a, "u")
            b.heard.clear()
            await said_until_heard(a, b, "t")

    async def test_absent_at_start(self, redis_server: RedisServer, redis_url: str) -> None:
        redis_server.kill()
        try:
            async with pair(redis_url) as (a, b):
                assert not a.bus.healthy()
                await refused_within_a_second(a)
                redis_server.start()
                await until(lambda: a.bus.healthy() and b.bus.healthy())
                await said_until_heard(a, b, "t")
        finally:
            redis_server.process.end(signal.SIGKILL)
            redis_server.start()

    async def test_black_hole(self, redis_server: RedisServer, redis_url: str) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            with frozen(redis_server):
                await refused_within_a_second(a)
                await until(lambda: not a.bus.healthy() and not b.bus.healthy())
                # While it rests, refusing costs nothing, however many ask.
                results = await asyncio.gather(
                    *(a.bus.publish([("t", b"x")]) for _ in range(2_000)), return_exceptions=True
                )
                assert all(isinstance(result, BusUnavailable) for result in results)
            await until(lambda: a.bus.healthy() and b.bus.healthy())
            b.heard.clear()
            await said_until_heard(a, b, "t")

    async def test_connections_reset(self, redis_server: RedisServer, redis_url: str) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            for kind in ("pubsub", "normal"):
                (killed,) = await ask(redis_url, ("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"))
                assert killed == 2
                b.heard.clear()
                await said_until_heard(a, b, "t")
                await until(lambda: a.bus.healthy() and b.bus.healthy())

    async def test_flushall_changes_nothing(self, redis_server: RedisServer, redis_url: str) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            redis_server.flush()
            await a.bus.publish([("t", b"after")])
            await b.hears("t", b"after")
            assert a.bus.healthy()
            assert b.bus.healthy()

    async def test_a_wedged_subscriber_is_noticed_and_mended(self, redis_url: str) -> None:
        """The worst report of the field: publishing works, the subscriber hears nothing, no error tells."""
        async with Valve.open(redis_url) as valve, pair(valve.url) as (a, b):
            await both_well(a, b)
            valve.swallow = b"message"
            await until(lambda: not a.bus.healthy() and not b.bus.healthy())
            await a.bus.publish([("t", b"unheard")])  # accepted all the while
            valve.swallow = None
            b.heard.clear()
            await said_until_heard(a, b, "t")
            await until(lambda: a.bus.healthy() and b.bus.healthy())

    async def test_an_answer_that_is_none_of_redis_costs_the_session_and_not_the_bus(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            read, strange = RedisConnection.read, [[b"message"], [b"message"]]

            async def misread(connection: RedisConnection) -> Reply:
                reply = await read(connection)
                return strange.pop() if strange and isinstance(reply, list) else reply

            monkeypatch.setattr(RedisConnection, "read", misread)
            await until(lambda: not strange)
            b.heard.clear()
            await said_until_heard(a, b, "t")
            await until(lambda: a.bus.healthy() and b.bus.healthy())

    async def test_an_unconfirmed_subscription_makes_the_bus_unhealthy(self, redis_url: str) -> None:
        async with Valve.open(redis_url) as valve, pair(valve.url) as (a, b):
            await both_well(a, b)
            valve.swallow = b"subscribe"
            await a.bus.subscribe(["u"])
            assert not a.bus.healthy()
            valve.swallow = None
            await said_until_heard(b, a, "u")

    async def test_a_refused_subscription_never_looks_healthy(self, redis_url: str) -> None:
        await ask(
            redis_url, ("ACL", "SETUSER", "half", "on", ">secret", "~*", "+@all", "resetchannels", "&ours:*")
        )
        url = redis_url.replace("redis://", "redis://half:secret@")
        bus = RedisBus(RedisPlace(url, prefix="theirs:"), "n")
        await started(bus)
        try:
            with pytest.raises(BusUnavailable):
                await bus.publish([("t", b"x")])
            assert not bus.healthy()
        finally:
            await bus.close()
            await ask(redis_url, ("ACL", "DELUSER", "half"))

    async def test_tls_with_our_authority_and_with_no_other(self, redis_url: str, tmp_path: Path) -> None:
        authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(tls)  # pyright: ignore[reportUnknownMemberType]
        authority.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        async with Valve.open(redis_url, tls) as valve:
            async with pair(f"{valve.url}?ssl_ca_certs={tmp_path}/ours.pem") as (a, b):
                await both_well(a, b)
            for options in ("", f"?ssl_ca_certs={tmp_path}/other.pem"):
                async with pair(valve.url + options) as (a, _):
                    with pytest.raises(BusUnavailable):
                        await a.bus.publish([("t", b"x")])
                    assert not a.bus.healthy()

    async def test_prefixes_keep_clusters_apart(self, redis_url: str) -> None:
        ours, theirs = [
            await started(RedisBus(RedisPlace(redis_url, prefix=prefix), "n"))
            for prefix in ("ours:", "theirs:")
        ]
        try:
            for listener in (ours, theirs):
                await listener.bus.subscribe(["t"])
            await ours.bus.publish([("t", b"x")])
            await ours.hears("t", b"x")
            assert theirs.heard == []
            assert await ask(redis_url, ("DBSIZE",)) == [0]
        finally:
            await ours.bus.close()
            await theirs.bus.close()

    async def test_three_seconds_without_a_beat_are_unhealthy(self, redis_url: str) -> None:
        clock = FakeClock()
        bus = RedisBus(RedisPlace(redis_url), "n", clock)
        await started(bus)
        try:
            await until(bus.healthy)
            clock.advance(redis_bus.BEAT_MISSED_S - 0.1)
            assert bus.healthy()
            clock.advance(0.2)
            assert not bus.healthy()
            await until(bus.healthy)
        finally:
            await bus.close()

    async def test_too_much_waiting_is_refused_and_not_kept(
        self, redis_server: RedisServer, redis_url: str
    ) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            with frozen(redis_server):
                first = asyncio.ensure_future(a.bus.publish([("t", b"x")]))
                await asyncio.sleep(0)
                big = [asyncio.ensure_future(a.bus.publish([("t", bytes(1024 * 1024))])) for _ in range(12)]
                results = await asyncio.gather(first, *big, return_exceptions=True)
            assert all(isinstance(result, BusUnavailable) for result in results)
            await until(lambda: a.bus.healthy() and b.bus.healthy())

    async def test_a_cancelled_publisher_disturbs_nobody(self, redis_url: str) -> None:
        async with pair(redis_url) as (a, b):
            await both_well(a, b)
            publishing = [asyncio.ensure_future(a.bus.publish([("t", b"%d" % n)])) for n in range(20)]
            await asyncio.sleep(0)
            for task in publishing[::2]:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
            await a.bus.publish([("t", b"end")])
            await b.hears("t", b"end")
            assert {data for _, data in b.heard} >= {b"%d" % n for n in range(1, 20, 2)}

    async def test_nobody_is_there_at_all(self) -> None:
        bus = RedisBus(RedisPlace(f"redis://:secret@127.0.0.1:{free_port()}/0"), "n")
        await started(bus)
        with pytest.raises(BusUnavailable) as refused:
            await bus.publish([("t", b"x")])
        assert "secret" not in repr(refused.value)
        assert not bus.healthy()
        await bus.close()


def test_the_password_is_never_shown() -> None:
    assert "secret" not in repr(RedisPlace("redis://user:secret@127.0.0.1:6379/0"))
    for url in ("http://:secret@127.0.0.1", "redis://:half#secret@127.0.0.1:x/0", "secret"):
        with pytest.raises(ValueError) as refused:
            RedisConnection(RedisPlace(url))
        assert "secret" not in str(refused.value)


@dataclass
class Valve:
    """A TCP relay in front of Redis that can swallow whatever Redis says of one kind, in silence."""

    url: str
    swallow: bytes | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, redis_url: str, tls: ssl.SSLContext | None = None) -> AsyncGenerator["Valve"]:
        port = int(redis_url.rpartition(":")[2].partition("/")[0])
        valve = cls("")

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watched: bool) -> None:
            try:
                while data := await reader.read(65_536):
                    if not (watched and valve.swallow is not None and valve.swallow in data):
                        writer.write(data)
                        await writer.drain()
            except OSError:
                return
            finally:
                writer.close()

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pour(reader, up_writer, watched=False))
                tasks.create_task(pour(up_reader, writer, watched=True))

        server = await asyncio.start_server(join, "127.0.0.1", 0, family=socket.AF_INET, ssl=tls)
        async with server:
            valve.url = (
                f"{'redis' if tls is None else 'rediss'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
            )
            yield valve
