"""The UDP port of a worker: one number on every address, and who a datagram is from.

A peer's datagrams are known by the address they come from, once a binding request from there has proven the password
(`stunlite`). What strangers send is dropped after a look into a table; nothing is made or kept for it.

Datagrams are read in rows, each into the same buffer, and dealt with before the next row. A datagram that the system does not take is dropped: late
media is worth less than none. An exception costs the datagram that raised it, and is counted.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from leeside_server.log import get_logger
from leeside_server.video import stunlite
from leeside_server.video.dtls import PACKET_BYTES, Buffers
from leeside_server.video.metrics import Counts
from leeside_server.video.ways import DoorState

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

BATCH: Final = 64
"""Datagrams read from one socket before others have their turn."""
ROW_S: Final = 0.001
"""How long datagrams wait at most for others, where they come closer than that."""
SOCKET_BYTES: Final = 2 << 20
"""What may wait in the system for a worker that is behind: about a tenth of a second of all that it can carry. More would only
come later."""
SO_MEMINFO: Final = 55
"""What the system keeps of a socket, as numbers of 32 bits (Linux; Python has no name for it)."""
_DROPS: Final = 8
"""The one that counts datagrams for which there was no room."""
PATHS: Final = 8
"""Addresses that one peer may be known by; the oldest that is not in use goes."""

_log = get_logger("leeside.video")


class Endpoint(Protocol):
    """Whose datagrams they are."""

    @property
    def door(self) -> DoorState:
        """What they change."""
        ...

    def password(self, ufrag: bytes) -> bytes | None:
        """What proves a binding request to this user name."""
        ...

    def reached(self, path: Path, request: stunlite.BindingRequest, now_s: float) -> None:
        """A proven binding request came on this path; its answer is written already."""
        ...

    def media(self, length: int, now_s: float) -> None:
        """A datagram that looks like SRTP or SRTCP stands in the inward buffer."""
        ...

    def opened(self, length: int, now_s: float) -> None:
        """A packet that was SRTP stands in the inward buffer, and is genuine."""
        ...

    def handshake(self, data: bytes) -> None:
        """A datagram that looks like DTLS."""
        ...


class Reader(Protocol):
    """Another way to read the sockets of a port: it deals with what it can by itself, and gives the port the rest."""

    def know(self, face: Face) -> None:
        """Somebody is known by another address on this socket than before, or nobody by one: `face.known`."""
        ...

    def read(self, face: Face, port: Port) -> int:
        """Read a row of what has come; how many datagrams that were. What it leaves stands in `port.inward`, and is `port.taken`."""
        ...


class Path:
    """A way to a peer: a socket of ours and an address of theirs."""

    __slots__ = ("_sendto", "address", "counts", "face")

    def __init__(self, face: Face, address: Address) -> None:
        self.face = face
        self.address = address
        self._sendto = face.socket.sendto
        self.counts = face.counts

    def send(self, data: bytes | memoryview) -> None:
        """Write a datagram, or drop it."""
        try:
            self._sendto(data, self.address)
        except OSError:
            self.counts.unsent += 1


class Face:
    """One bound socket, and who is known on it."""

    def __init__(self, bound: socket.socket, counts: Counts) -> None:
        self.socket = bound
        self.counts = counts
        self.known: dict[Address, Endpoint] = {}
        self.read_s = float("-inf")
        """When it was read last."""
        self._dropped = 0

    def overrun(self) -> int:
        """How many datagrams the system dropped since this was asked last, because nobody read them in time. 0 where the system
        does not tell."""
        try:
            told = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (_DROPS + 1))
        except OSError:
            return 0
        if len(told) <= 4 * _DROPS:
            return 0
        before, self._dropped = self._dropped, int.from_bytes(told[4 * _DROPS :], sys.byteorder)
        return self._dropped - before & 0xFFFF_FFFF


class Port:
    """The sockets of a worker. `clock` gives seconds that only go forward; `flush` is called when a row of datagrams was dealt
    with, and what they led to may leave. `reader`: the fast way, where there is one."""

    def __init__(
        self,
        buffers: Buffers,
        counts: Counts,
        clock: Callable[[], float],
        flush: Callable[[], None] = lambda: None,
        reader: Reader | None = None,
    ) -> None:
        self.inward: Final = buffers.inward
        self._counts = counts
        self._clock = clock
        self._flush = flush
        self._reader = reader
        self.faces: Final[list[Face]] = []
        self.named: Final[dict[bytes, Endpoint]] = {}
        """By the user names of binding requests."""
        self._paths: dict[Endpoint, list[Path]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.number = 0

    def open(self, hosts: Sequence[str], number: int) -> None:
        """Bind every host to this number; 0: the first host's choice. Raises `OSError`; nothing stays open then."""
        try:
            for host in hosts:
                bound = _bind(host, number)
                number = int(bound.getsockname()[1])
                self.faces.append(Face(bound, self._counts))
        except OSError:
            self.close()
            raise
        self.number = number

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read from now on."""
        self._loop = loop
        for face in self.faces:
            loop.add_reader(face.socket.fileno(), self.readable, face)

    def overrun(self) -> int:
        """How many datagrams came since this was asked last and were dropped before they could be read: the worker is behind."""
        return sum(face.overrun() for face in self.faces)

    def close(self) -> None:
        """Close the sockets."""
        for face in self.faces:
            if self._loop is not None:
                self._loop.remove_reader(face.socket.fileno())
            face.socket.close()
        self.faces.clear()

    def name(self, ufrag: bytes, endpoint: Endpoint) -> None:
        """Binding requests to this user name are for this endpoint."""
        self.named[ufrag] = endpoint

    def unname(self, ufrag: bytes) -> None:
        """They are for nobody any more."""
        self.named.pop(ufrag, None)

    def forget(self, endpoint: Endpoint) -> None:
        """Know none of its addresses any more."""
        for path in self._paths.pop(endpoint, ()):
            if path.face.known.get(path.address) is endpoint:
                self.know(path.face, path.address, None)

    def readable(self, face: Face) -> None:
        """Something has come on this socket: read it and deal with it. Where that was done a moment ago, wait a moment: a row costs much
        less than as many datagrams by themselves, each with a look of the loop and calls of the system."""
        if self._loop is not None and self._clock() - face.read_s < ROW_S:
            self._loop.remove_reader(face.socket.fileno())
            self._loop.call_later(ROW_S, self._again, face)
        else:
            self.read(face)

    def _again(self, face: Face) -> None:
        """Read row after row while anything comes, and not with each datagram."""
        if self._loop is None or face not in self.faces:
            return
        count = self.read(face)
        if count == BATCH:
            self._loop.call_soon(self._again, face)
        elif count:
            self._loop.call_later(max(0.0, ROW_S - (self._clock() - face.read_s)), self._again, face)
        else:
            self._loop.add_reader(face.socket.fileno(), self.readable, face)

    def read(self, face: Face) -> int:
        """Read a row of what has come on this socket, and deal with it; how many datagrams that were."""
        face.read_s = self._clock()
        count = self._read(face) if self._reader is None else self._reader.read(face, self)
        self._flush()
        return count

    def _read(self, face: Face) -> int:
        inward = self.inward
        receive = face.socket.recvfrom_into
        clock = self._clock
        for count in range(BATCH):
            try:
                length, address = receive(inward)
            except BlockingIOError:
                return count
            except OSError:
                # What an earlier datagram of ours met on its way; it says nothing of the next one.
                continue
            # The estimate of a link rests on when each packet came.
            self.taken(face, length, address, clock())
        return BATCH

    def taken(self, face: Face, length: int, address: Address, now_s: float, *, opened: bool = False) -> None:
        """Deal with the datagram in the inward buffer, which came from there. `opened`: it was SRTP, and is genuine. Never
        raises."""
        inward = self.inward
        first = inward[0] if length else 0
        try:
            if 127 < first < 192:
                endpoint = face.known.get(address)
                if endpoint is None or length > PACKET_BYTES:
                    self._counts.strange += 1
                elif opened:
                    endpoint.opened(length, now_s)
                else:
                    endpoint.media(length, now_s)
            elif first < 4:
                self._binding(face, address, length, now_s)
            elif 19 < first < 64 and (endpoint := face.known.get(address)) is not None:
                endpoint.handshake(bytes(inward[:length]))
            else:
                self._counts.strange += 1
        except Exception:  # noqa: BLE001
            self.failed()

    def failed(self) -> None:
        """Count and tell the exception that is dealt with: it cost one datagram."""
        self._counts.faulty += 1
        _log.error("datagram_failed", exc_info=True)

    def _binding(self, face: Face, address: Address, length: int, now_s: float) -> None:
        inward = self.inward
        request = stunlite.read_request(inward, length)
        endpoint = None if request is None else self.named.get(request.ufrag)
        password = None if endpoint is None or request is None else endpoint.password(request.ufrag)
        if (
            request is None
            or endpoint is None
            or password is None
            or not stunlite.is_proven(inward, request, password)
        ):
            self._counts.strange += 1
            return
        path = self._path(face, address, endpoint)
        path.send(stunlite.write_success(request.transaction, address[0], address[1], password))
        endpoint.reached(path, request, now_s)

    def _path(self, face: Face, address: Address, endpoint: Endpoint) -> Path:
        paths = self._paths.setdefault(endpoint, [])
        for path in paths:
            if path.face is face and path.address == address:
                self.know(face, address, endpoint)
                # The newest stands last: what is in use is confirmed every few seconds.
                paths.remove(path)
                paths.append(path)
                return path
        path = Path(face, address)
        paths.append(path)
        self.know(face, address, endpoint)
        if len(paths) > PATHS:
            oldest = paths.pop(0)
            if oldest.face.known.get(oldest.address) is endpoint:
                self.know(oldest.face, oldest.address, None)
        return path

    def know(self, face: Face, address: Address, endpoint: Endpoint | None) -> None:
        """What comes from this address is this endpoint's, or nobody's."""
        if face.known.get(address) is endpoint:
            return
        if endpoint is None:
            del face.known[address]
        else:
            face.known[address] = endpoint
        if self._reader is not None:
            self._reader.know(face)


def _bind(host: str, number: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        bound.bind((host, number))
        bound.settimeout(0)
    except OSError:
        bound.close()
        raise
    return bound
