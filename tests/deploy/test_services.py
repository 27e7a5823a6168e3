"""The shipped redis.conf and postgresql.conf, each run by the real server, used as nodes use it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import trustme

from deploy.devtool.place import ROOT
from deploy.devtool.services import POSTGRES, REDIS
from leeside_protocol.ids import AgencyId, ChannelAddress, DeviceId
from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.redis_bridges import RedisBridges
from leeside_server.adapters.redis_bus import RedisBus
from leeside_server.adapters.redis_connection import RedisConnection, RedisPlace, Refusal
from leeside_server.adapters.redis_latest import RedisLatest
from leeside_server.adapters.redis_presence import RedisPresence
from leeside_server.core.writes import Audit, Item
from leeside_server.ports import LatestValue, Workplace
from tests.support.patience import PATIENCE_S
from tests.support.services import (
    HOST,
    POLL_S,
    Account,
    PostgresServer,
    RedisServer,
    ServerFailed,
    ServerProcess,
    free_port,
    initialise,
    program_path,
)

AGENCY, DEVICE = AgencyId(b"A" * 16), DeviceId(b"D" * 16)
CHANNEL = ChannelAddress(b"c" + b"C" * 16)
PASSWORD = "of-the-tests"

pytestmark = pytest.mark.services


def shipped(path: str, *changes: tuple[str, str]) -> str:
    """A shipped file with what an operator changes; each change must fit exactly once."""
    text = (ROOT / "deploy" / path).read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{path} has no {old}, or several"
        text = text.replace(old, new)
    return text


def write_certificate(folder: Path, authority: trustme.CA) -> None:
    """`server.pem`, `server.key` and `ca.pem` for the loopback address."""
    certificate = authority.issue_cert(HOST, "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "server.key").chmod(0o600)


class TlsRedis(RedisServer):
    """A Redis that speaks TLS only: an empty ClientHello gets an alert."""

    def start(self) -> None:
        self.process.start(self.port, bytes.fromhex("160301000401000000"), b"\x15")


@contextmanager
def redis_as_shipped(folder: Path) -> Generator[RedisPlace]:
    """Redis with the shipped files; the place as a node names it."""
    write_certificate(folder, trustme.CA())
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    (folder / "users.acl").write_text(shipped("redis/users.acl", ("<sha256-of-the-password>", digest)))
    port = free_port()
    (folder / "redis.conf").write_text(
        shipped(
            "redis/redis.conf",
            ("bind 127.0.0.1 10.0.0.31", f"bind {HOST}"),
            ("tls-port 6380", f"tls-port {port}"),
            ("/etc/redis/tls/redis.pem", f"{folder}/server.pem"),
            ("/etc/redis/tls/redis.key", f"{folder}/server.key"),
            ("/etc/redis/tls/ca.pem", f"{folder}/ca.pem"),
            ("/etc/redis/users.acl", f"{folder}/users.acl"),
        )
    )
    process = ServerProcess([program_path(REDIS), folder / "redis.conf"], folder)
    server = TlsRedis(process, port)
    server.start()
    try:
        yield RedisPlace(f"rediss://leeside:{PASSWORD}@{HOST}:{port}/0?ssl_ca_certs={folder}/ca.pem")
    finally:
        server.stop()


async def test_nodes_can_do_with_the_shipped_redis_what_they_do_and_nothing_else(tmp_path: Path) -> None:
    with redis_as_shipped(tmp_path) as place:
        clock = SystemClock()
        heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        bus = RedisBus(place, "node1", clock)
        await bus.start(lambda topic, data: heard.put_nowait((topic, data)))
        latest, presence = RedisLatest(place, clock), RedisPresence(place, clock)
        bridges = RedisBridges(place, "node1 video", clock)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not bus.healthy():  # noqa: ASYNC110 - it becomes so across a network, and tells nobody
                    await asyncio.sleep(0.02)
                await bus.subscribe(["a topic"])
                await bus.publish([("a topic", b"a hint")])
                assert await heard.get() == ("a topic", b"a hint")
            value = LatestValue(b"p" + DEVICE, DEVICE, clock.now_ms(), b"sealed")
            await latest.put(AGENCY, CHANNEL, value)
            assert list(await latest.values(AGENCY, CHANNEL)) == [value]
            await latest.drop(AGENCY, CHANNEL)
            assert list(await latest.values(AGENCY, CHANNEL)) == []
            await presence.renew("node1", [(AGENCY, DEVICE)] * 3, clock.now_ms())
            other = RedisPresence(place, clock)
            assert (await other.online(AGENCY, [DEVICE], clock.now_ms())).devices == frozenset({DEVICE})
            await presence.leave("node1")
            await other.close()
            await bridges.start(lambda _worker: None)
            await bridges.announce(Workplace(b"worker-1"))
            room = bytes(16)
            placed = await bridges.place(room)
            assert await bridges.keep(b"worker-1", {room: placed.epoch}) == frozenset()
            assert [found.worker for found in await bridges.workplaces()] == [b"worker-1"]
            await bridges.release(b"worker-1", room, placed.epoch)
            await bridges.say(b"a-node-1", b"a word")
            await bridges.withdraw(b"worker-1")
        finally:
            for port in (bridges, presence, latest, bus):
                await port.close()
        connection = RedisConnection(place)
        await connection.open()
        try:
            for command in (
                ("KEYS", "*"), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("MONITOR",), ("SET", "other:key", "x"),
                ("PUBLISH", "other:topic", "x"), ("SAVE",), ("SLOWLOG", "GET"),
            ):  # fmt: skip
                await connection.send([command])
                answer = await connection.read()
                assert isinstance(answer, Refusal), command
        finally:
            await connection.close()
    # Nothing on disk that was not there before.
    left = await asyncio.to_thread(lambda: {path.name for path in tmp_path.iterdir()})
    assert left == {"ca.pem", "redis.conf", "server.key", "server.log", "server.pem", "users.acl"}


@contextmanager
def postgres_as_shipped(folder: Path) -> Generator[PostgresServer]:
    """PostgreSQL with the shipped files, its memory apart."""
    programs, account, port = program_path(POSTGRES), Account.harmless(), free_port()
    folder.mkdir()
    # It runs as somebody else under root, and must get there.
    for path in (folder, *folder.parents):
        if path.owner() == folder.owner() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    account.own(folder)
    initialise(programs, folder, account, PASSWORD)
    write_certificate(folder, trustme.CA())
    for path in folder.iterdir():
        account.own(path)
    data = folder / "data"
    settings = shipped(
        "postgres/postgresql.conf",
        ("127.0.0.1,10.0.0.21", HOST),
        ("port = 5432", f"port = {port}"),
        ("/etc/postgresql/tls/postgres.pem", f"{folder}/server.pem"),
        ("/etc/postgresql/tls/postgres.key", f"{folder}/server.key"),
        ("shared_buffers = 2GB", "shared_buffers = 32MB"),
    )
    with (data / "postgresql.conf").open("a") as file:
        file.write(f"unix_socket_directories = '{folder}'\n{settings}")
    hba = shipped("postgres/pg_hba.conf", ("10.0.0.11/32", f"{HOST}/32"))
    # `psql` of the test speaks to other databases too; nodes do not.
    administrator = f"hostssl  postgres  leeside  {HOST}/32  scram-sha-256\n"
    (data / "pg_hba.conf").write_text(hba + administrator)
    server = PostgresServer(
        ServerProcess([programs / "postgres", "-D", data], folder, account), programs, port, PASSWORD
    )
    server.process.start(port, bytes.fromhex("0000000804d2162f"), b"S")
    try:
        wait_for_queries(server)
        yield server
    finally:
        server.stop()


def wait_for_queries(server: PostgresServer) -> None:
    """It listens before it takes queries."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            server.run_sql("SELECT 1")
        except ServerFailed:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)
        else:
            return


