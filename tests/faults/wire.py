"""A thin WebSocket client on `asyncio.Protocol`: hundreds of them fit beside each other on one core.

It speaks what a correct server sends and judges nothing else: masking uses the zero key (RFC 6455 asks for an
unpredictable one, against confused proxies of which there are none here), which leaves the bytes as they are.
Whole frames may be written as made by `masked`; messages arrive by a plain call.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from leeside_protocol.messages import SUBPROTOCOL

NO_CODE: Final = 1006
"""The close code that stands for "it broke without one"."""
_TEXT_END: Final = b"\r\n\r\n"
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA


def masked(payload: bytes, opcode: int = BINARY) -> bytes:
    """A whole client frame that carries the payload."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


UPGRADE: Final = (
    "GET /v1/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()
"""The request that opens a socket."""


class Wire(asyncio.Protocol):
    """One connection. `on_message` gets each binary message; `ended` has the close code once it is over."""

    def __init__(self, on_message: Callable[[bytes], None]) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._open = False
        self._code = NO_CODE
        self.heard_s = asyncio.get_running_loop().time()

    def write(self, frame: bytes) -> None:
        """Hand over whole frames; after the end they are dropped."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def waiting_bytes(self) -> int:
        """What was written and has not left this process."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def stop_reading(self) -> None:
        """Read nothing more, as a client whose process hangs."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def read_again(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, though they have all their methods.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self._code)

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        buffer = self._buffer
        buffer += data
        if not self._open:
            end = buffer.find(_TEXT_END)
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self.abort()
                return
            self._open = True
            del buffer[: end + len(_TEXT_END)]
        self._take_frames(buffer)

    def _take_frames(self, buffer: bytearray) -> None:
        start = 0
        available = len(buffer)
        while available - start >= 2:
            opcode, size, begin = buffer[start] & 0x0F, buffer[start + 1], start + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                if available - begin < width:
                    break
                size = int.from_bytes(buffer[begin : begin + width], "big")
                begin += width
            if available - begin < size:
                break
            start = begin + size
            payload = bytes(buffer[begin:start])
            if opcode == BINARY:
                self._on_message(payload)
            elif opcode == PING:
                self.write(masked(payload, PONG))
            elif opcode == CLOSE:
                self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE
                self.write(masked(payload[:2], CLOSE))
                if self._transport is not None:
                    self._transport.close()
                break
        del buffer[:start]


async def connect(wire: Wire, host: str, port: int, deadline_s: float, receive_bytes: int = 0) -> None:
    """Connect and ask for the upgrade; messages may arrive before this returns. Raises `OSError` or `TimeoutError`.

    `receive_bytes` bounds what the kernel takes for a client that does not read; 0 leaves it as it is.
    """
    loop = asyncio.get_running_loop()
    handle = socket.socket()
    try:
        handle.setblocking(False)
        if receive_bytes:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(deadline_s):
            await loop.sock_connect(handle, (host, port))
            await loop.create_connection(lambda: wire, sock=handle)
    except BaseException:
        handle.close()
        raise
