"""Transport-wide congestion control: when every packet of a transport arrived (draft-holmer-rmcat-transport-wide-cc-01).

Upstream the bridge writes these reports for publishers, downstream it reads its receivers'. A report claims up to
65,535 packets in a few bytes: one that claims more than a link can have carried, or more arrivals than it has times
for, is refused whole.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from leeside_protocol.video.rtcp import OWN_SSRC, TRANSPORT_FEEDBACK, TWCC, Part
from leeside_protocol.video.rtp import ahead16

STATUSES: Final = 4_096
"""Packets that one report may speak of."""
TICK_US: Final = 250
REFERENCE_US: Final = 64_000

_STATUSES_WRITTEN: Final = 400
"""Of a report that we write: it stays below 1,200 bytes even when each time takes two."""
_GAP: Final = 200
"""So many packets lost in a row are not told one by one: a new report starts behind them."""
PENDING: Final = 4_000
"""Packets that may wait to be reported; what comes beyond is not told of."""

_PADDING: Final = (b"", b"\1", b"\0\2", b"\0\0\3")
"""By its length, which its last byte tells."""

_head: Final = struct.Struct("!BBH")
_fixed: Final = struct.Struct("!LLHHL")
_chunk: Final = struct.Struct("!H")
_delta: Final = struct.Struct("!h")


class TwccReport(NamedTuple):
    """Packets in order, from the transport's number `first` (16 bits) on: when each arrived, in microseconds of the receiver's
    clock, or None: it did not. That clock begins again after 24 bits of 64 ms, between two reports only."""

    first: int
    arrivals_us: list[int | None]

    @property
    def packets(self) -> Iterator[tuple[int, int | None]]:
        """Each with its own number."""
        return ((number & 0xFFFF, when_us) for number, when_us in enumerate(self.arrivals_us, self.first))


def read_twcc(data: bytes, part: Part) -> TwccReport | None:
    """The fates of the packets a report speaks of; None: it is cut, or its lengths lie."""
    if part.end - part.start < _fixed.size:
        return None
    _, _, base, count, tail = _fixed.unpack_from(data, part.start)
    if not 0 < count <= STATUSES:
        return None
    symbols, at = _symbols(data, part.start + _fixed.size, part.end, count)
    if len(symbols) < count:
        return None
    time_us = (tail >> 8) * REFERENCE_US
    if symbols.count(1) == count:
        return _close_together(data[at : min(at + count, part.end)], base, count, time_us)
    arrivals_us: list[int | None] = []
    for symbol in symbols:
        if symbol == 0:
            arrivals_us.append(None)
            continue
        if symbol == 1 and at < part.end:
            ticks = data[at]
            at += 1
        elif symbol == 2 and at + 2 <= part.end:
            (ticks,) = _delta.unpack_from(data, at)
            at += 2
        else:
            return None
        time_us += ticks * TICK_US
        arrivals_us.append(time_us)
    return TwccReport(base, arrivals_us)


def _close_together(ticks: bytes, base: int, count: int, time_us: int) -> TwccReport | None:
    """A report of packets that all came, each within 64 ms of the one before, as on a good link: a byte each."""
    if len(ticks) < count:
        return None
    return TwccReport(base, [time_us + passed * TICK_US for passed in accumulate(ticks)])


def _symbols(data: bytes, at: int, end: int, count: int) -> tuple[list[int], int]:
    """Up to `count` packet statuses (0 lost, 1 small time, 2 large time, 3 none known), and where the times begin."""
    symbols: list[int] = []
    while len(symbols) < count and at + 2 <= end:
        (chunk,) = _chunk.unpack_from(data, at)
        at += 2
        if chunk < 0x8000:
            symbols += [chunk >> 13] * min(chunk & 0x1FFF, count - len(symbols))
        elif chunk < 0xC000:
            symbols += [(chunk >> place) & 1 for place in range(13, -1, -1)]
        else:
            symbols += [(chunk >> place) & 3 for place in range(12, -1, -2)]
    del symbols[count:]
    return symbols, at


@dataclass(slots=True)
class ArrivalsState:
    """What every packet changes of `Arrivals`. `newest`: its highest number, unwrapped; -1: none came. `count`: how many
    are to be reported."""

    newest: int = -1
    count: int = 0


class Arrivals:
    """When the packets of one publisher's transport arrived, until they are reported.

    `make(numbers, times)`: whoever counts packets elsewhere as well gives the state that is shared, and may write to these
    arrays what `add` would: numbers unwrapped, times in seconds, `PENDING` of each.
    """

    def __init__(self, make: Callable[[array[int], array[float]], ArrivalsState] | None = None) -> None:
        self.numbers = array("q", bytes(8 * PENDING))
        self.times = array("d", bytes(8 * PENDING))
        self.state: Final = ArrivalsState() if make is None else make(self.numbers, self.times)
        self._next: int | None = None
        self._number = 0

    def add(self, transport_seq: int, now_s: float) -> None:
        """A packet came. The first of two with one number counts."""
        state = self.state
        newest = state.newest
        at = transport_seq + 0x1_0000 if newest < 0 else newest + ahead16(transport_seq, newest)
        if at > newest:
            state.newest = at
        place = state.count
        if place < PENDING:
            self.numbers[place], self.times[place] = at, now_s
            state.count = place + 1

    def __len__(self) -> int:
        return self.state.count

    def _taken(self) -> dict[int, float]:
        count, self.state.count = self.state.count, 0
        # The first of two with one number is written last.
        return dict(zip(self.numbers[count - 1 :: -1], self.times[count - 1 :: -1], strict=True))

    def reports(self, media_ssrc: int) -> list[bytes]:
        """What to tell the publisher now; each is a whole RTCP packet. Empty when nothing came."""
        if not self.state.count:
            return []
        arrived = sorted(self._taken().items())
        base = arrived[0][0]
        if self._next is not None and 0 < base - self._next <= _GAP:
            base = self._next  # What did not come since the last report is told as lost.
        packets: list[bytes] = []
        begin = 0
        before = base
        for place, (number, _) in enumerate(arrived):
            if place > begin and (number - base >= _STATUSES_WRITTEN or number - before > _GAP):
                packets.append(self._write(media_ssrc, base, arrived[begin:place]))
                base = number if number - before > _GAP else before + 1
                begin = place
            before = number
        packets.append(self._write(media_ssrc, base, arrived[begin:]))
        self._next = max(before + 1, self._next or 0)
        return packets

    def _write(self, media_ssrc: int, base: int, arrived: list[tuple[int, float]]) -> bytes:
        reference = int(arrived[0][1] * 1e6) // REFERENCE_US
        ticks = reference * (REFERENCE_US // TICK_US)
        symbols = bytearray(arrived[-1][0] - base + 1)
        times = bytearray()
        for number, came_s in arrived:
            delta = round(came_s * 1e6 / TICK_US) - ticks
            if 0 <= delta <= 0xFF:
                symbols[number - base] = 1
                times.append(delta)
            else:
                delta = min(max(delta, -0x8000), 0x7FFF)
                symbols[number - base] = 2
                times += _delta.pack(delta)
            ticks += delta
        body = _fixed.pack(
            OWN_SSRC, media_ssrc, base & 0xFFFF, len(symbols), (reference & 0xFF_FFFF) << 8 | self._number
        )
        self._number = (self._number + 1) & 0xFF
        body += _chunks(symbols) + times
        padding = -len(body) % 4
        if padding:
            body += _PADDING[padding]
        first = 0x80 | TWCC | (0x20 if padding else 0)
        return _head.pack(first, TRANSPORT_FEEDBACK, len(body) // 4) + body


def _chunks(symbols: bytearray) -> bytes:
    """Statuses as chunks: one run when all are alike, as on a good link; else seven in each."""
    if symbols.count(symbols[0]) == len(symbols):
        return _chunk.pack(symbols[0] << 13 | len(symbols))
    chunks = bytearray()
    for at in range(0, len(symbols), 7):
        chunk = 0xC000
        for place, symbol in enumerate(symbols[at : at + 7]):
            chunk |= symbol << (12 - 2 * place)
        chunks += _chunk.pack(chunk)
    return bytes(chunks)
