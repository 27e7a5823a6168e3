"""What an operator can set of the socket half."""

from __future__ import annotations

from dataclasses import dataclass, field

from leeside_server.core.rates import Rate


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`public_origins`: where our own pages are served from, as browsers send it in `Origin`; a client
    without `Origin` is not a browser. `sockets`: how many connections this node takes at once. `handshakes`:
    how fast it lets new ones in; beyond, they are told `crowded` and come back with full jitter."""

    public_origins: frozenset[str] = frozenset()
    sockets: int = 20_000
    handshakes: Rate = field(default_factory=lambda: Rate(500.0, 2_000))
