"""Signals of a call against the vectors, which another writer made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.video.signalling import (
    BRIDGE_SIGNALS,
    CLIENT_SIGNALS,
    Answer,
    BridgeSignal,
    ClientSignal,
    Offer,
    decode_bridge_signal,
    decode_client_signal,
    encode_signal,
)
from tests.support.message_vectors import plain, vector_bytes

VECTORS = Path(__file__).resolve().parents[3] / "protocol/vectors"
CASES: dict[str, Any] = json.loads((VECTORS / "signals.json").read_text())
SIGNALS = {s.__name__: s for s in (*CLIENT_SIGNALS, *BRIDGE_SIGNALS)}


def _decode(direction: str, data: bytes) -> ClientSignal | BridgeSignal:
    return decode_client_signal(data) if direction == "client" else decode_bridge_signal(data)


def test_vector_file_follows_its_schema() -> None:
    jsonschema.validate(CASES, json.loads((VECTORS / "schema.json").read_text()))


@pytest.mark.parametrize("case", CASES["valid"], ids=lambda c: c["name"])
def test_valid_vector_decodes_to_its_fields_and_back(case: dict[str, Any]) -> None:
    signal = _decode(case["direction"], bytes.fromhex(case["hex"]))
    assert type(signal) is SIGNALS[case["message"]]
    assert {f: plain(getattr(signal, f)) for f in signal.__struct_fields__} == case["fields"]
    assert _decode(case["direction"], encode_signal(signal)) == signal


@pytest.mark.parametrize("case", CASES["invalid"], ids=lambda c: c["name"])
def test_invalid_vector_is_refused_with_its_code(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        _decode(case["direction"], vector_bytes(case))
    assert caught.value.code.label == case["error"]


def test_every_signal_has_a_valid_vector() -> None:
    assert {c["message"] for c in CASES["valid"]} == set(SIGNALS)


def test_tags_are_even_and_distinct() -> None:
    tags = [s.__struct_config__.tag for s in SIGNALS.values()]
    assert len(set(tags)) == len(tags)
    assert all(isinstance(tag, int) and tag % 2 == 0 for tag in tags)


@pytest.mark.parametrize("signal", [Answer(1, 1, "é" * 24_576), Offer(1, 1, "é" * 24_576)])
def test_too_large_a_signal_is_not_written(signal: Answer | Offer) -> None:
    with pytest.raises(ProtocolError) as caught:
        encode_signal(signal)
    assert caught.value.code is WireError.TOO_LARGE


@given(st.sampled_from(CASES["valid"]), st.data())
def test_a_changed_byte_never_escapes_as_another_error(case: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray.fromhex(case["hex"])
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        _decode(case["direction"], bytes(raw))
    except ProtocolError as error:
        assert error.detail == "not a signal of a call"  # noqa: PT017
