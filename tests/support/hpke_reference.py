"""HPKE (RFC 9180) written a second time, from the RFC, with the ephemeral key as an argument.

Base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, single shot.  It checks the
library that the product uses, and makes vector files that come out the same each time.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM_SUITE = b"KEM" + (0x20).to_bytes(2, "big")
HPKE_SUITE = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x20, 1, 2))


def _extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), material, hashlib.sha256)


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([count]), hashlib.sha256)
        out, count = out + block, count + 1
    return out[:length]


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + material)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def _shared(exchanged: bytes, enc: bytes, public: bytes) -> bytes:
    prk = _labeled_extract(KEM_SUITE, b"", b"eae_prk", exchanged)
    return _labeled_expand(KEM_SUITE, prk, b"shared_secret", enc + public, 32)


def _context(shared: bytes, info: bytes) -> tuple[AESGCM, bytes]:
    psk_id = _labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
    info_hash = _labeled_extract(HPKE_SUITE, b"", b"info_hash", info)
    context = b"\0" + psk_id + info_hash
    secret = _labeled_extract(HPKE_SUITE, shared, b"secret", b"")
    key = _labeled_expand(HPKE_SUITE, secret, b"key", context, 32)
    return AESGCM(key), _labeled_expand(HPKE_SUITE, secret, b"base_nonce", context, 12)


class Reference:
    """Sealing and opening by the book."""

    @staticmethod
    def decapsulate(enc: bytes, private: bytes) -> bytes:
        key = X25519PrivateKey.from_private_bytes(private)
        exchanged = key.exchange(X25519PublicKey.from_public_bytes(enc))
        return _shared(exchanged, enc, key.public_key().public_bytes_raw())

    @staticmethod
    def seal(public: bytes, info: bytes, plain: bytes, ephemeral: bytes) -> bytes:
        key = X25519PrivateKey.from_private_bytes(ephemeral)
        enc = key.public_key().public_bytes_raw()
        exchanged = key.exchange(X25519PublicKey.from_public_bytes(public))
        aead, nonce = _context(_shared(exchanged, enc, public), info)
        return enc + aead.encrypt(nonce, plain, b"")

    @staticmethod
    def unseal(private: bytes, info: bytes, sealed: bytes) -> bytes:
        aead, nonce = _context(Reference.decapsulate(sealed[:32], private), info)
        return aead.decrypt(nonce, sealed[32:], b"")
