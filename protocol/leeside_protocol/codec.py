"""Bytes to messages and back (spec 01). The only place where socket frames are decoded.

Decoding is typed: what does not fit a message is refused before any of it is used, at a cost bounded by
`FRAME_BYTES`. The decoder's own error text repeats input, so it never leaves this module.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.limits import FRAME_BYTES
from leeside_protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES, ClientMessage, ServerMessage

_M = TypeVar("_M")

_encoder: Final = msgspec.msgpack.Encoder()
_client: Final[msgspec.msgpack.Decoder[ClientMessage]] = msgspec.msgpack.Decoder(ClientMessage)
_server: Final[msgspec.msgpack.Decoder[ServerMessage]] = msgspec.msgpack.Decoder(ServerMessage)
_CLIENT_TAGS: Final = frozenset(m.__struct_config__.tag for m in CLIENT_MESSAGES)
_SERVER_TAGS: Final = frozenset(m.__struct_config__.tag for m in SERVER_MESSAGES)


def encode(message: ClientMessage | ServerMessage) -> bytes:
    """Write one message; `too_large` when it exceeds a frame (the caller must make it smaller)."""
    data = _encoder.encode(message)
    if len(data) > FRAME_BYTES:
        raise ProtocolError(WireError.TOO_LARGE, "a message has 65,536 bytes at most")
    return data


def decode_client(data: bytes) -> ClientMessage | None:
    """Read what a client sent. None: an optional message that this version does not know; ignore it.

    Raises `ProtocolError`: `too_large`, or `invalid` for anything that is not exactly one known message.
    """
    return _decode(_client, _CLIENT_TAGS, data)


def decode_server(data: bytes) -> ServerMessage | None:
    """Read what a server sent; as `decode_client`."""
    return _decode(_server, _SERVER_TAGS, data)


def _decode(decoder: msgspec.msgpack.Decoder[_M], known: frozenset[object], data: bytes) -> _M | None:
    if len(data) > FRAME_BYTES:
        raise ProtocolError(WireError.TOO_LARGE, "a message has 65,536 bytes at most")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    tag = _tag(data)
    if tag is not None and tag % 2 and tag not in known:
        return None
    raise ProtocolError(WireError.INVALID, "not a message of this protocol")


def _tag(data: bytes) -> int | None:
    """The tag of an array, read from its first bytes alone: an unknown frame must not cost a full decode."""
    if data[:1] and 0x91 <= data[0] <= 0x9F:
        rest = data[1:3]
    elif data[:1] == b"\xdc":
        rest = data[3:5]
    else:
        return None
    if rest and rest[0] < 0x80:
        return rest[0]
    return rest[1] if len(rest) == 2 and rest[0] == 0xCC else None
