"""The layout of sealed frames, by what the bridge and a receiver look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import (
    FRAME_BYTES,
    MARK,
    MOST_CLEAR_BYTES,
    TRAILER_BYTES,
    clear_bytes,
    is_key_frame,
    is_sealed,
    put_together,
    take_apart,
)

KEY_FRAME, DELTA = b"\x10" + bytes(19), b"\x11" + bytes(19)


@pytest.mark.parametrize(
    ("media", "frame", "clear"),
    [
        (MediaKind.AUDIO, b"\x78sound", 1),
        (MediaKind.AUDIO, b"", 0),
        (MediaKind.VIDEO, KEY_FRAME, 10),
        (MediaKind.VIDEO, DELTA, 3),
        (MediaKind.VIDEO, KEY_FRAME[:4], 4),
        (MediaKind.VIDEO, DELTA[:2], 2),
        (MediaKind.VIDEO, b"", 0),
    ],
)
def test_a_sender_leaves_the_codecs_header_in_the_clear(media: MediaKind, frame: bytes, clear: int) -> None:
    assert clear_bytes(media, frame) == clear
    assert is_key_frame(frame) == (frame[:1] == b"\x10" or frame[:1] == b"\x78")


@given(st.sampled_from(MediaKind), st.binary(max_size=10), st.binary(max_size=40))
def test_parts_come_back_unless_more_is_clear_than_may_be(
    media: MediaKind, clear: bytes, sframe: bytes
) -> None:
    frame = put_together(clear, sframe)
    assert is_sealed(frame)
    assert is_sealed(memoryview(frame))
    assert take_apart(media, frame) == (None if len(clear) > MOST_CLEAR_BYTES[media] else (clear, sframe))


@given(st.sampled_from(MediaKind), st.binary(max_size=60))
def test_any_bytes_are_taken_apart_or_not(media: MediaKind, data: bytes) -> None:
    for frame in (data, data + MARK):
        parts = take_apart(media, frame)
        assert parts is None or put_together(*parts) == frame


@pytest.mark.parametrize("end", [b"", MARK, MARK[:-1], b"\x00LS\x02", b"\x00LS", KEY_FRAME])
def test_what_ends_otherwise_is_not_sealed(end: bytes) -> None:
    assert not is_sealed(end)


def test_a_frame_has_bounds() -> None:
    longest = put_together(b"", bytes(FRAME_BYTES - TRAILER_BYTES))
    assert take_apart(MediaKind.VIDEO, longest) is not None
    assert take_apart(MediaKind.VIDEO, b"\x00" + longest) is None