async def test_a_node_keeps_messages_in_the_shipped_postgresql_over_tls(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with postgres_as_shipped(folder) as server:
        server.run_sql("CREATE DATABASE leeside TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        address = server.dsn("leeside")
        verified = f"{address}?sslmode=verify-full&sslrootcert={folder}/ca.pem"
        store = await PostgresStore.open(verified)
        try:
            (outcome,) = await store.apply([Item(AGENCY, 1, (Audit("sign_in", DEVICE, DEVICE, "done"),))])
            assert not hasattr(outcome, "code"), outcome
        finally:
            await store.close()
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(f"{address}?sslmode=disable")
        shown = {name: server.run_sql(f"SHOW {name}") for name in ("fsync", "ssl", "log_statement")}
        assert shown == {"fsync": "on", "ssl": "on", "log_statement": "none"}
        with pytest.raises(ServerFailed, match="syntax error"):
            server.run_sql("SELECT 'a sealed body' FROM nonsense where")
    assert "a sealed body" not in (folder / "server.log").read_text()


def test_every_setting_of_postgresql_says_why() -> None:
    """A line of the file stands under a comment of its own block: nobody has to guess."""
    for block in (ROOT / "deploy/postgres/postgresql.conf").read_text().split("\n\n"):
        assert re.match(r"#", block), block
