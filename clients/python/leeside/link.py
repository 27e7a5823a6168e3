"""The wire under a connection: frames out, frames in, one end. Real sockets here, anything in tests.

A `Link` carries whole binary frames in order and knows nothing of their content. `Dialer` makes one; it is the
only place of this library that opens a WebSocket.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from leeside.api import is_loopback
from leeside_protocol.limits import FRAME_BYTES
from leeside_protocol.messages import SUBPROTOCOL

DIAL_TIMEOUT_S: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 2.0
NO_CODE: Final = 1006
"""The close code that stands for "it broke without one" (RFC 6455, 7.1.5)."""


class Clock(Protocol):
    """Time as an argument."""

    def now_ms(self) -> int:
        """Unix time, as people see it. May jump."""
        ...

    def monotonic_s(self) -> float:
        """For delays and time-outs. Never jumps; runs like the event loop's."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class LinkClosed(Exception):
    """The link is over; `code` is the peer's close code, or 1006 when it broke without one."""

    def __init__(self, code: int = NO_CODE) -> None:
        super().__init__(f"link closed with {code}")
        self.code = code


class Link(Protocol):
    """One open socket."""

    async def send(self, data: bytes) -> None:
        """Hand over one frame; waits while the peer does not read. Raises `LinkClosed`."""
        ...

    async def receive(self) -> bytes:
        """The next frame. Raises `LinkClosed`. Cancelling it loses nothing."""
        ...

    async def close(self) -> None:
        """End it within seconds; never raises `LinkClosed`."""
        ...


class Dialer(Protocol):
    """Opens links to one server."""

    async def dial(self) -> Link:
        """A new link. Raises `LinkClosed` when there is none to be had now."""
        ...


class WebSocketDialer:
    """Opens `wss://…/v1/socket` with the subprotocol `leeside.v1`.

    `base_url` is the HTTP address of the server; `tls` verifies certificates (None for the defaults).
    """

    def __init__(self, base_url: str, tls: ssl.SSLContext | None = None) -> None:
        scheme, separator, rest = base_url.rstrip("/").partition("://")
        if not separator or scheme not in {"http", "https"}:
            raise ValueError("the server's address begins with http:// or https://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/socket"
        self._tls: ssl.SSLContext | bool | None = (tls or True) if scheme == "https" else None
        # A proxy of the environment is for the world, not for this machine.
        self._proxy: Literal[True] | None = None if is_loopback(urlsplit(base_url).hostname or "") else True

    async def dial(self) -> Link:
        try:
            socket = await connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                # Ciphertext does not compress, and compressed bombs do.
                compression=None,
                max_size=FRAME_BYTES,
                open_timeout=DIAL_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                # The protocol has heartbeats of its own, which carry the heads of logs.
                ping_interval=None,
                user_agent_header="leeside-python",
                proxy=self._proxy,
                ssl=self._tls,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed):
            raise LinkClosed from None
        if socket.subprotocol != SUBPROTOCOL:
            await socket.close()
            raise LinkClosed
        return _WebSocketLink(socket)


class _WebSocketLink:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send(data)
        except (ConnectionClosed, OSError) as error:
            raise LinkClosed(_code(error)) from None

    async def receive(self) -> bytes:
        try:
            data = await self._socket.recv(decode=False)
        except (ConnectionClosed, OSError) as error:
            raise LinkClosed(_code(error)) from None
        return bytes(data)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S + 1):
                await self._socket.close()
        except (ConnectionClosed, OSError, TimeoutError):
            return


def _code(error: Exception) -> int:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return error.rcvd.code
    return NO_CODE
