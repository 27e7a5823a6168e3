"""The `Push` port over the web's push services: RFC 8030 (HTTP), RFC 8291 (encryption), RFC 8292 (who we are).

An endpoint comes from a browser, so it is not believed: it must be https at a host of the operator's list, and the address
that the name leads to is looked at when the connection is made, and must be public. So nobody can have this server speak
to a machine of the operator's own network. A loopback host that the list names is taken as it is, without TLS too.

What is encrypted is always the same few words; that it is encrypted is what push services ask for. The primitives are
those of `cryptography`; what RFC 8291 makes of them is compared with its own example in tests.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leeside_server.ports import WAITING, Clock, PushGone, PushRefused, PushUnavailable, Subscription

if TYPE_CHECKING:
    import httpcore

SEND_S: Final = 10.0
CONNECTIONS: Final = 32
RECORD_BYTES: Final = 4_096
TOKEN_LIFE_S: Final = 12 * 3_600
"""A push service takes 24 hours at most (RFC 8292, section 2)."""
TOKEN_NEW_S: Final = 3_600
_GONE: Final = frozenset({404, 410})
_LATER: Final = frozenset({408, 425, 429})
_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is public (RFC 4291, section 2.4); Python calls public what is reserved or no longer used, too."""
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+")
LOOKUPS: Final = 4
"""Names looked up at once, by threads of their own: where names are answered slowly or never, as in a network without
the internet, the threads that everybody shares must stay free for the names of the store and of the bus."""


class WebPush:
    """Pushes as the holder of `private`. `hosts`: names, or `*.name` for all below one; none: nothing is pushed.

    `contact` is a `mailto:` or `https:` address where a push service reaches who runs this server.
    """

    def __init__(
        self, private: EllipticCurvePrivateKey, hosts: Sequence[str], contact: str, clock: Clock
    ) -> None:
        self._private = private
        self._hosts = tuple(host.lower() for host in hosts)
        self._contact = contact
        self._clock = clock
        self._key = uncompressed(private.public_key()) if hosts else b""
        self._tokens: dict[str, tuple[int, str]] = {}
        self._connections: httpcore.AsyncConnectionPool | None = None
        self._lookups = ThreadPoolExecutor(LOOKUPS, "push-lookup")

    @property
    def key(self) -> bytes:
        return self._key

    def permits(self, endpoint: str) -> bool:
        return self._read(endpoint) is not None

    async def send(self, to: Subscription, payload: bytes, ttl_s: int, topic: str = WAITING) -> None:
        parts = self._read(to.endpoint)
        if parts is None:
            raise PushRefused(0)
        import httpcore

        body = encrypt(payload, to.public, to.auth, generate_private_key(SECP256R1()), os.urandom(16))
        headers = [
            ("Host", parts.netloc),
            ("Authorization", f"vapid t={self._token(parts)}, k={_text(self._key)}"),
            ("Content-Encoding", "aes128gcm"),
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(len(body))),
            ("TTL", str(ttl_s)),
            ("Urgency", "high"),
            # One that waits for a phone without a network takes the place of the one before (RFC 8030, section 5.4).
            ("Topic", topic),
        ]
        try:
            async with (
                asyncio.timeout(SEND_S),
                self._pool().stream("POST", to.endpoint, headers=headers, content=body) as answer,
            ):
                status = answer.status
        except NotPublic:
            raise PushRefused(0) from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            OSError,
            TimeoutError,
        ):
            raise PushUnavailable from None
        if status in _GONE:
            raise PushGone
        if status in _LATER or status >= 500:
            raise PushUnavailable
        if not 200 <= status < 300:
            raise PushRefused(status)

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.aclose()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def _read(self, endpoint: str) -> SplitResult | None:
        """The endpoint in parts; None where this server does not go."""
        if not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
            return None
        try:
            parts = urlsplit(endpoint)
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

    def _token(self, parts: SplitResult) -> str:
        """Who we are, told to one push service (RFC 8292, section 2). Made once an hour: a signature costs more than a
        push otherwise would."""
        audience = f"{parts.scheme}://{parts.netloc}"
        now_s = self._clock.now_ms() // 1000
        made_s, token = self._tokens.get(audience, (0, ""))
        if not token or not 0 <= now_s - made_s < TOKEN_NEW_S:
            claims: dict[str, Any] = {"aud": audience, "exp": now_s + TOKEN_LIFE_S}
            if self._contact:
                claims["sub"] = self._contact
            token = jwt.encode(claims, self._private, algorithm="ES256")
            if len(self._tokens) >= CONNECTIONS:
                self._tokens.clear()
            self._tokens[audience] = (now_s, token)
        return token

    def _pool(self) -> httpcore.AsyncConnectionPool:
        """Made when first wanted: at the start of a server clients wait. No proxy, no redirect, no cookie."""
        if self._connections is None:
            loopbacks = frozenset(host for host in self._hosts if is_loopback(host))
            self._connections = _connections(loopbacks, self._lookups)
        return self._connections


class NotPublic(Exception):
    """The name leads to no address that this server may speak to."""


def _connections(loopbacks: frozenset[str], lookups: Executor) -> httpcore.AsyncConnectionPool:
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
            return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)

        async def sleep(self, seconds: float) -> None:
            await self._plain.sleep(seconds)

    return httpcore.AsyncConnectionPool(
        max_connections=CONNECTIONS, keepalive_expiry=60.0, network_backend=Public()
    )


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


def encrypt(payload: bytes, public: bytes, auth: bytes, own: EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """The body of a push (RFC 8291, section 3.4; RFC 8188): one record. `own` and `salt` serve once.

    `public` is a point on P-256, uncompressed; `ValueError` when it is none.
    """
    theirs = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
    ours = uncompressed(own.public_key())
    secret = _derive(own.exchange(ECDH(), theirs), auth, b"WebPush: info\0" + public + ours, 32)
    key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack(">IB", RECORD_BYTES, len(ours)) + ours
    return header + AESGCM(key).encrypt(nonce, payload + b"\x02", None)


def uncompressed(key: EllipticCurvePublicKey) -> bytes:
    """The point in 65 bytes, as browsers have it."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
