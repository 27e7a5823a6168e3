"""Strict positional MessagePack, and the two unambiguous hash inputs.

Payload bytes travel and are stored verbatim: verify, then decode, never encode again; so
no canonical form is needed.  What is decoded is held to a narrow subset of MessagePack:
no floats, no extension types, integers within +-(2^53 - 1), no trailing bytes, no
duplicate keys, bounded depth and size.  Spec chapter 04, "Encoding".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

import msgpack

from leeside_protocol.sealing.errors import SealingCode, SealingError

PREFIX: Final = b"leeside1 "
ZERO32: Final = bytes(32)
MAX_INT: Final = 2**53 - 1
MAX_DEPTH: Final = 8
MAX_OBJECT_BYTES: Final = 256 * 1024

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
Packable: TypeAlias = "bool | int | str | bytes | Sequence[Packable] | Mapping[str, Packable] | None"


def u64(number: int) -> bytes:
    """Eight bytes, big-endian, unsigned."""
    return struct.pack(">Q", number)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def pae(*parts: bytes) -> bytes:
    """Pre-authentication encoding: u32 count, then u32 length and bytes of each part.

    Two different lists of parts never give the same bytes.
    """
    out = [struct.pack(">I", len(parts))]
    for part in parts:
        out.append(struct.pack(">I", len(part)))
        out.append(part)
    return b"".join(out)


def digest(label: bytes, *parts: bytes) -> bytes:
    """`H(label, ..)` of the spec: SHA-256 over `PAE("leeside1 " + label, ..)`; 32 bytes."""
    return sha256(pae(PREFIX + label, *parts))


def encode(value: Packable) -> bytes:
    """MessagePack bytes of a value that is already within the subset."""
    return msgpack.packb(value, use_bin_type=True)


def decode(data: bytes, *, max_bytes: int = MAX_OBJECT_BYTES, maps: bool = False) -> list[Value]:
    """One positional array, or `E_ENCODING`.

    `maps` admits maps with text keys inside (message bodies); signed payloads have none.
    """
    if len(data) > max_bytes:
        raise SealingError(SealingCode.E_ENCODING, "object too large")
    try:
        value = cast(
            "Value",
            msgpack.unpackb(
                data,
                raw=False,
                use_list=True,
                strict_map_key=True,
                object_pairs_hook=_pairs,
                max_ext_len=0,
                max_str_len=len(data),
                max_bin_len=len(data),
                max_array_len=len(data),
                max_map_len=len(data),
            ),
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        # The decoder's own text repeats input, so none of it goes on.
        raise SealingError(SealingCode.E_ENCODING, "not strict MessagePack") from None
    if not isinstance(value, list):
        raise SealingError(SealingCode.E_ENCODING, "not an array")
    _check(value, 1, maps)
    return value


def _pairs(pairs: list[tuple[object, object]]) -> dict[object, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise SealingError(SealingCode.E_ENCODING, "duplicate key")
    return result


def _check(value: object, depth: int, maps: bool) -> None:
    kind = type(value)
    if value is None or kind is bool or kind is bytes or kind is str:
        return
    if kind is int:
        if not -MAX_INT <= cast("int", value) <= MAX_INT:
            raise SealingError(SealingCode.E_ENCODING, "integer out of range")
        return
    if depth > MAX_DEPTH:
        raise SealingError(SealingCode.E_ENCODING, "nested too deep")
    if kind is list:
        for item in cast("list[object]", value):
            _check(item, depth + 1, maps)
        return
    if kind is dict and maps:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise SealingError(SealingCode.E_ENCODING, "key is not text")
            _check(item, depth + 1, maps)
        return
    raise SealingError(SealingCode.E_ENCODING, "type not allowed")


def as_list(value: Value, arity: int | None = None, *, most: int | None = None) -> list[Value]:
    """`value` as an array of exactly `arity`, or of `most` items at most."""
    if type(value) is not list:
        raise SealingError(SealingCode.E_ENCODING, "array expected")
    if arity is not None and len(value) != arity:
        raise SealingError(SealingCode.E_ENCODING, "wrong arity")
    if most is not None and len(value) > most:
        raise SealingError(SealingCode.E_ENCODING, "array too long")
    return value


def as_bytes(value: Value, length: int | None = None) -> bytes:
    """`value` as bytes of exactly `length`."""
    if type(value) is not bytes or (length is not None and len(value) != length):
        raise SealingError(SealingCode.E_ENCODING, "bytes expected")
    return value


def as_uint(value: Value, most: int = MAX_INT) -> int:
    """`value` as an integer from 0 to `most`.  A boolean is not an integer."""
    if type(value) is not int or not 0 <= value <= most:
        raise SealingError(SealingCode.E_ENCODING, "unsigned integer expected")
    return value


def as_text(value: Value, most_bytes: int) -> str:
    """`value` as text of `most_bytes` at most in UTF-8."""
    if type(value) is not str or len(value.encode("utf-8", "surrogatepass")) > most_bytes:
        raise SealingError(SealingCode.E_ENCODING, "text expected")
    return value
