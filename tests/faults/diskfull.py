"""diskfull: the disk is filled up under load, on both stores; later the room comes back.

Promises: publishing is refused with `storage_full`; reading from offset 0 and the stream lane go on; nothing that was
acknowledged is lost; once there is room again, messages are acknowledged again without anybody's help.

PostgreSQL stops as a whole when its write-ahead log finds no room, so the log has a disk of its own here, as the
operator's guide asks for; what fills up is the disk with the tables.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leeside_protocol.messages import Live
from leeside_protocol.words import Lane
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.database import new_cluster
from tests.faults.disk import MB, Disk, new_disk, require_loop_mounts
from tests.faults.installation import Installation, embedded, one_node, workplace
from tests.faults.load import LoadFailed, final_logs
from tests.faults.node import NodeSettings
from tests.faults.outcome import Findings
from tests.faults.scene import Load, Scene, under_load
from tests.faults.world import seal

SQLITE_DISK: Final = 64 * MB
POSTGRES_DISK: Final = 256 * MB
FILLER_BLOCK: Final = 1024 * 1024
LEAST_BLOCK: Final = 4 * 1024
REFUSED_S: Final = 30.0
REFUSALS: Final = 100
RECOVERED_S: Final = 30.0
RECOVERED_LIMIT_S: Final = 10.0
STREAM_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does."""

    load: Load
    rounds: int


PLANS: Final = {
    "short": Plan(Load(10, 200, 600, filler_bytes=4_000), 1),
    "full": Plan(Load(20, 300, 1_500, filler_bytes=4_000), 3),
}


async def run(findings: Findings) -> None:
    """See the module."""
    require_loop_mounts()
    plan = PLANS[findings.mode]
    async with workplace() as folder:
        async with (
            new_disk(folder, "sqlite", SQLITE_DISK) as disk,
            embedded(folder, disk.mount / "data") as site,
        ):
            await _fill_repeatedly(findings, plan, "SQLite", site, disk)
        async with new_disk(folder, "postgres", POSTGRES_DISK) as disk:
            cluster = await asyncio.to_thread(new_cluster, disk.mount, folder / "wal")
            postgres = await cluster.start()
            try:
                dsn = await asyncio.to_thread(postgres.create_database)
                async with one_node(folder / "second", NodeSettings(dsn)) as site:
                    await _fill_repeatedly(findings, plan, "PostgreSQL", site, disk)
            finally:
                postgres.kill()


async def _fill_repeatedly(
    findings: Findings, plan: Plan, store: str, site: Installation, disk: Disk
) -> None:
    recovered: list[float] = []
    shown = read = 0
    async with under_load(site, plan.load) as scene:
        if store == "SQLite":
            await scene.baseline(findings, 3.0 if findings.full else 1.0)
        injected = findings.injected
        for _ in range(plan.rounds):
            await scene.progress(30)
            async with _full(disk):
                findings.injected += 1
                before = scene.diary.refused["storage_full"]
                await _refused(scene, before + 1, store)
                read += await _read_all(scene)
                shown += await _stream(scene)
                # Still full: what the server freed for itself was taken by others.
                await _refused(scene, before + REFUSALS, store)
            recovered.append(await scene.progress(RECOVERED_S))
        await scene.quiet()
        refused = scene.diary.refused
        findings.judge(
            f"{store}: a full disk refuses publishing with storage_full, and with nothing else",
            refused["storage_full"] > 0 and set(refused) <= {"storage_full"},
            ", ".join(f"{name} {count}" for name, count in sorted(refused.items())),
        )
        findings.judge(f"{store}: reading goes on", read > 0, f"{read} entries read from offset 0 while full")
        findings.judge(f"{store}: the stream lane goes on", shown == plan.rounds, f"{shown} of {plan.rounds}")
        findings.judge(
            f"{store}: publishing goes on once there is room",
            len(recovered) == plan.rounds,
            f"{len(recovered)} of {plan.rounds}",
        )
        findings.timed(f"{store}: time to that", max(recovered), RECOVERED_LIMIT_S)
        findings.injected, total = findings.injected - injected, findings.injected
        await conclude(findings, scene.diary, scene.clients, Minimum(100, 500, plan.rounds))
        findings.injected = total
        no_traceback(findings, site)


@asynccontextmanager
async def _full(disk: Disk) -> AsyncGenerator[None]:
    """The disk is full, and stays so whatever is freed on it, for as long as the block runs."""
    path = disk.mount / "filler"
    await asyncio.to_thread(_fill, path)
    topping_up = asyncio.create_task(_top_up(path))
    try:
        yield
    finally:
        topping_up.cancel()
        await asyncio.wait((topping_up,))
        await asyncio.to_thread(path.unlink)


async def _top_up(path: Path) -> None:
    while True:
        await asyncio.to_thread(_fill, path)
        await asyncio.sleep(0.1)


def _fill(path: Path) -> None:
    """Lengthen the file until nothing fits any more: block by block, then less."""
    with path.open("ab", buffering=0) as file:
        size = FILLER_BLOCK
        while size >= LEAST_BLOCK:
            try:
                # Really written: a promise of blocks could be kept later, when the room has gone.
                file.write(os.urandom(size))
                os.fsync(file.fileno())
            except OSError:
                size //= 2


async def _read_all(scene: Scene) -> int:
    """A member reads its logs from the beginning, over a new connection; how many entries came."""
    logs = await final_logs(scene.clients[1:2], deadline_s=REFUSED_S)
    return sum(len(log) for readers in logs.values() for log in readers.values())


async def _stream(scene: Scene) -> int:
    """One member sends a live value and another one gets it; 1 when it came."""
    room = scene.world.rooms[0]
    sender, reader = scene.clients[1], scene.clients[2]
    key = b"p" + sender.device.id
    (value,) = seal(room, sender.device, 1, lane=Lane.STREAM, key=key)
    came: list[Live] = []
    reader.on_live = came.append
    try:
        await scene.crowd.until("sender and reader connected", lambda: sender.live and reader.live, STREAM_S)
        sender.send(value)
        await scene.crowd.until("a live value while the disk is full", lambda: bool(came), STREAM_S)
    except LoadFailed:
        return 0
    finally:
        reader.on_live = None
    return 1 if came[0].key == key and came[0].device == sender.device.id else 0


async def _refused(scene: Scene, count: int, store: str) -> None:
    """Wait until that many publishes, in all, were refused for want of room."""
    await scene.crowd.until(
        f"{store}: a publish is refused with storage_full",
        lambda: scene.diary.refused["storage_full"] >= count,
        REFUSED_S,
    )
