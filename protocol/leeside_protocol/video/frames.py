"""How a sealed frame lies around the bytes that a codec's packets need in the clear (spec 09, "Sealed frames").

`frame = clear || sframe || trailer`.  The clear bytes stand in front because browsers and the bridge read a codec's header there; the
trailer says how many they are, and that the frame is sealed.  No key is here: who has one seals and opens in
`leeside_protocol.sealing.opening.media`, and the bridge, which has none, asks `is_sealed`.
"""

from __future__ import annotations

from typing import Final

from leeside_protocol.video.formats import MediaKind

MARK: Final = b"LS\x01"
"""The last bytes of every sealed frame; the number is the version of this layout."""
TRAILER_BYTES: Final = 1 + len(MARK)
FRAME_BYTES: Final = 1_048_576
"""The longest sealed frame: a key frame of 720 lines at its worst has a third of it."""
MOST_CLEAR_BYTES: Final = {MediaKind.AUDIO: 1, MediaKind.VIDEO: 10}
"""A receiver takes no more: what is in the clear, the bridge can read."""

_VP8_HEADER: Final = 3
_VP8_KEY_HEADER: Final = 10


def is_key_frame(frame: bytes | bytearray | memoryview) -> bool:
    """Whether a VP8 frame, sealed or not, is one that a decoder can begin with (RFC 6386 section 9.1)."""
    return len(frame) > 0 and not frame[0] & 1


def clear_bytes(media: MediaKind, frame: bytes) -> int:
    """How many bytes of an encoded frame a sender leaves in the clear: never more than its codec's own header."""
    if media is MediaKind.AUDIO:
        return min(len(frame), MOST_CLEAR_BYTES[media])
    return min(len(frame), _VP8_KEY_HEADER if is_key_frame(frame) else _VP8_HEADER)


def metadata(media: MediaKind, clear: bytes) -> bytes:
    """What is authenticated behind the SFrame header: the bridge cannot change a clear byte, nor take sound for picture."""
    return bytes([media]) + clear


def put_together(clear: bytes, sframe: bytes) -> bytes:
    """The frame as packets carry it."""
    return b"".join((clear, sframe, bytes([len(clear)]), MARK))


def take_apart(media: MediaKind, frame: bytes) -> tuple[bytes, bytes] | None:
    """(Clear bytes, SFrame) of a received frame; None when it is no sealed frame of this kind of media."""
    if not is_sealed(frame) or len(frame) > FRAME_BYTES:
        return None
    end = len(frame) - TRAILER_BYTES
    clear = frame[end]
    if clear > MOST_CLEAR_BYTES[media] or clear > end:
        return None
    return frame[:clear], frame[clear:end]


def is_sealed(end: bytes | bytearray | memoryview) -> bool:
    """Whether these bytes end as a sealed frame does.  Of a picture that is its last packet, of sound every packet."""
    return len(end) >= TRAILER_BYTES and end[-3:] == MARK
