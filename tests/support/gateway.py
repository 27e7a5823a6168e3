"""A telephone gateway on loopback, written as its author would: by the operator's guide, with a library for webhooks' own
scheme and nothing of the server's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass
class GatewayStub:
    """Takes messages at `/take`, after it has verified them; once for each id. Or answers what `answers` says."""

    secret: str
    now_s: int
    answers: list[int] = field(default_factory=list[int])
    taken: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    repeats: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/take", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if not self._genuine(request, body):
            return Response(status_code=401)
        self.headers.append(dict(request.headers))
        if self.answers:
            return Response(status_code=self.answers.pop(0))
        message = json.loads(body)
        if any(one["id"] == message["id"] for one in self.taken):
            self.repeats += 1
        else:
            self.taken.append(message)
        return Response(status_code=202)

    def _genuine(self, request: Request, body: bytes) -> bool:
        """Standard Webhooks, "Signature scheme": symmetric, version 1."""
        id_, time_s = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        if abs(int(time_s) - self.now_s) > 300:
            return False
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        expected = hmac.new(key, f"{id_}.{time_s}.".encode() + body, hashlib.sha256).digest()
        given = request.headers["webhook-signature"].split(" ")
        return any(
            hmac.compare_digest(base64.b64decode(one.removeprefix("v1,")), expected)
            for one in given
            if one.startswith("v1,")
        )
