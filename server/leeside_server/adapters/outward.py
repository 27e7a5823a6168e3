"""Requests from this server to the world: only to hosts that its operator names, and only to public addresses.

An address may come from outside, so it is not believed: it must be https at a host of the list, and what the name leads to is
looked at when the connection is made, and must be public. So nobody can have this server speak to a machine of the operator's
own network. A loopback host that the list names is taken as it is, without TLS too. No proxy, no redirect, no cookie; of an
answer nothing but its status is read.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    import httpcore

LATER: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say: again, later."""
LOOKUPS: Final = 4
"""Names looked up at once, by threads of their own: where names are answered slowly or never, as in a network without
the internet, the threads that everybody shares must stay free for the names of the store and of the bus."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is public (RFC 4291, section 2.4); Python calls public what is reserved or no longer used, too."""
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+")


class NotPublic(Exception):
    """The name leads to no address that this server may speak to."""


class Unanswered(Exception):
    """No answer came: nobody there, or a connection that ended or said nothing in time. It may also have arrived."""


class Outward:
    """`hosts`: names, or `*.name` for all below one. `connections`: how many are open at once; who finds none waits."""

    def __init__(self, hosts: Sequence[str], connections: int) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._most = connections
        self._connections: httpcore.AsyncConnectionPool | None = None
        self._making = asyncio.Lock()
        self._lookups = ThreadPoolExecutor(LOOKUPS, "outward-lookup")

    def read(self, url: str) -> SplitResult | None:
        """The address in parts; None where this server does not go."""
        if not url.isascii() or not url.isprintable() or " " in url:
            return None
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises for what is no port
        except ValueError:
            return None
        host = parts.hostname or ""
        named = any(
            host == one or (one.startswith("*.") and host.endswith(one[1:]) and _NAME.fullmatch(host))
            for one in self._hosts
        )
        schemes = {"https", "http"} if is_loopback(host) else {"https"}
        if not named or parts.scheme not in schemes or "@" in parts.netloc or parts.fragment:
            return None
        return parts

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes, deadline_s: float) -> int:
        """The status of the answer. `url` was read. Raises `NotPublic`, `Unanswered`."""
        connections = await self.ready()
        import httpcore

        sent = [*headers, ("Content-Length", str(len(body)))]
        try:
            async with (
                asyncio.timeout(deadline_s),
                connections.stream("POST", url, headers=sent, content=body) as answer,
            ):
                return answer.status
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            OSError,
            TimeoutError,
        ):
            raise Unanswered from None

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.aclose()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def ready(self) -> httpcore.AsyncConnectionPool:
        """Made when first wanted: at the start of a server clients wait. By a thread: a library is loaded for it, and every
        authority's certificate, which takes a busy machine a second in which nothing else would be answered."""
        async with self._making:
            if self._connections is None:
                loopbacks = frozenset(host for host in self._hosts if is_loopback(host))
                self._connections = await asyncio.to_thread(
                    _connections, loopbacks, self._lookups, self._most
                )
            return self._connections


def _connections(loopbacks: frozenset[str], lookups: Executor, most: int) -> httpcore.AsyncConnectionPool:
    import httpcore

    class Public(httpcore.AsyncNetworkBackend):
        """Connects to public addresses alone: looked up once, and connected to as they were looked at."""

        def __init__(self) -> None:
            self._plain = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
        ) -> httpcore.AsyncNetworkStream:
            may = is_loopback if host in loopbacks else is_public
            address = await resolve(host, port, may, lookups)
            stream = await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            try:
                stream.get_extra_info("ssl_object")
            except AttributeError:
                # What anyio has to say, on uvloop, of a connection that was cut as soon as it was made.
                raise httpcore.ConnectError from None
            return stream

        async def sleep(self, seconds: float) -> None:
            await self._plain.sleep(seconds)

    # What makes connections is loaded at its first use: in a loop of this thread's own, and not between a page and its call.
    asyncio.run(Public().sleep(0.0))
    return httpcore.AsyncConnectionPool(max_connections=most, keepalive_expiry=60.0, network_backend=Public())


async def resolve(host: str, port: int, may: Callable[[str], bool], lookups: Executor) -> str:
    """An address of this name that may be connected to. Raises `NotPublic`, and `OSError` where there is no such name."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    for *_, (address, *_rest) in found:
        if may(str(address)):
            return str(address)
    raise NotPublic


def is_public(address: str) -> bool:
    """Whether this address belongs to the public internet, and to no part of anybody's own network."""
    found = _address(address)
    if found is None or not found.is_global or found.is_multicast:
        return False
    return isinstance(found, IPv4Address) or found in _UNICAST


def is_loopback(host: str) -> bool:
    """Whether this is the machine itself."""
    found = _address(host)
    return host == "localhost" or (found is not None and found.is_loopback)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that is meant: one of IPv4 may stand inside one of IPv6."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found in _NAT64:
            return IPv4Address(found.packed[12:])
        return found.ipv4_mapped or found.sixtofour or found
    return found
