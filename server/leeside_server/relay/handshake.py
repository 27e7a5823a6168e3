"""uvicorn's HTTP class with a deadline for the header: by itself it keeps a half-sent one open for minutes.

A proxy in front has such a deadline too, and this one stands even where no proxy is.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEADER_DEADLINE_S: Final = 10.0
"""From the connection, or from the first byte of a later request on it, to the end of the header."""
HEADER_BYTES: Final = 65_536


class HeaderDeadline(HttpToolsProtocol):
    """uvicorn's `http=` class. A request's header must be complete in time and within `HEADER_BYTES`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_header = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_header:
            self._header_bytes += len(data)
            if self._deadline is None:
                self._await_header()
        super().data_received(data)
        if self._in_header and self._header_bytes > HEADER_BYTES:
            self._give_up()

    def on_headers_complete(self) -> None:
        self._header_done()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_header = True
        self._header_bytes = 0

    def _await_header(self) -> None:
        self._deadline = self.loop.call_later(HEADER_DEADLINE_S, self._give_up)

    def _header_done(self) -> None:
        self._in_header = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self.transport.close()
