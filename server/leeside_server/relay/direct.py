"""WebSockets without a task, queue or coroutine for each connection: uvicorn's protocol class, cut open.

Theory of operation. uvicorn parses and answers the handshake as always, and Starlette routes it. The ASGI app
finds the extension `leeside.direct` in the scope: a `Direct`, which is the connection itself. It attaches its
session, accepts, *detaches* and returns; from then on messages arrive by a plain call in the read callback,
and whole frames are written straight to the transport. What ASGI needed for the connection is let go.

Nearly all that clients send are whole, masked, final binary frames. `data_received` takes these apart itself, and gives
every other frame to the parser of `websockets`, whole, so that this always stands at a frame's beginning; what is wrong
with a frame is the parser's to say. `tests/relay/test_frames.py` holds both ways to the same answers.

What is ugly here, and said: this subclass leans on names of uvicorn that are not public, so uvicorn is pinned
exactly and `tests/relay/test_direct.py` holds every one of those names in place.

Bounds set here, each because a default was found too wide by trying: messages of `FRAME_BYTES`,
`FRAGMENTS` frames a message, no compression, no text, `SNDBUF_BYTES` in the kernel, `USER_TIMEOUT_MS` for a
peer that vanished, `CLOSE_WAIT_S` for the closing handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import OPEN, Protocol

from leeside_protocol.errors import CloseCode
from leeside_protocol.limits import FRAME_BYTES, HIGH_WATER_BYTES
from leeside_server.relay.frames import close_frame
from leeside_server.relay.wire import LOW_WATER_BYTES, WireUser

try:
    from websockets.speedups import apply_mask
except ImportError:  # where its C part was not built
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent

EXTENSION: Final = "leeside.direct"
FRAGMENTS: Final = 64
"""Frames that one message may come in: endless empty ones would never end it."""
SNDBUF_BYTES: Final = 131_072
USER_TIMEOUT_MS: Final = 40_000
"""Beyond `STALL_S`: the kernel counts a peer that answers and takes nothing as gone, and would reset it before the
session could close it with `slow`."""
CLOSE_WAIT_S: Final = 5.0
SIOCOUTQNSD: Final = 0x894B
"""Linux (linux/sockios.h): bytes that the kernel has not sent yet. What is on its way, and not confirmed, is not in it."""
BINARY_FINAL: Final = 0x82
MASKED: Final = 0x80
MASK_BYTES: Final = 4
LENGTH_16: Final = 126
LENGTH_64: Final = 127
"""What a frame's second byte says (RFC 6455, section 5.2): masked, and where its length stands."""
PAYLOAD_TOO_BIG: Final = 1009
"""The standard close code that the parser chooses for what exceeds `FRAME_BYTES`."""


class _NoQueue:
    """Stands where the ASGI queue was: a detached connection has nobody to read it."""

    __slots__ = ()

    def put_nowait(self, _event: object) -> None: ...

    def empty(self) -> bool:
        return True


class _Always:
    """Stands where the event for writers was: nobody waits for a detached connection."""

    __slots__ = ()

    def set(self) -> None: ...

    def clear(self) -> None: ...


_ALWAYS: Final = cast("asyncio.Event", _Always())
HANDSHAKE_ONLY: Final = (
    "scope", "request", "response", "server", "client", "scheme", "root_path", "asgi_version", "app_state",
    "default_headers", "tasks", "config", "app", "initial_response", "ping_interval", "ping_timeout",
    "ping_sent_at", "last_ping_rtt", "curr_msg_data_type", "close_timeout", "handshake_initiated",
)  # fmt: skip
"""Attributes that no callback of a detached connection reads (held by the contract test)."""
_NO_QUEUE: Final = cast("asyncio.Queue[ASGIReceiveEvent]", _NoQueue())


