"""A few read-only connections beside the writer: reading never waits for a commit, nor the event loop for a read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from leeside_server.adapters.sqlite_file import BUSY_S, connect, settle_reader, translate
from leeside_server.ports import StoreUnavailable

T = TypeVar("T")


class Readers:
    """Connections lent to one thread at a time."""

    def __init__(self, path: Path, count: int, factory: type[sqlite3.Connection]) -> None:
        """Raises `sqlite3.Error` when the file cannot be opened."""
        self._path = path
        self._count = count
        self._factory = factory
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._open = 0
        self.open()

    def open(self) -> None:
        """Open what is missing. Raises `sqlite3.Error`."""
        while self._open < self._count:
            connection = connect(self._path, self._factory)
            try:
                settle_reader(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._idle.put(connection)
            self._open += 1

    def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Lend a connection to `read`, in the calling thread. Raises `StoreUnavailable`."""
        try:
            connection = self._idle.get(timeout=BUSY_S)
        except Empty:
            raise StoreUnavailable("SQLite: no connection to read with") from None
        try:
            return read(connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(translate(error))) from None
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Wait for the reads under way and close all connections."""
        while self._open:
            self._idle.get().close()
            self._open -= 1
