"""`python -m tests.faults NAME [--short|--full] [--json]`: break something on purpose, and say what held.

`--short` (the default) asserts loss, order and progress; `--full` takes longer, judges the time limits besides, and
keeps its result under docs/results/. Exit codes: 0 every promise held, 1 one did not, 2 wrong usage, 78 this machine
lacks what the fault needs (the fix is printed).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from tests.faults.load import LoadFailed
from tests.faults.machine import ROOT, load_cores, pin, this_machine
from tests.faults.node import NodeFailed
from tests.faults.outcome import Findings, Impossible
from tests.support.services import ServerFailed

NAMES: Final = (
    "kill9",
    "powercut",
    "redis",
    "postgres",
    "diskfull",
    "slow",
    "garbage",
    "storm",
    "consult",
    "video",
)
WITH_BROWSERS: Final = ("browsers",)
"""These need the built web client. What their short form asserts is asserted by tests/web in every run."""
EXIT_BROKEN, EXIT_USAGE, EXIT_IMPOSSIBLE = 1, 2, 78
RESULTS: Final = ROOT / "docs" / "results"


def fault(name: str) -> Callable[[Findings], Awaitable[None]]:
    """The fault of that name."""
    found: Callable[[Findings], Awaitable[None]] = importlib.import_module(f"tests.faults.{name}").run
    return found


def carry_out(findings: Findings) -> list[str]:
    """Run the fault. What stops the run before its end is a promise that did not hold. Returns what this machine lacks."""
    pin(load_cores())
    lacking: list[str] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run(findings))
        except* (LoadFailed, NodeFailed, ServerFailed) as group:
            for error in _leaves(group):
                findings.judge("the run comes to its end", False, str(error))
        except* Impossible as group:
            lacking += [str(error) for error in _leaves(group)]
        except* asyncio.CancelledError:
            findings.judge("the run comes to its end", False, "it was told to end")
        except* Exception as group:  # noqa: BLE001
            # A fault of the instrument. What it had found by then is told all the same.
            traceback.print_exception(group)
            for error in _leaves(group):
                findings.judge("the run comes to its end", False, f"{type(error).__name__}: {error}")
    return lacking


async def _run(findings: Findings) -> None:
    """Told to end, it ends what it started first: a server without its run would stay for good."""
    running = asyncio.current_task()
    assert running is not None, "this is a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await fault(findings.name)(findings)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _leaves(error)
        else:
            found.append(error)
    return found


def keep(findings: Findings, took_s: float) -> Path:
    """Write a full run's result with its machine and commit, so that two can be compared."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"faults-{findings.name}.json"
    result = findings.as_object() | {
        "mode": findings.mode,
        "took_s": round(took_s, 1),
        "machine": msgspec.to_builtins(this_machine()),
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def main(arguments: Sequence[str]) -> int:
    """Run one fault; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev faults", description="Break something on purpose.")
    parser.add_argument("name", choices=NAMES + WITH_BROWSERS)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--short", dest="mode", action="store_const", const="short", default="short")
    mode.add_argument("--full", dest="mode", action="store_const", const="full")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    chosen = parser.parse_args(arguments)
    findings = Findings(chosen.name, chosen.mode)
    began_s = time.monotonic()
    lacking = carry_out(findings)
    if lacking:
        print("\n".join(lacking), file=sys.stderr)
        return EXIT_IMPOSSIBLE
    took_s = time.monotonic() - began_s
    print(json.dumps(findings.as_object()) if chosen.json else findings.table())
    if findings.full:
        print(f"kept in {keep(findings, took_s).relative_to(ROOT)}", file=sys.stderr)
    print(f"{chosen.name} took {took_s:.1f} s", file=sys.stderr)
    return 0 if findings.holds else EXIT_BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
