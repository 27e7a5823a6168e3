"""The machine of a run: what it is, and which core does what.

The servers under test share the first core and the load has the second, so that neither waits for the other. With one
core everything shares it, and the result says so.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a result must name so that it can be compared."""

    cores: int
    cpu: str
    memory_mb: int
    kernel: str
    python: str
    commit: str


def this_machine() -> Machine:
    """What this run stands on; `commit` ends in `+` when the checkout has changes."""
    return Machine(
        cores=len(all_cores()),
        cpu=_cpu_model(),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        commit=_commit(),
    )


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "HEAD") or "unknown") + ("+" if changed else "")


_ALL = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset({0})


def all_cores() -> frozenset[int]:
    """The cores that this process was given at its start."""
    return _ALL


def server_cores() -> frozenset[int]:
    """Where the servers under test run."""
    return frozenset({min(_ALL)}) if len(_ALL) > 1 else _ALL


def load_cores() -> frozenset[int]:
    """Where the load runs: all but the servers' core."""
    return _ALL - server_cores() or _ALL


def pin(cores: frozenset[int]) -> None:
    """Keep the calling thread, and what it starts from now on, on these cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


class Busy:
    """How busy all cores of the machine are from now on, whoever uses them: what a figure taken meanwhile is worth."""

    def __init__(self) -> None:
        self._before = _cpu_times()

    def share(self) -> float:
        """Of all time of all cores; 0.0 where the system does not tell."""
        idle, total = (now - before for now, before in zip(_cpu_times(), self._before, strict=True))
        return 1 - idle / total if total > 0 else 0.0

    def __str__(self) -> str:
        return f"{self.share():.0%} of {os.cpu_count() or 1} cores used"


def _cpu_times() -> tuple[int, int]:
    """(idle, all) since the system's start."""
    try:
        times = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    except OSError:
        return 0, 0
    return times[3] + times[4], sum(times)


@contextmanager
def on_cores(cores: frozenset[int]) -> Generator[None]:
    """Start processes inside the block: they stay on these cores. The caller's own place is restored."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    pin(cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
