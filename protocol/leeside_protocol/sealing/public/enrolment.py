"""Enrolment: that a device holds the keys it shows, and the code that people compare.

The device signs `PAE("leeside1 enrol", code, public)` and shows its DeviceKey; an authority
compares the short code in person or on video and signs `dev+`.  Spec chapter 04, "Enrolment".
"""

from __future__ import annotations

from leeside_protocol.sealing.public.encoding import PREFIX, digest, pae
from leeside_protocol.sealing.public.signed import KIND_ENROLMENT, verify_raw

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def enrolment_input(code: str, public: bytes) -> bytes:
    """What the device signs to prove that it holds its identity key."""
    return pae(PREFIX + KIND_ENROLMENT, code.encode(), public)


def verify_enrolment(public: bytes, code: str, proof: bytes) -> None:
    """That the holder of `public` answered this code; else `E_SIG`."""
    verify_raw(public, proof, enrolment_input(code, public))


def short_code(public: bytes, device_key_payload: bytes) -> str:
    """What two people compare: 60 bits over both keys, as `XXXX-XXXX-XXXX` (Crockford base32).

    Long enough that nobody finds a second pair of keys with the same code.
    """
    bits = int.from_bytes(digest(b"short code", public, device_key_payload)[:8], "big") >> 4
    text = "".join(_ALPHABET[bits >> shift & 31] for shift in range(55, -1, -5))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"
