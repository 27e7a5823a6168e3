"""The one task of a process that writes to PostgreSQL, over one connection.

Theory of operation. As in SQLite's writer: what queued while the last commit was on its way is the next batch,
one in flight at a time. More connections would only wait for each other's locks.

- The connection is lost, or a deadline passes: nobody knows what of the batch stands, so its callers get
  `StoreUnavailable` and find out by repeating their ids. The task connects again, with growing pauses of at
  most a second, whether or not anything waits; until then new calls are refused at once.
- Two nodes wrote the same id or object at once, or locked in a circle: nothing stands; the batch is done again
  and now sees the other's rows. If that goes on, its items are done one by one.
- A warning arrives with the answer to COMMIT: the server gave up waiting for a synchronous standby. The commit
  stands here and perhaps nowhere else, so it counts as unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from leeside_server.adapters.postgres_batch import Batches, LogsVanished
from leeside_server.adapters.postgres_connection import (
    COMMAND_S,
    LOST,
    Connection,
    connect,
    discard,
    translate,
    verify,
)
from leeside_server.core.writes import Item, Outcome
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable

T = TypeVar("T")

BATCH_ITEMS: Final = 2_048
ATTEMPTS: Final = 4
"""How often a batch, and then each of its items, is tried when other nodes interfere."""
LOOK_S: Final = 1.0
"""How often a writer with nothing to write asks for the generation."""
PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

_AGAIN: Final = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    LogsVanished,
)


@dataclass(frozen=True, slots=True)
class _Call:
    items: Sequence[Item]
    answer: asyncio.Future[Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class _Work:
    work: Callable[[Connection], Awaitable[Any]]
    answer: asyncio.Future[Any]


class PostgresWriter:
    """Owns the writing connection. `start` it, and `close` it. `on_reconnect` is awaited before anything is written over
    another connection, which may lead to another server."""

    def __init__(
        self, dsn: str, connection: Connection, generation: int, on_reconnect: Callable[[], Awaitable[None]]
    ) -> None:
        self.generation = generation
        self._on_reconnect = on_reconnect
        self.waiting = 0
        """Items that were given and not answered yet."""
        self._dsn = dsn
        self._db: Connection | None = None
        self._batches = Batches()
        self._queue: deque[_Call | _Work] = deque()
        self._news = asyncio.Event()
        self._closing = False
        self._warned = False
        self._use(connection)
        # Not in a TaskGroup: the store outlives the function that opens it. `close` awaits the task.
        self._task = asyncio.create_task(self._run(), name="leeside-postgres-writer")

    @property
    def ended(self) -> bool:
        """Nothing is written any more."""
        return self._closing or self._task.done()

    def apply(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Outcome]]:
        """Queue items; the future has their outcomes after the commit."""
        answer: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self.waiting += len(items)
        self._queue.append(_Call(items, answer))
        self._news.set()
        return answer

    def run(self, work: Callable[[Connection], Awaitable[T]]) -> asyncio.Future[T]:
        """Queue work in a transaction of its own; the future has its result after the commit."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Work(work, answer))
        self._news.set()
        return answer

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        self._closing = True
        self._news.set()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        pause_s = PAUSE_S
        try:
            while self._queue or not self._closing:
                if self._db is None or self._db.is_closed():
                    if await self._connect():
                        pause_s = PAUSE_S
                        continue
                    self._refuse_all(StoreUnavailable("PostgreSQL: not connected"))
                    if not self._closing:
                        await self._sleep(pause_s * random.uniform(0.5, 1.0))
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                    continue
                if not self._queue:
                    await self._wait()
                    continue
                await self._next()
        finally:
            self._refuse_all(StoreUnavailable("the store is closed"))
            if self._db is not None:
                with contextlib.suppress(asyncpg.PostgresError, *LOST):
                    await self._db.close(timeout=COMMAND_S)

    async def _wait(self) -> None:
        """Until something is queued, or the connection ends by itself, or it is time to look around."""
        self._news.clear()
        if not self._queue and not self._closing and self._db is not None and not self._db.is_closed():
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                await self._look()

    async def _look(self) -> None:
        """Know the generation also where nothing is written: what others write of a new one would be taken for what it
        is not, and never delivered here."""
        found = await self._perform(_generation)
        if isinstance(found, int):
            self.generation = found

    async def _sleep(self, pause_s: float) -> None:
        """A pause between attempts to connect; what is queued meanwhile is refused at its end, not kept."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                while not self._closing:
                    self._news.clear()
                    await self._news.wait()
                    self._refuse_all(StoreUnavailable("PostgreSQL: not connected"))

    async def _connect(self) -> bool:
        try:
            connection = await connect(self._dsn)
        except (StoreUnavailable, StoreRefused):
            return False
        try:
            await verify(connection)
            self.generation = await _generation(connection)
        except (StoreUnavailable, StoreRefused, asyncpg.PostgresError, *LOST):
            await discard(connection)
            return False
        await self._on_reconnect()
        self._use(connection)
        return True

    def _use(self, connection: Connection) -> None:
        connection.add_log_listener(self._warn)
        connection.add_termination_listener(self._lost)
        self._batches.forget()
        self._db = connection

    def _warn(self, _connection: object, _message: object) -> None:
        self._warned = True

    def _lost(self, _connection: object) -> None:
        self._news.set()

    async def _next(self) -> None:
        first = self._queue.popleft()
        if isinstance(first, _Work):
            _settle(first.answer, await self._perform(first.work))
            return
        calls = [first]
        count = len(first.items)
        while count < BATCH_ITEMS and self._queue and isinstance(following := self._queue[0], _Call):
            self._queue.popleft()
            calls.append(following)
            count += len(following.items)
        try:
            await self._batch(calls)
        finally:
            self.waiting -= count

    async def _batch(self, calls: list[_Call]) -> None:
        items = [item for call in calls for item in call.items]
        result = await self._apply(items)
        if isinstance(result, Exception):
            if not isinstance(result, (StoreFull, StoreUnavailable)) and len(calls) > 1:
                # A value that no column takes: one caller's mistake must not cost the others their answer.
                for call in calls:
                    await self._batch([call])
                return
            for call in calls:
                _settle(call.answer, result)
            return
        start = 0
        for call in calls:
            end = start + len(call.items)
            _settle(call.answer, result[start:end])
            start = end

    async def _apply(self, items: Sequence[Item]) -> list[Outcome] | Exception:
        result = await self._perform(lambda db: self._batches.apply(db, items, self.generation))
        if isinstance(result, Interfered):
            if len(items) == 1:
                return StoreUnavailable("PostgreSQL: other nodes interfere")
            outcomes: list[Outcome] = []
            for item in items:
                one = await self._apply([item])
                if isinstance(one, Exception):
                    # Some of the call may stand by now: its callers must ask again.
                    return StoreUnavailable("PostgreSQL: other nodes interfere")
                outcomes.extend(one)
            return outcomes
        if isinstance(result, Exception):
            return result
        done, self.generation, _ = result
        return done

    async def _perform(self, work: Callable[[Connection], Awaitable[T]]) -> T | Exception:
        """Do the work in a durable transaction; its result, or the exception as a value."""
        for _ in range(ATTEMPTS):
            db = self._db
            if db is None or db.is_closed():
                return StoreUnavailable("PostgreSQL: not connected")
            try:
                async with asyncio.timeout(2 * COMMAND_S):
                    await db.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                    result = await work(db)
                    self._warned = False
                    await db.execute("COMMIT")
            except _AGAIN:
                if not await self._roll_back(db):
                    return StoreUnavailable("PostgreSQL: connection lost")
                continue
            except (asyncpg.InterfaceError, asyncpg.DataError) as error:
                if await self._roll_back(db) and isinstance(error, (ValueError, asyncpg.DataError)):
                    return ValueError("a value does not fit its column")
                return translate(error)
            except (asyncpg.PostgresError, *LOST) as error:
                await self._roll_back(db)
                return translate(error)
            except asyncio.CancelledError:
                await self._abandon(db)
                raise
            except Exception as error:  # noqa: BLE001 - the task must live on; the caller gets it
                await self._roll_back(db)
                return error
            if self._warned:
                return StoreUnavailable("PostgreSQL: the commit was not confirmed by the standby")
            return result
        return Interfered()

    async def _roll_back(self, db: Connection) -> bool:
        """Undo; False when the connection had to be given up."""
        self._batches.forget()
        if not db.is_closed():
            try:
                await db.execute("ROLLBACK", timeout=2.0)
            except (asyncpg.PostgresError, *LOST):
                pass
            else:
                return True
        await self._abandon(db)
        return False

    async def _abandon(self, db: Connection) -> None:
        self._db = None
        await discard(db)

    def _refuse_all(self, error: StoreUnavailable) -> None:
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, _Call):
                self.waiting -= len(entry.items)
            _settle(entry.answer, error)


async def _generation(db: Connection) -> int:
    return int(await db.fetchval("SELECT generation FROM meta"))


class Interfered(Exception):
    """Other nodes undid every attempt; nothing stands."""


def _settle(answer: asyncio.Future[Any], value: object) -> None:
    if answer.done():  # the caller gave up
        return
    if isinstance(value, Exception):
        answer.set_exception(value)
    else:
        answer.set_result(value)
