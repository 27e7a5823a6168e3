"""Session tokens: short-lived JWTs of our own (RFC 7519, EdDSA), and the keys that sign them.

A token says who a session is, for `TOKEN_TTL_S`. It is verified with a key from our own set alone, chosen by `kid`:
`jku`, `jwk`, `x5u` and the like are never looked at, and the algorithm is fixed. A token ends early through its
session (`sid`) or its device, never by its text: several texts can carry one token (PyJWT takes padding).

| kind | agency | id | row |
|---|---|---|---|
| `signing_key` | `NO_AGENCY` | H("signing key", number)[:16] | `SigningKeyRow` |

Keys are shared by all nodes through the store, sealed there with the key-encryption secret that each node reads from
a file (`load_secret`): a copy of the database alone signs nothing. A new key signs only after every node has had
time to read it, and an old one verifies until its last token ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import jwt
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.limits import TOKEN_BYTES, TOKEN_TTL_S
from leeside_protocol.words import Role
from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.writes import Item, NotStored, Save
from leeside_server.ports import Clock, Store, StoreFull, StoreRefused

ISSUER: Final = "leeside"
AUDIENCE: Final = "leeside"
ALGORITHM: Final = "EdDSA"
KIND: Final = "signing_key"
SECRET_BYTES: Final = 32
KEY_LIFE_MS: Final = 30 * 86_400_000
"""How long one key signs."""
KEY_LEAD_MS: Final = 10 * 60_000
"""How long a new key is published before it signs: ten readings of the store by every node."""
TOKENS_KEPT: Final = 10_000
"""Tokens known to be ours, about 5 MB; the oldest is checked again."""
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat", "jti", "sid", "agency", "member", "roles"]


class Claims(msgspec.Struct, frozen=True):
    """Who a verified token stands for. Ids have 16 bytes; `until_ms` is when the token ends."""

    agency: AgencyId
    member: MemberId
    device: DeviceId
    roles: tuple[Role, ...]
    session: bytes
    jti: bytes
    until_ms: int


class SigningKeyRow(msgspec.Struct, frozen=True):
    """One key pair; `sealed` is nonce and AES-256-GCM of the 32 private bytes, aad = the public ones."""

    public: bytes
    sealed: bytes
    created_ms: int
    signs_from_ms: int
    signs_until_ms: int


class _Key(msgspec.Struct, frozen=True):
    kid: str
    row: SigningKeyRow
    private: Ed25519PrivateKey
    public: Ed25519PublicKey


def load_secret(path: Path, random: Callable[[int], bytes]) -> bytes:
    """The node's key-encryption secret: 32 bytes in a file that only its owner reads.

    Made when it is not there. `StoreRefused` when others may read it or it has another length: every node of a
    cluster needs the same file, so a wrong one must not be replaced in silence.
    """
    if not path.exists():
        _make_secret(path, random)
    mode = path.stat().st_mode
    if stat.S_IMODE(mode) & 0o077:
        raise StoreRefused("the key-encryption secret can be read by others: set its mode to 0600")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise StoreRefused("the key-encryption secret must hold exactly 32 bytes")
    return secret


def _make_secret(path: Path, random: Callable[[int], bytes]) -> None:
    """Whole or not at all: nodes that share a folder start together, and any of them may be killed in the middle."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(random(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Another node may have been first: then its secret stands.
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Tokens:
    """Makes and verifies tokens. Verifying is pure computation; `refresh` reads the store, every minute."""

    def __init__(self, store: Store, clock: Clock, secret: bytes, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._sealing_key = _derive(secret, b"leeside1 signing keys")
        self.challenge_key: Final = _derive(secret, b"leeside1 challenges")
        self.ticket_key: Final = _derive(secret, b"leeside1 tickets")
        self.refresh_key: Final = _derive(secret, b"leeside1 refresh secrets")
        self._keys: dict[str, _Key] = {}
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    async def refresh(self) -> None:
        """Read the keys, drop those whose tokens have all ended, and publish the next one in time.

        Call once before the first request, and then every minute. Raises `StoreRefused` when a key does not
        open with this node's secret, and the store's own errors. A store without room for the next key is none while
        there is another: the next call tries again.
        """
        now_ms = self._clock.now_ms()
        keys: dict[str, _Key] = {}
        number = 0
        while (found := await self._store.get(NO_AGENCY, KIND, _key_id(number))) is not None:
            key = self._open(number, msgspec.json.decode(found.body, type=SigningKeyRow))
            if now_ms < key.row.signs_until_ms + TOKEN_TTL_S * 1000:
                keys[key.kid] = key
            number += 1
        self._keys = keys
        newest_until = max((key.row.signs_until_ms for key in keys.values()), default=0)
        if newest_until - now_ms <= 2 * KEY_LEAD_MS:
            try:
                await self._publish(number, now_ms, newest_until)
            except StoreFull:
                if not keys:
                    raise

    async def _publish(self, number: int, now_ms: int, newest_until: int) -> None:
        # The very first key signs at once: no other node can hold an older set.
        begins = now_ms if newest_until <= now_ms else max(now_ms + KEY_LEAD_MS, newest_until)
        private = Ed25519PrivateKey.from_private_bytes(self._random(32))
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        nonce = self._random(12)
        raw = private.private_bytes_raw()
        row = SigningKeyRow(
            public,
            nonce + AESGCM(self._sealing_key).encrypt(nonce, raw, public),
            now_ms,
            begins,
            begins + KEY_LIFE_MS,
        )
        save = Save(KIND, _key_id(number), 0, msgspec.json.encode(row))
        (outcome,) = await self._store.apply([Item(NO_AGENCY, now_ms, (save,))])
        if isinstance(outcome, NotStored):
            # Another node was first; its key is as good.
            found = await self._store.get(NO_AGENCY, KIND, _key_id(number))
            assert found is not None
            row = msgspec.json.decode(found.body, type=SigningKeyRow)
        key = self._open(number, row)
        self._keys[key.kid] = key

    def _open(self, number: int, row: SigningKeyRow) -> _Key:
        try:
            raw = AESGCM(self._sealing_key).decrypt(row.sealed[:12], row.sealed[12:], row.public)
        except InvalidTag:
            raise StoreRefused(
                "a signing key does not open with this node's key-encryption secret: give every node the same file"
            ) from None
        private = Ed25519PrivateKey.from_private_bytes(raw)
        return _Key(_key_id(number).hex(), row, private, private.public_key())

    def mint(
        self,
        agency: AgencyId,
        member: MemberId,
        device: DeviceId,
        roles: tuple[Role, ...],
        session: bytes,
        now_ms: int,
        latest_ms: int = 0,
    ) -> tuple[str, Claims]:
        """A token for `TOKEN_TTL_S` from now, and no later than `latest_ms` unless that is 0. `refresh` has run before."""
        known = sorted(self._keys.values(), key=lambda k: k.row.signs_from_ms)
        # None signs yet where the clock is behind that of the node that made the first: every node has that one.
        key = next((k for k in reversed(known) if k.row.signs_from_ms <= now_ms), known[0])
        jti = self._random(16)
        until_s = now_ms // 1000 + TOKEN_TTL_S
        if latest_ms:
            until_s = min(until_s, latest_ms // 1000)
        text = jwt.encode(
            {
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": device.hex(),
                "agency": agency.hex(),
                "member": member.hex(),
                "roles": [role.value for role in roles],
                "sid": session.hex(),
                "jti": jti.hex(),
                "iat": now_ms // 1000,
                "exp": until_s,
            },
            key.private,
            algorithm=ALGORITHM,
            headers={"kid": key.kid},
        )
        return text, Claims(agency, member, device, roles, session, jti, until_s * 1000)

    def verify(self, token: str, now_ms: int) -> Claims:
        """The claims of a token that this server made and that has not ended.

        Raises `ProtocolError`: `token_expired` (sign in or refresh), `unauthenticated` for all else. Whether its
        session or device was revoked meanwhile is `Access`'s to say.
        """
        if len(token) > TOKEN_BYTES:
            raise ProtocolError(WireError.UNAUTHENTICATED, "not a token of this server")
        fingerprint = _fingerprint(token)
        known = self._verified.get(fingerprint)
        try:
            claims = self._claims(token) if known is None else known
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnicodeError):
            # The library's text repeats input.
            raise ProtocolError(WireError.UNAUTHENTICATED, "not a token of this server") from None
        if now_ms >= claims.until_ms:
            self._verified.pop(fingerprint, None)
            raise ProtocolError(WireError.TOKEN_EXPIRED, "this token has ended")
        if known is None:
            self._remember(fingerprint, claims)
        return claims

    def _remember(self, fingerprint: bytes, claims: Claims) -> None:
        """A client shows its token with every request and whenever it comes back: its signature is checked once."""
        self._verified[fingerprint] = claims
        if len(self._verified) > TOKENS_KEPT:
            self._verified.popitem(last=False)

    def _claims(self, token: str) -> Claims:
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._keys[cast("str", kid)]
        # Times are compared with the clock port afterwards, not with the library's own reading of the clock.
        body: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return Claims(
            AgencyId(_id(body["agency"])),
            MemberId(_id(body["member"])),
            DeviceId(_id(body["sub"])),
            tuple(Role(role) for role in body["roles"]),
            _id(body["sid"]),
            _id(body["jti"]),
            int(body["exp"]) * 1000,
        )


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _id(text: object) -> bytes:
    value = bytes.fromhex(cast("str", text))
    if len(value) != 16:
        raise ValueError
    return value


def _key_id(number: int) -> bytes:
    return hashlib.sha256(b"leeside1 signing key %d" % number).digest()[:16]


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, purpose).derive(secret)
