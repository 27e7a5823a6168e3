"""Builds what of the server is written in C: the fast way of packets (`server/leeside_server/video/*.c`).

A plain shared library without Python's headers: the C compiler is all it needs, and any Python can use it. It is built for Linux
alone, whose system calls it makes. Where it is not there, packets take the plain way. Used by `./dev` and by the wheel's hook.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "server/leeside_server/video"
LIBRARY = FOLDER / "_ways.so"
SOURCES = tuple(FOLDER / name for name in ("ways.h", "fan.c", "intake.c", "shelf.c", "reports.c"))
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wconversion")
PACKAGES = ("gcc", "libc6-dev")
"""Of Debian, where there is no compiler."""


class BuildFailed(Exception):
    """The compiler refused; the text is what it said."""


def sources() -> str:
    """What the library says it was built from; `fastways` asks it the same."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in SOURCES)).hexdigest()


def compiler() -> list[str] | None:
    """The C compiler's command: $CC, or what there is; None: nothing."""
    if given := os.environ.get("CC"):
        return shlex.split(given)
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def wanted() -> bool:
    """Whether this system can have it, and does not, or of other sources."""
    return sys.platform.startswith("linux") and not (
        LIBRARY.exists() and sources().encode("ascii") in LIBRARY.read_bytes()
    )


def build(with_compiler: list[str], library: Path = LIBRARY, *more: str) -> None:
    """Build it, in place of what was there. Raises `BuildFailed`."""
    made = library.with_suffix(f".{os.getpid()}")
    told = f'-DWAYS_SOURCES="{sources()}"'
    command = [*with_compiler, *FLAGS, *more, told, "-o", str(made), *map(str, SOURCES[1:])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildFailed(done.stderr.strip())
        # A worker that has the one before loaded keeps it.
        made.replace(library)
    except OSError as problem:
        raise BuildFailed(str(problem)) from problem
    finally:
        made.unlink(missing_ok=True)
