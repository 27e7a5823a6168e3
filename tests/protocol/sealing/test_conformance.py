"""Published vectors: RFC 9180 (from the `cryptography_vectors` package), Wycheproof and RFC 9605.

The latter are read from a folder beside the checkout, or from LEESIDE_VECTORS; where it is
not there, each test says which file it misses.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.media import MediaKey, decode_header, encode_header, key_and_salt
from leeside_protocol.sealing.public.curve import low_order
from leeside_protocol.sealing.public.signed import verify_raw
from tests.support.hpke_reference import Reference

CHECKOUT = Path(__file__).parents[3]


def published(name: str) -> Any:
    """A published vector file; the test is skipped with the missing file's name otherwise."""
    folder = Path(os.environ.get("LEESIDE_VECTORS") or CHECKOUT.parent / "shared" / "vectors")
    path = folder / name
    if not path.is_file():
        pytest.skip(f"vectors folder not found: {name} is missing (set LEESIDE_VECTORS to its folder)")
    return json.loads(path.read_text())


def cases_in(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(group, test) for group in published(name)["testGroups"] for test in group["tests"]]


def un(text: str) -> bytes:
    return bytes.fromhex(text)


def test_rfc_9180_key_schedule_and_box() -> None:
    """The X25519 base-mode vectors of the package, by the reference that the box tests lean on."""
    path = Path(cryptography_vectors.__file__).parent / "HPKE" / "hpke-pq-test-vectors.json"
    vectors = [v for v in json.loads(path.read_text()) if v["mode"] == 0 and v["kem_id"] == 0x20]
    assert vectors, "no X25519 vectors in this version of cryptography_vectors"
    for vector in vectors:
        private = un(vector["skRm"])
        assert hpke.public_of(private) == un(vector["pkRm"])
        shared = Reference.decapsulate(un(vector["enc"]), private)
        assert shared == un(vector["shared_secret"])


def test_hpke_against_an_independent_reading_of_rfc_9180() -> None:
    """The library opens what the reference seals, and the reference what the library seals."""
    private = bytes(range(32))
    public = hpke.public_of(private)
    for size in (0, 1, 33, 1000):
        plain, info = bytes(size), b"info" * (size % 7)
        assert hpke.unseal(1, private, info, Reference.seal(public, info, plain, bytes([7] * 32))) == plain
        assert Reference.unseal(private, info, hpke.seal(1, public, info, plain)) == plain


def test_wycheproof_ed25519() -> None:
    count = 0
    for group, test in cases_in("wycheproof_ed25519.json"):
        try:
            verify_raw(un(group["publicKey"]["pk"]), un(test["sig"]), un(test["msg"]))
            valid = True
        except SealingError:
            valid = False
        assert valid == (test["result"] == "valid"), test["tcId"]
        count += 1
    assert count > 100


def test_wycheproof_x25519() -> None:
    count = 0
    for _, test in cases_in("wycheproof_x25519.json"):
        public = un(test["public"])
        private = X25519PrivateKey.from_private_bytes(un(test["private"]))
        zero = test["shared"] == "00" * 32
        assert low_order(public) == zero, test["tcId"]
        if zero:
            assert not hpke.usable(public)
            continue
        assert hpke.usable(public)
        assert private.exchange(X25519PublicKey.from_public_bytes(public)).hex() == test["shared"], test[
            "tcId"
        ]
        count += 1
    assert count > 400


def test_wycheproof_aes_gcm() -> None:
    count = 0
    for group, test in cases_in("wycheproof_aes_gcm.json"):
        if group["ivSize"] != 96 or group["tagSize"] != 128 or group["keySize"] == 192:
            continue  # sizes that sealing never uses
        sealed = un(test["ct"]) + un(test["tag"])
        try:
            plain = AESGCM(un(test["key"])).decrypt(un(test["iv"]), sealed, un(test["aad"]))
            assert plain == un(test["msg"])
            valid = True
        except InvalidTag:
            valid = False
        assert valid == (test["result"] == "valid"), test["tcId"]
        count += 1
    assert count > 60


def test_wycheproof_hkdf() -> None:
    count = 0
    for _, test in cases_in("wycheproof_hkdf_sha256.json"):
        if test["result"] != "valid":
            with pytest.raises(ValueError, match="derive"):
                HKDF(hashes.SHA256(), test["size"], un(test["salt"]), un(test["info"]))
            continue
        derived = HKDF(hashes.SHA256(), test["size"], un(test["salt"]), un(test["info"])).derive(
            un(test["ikm"])
        )
        assert derived.hex() == test["okm"], test["tcId"]
        count += 1
    assert count > 60


def test_rfc_9605() -> None:
    vectors = published("rfc9605.json")
    for vector in vectors["header"]:
        kid, counter = int(vector["kid"], 16), int(vector["ctr"], 16)
        assert encode_header(kid, counter).hex() == vector["header"]
        assert decode_header(un(vector["header"])) == (kid, counter, len(vector["header"]) // 2)
    vector = vectors["aes128gcm"]
    kid = int(vector["kid"], 16)
    key, salt = key_and_salt(un(vector["base_key"]), kid)
    assert (key.hex(), salt.hex()) == (vector["sframe_key"], vector["sframe_salt"])
    sender = MediaKey(kid, key, salt, int(vector["ctr"], 16))
    sealed = sender.encrypt(un(vector["pt"]), un(vector["metadata"]))
    assert sealed.hex() == vector["ct"]
    assert MediaKey(kid, key, salt).decrypt(sealed, un(vector["metadata"])) == un(vector["pt"])
