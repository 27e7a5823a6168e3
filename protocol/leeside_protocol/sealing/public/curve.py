"""Public keys that no honest device makes, refused wherever they are published.

An X25519 point of low order gives no shared secret: nobody can seal to it, and it must not stand in the way of
a whole channel's next commit.  RFC 7748 section 6.1.

For an Ed25519 key of small order one signature holds for any message: anybody could sign as its holder.  And of a
point in a second encoding, which RFC 8032 section 5.1.3 forbids, some verifiers take signatures and some do not:
members would part ways.
"""

from __future__ import annotations

from typing import Final

_P: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)

# The y of the eight points whose order divides the cofactor: orders 4, 1, 2 and twice 8.  A test
# computes them from the curve (RFC 8032 section 5.1).
_OF_ORDER_EIGHT: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _OF_ORDER_EIGHT, _P - _OF_ORDER_EIGHT})


def low_order(public: bytes) -> bool:
    """Whether a 32-byte X25519 public key is a point of low order, in any of its encodings."""
    return _number(public) % _P in _LOW_ORDER


def weak_identity(public: bytes) -> bool:
    """Whether a 32-byte Ed25519 public key is of small order, or not in its one canonical encoding."""
    y = _number(public)
    return y >= _P or y in _SMALL_ORDER


def _number(public: bytes) -> int:
    """The coordinate; the top bit is the sign of the other one (Ed25519), or unread (X25519)."""
    return int.from_bytes(public, "little") & 2**255 - 1
