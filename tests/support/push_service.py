"""A push service on loopback that reads what it is sent as a browser would: RFC 8030, 8291 and 8292."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from leeside_server.ports import Subscription


def point(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """What a browser keeps of a subscription."""

    private: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    auth: bytes = b"sixteen secrets!"

    @property
    def public(self) -> bytes:
        return point(self.private.public_key())

    def subscription(self, endpoint: str) -> Subscription:
        return Subscription(endpoint, self.public, self.auth)

    def open(self, body: bytes) -> bytes:
        """The plain text of a push: RFC 8188 with the keys of RFC 8291, one record."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= size
        shared = self.private.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), sender))

        def derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
            return HKDF(SHA256(), length, salt, info).derive(secret)

        secret = derive(shared, self.auth, b"WebPush: info\x00" + self.public + sender, 32)
        key = derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
        plain = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
        assert plain.endswith(b"\x02"), "the last record ends with 2"
        return plain[:-1]


def browser_of(private: str, auth: str) -> Browser:
    """A browser with keys given as base64url."""
    number = int.from_bytes(unpadded(private), "big")
    return Browser(derive_private_key(number, SECP256R1()), unpadded(auth))


@dataclass
class Taken:
    """One push as it arrived."""

    name: str
    headers: dict[str, str]
    body: bytes
    claims: dict[str, Any]
    key: bytes


@dataclass
class PushService:
    """Takes pushes at `/push/NAME`, after it has verified who sends them; or answers what `answers` says."""

    audience: str = ""
    taken: list[Taken] = field(default_factory=list[Taken])
    answers: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/push/{name}", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        name = request.path_params["name"]
        scheme, _, rest = request.headers["authorization"].partition(" ")
        assert scheme == "vapid"
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        key = unpadded(parts["k"])
        public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), key)
        options: Any = {"verify_exp": False, "require": ["exp", "aud"]}
        claims = jwt.decode(parts["t"], public, algorithms=["ES256"], audience=self.audience, options=options)
        body = await request.body()
        status = (self.answers.get(name) or [201]).pop(0)
        if status == 201:
            self.taken.append(Taken(name, dict(request.headers), body, claims, key))
        return Response(status_code=status)
