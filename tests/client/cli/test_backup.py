"""Backup and restore: whole or not at all, checked before anything is touched, and with another generation after."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import sqlite3
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leeside.cli.exits import Exit
from leeside.cli.root import build


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "blobs" / "ab").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "leeside.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE meta (one INTEGER PRIMARY KEY, generation INTEGER)")
        db.execute("CREATE TABLE messages (payload BLOB)")
        db.execute("INSERT INTO meta VALUES (1, 7)")
        db.executemany("INSERT INTO messages VALUES (?)", [(bytes([n]) * 500,) for n in range(200)])
        db.commit()
    (folder / "blobs" / "ab" / "0").write_bytes(b"chunk" * 1000)
    (folder / "server-secret").write_bytes(b"s" * 32)
    (folder / "leeside.db-reserve").write_bytes(b"room")
    return folder


def leeside(*args: object) -> Result:
    return CliRunner().invoke(build(), [str(a) for a in args])


def messages(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "leeside.db")) as db:
        return int(db.execute("SELECT count(*) FROM messages").fetchone()[0])


def test_a_round_trip_keeps_everything_and_raises_the_generation(data: Path, tmp_path: Path) -> None:
    made = leeside("backup", tmp_path / "copy", "--data-dir", data, "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["generation"] == 7
    names = {
        p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file()
    }
    assert names == {"leeside.db", "blobs/ab/0", "server-secret", "manifest.json"}
    back = leeside("restore", tmp_path / "copy", "--data-dir", tmp_path / "new", "--json")
    assert back.exit_code == 0
    told = json.loads(back.stdout)
    assert told["generation"] > told["before"] == 7
    assert messages(tmp_path / "new") == 200
    assert (tmp_path / "new" / "blobs" / "ab" / "0").read_bytes() == b"chunk" * 1000
    assert (tmp_path / "new" / "server-secret").stat().st_mode & 0o077 == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "leeside.db")) as db:
        assert db.execute("SELECT generation FROM meta").fetchone() == (told["generation"],)


def test_a_backup_is_taken_while_somebody_writes(data: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / "leeside.db")) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO messages VALUES (x'00')")
        assert leeside("backup", tmp_path / "copy", "--data-dir", data).exit_code == 0
        db.rollback()
    assert messages(tmp_path / "copy") == 200


@pytest.mark.parametrize("file", ["leeside.db", "blobs/ab/0", "server-secret"])
@pytest.mark.parametrize("harm", ["change", "cut", "remove"])
def test_a_damaged_backup_restores_nothing(data: Path, tmp_path: Path, file: str, harm: str) -> None:
    leeside("backup", tmp_path / "copy", "--data-dir", data)
    path = tmp_path / "copy" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match harm:
        case "change":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-1])
        case _:
            path.unlink()
    result = leeside("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert result.exit_code == Exit.FAILED
    assert "(checksum)" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_manifest_that_leads_outside_is_refused(data: Path, tmp_path: Path) -> None:
    leeside("backup", tmp_path / "copy", "--data-dir", data)
    manifest = tmp_path / "copy" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("server-secret", "../elsewhere"))
    result = leeside("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert result.exit_code == Exit.FAILED
    assert not (tmp_path / "elsewhere").exists()


@contextlib.contextmanager
def little_room(size_bytes: int) -> Generator[None]:
    """No file may grow beyond this, as on a disk that is full.

    The limit holds for the whole process, so nothing else is written meanwhile: Python keeps what it could
    write of a module's bytecode and takes it for whole, and every later import of that module fails.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = bytecode


@pytest.mark.parametrize("room_bytes", [2_000, 150_000])
def test_a_full_disk_ends_a_backup_with_what_to_know(data: Path, tmp_path: Path, room_bytes: int) -> None:
    # The first has no room for the database, the second none for an attachment.
    (data / "blobs" / "ab" / "1").write_bytes(bytes(200_000))
    (data / "blobs" / "ab" / "1").chmod(0o600)
    with little_room(room_bytes):
        result = leeside("backup", tmp_path / "copy", "--data-dir", data)
    assert result.exit_code == Exit.FAILED
    assert "there is NO new backup" in " ".join(result.stderr.split())
    assert "is it a Leeside store" not in result.stderr
    assert not list(tmp_path.glob("copy*")), "half a backup is not left on a full disk"


def test_a_full_disk_leaves_the_place_to_restore_to_empty(data: Path, tmp_path: Path) -> None:
    leeside("backup", tmp_path / "copy", "--data-dir", data)
    restore = ("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    with little_room(20_000):
        result = leeside(*restore)
    assert result.exit_code == Exit.FAILED
    assert "Nothing was restored" in " ".join(result.stderr.split())
    # With room, the same command works.
    assert leeside(*restore).exit_code == 0
    assert messages(tmp_path / "new") == 200


def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    leeside("backup", tmp_path / "copy", "--data-dir", data)
    assert leeside("backup", tmp_path / "copy", "--data-dir", data).exit_code == Exit.CONFLICT
    assert leeside("restore", tmp_path / "copy", "--data-dir", data).exit_code == Exit.CONFLICT
    assert messages(data) == 200


def test_no_restore_under_a_running_server(data: Path, tmp_path: Path) -> None:
    leeside("backup", tmp_path / "copy", "--data-dir", data)
    new = tmp_path / "new"
    new.mkdir()
    lock = os.open(new / "leeside.db-lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        result = leeside("restore", tmp_path / "copy", "--data-dir", new)
    finally:
        os.close(lock)
    assert result.exit_code == Exit.CONFLICT
    assert "Stop it first" in result.stderr


def test_a_backup_that_broke_off_is_none(data: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.partial").mkdir()
    (tmp_path / "copy.partial" / "leeside.db").write_bytes(b"half")
    assert (
        leeside("restore", tmp_path / "copy.partial", "--data-dir", tmp_path / "new").exit_code
        == Exit.NOT_FOUND
    )
    assert leeside("backup", tmp_path / "copy", "--data-dir", data).exit_code == 0
    assert not (tmp_path / "copy.partial").exists()


def test_something_that_is_no_store_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    assert leeside("backup", tmp_path / "copy", "--data-dir", folder).exit_code == Exit.NOT_FOUND
    (folder / "leeside.db").write_bytes(b"nothing of the kind" * 100)
    assert leeside("backup", tmp_path / "copy", "--data-dir", folder).exit_code == Exit.FAILED
    assert not (tmp_path / "copy").exists()


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    result = leeside("backup", tmp_path / "copy", "--postgres", "postgresql://user:canary@host/leeside")
    assert result.exit_code == Exit.USAGE
    assert "canary" not in result.output


def test_one_store_is_named(tmp_path: Path) -> None:
    assert leeside("backup", tmp_path / "copy").exit_code == Exit.USAGE
