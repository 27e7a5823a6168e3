"""The two ways of a packet through a worker, and what of it changes with every packet.

A bridge spends its time on what is done for every packet: once for each that comes, and once more for each receiver it goes
to. So there are two ways, and they do the same. The plain one is written in Python, where the rules are: `Peer.media`,
`Uplink.receive_rtp`, `Layer.receive`, `SealGate.admit`, `Slot.forward`. The fast one (`fastways`, in C) does what is so for nearly
every packet: it is the next of its stream, and the receiver's link has room for it. Whatever is otherwise it leaves to Python with
nothing changed. So it does with what receivers report of these packets (`Bandwidth.report`), where all of them came. The tests of the
plane run both ways; `tests/video/plane/test_ways.py` sends the same calls both ways, and compares every byte that leaves, and
`test_reports.py` the same reports, and compares all that is known of a link.

What both ways read and write stands in the states below, and nowhere else: each belongs to one object of the plane.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from leeside_protocol.video.twcc import ArrivalsState

if TYPE_CHECKING:
    from leeside_server.video.layer import Layer
    from leeside_server.video.seal import Packet
    from leeside_server.video.slot import Slot

NOTHING: Final = -1
"""A number, or a time, of nothing."""
RING: Final = 4_096
"""Packets remembered of a link: three seconds of 10 Mbit/s. A power of two below the numbers' own wrap."""
HELD_MOST: Final = 512
"""Packets that a gate holds of a stream; beyond it the oldest frame is dropped."""
FRAMES: Final = 64
"""Frames that a gate remembers of a stream: two seconds of them, so that a packet sent again finds its frame. A power of two."""
PACKETS_A_SECOND: Final = 3_000
"""What one publisher may send."""
STREAMS: Final = 8
"""Streams of one publisher."""


# ---- on the way out


@dataclass(slots=True)
class LinkState:
    """What every packet to a receiver changes: its number, what the estimate knows of it, and what the pace still allows.

    `owed_since_s`: when the first packet was sent that no report speaks of yet, or `NOTHING`. `room`: bytes that may leave at
    once, at `filled_s`; it fills with `bytes_per_s` up to `most`. `held_bytes` wait for their time. `reported`: the number that the next
    report should begin with; `clock_us`: the receiver's time of the newest one, without wraps.
    """

    seq: int = 0
    sent_bytes: int = 0
    owed_since_s: float = float(NOTHING)
    room: float = 0.0
    filled_s: float = 0.0
    bytes_per_s: float = 0.0
    most: float = 0.0
    held_bytes: int = 0
    reported: int = NOTHING
    clock_us: int = NOTHING


@dataclass(slots=True)
class Heard:
    """What a receiver's report says of the packets that came: how many, their bytes, the receiver's time of the newest, when that was
    sent, and the least that any of them took."""

    count: int
    bytes: int
    newest_s: float
    newest_sent_s: float
    least_s: float


@dataclass(slots=True)
class LineState:
    """What every packet of a slot changes, and what its layer adds to it.

    `since`: packets of the layer before it are not sent. `shift`, `timestamp_shift` (32 bits), `pictures` and `levels` are
    added to the layer's numbers. `newest` and `sent`: the highest number given, and the highest that left; what is between
    waits in the pacer. `timestamp` is that of the newest, which came at `sent_s` (`NOTHING`: none ever did).
    """

    since: int = 0
    shift: int = 0
    timestamp_shift: int = 0
    pictures: int = 0
    levels: int = 0
    newest: int = 0
    sent: int = 0
    timestamp: int = 0
    sent_s: float = float(NOTHING)
    packets: int = 0
    octets: int = 0


# ---- on the way in


@dataclass(slots=True)
class GateState:
    """What a gate (`SealGate`) knows of its frames: `begun` of them until now, the newest in place `begun - 1` of its rings.

    `misses`: unsealed frames in a row. `trusted_until_s`: until when a frame that begins has the gate's trust. `newest`: the
    highest timestamp.
    """

    misses: int = 0
    trusted_until_s: float = float(NOTHING)
    newest: int = NOTHING
    begun: int = 0


