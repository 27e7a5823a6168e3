"""The codec against the vectors of chapters 01 to 03, and against arbitrary bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.codec import decode_client, decode_server, encode
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.messages import (
    CLIENT_MESSAGES,
    LOGGABLE,
    SERVER_MESSAGES,
    ClientMessage,
    Entry,
    Publish,
    ServerMessage,
)
from leeside_protocol.words import Lane
from tests.support.message_vectors import plain, vector_bytes

VECTORS = Path(__file__).resolve().parents[2] / "protocol/vectors"
CASES: dict[str, Any] = json.loads((VECTORS / "messages.json").read_text())
MESSAGES = {m.__name__: m for m in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}


def _decode(direction: str, data: bytes) -> ClientMessage | ServerMessage | None:
    return decode_client(data) if direction == "client" else decode_server(data)


def test_vector_file_follows_its_schema() -> None:
    jsonschema.validate(CASES, json.loads((VECTORS / "schema.json").read_text()))


@pytest.mark.parametrize("case", CASES["valid"], ids=lambda c: c["name"])
def test_valid_vector_decodes_to_its_fields_and_back(case: dict[str, Any]) -> None:
    message = _decode(case["direction"], bytes.fromhex(case["hex"]))
    if case["message"] is None:
        assert message is None
        return
    assert message is not None
    assert type(message) is MESSAGES[case["message"]]
    assert {f: plain(getattr(message, f)) for f in message.__struct_fields__} == case["fields"]
    assert _decode(case["direction"], encode(message)) == message


@pytest.mark.parametrize("case", CASES["invalid"], ids=lambda c: c["name"])
def test_invalid_vector_is_refused_with_its_code(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        _decode(case["direction"], vector_bytes(case))
    assert caught.value.code.label == case["error"]


def test_every_message_has_a_valid_vector() -> None:
    assert {c["message"] for c in CASES["valid"]} - {None} == set(MESSAGES)


def test_every_message_says_what_may_be_logged() -> None:
    assert set(LOGGABLE) == set(MESSAGES) | {"Entry"}
    for name, fields in LOGGABLE.items():
        known = set(Entry.__struct_fields__ if name == "Entry" else MESSAGES[name].__struct_fields__)
        assert fields <= known, name
        assert not fields & {"payload", "token", "proof", "nonce", "detail", "client", "key"}, name


def test_tags_are_even_and_distinct() -> None:
    tags = [m.__struct_config__.tag for m in MESSAGES.values()]
    assert len(set(tags)) == len(tags)
    assert all(isinstance(t, int) and t % 2 == 0 for t in tags)


def test_too_large_a_message_is_not_written() -> None:
    message = Publish(
        1, ChannelAddress(b"c" * 17), Lane.LOG, b"", MessageId(b"i" * 16), payload=bytes(65_530)
    )
    with pytest.raises(ProtocolError) as caught:
        encode(message)
    assert caught.value.code is WireError.TOO_LARGE


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_decoded_or_refused(data: bytes) -> None:
    for decode in (decode_client, decode_server):
        try:
            decode(data)
        except ProtocolError as error:
            assert error.code in {WireError.INVALID, WireError.TOO_LARGE}  # noqa: PT017 - either outcome is right


@given(st.sampled_from(CASES["valid"]), st.data())
def test_a_changed_byte_never_escapes_as_another_error(case: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray.fromhex(case["hex"])
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        _decode(case["direction"], bytes(raw))
    except ProtocolError as error:
        assert error.detail in {"not a message of this protocol", "a message has 65,536 bytes at most"}  # noqa: PT017
