"""The `Gateway` port over a webhook of the agency's own: what sends text messages and calls people.

Signed as Standard Webhooks says (symmetric: HMAC-SHA-256 over id, time and body), so that a gateway's author verifies it with a
library of theirs. The id is the idempotency key as well: a retry has the same, and the gateway MUST send for it once. What a
gateway has to do stands in docs/operators-guide.md, "Text messages and calls".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final
from urllib.parse import urlsplit

import msgspec

from leeside_server.adapters.outward import LATER, NotPublic, Outward, Unanswered
from leeside_server.ports import Calling, Clock, GatewayRefused, GatewayUnavailable

SEND_S: Final = 8.0
CONNECTIONS: Final = 448
"""More than attempts run at once: behind its fence none waits for a connection that another's silence keeps."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = range(24, 65)


class Webhook:
    """Messages to `url`, signed with `secret` (24 to 64 bytes)."""

    def __init__(self, url: str, secret: bytes, clock: Clock) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        parts = urlsplit(url)
        self._host = parts.netloc
        self._outward = Outward([parts.hostname or ""], CONNECTIONS)

    @property
    def on(self) -> bool:
        return True

    async def ready(self) -> None:
        await self._outward.ready()

    async def send(self, calling: Calling) -> None:
        if self._outward.read(self._url) is None:
            raise GatewayRefused(0)
        body = msgspec.json.encode(calling)
        time_s = str(self._clock.now_ms() // 1000)
        headers = [
            ("Host", self._host),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", calling.id),
            ("webhook-id", calling.id),
            ("webhook-timestamp", time_s),
            ("webhook-signature", signature(self._secret, calling.id, time_s, body)),
        ]
        try:
            status = await self._outward.post(self._url, headers, body, SEND_S)
        except NotPublic:
            raise GatewayRefused(0) from None
        except Unanswered:
            raise GatewayUnavailable from None
        if status in LATER or status >= 500:
            raise GatewayUnavailable
        # 409: it is at work on the same id (Standard Webhooks and the Idempotency-Key header have it so).
        if not 200 <= status < 300 and status != 409:
            raise GatewayRefused(status)

    async def close(self) -> None:
        await self._outward.close()


def signature(secret: bytes, id: str, time_s: str, body: bytes) -> str:  # noqa: A002
    """`v1,` and the base64 of the signature that goes with a body."""
    signed = hmac.new(secret, f"{id}.{time_s}.".encode("ascii") + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode('ascii')}"


def read_secret(text: str) -> bytes:
    """The secret as Standard Webhooks writes it: `whsec_` and base64. `ValueError` for anything else."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError
    secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    if len(secret) not in SECRET_BYTES:
        raise ValueError
    return secret
