"""`./dev doctor`: what this machine has and lacks for `./dev`. Changes nothing."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.devtool.packages import STAMP, uv
from deploy.devtool.place import EXIT_CONFIG, ROOT
from deploy.devtool.services import POSTGRES, Program, apt_prefix, find_all
from deploy.devtool.web import (
    DIST,
    INSTALLED,
    NODE_FIXES,
    NODE_LEAST,
    node_of_wheel,
    node_on_path,
    node_version,
)

FREE_BYTES = 2_000_000_000
"""What .venv, .dev and the tests' servers together need, with room."""


def version(program: Program, path: Path) -> str:
    """The first line that the program says about itself."""
    binary = path / "postgres" if program is POSTGRES else path
    flag = "-v" if program.name == "nginx" else "--version"
    try:
        said = subprocess.run([str(binary), flag], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {type(error).__name__}"
    return ((said.stdout + said.stderr).strip().splitlines() or ["says nothing"])[0]


def node_line(folder: Path | None) -> str:
    """Which Node.js the web client's tools run on."""
    if folder is not None:
        return f"{'.'.join(map(str, node_version(folder / 'node') or ()))} ({folder})"
    least = ".".join(map(str, NODE_LEAST))
    return f"none of {least} or newer" + ("" if STAMP.exists() else ": the Python packages bring one")


def web_line() -> str:
    """What there is of the web client."""
    packages = "packages installed" if INSTALLED.exists() else "packages not installed yet"
    return f"{packages}, {'built' if (DIST / 'index.html').exists() else 'not built yet'}"


def doctor() -> int:
    """Print one line for each thing looked at, fixes last; exits 78 when something is missing."""
    fixes: list[str] = []
    node = node_on_path() or node_of_wheel()
    free_bytes = shutil.disk_usage(ROOT).free
    lines = [
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("uv", uv()),
        ("packages", "installed" if STAMP.exists() else "not installed yet: every ./dev command does it"),
        ("node", node_line(node)),
        ("web client", web_line()),
        (
            "system",
            f"{platform.platform()}, {os.cpu_count()} cores, {'root' if os.geteuid() == 0 else 'ordinary user'}",
        ),
        ("apt", "may be used" if apt_prefix() is not None else "is not used: wheels instead"),
        ("disk", f"{free_bytes / 1e9:.1f} GB free"),
    ]
    if node is None and STAMP.exists():
        fixes += NODE_FIXES
    if free_bytes < FREE_BYTES:
        fixes.append(f"disk: {FREE_BYTES / 1e9:.0f} GB free are needed in {ROOT}")
    for program, path in find_all().items():
        if path is None:
            without = "" if program.needed else "; without it, its tests are skipped"
            lines.append((program.name, f"missing: ./dev test installs it{without}"))
            fixes.append(f"{program.name}: ./dev test installs it, or: {program.fix}")
        else:
            lines.append((program.name, f"{version(program, path)} ({path})"))
    for name, said in lines:
        print(f"{name:<12}{said}")
    if fixes:
        print("\nto do:\n" + "\n".join(f"  {fix}" for fix in fixes))
    return EXIT_CONFIG if fixes else 0
