"""Addresses of our own on the loopback, for servers that refuse 127.0.0.1 as a peer, as a TURN server must.

They are documentation addresses (RFC 5737, RFC 3849): no real network uses them. The kernel takes each back after
`LIFETIME_S` by itself, so that a killed test leaves nothing behind for long.
"""

import contextlib
import ipaddress
import os
import secrets
import shutil
import subprocess
from collections.abc import Generator
from typing import Final

LIFETIME_S: Final = 3_600
ATTEMPTS: Final = 20
"""Other tests on this machine add such addresses too: one that is taken is left to them."""
NET4: Final = ipaddress.IPv4Network("192.0.2.0/24")
NET6: Final = ipaddress.IPv6Network("2001:db8::/32")


class NoAddress(RuntimeError):
    """This machine gives us no address; the text says why."""


def prefix() -> tuple[str, ...]:
    """What to put before `ip` to be allowed to change addresses. Raises `NoAddress`."""
    if shutil.which("ip") is None:
        raise NoAddress("there is no `ip` on this machine (iproute2)")
    if os.geteuid() == 0:
        return ()
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ("sudo", "-n")
    raise NoAddress("only root may add an address to the loopback")


def change(verb: str, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Add or remove one address."""
    bits = ipaddress.ip_address(address).max_prefixlen
    return subprocess.run(
        [*prefix(), "ip", "address", verb, f"{address}/{bits}", "dev", "lo", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def some_address(version: int) -> str:
    """An address that documentation may use, and we."""
    if version == 4:
        return str(NET4[1 + secrets.randbelow(NET4.num_addresses - 2)])
    return str(NET6[secrets.randbits(64)])


def add_address(version: int) -> str:
    """Put an address that nobody had on the loopback. Raises `NoAddress`."""
    lifetime = ("valid_lft", str(LIFETIME_S), "preferred_lft", str(LIFETIME_S))
    problem = ""
    for _ in range(ATTEMPTS):
        address = some_address(version)
        # Without `nodad` an IPv6 address cannot be used until the kernel has asked whether somebody else has it.
        done = change("add", address, *lifetime, *(("nodad",) if version == 6 else ()))
        if done.returncode == 0:
            return address
        problem = done.stderr.strip()
    raise NoAddress(f"the loopback takes no further address: {problem}")


@contextlib.contextmanager
def own_addresses(*versions: int) -> Generator[tuple[str, ...]]:
    """Fresh addresses on the loopback, one for each IP version named, for as long as the block runs. Raises `NoAddress`."""
    with contextlib.ExitStack() as stack:
        addresses: list[str] = []
        for version in versions:
            addresses.append(add_address(version))
            stack.callback(change, "del", addresses[-1])
        yield tuple(addresses)
