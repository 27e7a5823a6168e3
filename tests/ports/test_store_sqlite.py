"""What only SQLite can do: be held by one process, be weak, run out of disk, lose its disk."""

# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs on these loops
# ruff: noqa: SLF001 - a full disk is staged on the writer's own connection

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from leeside_protocol.ids import ChannelId
from leeside_server.adapters import sqlite_writer
from leeside_server.adapters.queries import Statement
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.adapters.sqlite_file import Reserve, connect, settle_writer, verify
from leeside_server.adapters.statements import SQLITE
from leeside_server.core.writes import Audit, PutBoxes, Repeated, Stored
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable
from tests.ports.stores import AGENCY, LOG, item, offsets, payloads, says, sets, stored, write


class Disk(sqlite3.Connection):
    """A connection whose disk breaks on demand: statements that begin with a word raise SQLite's error."""

    broken: ClassVar[dict[str, str]] = {}
    """First word of a statement -> name of SQLite's result code."""
    opened: ClassVar[int] = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Disk.opened += 1

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        for start, name in self.broken.items():
            if sql.startswith(start):
                error = sqlite3.OperationalError("a text that must not be told")
                error.sqlite_errorname = name
                error.sqlite_errorcode = getattr(sqlite3, name)
                raise error
        return super().execute(sql, parameters)


def never(_reserve: Reserve) -> bool:
    return False


async def settled(store: SqliteStore) -> None:
    """Wait until the writer has done what follows an answer: its checkpoint."""
    await store._writer.run(lambda _: None)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leeside.db"


@pytest.fixture
async def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[SqliteStore]:
    """A store on a disk that can break, which tries again at once."""
    monkeypatch.setattr(Disk, "broken", {})
    monkeypatch.setattr(Disk, "opened", 0)
    monkeypatch.setattr(sqlite_writer, "REOPEN_S", 0.0)
    store = await SqliteStore.open(path, factory=Disk)
    yield store
    Disk.broken.clear()
    await store.close()


async def test_a_second_store_is_refused_with_the_holders_process_id(path: Path, store: SqliteStore) -> None:
    with pytest.raises(StoreRefused, match=rf"in use by process {os.getpid()}\b"):
        await SqliteStore.open(path)
    await stored(store, says(1))


