"""The one thread that writes to SQLite.

Theory of operation. Calls queue up while a commit is on its way to the disk; when it is done, all that waits
(2,048 items at most) becomes the next batch: one transaction, one sync. Nobody lingers for company: alone, a
message is committed at once; under load, the batch grows by itself. Answers go back to the event loop in one
hop a commit, after the commit.

What can go wrong, and what then stands:

- The disk is full: nothing of the batch stands (`StoreFull`). The reserve is given back to let the write-ahead
  log be moved into the database; until it can be put by again every batch is refused the same way.
- Anything else fails while writing, a sync above all: nobody knows what stands (`StoreUnavailable`), and the
  pages that the system holds in memory may not be what the disk has. So all connections are closed, the log is
  read back from the disk, and the whole of it is written and synced into the database, before anything is
  acknowledged again. While that fails, batches are refused and reading goes on as far as the disk lets it.
- The database is held by somebody else for too long: nothing stands, `StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeAlias

from leeside_server.adapters import sqlite_batch
from leeside_server.adapters.sqlite_file import (
    Reserve,
    Synchronous,
    connect,
    forget_cache,
    is_full,
    is_harmless,
    settle_writer,
    translate,
)
from leeside_server.adapters.sqlite_readers import Readers
from leeside_server.core.writes import Append, Item, Outcome
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable

BATCH_ITEMS: Final = 2_048
CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
CHECKPOINT_COMMITS: Final = 1_000
"""The write-ahead log is moved into the database after either; it stays below about 64 MiB."""
REOPEN_S: Final = 0.25
"""The least time between two attempts to reopen a failing database."""
_ROW_BYTES: Final = 400
"""About what a message costs beside its payload."""


@dataclass(frozen=True, slots=True)
class _Call:
    items: Sequence[Item]
    answer: asyncio.Future[Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class _Task:
    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


_Answer: TypeAlias = tuple[asyncio.Future[Any], object]


class SqliteWriter:
    """Owns the writing connection; used from the event loop, works in its thread."""

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        generation: int,
        readers: Readers,
        reserve: Reserve,
        synchronous: Synchronous,
        factory: type[sqlite3.Connection],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.generation = generation
        self.waiting = 0
        """Items that were given and not answered yet; changed by the event loop only."""
        self._path = path
        self._db: sqlite3.Connection | None = db
        self._readers = readers
        self._reserve = reserve
        self._synchronous: Synchronous = synchronous
        self._factory = factory
        self._loop = loop
        self._full = not reserve.keep()
        self._tried_s = 0.0
        self._bytes = 0
        self._commits = 0
        self._queue: SimpleQueue[_Call | _Task | None] = SimpleQueue()
        self._next: _Call | _Task | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = Thread(target=self._run, name="leeside-sqlite", daemon=True)
        self._thread.start()

    def apply(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Outcome]]:
        """Queue items; the future has their outcomes after the commit."""
        answer: asyncio.Future[Sequence[Outcome]] = self._loop.create_future()
        self.waiting += len(items)
        self._queue.put(_Call(items, answer))
        return answer

    def run(self, work: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        """Queue work in a transaction of its own; the future has its result after the commit."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Task(work, answer))
        return answer

    async def close(self) -> None:
        """Write what waits, move the log into the database, close it, end the thread."""
        self._queue.put(None)
        await asyncio.shield(self._ended)

    # ---- in the thread

    def _run(self) -> None:
        while True:
            first = self._next or self._queue.get()
            self._next = None
            if first is None:
                break
            if isinstance(first, _Task):
                self._answer([(first.answer, self._perform(first.work))], 0)
            else:
                calls = self._gather(first)
                count = sum(len(call.items) for call in calls)
                self._answer(self._batch(calls), count)
            self._checkpoint_when_due()
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
        self._answer([(self._ended, None)], 0)

    def _gather(self, first: _Call) -> list[_Call]:
        """All calls that wait, up to the size of a batch; a call is never split."""
        calls = [first]
        count = len(first.items)
        with contextlib.suppress(Empty):
            while count < BATCH_ITEMS:
                following = self._queue.get_nowait()
                if not isinstance(following, _Call):
                    # Its turn comes after this batch. A closing None is put back: nothing is queued behind it.
                    if following is None:
                        self._queue.put(None)
                    self._next = following
                    break
                calls.append(following)
                count += len(following.items)
        return calls

    def _batch(self, calls: list[_Call]) -> list[_Answer]:
        items: Sequence[Item] = calls[0].items
        if len(calls) > 1:
            items = [item for call in calls for item in call.items]
        result = self._perform(lambda db: sqlite_batch.apply(db, items, self.generation))
        if isinstance(result, (StoreFull, StoreUnavailable)):
            return [(call.answer, result) for call in calls]
        if isinstance(result, Exception):
            # A value that no column takes: the mistake of one caller must not cost the others their answer.
            if len(calls) == 1:
                return [(calls[0].answer, result)]
            return [answer for call in calls for answer in self._batch([call])]
        for item in items:
            for part in item.parts:
                self._bytes += _ROW_BYTES + (len(part.payload) if type(part) is Append else 0)
        answers: list[_Answer] = []
        start = 0
        for call in calls:
            end = start + len(call.items)
            answers.append((call.answer, result[start:end]))
            start = end
        return answers

    def _perform(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do the work in a durable transaction; its result, or the exception as a value."""
        db = self._db or self._reopen()
        if db is None:
            return StoreUnavailable("SQLite: recovering")
        if self._full:
            if not self._reserve.keep():
                return StoreFull("the disk is full")
            self._full = False
        try:
            db.execute("BEGIN IMMEDIATE")
            result = work(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            return self._failed(db, error)
        except Exception as error:  # noqa: BLE001 - the thread must live on; the caller gets it
            if self._roll_back(db):
                return error
            self._abandon()
            return StoreUnavailable("SQLite: recovering")
        self._commits += 1
        return result

    def _failed(self, db: sqlite3.Connection, error: sqlite3.Error) -> Exception:
        rolled_back = self._roll_back(db)
        if rolled_back and is_full(error):
            self._full = True
            self._reserve.give_back()
            with contextlib.suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return translate(error)
        if rolled_back and isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError)):
            return error
        if not (rolled_back and is_harmless(error)):
            self._abandon()
        return StoreUnavailable(str(translate(error)))

    @staticmethod
    def _roll_back(db: sqlite3.Connection) -> bool:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def _abandon(self) -> None:
        """Trust this connection no more."""
        db, self._db = self._db, None
        self._tried_s = 0.0
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _reopen(self) -> sqlite3.Connection | None:
        """Recover from what the disk really has; None when that fails (tried again with a later batch)."""
        now_s = time.monotonic()
        if self._tried_s and now_s - self._tried_s < REOPEN_S:
            return None
        self._tried_s = now_s
        self._readers.close()
        forget_cache(self._path)
        db: sqlite3.Connection | None = None
        try:
            db = connect(self._path, self._factory)
            settle_writer(db, self._synchronous)
            busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                raise sqlite3.OperationalError("checkpoint")
            self.generation = int(db.execute("SELECT generation FROM meta").fetchone()[0])
        except (sqlite3.Error, StoreRefused):
            if db is not None:
                db.close()
            db = None
        try:
            self._readers.open()
        except sqlite3.Error:
            # Nobody opens them later: a store that writes and cannot read is not reopened yet.
            if db is not None:
                db.close()
                db = None
        self._db = db
        self._bytes = self._commits = 0
        return db

    def _checkpoint_when_due(self) -> None:
        if self._db is None or (self._bytes < CHECKPOINT_BYTES and self._commits < CHECKPOINT_COMMITS):
            return
        self._bytes = self._commits = 0
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            # What was acknowledged stands in the log. But a sync that failed must not be believed later.
            if not is_harmless(error) and not is_full(error):
                self._abandon()

    def _answer(self, answers: list[_Answer], count: int) -> None:
        # RuntimeError: the event loop is gone, and with it everyone who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, answers, count)

    # ---- in the event loop

    def _deliver(self, answers: list[_Answer], count: int) -> None:
        self.waiting -= count
        for future, value in answers:
            if future.done():  # the caller gave up
                continue
            if isinstance(value, BaseException):
                future.set_exception(value)
            else:
                future.set_result(value)
