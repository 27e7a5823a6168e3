"""WebSocket frames as the server writes them (RFC 6455, section 5.2): unmasked, final, binary.

A message for many sockets is framed once, and the same bytes are written to each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from leeside_protocol.errors import CloseCode

_BINARY: Final = 0x82
_CLOSE: Final = 0x88


def frame(payload: bytes) -> bytes:
    """One binary message as a single frame."""
    size = len(payload)
    if size < 126:
        return bytes((_BINARY, size)) + payload
    if size < 0x10000:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: CloseCode) -> bytes:
    """A close frame with the code and its name as the reason."""
    body = int(code).to_bytes(2, "big") + code.label.encode("ascii")
    return bytes((_CLOSE, len(body))) + body


def payloads(data: bytes) -> Iterator[bytes]:
    """The messages of joined frames that `frame` made; for servers that frame by themselves."""
    at = 0
    while at < len(data):
        size = data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        yield data[at : at + size]
        at += size
