"""The key that push services know this server by (RFC 8292): made at the first start, shared by all nodes.

It stands in the store, sealed like the signing keys (`tokens`). It is never replaced: each browser's subscription is bound
to it, and would be worth nothing with another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leeside_server.core.identity import NO_AGENCY, VAPID_KEY_ID, VapidKeyRow
from leeside_server.core.rows import KINDS, create
from leeside_server.core.writes import Item, NotStored
from leeside_server.ports import Store, StoreRefused

_PURPOSE: Final = b"leeside1 vapid key"


async def load_vapid_key(
    store: Store, secret: bytes, now_ms: int, random: Callable[[int], bytes]
) -> EllipticCurvePrivateKey:
    """The key, made when there is none. Raises `StoreRefused` when it does not open with this node's secret, and the
    store's own errors."""
    sealing = AESGCM(HKDF(SHA256(), 32, None, _PURPOSE).derive(secret))
    row = await _read(store)
    if row is None:
        made = _seal(generate_private_key(SECP256R1()), sealing, now_ms, random(12))
        (outcome,) = await store.apply([Item(NO_AGENCY, now_ms, (create(VAPID_KEY_ID, made),))])
        # Another node may have been first: then its key is everybody's.
        row = await _read(store) if isinstance(outcome, NotStored) else made
        assert row is not None
    try:
        raw = sealing.decrypt(row.sealed[:12], row.sealed[12:], row.public)
    except InvalidTag:
        raise StoreRefused(
            "the push key does not open with this node's key-encryption secret: give every node the same file"
        ) from None
    return derive_private_key(int.from_bytes(raw, "big"), SECP256R1())


async def _read(store: Store) -> VapidKeyRow | None:
    found = await store.get(NO_AGENCY, KINDS[VapidKeyRow], VAPID_KEY_ID)
    return None if found is None else msgspec.json.decode(found.body, type=VapidKeyRow)


def _seal(key: EllipticCurvePrivateKey, sealing: AESGCM, now_ms: int, nonce: bytes) -> VapidKeyRow:
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    raw = key.private_numbers().private_value.to_bytes(32, "big")
    return VapidKeyRow(public, nonce + sealing.encrypt(nonce, raw, public), now_ms)
