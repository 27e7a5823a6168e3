"""The half of ICE that a server with a public address needs (RFC 8445, "lite"): answer binding requests that prove the
password of their user name (RFC 8489), and say which of them nominate their path.

Pure: bytes in, bytes out. What strangers send is looked at in place, in the buffer it came in, and the cheap checks come
first: length, type, cookie, then the checksum over the whole. Nothing is kept and no object is made before all of
them hold; the password is asked for last.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import struct
from typing import Final, NamedTuple

HEADER_BYTES: Final = 20
REQUEST_BYTES: Final = 548
"""The longest request that is read: RFC 8489 lets nobody send more where the path's limit is unknown."""
USERNAME_BYTES: Final = 256

_BINDING_REQUEST: Final = 0x0001
_BINDING_SUCCESS: Final = 0x0101
_COOKIE: Final = 0x2112A442
_USERNAME: Final = 0x0006
_MESSAGE_INTEGRITY: Final = 0x0008
_XOR_MAPPED_ADDRESS: Final = 0x0020
_USE_CANDIDATE: Final = 0x0025
_FINGERPRINT: Final = 0x8028
_FINGERPRINT_XOR: Final = 0x5354554E
_INTEGRITY_BYTES: Final = 24
_FINGERPRINT_BYTES: Final = 8

_header: Final = struct.Struct("!HHI")
_attribute: Final = struct.Struct("!HH")
_number: Final = struct.Struct("!I")


class BindingRequest(NamedTuple):
    """A well-formed request; whether it may be believed, `is_proven` says."""

    transaction: bytes
    ufrag: bytes
    """Ours: the part of the user name before the colon."""
    nominates: bool
    """The sender means to use this path from now on."""
    integrity_at: int
    """Where its MESSAGE-INTEGRITY begins."""


def read_request(buffer: bytearray, length: int) -> BindingRequest | None:
    """The binding request in the first `length` bytes of `buffer`, or None for anything else.

    Attributes that we do not know are passed over, also those that ask to be understood: whoever wrote them proves the
    password, and none could change what is answered.
    """
    if not HEADER_BYTES + _INTEGRITY_BYTES + _FINGERPRINT_BYTES < length <= REQUEST_BYTES:
        return None
    kind, size, cookie = _header.unpack_from(buffer, 0)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or size != length - HEADER_BYTES or size & 3:
        return None
    end = length - _FINGERPRINT_BYTES
    if _attribute.unpack_from(buffer, end) != (_FINGERPRINT, 4):
        return None
    with memoryview(buffer) as view, view[:end] as covered:
        if binascii.crc32(covered) ^ _FINGERPRINT_XOR != _number.unpack_from(buffer, end + 4)[0]:
            return None
    return _read_attributes(buffer, end)


def _read_attributes(buffer: bytearray, end: int) -> BindingRequest | None:
    ufrag: bytes | None = None
    nominates = False
    at = HEADER_BYTES
    while at + 4 <= end:
        kind, size = _attribute.unpack_from(buffer, at)
        value = at + 4
        if value + size > end:
            return None
        if kind == _MESSAGE_INTEGRITY:
            # What stands behind it is not covered, and nobody's business (RFC 8489, 14.5).
            if size != _INTEGRITY_BYTES - 4 or ufrag is None:
                return None
            return BindingRequest(bytes(buffer[8:HEADER_BYTES]), ufrag, nominates, at)
        if kind == _USERNAME:
            if size > USERNAME_BYTES:
                return None
            ufrag = bytes(buffer[value : value + size]).partition(b":")[0]
        elif kind == _USE_CANDIDATE:
            nominates = True
        at = value + (size + 3 & ~3)
    return None


def is_proven(buffer: bytearray, request: BindingRequest, password: bytes) -> bool:
    """Whether who sent the request in `buffer` knows the password."""
    at = request.integrity_at
    proof = _integrity(bytes(buffer[:at]), password)
    return hmac.compare_digest(proof, bytes(buffer[at + 4 : at + _INTEGRITY_BYTES]))


def write_success(transaction: bytes, host: str, port: int, password: bytes) -> bytes:
    """The answer: the address that the request came from, proven with the same password."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    mask = _number.pack(_COOKIE) + transaction
    place = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    value = struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port ^ (_COOKIE >> 16)) + place
    head = _header.pack(_BINDING_SUCCESS, 0, _COOKIE) + transaction
    body = head + _attribute.pack(_XOR_MAPPED_ADDRESS, len(value)) + value
    body += _attribute.pack(_MESSAGE_INTEGRITY, 20) + _integrity(body, password)
    body = _sized(body, len(body) - HEADER_BYTES + _FINGERPRINT_BYTES)
    check = binascii.crc32(body) ^ _FINGERPRINT_XOR
    return body + _attribute.pack(_FINGERPRINT, 4) + _number.pack(check)


def _integrity(covered: bytes, password: bytes) -> bytes:
    """HMAC-SHA1 as RFC 8489 (14.5) has it: the length in the header counts the attribute itself."""
    return hmac.digest(password, _sized(covered, len(covered) - HEADER_BYTES + _INTEGRITY_BYTES), "sha1")


def _sized(message: bytes, size: int) -> bytes:
    return message[:2] + size.to_bytes(2, "big") + message[4:]
