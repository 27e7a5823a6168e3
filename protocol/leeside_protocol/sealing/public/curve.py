"""Public keys that no honest device makes.

A point of low order gives no shared secret: nobody can seal to it.  Such a key is refused
where it is published, so that it cannot stand in the way of a whole channel's next commit.
RFC 7748 section 6.1.
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


def low_order(public: bytes) -> bool:
    """Whether a 32-byte X25519 public key is a point of low order, in any of its encodings."""
    return (int.from_bytes(public, "little") & 2**255 - 1) % _P in _LOW_ORDER
