"""The body of a message frame: `[type, ts_ms, msg_id, seen, data]`, and its padding.

Spec chapter 04, "Frame"; the types and their `data` are those of chapters 05 to 07.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from leeside_protocol.ids import MessageId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.encoding import (
    Packable,
    Value,
    as_bytes,
    as_list,
    as_text,
    as_uint,
    decode,
    encode,
)
from leeside_protocol.sealing.public.seen import LogHead

MAX_TYPE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """What a sender signs.  `ts_ms` is the sender's clock; `seen` is None in ephemeral frames.

    `msg_id` must be the id under which the message was published; the receiver compares.
    `data` holds arrays, maps with text keys, text, bytes, booleans, integers and None.
    """

    type: str
    ts_ms: int
    msg_id: MessageId
    seen: LogHead | None
    data: Value


def encode_body(body: Body) -> bytes:
    """MessagePack bytes; `E_ENCODING` for data outside the subset."""
    seen: Packable = None if body.seen is None else [body.seen.seq, body.seen.hash]
    data: Packable = body.data
    try:
        encoded = encode([body.type, body.ts_ms, body.msg_id, seen, data])
    except (TypeError, ValueError, OverflowError):
        raise SealingError(SealingCode.E_ENCODING, "data cannot be encoded") from None
    decode_body(encoded)  # what the receiver would refuse is refused here
    return encoded


def decode_body(data: bytes) -> Body:
    """The body, or `E_ENCODING`."""
    kind, ts, msg_id, seen, content = as_list(list(decode(data, maps=True)), 5)
    head = None
    if seen is not None:
        seq, log_hash = as_list(seen, 2)
        head = LogHead(as_uint(seq), as_bytes(log_hash, 32))
    return Body(as_text(kind, MAX_TYPE_BYTES), as_uint(ts), MessageId(as_bytes(msg_id, 16)), head, content)


def pad(body: bytes, bucket_bytes: int) -> bytes:
    """0x80, then zeros up to a multiple of `bucket_bytes`."""
    return body + b"\x80" + bytes(-(len(body) + 1) % bucket_bytes)


def unpad(padded: bytes, bucket_bytes: int) -> bytes:
    """The body; `E_FORMAT` unless the padding is the one that `pad` makes."""
    body = padded.rstrip(b"\0")
    if not body.endswith(b"\x80") or len(padded) - len(body) >= bucket_bytes:
        raise SealingError(SealingCode.E_FORMAT, "padding")
    return body[:-1]
