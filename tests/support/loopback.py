"""Addresses of our own on the loopback, for servers that refuse 127.0.0.1 as a peer, as a TURN server must.

They are documentation addresses (RFC 5737, RFC 3849): no real network uses them. One test process has an address at a time.
They stay when it ends, and the kernel takes them back after a day: a browser takes every change of addresses for a new
network, and lets go of what it was loading.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final, TextIO

LIFETIME_S: Final = 86_400
POOL: Final = 32
"""Addresses of each IP version that tests share."""
LOCKS: Final = Path(tempfile.gettempdir()) / "leeside-addresses"


class NoAddress(RuntimeError):
    """This machine gives us no address; the text says why."""


def prefix() -> tuple[str, ...]:
    """What to put before `ip` to be allowed to change addresses. Raises `NoAddress`."""
    if shutil.which("ip") is None:
        raise NoAddress("there is no `ip` on this machine (iproute2)")
    if os.geteuid() == 0:
        return ()
    sudo = ("sudo", "-n")
    if (
        shutil.which("sudo")
        and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    ):
        return sudo
    raise NoAddress("only root may add an address to the loopback")


def add_address(address: str) -> None:
    """Have the address on the loopback for a day from now. Raises `NoAddress`."""
    lifetime = ("valid_lft", str(LIFETIME_S), "preferred_lft", str(LIFETIME_S))
    # Without `nodad` an IPv6 address cannot be used until the kernel has asked whether somebody else has it.
    options = ("nodad",) if ":" in address else ()
    bits = 128 if ":" in address else 32
    done = subprocess.run(
        [*prefix(), "ip", "address", "replace", f"{address}/{bits}", "dev", "lo", *options, *lifetime],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoAddress(f"the loopback does not take {address}: {done.stderr.strip()}")


def numbered(version: int, number: int) -> str:
    """The address of this number in the pool."""
    return f"192.0.2.{200 + number}" if version == 4 else f"2001:db8:6c65::{200 + number:x}"


def take(version: int) -> tuple[str, TextIO]:
    """An address that no other test process has, and the lock that says so. Raises `NoAddress`."""
    LOCKS.mkdir(mode=0o777, exist_ok=True)
    for number in range(POOL):
        address = numbered(version, number)
        lock = (LOCKS / address).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        add_address(address)
        return address, lock
    raise NoAddress(f"all {POOL} addresses are in use by other tests on this machine")


@contextlib.contextmanager
def own_addresses(*versions: int) -> Generator[tuple[str, ...]]:
    """Addresses on the loopback that nobody else has, one for each IP version named. Raises `NoAddress`."""
    with contextlib.ExitStack() as stack:
        addresses: list[str] = []
        for version in versions:
            address, lock = take(version)
            stack.enter_context(lock)
            addresses.append(address)
        yield tuple(addresses)


def own_address() -> str:
    """The IPv4 address by which this machine is in a network, for programs that do not use the loopback's. Nothing is sent, and
    nothing added. Raises `NoAddress`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((numbered(4, 0), 9))
        except OSError as error:
            raise NoAddress(f"this machine is in no network: {error.strerror}") from None
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        raise NoAddress("this machine has the loopback alone")
    return address
