"""An agency's own sign-in, as a relying party of OpenID Connect: the code flow with PKCE (RFC 7636, RFC 9700).

The provider is the operator's choice, so where it lives is believed; what it answers is bounded, and what it signs is
verified: issuer, audience, nonce, time, and the signature with a key that it publishes, by an algorithm of our list. Its keys
are kept for an hour, and asked for again when it signs with one that is not among them, once a minute at most.

Over `httpx` and `PyJWT`, which are there: `Authlib` and its like keep state in cookies and sessions, which this server has not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import jwt
import msgspec

from leeside_server.log import get_logger
from leeside_server.ports import Clock
from leeside_server.relay.http.settings import OidcSettings

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
SCOPE: Final = "openid email"
ANSWER_BYTES: Final = 262_144
ASK_S: Final = 10.0
KEPT_S: Final = 3_600.0
AGAIN_S: Final = 60.0
AWAY_S: Final = 5.0
"""How long a provider that did not answer is not asked again: who waits for it would wait one after the other."""
EXCHANGES: Final = 32
"""Codes on their way to the provider at once. Anybody can make up codes."""
LEEWAY_S: Final = 60
MAX_AGE_S: Final = 600
"""Asked for so that the provider says when the person signed in (OpenID Connect Core 1.0, section 2, `auth_time`)."""
T = TypeVar("T")
_log = get_logger("leeside.oidc")


class ProviderUnavailable(Exception):
    """The provider cannot be reached, or does not answer as one."""


class IdentityRefused(Exception):
    """What the provider, or somebody in its place, says of a person does not hold."""


class Identity(msgspec.Struct, frozen=True):
    """Who signed in. `email` is empty unless the provider verified it."""

    subject: str
    email: str


class _Metadata(msgspec.Struct, frozen=True):
    """What is used of a provider's description (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


