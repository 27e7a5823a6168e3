"""What an operator can set of the socket half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SOCKETS: Final = 20_000


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`public_origins`: where our own pages are served from, as browsers send it in `Origin`; a client
    without `Origin` is not a browser. `sockets`: how many connections this node takes."""

    public_origins: frozenset[str] = frozenset()
    sockets: int = SOCKETS