class DirectSocket(WebSocketsSansIOProtocol):
    """uvicorn's `ws=` class. The app calls `attach` before it accepts and `detach` after; until then, and if
    it never does, this is the protocol it is made from, with the bounds above."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn.max_message_size = FRAME_BYTES
        self.conn.max_fragment_size = None
        self.conn.available_extensions = None
        self.user: WireUser | None = None
        self.detached = False
        self.fragments = 0
        self.rest: bytes | None = b""

    def take_request(self, request: Request) -> None:
        """Answer an upgrade whose header was parsed already; call once, after `connection_made`. The parser goes on
        with frames, as it would behind a header of its own."""
        self.conn.parser = Protocol.parse(self.conn)
        next(self.conn.parser)
        self.handle_connect(request)

    # ---- Wire, as the session uses it

    def write(self, frames: bytes) -> None:
        if not self.close_sent:
            self.transport.write(frames)

    def close(self, code: CloseCode) -> None:
        if self.close_sent:
            return
        self.close_sent = True
        if self.transport.is_closing():
            return
        self.transport.write(close_frame(code))
        self.resume()
        self.close_timer = self.loop.call_later(CLOSE_WAIT_S, self.abort)

    def abort(self) -> None:
        """Also drops what the kernel still holds: who lost access must not be sent even that."""
        handle = self.transport.get_extra_info("socket")
        if handle is not None:
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def pause(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def unsent(self) -> int:
        held = self.buffered()
        if held or sys.platform != "linux":
            return held
        handle = self.transport.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(handle.fileno(), SIOCOUTQNSD, bytes(4)), sys.byteorder)
        except (OSError, ValueError, AttributeError):
            # It is closed: nothing goes out any more.
            return 0

    def attach(self, user: WireUser) -> None:
        """Let `user` have every message from now on. Call before accepting, so that none slips by."""
        self.user = user

    def detach(self) -> None:
        """The app is about to return and leaves the connection open."""
        self.detached = True

    # ---- asyncio's and uvicorn's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        handle = transport.get_extra_info("socket")
        if handle is not None:
            # Neither is worth a connection: the user-space bounds hold without them.
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF_BYTES)
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        user, self.user = self.user, None
        if user is not None:
            user.on_close()

    def data_received(self, data: bytes) -> None:
        user, rest = self.user, self.rest
        if user is None or rest is None:
            super().data_received(data)
            return
        if rest:
            data = rest + data
        at, size, conn = 0, len(data), self.conn
        while size - at >= 2:
            length, begin = data[at + 1] - MASKED, at + 2
            sized = 0 <= length < LENGTH_64
            if length == LENGTH_16:
                # Where these two bytes are not there yet, the end lies beyond what is, whatever they make.
                length, begin = int.from_bytes(data[begin : begin + 2], "big"), begin + 2
            body = begin + MASK_BYTES
            end = body + length
            if (
                data[at] == BINARY_FINAL
                and sized
                and conn.current_size is None
                and not self.close_sent
                and conn.state is OPEN
            ):
                if end > size:
                    break
                user.on_message(apply_mask(data[body:end], data[begin:body]))
            else:
                if not sized or end > size:
                    # Wrong by its header, or unusual and not all there: all that follows is the parser's.
                    self.rest, end = None, size
                super().data_received(data[at:end])
                if self.rest is None or conn.parser_exc is not None:
                    self.rest = None
                    return
            at = end
        self.rest = data[at:]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.user is not None:
            self.user.on_congested()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.user is not None:
            self.user.on_writable()

    def shutdown(self) -> None:
        if self.user is not None and self.handshake_complete:
            self.user.on_shutdown()
        else:
            super().shutdown()

    def handle_text(self, event: Frame) -> None:
        if self.user is None:
            super().handle_text(event)
        else:
            self.user.on_violation(CloseCode.PROTOCOL)

    def handle_bytes(self, event: Frame) -> None:
        if self.user is None:
            super().handle_bytes(event)
            return
        self.fragments = 1
        self.frames = [bytes(event.data)]
        if event.fin:
            self.send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        self.fragments += 1
        if self.fragments > FRAGMENTS:
            self.frames = []
            if self.user is not None:
                self.user.on_violation(CloseCode.PROTOCOL)
            else:
                self.close(CloseCode.PROTOCOL)
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.user is not None:
            self.user.on_sign_of_life()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        if self.user is not None:
            self.user.on_sign_of_life()

    def send_receive_event_to_app(self) -> None:
        if self.user is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if not self.close_sent:
            self.user.on_message(bytes(data))

    def handle_parser_exception(self) -> None:
        """The peer broke RFC 6455. The parser has stopped for good and chose a standard code; ours tells the
        client what to do next."""
        if self.user is None:
            super().handle_parser_exception()
            return
        chosen = self.conn.close_sent.code if self.conn.close_sent is not None else None
        self.conn.data_to_send()
        self.user.on_violation(CloseCode.TOO_LARGE if chosen == PAYLOAD_TOO_BIG else CloseCode.PROTOCOL)
        # Nothing of what still arrives is parsed, so the answer to our close frame will not be seen either.
        self.transport.close()

    async def run_asgi(self) -> None:
        cast("dict[str, Any]", self.scope.get("extensions"))[EXTENSION] = self
        app = cast("ASGI3Application", getattr(self, "app"))  # noqa: B009
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001
            # No traceback: it could hold what a peer sent. The type is enough to find the fault.
            self.logger.error("websocket app failed: %s", type(error).__name__)
            self.send_500_response()
            self.transport.close()
            return
        if not self.detached and self.close_timer is None:
            self.transport.close()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if self.detached:
            self._let_go()

    def _let_go(self) -> None:
        """Drop what only the handshake needed: this is most of a connection's memory."""
        # The parser's suspended frame keeps the request itself, so its headers are emptied.
        self.request.headers.clear()
        self.response.headers.clear()
        self.queue = _NO_QUEUE
        self.writable = _ALWAYS
        kept = vars(self)
        for name in HANDSHAKE_ONLY:
            kept.pop(name, None)
        # A dict does not shrink by itself.
        self.__dict__ = dict(kept)
