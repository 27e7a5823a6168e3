"""The fast way of packets to their receivers, in C (`fan.c`), as `Ways` of `fan`.

    ways = load() or PLAIN

It is there where it was built for this system (`deploy/native.py`), and from the sources that lie beside this file: what was
built from others could take one field for another, and is not used. A bridge works without it, and needs one and a half to twice the time for each packet (ADR 0027).
"""

from __future__ import annotations

import hashlib
import importlib
import socket
import struct
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from leeside_server.log import get_logger
from leeside_server.video.dtls import Srtp, protect_rtp_address
from leeside_server.video.fan import NOTHING, RING, Flow, LineState, LinkState
from leeside_server.video.metrics import Counts
from leeside_server.video.udp import Address
from leeside_server.video.udp import Path as Way

if TYPE_CHECKING:
    from leeside_server.video.seal import Packet
    from leeside_server.video.slot import Slot

HERE: Final = Path(__file__).parent
LIBRARY: Final = HERE / "_fan.so"
SOURCES: Final = (HERE / "fan.h", HERE / "fan.c")
T = TypeVar("T")

_log = get_logger("leeside.video")


def sources() -> str:
    """What tells one state of the C sources from another."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in SOURCES)).hexdigest()


def load(library: Path = LIBRARY, make: Callable[[Any, Any], T] | None = None) -> T | FastWays | None:
    """The fast way; None: it was not built here, or from other sources. `make`: what to make of it."""
    if not sys.platform.startswith("linux") or not library.exists():
        return None
    ffi = importlib.import_module("cffi").FFI()
    ffi.cdef(SOURCES[0].read_text(encoding="ascii"))
    try:
        lib = ffi.dlopen(str(library))
        built = ffi.string(lib.fan_sources()).decode("ascii")
    except (OSError, AttributeError):
        _log.warning("fast_way_unusable")
        return None
    if built != sources():
        _log.warning("fast_way_stale")
        return None
    return FastWays(ffi, lib, protect_rtp_address()) if make is None else make(ffi, lib)


class FastWays:
    """One a worker. What is sent waits for `flush`; call it when a row of packets is dealt with."""

    def __init__(self, ffi: Any, lib: Any, protect_address: int) -> None:
        assert lib.RING == RING
        self._ffi = ffi
        self._lib = lib
        fan = lib.fan_new(ffi.cast("void *", protect_address))
        if fan == ffi.NULL:
            raise MemoryError
        self._fan = ffi.gc(fan, lib.fan_free)
        self._tally = lib.fan_tally(fan)
        self._send = lib.fan_send
        self._flush = lib.fan_flush
        self._packet = ffi.new("struct packet *")

    # ---- Ways

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        """See `Ways`."""
        ffi = self._ffi
        link = ffi.new("struct link *")
        link.owed_since_s = NOTHING
        link.numbers = ffi.from_buffer("int32_t[]", numbers, require_writable=True)
        link.times = ffi.from_buffer("double[]", times, require_writable=True)
        link.sizes = ffi.from_buffer("int32_t[]", sizes, require_writable=True)
        return cast("LinkState", link)

    def line(self, link: LinkState, ssrc: int, prefix: bytes, *, paced: bool) -> LineState:
        """See `Ways`."""
        line = self._ffi.new("struct line *")
        line.sent_s = NOTHING
        line.link = link
        line.ssrc = ssrc
        line.prefix = prefix
        line.paced = paced
        return cast("LineState", line)

    def flow(self) -> Flow:
        """See `Ways`."""
        return _FastFlow(self._ffi, self._lib.fan_out, self._fan, self._packet)

    # ---- the way out

    def aim(self, link: LinkState, srtp: Srtp | None, way: Way | None) -> None:
        """Packets of this link leave protected by this, and there; None: they do not leave. `srtp` must live as long as that."""
        out: Any = link
        out.srtp = self._ffi.NULL
        if srtp is not None and way is not None:
            address = socket_address(way.face.socket.family, way.address)
            out.descriptor = way.face.socket.fileno()
            out.address_bytes = len(address)
            self._ffi.memmove(out.address, address, len(address))
            out.srtp = self._ffi.cast("void *", srtp.outward_address)

    def send(self, link: LinkState, packet: bytearray, length: int, seq: int | None) -> None:
        """Protect a packet that stands whole in a buffer, and let it leave with the others."""
        self._send(self._fan, link, self._ffi.from_buffer(packet), length, NOTHING if seq is None else seq)

    def flush(self) -> None:
        """Hand the system what waits."""
        self._flush(self._fan)

    def count(self, counts: Counts) -> None:
        """Add what was sent, and not sent, since this was asked last."""
        tally = self._tally
        counts.packets_out += tally.sent
        counts.unsent += tally.unsent
        tally.sent = tally.unsent = 0


class _FastFlow:
    """All slots at once; those that it leaves, one after another."""

    def __init__(self, ffi: Any, out: Any, fan: Any, packet: Any) -> None:
        self.slots: list[Slot] = []
        self._ffi = ffi
        self._out = out
        self._fan = fan
        self._packet = packet
        self._gather()

    def _gather(self) -> None:
        """The lines live as long as their slots, and those as long as they are here."""
        self._lines = self._ffi.new("struct line *[]", [slot.line for slot in self.slots])
        self._left = self._ffi.new("int32_t[]", max(1, len(self.slots)))
        self._count = len(self.slots)

    def add(self, slot: Slot) -> None:
        self.slots.append(slot)
        self._gather()

    def remove(self, slot: Slot) -> None:
        if slot in self.slots:
            self.slots.remove(slot)
            self._gather()

    def clear(self) -> list[Slot]:
        slots, self.slots = self.slots, []
        self._gather()
        return slots

    def forward(self, packet: Packet, now_s: float) -> None:
        told, body, left = self._packet, packet.body, self._left
        told.at = packet.at
        told.timestamp = packet.timestamp
        told.first = packet.first
        told.marker_type = packet.marker_type
        lefts = self._out(self._fan, self._lines, self._count, told, body, len(body), now_s, left)
        for place in range(lefts):
            self.slots[int(left[place])].forward(packet, now_s)


def socket_address(family: int, address: Address) -> bytes:
    """An address as the system wants it (`sockaddr_in`, `sockaddr_in6`)."""
    port = struct.pack("!H", address[1])
    if family == socket.AF_INET:
        return struct.pack("=H2s4s8x", family, port, socket.inet_aton(address[0]))
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    host = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return struct.pack("=H2sI16sI", family, port, socket.htonl(flow), host, scope)
