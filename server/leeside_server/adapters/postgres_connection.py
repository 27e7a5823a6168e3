"""Connections to PostgreSQL: made with deadlines, and only to a server that keeps what it commits.

No error of this module repeats the DSN, its password or a text of the server: `describe` gives a condition's
number, which PostgreSQL's manual explains (appendix A).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from leeside_server.adapters.migrations import missing, new_generation, statements
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection: TypeAlias = asyncpg.Connection
    Pool: TypeAlias = asyncpg.Pool

CONNECT_S: Final = 3.0
COMMAND_S: Final = 5.0
"""A statement or commit that takes longer is given up; what it did is then unknown."""
MIGRATION_S: Final = 600.0
OLDEST: Final = 130_000
MIGRATION_LOCK: Final = 0x6C65657369646500  # "leeside"
"""The advisory lock under which one node at a time migrates."""

_SETTINGS: Final = {
    "application_name": "leeside",
    # A node that vanished must not hold a log for longer than another waits.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "4000",
    # A COMMIT that no standby confirmed says so in a warning, which nobody may switch off.
    "client_min_messages": "warning",
    "tcp_user_timeout": "5000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
    # No statement_timeout: at a COMMIT that waits for a synchronous standby it would end the wait and report
    # success. The deadlines are on this side, where an overrun counts as unknown.
    "statement_timeout": "0",
}
READER_SETTINGS: Final = {**_SETTINGS, "default_transaction_read_only": "on"}

_STANDBY: Final = "this PostgreSQL is a standby: it takes no writes, and what it shows may be old"

LOST: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises, besides `PostgresError`, when a connection is gone or in an unknown state."""


async def connect(dsn: str) -> Connection:
    """A connection to write with. Raises `StoreUnavailable`; `StoreRefused` when the address is malformed."""
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_S, command_timeout=COMMAND_S, server_settings=_SETTINGS
        )
    except (ValueError, asyncpg.ClientConfigurationError):
        raise StoreRefused(
            "the PostgreSQL address is malformed: postgresql://user@host:port/database"
        ) from None
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise StoreUnavailable(f"{describe(error)}: check user, password and database name") from None
    except (asyncpg.PostgresError, *LOST) as error:
        raise StoreUnavailable(describe(error)) from None


async def make_pool(dsn: str, size: int, *, writes: bool = False) -> Pool:
    """Connections that reconnect by themselves: to read with, or for single writes of their own.

    Each is verified when it is made: what writes must not do so on a server that became weak or a standby, and what
    reads would be shown a past by a standby, in which a revoked device is not revoked.
    """
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings=_SETTINGS if writes else READER_SETTINGS,
            init=verify if writes else refuse_standby,
            reset=_as_it_is,
        )
    except (asyncpg.PostgresError, *LOST) as error:
        raise StoreUnavailable(describe(error)) from None


async def _as_it_is(_connection: object) -> None:
    """Nothing: asyncpg's own RESET ALL between two uses would undo what `verify` set, and cost each use a round trip. A
    use is one statement and leaves nothing behind; a transaction that was broken off asyncpg ends in any case."""


async def refuse_standby(connection: Connection) -> None:
    """Raise `StoreUnavailable` for a server that follows another."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StoreUnavailable(_STANDBY)


async def verify(connection: Connection) -> None:
    """Raise `StoreRefused` for settings that lose what was acknowledged, `StoreUnavailable` for a standby.

    `local` and `remote_write` are as good as `on` without a synchronous standby; with one they would
    acknowledge what a failover loses.
    """
    row = await connection.fetchrow(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), "
        "current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), "
        "current_setting('server_version_num')::int, pg_is_in_recovery()"
    )
    assert row is not None
    fsync, full_pages, commit, standbys, version, standby = tuple(row)
    if version < OLDEST:
        raise StoreRefused("PostgreSQL is too old: 13 or newer is needed")
    if fsync != "on":
        raise StoreRefused("fsync is off: a power cut would destroy the database; set fsync = on")
    if full_pages != "on":
        raise StoreRefused("full_page_writes is off: a power cut could tear pages; set full_page_writes = on")
    if commit == "off" or (standbys and commit in {"local", "remote_write"}):
        raise StoreRefused(
            f"synchronous_commit is {commit}: acknowledged messages would be lost at a crash or failover; "
            "set synchronous_commit = on"
        )
    if standby:
        raise StoreUnavailable(_STANDBY)
    if commit != "remote_apply":
        # A weaker value that the server is given later does not reach this session.
        await connection.execute("SET synchronous_commit = on")


async def migrate(connection: Connection, *, may_change: bool) -> int:
    """Bring the tables up to date, one node at a time; return the generation. Raises `StoreRefused`."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL lock_timeout = 0")
        # Waits for a node that is migrating; released with the transaction.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK, timeout=MIGRATION_S)
        schema = 0
        if await connection.fetchval("SELECT to_regclass('meta') IS NOT NULL"):
            try:
                row = await connection.fetchrow("SELECT schema, usable_by FROM meta")
            except asyncpg.UndefinedColumnError:
                raise StoreRefused(
                    "the database holds another program's tables: give Leeside its own"
                ) from None
            if row is None:
                raise StoreRefused("the table meta is empty: restore a backup")
            schema = int(row[0])
            if missing(schema, int(row[1])) and not may_change:
                raise StoreRefused("the database must be migrated first: leeside-server migrate")
        elif not may_change:
            raise StoreRefused("the database has no tables yet: leeside-server migrate")
        script = statements("postgresql", schema)
        if script:
            await connection.execute(script, timeout=MIGRATION_S)
        if not schema:
            # Not 1: a database begun anew must not look like the one that clients knew.
            await connection.execute("UPDATE meta SET generation = $1", new_generation(0))
        return int(await connection.fetchval("SELECT generation FROM meta"))


def describe(error: BaseException) -> str:
    """Which condition it was, without a word of the server's or the address."""
    state: Any = getattr(error, "sqlstate", None)
    name = type(error).__name__
    return f"PostgreSQL: {name} ({state})" if isinstance(state, str) else f"PostgreSQL: {name}"


def translate(error: BaseException) -> StoreFull | StoreUnavailable:
    """The port's error for one of asyncpg's."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFull("the database server's disk is full")
    return StoreUnavailable(describe(error))


async def discard(connection: Connection) -> None:
    """Close without waiting for the other side: its answer could not be trusted any more."""
    connection.terminate()
    await asyncio.sleep(0)
