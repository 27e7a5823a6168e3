"""The store of a cluster: PostgreSQL 13 or newer, shared by many nodes.

Give it a direct connection or a pooler in session mode: prepared statements and session settings are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId
from leeside_server.adapters import postgres_batch, queries
from leeside_server.adapters.migrations import new_generation
from leeside_server.adapters.postgres_connection import (
    COMMAND_S,
    CONNECT_S,
    LOST,
    Connection,
    Pool,
    connect,
    describe,
    discard,
    make_pool,
    migrate,
    translate,
    verify,
)
from leeside_server.adapters.postgres_writer import PostgresWriter
from leeside_server.adapters.reads import PRUNE_EPOCHS, PRUNE_ROWS, WAITING_ITEMS, WAITING_READS, StoreReads
from leeside_server.adapters.statements import POSTGRES
from leeside_server.core.plan import ObjectName
from leeside_server.core.writes import Item, LogPage, NotStored, Object, Outcome
from leeside_server.ports import StoreUnavailable

_QUERIES: Final = POSTGRES
_NOW_MS: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8"


class PostgresStore(StoreReads):
    """`ports.Store` on a PostgreSQL database. Made by `open`.

    Another node's `bump_generation` is seen with the next batch, after the next connection, and within `LOOK_S` anyway.
    """

    def __init__(self, writer: PostgresWriter, pool: Pool) -> None:
        super().__init__(_QUERIES)
        self._writer = writer
        self._pool = pool
        self._reading = 0
        self._closed = False

    @classmethod
    async def open(cls, dsn: str, *, readers: int = 4, may_migrate: bool = True) -> PostgresStore:
        """Connect and bring the tables up to date (`may_migrate` False: only look that they are).

        Raises `StoreRefused` with what to change (weak settings, a foreign or newer database, a malformed
        address), `StoreUnavailable` when the server does not answer. Neither repeats the address.
        """
        connection = await connect(dsn)
        try:
            await verify(connection)
            generation = await migrate(connection, may_change=may_migrate)
            pool = await make_pool(dsn, readers)
        except (asyncpg.PostgresError, *LOST) as error:
            await discard(connection)
            raise translate(error) from None
        except BaseException:
            await discard(connection)
            raise
        # Readers follow the writer: what it left may live on, and nobody else would tell them.
        return cls(PostgresWriter(dsn, connection, generation, pool.expire_connections), pool)

    @property
    def generation(self) -> int:
        return self._writer.generation

    async def apply(self, items: Sequence[Item]) -> Sequence[Outcome]:
        self._check_open()
        if not items:
            return ()
        writer = self._writer
        if writer.waiting and writer.waiting + len(items) > WAITING_ITEMS:
            return [NotStored(WireError.BUSY)] * len(items)
        return await writer.apply(items)

    async def read(
        self, agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        rows = await self._rows(
            _QUERIES.sized_page,
            agency=agency,
            address=channel,
            after=after,
            limit=limit + 1,
            max_bytes=max_bytes,
        )
        log = (rows[0][10] or 0, rows[0][11] or 0, rows[0][12])
        entries = (row for row in rows if row[0] is not None)
        return queries.page(log, entries, after, limit, max_bytes)

    async def heads(self, channels: Sequence[tuple[AgencyId, ChannelAddress]]) -> Sequence[int]:
        if not channels:
            return ()
        asked = list(dict.fromkeys(channels))
        rows = await self._fetch(postgres_batch.HEADS, postgres_batch.columns(asked))
        known = {(row[0], row[1]): row[2] for row in rows}
        return [known.get(log, 0) for log in channels]

    async def get_many(self, names: Sequence[ObjectName]) -> Sequence[Object | None]:
        asked = list(dict.fromkeys(names))
        if not asked:
            return ()
        rows = await self._fetch(postgres_batch.OBJECTS, postgres_batch.columns(asked))
        known = queries.named_objects(rows)
        return [known.get(name) for name in names]

    async def now_ms(self) -> int:
        return int((await self._fetch(_NOW_MS, ()))[0][0])

    async def prune(self, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int) -> int:
        return await self._in_steps(lambda db: _prune(db, agency, channel, up_to, ids_before_ms))

    async def forget_pruned(self, agency: AgencyId, channel: ChannelAddress, before_ms: int) -> int:
        return await self._in_steps(lambda db: _forget_pruned(db, agency, channel, before_ms))

    async def forget_boxes(self, agency: AgencyId, channel: ChannelId, below: int, shared: bytes) -> int:
        return await self._in_steps(lambda db: _forget_boxes(db, agency, channel, below, shared))

    async def _in_steps(self, step: Callable[[Connection], Awaitable[tuple[int, bool]]]) -> int:
        """Transactions of `step` (rows changed, whether there is more to do) until the last; messages get in between."""
        changed = 0
        more = True
        while more:
            self._check_open()
            count, more = await self._writer.run(step)
            changed += count
        return changed

    async def bump_generation(self) -> int:
        self._check_open()

        async def work(db: Connection) -> int:
            before = await db.fetchval("SELECT generation FROM meta FOR UPDATE")
            following = new_generation(int(before))
            await db.execute(_QUERIES.set_generation.sql, following)
            return following

        following = await self._writer.run(work)
        self._writer.generation = following
        return following

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._writer.close()
            async with asyncio.timeout(COMMAND_S):
                await self._pool.close()
        except (asyncpg.PostgresError, *LOST):
            pass  # there is nobody to say goodbye to
        finally:
            self._pool.terminate()

    def _check_open(self) -> None:
        if self._closed or self._writer.ended:
            raise StoreUnavailable("the store is closed")

    async def _rows(self, query: queries.Statement, **values: object) -> Sequence[queries.Row]:
        return await self._fetch(query.sql, query.args(**values))

    async def _fetch(self, sql: str, args: Sequence[object]) -> Sequence[queries.Row]:
        self._check_open()
        if self._reading >= WAITING_READS:
            raise StoreUnavailable("too many reads wait")
        self._reading += 1
        try:
            async with self._pool.acquire(timeout=CONNECT_S + COMMAND_S) as connection:
                rows: Sequence[queries.Row] = await connection.fetch(sql, *args)
                return rows
        except (asyncpg.PostgresError, *LOST) as error:
            raise StoreUnavailable(describe(error)) from None
        finally:
            self._reading -= 1


async def _prune(
    db: Connection, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int
) -> tuple[int, bool]:
    """One step; how many rows changed, and whether there is more to do."""
    log = await db.fetchrow(_QUERIES.lock_log.sql, *_QUERIES.lock_log.args(agency=agency, address=channel))
    if log is None:
        return 0, False
    head, floor = int(log[0]), int(log[1])
    goal = max(floor, min(up_to, head))
    to = min(goal, floor + PRUNE_ROWS)
    changed = 0
    if to > floor:
        args = _QUERIES.prune_log.args(agency=agency, address=channel, floor=floor, to=to)
        changed = _count(await db.execute(_QUERIES.prune_log.sql, *args))
        args = _QUERIES.set_floor.args(to=to, agency=agency, address=channel)
        await db.execute(_QUERIES.set_floor.sql, *args)
    if to < goal:
        return changed, True
    args = _QUERIES.forget_states.args(
        agency=agency, address=channel, before_ms=ids_before_ms, floor=to, limit=PRUNE_ROWS
    )
    forgotten = _count(await db.execute(_QUERIES.forget_states.sql, *args))
    return changed + forgotten, forgotten == PRUNE_ROWS


async def _forget_pruned(
    db: Connection, agency: AgencyId, channel: ChannelAddress, before_ms: int
) -> tuple[int, bool]:
    """One step; how many rows went, and whether there is more to do."""
    log = await db.fetchrow(_QUERIES.lock_log.sql, *_QUERIES.lock_log.args(agency=agency, address=channel))
    if log is None:
        return 0, False
    args = _QUERIES.forget_pruned.args(
        agency=agency, address=channel, before_ms=before_ms, floor=int(log[1]), limit=PRUNE_ROWS
    )
    forgotten = _count(await db.execute(_QUERIES.forget_pruned.sql, *args))
    return forgotten, forgotten == PRUNE_ROWS


async def _forget_boxes(
    db: Connection, agency: AgencyId, channel: ChannelId, below: int, shared: bytes
) -> tuple[int, bool]:
    """One step; how many boxes went, and whether there is more to do."""
    oldest, boxes, lists = _QUERIES.oldest_boxes, _QUERIES.forget_boxes, _QUERIES.forget_box_lists
    first = await db.fetchval(oldest.sql, *oldest.args(agency=agency, channel=channel, below=below))
    if first is None:
        return 0, False
    to = min(below, int(first) + PRUNE_EPOCHS)
    some = {"agency": agency, "channel": channel, "first": int(first), "below": to}
    forgotten = _count(await db.execute(boxes.sql, *boxes.args(**some)))
    await db.execute(lists.sql, *lists.args(**some, list=shared))
    return forgotten, to < below


def _count(tag: str) -> int:
    """The number of rows in a command tag like `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])
