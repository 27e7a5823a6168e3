"""Public keys that no honest device makes: the lists are those of the curve, and no others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.curve import weak_identity
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.signed import verify_raw
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.weak import (
    ANYBODYS_SIGNATURE,
    NON_CANONICAL_KEY,
    SMALL_ORDER_KEY,
    P,
    all_encodings,
    canonical,
    encoded,
    points_of_small_order,
    x_of,
)


def test_every_encoding_of_the_points_of_small_order_is_weak() -> None:
    points = points_of_small_order()
    assert len(points) == 8
    assert all(weak_identity(encoded(point)) for point in points)
    encodings = {data for _, y in points for data in all_encodings(y)}
    # Five y with two signs each; of 0 and 1 there are second forms below 2^255.
    assert len(encodings) == 14
    assert all(weak_identity(data) for data in encodings)


def test_every_y_that_is_not_reduced_is_weak() -> None:
    for number in range(P, 2**255):
        for sign in (0, 1):
            assert weak_identity((number | sign << 255).to_bytes(32, "little"))


def test_the_points_beside_them_are_not() -> None:
    small = {y for _, y in points_of_small_order()}
    near = {y + step for y in small for step in range(-40, 41)}
    others = [y for y in near - small if 0 <= y < P and x_of(y) is not None]
    assert len(others) > 100
    assert not any(weak_identity(data) for y in others for data in canonical(y))


@given(st.binary(min_size=32, max_size=32))
def test_no_key_that_somebody_made_is_weak(seed: bytes) -> None:
    assert not weak_identity(SigningKey(seed).public)


@given(st.binary())
def test_with_a_key_of_small_order_one_signature_says_anything(message: bytes) -> None:
    """Why they are refused; should a library begin to refuse them, the rule still keeps all the others together."""
    verify_raw(SMALL_ORDER_KEY, ANYBODYS_SIGNATURE, message)


@pytest.mark.parametrize("root", [SMALL_ORDER_KEY, NON_CANONICAL_KEY])
def test_no_agency_stands_on_a_weak_root(root: bytes) -> None:
    with refused(SealingCode.E_DIR):
        Directory(root)
