"""powercut: the disk as it is at a random moment must hold every message that was acknowledged, on both stores.

Each cut freezes the server, copies the disk (see `disk`), and goes on. Afterwards a server is started on each copy and
every member's logs are read from it: what was acknowledged, or shown to anybody, before the cut must stand there. A
control shows that the test can fail: the same cut through a SQLite writer with weaker settings loses messages.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.checks import Minimum, no_traceback
from tests.faults.database import Cluster, frozen, new_cluster
from tests.faults.disk import MB, Disk, mounted, new_disk, require_loop_mounts
from tests.faults.history import Broken, History, check
from tests.faults.installation import Installation, embedded, one_node, workplace
from tests.faults.load import final_logs
from tests.faults.node import Node, NodeSettings
from tests.faults.outcome import Findings
from tests.faults.scene import Load, Scene, under_load
from tests.support.services import PostgresServer

SQLITE_DISK: Final = 384 * MB
POSTGRES_DISK: Final = 768 * MB
CONTROL_DISK: Final = 64 * MB


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does."""

    load: Load
    cuts: int
    pause_s: tuple[float, float]


PLANS: Final = {
    "short": Plan(Load(20, 400, 120), 2, (0.3, 1.0)),
    "full": Plan(Load(60, 800, 500), 10, (0.3, 3.0)),
}


@dataclass(frozen=True, slots=True)
class Cut:
    """A copy of the disk, and how much had been acknowledged and shown by then."""

    image: Path
    acked: int
    delivered: int


async def run(findings: Findings) -> None:
    """See the module."""
    require_loop_mounts()
    plan = PLANS[findings.mode]
    async with workplace() as folder:
        await _control(findings, folder)
        await _on_sqlite(findings, plan, folder)
        await _on_postgres(findings, plan, folder)


async def _on_sqlite(findings: Findings, plan: Plan, folder: Path) -> None:
    async with (
        new_disk(folder, "sqlite", SQLITE_DISK) as disk,
        embedded(folder, disk.mount / "data") as site,
        under_load(site, plan.load) as scene,
    ):
        disk.sync()
        cuts = await _cut_repeatedly(findings, plan, scene, disk, lambda: _frozen(site, None))
        await scene.quiet()
        broken: list[Broken] = []
        entries = 0
        for cut in cuts:
            async with mounted(folder, cut.image) as copy:
                node = Node(folder / "after", copy.mount / "data")
                found, count = await _after(scene, cut, node)
                broken += found
                entries += count
        _judge(findings, "SQLite", plan, scene, cuts, broken, entries)
        no_traceback(findings, site)


async def _on_postgres(findings: Findings, plan: Plan, folder: Path) -> None:
    async with new_disk(folder, "postgres", POSTGRES_DISK) as disk:
        cluster = await asyncio.to_thread(new_cluster, disk.mount)
        postgres = await cluster.start()
        try:
            dsn = await asyncio.to_thread(postgres.create_database)
            await _on_server(findings, plan, folder, disk, cluster, postgres, dsn)
        finally:
            postgres.kill()


async def _on_server(
    findings: Findings,
    plan: Plan,
    folder: Path,
    disk: Disk,
    cluster: Cluster,
    postgres: PostgresServer,
    dsn: str,
) -> None:
    async with one_node(folder, NodeSettings(dsn)) as site, under_load(site, plan.load) as scene:
        disk.sync()
        cuts = await _cut_repeatedly(findings, plan, scene, disk, lambda: _frozen(site, postgres))
        await scene.quiet()
        broken: list[Broken] = []
        entries = 0
        for cut in cuts:
            async with mounted(folder, cut.image) as copy:
                # The machine was switched off: no process of that number is the one that wrote this.
                (copy.mount / "data" / "postmaster.pid").unlink(missing_ok=True)
                revived = await cluster.start(copy.mount)
                try:
                    settings = NodeSettings(revived.dsn(dsn.rpartition("/")[2]))
                    node = Node(folder / "after", site.first.data, settings)
                    found, count = await _after(scene, cut, node)
                finally:
                    revived.kill()
                broken += found
                entries += count
        _judge(findings, "PostgreSQL", plan, scene, cuts, broken, entries)
        no_traceback(findings, site)


async def _cut_repeatedly(
    findings: Findings,
    plan: Plan,
    scene: Scene,
    disk: Disk,
    freeze: Callable[[], AbstractAsyncContextManager[None]],
) -> list[Cut]:
    cuts: list[Cut] = []
    await scene.progress(30)
    for number in range(plan.cuts):
        # The moment is the point here.
        await asyncio.sleep(random.uniform(*plan.pause_s))
        target = disk.image.with_name(f"{disk.image.stem}-cut{number}.img")
        async with freeze():
            await asyncio.to_thread(disk.copy, target)
            # What the server sent before it froze has arrived by now: nothing acknowledged escapes the comparison.
            history = scene.diary.history
            cuts.append(Cut(target, len(history.acked), len(history.delivered)))
        findings.injected += 1
        await scene.progress(30)
    return cuts


