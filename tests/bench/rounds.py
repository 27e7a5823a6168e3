"""One interleaved run: every contender in turn, round after round, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.contenders import Contender
from tests.bench.dial import DialFailed
from tests.bench.peers import Missing, PeerKind, peer_running
from tests.bench.programs import PLACE, MeasureFailed

QUIET_S: Final = 0.5
QUIET_CPU_S: Final = 0.02
QUIET_MOST_S: Final = 20.0


@dataclass(slots=True)
class Figures:
    """What was measured: contender -> measure -> one value a round. `missing`: why a peer has none."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])
    missing: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, contender: str, measure: str, value: float) -> None:
        self.values.setdefault(contender, {}).setdefault(measure, []).append(value)

    def of(self, contender: str, measure: str) -> list[float]:
        return self.values.get(contender, {}).get(measure, [])


@dataclass(slots=True)
class Numbers:
    """Messages are numbered through a whole run, since an id stands for one message only."""

    next: int = 0

    def take(self, count: int) -> int:
        """The first of so many new numbers."""
        first, self.next = self.next, self.next + count
        return first


@contextmanager
def run_folder() -> Generator[Path]:
    """A folder on the checkout's own disk (a memory file system would make every sync free), gone afterwards."""
    PLACE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=PLACE, prefix="run-"))
    # Mosquitto gives up root, and must be able to look inside.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def peers_running(
    kinds: Sequence[PeerKind], folder: Path, figures: Figures
) -> AsyncGenerator[list[Contender]]:
    """Those peers that can be had, running; the others are noted as missing."""
    async with AsyncExitStack() as stack:
        running: list[Contender] = []
        for kind in kinds:
            try:
                running.append(stack.enter_context(peer_running(kind, folder)))
            except Missing as missing:
                figures.missing[kind.name] = str(missing)
                tell(f"{kind.name} is missing: {missing}")
        yield running


async def interleaved(
    contenders: Sequence[Contender],
    rounds: int,
    figures: Figures,
    visit: Callable[[Contender], Awaitable[None]],
) -> None:
    """Visit each contender once a round. A peer whose visit fails is noted and left out of the rounds that follow; the
    first contender is ours, and its failure ends the run."""
    for number in range(1, rounds + 1):
        for contender in contenders:
            if contender.name in figures.missing:
                continue
            tell(f"round {number} of {rounds}: {contender.name}")
            try:
                await quiet([one.pid for one in contenders if one.name not in figures.missing])
                await contender.renewed()
                await visit(contender)
            except (DialFailed, MeasureFailed) as problem:
                if contender is contenders[0]:
                    raise
                figures.missing[contender.name] = f"failed while measured: {problem}"
                tell(f"{contender.name} failed: {problem}")


async def quiet(pids: Sequence[int]) -> None:
    """Wait until every contender has done with what was asked of it before, such as thousands of connections that have
    ended: they share one core, and the next one measured would pay for it. After `QUIET_MOST_S` the run goes on."""
    deadline_s = time.monotonic() + QUIET_MOST_S
    before = [cpu_s(pid) for pid in pids]
    while time.monotonic() < deadline_s:
        await asyncio.sleep(QUIET_S)
        now = [cpu_s(pid) for pid in pids]
        if all(later - earlier <= QUIET_CPU_S for earlier, later in zip(before, now, strict=True)):
            return
        before = now


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def stolen_s(cores: frozenset[int]) -> float:
    """For how long others had these cores of a machine that is shared (a virtual one), so far."""
    names = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum(int(row[8]) for row in rows if row[0] in names) / os.sysconf("SC_CLK_TCK")


def sign_of_life(contender: Contender, handles: Sequence[socket.socket]) -> None:
    """Tell the server that these connections live; without it ours would give them up after half a minute.

    Raises `MeasureFailed` when it has.
    """
    if not contender.beat:
        return
    for handle in handles:
        try:
            handle.send(contender.beat)
        except BlockingIOError:
            continue
        except OSError as problem:
            raise MeasureFailed(f"a connection was over before it was measured: {problem.strerror}") from None


def tell(words: str) -> None:
    """Say on standard error how the run goes."""
    print(f"bench: {words}", file=sys.stderr, flush=True)
