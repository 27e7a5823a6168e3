"""Where things lie in the checkout, and how `./dev` speaks: one line at a time, on standard error."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_BIN = VENV / "bin"
OWN = ROOT / ".dev"
BYTECODE = OWN / "bytecode"
"""Compiled Python, where the environment asks for none beside the sources."""

EXIT_CONFIG = 78
"""Exit code (EX_CONFIG of sysexits.h) when this machine lacks something and `./dev` has printed the exact fix."""


class Stop(SystemExit):
    """This machine lacks something; the fix has been printed. Exits with `EXIT_CONFIG`."""

    def __init__(self, problem: str, fixes: Sequence[str]) -> None:
        super().__init__(EXIT_CONFIG)
        self.problem = problem
        self.fixes = tuple(fixes)


def say(*words: object) -> None:
    """Tell the person what happens; standard output stays free for results."""
    print("dev:", *words, file=sys.stderr, flush=True)


def stop(problem: str, *fixes: str) -> NoReturn:
    """End with the exact fix, a line each. Raises `Stop`."""
    say(problem)
    for fix in fixes:
        print("      ", fix, file=sys.stderr, flush=True)
    raise Stop(problem, fixes)


def keep_bytecode(environment: MutableMapping[str, str]) -> None:
    """Have every Python that is started with this environment keep what it compiled.

    Images and CI like to set PYTHONDONTWRITEBYTECODE; then each of the hundreds of processes that tests start would
    compile all of its imports anew, a second and more each time. The sources' folders stay clean all the same.
    """
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None, folder: Path = ROOT) -> int:
    """Run a program in the root, or another folder, with the terminal's own input and output; returns its exit code.

    A program that ended by a signal gives 128 + the signal's number, as a shell would.
    """
    words = [str(word) for word in command]
    sys.stdout.flush()
    try:
        code = subprocess.run(words, cwd=folder, env={**os.environ, **(env or {})}, check=False).returncode
    except FileNotFoundError:
        stop(
            f"{shlex.join(words)}: no such program.",
            "Remove .venv and .dev in this folder and run ./dev again.",
        )
    return 128 - code if code < 0 else code
