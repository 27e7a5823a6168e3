"""A packet's way from a layer to all who are shown it, and what of them changes with every packet.

For every packet that comes, one leaves to each receiver: here a bridge spends its time. So there are two ways, and they do
the same. The plain one, in this file, hands the packet to one `Slot` after another. The fast one (`fastfan`, in C) does for
all slots at once what is so for nearly every packet: it is the newest of its stream, and the receiver's link has room for it.
Whatever is otherwise it leaves to the slot. The rules are written down once, in `Slot.forward`; `tests/video/plane/test_fan.py`
sends the same calls both ways, and compares every byte that leaves.

What both ways read and write stands in `LinkState` (one a receiver) and `LineState` (one a slot), and nowhere else.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from leeside_server.video.seal import Packet
    from leeside_server.video.slot import Slot

NOTHING: Final = -1
"""A number, or a time, of nothing."""
RING: Final = 4_096
"""Packets remembered of a link: three seconds of 10 Mbit/s. A power of two below the numbers' own wrap."""


@dataclass(slots=True)
class LinkState:
    """What every packet to a receiver changes: its number, what the estimate knows of it, and what the pace still allows.

    `owed_since_s`: when the first packet was sent that no report speaks of yet, or `NOTHING`. `room`: bytes that may leave at
    once, at `filled_s`; it fills with `bytes_per_s` up to `most`. `held_bytes` wait for their time.
    """

    seq: int = 0
    sent_bytes: int = 0
    owed_since_s: float = float(NOTHING)
    room: float = 0.0
    filled_s: float = 0.0
    bytes_per_s: float = 0.0
    most: float = 0.0
    held_bytes: int = 0


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


class Ways(Protocol):
    """How packets leave a worker: makes what belongs together."""

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        """The state of a receiver's link; the three rings, of `RING` each, hold what was sent. Whoever has them must live as
        long as the link."""
        ...

    def line(self, link: LinkState, ssrc: int, prefix: bytes, *, paced: bool) -> LineState:
        """The state of a slot on this link. `prefix`: of its header extension (7 bytes); `paced`: it waits for room."""
        ...

    def flow(self) -> Flow:
        """For a layer."""
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


class _PlainWays:
    """All in Python."""

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        del numbers, times, sizes
        return LinkState()

    def line(self, link: LinkState, ssrc: int, prefix: bytes, *, paced: bool) -> LineState:
        del link, ssrc, prefix, paced
        return LineState()

    def flow(self) -> Flow:
        return _PlainFlow()


PLAIN: Final[Ways] = _PlainWays()
