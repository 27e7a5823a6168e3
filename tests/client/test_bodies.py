"""Message bodies, by their vectors: what each says, and what is refused with which code."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside import bodies
from leeside.bodies import BodyError, Text, Unsupported, encode_content, lane_of, read_content, type_of
from leeside.telling import belongs
from leeside_protocol.ids import DeviceId, MessageId, StateKind, state_key
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.body import decode_body
from leeside_protocol.words import Lane, Urgency
from tests.support import body_vectors

VECTORS = json.loads(body_vectors.PATH.read_text())
VALID: list[dict[str, Any]] = VECTORS["valid"]
INVALID: list[dict[str, Any]] = VECTORS["invalid"]
MESSAGE = MessageId(bytes(range(16)))


def names(cases: list[dict[str, Any]]) -> list[str]:
    return [case["name"] for case in cases]


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def test_the_file_is_what_its_writer_makes() -> None:
    assert body_vectors.PATH.read_text() == body_vectors.text()


@pytest.mark.parametrize("case", VALID, ids=names(VALID))
def test_a_valid_body_says_what_its_vector_says(case: dict[str, Any]) -> None:
    body = decode_body(bytes.fromhex(case["hex"]))
    assert body.type == case["type"]
    assert body.msg_id == MESSAGE
    assert (None if body.seen is None else [body.seen.seq, plain(body.seen.hash)]) == case["seen"]
    content = read_content(body.type, body.data)
    if body.type not in bodies.TYPES:
        assert content == Unsupported(body.type)
        return
    assert plain(msgspec.to_builtins(content, builtin_types=(bytes,))) == case["data"]
    assert not isinstance(content, Unsupported)
    written = decode_body(encode_content(content, body.ts_ms, MESSAGE, body.seen))
    assert read_content(written.type, written.data) == content


@pytest.mark.parametrize("case", INVALID, ids=names(INVALID))
def test_an_invalid_body_is_refused_with_its_code(case: dict[str, Any]) -> None:
    assert refusal(bytes.fromhex(case["hex"])) == case["error"]


def refusal(data: bytes) -> str:
    """The code with which a body is refused; empty when it is read."""
    try:
        body = decode_body(data)
        read_content(body.type, body.data)
    except (SealingError, BodyError) as error:
        return error.code
    return ""


def test_every_type_has_a_valid_vector_and_one_lane() -> None:
    assert set(bodies.TYPES) <= {case["type"] for case in VALID}
    assert len(bodies.TYPES) == len(bodies.LOG_TYPES) + len(bodies.STATE_TYPES) + len(bodies.STREAM_TYPES)


def test_what_is_beyond_its_bounds_is_refused_to_the_one_who_writes_it() -> None:
    for text in ("", "x" * 8_001):
        with pytest.raises(BodyError):
            encode_content(Text(Urgency.ROUTINE, text), 0, MESSAGE)


@given(st.sampled_from(sorted(bodies.TYPES)), st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8) | st.binary(max_size=33),
    lambda inner: st.lists(inner, max_size=8),
))  # fmt: skip
def test_whatever_a_member_sends_is_read_or_refused(kind: str, data: Any) -> None:
    try:
        content = read_content(kind, data)
    except BodyError:
        return
    assert not isinstance(content, Unsupported)
    assert type_of(content) == kind


DEVICE, OTHER = DeviceId(bytes([1] * 16)), DeviceId(bytes([2] * 16))


@pytest.mark.parametrize("case", [c for c in VALID if c["type"] in bodies.TYPES], ids=lambda c: c["name"])
def test_a_content_counts_only_in_its_lane_and_under_its_own_key(case: dict[str, Any]) -> None:
    body = decode_body(bytes.fromhex(case["hex"]))
    content = read_content(body.type, body.data)
    assert not isinstance(content, Unsupported)
    owner = {"status": 32, "unit_name": 32, "member_name": 16, "incident": 16}.get(body.type)
    named = DEVICE if owner is None else bytes(range(owner, owner + 16))
    kinds = {
        "status": StateKind.STATUS,
        "member_name": StateKind.NAME,
        "unit_name": StateKind.NAME,
        "incident": StateKind.INCIDENT,
        "marks": StateKind.RECEIPT,
        "last_position": StateKind.POSITION,
        "position": StateKind.POSITION,
        "typing": StateKind.TYPING,
    }
    kind = kinds.get(body.type)
    key = b"" if kind is None else state_key(kind, named)
    lane = lane_of(content)
    assert belongs(content, lane, key, DEVICE)
    assert not any(belongs(content, other, key, DEVICE) for other in Lane if other is not lane)
    assert not belongs(content, lane, state_key(StateKind.STATUS, bytes(16)), DEVICE)
    if kind is not None and owner is None:
        assert not belongs(content, lane, key, OTHER)
