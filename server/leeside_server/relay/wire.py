"""What a session needs from a connection, and the one that works on every ASGI server.

`Wire` has two implementations: `Direct` (relay/direct.py) writes to uvicorn's transport without a task or a
queue for each connection; `QueueWire`, here, goes through ASGI messages: slower, and correct.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from leeside_protocol.errors import CloseCode
from leeside_protocol.limits import HIGH_WATER_BYTES
from leeside_server.relay.frames import payloads

LOW_WATER_BYTES: Final = HIGH_WATER_BYTES // 4
"""A congested connection counts as writable again at this many unsent bytes."""
SEND_TIMEOUT_S: Final = 30.0


class WireUser(Protocol):
    """What a connection tells its session. Called on the event loop; must not block or raise."""

    def on_message(self, data: bytes) -> None:
        """A whole binary message arrived."""
        ...

    def on_sign_of_life(self) -> None:
        """A ping or pong arrived."""
        ...

    def on_violation(self, code: CloseCode) -> None:
        """The peer broke the rules of WebSocket or of its use here: close with this code."""
        ...

    def on_congested(self) -> None:
        """More than `HIGH_WATER_BYTES` are unsent."""
        ...

    def on_writable(self) -> None:
        """Congestion has ended."""
        ...

    def on_shutdown(self) -> None:
        """The server is about to stop: finish what was begun, then close."""
        ...

    def on_close(self) -> None:
        """The connection is gone. The last call."""
        ...


class Wire(Protocol):
    """One accepted WebSocket. Nothing here waits: what cannot be sent yet is buffered by the connection, and
    the session sees to it that this stays within bounds."""

    def write(self, frames: bytes) -> None:
        """Send whole frames (of `frames.frame`). After `close` nothing is sent."""
        ...

    def close(self, code: CloseCode) -> None:
        """Send a close frame behind what was written, and end the connection within seconds."""
        ...

    def abort(self) -> None:
        """End the connection at once; what is buffered is not sent."""
        ...

    def pause(self) -> None:
        """Stop reading (backpressure)."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def buffered(self) -> int:
        """Bytes accepted by `write` and not yet taken by the system."""
        ...

    def unsent(self) -> int:
        """Bytes that the peer may still be given: `buffered`, or what the system holds where it tells."""
        ...


class QueueWire:
    """A `Wire` over ASGI's receive and send. Call `run` after the handshake; it returns when all is over."""

    __slots__ = (
        "_aborted",
        "_bytes",
        "_closing",
        "_congested",
        "_queue",
        "_reading",
        "_socket",
        "_user",
        "_wake",
    )

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._user: WireUser | None = None
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._aborted = asyncio.Event()
        self._closing: CloseCode | None = None
        self._congested = False

    def write(self, frames: bytes) -> None:
        if self._closing is not None or self._aborted.is_set():
            return
        self._queue.append(frames)
        self._bytes += len(frames)
        self._wake.set()
        if self._bytes > HIGH_WATER_BYTES and not self._congested and self._user is not None:
            self._congested = True
            self._user.on_congested()

    def close(self, code: CloseCode) -> None:
        if self._closing is None:
            self._closing = code
            self._wake.set()

    def abort(self) -> None:
        self._aborted.set()

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def buffered(self) -> int:
        return self._bytes

    def unsent(self) -> int:
        return self._bytes

    async def run(self, user: WireUser) -> None:
        """Carry messages both ways until either side ends."""
        self._user = user
        try:
            async with asyncio.TaskGroup() as group:
                halves = (
                    group.create_task(self._send()),
                    group.create_task(self._receive(user)),
                    group.create_task(self._until_aborted()),
                )
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
                for half in halves:
                    half.cancel()
        finally:
            user.on_close()

    async def _until_aborted(self) -> None:
        await self._aborted.wait()

    async def _receive(self, user: WireUser) -> None:
        while True:
            await self._reading.wait()
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("bytes")
            if data is None:
                user.on_violation(CloseCode.PROTOCOL)
                # The close frame is the sending half's work; `run` ends with it.
                await self._aborted.wait()
            else:
                user.on_message(data)

    async def _send(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._drain()
                if self._closing is not None:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._socket.close(int(self._closing), self._closing.label)
                    return
        except (WebSocketDisconnect, TimeoutError, RuntimeError):
            # The peer is gone or takes nothing; Starlette says the former in two ways.
            return

    async def _drain(self) -> None:
        while self._queue:
            frames = self._queue.popleft()
            for payload in payloads(frames):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._socket.send_bytes(payload)
            self._bytes -= len(frames)
            if self._congested and self._bytes <= LOW_WATER_BYTES and self._user is not None:
                self._congested = False
                self._user.on_writable()
