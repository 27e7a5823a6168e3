"""Tokens: whose they are, how long they last, and everything that is none of ours."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.limits import TOKEN_TTL_S
from leeside_protocol.words import Role
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.core.identity import NO_AGENCY
from leeside_server.ports import StoreRefused
from leeside_server.relay.tokens import KEY_LEAD_MS, KEY_LIFE_MS, KIND, Tokens, load_secret
from tests.support.clock import FakeClock
from tests.support.sqlite import open_store

SECRET = bytes(range(32))
AGENCY, MEMBER, DEVICE = AgencyId(b"A" * 16), MemberId(b"M" * 16), DeviceId(b"D" * 16)
SESSION = b"S" * 16


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "t.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def tokens(store: SqliteStore, clock: FakeClock) -> Tokens:
    made = Tokens(store, clock, SECRET, os.urandom)
    await made.refresh()
    return made


def mint(tokens: Tokens, clock: FakeClock) -> str:
    return tokens.mint(AGENCY, MEMBER, DEVICE, (Role.RESPONDER,), SESSION, clock.now_ms())[0]


def refusal(tokens: Tokens, token: str, now_ms: int) -> WireError:
    with pytest.raises(ProtocolError) as refused:
        tokens.verify(token, now_ms)
    assert len(token) < 20 or token not in str(refused.value)
    return refused.value.code


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_a_token_says_who_for_five_minutes(tokens: Tokens, clock: FakeClock) -> None:
    token, claims = tokens.mint(AGENCY, MEMBER, DEVICE, (Role.RESPONDER,), SESSION, clock.now_ms())
    assert tokens.verify(token, clock.now_ms()) == claims
    assert (claims.agency, claims.member, claims.device, claims.session) == (AGENCY, MEMBER, DEVICE, SESSION)
    assert claims.until_ms == clock.now_ms() + TOKEN_TTL_S * 1000
    tokens.verify(token, claims.until_ms - 1)
    assert refusal(tokens, token, claims.until_ms) is WireError.TOKEN_EXPIRED


async def test_a_signature_is_checked_once_and_the_end_every_time(
    tokens: Tokens, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    decode = jwt.decode

    def counting(token: str, *args: Any, **more: Any) -> Any:
        checked.append(token)
        return decode(token, *args, **more)

    monkeypatch.setattr(jwt, "decode", counting)
    monkeypatch.setattr("leeside_server.relay.tokens.TOKENS_KEPT", 2)
    first, *others = (mint(tokens, clock) for _ in range(3))
    until_ms = [tokens.verify(first, clock.now_ms()).until_ms for _ in range(3)]
    assert (len(set(until_ms)), checked) == (1, [first])
    assert refusal(tokens, first, until_ms[0]) is WireError.TOKEN_EXPIRED
    for token in (first, *others, first):
        tokens.verify(token, clock.now_ms())
    assert checked == [first, first, *others, first], "an ended one and the oldest are not remembered"


async def test_every_token_has_an_id_of_its_own(tokens: Tokens, clock: FakeClock) -> None:
    seen = {tokens.verify(mint(tokens, clock), clock.now_ms()).jti for _ in range(20)}
    assert len(seen) == 20


async def test_padding_makes_another_text_of_the_same_token(tokens: Tokens, clock: FakeClock) -> None:
    """Why a token is ended by its session and never by its text."""
    token = mint(tokens, clock)
    padded = tokens.verify(token + "==", clock.now_ms())
    assert padded.jti == tokens.verify(token, clock.now_ms()).jti


Forge = Callable[[dict[str, Any], dict[str, Any], Ed25519PrivateKey], str]
FORGERIES: dict[str, Forge] = {
    "signed by another key": lambda head, body, key: jwt.encode(body, key, "EdDSA", headers=head),
    "a key of its own in the header": lambda head, body, key: jwt.encode(
        body,
        key,
        "EdDSA",
        headers={
            **head,
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())},
        },
    ),
    "a key to fetch": lambda head, body, key: jwt.encode(
        body, key, "EdDSA", headers={**head, "jku": "https://example.org/keys", "x5u": "https://example.org"}
    ),
    "no algorithm": lambda head, body, _: (
        f"{b64(json.dumps({**head, 'alg': 'none'}).encode())}.{b64(json.dumps(body).encode())}."
    ),
    "a shared secret made of the public key": lambda head, body, _: jwt.encode(
        body, bytes.fromhex(head["public"]), "HS256", headers={"kid": head["kid"]}
    ),
    "no key id": lambda _, body, key: jwt.encode(body, key, "EdDSA"),
    "a key id that is no text": lambda _, body, key: jwt.encode(body, key, "EdDSA", headers={"kid": ["x"]}),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_unauthenticated(tokens: Tokens, clock: FakeClock, name: str) -> None:
    token = mint(tokens, clock)
    body = jwt.decode(token, options={"verify_signature": False})
    head: dict[str, Any] = {"kid": jwt.get_unverified_header(token)["kid"]}
    if "shared secret" in name:
        head["public"] = os.urandom(32).hex()
    try:
        forged = FORGERIES[name](head, body, Ed25519PrivateKey.generate())
    except (jwt.PyJWTError, TypeError):
        forged = token[:-8] + "AAAAAAAA"
    assert refusal(tokens, forged, clock.now_ms()) is WireError.UNAUTHENTICATED


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "someone else"},
        {"iss": "someone else"},
        {"sub": "no id"},
        {"agency": "00"},
        {"roles": ["owner"]},
        {"sid": None},
        {"exp": "soon"},
        *(
            {name: ...}
            for name in ("iss", "aud", "sub", "exp", "iat", "jti", "sid", "agency", "member", "roles")
        ),
    ],
)
async def test_our_own_signature_over_other_claims_is_no_token_either(
    tokens: Tokens, clock: FakeClock, change: dict[str, Any]
) -> None:
    token = mint(tokens, clock)
    body = jwt.decode(token, options={"verify_signature": False})
    body.update(change)
    body = {name: value for name, value in body.items() if value is not ...}
    (key,) = tokens._keys.values()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    forged = jwt.encode(body, key.private, "EdDSA", headers={"kid": key.kid})
    assert refusal(tokens, forged, clock.now_ms()) is WireError.UNAUTHENTICATED


@given(st.text(max_size=200))
def test_noise_is_unauthenticated(text: str) -> None:
    tokens = Tokens(None, FakeClock(), SECRET, os.urandom)  # type: ignore[arg-type]
    assert refusal(tokens, text, 0) is WireError.UNAUTHENTICATED


async def test_keys_rotate_with_overlap_and_every_node_knows_the_next_before_it_signs(
    store: SqliteStore, tokens: Tokens, clock: FakeClock
) -> None:
    other = Tokens(store, clock, SECRET, os.urandom)
    await other.refresh()
    kids: list[str] = []
    step_s = KEY_LEAD_MS // 2000
    for _ in range(3):
        clock.advance(KEY_LIFE_MS / 1000 - 2 * step_s * 4)
        await tokens.refresh()
        await other.refresh()
        for _ in range(12):
            clock.advance(step_s)
            token = mint(tokens, clock)
            kid = jwt.get_unverified_header(token)["kid"]
            if kid not in kids:
                kids.append(kid)
            assert other.verify(token, clock.now_ms()).device == DEVICE
            await tokens.refresh()
            await other.refresh()
            assert tokens.verify(token, clock.now_ms() + 1000).device == DEVICE
    assert len(kids) == 4


async def test_two_nodes_that_start_at_once_share_one_first_key(store: SqliteStore, clock: FakeClock) -> None:
    nodes = [Tokens(store, clock, SECRET, os.urandom) for _ in range(5)]
    await asyncio.gather(*(node.refresh() for node in nodes))
    token = mint(nodes[0], clock)
    assert {node.verify(token, clock.now_ms()).jti for node in nodes} == {
        nodes[0].verify(token, clock.now_ms()).jti
    }


async def test_a_node_whose_clock_is_behind_that_of_the_first_lets_people_in(
    store: SqliteStore, tokens: Tokens, clock: FakeClock
) -> None:
    behind = FakeClock(clock.now_ms() - 1_500)
    other = Tokens(store, behind, SECRET, os.urandom)
    await other.refresh()
    assert tokens.verify(mint(other, behind), clock.now_ms()).device == DEVICE


async def test_the_store_alone_signs_nothing(store: SqliteStore, tokens: Tokens, clock: FakeClock) -> None:
    (key,) = tokens._keys.values()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    (found,) = await store.objects(NO_AGENCY, KIND, None, b"", 10)
    private = key.private.private_bytes_raw()
    assert private not in found.body
    assert base64.b64encode(private) not in found.body
    with pytest.raises(StoreRefused, match="same file"):
        await Tokens(store, clock, bytes(32), os.urandom).refresh()


def test_the_secret_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "server-secret"
    secret = load_secret(path, os.urandom)
    assert load_secret(path, os.urandom) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(StoreRefused, match="0600"):
        load_secret(path, os.urandom)


def test_nodes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "server-secret"
    others: list[bytes] = []

    def while_another_starts(count: int) -> bytes:
        others.append(load_secret(path, os.urandom))
        return os.urandom(count)

    assert load_secret(path, while_another_starts) == others[0] == path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["server-secret"]


def test_a_node_killed_while_it_makes_the_secret_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "server-secret"

    def killed(_: int) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_secret(path, killed)
    assert not path.exists()
    assert len(load_secret(path, os.urandom)) == 32


def test_a_secret_of_another_length_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "server-secret"
    path.touch(mode=0o600)
    path.write_bytes(b"short")
    with pytest.raises(StoreRefused, match="32 bytes"):
        load_secret(path, os.urandom)
    assert path.read_bytes() == b"short"
