"""Identity keys that must be refused, computed from the curve of Ed25519 (RFC 8032 section 5.1)."""

from __future__ import annotations

from typing import Final, TypeAlias

Point: TypeAlias = tuple[int, int]

P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, P) % P
_ROOT_OF_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)
_PRIME_ORDER: Final = 2**252 + 27742317777372353535851937790883648493

SMALL_ORDER_KEY: Final = (1).to_bytes(32, "little")
"""The neutral element, canonical."""
NON_CANONICAL_KEY: Final = (P + 3).to_bytes(32, "little")
"""The point with y = 3, of large order, in its second encoding."""
ANYBODYS_SIGNATURE: Final = bytes([0x58]) + bytes([0x66]) * 31 + (1).to_bytes(32, "little")
"""R = the base point and S = 1: for `SMALL_ORDER_KEY` it holds for every message."""


def _add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    t = _D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def _times(number: int, point: Point) -> Point:
    result = (0, 1)
    while number:
        if number & 1:
            result = _add(result, point)
        point, number = _add(point, point), number >> 1
    return result


def x_of(y: int) -> int | None:
    """An x on the curve for this y (the other is p - x), or None."""
    u, v = (y * y - 1) % P, (_D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    for root in (x, x * _ROOT_OF_MINUS_ONE % P):
        if v * root * root % P == u:
            return root
    return None


def points_of_small_order() -> set[Point]:
    """The eight points whose order divides the cofactor: what the prime order leaves of points like any others."""
    points = [(x, y) for y in range(2, 60) if (x := x_of(y)) is not None]
    return {_times(_PRIME_ORDER, point) for point in points}


def encoded(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def all_encodings(y: int) -> list[bytes]:
    """Every 32 bytes that some verifier may take for this y: with and without the sign bit, and not reduced."""
    return canonical(y) + (canonical(y + P) if y + P < 2**255 else [])


def canonical(y: int) -> list[bytes]:
    """The two points with this y, as they are encoded while y is below p."""
    return [(y | sign << 255).to_bytes(32, "little") for sign in (0, 1)]
