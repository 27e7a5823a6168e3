"""What only PostgreSQL can do: restart, lose a session, be weak, be a standby, confirm half a commit."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Generator

import asyncpg
import pytest

from leeside_server.adapters import postgres_writer
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.postgres_connection import make_pool
from leeside_server.core.writes import Audit, Item, Outcome, Stored
from leeside_server.ports import Store, StoreRefused, StoreUnavailable
from tests.ports.stores import AGENCY, ALL, ANY_BYTES, LOG, NOW_MS, item, offsets, says, stored, write
from tests.support.patience import PATIENCE_S, in_time
from tests.support.services import PostgresServer, ServerFailed

RETURN_S = PATIENCE_S
"""Within this the store works again once the server does."""


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncGenerator[PostgresStore]:
    store = await PostgresStore.open(postgres_dsn)
    yield store
    await store.close()


@pytest.fixture
def server(postgres_server: PostgresServer) -> Generator[PostgresServer]:
    """The server, with its settings put back afterwards."""
    yield postgres_server
    with contextlib.suppress(ServerFailed):
        postgres_server.start()
    postgres_server.run_sql("ALTER SYSTEM RESET ALL")
    postgres_server.run_sql("SELECT pg_reload_conf()")


async def works_again(store: Store, one: Item) -> Outcome:
    """Repeat an item until it is answered, as a client would."""
    async with asyncio.timeout(RETURN_S):
        while True:
            try:
                return (await store.apply([one]))[0]
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def kill_sessions(server: PostgresServer, dsn: str) -> None:
    database = dsn.rpartition("/")[2]
    await asyncio.to_thread(
        server.run_sql,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
    )


async def test_sessions_killed_under_load_lose_and_double_nothing(
    store: PostgresStore, postgres_dsn: str, server: PostgresServer
) -> None:
    acknowledged: dict[int, int] = {}
    finished = asyncio.Event()

    async def sender(base: int) -> None:
        for number in range(base, base + 1_000):
            outcome = await works_again(store, item(says(number)))
            offset = outcome.offsets[0] if isinstance(outcome, Stored) else getattr(outcome, "offset", 0)
            acknowledged[number] = offset
            if finished.is_set():
                return

    async with asyncio.TaskGroup() as group:
        for index in range(8):
            group.create_task(sender(index * 1_000))
        for _ in range(3):
            before = len(acknowledged)
            async with asyncio.timeout(RETURN_S):
                while len(acknowledged) < before + 40:  # noqa: ASYNC110 - a count, not an event
                    await asyncio.sleep(0.005)
            await kill_sessions(server, postgres_dsn)
        finished.set()
    page = await store.read(AGENCY, LOG, 0, 10_000, ANY_BYTES)
    standing = {int.from_bytes(entry.id, "big"): entry.offset for entry in page.entries}
    assert len(standing) == len(page.entries) == page.head
    assert acknowledged.items() <= standing.items()
    assert len(acknowledged) >= 120


async def test_after_a_restart_the_store_works_again(store: PostgresStore, server: PostgresServer) -> None:
    await stored(store, says(1))
    await asyncio.to_thread(server.stop)
    with pytest.raises(StoreUnavailable):
        await write(store, says(2))
    with pytest.raises(StoreUnavailable):
        await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    await asyncio.to_thread(server.start)
    await works_again(store, item(says(2)))
    assert await offsets(store) == [1, 2]


async def test_a_node_that_writes_nothing_sees_another_generation(
    store: PostgresStore, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "LOOK_S", 0.01)
    reader = await PostgresStore.open(postgres_dsn)
    try:
        following = await store.bump_generation()
        async with asyncio.timeout(RETURN_S):
            while reader.generation != following:  # noqa: ASYNC110 - a value, not an event
                await asyncio.sleep(0.005)
    finally:
        await reader.close()


async def test_while_the_server_is_away_calls_are_refused_quickly(
    store: PostgresStore, server: PostgresServer
) -> None:
    await asyncio.to_thread(server.kill)
    with pytest.raises(StoreUnavailable):
        await write(store, says(1))

    async def refused_five_times() -> float:
        begun_s = time.monotonic()
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await write(store, says(1))
        return time.monotonic() - begun_s

    await in_time(5, refused_five_times)
    await asyncio.to_thread(server.start)
    await works_again(store, item(says(1)))
    assert await offsets(store) == [1]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_a_power_cut_destroys_is_refused(
    postgres_dsn: str, server: PostgresServer, setting: str
) -> None:
    command = list(server.process.command)
    server.process.command = [str(word).replace(f"{setting}=on", f"{setting}=off") for word in command]
    try:
        await asyncio.to_thread(server.restart)
        with pytest.raises(StoreRefused, match=f"{setting} is off"):
            await PostgresStore.open(postgres_dsn)
    finally:
        server.process.command = command
        await asyncio.to_thread(server.restart)


async def test_commits_that_do_not_wait_are_refused(postgres_dsn: str, server: PostgresServer) -> None:
    set_for_database(server, postgres_dsn, "synchronous_commit = off")
    with pytest.raises(StoreRefused, match="synchronous_commit is off"):
        await PostgresStore.open(postgres_dsn)


async def test_a_server_that_became_weak_is_not_used_again(
    store: PostgresStore, postgres_dsn: str, server: PostgresServer
) -> None:
    await stored(store, says(1))
    set_for_database(server, postgres_dsn, "synchronous_commit = off")
    await kill_sessions(server, postgres_dsn)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await write(store, says(2))
    set_for_database(server, postgres_dsn, "synchronous_commit = on")
    assert await works_again(store, item(says(2))) == Stored(store.generation, (2,))


async def test_a_session_keeps_its_level_whatever_the_server_is_told_later(store: PostgresStore) -> None:
    source = await store._writer.run(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        lambda db: db.fetchrow("SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'")
    )
    assert source is not None
    assert tuple(source) == ("on", "session")


async def test_a_connection_for_single_writes_keeps_its_level_when_it_is_used_again(
    postgres_dsn: str,
) -> None:
    pool = await make_pool(postgres_dsn, 1, writes=True)
    sources: list[tuple[object, ...]] = []
    sessions: set[int] = set()
    for _ in range(2):
        async with pool.acquire() as connection:
            query = "SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'"
            sources.append(tuple(await connection.fetchrow(query) or ()))
            sessions.add(await connection.fetchval("SELECT pg_backend_pid()"))
    await pool.close()
    assert sources == [("on", "session")] * 2
    assert len(sessions) == 1


@pytest.mark.parametrize("level", ["local", "remote_write"])
async def test_levels_below_on_are_refused_where_a_standby_is_asked_for(
    postgres_dsn: str, server: PostgresServer, level: str
) -> None:
    set_for_database(server, postgres_dsn, f"synchronous_commit = {level}")
    store = await PostgresStore.open(postgres_dsn)  # without a standby, as good as on
    await store.close()
    ask_for_standby(server, "nobody")
    with pytest.raises(StoreRefused, match=level):
        await PostgresStore.open(postgres_dsn)


def set_for_database(server: PostgresServer, dsn: str, setting: str) -> None:
    """Change a setting for new sessions of the database."""
    server.run_sql(f"ALTER DATABASE {dsn.rpartition('/')[2]} SET {setting}")


def ask_for_standby(server: PostgresServer, name: str) -> None:
    """Let commits wait for a standby that does not exist; "" ends that. Returns once new sessions see it."""
    server.run_sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.run_sql("SELECT pg_reload_conf()")
    deadline_s = time.monotonic() + RETURN_S
    while server.run_sql("SHOW synchronous_standby_names") != name:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


async def test_a_commit_the_standby_did_not_confirm_is_not_acknowledged(
    store: PostgresStore, postgres_dsn: str, server: PostgresServer
) -> None:
    """A cancelled wait reports success with a warning: the message would be lost with this machine."""
    ask_for_standby(server, "nobody")
    database = postgres_dsn.rpartition("/")[2]
    call = asyncio.ensure_future(write(store, says(1)))
    cancelled = "f"
    async with asyncio.timeout(RETURN_S):
        while cancelled != "t":
            cancelled = await asyncio.to_thread(
                server.run_sql,
                "SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_stat_activity "
                f"WHERE datname = '{database}' AND wait_event = 'SyncRep'",
            )
    with pytest.raises(StoreUnavailable, match="standby"):
        await call


async def test_a_commit_that_takes_too_long_counts_as_unknown(
    store: PostgresStore, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "COMMAND_S", 0.15)
    ask_for_standby(server, "nobody")
    with pytest.raises(StoreUnavailable):
        await write(store, says(1))
    monkeypatch.undo()
    ask_for_standby(server, "")
    outcome = await works_again(store, item(says(1)))
    assert getattr(outcome, "offset", 1) == 1
    assert await offsets(store) == [1]


async def test_a_vanished_node_does_not_hold_a_log_for_long(store: PostgresStore, postgres_dsn: str) -> None:
    """Another session has locked the log: this one waits for it, then says so, then works."""
    await stored(store, says(1))
    other = await asyncpg.connect(postgres_dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT * FROM channels FOR UPDATE")
    call = asyncio.ensure_future(write(store, says(2)))
    await asyncio.sleep(0.05)
    assert not call.done()
    other.terminate()
    assert await call == Stored(store.generation, (2,))


async def test_nothing_is_read_from_a_standby(store: PostgresStore, server: PostgresServer) -> None:
    """The address leads to a server that was not promoted yet: what it shows is of the past."""
    await stored(store, says(1))
    mark = server.process.folder / "data" / "standby.signal"
    mark.touch()
    try:
        await asyncio.to_thread(server.restart)
        assert await asyncio.to_thread(server.run_sql, "SELECT pg_is_in_recovery()") == "t"
        for _ in range(8):  # more than there are connections to read with
            with pytest.raises(StoreUnavailable):
                await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    finally:
        mark.unlink()
        await asyncio.to_thread(server.restart)
    await works_again(store, item(says(2)))
    assert await offsets(store) == [1, 2]


async def test_readers_follow_the_writer_to_another_server(
    store: PostgresStore, server: PostgresServer
) -> None:
    async def reader() -> int:
        (row,) = await store._fetch("SELECT pg_backend_pid()", ())  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return int(row[0])

    before = {await reader() for _ in range(8)}
    writing = "datname <> 'postgres' AND query LIKE '%COMMIT%'"
    await stored(store, says(1))
    # Waited for: a session that has only been told to end may still take the next write.
    await asyncio.to_thread(
        server.run_sql, f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE {writing}"
    )
    await works_again(store, item(says(2)))
    assert not {await reader() for _ in range(8)} & before


async def test_security_events_can_only_be_added(store: PostgresStore, postgres_dsn: str) -> None:
    await stored(store, Audit("sign_in", b"a", b"s", "refused"))
    connection = await asyncpg.connect(postgres_dsn)
    for statement in ("UPDATE audits SET outcome = 'ok'", "DELETE FROM audits", "TRUNCATE audits"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute(statement)
    await connection.close()
    assert [row.outcome for row in await store.audits(AGENCY, 0, 9)] == ["refused"]


async def test_errors_never_tell_the_address_or_password(postgres_dsn: str, server: PostgresServer) -> None:
    wrong = [
        postgres_dsn.replace(server.password, "hunter2"),
        postgres_dsn.rpartition("/")[0] + "/nowhere",
        "postgresql://leeside:hunter2@127.0.0.1:1/x",
        "postgresql://leeside:hunter2@127.0.0.1:notaport/x",
    ]
    for dsn in wrong:
        with pytest.raises((StoreUnavailable, StoreRefused)) as caught:
            await PostgresStore.open(dsn)
        assert caught.value.__cause__ is None
        for secret in ("hunter2", server.password, "127.0.0.1", "nowhere"):
            assert secret not in str(caught.value)


async def test_two_nodes_migrate_an_empty_database_at_once(postgres_dsn: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(postgres_dsn) for _ in range(3)))
    assert len({store.generation for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_a_node_that_may_not_migrate_says_what_to_run(postgres_dsn: str) -> None:
    with pytest.raises(StoreRefused, match="leeside-server migrate"):
        await PostgresStore.open(postgres_dsn, may_migrate=False)
    store = await PostgresStore.open(postgres_dsn)
    await store.close()
    store = await PostgresStore.open(postgres_dsn, may_migrate=False)
    await store.close()


async def test_logs_that_vanish_under_a_running_node_are_made_anew(
    store: PostgresStore, postgres_dsn: str
) -> None:
    """A backup was restored below it: what it remembers of the logs is wrong, and must not matter."""
    await store.apply([item(says(1)), item(says(2))])
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DELETE FROM messages; DELETE FROM channels")
    await connection.close()
    assert (await store.apply([Item(AGENCY, NOW_MS, (says(3),))]))[0] == Stored(store.generation, (1,))
