"""Where a connection comes from: what it is counted against, and who may speak without TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_server.log import get_logger

Network: TypeAlias = IPv4Network | IPv6Network

REPORT_EVERY_S: Final = 60.0
_FORBIDDEN: Final = WireError.FORBIDDEN
REFUSAL: Final = msgspec.json.encode(
    r.ErrorAnswer(
        _FORBIDDEN.label,
        int(_FORBIDDEN),
        _FORBIDDEN.may_retry,
        "this port is for its TLS proxy alone: use https://",
    )
)

_log = get_logger("leeside.relay")


def source_of(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address that a request or a socket is counted against: IPv4 whole, IPv6 by /64, which is what one
    customer has.

    `forwarded` are the values of `X-Forwarded-For`. They are believed only from a trusted proxy, and then only
    the rightmost address that is not a trusted proxy itself: what stands left of it the client may have invented.
    """
    if peer is None:
        return "local"
    chain = [part.strip() for line in forwarded for part in line.split(",")]
    source = peer
    while chain and _within(_address(source), proxies):
        source = chain.pop()
    found = _address(source)
    if found is None:
        return "unknown"
    return found.packed[:8].hex() if isinstance(found, IPv6Address) else str(found)


class ProxiesOnly:
    """An ASGI app that hears only this machine and the proxies; all others get 403 before anything of theirs but
    the request's header was looked at.

    For a server without TLS of its own on an address that others can reach: who goes past the proxy would send
    tokens in the open, and could claim any address.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = tuple(proxies)
        self._refused = 0
        self._reported_s = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may_speak(scope):
            await self._app(scope, receive, send)
            return
        self._report(scope["type"])
        response = Response(REFUSAL, 403, {"Connection": "close"}, media_type=r.JSON)
        await response(scope, _no_body, send)

    def _may_speak(self, scope: Scope) -> bool:
        client: tuple[str, int] | None = scope.get("client")
        found = None if client is None else _address(client[0])
        return found is not None and (found.is_loopback or _within(found, self._proxies))

    def _report(self, kind: str) -> None:
        """One line a minute with how many there were, so that a flood fills no log."""
        self._refused += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._reported_s >= REPORT_EVERY_S:
            _log.warning("plain_peer_refused", kind=kind, count=self._refused)
            self._reported_s, self._refused = now_s, 0


async def _no_body() -> Message:
    raise AssertionError("a refusal reads nothing")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address; an IPv4 one that a dual-stack socket shows as IPv6 is IPv4. None for anything else.

    Some proxies write the client's port behind it: without it they would count a whole city as one source.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _within(found: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return found is not None and any(found in network for network in networks)
