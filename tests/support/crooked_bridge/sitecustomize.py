"""A bridge that lies: with this folder on `PYTHONPATH`, the workers of a node do with everybody's sound what a file says.

`CROOKED_BRIDGE` names the file. `replay`: what somebody said once comes again and again, in packets of their own stream;
`swap`: it comes in the place of somebody else. Anything else, or no file: an honest bridge. Python imports this by its name
when it starts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from leeside_protocol.video.formats import MediaKind
from leeside_server.video import fastways
from leeside_server.video.layer import Track
from leeside_server.video.seal import Packet
from leeside_server.video.slot import Slot

LOOK_S: Final = 0.1


def _no_library(*_: object) -> None:
    """There is no fast way."""


class Crook:
    """Stands where a slot sends."""

    def __init__(self, says: Path) -> None:
        self.says = says
        self.mode = ""
        self.looked_s = float("-inf")
        self.newest: dict[Track, Packet] = {}
        """The last honest packet of each sound."""
        self.send = Slot.send

    def instead(self, slot: Slot, packet: Packet) -> Packet:
        """What goes out in place of this packet."""
        if slot.kind is not MediaKind.AUDIO or slot.track is None:
            return packet
        now_s = time.monotonic()
        if now_s - self.looked_s >= LOOK_S:
            self.looked_s = now_s
            self.mode = self.says.read_text() if self.says.exists() else ""
        track = slot.track
        if self.mode == "replay":
            return self.newest.get(track, packet)
        if self.mode == "swap":
            others = (sound for other, sound in self.newest.items() if other is not track)
            return next(others, packet)
        self.newest[track] = packet
        return packet


if "CROOKED_BRIDGE" in os.environ:
    _crook: Final = Crook(Path(os.environ["CROOKED_BRIDGE"]))

    def _send(self: Slot, packet: Packet, number: int, timestamp: int, *, copy: bool = False) -> None:
        _crook.send(self, _crook.instead(self, packet), number, timestamp, copy=copy)

    Slot.send = _send  # type: ignore[method-assign]
    # It lies in Python: packets must pass the slots.
    fastways.load = _no_library  # type: ignore[assignment]
