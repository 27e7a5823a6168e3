"""uvicorn's HTTP class with the bounds that it has not, and a short way from the header to the socket.

By itself uvicorn keeps a half-sent header open for minutes, a body that nobody waits for and an answer that nobody reads
for ever, and takes in as many requests as fit into a read. A proxy in front has such bounds too, and these stand even
where no proxy is.

And it writes the header of an upgrade out again, for the parser of `websockets` to read a second time, which is felt when
thousands come back at once. Here the request goes over as it was parsed. That other parser also leaves some upgrades
without an answer, for ever: here they get one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request

from leeside_protocol.limits import STALL_S
from leeside_server.relay.direct import DirectSocket

HEADER_DEADLINE_S: Final = 10.0
"""From the connection, or from the first byte of a later request on it, to the end of the header. Also how long the rest
of a body may take whose request was answered before it came."""
HEADER_BYTES: Final = 65_536
REQUEST_BYTES: Final = 1 << 20
"""A whole request, as it is sent: more than the largest body, its header and what chunks add. What stands behind a body
(trailers) is kept like a header, and bodies that nobody waits for are read like any other."""
PIPELINED: Final = 16
"""Requests that may wait for the answer before theirs. Our clients and the proxies we know send none ahead; thousands
fit into one read."""
UNREAD_S: Final = STALL_S
"""How long an answer may lie without a byte of it being taken."""


class PipelineFull(Exception):
    """A peer sends requests ahead without end."""


class HeaderDeadline(HttpToolsProtocol):
    """uvicorn's `http=` class. A request's header must be complete in time and within `HEADER_BYTES`; what follows must
    move on too."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._request_bytes = 0
        self._in_header = True
        self._unread: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_peer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_header = False
        self._peer_came()
        self._answer_moves()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._request_bytes += len(data)
        if self._in_header and self._deadline is None:
            self._await_peer()
        super().data_received(data)
        if self._request_bytes > (HEADER_BYTES if self._in_header else REQUEST_BYTES):
            self._give_up()

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._peer_came()
        if len(self.pipeline) >= PIPELINED:
            # What a callback raises ends the connection with 400, and the parser with it.
            raise PipelineFull
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._peer_came()
        self._in_header = True
        self._request_bytes = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Answered before it came: what is still to come of the newest request goes to nobody, and nobody times it.
        if not self._in_header and self.cycle.response_complete and not self.transport.is_closing():
            self._await_peer()

    def handle_websocket_upgrade(self) -> None:
        # From here on the session has its own deadlines.
        self._answer_moves()
        if self.ws_protocol_class is not DirectSocket:
            super().handle_websocket_upgrade()
            return
        request = self.upgrade_request()
        if request is None:
            # Left to its own parser this would be neither answered nor closed.
            self.send_400_response(
                "not an upgrade that can be answered: it has a body, or its target is no URL"
            )
            return
        self.connections.discard(self)
        protocol = DirectSocket(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        protocol.take_request(request)
        self.transport.set_protocol(protocol)

    def upgrade_request(self) -> Request | None:
        """The header as `websockets` takes it; None for what that refuses without a word (RFC 6455, section 4.1)."""
        headers = Headers()
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                return None
            headers[name.decode("ascii")] = value.decode("latin-1")
        try:
            # As uvicorn has it, whatever the version: an upgrade that older ones do not know is answered all the same.
            return Request(self.url.decode("ascii"), headers, self.scope["method"], "HTTP/1.1")
        except UnicodeDecodeError:
            return None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._answer_moves()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    # ---- waiting for the peer to send

    def _await_peer(self) -> None:
        self._deadline = self.loop.call_later(HEADER_DEADLINE_S, self._give_up)

    def _peer_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():
            # To close it would wait for a peer that takes nothing.
            self.transport.abort()
        else:
            self.transport.close()

    # ---- waiting for the peer to take what was sent

    def _await_reader(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_S, self._look_at_reader)

    def _look_at_reader(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread_bytes:
            self._await_reader()
        else:
            self.transport.abort()

    def _answer_moves(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
