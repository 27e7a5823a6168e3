"""A photo as a telephone writes it: with where it was taken, by what, and which side is up; and what is left of that."""

from __future__ import annotations

import struct
from typing import Final

MAKER: Final = b"Cam Makers\0"
_SEGMENT: Final = struct.Struct(">HH")
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_MAKE, _ORIENTATION, _GPS = 0x010F, 0x0112, 0x8825
_TURNED_LEFT: Final = 6
"""Orientation 6 (EXIF 2.32, table 6): the row that stands first is the right side of what was seen."""
_START_OF_FRAME: Final = frozenset({0xC0, 0xC1, 0xC2})
_APPLICATION: Final = range(0xE0, 0xF0)
_SCAN: Final = 0xDA


def exif(latitude: tuple[int, int, int]) -> bytes:
    """EXIF with a maker, the orientation 6 and a place, as one APP1 segment."""
    first, entries = 8, 3
    maker = first + 2 + entries * 12 + 4
    gps = maker + len(MAKER)
    place = gps + 2 + 2 * 12 + 4
    tiff = b"MM\0*" + struct.pack(">I", first)
    tiff += struct.pack(">H", entries)
    tiff += struct.pack(">HHII", _MAKE, _ASCII, len(MAKER), maker)
    tiff += struct.pack(">HHIHH", _ORIENTATION, _SHORT, 1, _TURNED_LEFT, 0)
    tiff += struct.pack(">HHII", _GPS, _LONG, 1, gps)
    tiff += struct.pack(">I", 0) + MAKER
    tiff += struct.pack(">H", 2)
    tiff += struct.pack(">HHI4s", 1, _ASCII, 2, b"N\0")
    tiff += struct.pack(">HHII", 2, _RATIONAL, 3, place)
    tiff += struct.pack(">I", 0) + b"".join(struct.pack(">II", part, 1) for part in latitude)
    body = b"Exif\0\0" + tiff
    return _SEGMENT.pack(0xFFE1, len(body) + 2) + body


def with_exif(jpeg: bytes, latitude: tuple[int, int, int]) -> bytes:
    """The picture, with EXIF behind its first mark."""
    return jpeg[:2] + exif(latitude) + jpeg[2:]


def size_px(jpeg: bytes) -> tuple[int, int]:
    """Width and height as they are stored."""
    for mark, body in _segments(jpeg):
        if mark in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", body, 1)
            return width, height
    raise ValueError("no frame")


def applications(jpeg: bytes) -> list[bytes]:
    """What programs wrote beside the picture: the names of its APPn segments."""
    return [body.split(b"\0")[0] for mark, body in _segments(jpeg) if mark in _APPLICATION]


def _segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """Marks and bodies up to the picture's own data."""
    found: list[tuple[int, bytes]] = []
    at = 2
    while at < len(jpeg):
        mark, length = _SEGMENT.unpack_from(jpeg, at)
        found.append((mark & 0xFF, jpeg[at + 4 : at + 2 + length]))
        if mark & 0xFF == _SCAN:
            return found
        at += 2 + length
    raise ValueError("no picture")
