"""The `Push` port over the web's push services: RFC 8030 (HTTP), RFC 8291 (encryption), RFC 8292 (who we are).

An endpoint comes from a browser, so it is not believed: see `outward`, which says where this server goes.

What is encrypted is always the same few words; that it is encrypted is what push services ask for. The primitives are
those of `cryptography`; what RFC 8291 makes of them is compared with its own example in tests.
"""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import SplitResult

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leeside_server.adapters.outward import LATER, NotPublic, Outward, Unanswered
from leeside_server.ports import WAITING, Clock, PushGone, PushRefused, PushUnavailable, Subscription

SEND_S: Final = 10.0
CONNECTIONS: Final = 448
"""More than pages and hints send at once: nobody waits for a connection that another's silence keeps."""
TOKENS_KEPT: Final = 32
RECORD_BYTES: Final = 4_096
TOKEN_LIFE_S: Final = 12 * 3_600
"""A push service takes 24 hours at most (RFC 8292, section 2)."""
TOKEN_NEW_S: Final = 3_600
_GONE: Final = frozenset({404, 410})


class WebPush:
    """Pushes as the holder of `private`. `hosts`: names, or `*.name` for all below one; none: nothing is pushed.

    `contact` is a `mailto:` or `https:` address where a push service reaches who runs this server.
    """

    def __init__(
        self, private: EllipticCurvePrivateKey, hosts: Sequence[str], contact: str, clock: Clock
    ) -> None:
        self._private = private
        self._contact = contact
        self._clock = clock
        self._key = uncompressed(private.public_key()) if hosts else b""
        self._tokens: dict[str, tuple[int, str]] = {}
        self._outward = Outward(hosts, CONNECTIONS)

    @property
    def key(self) -> bytes:
        return self._key

    def permits(self, endpoint: str) -> bool:
        return self._outward.read(endpoint) is not None

    async def ready(self) -> None:
        await self._outward.ready()

    async def send(self, to: Subscription, payload: bytes, ttl_s: int, topic: str = WAITING) -> None:
        parts = self._outward.read(to.endpoint)
        if parts is None:
            raise PushRefused(0)
        body = encrypt(payload, to.public, to.auth, generate_private_key(SECP256R1()), os.urandom(16))
        headers = [
            ("Host", parts.netloc),
            ("Authorization", f"vapid t={self._token(parts)}, k={_text(self._key)}"),
            ("Content-Encoding", "aes128gcm"),
            ("Content-Type", "application/octet-stream"),
            ("TTL", str(ttl_s)),
            ("Urgency", "high"),
            # One that waits for a phone without a network takes the place of the one before (RFC 8030, section 5.4).
            ("Topic", topic),
        ]
        try:
            status = await self._outward.post(to.endpoint, headers, body, SEND_S)
        except NotPublic:
            raise PushRefused(0) from None
        except Unanswered:
            raise PushUnavailable from None
        if status in _GONE:
            raise PushGone
        if status in LATER or status >= 500:
            raise PushUnavailable
        if not 200 <= status < 300:
            raise PushRefused(status)

    async def close(self) -> None:
        await self._outward.close()

    def _token(self, parts: SplitResult) -> str:
        """Who we are, told to one push service (RFC 8292, section 2). Made once an hour: a signature costs more than a
        push otherwise would."""
        audience = f"{parts.scheme}://{parts.netloc}"
        now_s = self._clock.now_ms() // 1000
        made_s, token = self._tokens.get(audience, (0, ""))
        if not token or not 0 <= now_s - made_s < TOKEN_NEW_S:
            claims: dict[str, Any] = {"aud": audience, "exp": now_s + TOKEN_LIFE_S}
            if self._contact:
                claims["sub"] = self._contact
            token = jwt.encode(claims, self._private, algorithm="ES256")
            if len(self._tokens) >= TOKENS_KEPT:
                self._tokens.clear()
            self._tokens[audience] = (now_s, token)
        return token


def encrypt(payload: bytes, public: bytes, auth: bytes, own: EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """The body of a push (RFC 8291, section 3.4; RFC 8188): one record. `own` and `salt` serve once.

    `public` is a point on P-256, uncompressed; `ValueError` when it is none.
    """
    theirs = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
    ours = uncompressed(own.public_key())
    secret = _derive(own.exchange(ECDH(), theirs), auth, b"WebPush: info\0" + public + ours, 32)
    key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack(">IB", RECORD_BYTES, len(ours)) + ours
    return header + AESGCM(key).encrypt(nonce, payload + b"\x02", None)


def uncompressed(key: EllipticCurvePublicKey) -> bytes:
    """The point in 65 bytes, as browsers have it."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
