"""`./dev check`: what can be said about the code without running it. All of it runs, whatever failed before."""

import os
import time
from collections.abc import Sequence

from deploy.devtool.place import VENV_BIN, run

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rules", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types (mypy)", ("mypy",)),
    ("types (pyright)", ("pyright",)),
    ("layers", ("lint-imports", "--no-logo")),
)
"""Name and command of each; the configuration of all is in pyproject.toml."""


def check(only: Sequence[str] = ()) -> int:
    """Run the checks whose name starts with one of `only`, or all; returns an exit code."""
    # pyright comes whole in its wheel, with Node.js in another: it must not ask a registry for news.
    env = {
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
        "PYRIGHT_PYTHON_FORCE_VERSION": "",
        "PATH": f"{VENV_BIN}:{os.environ['PATH']}",
    }
    rows: list[tuple[str, bool, float]] = []
    for name, (program, *arguments) in CHECKS:
        if only and not name.startswith(tuple(only)):
            continue
        print(f"\n== {name}: {program} {' '.join(arguments)}".rstrip(), flush=True)
        started_s = time.monotonic()
        code = run((VENV_BIN / program, *arguments), env)
        rows.append((name, code == 0, time.monotonic() - started_s))
    print()
    for name, holds, took_s in rows:
        print(f"{name:<18}{'holds' if holds else 'FAILS':<8}{took_s:>6.1f} s")
    return 0 if rows and all(holds for _, holds, _ in rows) else 1
