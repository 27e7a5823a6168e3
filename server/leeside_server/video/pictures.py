"""The numbers that a VP8 sender gives its pictures (RFC 7741, 4.2), made to go on when a slot changes layers.

Each layer of a simulcast counts for itself. A receiver that is switched from one to another takes what is numbered below what it
has for old, and waits: its picture stands still although every packet came. So a slot shifts both numbers, as it shifts
sequence and time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_EXTENDED: Final = 0x80
_HAS_PICTURE: Final = 0x80
_HAS_LEVEL: Final = 0x40
_LONG: Final = 0x80
PICTURES: Final = 1 << 15
LEVELS: Final = 1 << 8


class Numbers(NamedTuple):
    """A picture's number, and that of the base layer it stands on (TL0PICIDX); -1: not given."""

    picture: int
    level: int


NO_NUMBERS: Final = Numbers(-1, -1)


def read_numbers(payload: bytes | bytearray | memoryview, at: int = 0) -> Numbers:
    """The numbers in the descriptor that begins at `at`."""
    end = len(payload)
    if end - at < 3 or not payload[at] & _EXTENDED:
        return NO_NUMBERS
    bits = payload[at + 1]
    at += 2
    picture = level = -1
    if bits & _HAS_PICTURE:
        picture = payload[at]
        at += 1
        if picture & _LONG:
            if at >= end:
                return NO_NUMBERS
            picture = (picture & 0x7F) << 8 | payload[at]
            at += 1
    if bits & _HAS_LEVEL and at < end:
        level = payload[at]
    return Numbers(picture, level)


Placed = tuple[int, int, int, int]
"""(Where a number of 15 bits stands, that number, where the level stands, that level); a place of 0: it is not there."""


def place_numbers(body: bytes, at: int) -> Placed | None:
    """Where the numbers of the descriptor at `at` stand, so that a packet is read once and shifted for many receivers;
    None: in a way that only `shift_numbers` can deal with."""
    end = len(body)
    if end - at < 3 or not body[at] & _EXTENDED:
        return 0, 0, 0, 0
    bits = body[at + 1]
    at += 2
    place = picture = level_at = level = 0
    if bits & _HAS_PICTURE:
        if not body[at] & _LONG or at + 1 >= end:
            return None
        place, picture = at, (body[at] & 0x7F) << 8 | body[at + 1]
        at += 2
    if bits & _HAS_LEVEL and at < end:
        level_at, level = at, body[at]
    return place, picture, level_at, level


def shift_numbers(buffer: bytearray, at: int, end: int, pictures: int, levels: int) -> None:
    """Add to the numbers of the descriptor at `at` of a packet that ends at `end`, in place. A number of seven bits cannot
    count on from one of fifteen: it is shifted within its own."""
    if end - at < 3 or not buffer[at] & _EXTENDED:
        return
    bits = buffer[at + 1]
    at += 2
    if bits & _HAS_PICTURE:
        first = buffer[at]
        if not first & _LONG:
            buffer[at] = (first + pictures) & 0x7F
        elif at + 1 < end:
            picture = ((first & 0x7F) << 8 | buffer[at + 1]) + pictures
            buffer[at] = _LONG | picture >> 8 & 0x7F
            at += 1
            buffer[at] = picture & 0xFF
        at += 1
    if bits & _HAS_LEVEL and at < end:
        buffer[at] = (buffer[at] + levels) & 0xFF
