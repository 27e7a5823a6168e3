"""An authenticator in software: makes passkeys and signs with them, as WebAuthn (level 3) has it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Credential:
    """One passkey."""

    private: EllipticCurvePrivateKey
    id: bytes
    user: bytes
    party: str
    count: int = 0


@dataclass
class Authenticator:
    """Answers what a page of `origin` asks. `flags` is what it says of the person; `counts`: it keeps a counter."""

    origin: str
    flags: int = PRESENT | VERIFIED
    counts: bool = True
    credentials: list[Credential] = field(default_factory=list[Credential])

    def create(self, options: str) -> str:
        """What `navigator.credentials.create` answers, as JSON."""
        asked = json.loads(options)
        private = generate_private_key(SECP256R1())
        user = base64.urlsafe_b64decode(asked["user"]["id"] + "==")
        made = Credential(private, os.urandom(32), user, asked["rp"]["id"])
        self.credentials.append(made)
        numbers = private.public_key().public_numbers()
        key = cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        )
        attested = bytes(16) + len(made.id).to_bytes(2, "big") + made.id + key
        data = self._data(made, ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", asked["challenge"])
        return self._answer(made, {"clientDataJSON": text(client), "attestationObject": text(attestation)})

    def get(self, options: str, **changed: Any) -> str:
        """What `navigator.credentials.get` answers, as JSON, with the newest passkey. `changed` goes over the response."""
        asked = json.loads(options)
        made = self.credentials[-1]
        made.count += self.counts
        client = self._client("webauthn.get", asked["challenge"])
        data = self._data(made, 0)
        signature = made.private.sign(data + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": text(client),
            "authenticatorData": text(data),
            "signature": text(signature),
            "userHandle": text(made.user),
        }
        return self._answer(made, response | changed)

    def _data(self, made: Credential, more: int) -> bytes:
        party = hashlib.sha256(made.party.encode()).digest()
        return party + bytes([self.flags | more]) + made.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, made: Credential, response: dict[str, Any]) -> str:
        return json.dumps(
            {
                "id": text(made.id),
                "rawId": text(made.id),
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
                "authenticatorAttachment": "platform",
            }
        )
