"""The numbers of VP8 pictures: found where RFC 7741 puts them, and shifted in place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_server.video.pictures import NO_NUMBERS, Numbers, place_numbers, read_numbers, shift_numbers

FRAME = b"\x9d\x01\x2a frame"
DESCRIPTORS = {
    b"\x10": NO_NUMBERS,
    b"\x90\x00": NO_NUMBERS,
    b"\x90\x80\x11": Numbers(0x11, -1),
    b"\x90\x80\x92\x34": Numbers(0x1234, -1),
    b"\x90\xc0\x92\x34\x07": Numbers(0x1234, 7),
    b"\x90\xe0\x92\x34\x07\x20": Numbers(0x1234, 7),
    b"\x90\x40\x09": Numbers(-1, 9),
}


@pytest.mark.parametrize("head", DESCRIPTORS)
def test_numbers_are_found(head: bytes) -> None:
    assert read_numbers(head + FRAME) == DESCRIPTORS[head]
    assert read_numbers(b"before" + head + FRAME, 6) == DESCRIPTORS[head]


@pytest.mark.parametrize("head", DESCRIPTORS)
@given(pictures=st.integers(-40_000, 40_000), levels=st.integers(-300, 300))
def test_numbers_are_shifted_and_nothing_else(head: bytes, pictures: int, levels: int) -> None:
    buffer = bytearray(b"before" + head + FRAME + b"behind")
    end = len(buffer) - 6
    shift_numbers(buffer, 6, end, pictures, levels)
    before, after = DESCRIPTORS[head], read_numbers(buffer, 6)
    bits = 15 if before.picture > 0x7F else 7
    assert after.picture == (-1 if before.picture < 0 else (before.picture + pictures) % (1 << bits))
    assert after.level == (-1 if before.level < 0 else (before.level + levels) % 256)
    shift_numbers(buffer, 6, end, -pictures, -levels)
    assert buffer == b"before" + head + FRAME + b"behind"


@given(
    st.sampled_from(sorted(DESCRIPTORS)),
    st.integers(0, 12),
    st.integers(-40_000, 40_000),
    st.integers(-300, 300),
)
def test_a_packet_that_was_read_once_is_shifted_alike(
    head: bytes, length: int, pictures: int, levels: int
) -> None:
    body = b"abc" + (head + FRAME)[:length]
    placed = place_numbers(body, 3)
    shifted, written = bytearray(body), bytearray(body)
    shift_numbers(shifted, 3, len(body), pictures, levels)
    if placed is None:
        assert read_numbers(body, 3).picture < 0x80
        return
    picture_at, picture, level_at, level = placed
    if picture_at:
        written[picture_at : picture_at + 2] = (0x8000 | (picture + pictures) & 0x7FFF).to_bytes(2)
    if level_at:
        written[level_at] = (level + levels) & 0xFF
    assert written == shifted


@given(st.binary(max_size=8), st.integers(), st.integers())
def test_a_descriptor_that_ends_too_soon_changes_nothing_behind_it(
    data: bytes, pictures: int, levels: int
) -> None:
    read_numbers(data)
    buffer = bytearray(data + b"behind")
    shift_numbers(buffer, 0, len(data), pictures, levels)
    assert buffer[len(data) :] == b"behind"
