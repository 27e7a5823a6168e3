"""HPKE (RFC 9180) base mode, single shot: X25519, HKDF-SHA-256, AES-256-GCM, empty aad.

All context goes into `info`.  Suite 1 only; suite 2 (MLKEM768-X25519) is reserved.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.entries import SUITE_X25519

_SUITES: Final = {SUITE_X25519: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)}
_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes([1] * 32))


def _suite(number: int) -> Suite:
    suite = _SUITES.get(number)
    if suite is None:
        raise SealingError(SealingCode.E_FORMAT, "unknown suite")
    return suite


def public_of(private: bytes) -> bytes:
    """The 32-byte public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def usable(public: bytes) -> bool:
    """Whether one can seal to this key: points of low order give no secret (RFC 7748)."""
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


def seal(suite: int, public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """`enc || ct`; `E_DEVKEY` for a public key that gives no secret."""
    if not usable(public):
        raise SealingError(SealingCode.E_DEVKEY, "unusable HPKE key")
    return _suite(suite).encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)


def unseal(suite: int, private: bytes, info: bytes, sealed: bytes) -> bytes:
    """The plaintext of `enc || ct`; `E_BOX` when it does not open."""
    try:
        return _suite(suite).decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info=info)
    except (InvalidTag, ValueError):
        raise SealingError(SealingCode.E_BOX, "does not open") from None
