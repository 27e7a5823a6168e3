"""A provider of OpenID Connect on loopback, with real RS256 keys: signs in whoever `person` says, at once.

It keeps to the code flow with PKCE as a provider must, so that a client which does not is refused. `wrong` changes claims of
the next identity, for tests of what a client must not believe.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT = "leeside-test"
SECRET = "shared with: the/provider"


@dataclass
class OidcProvider:
    """`issuer` is set once it listens. `now_s` is its clock."""

    now_s: int
    issuer: str = ""
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "email": "sam@example.org", "email_verified": True}
    )
    wrong: dict[str, Any] = field(default_factory=dict[str, Any])
    kid: str = "one"
    down: bool = False
    folded: bool = False
    """Send the description compressed, whatever was asked for."""
    gate: asyncio.Event | None = None
    """What the exchange of a code waits for."""
    asked: list[str] = field(default_factory=list[str])
    """Paths that were asked for, in order."""
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    )
    signer: Any = None
    """What signs in the place of `key`, and `algorithm` in that of RS256: a forger's."""
    algorithm: str = "RS256"
    _codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    def turn_over(self) -> None:
        """Sign with a new key from now on."""
        self.key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.kid = "two"

    async def _metadata(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if self.down:
            return Response(status_code=503)
        answer: Response = JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
            }
        )
        if self.folded:
            answer = Response(gzip.compress(bytes(answer.body)), headers={"Content-Encoding": "gzip"})
        return answer

    async def _keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).public_key()
        encrypting: dict[str, Any] = RSAAlgorithm.to_jwk(other, as_dict=True)
        keys = [public | {"kid": self.kid, "use": "sig"}, encrypting | {"kid": self.kid, "use": "enc"}]
        return JSONResponse({"keys": keys})

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        assert query["prompt"] == "login"
        assert int(query["max_age"]) > 0
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if self.down:
            return Response(status_code=503)
        form = dict(parse_qsl((await request.body()).decode()))
        if self.gate is not None:
            await self.gate.wait()
        query = self._codes.pop(form.get("code", ""), None)
        scheme, _, pair = request.headers.get("authorization", "").partition(" ")
        known = base64.b64decode(pair).decode() == f"{CLIENT}:shared%20with%3A%20the%2Fprovider"
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            query is None
            or scheme != "Basic"
            or not known
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != query["redirect_uri"]
            or challenge != query["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"token_type": "Bearer", "access_token": "-", "id_token": self._identity(query)})

    def _identity(self, query: dict[str, str]) -> str:
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": self.now_s,
            "exp": self.now_s + 300,
            "auth_time": self.now_s,
            "nonce": query["nonce"],
            **self.person,
            **self.wrong,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = ({"alg": "none", "kid": self.kid}, kept)
            texts = [
                base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
            ]
            return f"{texts[0]}.{texts[1]}."
        return jwt.encode(kept, self.signer or self.key, algorithm=self.algorithm, headers={"kid": self.kid})
