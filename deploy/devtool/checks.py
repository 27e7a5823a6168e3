"""`./dev check`: what can be said about the code without running it. All of it runs, whatever failed before."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.devtool.place import VENV_BIN, run
from deploy.devtool.web import install_modules, npm


@dataclass(frozen=True, slots=True)
class Check:
    """One look at the code. The configuration is in pyproject.toml, and in clients/web for the web client."""

    name: str
    command: tuple[str, ...]
    """A program of .venv with its arguments, or `npm run` with a script of clients/web/package.json."""

    @property
    def of_web(self) -> bool:
        return self.command[0] == "npm"

    def holds(self) -> bool:
        """Run it, with its output for the person."""
        program, *arguments = self.command
        return (npm(*arguments) if self.of_web else run((VENV_BIN / program, *arguments), ENVIRONMENT)) == 0


CHECKS: tuple[Check, ...] = (
    Check("rules", ("ruff", "check", ".")),
    Check("format", ("ruff", "format", "--check", ".")),
    Check("types (mypy)", ("mypy",)),
    Check("types (pyright)", ("pyright",)),
    Check("layers", ("lint-imports", "--no-logo")),
    Check("web types", ("npm", "run", "--silent", "check")),
    Check("web rules", ("npm", "run", "--silent", "lint")),
    Check("web format", ("npm", "run", "--silent", "format")),
)

# pyright comes whole in its wheel, with Node.js in another: it must not ask a registry for news.
ENVIRONMENT = {
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    "PYRIGHT_PYTHON_FORCE_VERSION": "",
    "PATH": f"{VENV_BIN}:{os.environ['PATH']}",
}


def check(only: Sequence[str] = ()) -> int:
    """Run the checks whose name starts with one of `only`, or all; returns an exit code."""
    chosen = [one for one in CHECKS if not only or one.name.startswith(tuple(only))]
    if any(one.of_web for one in chosen):
        install_modules()
    rows: list[tuple[str, bool, float]] = []
    for one in chosen:
        print(f"\n== {one.name}: {' '.join(one.command)}", flush=True)
        started_s = time.monotonic()
        holds = one.holds()
        rows.append((one.name, holds, time.monotonic() - started_s))
    print()
    for name, holds, took_s in rows:
        print(f"{name:<18}{'holds' if holds else 'FAILS':<8}{took_s:>6.1f} s")
    return 0 if rows and all(holds for _, holds, _ in rows) else 1
