"""A local SQLite file: opened safely, changed in transactions, its values sealed by the caller.

Two such files exist: the outbox, which must survive a power cut because nothing else holds what it holds, and the
history, which can be fetched again. Several processes of one person may use them at once (a chat window and
a command); SQLite's own locks keep them apart.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

_BUSY_MS: Final = 10_000


class DatabaseUnusable(Exception):
    """The local file cannot be used. The text says why, and what to do."""


class Database:
    """One connection to one file. `durable` waits for the disk at each commit."""

    def __init__(self, path: Path | Literal[":memory:"], schema: str, *, version: int, durable: bool) -> None:
        if isinstance(path, Path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made before SQLite does, so that it is never readable by others, not even for a moment.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(schema, version, durable=durable)
        except sqlite3.DatabaseError:
            self._connection.close()
            raise DatabaseUnusable(
                "the local database is damaged: move it away, what the server holds comes back"
            ) from None
        except DatabaseUnusable:
            self._connection.close()
            raise

    def _prepare(self, schema: str, version: int, *, durable: bool) -> None:
        c = self._connection
        c.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        c.execute("PRAGMA journal_mode=WAL")
        c.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        if durable:
            # On macOS fsync alone does not reach the disk; elsewhere this changes nothing.
            c.execute("PRAGMA fullfsync=ON")
        c.execute("PRAGMA secure_delete=ON")
        c.execute("PRAGMA foreign_keys=ON")
        with self.change():
            found = c.execute("PRAGMA user_version").fetchone()[0]
            if found > version:
                raise DatabaseUnusable("the local database was written by a newer version: update this one")
            if found == 0:
                for statement in schema.split(";"):
                    c.execute(statement)
                c.execute(f"PRAGMA user_version={version}")

    @contextmanager
    def change(self) -> Generator[None]:
        """One transaction: all of it or nothing. Not nested."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def run(self, sql: str, *values: object) -> int:
        """Carry out one statement; returns how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """The first row, or None."""
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Every row."""
        return self._connection.execute(sql, values).fetchall()

    def scrub(self) -> None:
        """After deleting what must be gone: empty the write-ahead log, which still holds the pages before. Another
        process that reads at this moment puts it off to a later checkpoint."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Release the file; what was committed stays."""
        self._connection.close()
