"""What a worker counts: numbers only, no id and no content. They travel in `Load` (words) and stand on `/metrics` of the
server that started it."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct):
    """Since the worker began."""

    packets_in: int = 0
    """RTP that was genuine."""
    packets_out: int = 0
    """RTP that was sent, repairs among it."""
    strange: int = 0
    """Datagrams dropped: of nobody, or of no kind that comes here."""
    refused: int = 0
    """Dropped: not genuine, or seen before."""
    flooded: int = 0
    """Dropped: more than a peer may send, or of more streams."""
    unsent: int = 0
    """Dropped: the system took no more."""
    faulty: int = 0
    """Dropped: an exception of ours. Anything but 0 is a fault."""
    unsealed: int = 0
    """Dropped: media that were not sealed end to end."""
    joins: int = 0
    handshakes_failed: int = 0
    restarts: int = 0
    """Paths that were made anew."""
    stale: int = 0
    """Peers that went silent."""
    lost: int = 0
    """Peers that went silent and never came back."""