async def _after(scene: Scene, cut: Cut, node: Node) -> tuple[list[Broken], int]:
    """Start a server on what the cut left and compare: broken promises, and entries that were compared."""
    await node.start()
    try:
        whole = scene.diary.history
        left = History(
            list(whole.sent),
            whole.acked[: cut.acked],
            whole.delivered[: cut.delivered],
            await final_logs(scene.clients, node.port),
        )
        return check(left), sum(len(log) for readers in left.final.values() for log in readers.values())
    finally:
        await node.kill()


def _judge(
    findings: Findings,
    store: str,
    plan: Plan,
    scene: Scene,
    cuts: list[Cut],
    broken: list[Broken],
    entries: int,
) -> None:
    told = f"{len(cuts)} cuts, {entries} entries compared"
    if broken:
        told = f"{len(broken)} broken: {'; '.join(f'{b.promise}: {b.what}' for b in broken[:5])}"
    findings.judge(f"{store}: what was acknowledged or shown survives a power cut", not broken, told)
    least = Minimum(50 * plan.cuts, 200 * plan.cuts, plan.cuts)
    acked = cuts[-1].acked if cuts else 0
    delivered = cuts[-1].delivered if cuts else 0
    findings.minimum(f"{store}: messages acknowledged before the last cut", acked, least.acknowledged)
    findings.minimum(f"{store}: entries delivered before the last cut", delivered, least.delivered)
    findings.minimum(f"{store}: cuts", len(cuts), least.injected)


# ---- freezing


@asynccontextmanager
async def _frozen(site: Installation, postgres: PostgresServer | None) -> AsyncGenerator[None]:
    """Stop the node, then the database below it, for as long as the block runs."""
    site.first.freeze()
    try:
        if postgres is None:
            yield
        else:
            async with frozen(postgres):
                yield
    finally:
        site.first.thaw()


# ---- the control

WRITER: Final = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL").fetchone()
db.execute("PRAGMA wal_autocheckpoint = 0").fetchone()
db.execute("PRAGMA synchronous = FULL")
db.execute("CREATE TABLE message (number INTEGER PRIMARY KEY, body BLOB)")
db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
db.execute(f"PRAGMA synchronous = {sys.argv[2]}")
number = 0
while True:
    number += 1
    db.execute("INSERT INTO message VALUES (?, randomblob(200))", (number,))
    print(number, flush=True)
"""
CONTROL_MESSAGES: Final = 200


async def _control(findings: Findings, folder: Path) -> None:
    """The same cut through three plain writers: NORMAL and OFF must lose, FULL must not, or the test proves nothing."""
    lost: dict[str, tuple[int, int]] = {}
    for level in ("OFF", "NORMAL", "FULL"):
        async with new_disk(folder, f"control-{level.lower()}", CONTROL_DISK) as disk:
            lost[level] = await _cut_writer(folder, disk, level)
    told = ", ".join(f"{level} {gone} of {said}" for level, (gone, said) in lost.items())
    findings.judge(
        "control: the same cut loses messages with synchronous=OFF and NORMAL, and none with FULL",
        lost["OFF"][0] > 0 and lost["NORMAL"][0] > 0 and lost["FULL"][0] == 0,
        f"lost: {told}",
    )


async def _cut_writer(folder: Path, disk: Disk, level: str) -> tuple[int, int]:
    """Cut a plain writer off: how many messages it had said to be written and were lost, and how many it had said."""
    database = disk.mount / "control.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(database), level, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        said = 0
        async with asyncio.timeout(30):
            while said < CONTROL_MESSAGES:
                said = int(await process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        target = disk.image.with_name(f"{disk.image.stem}-cut.img")
        await asyncio.to_thread(disk.copy, target)
    finally:
        process.kill()
        rest = (await process.stdout.read()).split()
        await process.wait()
    said = max([said, *(int(word) for word in rest)])
    async with mounted(folder, target) as copy:
        kept = await asyncio.to_thread(_count, copy.mount / "control.db")
    target.unlink()
    return max(0, said - kept), said  # what was written and not said any more may stand or not


def _count(database: Path) -> int:
    """Messages that stand; none when not even the table does."""
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])
    except sqlite3.DatabaseError:
        return 0
    finally:
        connection.close()
