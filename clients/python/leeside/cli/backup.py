"""`leeside backup` and `leeside restore`: the server's data, on the machine where it lies.

Embedded store: SQLite's online backup (the server keeps running), then every other file of the data folder: attachments, the
server's own keys, codes. The database comes first, so that every attachment that it names is in the copy. A manifest
holds the SHA-256 of each file; the copy counts once it has its final name, after everything was synced.

`restore` checks every file against the manifest before it touches anything, and gives the store a new *generation*: clients
see that this is another history than the one they knew, drop their copies and post again what was lost. Loss is
announced, never hidden. A backup holds sealed content and the server's keys, but nothing that opens content.

PostgreSQL: `pg_dump` and `pg_restore` do the work; passwords come from ~/.pgpass or PGPASSWORD, never the command line.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
import typer

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, invocation
from leeside.cli.screen import Step
from leeside.keystore import replace_file

DATABASE: Final = "leeside.db"
MANIFEST: Final = "manifest.json"
_PIECE: Final = 1024 * 1024
_PAGES: Final = 2_048
DUMP: Final = "leeside.pgdump"


class BackedUp(msgspec.Struct, frozen=True):
    """One file of a backup."""

    path: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """`manifest.json`."""

    format: Literal[1]
    made_ms: int
    store: Literal["sqlite", "postgres"]
    generation: int
    files: tuple[BackedUp, ...]


def register(app: typer.Typer) -> None:
    """Add both commands to the root."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="The embedded server's data folder.")
    ] = None,
    postgres: Annotated[
        str, typer.Option("--postgres", help="postgresql://user@host/database, without a password.")
    ] = "",
) -> None:
    """Back up a server's data while it runs."""
    run = invocation(context)
    if (data_dir is None) == (not postgres):
        raise CommandError("Say what to back up: --data-dir or --postgres.", Exit.USAGE)
    if target.exists():
        raise CommandError(f"{target} exists already. A backup never replaces another.", Exit.CONFLICT)
    partial = target.with_name(target.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir(mode=0o700, parents=True)
        with run.screen.progress("backup") as step:
            if data_dir is not None:
                manifest = _backup_folder(run, data_dir, partial, step)
            else:
                manifest = _backup_postgres(run, postgres, partial)
        replace_file(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        for folder in sorted({p.parent for p in partial.rglob("*")} | {partial}):
            _sync(folder)
        partial.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise _broken_off(error, f"{target} was not made, and there is NO new backup.") from None
    finally:
        # Half a backup helps nobody, and on a full disk it is in the way.
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(f.size_bytes for f in manifest.files)
    run.screen.say(
        f"Backed up {len(manifest.files)} files, {size:,} bytes, to {target}.",
        {
            "target": str(target),
            "files": len(manifest.files),
            "bytes": size,
            "generation": manifest.generation,
        },
    )


def _backup_folder(run: Invocation, data_dir: Path, target: Path, step: Step) -> Manifest:
    database = data_dir / DATABASE
    if not database.is_file():
        raise CommandError(f"There is no {DATABASE} in {data_dir}.", Exit.NOT_FOUND, "not_found")
    _copy_database(database, target / DATABASE, step)
    generation = database_generation(target / DATABASE)
    files = [_described(target, target / DATABASE)]
    sources = list(other_files(data_dir))
    for number, source in enumerate(sources):
        copy = target / source.relative_to(data_dir)
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _copy(source, copy)
        except FileNotFoundError:
            # Retention deleted it meanwhile.
            continue
        files.append(_described(target, copy))
        step(number + 1, len(sources))
    return Manifest(1, run.now_ms(), "sqlite", generation, tuple(files))


def other_files(data_dir: Path) -> Iterator[Path]:
    for path in sorted(data_dir.rglob("*")):
        beside = path.parent == data_dir and path.name.startswith(DATABASE)
        if path.is_file() and not path.is_symlink() and not beside:
            yield path


def _copy_database(source: Path, target: Path, step: Step) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.execute("PRAGMA busy_timeout=10000")
        try:
            old.backup(new, pages=_PAGES, progress=lambda _status, left, total: step(total - left, total))
            new.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                raise OSError(errno.EIO, "the disk is full, or fails", str(target)) from None
            raise CommandError(
                "The database cannot be copied: is it a Leeside store?", Exit.FAILED, "sqlite"
            ) from None
    _sync(target)


def database_generation(path: Path) -> int:
    """That the copy is whole; its generation."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            sound = db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            generation = int(db.execute("SELECT generation FROM meta").fetchone()[0])
        except (sqlite3.Error, TypeError):
            sound, generation = False, 0
    if not sound:
        raise CommandError("The database is damaged: SQLite's own check fails.", Exit.FAILED, "sqlite")
    return generation


def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A backup's folder.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where to restore to: an empty or new folder.")
    ] = None,
    postgres: Annotated[
        str, typer.Option("--postgres", help="postgresql://user@host/database, empty, without a password.")
    ] = "",
) -> None:
    """Restore a server's data. The server is stopped; its generation is raised, so that clients notice."""
    run = invocation(context)
    if (data_dir is None) == (not postgres):
        raise CommandError("Say where to restore to: --data-dir or --postgres.", Exit.USAGE)
    manifest = read_manifest(source)
    if (manifest.store == "sqlite") != (data_dir is not None):
        raise CommandError(f"This is a backup of a {manifest.store} store.", Exit.USAGE)
    with run.screen.progress("checking") as step:
        verify(source, manifest, step)
    with run.screen.progress("restoring") as step:
        if data_dir is not None:
            generation = _restore_folder(run, source, manifest, data_dir, step)
        else:
            generation = _restore_postgres(run, postgres, source, manifest)
    run.screen.say(
        f"Restored {len(manifest.files)} files. The store's generation is {generation} now: clients will load anew.",
        {"files": len(manifest.files), "generation": generation, "before": manifest.generation},
    )


def read_manifest(source: Path) -> Manifest:
    """A backup's manifest; refuses names that lead out of its folder."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise CommandError(
            f"{source} is no finished backup: it has no {MANIFEST}.", Exit.NOT_FOUND, "not_found"
        ) from None
    except msgspec.MsgspecError:
        raise CommandError(f"{source / MANIFEST} is damaged.", Exit.FAILED, "manifest") from None
    for file in manifest.files:
        parts = Path(file.path).parts
        if Path(file.path).is_absolute() or ".." in parts or not parts:
            raise CommandError("The manifest names a file outside the backup.", Exit.FAILED, "manifest")
    return manifest


def verify(source: Path, manifest: Manifest, step: Step) -> None:
    """Every file of the manifest is there, whole; nothing is restored otherwise."""
    for number, file in enumerate(manifest.files):
        path = source / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes or _hash(path) != file.sha256:
            raise CommandError(
                f"{file.path} of this backup is missing or damaged. Nothing was restored.",
                Exit.FAILED,
                "checksum",
            )
        step(number + 1, len(manifest.files))


def _restore_folder(run: Invocation, source: Path, manifest: Manifest, data_dir: Path, step: Step) -> int:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(data_dir):
        if any(p.name != f"{DATABASE}-lock" for p in data_dir.iterdir()):
            raise CommandError(
                f"{data_dir} is not empty. Move it away first; nothing was changed.", Exit.CONFLICT
            )
        try:
            return _fill(run, source, manifest, data_dir, step)
        except BaseException as error:
            # It was empty before, and is again: half a restore would stand in the way of the next.
            _empty(data_dir)
            if isinstance(error, OSError | sqlite3.Error):
                raise _broken_off(error, f"Nothing was restored, and {data_dir} is empty.") from None
            raise


def _fill(run: Invocation, source: Path, manifest: Manifest, data_dir: Path, step: Step) -> int:
    for number, file in enumerate(manifest.files):
        # The database last, under another name until the generation is raised: half a restore never starts.
        name = f"{DATABASE}.restoring" if file.path == DATABASE else file.path
        target = data_dir / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(source / file.path, target)
        step(number + 1, len(manifest.files))
    fresh = data_dir / f"{DATABASE}.restoring"
    generation = raise_generation(fresh, run.now_ms())
    _sync(fresh)
    for folder in sorted({p.parent for p in data_dir.rglob("*")} | {data_dir}):
        _sync(folder)
    fresh.rename(data_dir / DATABASE)
    _sync(data_dir)
    return generation


def _empty(data_dir: Path) -> None:
    """Take everything out but the lock, which is held."""
    for path in data_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != f"{DATABASE}-lock":
            path.unlink(missing_ok=True)


def _broken_off(error: OSError | sqlite3.Error, left: str) -> CommandError:
    """What the disk said, and how things stand now."""
    said = (
        error.strerror or "the system refused" if isinstance(error, OSError) else "the disk is full, or fails"
    )
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return CommandError(f"Broken off: {said}{where}. {left}", Exit.FAILED, "system")


def raise_generation(path: Path, now_ms: int) -> int:
    """The same rule as the server's: the time, and above the last one anyway."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=FULL")
        before = int(db.execute("SELECT generation FROM meta").fetchone()[0])
        generation = max(before + 1, now_ms)
        db.execute("UPDATE meta SET generation = ?", (generation,))
    return generation


@contextlib.contextmanager
def alone(data_dir: Path) -> Generator[None]:
    """The lock that a running server holds: nobody restores under its feet."""
    descriptor = os.open(data_dir / f"{DATABASE}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("A server uses this folder. Stop it first.", Exit.CONFLICT, "in_use") from None
        yield
    finally:
        os.close(descriptor)


# ---- PostgreSQL


def _backup_postgres(run: Invocation, dsn: str, target: Path) -> Manifest:
    _check_dsn(dsn)
    generation = int(_psql(dsn, "SELECT generation FROM meta") or 0)
    _program("pg_dump", "--format=custom", "--no-owner", f"--file={target / DUMP}", f"--dbname={dsn}")
    (target / DUMP).chmod(0o600)
    _sync(target / DUMP)
    return Manifest(1, run.now_ms(), "postgres", generation, (_described(target, target / DUMP),))


def _restore_postgres(run: Invocation, dsn: str, source: Path, manifest: Manifest) -> int:
    _check_dsn(dsn)
    tables = _psql(dsn, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
    if tables.strip() != "0":
        raise CommandError("The database is not empty. Make a new one; nothing was changed.", Exit.CONFLICT)
    _program("pg_restore", "--single-transaction", "--no-owner", f"--dbname={dsn}", str(source / DUMP))
    generation = max(manifest.generation + 1, run.now_ms())
    # A number of ours: psql takes no parameters here.
    _psql(dsn, f"UPDATE meta SET generation = {generation:d}")  # noqa: S608
    return generation


def _check_dsn(dsn: str) -> None:
    if urlsplit(dsn).password is not None or "password=" in dsn:
        raise CommandError("Leave the password out: put it into ~/.pgpass or PGPASSWORD.", Exit.USAGE)


def _psql(dsn: str, sql: str) -> str:
    return _program(
        "psql",
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--set=ON_ERROR_STOP=1",
        f"--dbname={dsn}",
        f"--command={sql}",
    )


def _program(name: str, *arguments: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CommandError(
            f"{name} is not installed here. It comes with PostgreSQL's client programs.", Exit.FAILED, name
        )
    # Programs of the operator's own machine, and arguments that no shell reads.
    done = subprocess.run([path, *arguments], check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise CommandError(f"{name} failed: {said[-1]}", Exit.FAILED, name)
    return done.stdout


# ---- files


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as new:
            shutil.copyfileobj(old, new, _PIECE)
            new.flush()
            os.fsync(new.fileno())


def _described(folder: Path, path: Path) -> BackedUp:
    return BackedUp(path.relative_to(folder).as_posix(), path.stat().st_size, _hash(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
