"""Errors of the wire: numbers, names, and whether trying again can help (spec 90).

    Exception
    └── ProtocolError      a request that the other side must not or cannot carry out: code and safe detail

`WireError` numbers say what a client does next: 1xx try the same again later; 2xx change something first
(seal anew, read the head, sign in) and try again; 3xx do not try again. `CloseCode` does the same for a
socket: 40xx connect again with full jitter, 41xx sign in first, 42xx stop and tell the person.

The table stands in `protocol/spec/90-errors.md`; a test compares it with this file.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class WireError(IntEnum):
    """Why a request was refused. `retry` and `http_status` follow from the number."""

    UNAVAILABLE = 100
    STORAGE_FULL = 101
    BUSY = 102
    RATE_LIMITED = 103
    STALE = 200
    CONFLICT = 201
    TOKEN_EXPIRED = 202
    NOT_SUBSCRIBED = 203
    PENDING = 204
    INVALID = 300
    NOT_FOUND = 301
    FORBIDDEN = 302
    TOO_LARGE = 303
    UNSUPPORTED = 304
    UNAUTHENTICATED = 305
    EXPIRED = 306
    SEALING_REFUSED = 307
    REVOKED = 308
    ALREADY_ACCEPTED = 309

    @property
    def label(self) -> str:
        """The name as it stands on the wire in JSON and in the specification, e.g. `not_found`."""
        return self.name.lower()

    @property
    def may_retry(self) -> bool:
        """True when the very same request may succeed later without any change."""
        return self < 200

    @property
    def http_status(self) -> int:
        """The HTTP status that carries this error."""
        return _HTTP_STATUS[self]


_HTTP_STATUS = {
    WireError.UNAVAILABLE: 503,
    WireError.STORAGE_FULL: 507,
    WireError.BUSY: 503,
    WireError.RATE_LIMITED: 429,
    WireError.STALE: 409,
    WireError.CONFLICT: 409,
    WireError.TOKEN_EXPIRED: 401,
    WireError.NOT_SUBSCRIBED: 409,
    WireError.PENDING: 409,
    WireError.INVALID: 400,
    WireError.NOT_FOUND: 404,
    WireError.FORBIDDEN: 403,
    WireError.TOO_LARGE: 413,
    WireError.UNSUPPORTED: 415,
    WireError.UNAUTHENTICATED: 401,
    WireError.EXPIRED: 410,
    WireError.SEALING_REFUSED: 422,
    WireError.REVOKED: 403,
    WireError.ALREADY_ACCEPTED: 409,
}


class Next(StrEnum):
    """What a client does after its socket was closed."""

    RECONNECT = "reconnect"
    SIGN_IN = "sign_in"
    STOP = "stop"


class CloseCode(IntEnum):
    """Why the server closed a socket; the range says what the client does next."""

    RESTART = 4000
    SLOW = 4001
    INTERNAL = 4002
    SILENT = 4003
    CROWDED = 4004
    TOKEN_EXPIRED = 4100
    TOKEN_INVALID = 4101
    HELLO_TIMEOUT = 4102
    REVOKED = 4200
    PROTOCOL = 4201
    UNSUPPORTED = 4202
    TOO_LARGE = 4203
    ORIGIN = 4204

    @property
    def label(self) -> str:
        """The name as it stands in the close frame's reason and in the specification."""
        return self.name.lower()


def after_close(code: int) -> Next:
    """What to do when a socket closed with `code`; unknown and standard codes mean connect again (spec 90)."""
    if 4100 <= code < 4200:
        return Next.SIGN_IN
    if 4200 <= code < 4300:
        return Next.STOP
    return Next.RECONNECT


class ProtocolError(Exception):
    """A request that was refused. `detail` is a sentence of our own: never input, never a decoder's text."""

    def __init__(self, code: WireError, detail: str = "") -> None:
        super().__init__(f"{code.label}: {detail}" if detail else code.label)
        self.code = code
        self.detail = detail
