"""The fast way of packets through a worker, in C (`intake.c`, `shelf.c`, `fan.c`, `reports.c`), as `Ways` of `ways`.

    ways = load() or PLAIN

It is there where it was built for this system (`deploy/native.py`), and from the sources that lie beside this file: what was
built from others could take one field for another, and is not used. A bridge works without it, and needs several times as much
for each packet (ADR 0027, ADR 0028).

Structs are made here, and belong to the objects of the plane that have them as their states: C keeps pointers between them,
each from an object to one that it holds itself.
"""

from __future__ import annotations

import hashlib
import importlib
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from leeside_protocol.video.twcc import PENDING, ArrivalsState
from leeside_server.log import get_logger
from leeside_server.video.dtls import Srtp, SrtpAddresses, srtp_addresses
from leeside_server.video.metrics import Counts
from leeside_server.video.seal import EMPTY, PADDED, Packet
from leeside_server.video.ways import (
    FRAMES,
    HELD_MOST,
    NOTHING,
    PACKETS_A_SECOND,
    RING,
    STREAMS,
    DoorState,
    Flow,
    GateState,
    Heard,
    Hold,
    LineState,
    LinkState,
    Shelf,
    StreamState,
    UplinkState,
)

if TYPE_CHECKING:
    from leeside_server.video.layer import Layer
    from leeside_server.video.slot import Slot
    from leeside_server.video.udp import Address, Face, Port
    from leeside_server.video.udp import Path as Way

HERE: Final = Path(__file__).parent
LIBRARY: Final = HERE / "_ways.so"
SOURCES: Final = tuple(HERE / name for name in ("ways.h", "fan.c", "intake.c", "shelf.c", "reports.c"))
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
        built = ffi.string(lib.ways_sources()).decode("ascii")
    except (OSError, AttributeError):
        _log.warning("fast_way_unusable")
        return None
    if built != sources():
        _log.warning("fast_way_stale")
        return None
    return FastWays(ffi, lib, srtp_addresses()) if make is None else make(ffi, lib)


