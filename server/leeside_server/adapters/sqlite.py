"""The embedded store: one SQLite file, one process. The default, and not a toy."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId
from leeside_server.adapters import queries, sqlite_batch
from leeside_server.adapters.migrations import new_generation
from leeside_server.adapters.reads import PRUNE_EPOCHS, PRUNE_ROWS, WAITING_ITEMS, WAITING_READS, StoreReads
from leeside_server.adapters.sqlite_file import (
    RESERVE_BYTES,
    ProcessLock,
    Reserve,
    Synchronous,
    connect,
    migrate,
    settle_writer,
    translate,
)
from leeside_server.adapters.sqlite_readers import Readers
from leeside_server.adapters.sqlite_writer import SqliteWriter
from leeside_server.adapters.statements import SQLITE
from leeside_server.core.plan import ObjectName
from leeside_server.core.writes import Item, LogPage, NotStored, Object, Outcome
from leeside_server.ports import StoreRefused, StoreUnavailable

T = TypeVar("T")

_QUERIES: Final = SQLITE


class SqliteStore(StoreReads):
    """`ports.Store` on a file. Made by `open`."""

    def __init__(self, lock: ProcessLock, writer: SqliteWriter, readers: Readers, threads: int) -> None:
        super().__init__(_QUERIES)
        self._lock = lock
        self._writer = writer
        self._readers = readers
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="leeside-sqlite-read")
        self._reading = 0
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        synchronous: str = "full",
        readers: int = 2,
        reserve_bytes: int = RESERVE_BYTES,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> SqliteStore:
        """Open or create the database and bring its tables up to date.

        `synchronous` is `full`, or `extra` (which also syncs the folder). Anything weaker, another process, a
        foreign or newer database: `StoreRefused`, with what to change. `StoreUnavailable` when the disk fails.
        `reserve_bytes` is how much room `Reserve` puts by, a multiple of 65,536: less only where no disk fills.
        """
        if synchronous not in {"full", "extra"}:
            raise StoreRefused(
                f"synchronous = {synchronous!r} would lose acknowledged messages at a power cut: use full or extra"
            )
        level: Synchronous = "extra" if synchronous == "extra" else "full"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, cls._open, path, level, readers, reserve_bytes, factory, loop)

    @classmethod
    def _open(
        cls,
        path: Path,
        synchronous: Synchronous,
        readers: int,
        reserve_bytes: int,
        factory: type[sqlite3.Connection],
        loop: asyncio.AbstractEventLoop,
    ) -> SqliteStore:
        lock = ProcessLock(path.with_name(path.name + "-lock"))
        db: sqlite3.Connection | None = None
        pool: Readers | None = None
        try:
            db = connect(path, factory)
            settle_writer(db, synchronous)
            generation = migrate(db)
            # What a killed process wrote but did not sync is readable now, and a repeated id would be answered
            # from it without any write: so it is made durable first.
            if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StoreUnavailable("another program is reading the database")
            pool = Readers(path, readers, factory)
            reserve = Reserve(path.with_name(path.name + "-reserve"), reserve_bytes)
            writer = SqliteWriter(path, db, generation, pool, reserve, synchronous, factory, loop)
            return cls(lock, writer, pool, readers)
        except BaseException as error:
            if pool is not None:
                pool.close()
            if db is not None:
                db.close()
            lock.release()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise StoreRefused(
                    "the file is no SQLite database, or is damaged: restore a backup"
                ) from None
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable(str(translate(error))) from None
            raise

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
        log, entries = _QUERIES.log, _QUERIES.entries
        log_args = log.args(agency=agency, address=channel)
        args = entries.args(agency=agency, address=channel, after=after, limit=limit + 1)

        def work(db: sqlite3.Connection) -> LogPage:
            db.execute("BEGIN")  # one snapshot for both statements
            try:
                head, floor, generation = db.execute(log.sql, log_args).fetchone()
                found = (head or 0, floor or 0, generation)
                rows = db.execute(entries.sql, args)
                try:
                    return queries.page(found, rows, after, limit, max_bytes)
                finally:
                    rows.close()
            finally:
                db.execute("ROLLBACK")

        return await self._read(work)

    async def heads(self, channels: Sequence[tuple[AgencyId, ChannelAddress]]) -> Sequence[int]:
        known = await self._read(lambda db: sqlite_batch.heads(db, channels))
        return [known.get(log, 0) for log in channels]

    async def get_many(self, names: Sequence[ObjectName]) -> Sequence[Object | None]:
        asked = list(dict.fromkeys(names))
        known = await self._read(lambda db: sqlite_batch.objects(db, asked)) if asked else {}
        return [known.get(name) for name in names]

    async def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def prune(self, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int) -> int:
        return await self._in_steps(lambda db: _prune(db, agency, channel, up_to, ids_before_ms))

    async def forget_pruned(self, agency: AgencyId, channel: ChannelAddress, before_ms: int) -> int:
        return await self._in_steps(lambda db: _forget_pruned(db, agency, channel, before_ms))

    async def forget_boxes(self, agency: AgencyId, channel: ChannelId, below: int, shared: bytes) -> int:
        return await self._in_steps(lambda db: _forget_boxes(db, agency, channel, below, shared))

    async def _in_steps(self, step: Callable[[sqlite3.Connection], tuple[int, bool]]) -> int:
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
        writer = self._writer

        def work(db: sqlite3.Connection) -> int:
            following = new_generation(int(db.execute(_QUERIES.generation.sql).fetchone()[0]))
            db.execute(_QUERIES.set_generation.sql, _QUERIES.set_generation.args(generation=following))
            return following

        writer.generation = await writer.run(work)
        return writer.generation

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._writer.close()
            await asyncio.get_running_loop().run_in_executor(self._executor, self._readers.close)
        finally:
            self._executor.shutdown(wait=False)
            self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def _rows(self, query: queries.Statement, **values: object) -> list[queries.Row]:
        args = query.args(**values)

        def work(db: sqlite3.Connection) -> list[queries.Row]:
            return db.execute(query.sql, args).fetchall()

        return await self._read(work)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        if self._reading >= WAITING_READS:
            raise StoreUnavailable("too many reads wait")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._readers.run, work)
        finally:
            self._reading -= 1


def _prune(
    db: sqlite3.Connection, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int
) -> tuple[int, bool]:
    """One step; how many rows changed, and whether there is more to do."""
    log = db.execute(_QUERIES.lock_log.sql, _QUERIES.lock_log.args(agency=agency, address=channel)).fetchone()
    if log is None:
        return 0, False
    head, floor = log
    goal = max(floor, min(up_to, head))
    to = min(goal, floor + PRUNE_ROWS)
    changed = 0
    if to > floor:
        args = _QUERIES.prune_log.args(agency=agency, address=channel, floor=floor, to=to)
        changed = db.execute(_QUERIES.prune_log.sql, args).rowcount
        db.execute(_QUERIES.set_floor.sql, _QUERIES.set_floor.args(to=to, agency=agency, address=channel))
    if to < goal:
        return changed, True
    args = _QUERIES.forget_states.args(
        agency=agency, address=channel, before_ms=ids_before_ms, floor=to, limit=PRUNE_ROWS
    )
    forgotten = db.execute(_QUERIES.forget_states.sql, args).rowcount
    return changed + forgotten, forgotten == PRUNE_ROWS


def _forget_pruned(
    db: sqlite3.Connection, agency: AgencyId, channel: ChannelAddress, before_ms: int
) -> tuple[int, bool]:
    """One step; how many rows went, and whether there is more to do."""
    log = db.execute(_QUERIES.lock_log.sql, _QUERIES.lock_log.args(agency=agency, address=channel)).fetchone()
    if log is None:
        return 0, False
    args = _QUERIES.forget_pruned.args(
        agency=agency, address=channel, before_ms=before_ms, floor=log[1], limit=PRUNE_ROWS
    )
    forgotten = db.execute(_QUERIES.forget_pruned.sql, args).rowcount
    return forgotten, forgotten == PRUNE_ROWS


def _forget_boxes(
    db: sqlite3.Connection, agency: AgencyId, channel: ChannelId, below: int, shared: bytes
) -> tuple[int, bool]:
    """One step; how many boxes went, and whether there is more to do."""
    oldest, boxes, lists = _QUERIES.oldest_boxes, _QUERIES.forget_boxes, _QUERIES.forget_box_lists
    row = db.execute(oldest.sql, oldest.args(agency=agency, channel=channel, below=below)).fetchone()
    if row is None:
        return 0, False
    to = min(below, row[0] + PRUNE_EPOCHS)
    some = {"agency": agency, "channel": channel, "first": row[0], "below": to}
    forgotten = db.execute(boxes.sql, boxes.args(**some)).rowcount
    db.execute(lists.sql, lists.args(**some, list=shared))
    return forgotten, to < below
