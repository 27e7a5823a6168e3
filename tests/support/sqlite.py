"""Real SQLite stores that open quickly: hundreds of tests begin with one, and none of these is about beginning.

How a database is made, migrated and refused, and what a full disk does, is proved in tests/ports on stores that come
about as in production.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from tempfile import TemporaryDirectory

from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.adapters.sqlite_file import connect, migrate, settle_writer

RESERVE_BYTES = 65_536
"""The least that can be put by: no disk fills here, and 8 MiB would be written and synced for each test."""


@functools.cache
def empty_database() -> bytes:
    """A database with all its tables and nothing in them, as the migrations made it; made once in a process.

    Every copy says the same generation: a test that tells two histories apart says so itself.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "leeside.db")
        connection = connect(path, sqlite3.Connection)
        settle_writer(connection, "full")
        migrate(connection)
        # The last connection that closes moves the write-ahead log into the file.
        connection.close()
        return path.read_bytes()


def open_store(path: Path) -> Awaitable[SqliteStore]:
    """A store on a new, empty database at this path, or on the one that is there already."""
    if not path.exists():
        path.write_bytes(empty_database())
    return SqliteStore.open(path, reserve_bytes=RESERVE_BYTES)
