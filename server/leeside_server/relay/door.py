"""How fast new sockets come in, and how many there may be: for each source, and for the node.

Theory of operation. A whole city may stand behind one address, and all of it comes back at once when the network
does: a source's burst admits that. Beyond it the source waits, and nobody else: what it may take of the node's
own rate in the long run is a fraction. The node's rate is what its processor can verify.
"""

from __future__ import annotations

from typing import Final

from leeside_server.core.rates import Bucket, Buckets, Rate, take

SOURCES_KEPT: Final = 50_000
"""Sources remembered at once, about 10 MB; the one that came longest ago begins anew."""


class Door:
    """The handshakes of one node. `let_in` before one is accepted."""

    def __init__(self, per_source: Rate, of_all: Rate, sources_kept: int = SOURCES_KEPT) -> None:
        self._sources = Buckets(per_source, sources_kept)
        self._of_all_rate = of_all
        self._of_all: Bucket | None = None

    def let_in(self, source: str, now_s: float) -> bool:
        """Whether one more socket of this source may come now."""
        if self._sources.take(source.encode(), now_s) > 0.0:
            return False
        self._of_all, wait_s = take(self._of_all, self._of_all_rate, now_s)
        return wait_s == 0.0
