"""The SQLite file: opened safely or not at all, held by one process, with room put by for a full disk.

Beside `leeside.db` stand SQLite's own `-wal` and `-shm`, `leeside.db-lock` (the process that holds it) and
`leeside.db-reserve` (see `Reserve`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
from pathlib import Path
from typing import Final, Literal, TypeAlias

from leeside_server.adapters.migrations import missing, new_generation, statements
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable

Synchronous: TypeAlias = Literal["full", "extra"]

_SYNCHRONOUS: Final = {"full": 2, "extra": 3}
_OLDEST: Final = (3, 35, 0)
BUSY_S: Final = 5.0
"""How long another program (a backup, a shell) may hold the file before a batch gives up."""
RESERVE_BYTES: Final = 8 * 1024 * 1024
CACHE_KIB: Final = 65_536


class ProcessLock:
    """Exactly one process uses the file: a lock that the system releases when its holder dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises `StoreRefused` with the holder's process id, or when the folder is unusable."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefused(f"cannot open {path.name} in the data folder: {error.strerror}") from None
        try:
            # flock, not lockf: it also keeps a second store of this same process out.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreRefused(
                f"the database is in use by process {holder}: stop it first, or give this one its own data folder"
            ) from None
        # Says who holds it, for people: the lock is what counts, so a full disk does not matter here.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another process in. The file stays: removing it would open a race."""
        os.close(self._file)


class Reserve:
    """Room put by for when the disk is full: given back so that what is acknowledged can be moved from the
    write-ahead log into the database. Until it could be put by again, nothing new is written; so a disk at its
    limit does not flicker between accepting and refusing."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def keep(self) -> bool:
        """Put the room by, really written so that no sparse file pretends; False when it does not fit."""
        try:
            if self._path.exists() and self._path.stat().st_size == self._size_bytes:
                return True
            with self._path.open("wb") as file:
                block = os.urandom(65_536)  # a compressing file system would keep nothing for zeros
                for _ in range(self._size_bytes // len(block)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            return True
        except OSError:
            self.give_back()
            return False

    def give_back(self) -> None:
        """Free the room."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def connect(path: Path, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open the file without looking at it yet. `isolation_level=None`: transactions are ours."""
    return sqlite3.connect(
        path,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=factory,
    )


def settle_writer(connection: sqlite3.Connection, synchronous: Synchronous) -> None:
    """Set what durability needs, then look whether it took effect. Raises `StoreRefused` with the reason.

    WAL with synchronous=NORMAL loses acknowledged messages at a power cut; FULL syncs the log at each commit.
    macOS needs F_FULLFSYNC: its fsync leaves data in the drive's cache.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreRefused(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    execute = connection.execute
    execute("PRAGMA journal_mode = WAL").fetchone()
    execute(f"PRAGMA synchronous = {synchronous}")
    if sys.platform == "darwin":
        execute("PRAGMA fullfsync = ON")
        execute("PRAGMA checkpoint_fullfsync = ON")
    # Checkpoints are ours, so that a failed one is seen: SQLite ignores the errors of its automatic ones.
    execute("PRAGMA wal_autocheckpoint = 0").fetchone()
    execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    execute("PRAGMA trusted_schema = OFF")
    # What retention and shredding take is overwritten, on every build: some distributions have this on, others not.
    execute("PRAGMA secure_delete = ON").fetchone()
    verify(connection, synchronous)


def verify(connection: sqlite3.Connection, synchronous: Synchronous) -> None:
    """Refuse a connection whose settings would lose acknowledged messages."""
    mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    if mode != "wal":
        raise StoreRefused(
            f"journal_mode is {mode}, not wal: the file system of the data folder cannot hold a write-ahead log "
            "(a network share?); use a local disk"
        )
    level = int(connection.execute("PRAGMA synchronous").fetchone()[0])
    if level < _SYNCHRONOUS[synchronous]:
        raise StoreRefused(
            f"synchronous is {level}, below {_SYNCHRONOUS[synchronous]} ({synchronous}): acknowledged messages "
            "would be lost at a power cut"
        )
    if sys.platform == "darwin" and not connection.execute("PRAGMA fullfsync").fetchone()[0]:
        raise StoreRefused("fullfsync is off: acknowledged messages would be lost at a power cut")


def settle_reader(connection: sqlite3.Connection) -> None:
    """A reader cannot write, whatever it is asked."""
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the tables up to date in one transaction; return the generation. Raises `StoreRefused`."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        known = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'"
        ).fetchone()
        schema = 0
        if known[0]:
            schema, usable_by = connection.execute('SELECT "schema", usable_by FROM meta').fetchone()
            missing(schema, usable_by)
        elif connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreRefused(
                "the file is another program's database: give Leeside a data folder of its own"
            )
        for statement in split(statements("sqlite", schema)):
            connection.execute(statement)
        if not schema:
            # Not 1: a database begun anew must not look like the one that clients knew.
            connection.execute("UPDATE meta SET generation = ?", (new_generation(0),))
        generation = int(connection.execute("SELECT generation FROM meta").fetchone()[0])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return generation


def split(script: str) -> list[str]:
    """The single statements of a script. `executescript` would commit between them."""
    found: list[str] = []
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    if text.strip():
        found.append(text)
    return found


def wal_path(path: Path) -> Path:
    """SQLite's write-ahead log."""
    return path.with_name(path.name + "-wal")


def forget_cache(path: Path) -> None:
    """Drop what the system holds of the write-ahead log in memory.

    After a failed fsync Linux calls the pages clean that never reached the disk. Only what the disk really has
    may be recovered from, so this stands before reopening. No connection may be open: closing any handle on
    the database itself would release SQLite's locks, which is why only the log is touched.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        handle = os.open(wal_path(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code of an error; 0 when the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_full(error: sqlite3.Error) -> bool:
    """Nothing of the transaction was written, for want of room."""
    return primary_code(error) == sqlite3.SQLITE_FULL


def is_harmless(error: sqlite3.Error) -> bool:
    """The transaction was refused before anything was written: the connection is as good as before."""
    return primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}


def translate(error: sqlite3.Error) -> StoreFull | StoreUnavailable:
    """The port's error for one of SQLite's; by its number, never its text."""
    if is_full(error):
        return StoreFull("the disk is full")
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return StoreUnavailable(f"SQLite: {name}")