async def test_a_second_process_is_refused(path: Path, store: SqliteStore) -> None:
    code = (
        "import asyncio, sys, pathlib\n"
        "from leeside_server.adapters.sqlite import SqliteStore\n"
        "asyncio.run(SqliteStore.open(pathlib.Path(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search(rf"StoreRefused: .*process {os.getpid()}\b", done.stderr)


async def test_a_lock_left_by_a_dead_process_does_not_count(path: Path) -> None:
    path.with_name("leeside.db-lock").write_text("999999\n")
    store = await SqliteStore.open(path)
    await store.close()
    assert path.with_name("leeside.db-lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("weak", ["normal", "off", "NORMAL", "1", ""])
async def test_weak_settings_are_refused_before_anything_is_touched(path: Path, weak: str) -> None:
    with pytest.raises(StoreRefused, match="power cut"):
        await SqliteStore.open(path, synchronous=weak)
    assert not path.exists()


async def test_the_strong_settings_are_in_force(path: Path) -> None:
    db = connect(path, sqlite3.Connection)
    settle_writer(db, "full")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    settle_writer(db, "extra")
    assert db.execute("PRAGMA synchronous").fetchone() == (3,)
    db.close()


@pytest.mark.parametrize(
    ("pragma", "reason"),
    [("synchronous = NORMAL", "synchronous is 1"), ("journal_mode = DELETE", "journal_mode is delete")],
)
async def test_settings_that_did_not_take_effect_are_refused(path: Path, pragma: str, reason: str) -> None:
    db = connect(path, sqlite3.Connection)
    settle_writer(db, "full")
    db.execute(f"PRAGMA {pragma}").fetchone()
    with pytest.raises(StoreRefused, match=reason):
        verify(db, "full")
    db.close()


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"dear diary, " * 1_000)
    with pytest.raises(StoreRefused, match="no SQLite database"):
        await SqliteStore.open(path)
    assert path.read_bytes().startswith(b"dear diary")


async def test_another_programs_database_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE diary (entry)")
    db.close()
    with pytest.raises(StoreRefused, match="another program"):
        await SqliteStore.open(path)


async def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot open leeside"):
        await SqliteStore.open(tmp_path / "nowhere" / "leeside.db")


async def test_what_was_refused_can_be_opened_after_all(path: Path) -> None:
    """A failed opening gives the lock back."""
    path.write_bytes(b"dear diary, " * 1_000)
    with pytest.raises(StoreRefused):
        await SqliteStore.open(path)
    path.unlink()
    store = await SqliteStore.open(path)
    await stored(store, says(1))
    await store.close()


async def test_security_events_can_only_be_added(path: Path, store: SqliteStore) -> None:
    await stored(store, Audit("sign_in", b"a", b"s", "refused"))
    db = sqlite3.connect(path, isolation_level=None)
    for statement in ("UPDATE audits SET outcome = 'ok'", "DELETE FROM audits"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()
    assert [row.outcome for row in await store.audits(AGENCY, 0, 9)] == ["refused"]


async def test_readers_cannot_write(store: SqliteStore) -> None:
    readers = store._readers  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreUnavailable):
        readers.run(lambda db: db.execute("DELETE FROM messages"))


async def test_a_full_disk_refuses_writes_reads_on_and_recovers(store: SqliteStore) -> None:
    await stored(store, says(1))
    Disk.broken["COMMIT"] = "SQLITE_FULL"
    with pytest.raises(StoreFull):
        await write(store, says(2))
    assert await offsets(store) == [1]
    Disk.broken.clear()
    assert await write(store, says(2)) == Stored(store.generation, (2,))


async def test_a_truly_full_database_keeps_nothing_of_the_batch(store: SqliteStore) -> None:
    await stored(store, says(1))

    def bound(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone()

    await store._writer.run(bound)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreFull):
        await store.apply([item(says(number, bytes(60_000))) for number in range(2, 20)])
    assert await offsets(store) == [1]
    await store._writer.run(  # pyright: ignore[reportPrivateUsage]
        lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone()
    )
    assert (await stored(store, says(2))).offsets == (2,)


async def test_while_the_reserve_does_not_fit_writing_stays_refused(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = path.with_name("leeside.db-reserve")
    assert reserve.stat().st_size == 8 * 1024 * 1024
    Disk.broken["COMMIT"] = "SQLITE_FULL"
    with pytest.raises(StoreFull):
        await write(store, says(1))
    assert not reserve.exists()
    Disk.broken.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Reserve, "keep", never)
        with pytest.raises(StoreFull):
            await write(store, says(1))
    await stored(store, says(1))
    assert reserve.exists()


def test_a_reserve_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    assert not Reserve(tmp_path / "nowhere" / "reserve").keep()
    (tmp_path / "reserve").mkdir()
    assert not Reserve(tmp_path / "reserve").keep()


async def test_a_failed_sync_stops_acknowledging_until_the_database_was_reopened(store: SqliteStore) -> None:
    await stored(store, says(1))
    opened = Disk.opened
    Disk.broken["COMMIT"] = "SQLITE_IOERR_FSYNC"
    with pytest.raises(StoreUnavailable):
        await write(store, says(2))
    Disk.broken.clear()
    assert Disk.opened == opened
    outcome = await write(store, says(2))
    assert Disk.opened == opened + 3  # the writer and both readers
    assert outcome in (Stored(store.generation, (2,)), Repeated(store.generation, 2, differs=False))
    assert await offsets(store) == [1, 2]


async def test_while_the_disk_stays_broken_nothing_is_acknowledged_and_reading_goes_on(
    store: SqliteStore,
) -> None:
    await stored(store, says(1))
    Disk.broken["COMMIT"] = "SQLITE_IOERR_WRITE"
    Disk.broken["PRAGMA wal_checkpoint"] = "SQLITE_IOERR_FSYNC"
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await write(store, says(2))
        assert await offsets(store) == [1]
    Disk.broken.clear()
    await write(store, says(2))
    assert await offsets(store) == [1, 2]


async def test_a_database_that_can_be_written_again_and_not_read_is_reopened_once_more(
    store: SqliteStore,
) -> None:
    await stored(store, says(1))
    Disk.broken["COMMIT"] = "SQLITE_IOERR_FSYNC"
    with pytest.raises(StoreUnavailable):
        await write(store, says(2))
    Disk.broken.clear()
    Disk.broken["PRAGMA query_only"] = "SQLITE_CANTOPEN"  # as when there are no descriptors left
    with pytest.raises(StoreUnavailable):
        await write(store, says(2))
    Disk.broken.clear()
    await write(store, says(2))
    assert await offsets(store) == [1, 2]


async def test_a_failed_checkpoint_is_not_believed_later(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_COMMITS", 1)
    opened = Disk.opened
    Disk.broken["PRAGMA wal_checkpoint(PASSIVE)"] = "SQLITE_IOERR_FSYNC"
    await stored(store, says(1))
    await settled(store)
    Disk.broken.clear()
    await stored(store, says(2))
    assert Disk.opened >= opened + 3  # the writer and both readers
    assert await offsets(store) == [1, 2]


async def test_a_database_held_by_someone_else_is_retried_on_the_same_connection(store: SqliteStore) -> None:
    opened = Disk.opened
    Disk.broken["BEGIN"] = "SQLITE_BUSY"
    with pytest.raises(StoreUnavailable):
        await write(store, says(1))
    Disk.broken.clear()
    assert await write(store, says(1)) == Stored(store.generation, (1,))
    assert Disk.opened == opened


async def test_errors_tell_the_condition_and_never_the_librarys_text(store: SqliteStore) -> None:
    Disk.broken["BEGIN"] = "SQLITE_BUSY"
    with pytest.raises(StoreUnavailable) as caught:
        await write(store, says(1))
    assert str(caught.value) == "SQLite: SQLITE_BUSY"
    assert caught.value.__cause__ is None


async def test_what_a_killed_process_left_is_made_durable_before_it_is_answered_from(
    path: Path, store: SqliteStore, tmp_path: Path
) -> None:
    """A copy of the files under way is what a kill leaves; the log in it may never have been synced."""
    await stored(store, says(1))
    left = tmp_path / "left"
    left.mkdir()
    for name in ("leeside.db", "leeside.db-wal"):
        (left / name).write_bytes(path.with_name(name).read_bytes())
    assert (left / "leeside.db-wal").stat().st_size > 0
    again = await SqliteStore.open(left / "leeside.db")
    assert (left / "leeside.db-wal").stat().st_size == 0
    assert await write(again, says(1)) == Repeated(again.generation, 1, differs=False)
    await again.close()


@pytest.mark.parametrize("name", ["entries", "log", "get", "objects", "children", "due", "boxes", "audits"])
async def test_every_read_finds_its_rows_by_an_index(path: Path, store: SqliteStore, name: str) -> None:
    query: Statement = getattr(SQLITE, name)
    db = sqlite3.connect(path)
    arguments = query.args(**dict.fromkeys(query.names, 1))
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query.sql}", arguments)]
    db.close()
    assert any(step.startswith("SEARCH") for step in steps)
    assert [step for step in steps if step.startswith("SCAN") and step != "SCAN meta"] == []
    assert [step for step in steps if "TEMP B-TREE" in step and name != "due"] == []
    if name == "entries":
        assert any("messages_live " in step for step in steps)


async def test_values_survive_a_checkpoint_and_reopening(path: Path, store: SqliteStore) -> None:
    await store.apply([item(says(number, bytes(50_000))) for number in range(200)])
    await stored(store, sets(1_000, b"k", b"v"))
    await store.close()
    assert path.with_name("leeside.db-wal").exists() is False
    again = await SqliteStore.open(path)
    assert (await again.read(AGENCY, LOG, 199, 10, 10**6)).head == 201
    assert (await payloads(again))[-1] == b"v"
    await again.close()


async def test_the_log_does_not_grow_without_end(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_BYTES", 100_000)
    for base in range(0, 60, 6):
        await store.apply([item(says(base + number, bytes(20_000))) for number in range(6)])
        await settled(store)
    assert path.stat().st_size > 1_000_000
    assert path.with_name("leeside.db-wal").stat().st_size < 500_000


class Careless(sqlite3.Connection):
    """A build of SQLite that leaves deleted content in its pages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA secure_delete = OFF").fetchone()


@pytest.mark.parametrize("size", [1, 60], ids=["in a page", "in pages of its own"])
async def test_what_was_taken_is_no_longer_in_the_file(path: Path, size: int) -> None:
    """Sealed keys that were shredded would open every copy of what they sealed."""
    channel, piece = ChannelId(b"C" * 16), b"-sealed keys of an incident-"
    secret = piece * size
    store = await SqliteStore.open(path, factory=Careless)
    boxes = tuple((bytes([n]) * 16, b"box" + secret) for n in range(20))
    await stored(store, PutBoxes(channel, 0, boxes, b"list" + secret))
    for number in range(40):
        await stored(store, says(number, b"log" + secret))
    await store.close()
    assert path.read_bytes().count(piece) >= 61
    store = await SqliteStore.open(path, factory=Careless)
    await store.prune(AGENCY, LOG, 40, 0)
    await store.forget_boxes(AGENCY, channel, 1, b"gone")
    await store.close()
    assert path.read_bytes().count(piece) == 0
    assert not path.with_name(path.name + "-wal").exists()
