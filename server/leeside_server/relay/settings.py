"""What an operator can set of the socket half."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import msgspec

from leeside_server.core.rates import Rate


class TurnSettings(msgspec.Struct, frozen=True):
    """Where media are relayed for who reaches the bridge by no other way, and the secret shared with that server."""

    urls: tuple[str, ...]
    secret: str

    def __repr__(self) -> str:
        return f"TurnSettings(urls={self.urls!r}, ...)"


class RelaySettings(msgspec.Struct, frozen=True):
    """`public_origins`: where our own pages are served from, as browsers send it in `Origin`; a client
    without `Origin` is not a browser. `sockets`: how many connections this node takes at once.
    `handshakes_per_source` and `handshakes`: how fast it lets new ones in, of one source and of all; beyond, they are
    told `crowded` and come back with full jitter. `trusted_proxies` may name the client in `X-Forwarded-For`;
    `proxies_only`: nobody else but this machine is heard. `probe_hours`: between two probes of a device. `turn` None: clients
    reach the bridge directly, or not at all."""

    public_origins: frozenset[str] = frozenset()
    sockets: int = 20_000
    handshakes_per_source: Rate = Rate(250.0, 6_000)
    handshakes: Rate = Rate(2_000.0, 20_000)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    proxies_only: bool = False
    probe_hours: int = 20
    turn: TurnSettings | None = None
