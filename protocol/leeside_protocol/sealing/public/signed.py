"""Signed objects: `[payload, signer_id, signature]`, verified before they are decoded.

The signature is Ed25519 over `PAE("leeside1 sig", type, signer_id, payload)`, so a
signature of one type never passes for another, nor for another signer.
Spec chapter 04, "Signed objects".
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.encoding import (
    MAX_OBJECT_BYTES,
    PREFIX,
    as_bytes,
    as_list,
    decode,
    digest,
    encode,
    pae,
)

KIND_DIRECTORY: Final = b"dir"
KIND_DIRECTORY_COSIGN: Final = b"dir-co"
KIND_DEVICE_KEY: Final = b"devkey"
KIND_COMMIT: Final = b"commit"
KIND_BOXES: Final = b"boxes"
KIND_GRANT: Final = b"grant"
KIND_ARCHIVE: Final = b"archive"
KIND_ENROLMENT: Final = b"enrol"


class Signed(msgspec.Struct, frozen=True):
    """A payload with who signed it.  Nothing is verified by its mere existence."""

    payload: bytes
    signer: bytes
    signature: bytes

    def encode(self) -> bytes:
        return encode([self.payload, self.signer, self.signature])

    @classmethod
    def decode(cls, data: bytes, *, max_bytes: int = MAX_OBJECT_BYTES) -> Signed:
        """The three parts, or `E_ENCODING`.  The signature is not yet verified."""
        payload, signer, signature = as_list(list(decode(data, max_bytes=max_bytes)), 3)
        return cls(as_bytes(payload), as_bytes(signer, 16), as_bytes(signature, 64))

    def hash(self, label: bytes) -> bytes:
        """`H(label, payload, signer, signature)`: the object's name in a chain."""
        return digest(label, self.payload, self.signer, self.signature)


def signing_input(kind: bytes, signer: bytes, payload: bytes) -> bytes:
    """The exact bytes that are signed."""
    return pae(PREFIX + b"sig", kind, signer, payload)


def verify_raw(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Ed25519 (RFC 8032) over `message`; `E_SIG` when it does not hold."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SealingError(SealingCode.E_SIG, "signature") from None


def verify_signed(signed: Signed, public_key: bytes, kind: bytes) -> None:
    """That `public_key` (32 bytes) signed this payload as a `kind`; else `E_SIG`."""
    verify_raw(public_key, signed.signature, signing_input(kind, signed.signer, signed.payload))
