"""Values at rest: what the local databases hold is sealed under one key that the keystore keeps.

AES-256-GCM with a random 96-bit nonce in front. The associated data names the row that a value belongs to, so
that a value moved to another row does not open.
"""

from __future__ import annotations

import secrets
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12
KEY_NAME: Final = "local/key"


class Keystore(Protocol):
    """Small secrets by name, encrypted at rest, each write atomic and durable."""

    def get(self, name: str) -> bytes | None:
        """The value, or None."""
        ...

    def put(self, name: str, value: bytes) -> None:
        """Replace the value; durable when this returns."""
        ...

    def delete(self, name: str) -> None:
        """Forget the value; nothing happens when there is none."""
        ...


class LockboxDamaged(Exception):
    """A stored value was changed or belongs to another key: the local copy cannot be trusted.

    Remove the local database; all that the server holds comes back, unsent messages do not.
    """


class Lockbox:
    """Seals and opens values under one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    @classmethod
    def of(cls, keystore: Keystore) -> Lockbox:
        """The device's own, its key made at first use."""
        key = keystore.get(KEY_NAME)
        if key is None:
            key = secrets.token_bytes(32)
            keystore.put(KEY_NAME, key)
        return cls(key)

    def seal(self, value: bytes, row: bytes) -> bytes:
        """`row` names the place that the value is kept at."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value, row)

    def open(self, sealed: bytes, row: bytes) -> bytes:
        """The value, or `LockboxDamaged`."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row)
        except (InvalidTag, ValueError):
            raise LockboxDamaged from None