@dataclass(slots=True)
class StreamState:
    """What every packet of a `Layer` changes. `newest`: its highest number, unwrapped. `came`: packets that came at once,
    without repairs; `octets`, the bytes of all. Jitter is measured from `timestamp` and `transit` of the frame before.
    `sound_misses`: unsealed packets of sound in a row. `waits`: how many slots wait to be shown it.
    """

    newest: int = NOTHING
    came: int = 0
    octets: int = 0
    heard_s: float = 0.0
    jitter: float = 0.0
    transit: float = 0.0
    timestamp: int = NOTHING
    sound_misses: int = 0
    waits: int = 0


@dataclass(slots=True)
class UplinkState:
    """What every packet of a publisher changes: how many it sent, and how many more it may in the second that `began_s`."""

    began_s: float = float("-inf")
    left: int = 0
    packets: int = 0


@dataclass(slots=True)
class DoorState:
    """What every datagram of a peer changes: how many were `taken` in this `second`, when something genuine was heard, and when
    media were. `live`: it is in the state where that changes nothing else."""

    second: int = 0
    taken: int = 0
    heard_s: float = 0.0
    media_s: float = float("-inf")
    live: bool = False


# ---- what belongs to a way


class Flow(Protocol):
    """The slots that a layer flows to. Change `slots` by these functions only."""

    slots: list[Slot]

    def add(self, slot: Slot) -> None:
        """It flows to this one as well, from the next packet on."""
        ...

    def remove(self, slot: Slot) -> None:
        """No more; nothing, where it did not."""
        ...

    def clear(self) -> list[Slot]:
        """To nobody; to whom it did."""
        ...

    def forward(self, packet: Packet, now_s: float) -> None:
        """Send a packet of the layer to all of them, as `Slot.forward` does to one."""
        ...


class Shelf(Protocol):
    """The newest packets of a layer that were passed on, for who asks again."""

    def put(self, packet: Packet) -> None:
        """Keep it, until its place is needed."""
        ...

    def at(self, number: int) -> Packet | None:
        """The packet with this unwrapped number, while it is kept. While anybody has it, it is the same one."""
        ...

    def empty(self, timestamp: int) -> None:
        """What is kept of this frame carries nothing any more, wherever it is."""
        ...

    def clear(self) -> None:
        """Keep nothing."""
        ...


class Hold(Protocol):
    """The packets of a gate's frames that wait for their end, by the place of their frame in its rings."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def put(self, place: int, packet: Packet) -> None:
        """Let it wait."""
        ...

    def take(self, place: int) -> list[Packet]:
        """All of this frame, which wait no more."""
        ...

    def holds(self, place: int) -> bool:
        """Whether any of this frame wait."""
        ...


class Ways(Protocol):
    """How packets pass through a worker: makes what belongs together. Arrays that a state is made with must live as long as
    that; they are the object's that has it."""

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        """The state of a receiver's link; the three rings, of `RING` each, hold what was sent."""
        ...

    def heard(self, link: LinkState, data: bytes, start: int, end: int, oldest_s: float) -> Heard | None:
        """What a transport-wide report says (`data[start:end]`), if it goes on where the one before ended, and all that it speaks of came
        and was told of by none before; it is known then, and the answer holds until the next one. None, and nothing was done: it is
        otherwise, or some of it was sent before `oldest_s`."""
        ...

    def line(self, link: LinkState, ssrc: int, prefix: bytes, *, paced: bool) -> LineState:
        """The state of a slot on this link. `prefix`: of its header extension (7 bytes); `paced`: it waits for room."""
        ...

    def gate(self, timestamps: array[int], fates: array[int]) -> tuple[GateState, Hold]:
        """The state of a gate, whose two rings, of `FRAMES` each, have its frames; and what holds their packets."""
        ...

    def stream(
        self, hz: int, types: Sequence[int], places: int, gate: GateState | None
    ) -> tuple[StreamState, Shelf, Flow]:
        """The state of a layer, what keeps its newest packets (`places`, a power of two), and to whom it flows. `types`: the
        payload types it may have, one or two; `gate`: of a picture; None: it is sound."""
        ...

    def arrivals(self, numbers: array[int], times: array[float]) -> ArrivalsState:
        """The state of a publisher's `Arrivals`."""
        ...

    def uplink(self, arrivals: ArrivalsState) -> UplinkState:
        """The state of a publisher."""
        ...

    def streams(self, uplink: UplinkState, layers: dict[int, Layer]) -> None:
        """These are all the streams of a publisher now, by SSRC, but for those of packets sent again."""
        ...

    def take(self, uplink: UplinkState, buffer: bytearray, length: int, now_s: float) -> bool:
        """Deal with a packet of a publisher; false: nothing was done."""
        ...


