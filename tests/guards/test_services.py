"""The servers that other tests stand on: they run, they are empty, and they come back after a crash."""

import asyncpg
import pytest

from tests.support import services
from tests.support.services import PostgresServer, RedisServer, ServerFailed, answers, free_port, free_ports


def ask(server: RedisServer, words: bytes, expected: bytes) -> bool:
    return answers(server.port, words + b"\r\n", expected)


def test_redis_is_empty_for_each_test_and_after_a_crash(redis_url: str, redis_server: RedisServer) -> None:
    assert ask(redis_server, b"DBSIZE", b":0")
    assert ask(redis_server, b"SET key value", b"+OK")
    assert ask(redis_server, b"DBSIZE", b":1")
    redis_server.flush()
    assert ask(redis_server, b"DBSIZE", b":0")
    assert ask(redis_server, b"SET key value", b"+OK")
    redis_server.kill()
    with pytest.raises(ServerFailed):
        redis_server.flush()
    redis_server.start()
    assert redis_server.url == redis_url
    assert ask(redis_server, b"DBSIZE", b":0")


def test_no_port_is_given_twice_before_its_server_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LISTENING", range(20_000, 20_024))
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    given = [free_port() for _ in range(12)]
    assert len(set(given)) == len(given)
    assert set(given) <= set(services.LISTENING)


def test_processes_beside_each_other_are_given_ports_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    for worker, share in (("gw0", range(20_000, 26_000)), ("gw1", range(26_000, 32_000))):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        for _ in range(50):
            first = free_ports(2)
            assert first in share
            assert first + 1 in share


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
async def test_postgres_is_durable_as_the_store_demands(postgres_dsn: str, setting: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("SELECT current_setting($1)", setting) == "on"
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


@pytest.mark.slow
async def test_postgres_keeps_what_was_committed_before_a_crash(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute("CREATE TABLE kept (number int)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        postgres_server.kill()
        try:
            with pytest.raises(ServerFailed):
                postgres_server.run_sql("SELECT 1")
        finally:
            postgres_server.start()
    finally:
        connection.terminate()
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("SELECT number FROM kept") == 7
    finally:
        await connection.close()