class Provider:
    """One provider, seen by one node. `redirect` is where it sends people back to."""

    def __init__(self, settings: OidcSettings, redirect: str, clock: Clock) -> None:
        self._settings = settings
        self._redirect = redirect
        self._clock = clock
        self._asking = asyncio.Lock()
        self._tls: ssl.SSLContext | None = None
        self._metadata: tuple[float, _Metadata] | None = None
        self._keys: tuple[float, _Keys] | None = None
        self._away_until_s = 0.0
        self._exchanging = asyncio.Semaphore(EXCHANGES)

    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """Where the person goes to sign in. Raises `ProviderUnavailable`."""
        metadata = await self._description()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            # Whoever finds an open browser must not be the person: they sign in anew. This travels through that very
            # browser, where it can be taken out: `auth_time` is what shows that it was done.
            "prompt": "login",
            "max_age": str(MAX_AGE_S),
        }
        joined = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joined}{urlencode(query)}"

    async def identity(self, code: str, verifier: str, nonce: str, begun_ms: int) -> Identity:
        """Who signed in since `begun_ms`, for the code that came back. Raises `IdentityRefused`, `ProviderUnavailable`."""
        if self._exchanging.locked():
            raise ProviderUnavailable
        async with self._exchanging:
            token = await self._exchanged(code, verifier)
        return await self._verified(token, nonce, begun_ms // 1000)

    async def _exchanged(self, code: str, verifier: str) -> str:
        """The signed identity that the provider gives for a code."""
        metadata = await self._description()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": verifier,
            "client_id": self._settings.client_id,
        }
        headers: dict[str, str] = {}
        secret = self._settings.client_secret
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(self._settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif secret:
            form["client_secret"] = secret
        return (await self._ask("POST", metadata.token_endpoint, _Tokens, form, headers)).id_token

    # ---- the identity

    async def _verified(self, token: str, nonce: str, begun_s: int) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(header.get("kid"), header.get("alg"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.client_id,
                issuer=self._settings.issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
                    # Times are compared with the clock port below.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            self._check_times(claims, begun_s)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
            # The library's text repeats input.
            raise IdentityRefused from None
        party = claims.get("azp")
        several = isinstance(claims["aud"], list) and len(cast("list[object]", claims["aud"])) > 1
        if claims["nonce"] != nonce or (party != self._settings.client_id and (several or party is not None)):
            raise IdentityRefused
        subject, email = claims["sub"], claims.get("email")
        if not isinstance(subject, str) or not subject:
            raise IdentityRefused
        verified = isinstance(email, str) and claims.get("email_verified") is True
        return Identity(subject, cast("str", email) if verified else "")

    def _check_times(self, claims: Mapping[str, Any], begun_s: int) -> None:
        now_s = self._clock.now_ms() // 1000
        begins = [int(claims[name]) for name in ("iat", "nbf") if name in claims]
        if int(claims["exp"]) <= now_s - LEEWAY_S or any(at_s > now_s + LEEWAY_S for at_s in begins):
            raise IdentityRefused
        if "auth_time" not in claims:
            if self._settings.auth_time_required:
                # Everybody is refused then, and only the operator can see to it.
                _log.warning("identity_without_auth_time")
                raise IdentityRefused
        elif int(claims["auth_time"]) < begun_s - LEEWAY_S:
            raise IdentityRefused

    async def _key(self, kid: object, algorithm: object) -> jwt.PyJWK:
        if algorithm not in ALGORITHMS:
            raise IdentityRefused
        for fresh in (False, True):
            found = [
                key
                for key in (await self._published(fresh=fresh)).keys
                if key.get("use", "sig") == "sig" and (kid is None or key.get("kid") == kid)
            ]
            if len(found) == 1:
                return jwt.PyJWK.from_dict(found[0], algorithm=algorithm)
        raise IdentityRefused

    # ---- what the provider says of itself

    async def _description(self) -> _Metadata:
        async with self._asking:
            now_s = self._clock.monotonic_s()
            if self._metadata is None or now_s - self._metadata[0] >= KEPT_S:
                address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                metadata = await self._read(address, _Metadata)
                places = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
                secure = urlsplit(self._settings.issuer).scheme == "https"
                if metadata.issuer != self._settings.issuer or (
                    secure and any(urlsplit(place).scheme != "https" for place in places)
                ):
                    raise ProviderUnavailable
                self._metadata = (now_s, metadata)
            return self._metadata[1]

    async def _published(self, *, fresh: bool) -> _Keys:
        metadata = await self._description()
        async with self._asking:
            now_s = self._clock.monotonic_s()
            if self._keys is None or now_s - self._keys[0] >= (AGAIN_S if fresh else KEPT_S):
                self._keys = (now_s, await self._read(metadata.jwks_uri, _Keys))
            return self._keys[1]

    async def _read(self, address: str, kind: type[T]) -> T:
        """What the provider publishes. One that is away is left in peace for `AWAY_S`."""
        if self._clock.monotonic_s() < self._away_until_s:
            raise ProviderUnavailable
        try:
            return await self._ask("GET", address, kind)
        except ProviderUnavailable:
            self._away_until_s = self._clock.monotonic_s() + AWAY_S
            raise

    async def _ask(
        self,
        method: str,
        address: str,
        kind: type[T],
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        import httpx

        if self._tls is None:
            # Reads the system's authorities, once.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        body = bytearray()
        # Not made small: what a few bytes unfold to is bounded by nobody.
        headers = {**(headers or {}), "Accept-Encoding": "identity"}
        try:
            # One connection a question: people sign in a few times a day, and nothing has to be closed in the end.
            async with (
                asyncio.timeout(ASK_S),
                httpx.AsyncClient(
                    verify=self._tls, trust_env=False, follow_redirects=False, timeout=ASK_S
                ) as client,
                client.stream(method, address, data=form, headers=headers) as answer,
            ):
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > ANSWER_BYTES:
                        raise ProviderUnavailable
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError):
            raise ProviderUnavailable from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise ProviderUnavailable
        if answer.status_code != 200:
            raise IdentityRefused
        try:
            return msgspec.json.decode(bytes(body), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ProviderUnavailable from None