class FastWays:
    """One a worker. What is sent waits for `flush`; call it when a row of packets is dealt with."""

    def __init__(self, ffi: Any, lib: Any, srtp: SrtpAddresses) -> None:
        for name, value in (
            ("RING", RING),
            ("FRAMES", FRAMES),
            ("HELD_MOST", HELD_MOST),
            ("PENDING", PENDING),
            ("STREAMS", STREAMS),
            ("PACKETS_A_SECOND", PACKETS_A_SECOND),
        ):
            assert getattr(lib, name) == value
        self._ffi = ffi
        self._lib = lib
        protect, protect_rtcp, unprotect = (ffi.cast("void *", address) for address in srtp)
        self._fan = self._own(lib.fan_new(protect, protect_rtcp), lib.fan_free)
        self._tally = lib.fan_tally(self._fan)
        self._send = lib.fan_send
        self._flush = lib.fan_flush
        self._packet = ffi.new("struct packet *")
        self._intake = self._own(lib.intake_new(unprotect, self._fan), lib.intake_free)
        self._take = lib.intake_take
        self._more = lib.intake_more
        self._found = lib.intake_found(self._intake)
        self._hear = lib.link_heard
        self._heard: Heard = ffi.new("struct heard *")
        self._faces: WeakKeyDictionary[Face, Any] = WeakKeyDictionary()

    def _own(self, made: Any, free: Any) -> Any:
        if made == self._ffi.NULL:
            raise MemoryError
        return self._ffi.gc(made, free)

    # ---- Ways

    def link(self, numbers: array[int], times: array[float], sizes: array[int]) -> LinkState:
        """See `Ways`."""
        ffi = self._ffi
        link = ffi.new("struct link *")
        link.owed_since_s = link.reported = link.clock_us = NOTHING
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

    def gate(self, timestamps: array[int], fates: array[int]) -> tuple[GateState, Hold]:
        """See `Ways`."""
        ffi = self._ffi
        gate = ffi.new("struct gate *")
        gate.trusted_until_s = gate.newest = NOTHING
        gate.timestamps = ffi.from_buffer("uint32_t[]", timestamps, require_writable=True)
        gate.fates = ffi.from_buffer("uint8_t[]", fates, require_writable=True)
        gate.hold = hold = self._own(self._lib.hold_new(), self._lib.hold_free)
        return cast("GateState", gate), _FastHold(ffi, self._lib, hold)

    def stream(
        self, hz: int, types: Sequence[int], places: int, gate: GateState | None
    ) -> tuple[StreamState, Shelf, Flow]:
        """See `Ways`."""
        stream = self._ffi.new("struct stream *")
        stream.newest = stream.timestamp = NOTHING
        stream.hz = hz
        stream.types = (types[0], types[-1])
        if gate is not None:
            stream.gate = gate
        shelf = self._own(self._lib.shelf_new(places), self._lib.shelf_free)
        stream.shelf = shelf
        kept = _FastShelf(self._ffi, self._lib, shelf)
        flow = _FastFlow(self._ffi, self._lib.fan_out, self._fan, self._packet, stream, kept)
        return cast("StreamState", stream), kept, flow

    def arrivals(self, numbers: array[int], times: array[float]) -> ArrivalsState:
        """See `Ways`."""
        ffi = self._ffi
        arrivals = ffi.new("struct arrivals *")
        arrivals.newest = NOTHING
        arrivals.numbers = ffi.from_buffer("int64_t[]", numbers, require_writable=True)
        arrivals.times = ffi.from_buffer("double[]", times, require_writable=True)
        return cast("ArrivalsState", arrivals)

    def uplink(self, arrivals: ArrivalsState) -> UplinkState:
        """See `Ways`."""
        uplink = self._ffi.new("struct uplink *")
        uplink.began_s = float("-inf")
        uplink.arrivals = arrivals
        return cast("UplinkState", uplink)

    def streams(self, uplink: UplinkState, layers: Mapping[int, Layer]) -> None:
        """See `Ways`."""
        inner: Any = uplink
        for place, (ssrc, layer) in enumerate(layers.items()):
            inner.ssrcs[place] = ssrc
            inner.streams[place] = layer.state
        inner.count = len(layers)

    def take(self, uplink: UplinkState, buffer: bytearray, length: int, now_s: float) -> bool:
        """See `Ways`."""
        verdict = self._take(self._intake, uplink, self._ffi.from_buffer(buffer), length, now_s)
        if verdict == self._lib.OPENED:
            return False
        while verdict == self._lib.LEFT:
            self._forward_left()
            verdict = self._more(self._intake)
        return True

    def _forward_left(self) -> None:
        """Hand the packet found to the slots that C left: their lines are as they were."""
        found = self._found
        flow: _FastFlow | None = self._ffi.from_handle(found.flow)()
        assert flow is not None, "it lives as long as its stream"
        flow.forward_left(found.at, found.left[0 : found.lefts], found.now_s)

    def heard(self, link: LinkState, data: bytes, start: int, end: int, oldest_s: float) -> Heard | None:
        """See `Ways`."""
        return self._heard if self._hear(link, data, start, end, oldest_s, self._heard) else None

    # ---- the way out

    def aim(self, link: LinkState, srtp: Srtp | None, way: Way | None) -> None:
        """Packets of this link leave protected by this, and there; None: they do not leave. `srtp` must live as long as that."""
        out: Any = link
        out.srtp = self._ffi.NULL
        out.row = 0
        if srtp is not None and way is not None:
            address = socket_address(way.face.socket.family, way.address)
            out.descriptor = way.face.socket.fileno()
            out.address_bytes = len(address)
            self._ffi.memmove(out.address, address, len(address))
            out.srtp = self._ffi.cast("void *", srtp.outward_address)

    def send(self, link: LinkState, packet: bytearray, length: int, seq: int | None) -> None:
        """Protect a packet that stands whole in a buffer, and let it leave with the others."""
        self._send(self._fan, link, self._ffi.from_buffer(packet), length, NOTHING if seq is None else seq)

    def send_control(self, link: LinkState, packet: bytes) -> None:
        """The same for a compound of RTCP."""
        self._lib.fan_send_control(self._fan, link, packet, len(packet))

    def flush(self) -> None:
        """Hand the system what waits."""
        self._flush(self._fan)

    def count(self, counts: Counts) -> None:
        """Add what was counted here since this was asked last."""
        tally = self._tally
        counts.packets_out += tally.sent
        counts.unsent += tally.unsent
        counts.packets_in += tally.came
        counts.refused += tally.refused
        counts.strange += tally.strange
        tally.sent = tally.unsent = tally.came = tally.refused = tally.strange = 0

    # ---- the way in

    def door(self) -> DoorState:
        """The state of a peer, before anything is heard of it."""
        door = self._ffi.new("struct door *")
        door.media_s = float("-inf")
        return cast("DoorState", door)

    def admit(self, door: DoorState, srtp: Srtp | None, uplink: UplinkState) -> None:
        """What comes through this door is opened with this, and is this publisher's; None: it is not opened. Both must live as
        long as that."""
        inner: Any = door
        inner.uplink = uplink
        inner.srtp = self._ffi.NULL if srtp is None else self._ffi.cast("void *", srtp.inward_address)

    def know(self, face: Face) -> None:
        """See `Reader`."""
        ffi, known = self._ffi, face.known
        addresses = b"".join(
            socket_address(face.socket.family, address).ljust(self._lib.ADDRESS_BYTES, b"\0")
            for address in known
        )
        doors = ffi.new("struct door *[]", [endpoint.door for endpoint in known.values()])
        if self._lib.face_know(self._face(face), len(known), addresses, doors) < 0:
            raise MemoryError

    def read(self, face: Face, port: Port) -> int:
        """See `Reader`."""
        lib, intake, found = self._lib, self._intake, self._found
        count = int(lib.intake_read(intake, self._face(face)))
        while (verdict := lib.intake_next(intake)) != lib.DONE:
            if verdict == lib.LEFT:
                try:
                    self._forward_left()
                except Exception:  # noqa: BLE001 - as `taken`: what it costs is one packet
                    port.failed()
                continue
            length = found.bytes
            self._ffi.memmove(port.inward, found.datagram, length)
            address = named_address(face.socket.family, bytes(found.address))
            port.taken(face, length, address, found.now_s, opened=verdict == lib.OPENED)
        return count

    def _face(self, face: Face) -> Any:
        inner = self._faces.get(face)
        if inner is None:
            made = self._own(self._lib.face_new(face.socket.fileno()), self._lib.face_free)
            inner = self._faces[face] = made
        return inner


