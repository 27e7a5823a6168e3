"""A PostgreSQL whose data stands where a fault wants it: on a disk that can be cut off or filled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.devtool.services import POSTGRES
from tests.faults.machine import all_cores, on_cores
from tests.support.services import Account, PostgresServer, initialise, program_path, start_postgres


@dataclass(frozen=True, slots=True, repr=False)
class Cluster:
    """A PostgreSQL data folder (`folder`/data) and what is needed to start a server on it, or on a copy."""

    programs: Path
    folder: Path
    account: Account
    password: str

    async def start(self, folder: Path | None = None) -> PostgresServer:
        """Start on the data folder, or on another one that is a copy of it. Raises `ServerFailed`."""
        with on_cores(all_cores()):
            return await asyncio.to_thread(
                start_postgres, self.programs, folder or self.folder, self.account, self.password
            )


def new_cluster(folder: Path, log_folder: Path | None = None) -> Cluster:
    """Make a data folder inside `folder`; with `log_folder` the write-ahead log stands there instead."""
    cluster = Cluster(program_path(POSTGRES), folder, Account.harmless(), secrets.token_hex(16))
    cluster.account.own(folder)
    initialise(cluster.programs, folder, cluster.account, cluster.password)
    if log_folder is not None:
        log_folder.mkdir()
        cluster.account.own(log_folder)
        shutil.move(folder / "data" / "pg_wal", log_folder / "pg_wal")
        for path in (log_folder / "pg_wal", *(log_folder / "pg_wal").rglob("*")):
            cluster.account.own(path)  # it was copied by us, onto another disk
        (folder / "data" / "pg_wal").symlink_to(log_folder / "pg_wal")
    return cluster


def processes_of(postgres: PostgresServer) -> list[int]:
    """The postmaster and its children (each in a process group of its own)."""
    parent = postgres.process.pid
    found = [parent]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == parent:
                found.append(int(entry.name))
    return found


def _send_all(processes: Sequence[int], what: signal.Signals) -> None:
    """A backend may end of itself between being listed and being told: the others are told all the same."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


@asynccontextmanager
async def frozen(postgres: PostgresServer) -> AsyncGenerator[None]:
    """Nothing of the server runs inside the block; its connections stay open."""
    processes = [postgres.process.pid]
    try:
        # The postmaster first: it makes no more of them while they are listed.
        _send_all(processes, signal.SIGSTOP)
        processes = processes_of(postgres)
        _send_all(processes, signal.SIGSTOP)
        yield
    finally:
        _send_all(processes, signal.SIGCONT)