class _PlainFlow:
    """One slot after another."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []

    def add(self, slot: Slot) -> None:
        self.slots.append(slot)

    def remove(self, slot: Slot) -> None:
        if slot in self.slots:
            self.slots.remove(slot)

    def clear(self) -> list[Slot]:
        slots, self.slots = self.slots, []
        return slots

    def forward(self, packet: Packet, now_s: float) -> None:
        for slot in self.slots:
            slot.forward(packet, now_s)


class _PlainShelf:
    """A list."""

    def __init__(self, places: int) -> None:
        self._places: list[Packet | None] = [None] * places
        self._mask = places - 1

    def put(self, packet: Packet) -> None:
        self._places[packet.at & self._mask] = packet

    def at(self, number: int) -> Packet | None:
        packet = self._places[number & self._mask]
        return packet if packet is not None and packet.at == number else None

    def empty(self, timestamp: int) -> None:
        for packet in self._places:
            if packet is not None and packet.timestamp == timestamp:
                packet.empty()

    def clear(self) -> None:
        self._places = [None] * len(self._places)


class _PlainHold:
    """Lists."""

    def __init__(self) -> None:
        self._frames: dict[int, list[Packet]] = {}
        self.count = 0

    def put(self, place: int, packet: Packet) -> None:
        self._frames.setdefault(place, []).append(packet)
        self.count += 1

    def take(self, place: int) -> list[Packet]:
        packets = self._frames.pop(place, [])
        self.count -= len(packets)
        return packets

    def holds(self, place: int) -> bool:
        return place in self._frames


class _PlainWays:
    """All in Python."""

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        del numbers, times, sizes
        return LinkState()

    def heard(self, link: LinkState, data: bytes, start: int, end: int, oldest_s: float) -> Heard | None:
        del link, data, start, end, oldest_s
        return None

    def line(self, link: LinkState, ssrc: int, prefix: bytes, *, paced: bool) -> LineState:
        del link, ssrc, prefix, paced
        return LineState()

    def gate(self, timestamps: array[int], fates: array[int]) -> tuple[GateState, Hold]:
        del timestamps, fates
        return GateState(), _PlainHold()

    def stream(
        self, hz: int, types: Sequence[int], places: int, gate: GateState | None
    ) -> tuple[StreamState, Shelf, Flow]:
        del hz, types, gate
        return StreamState(), _PlainShelf(places), _PlainFlow()

    def arrivals(self, numbers: array[int], times: array[float]) -> ArrivalsState:
        del numbers, times
        return ArrivalsState()

    def uplink(self, arrivals: ArrivalsState) -> UplinkState:
        del arrivals
        return UplinkState()

    def streams(self, uplink: UplinkState, layers: dict[int, Layer]) -> None:
        pass

    def take(self, uplink: UplinkState, buffer: bytearray, length: int, now_s: float) -> bool:
        del uplink, buffer, length, now_s
        return False


PLAIN: Final[Ways] = _PlainWays()
