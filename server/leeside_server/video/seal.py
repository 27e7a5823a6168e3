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

from array import array
from enum import IntEnum
from typing import Final

from leeside_protocol.video.formats import EXT_ORIENTATION
from leeside_protocol.video.frames import is_sealed
from leeside_server.video.pictures import Placed
from leeside_server.video.ways import FRAMES, HELD_MOST, NOTHING, Ways
from leeside_server.video.ways import PLAIN as PLAIN_WAYS

TRUST_S: Final = 2.0
MISSES: Final = 3
"""Unsealed frames in a row before it is told: a single one is dropped and forgotten."""

PLAIN: Final = 0x90
PADDED: Final = 0xB0
"""First bytes of the packets that we send: version 2, an extension, and padding."""
TURN_BYTES: Final = 3
_UPRIGHT: Final = bytes(TURN_BYTES)
_TURNED: Final = tuple(bytes([EXT_ORIENTATION << 4, turn, 0]) for turn in range(256))
EMPTY: Final = _UPRIGHT + b"\x01"


class Packet:
    """A packet of a publisher, as it is kept. `at`: its unwrapped sequence number; `body`: what goes to every receiver
    behind a head of its own, which ends with the three bytes that turn the picture, then the payload without padding.

    One without a payload keeps the sequence whole: it goes on as a packet of one byte of padding (`first` says so).
    """

    __slots__ = ("__weakref__", "at", "body", "first", "marker_type", "placed", "timestamp")

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

    @classmethod
    def again(cls, at: int, first: int, marker_type: int, timestamp: int, body: bytes) -> Packet:
        """One that was kept as these parts of it."""
        packet = cls.__new__(cls)
        packet.at, packet.first, packet.marker_type, packet.timestamp = at, first, marker_type, timestamp
        packet.body, packet.placed = body, None
        return packet

    def empty(self) -> None:
        """Forget what it carried."""
        self.placed = None
        self.first = PADDED
        self.body = EMPTY


class _Fate(IntEnum):
    HELD = 0
    TRUSTED = 1
    SEALED = 2
    DROPPED = 3


class SealGate:
    """Decides what of one video stream may go on. `state.misses`: unsealed frames in a row.

    Its frames stand in two rings, timestamp and fate, the newest in place `state.begun - 1`. (C reads and writes them as well:
    `intake.c`.)
    """

    def __init__(self, ways: Ways = PLAIN_WAYS) -> None:
        self.timestamps = array("I", bytes(4 * FRAMES))
        self.fates = array("B", bytes(FRAMES))
        self.state, self._hold = ways.gate(self.timestamps, self.fates)

    @property
    def held(self) -> int:
        """Packets that wait for the end of their frame."""
        return self._hold.count

    def admit(self, packet: Packet, begins_key: bool, now_s: float) -> list[Packet]:
        """Take the next packet, in whatever order they come; what may go on now, in order of sequence."""
        place = self._find(packet.timestamp)
        if place < 0:
            place = self._begin(packet.timestamp, now_s)
        fate = self.fates[place]
        if fate == _Fate.DROPPED:
            return []
        if packet.marker_type & 0x80:
            return self._finish(place, packet, now_s)
        if fate == _Fate.SEALED or (fate == _Fate.TRUSTED and not begins_key):
            return [packet]
        self.fates[place] = _Fate.HELD
        self._hold.put(place, packet)
        if self._hold.count > HELD_MOST:
            self._drop_oldest()
        return []

    def _find(self, timestamp: int) -> int:
        """The place of this frame; below 0: it is not known."""
        if self._is_ahead(timestamp):
            return NOTHING
        # Nearly always it is the newest.
        begun, timestamps = self.state.begun, self.timestamps
        for frame in range(begun - 1, max(-1, begun - 1 - FRAMES), -1):
            if timestamps[frame % FRAMES] == timestamp:
                return frame % FRAMES
        return NOTHING

    def _is_ahead(self, timestamp: int) -> bool:
        newest = self.state.newest
        return newest < 0 or 0 < (timestamp - newest) & 0xFFFF_FFFF < 0x8000_0000

    def _begin(self, timestamp: int, now_s: float) -> int:
        state = self.state
        fate = _Fate.HELD
        if self._is_ahead(timestamp):
            state.newest = timestamp
            if state.trusted_until_s >= 0 and now_s <= state.trusted_until_s:
                fate = _Fate.TRUSTED
                state.trusted_until_s = NOTHING
        place = state.begun % FRAMES
        state.begun += 1
        self._hold.take(place)  # Of the frame that is forgotten.
        self.timestamps[place], self.fates[place] = timestamp, fate
        return place

    def _finish(self, place: int, packet: Packet, now_s: float) -> list[Packet]:
        state = self.state
        held = self._hold.take(place)
        if not is_sealed(packet.body):
            self.fates[place] = _Fate.DROPPED
            state.misses += 1
            state.trusted_until_s = NOTHING
            return []
        self.fates[place] = _Fate.SEALED
        state.misses = 0
        state.trusted_until_s = now_s + TRUST_S
        held.append(packet)
        held.sort(key=_at)
        return held

    def _drop_oldest(self) -> None:
        begun = self.state.begun
        for frame in range(max(0, begun - FRAMES), begun):
            if self._hold.holds(frame % FRAMES):
                self.fates[frame % FRAMES] = _Fate.DROPPED
                self._hold.take(frame % FRAMES)
                return


def _at(packet: Packet) -> int:
    return packet.at
