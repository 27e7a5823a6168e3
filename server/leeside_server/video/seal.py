"""Nothing that is not sealed is forwarded (spec 09, "Sealed frames"; guards of the fail-open trap).

A browser whose transform is not in place sends its picture as it is, without any error. Every sealed frame ends with a
trailer in the clear, so the bridge can tell. It proves no more than that the sender's transform ran, which is what goes
wrong: somebody who wants to send their own picture unsealed can do so anywhere.

An audio packet is a whole frame: without the trailer it is dropped. The trailer of a video frame lies in its *last*
packet, which is the one with the marker bit. So:

- the packets of a **key frame**, and of any frame of a stream that is **not trusted**, are held until the last one shows
  the trailer, and are dropped when it does not. This delays nothing: no receiver can show a frame before its last packet;
- a sealed frame earns its stream trust for **one** frame, begun within two seconds. Of a frame that has it, packets go on
  as they come, and the last one only with its trailer. This keeps the sender's pacing;
- a frame without a trailer takes trust away, and everything of it that is still to come is dropped.

The bound: when a stream turns from sealed to unsealed, the earlier packets of *one* frame between key frames may have
been passed on, and never its last packet. No receiver can make it whole, and without a key frame there is nothing it
changes: what can be decoded of what was passed on is 0 frames, which the tests show.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from leeside_protocol.video.formats import EXT_ORIENTATION
from leeside_protocol.video.frames import is_sealed
from leeside_server.video.pictures import Placed

TRUST_S: Final = 2.0
MISSES: Final = 3
"""Unsealed frames in a row before it is told: a single one is dropped and forgotten."""

PLAIN: Final = 0x90
PADDED: Final = 0xB0
"""First bytes of the packets that we send: version 2, an extension, and padding."""
TURN_BYTES: Final = 3
_UPRIGHT: Final = bytes(TURN_BYTES)
_TURNED: Final = tuple(bytes([EXT_ORIENTATION << 4, turn, 0]) for turn in range(256))
_EMPTY: Final = _UPRIGHT + b"\x01"

_FRAMES: Final = 64
"""Frames of a stream that are remembered: two seconds of them, so that a packet sent again finds its frame."""
_HELD: Final = 512
"""Packets held of one stream; beyond it the oldest frame is dropped."""


class Packet:
    """A packet of a publisher, as it is kept. `at`: its unwrapped sequence number; `body`: what goes to every receiver
    behind a head of its own, which ends with the three bytes that turn the picture, then the payload without padding.

    One without a payload keeps the sequence whole: it goes on as a packet of one byte of padding (`first` says so).
    """

    __slots__ = ("at", "body", "first", "marker_type", "placed", "timestamp")

    def __init__(
        self, at: int, marker_type: int, timestamp: int, orientation: int, payload: bytearray | bytes
    ) -> None:
        self.at = at
        self.marker_type = marker_type
        self.timestamp = timestamp
        self.placed: Placed | None = None
        """Where its picture's numbers stand, once a slot had to shift them."""
        if payload:
            self.first = PLAIN
            self.body = (_UPRIGHT if orientation < 0 else _TURNED[orientation]) + payload
        else:
            self.empty()

    def empty(self) -> None:
        """Forget what it carried."""
        self.placed = None
        self.first = PADDED
        self.body = _EMPTY


class _Fate(IntEnum):
    HELD = 0
    TRUSTED = 1
    SEALED = 2
    DROPPED = 3


class _Frame:
    __slots__ = ("fate", "held")

    def __init__(self, fate: _Fate) -> None:
        self.fate = fate
        self.held: list[Packet] = []


class SealGate:
    """Decides what of one video stream may go on. `misses`: unsealed frames in a row; `held`: packets that wait."""

    def __init__(self) -> None:
        self.misses = 0
        self._frames: dict[int, _Frame] = {}
        self._newest: int | None = None
        self._trusted_until_s: float | None = None
        self.held = 0

    def admit(self, packet: Packet, begins_key: bool, now_s: float) -> list[Packet]:
        """Take the next packet, in whatever order they come; what may go on now, in order of sequence."""
        frame = self._frames.get(packet.timestamp)
        if frame is None:
            frame = self._begin(packet.timestamp, now_s)
        fate = frame.fate
        if fate is _Fate.DROPPED:
            return []
        if packet.marker_type & 0x80:
            return self._finish(frame, packet, now_s)
        if fate is _Fate.SEALED or (fate is _Fate.TRUSTED and not begins_key):
            return [packet]
        frame.fate = _Fate.HELD
        frame.held.append(packet)
        self.held += 1
        if self.held > _HELD:
            self._drop_oldest()
        return []

    def _begin(self, timestamp: int, now_s: float) -> _Frame:
        newest = self._newest
        fate = _Fate.HELD
        if newest is None or 0 < (timestamp - newest) & 0xFFFF_FFFF < 0x8000_0000:
            self._newest = timestamp
            if self._trusted_until_s is not None and now_s <= self._trusted_until_s:
                fate = _Fate.TRUSTED
                self._trusted_until_s = None
        frames = self._frames
        if len(frames) >= _FRAMES:
            self._release(frames.pop(next(iter(frames))))
        frame = frames[timestamp] = _Frame(fate)
        return frame

    def _finish(self, frame: _Frame, packet: Packet, now_s: float) -> list[Packet]:
        held = self._release(frame)
        if not is_sealed(packet.body):
            frame.fate = _Fate.DROPPED
            self.misses += 1
            self._trusted_until_s = None
            return []
        frame.fate = _Fate.SEALED
        self.misses = 0
        self._trusted_until_s = now_s + TRUST_S
        held.append(packet)
        held.sort(key=_place)
        return held

    def _release(self, frame: _Frame) -> list[Packet]:
        held, frame.held = frame.held, []
        self.held -= len(held)
        return held

    def _drop_oldest(self) -> None:
        for frame in self._frames.values():
            if frame.held:
                frame.fate = _Fate.DROPPED
                self._release(frame)
                return


def _place(packet: Packet) -> int:
    return packet.at