class _FastShelf:
    """Packets in C; here only those that somebody has."""

    def __init__(self, ffi: Any, lib: Any, shelf: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._shelf = shelf
        self._told = ffi.new("struct packet *")
        self._had: WeakValueDictionary[int, Packet] = WeakValueDictionary()

    def put(self, packet: Packet) -> None:
        told = _tell(self._told, packet)
        if self._lib.shelf_put(self._shelf, told, packet.body, len(packet.body)) == self._ffi.NULL:
            raise MemoryError
        self._had[packet.at] = packet

    def at(self, number: int) -> Packet | None:
        kept = self._lib.shelf_at(self._shelf, number)
        if kept == self._ffi.NULL:
            return None
        packet = self._had.get(number)
        if packet is None:
            packet = self._had[number] = _again(self._ffi, kept)
        return packet

    def empty(self, timestamp: int) -> None:
        self._lib.shelf_empty(self._shelf, timestamp, PADDED, EMPTY, len(EMPTY))
        for packet in list(self._had.values()):
            if packet.timestamp == timestamp:
                packet.empty()

    def clear(self) -> None:
        self._lib.shelf_clear(self._shelf)


class _FastHold:
    """Lists in C."""

    def __init__(self, ffi: Any, lib: Any, hold: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._hold = hold
        self._told = ffi.new("struct packet *")

    @property
    def count(self) -> int:
        return int(self._hold.count)

    def put(self, place: int, packet: Packet) -> None:
        kept = self._lib.kept_new(_tell(self._told, packet), packet.body, len(packet.body))
        if kept == self._ffi.NULL:
            raise MemoryError
        self._lib.hold_put(self._hold, place, kept)

    def take(self, place: int) -> list[Packet]:
        first = kept = self._lib.hold_take(self._hold, place)
        packets: list[Packet] = []
        while kept != self._ffi.NULL:
            packets.append(_again(self._ffi, kept))
            kept = kept.next
        self._lib.kept_free(first)
        return packets

    def holds(self, place: int) -> bool:
        return bool(self._hold.frames[place] != self._ffi.NULL)


def _tell(told: Any, packet: Packet) -> Any:
    """Write what C knows of a packet, beside its body."""
    told.at, told.timestamp = packet.at, packet.timestamp
    told.first, told.marker_type = packet.first, packet.marker_type
    return told


def _again(ffi: Any, kept: Any) -> Packet:
    told = kept.packet
    body = bytes(ffi.buffer(ffi.addressof(kept, "body"), kept.body_bytes))
    return Packet.again(told.at, told.first, told.marker_type, told.timestamp, body)


class _FastFlow:
    """All slots at once; those that it leaves, one after another."""

    def __init__(self, ffi: Any, out: Any, fan: Any, packet: Any, stream: Any, shelf: _FastShelf) -> None:
        self.slots: list[Slot] = []
        self._ffi = ffi
        self._out = out
        self._fan = fan
        self._packet = packet
        self._stream = stream
        self._shelf = shelf
        self._handle = stream.flow = ffi.new_handle(ref(self))
        self._gather()

    def _gather(self) -> None:
        """The lines live as long as their slots, and those as long as they are here."""
        self._lines = self._ffi.new("struct line *[]", [slot.line for slot in self.slots])
        self._left = self._ffi.new("int32_t[]", max(1, len(self.slots)))
        self._stream.lines, self._stream.count = self._lines, len(self.slots)

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
        told, body, left = _tell(self._packet, packet), packet.body, self._left
        lefts = self._out(self._fan, self._lines, len(self.slots), told, body, len(body), now_s, left)
        for place in range(lefts):
            self.slots[int(left[place])].forward(packet, now_s)

    def forward_left(self, at: int, left: Sequence[int], now_s: float) -> None:
        """Hand a packet that is kept to the slots in these places."""
        packet = self._shelf.at(at)
        if packet is not None:
            slots = [self.slots[place] for place in left]
            for slot in slots:
                slot.forward(packet, now_s)


def socket_address(family: int, address: Address) -> bytes:
    """An address as the system wants it (`sockaddr_in`, `sockaddr_in6`)."""
    port = struct.pack("!H", address[1])
    if family == socket.AF_INET:
        return struct.pack("=H2s4s8x", family, port, socket.inet_aton(address[0]))
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    host = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return struct.pack("=H2sI16sI", family, port, socket.htonl(flow), host, scope)


def named_address(family: int, address: bytes) -> Address:
    """What `socket_address` wrote, as Python names it."""
    (port,) = struct.unpack_from("!H", address, 2)
    if family == socket.AF_INET:
        return socket.inet_ntoa(address[4:8]), port
    flow, host, scope = struct.unpack_from("=I16sI", address, 4)
    return socket.inet_ntop(socket.AF_INET6, host), port, socket.ntohl(flow), scope
