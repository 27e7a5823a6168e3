"""What an operator can set of the video bridge."""

from __future__ import annotations

import msgspec


class VideoSettings(msgspec.Struct, frozen=True):
    """`hosts`: addresses of this machine that media come to, and `public` what clients know them as, in the same order (a 1:1
    NAT; empty: as they are). `port`: UDP port of the first worker, the next ones behind it; 0: any free ones. `workers` 0: one
    for each core."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    public: tuple[str, ...] = ()
    port: int = 0
    workers: int = 0
