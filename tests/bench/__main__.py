"""`./dev bench NAME`: measure our server against peers in one interleaved run.

    python -m tests.bench fanout|ingest|storm|memory|sealing|web|paging|video|video-net [--json] [--short] [--keep]

Figures are ratios of what servers spend on one core, with the load on another. Exit codes: 0 every target holds, 1 one does
not, 2 wrong usage, 78 a peer or something else is missing (the reason is printed). `--short` is small and quick, to see
that everything works: its figures are shown and judge nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from tests.bench.curve import draw
from tests.bench.dial import DialFailed
from tests.bench.figures import EXIT_LACKING, EXIT_MISSED, Result
from tests.bench.picture import picture
from tests.bench.programs import MeasureFailed
from tests.faults.load import LoadFailed
from tests.faults.machine import ROOT, load_cores, pin, this_machine
from tests.faults.node import NodeFailed
from tests.faults.outcome import Impossible

NAMES: Final = ("fanout", "ingest", "storm", "memory", "sealing", "web", "paging", "video", "video-net")
EXIT_INTERRUPTED: Final = 130
RESULTS: Final = ROOT / "docs" / "results"


def benchmark(name: str) -> Callable[[Result], Awaitable[None]]:
    """The benchmark of that name."""
    found: Callable[[Result], Awaitable[None]] = importlib.import_module(
        f"tests.bench.{name.replace('-', '_')}"
    ).run
    return found


def keep(result: Result, took_s: float, folder: Path = RESULTS) -> tuple[Path, ...]:
    """Write the result with its machine and commit, and its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    figures, drawn = folder / f"bench-{result.name}.json", folder / f"bench-{result.name}.svg"
    whole = result.as_object() | {"took_s": round(took_s, 1), "machine": msgspec.to_builtins(this_machine())}
    figures.write_text(json.dumps(whole, indent=2) + "\n")
    drawn.write_text(picture(result))
    if result.curve is not None:
        grown = folder / f"bench-{result.name}-growth.svg"
        grown.write_text(draw(result.curve))
        return figures, drawn, grown
    return figures, drawn


def main(arguments: Sequence[str]) -> int:
    """Run one benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure against peers.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--short", action="store_true", help="small and quick; judges nothing")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    parser.add_argument(
        "--keep", action="store_true", help="also write docs/results/bench-NAME.json and .svg"
    )
    chosen = parser.parse_args(arguments)
    result = Result(chosen.name, chosen.short)
    # Servers under comparison must not outlive a run that is told to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pin(load_cores())
    busy = os.getloadavg()[0]
    if busy > 1.0:
        result.notes.append(
            f"the machine was busy when this began (load {busy:.1f}): better measure again when it is not"
        )
    began_s = time.monotonic()
    try:
        asyncio.run(_run(result))
    except Impossible as problem:
        print(problem, file=sys.stderr)
        return EXIT_LACKING
    except (NodeFailed, DialFailed, MeasureFailed, LoadFailed) as problem:
        print(f"bench {chosen.name} did not come to its end: {problem}", file=sys.stderr)
        return EXIT_MISSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    took_s = time.monotonic() - began_s
    print(json.dumps(result.as_object()) if chosen.json else result.table())
    if chosen.keep:
        for path in keep(result, took_s):
            print(f"kept in {path.relative_to(ROOT)}", file=sys.stderr)
    print(f"{chosen.name} took {took_s:.1f} s", file=sys.stderr)
    return result.exit_code


async def _run(result: Result) -> None:
    try:
        await benchmark(result.name)(result)
    except BaseExceptionGroup as group:
        # One problem, as the tasks around it pass it on.
        raise _first(group) from None


def _first(problem: BaseException) -> BaseException:
    while isinstance(problem, BaseExceptionGroup):
        inside = cast("BaseExceptionGroup[BaseException]", problem).exceptions
        problem = inside[0]
    return problem


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
