"""The server's side of a session, without any IO (spec 02): phases, deadlines and inbound bounds.

Theory of operation. A session goes HELLO -> CHECKING -> OPEN -> CLOSED and never back. The caller feeds
every binary message to `receive` and gets what to do: a message to carry out, a `CloseCode` to close with,
or None for what may be ignored. It reports `opened` once the Hello proved true, `answered` for each request
that it answered, and asks `overdue` every now and then. All times are arguments, on a monotonic clock.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from leeside_protocol.codec import decode_client
from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.limits import HELLO_TIMEOUT_S, IN_FLIGHT_BYTES, IN_FLIGHT_MESSAGES, SILENT_S
from leeside_protocol.messages import ClientBeat, ClientMessage, Hello, Publish, Subscribe, Who
from leeside_protocol.words import Lane


class Phase(Enum):
    """Where a session stands."""

    HELLO = "hello"
    """Nothing but a Hello is taken."""
    CHECKING = "checking"
    """The Hello is being verified; nothing but heartbeats is taken."""
    OPEN = "open"
    CLOSED = "closed"


REQUEST_BYTES: Final = 64
"""What a request without a payload counts against the bound on bytes."""


class ServerSession:
    """One session, from the upgrade to the close."""

    __slots__ = ("_deadline_s", "_heard_s", "in_flight_bytes", "in_flight_messages", "phase")

    def __init__(self, now_s: float) -> None:
        self.phase = Phase.HELLO
        self._deadline_s = now_s + HELLO_TIMEOUT_S
        self._heard_s = now_s
        self.in_flight_messages = 0
        self.in_flight_bytes = 0

    def receive(self, data: bytes, now_s: float) -> ClientMessage | CloseCode | None:
        """Take one binary message. After a `CloseCode` the session is closed and takes nothing more."""
        self._heard_s = now_s
        if self.phase is Phase.CLOSED:
            return None
        try:
            message = decode_client(data)
        except ProtocolError as error:
            too_large = error.code is WireError.TOO_LARGE
            return self.close(CloseCode.TOO_LARGE if too_large else CloseCode.PROTOCOL)
        if message is None or isinstance(message, ClientBeat):
            return None
        if isinstance(message, Hello):
            if self.phase is not Phase.HELLO:
                return self.close(CloseCode.PROTOCOL)
            self.phase = Phase.CHECKING
            # The peer did its part in time: what a server with thousands of them to verify takes is not its fault.
            self._deadline_s = now_s + HELLO_TIMEOUT_S
            return message
        if self.phase is not Phase.OPEN:
            return self.close(CloseCode.PROTOCOL)
        if is_answered(message):
            self.in_flight_messages += 1
            self.in_flight_bytes += request_bytes(message)
        return message

    def opened(self, until_s: float) -> None:
        """The Hello proved true; the token ends at `until_s`. Send `Welcome`."""
        if self.phase is Phase.CHECKING:
            self.phase = Phase.OPEN
            self._deadline_s = until_s

    def renewed(self, until_s: float) -> None:
        """A newer token of the same session proved true. Send `Renewed`."""
        self._deadline_s = until_s

    def answered(self, request: ClientMessage) -> None:
        """A request that `receive` gave out was answered (or its socket is beyond answering)."""
        self.in_flight_messages -= 1
        self.in_flight_bytes -= request_bytes(request)

    @property
    def full(self) -> bool:
        """So much is unanswered that no more must be read."""
        return self.in_flight_messages >= IN_FLIGHT_MESSAGES or self.in_flight_bytes >= IN_FLIGHT_BYTES

    def heard(self, now_s: float) -> None:
        """The peer gave a sign of life outside of messages (a pong), or reading starts again."""
        self._heard_s = now_s

    def overdue(self, now_s: float) -> CloseCode | None:
        """The code to close with when a deadline has passed. Ask at least every few seconds."""
        if self.phase is Phase.CLOSED:
            return None
        if now_s >= self._deadline_s:
            expired = self.phase is Phase.OPEN
            return self.close(CloseCode.TOKEN_EXPIRED if expired else CloseCode.HELLO_TIMEOUT)
        if now_s - self._heard_s >= SILENT_S:
            return self.close(CloseCode.SILENT)
        return None

    def close(self, code: CloseCode) -> CloseCode:
        """End the session; returns `code`."""
        self.phase = Phase.CLOSED
        return code


def is_answered(message: ClientMessage) -> bool:
    """Whether a request counts as in flight until it is answered (spec 02, "Bounds")."""
    if isinstance(message, Publish):
        return message.lane is not Lane.STREAM
    return isinstance(message, Subscribe | Who)


def request_bytes(message: ClientMessage) -> int:
    """What a request counts against `IN_FLIGHT_BYTES`."""
    return REQUEST_BYTES + (len(message.payload) if isinstance(message, Publish) else 0)
