"""The fast way out of a worker, on real sockets: what leaves for one receiver in a row leaves as one, and comes as it was.

A receiver that asks the system for it (udp(7), UDP_GRO) is given what left as one as one, and so tells how packets left.
"""

import socket
import struct
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from leeside_server.video import fastways
from leeside_server.video.dtls import SrtpAddresses
from leeside_server.video.metrics import Counts
from leeside_server.video.ways import NOTHING, RING, LinkState
from tests.support.fast_way import ffi, library, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
UDP_GRO = 104
SO_NO_CHECK = 11
LONGEST = 1_400
"""Of a packet that leaves with others."""
BATCH = 64


def unprotected(_context: Any, _packet: Any, _length: Any) -> int:
    """What is sent is read by the test."""
    return 0


UNPROTECTED: Any = ffi.callback("int(void *, void *, int *)", unprotected)


class Away:
    """A socket of ours that sends to receivers, in rows."""

    def __init__(self) -> None:
        at = int(ffi.cast("uintptr_t", UNPROTECTED))
        loaded = fastways.load(library(), lambda c, lib: fastways.FastWays(c, lib, SrtpAddresses(at, at, at)))
        assert isinstance(loaded, fastways.FastWays)
        self.ways = loaded
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.counts = Counts()
        self.rings: list[Any] = []
        self.receivers: list[socket.socket] = []

    def receiver(self, *, whole: bool = True) -> tuple[LinkState, socket.socket]:
        """A link, and who is behind it; `whole`: it is given what left as one as one."""
        rings = array("i", [NOTHING] * RING), array("d", [0.0] * RING), array("i", [0] * RING)
        self.rings.append(rings)
        link: Any = self.ways.link(*rings)
        behind = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        behind.bind(("127.0.0.1", 0))
        behind.settimeout(10)
        if whole:
            behind.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        address = fastways.socket_address(socket.AF_INET, behind.getsockname())
        link.descriptor, link.address_bytes = self.socket.fileno(), len(address)
        ffi.memmove(link.address, address, len(address))
        link.srtp = ffi.cast("void *", 1)
        self.receivers.append(behind)
        return link, behind

    def send(self, link: LinkState, size: int, fill: int) -> None:
        self.ways.send(link, bytearray([fill]) * size, size, None)

    def unsent(self) -> int:
        self.ways.count(self.counts)
        return self.counts.unsent


@pytest.fixture
def away() -> Iterator[Away]:
    made = Away()
    yield made
    for each in (made.socket, *made.receivers):
        each.close()


def rows(behind: socket.socket, packets: int) -> list[list[bytes]]:
    """So many packets, by what they left with."""
    came: list[list[bytes]] = []
    while sum(map(len, came)) < packets:
        data, notes, _, _ = behind.recvmsg(65_536, 64)
        size = next(
            (struct.unpack("=i", note[:4])[0] for _, kind, note in notes if kind == UDP_GRO), len(data)
        )
        came.append([data[at : at + size] for at in range(0, len(data), size)])
    return came


def sizes(came: list[list[bytes]]) -> list[list[int]]:
    return [[len(packet) for packet in row] for row in came]


def test_a_pictures_packets_leave_for_each_receiver_as_one(away: Away) -> None:
    links = [away.receiver() for _ in range(3)]
    for fill, size in enumerate((1_190, 1_190, 1_190, 400), 1):
        for link, _ in links:
            away.send(link, size, fill)
    away.ways.flush()
    for _, behind in links:
        came = rows(behind, 4)
        assert sizes(came) == [[1_190, 1_190, 1_190, 400]]
        assert [set(packet) for packet in came[0]] == [{1}, {2}, {3}, {4}]
    assert away.unsent() == 0


def test_their_order_is_kept_whatever_their_sizes(away: Away) -> None:
    link, behind = away.receiver()
    said = [300, 300, 120, 300, 1_190, 1_190, 120, 120, 1_300]
    for fill, size in enumerate(said):
        away.send(link, size, fill)
    away.ways.flush()
    came = rows(behind, len(said))
    assert sizes(came) == [[300, 300, 120], [300], [1_190, 1_190, 120], [120], [1_300]]
    assert [packet[0] for row in came for packet in row] == list(range(len(said)))


def test_what_the_path_might_have_to_cut_leaves_alone(away: Away) -> None:
    link, behind = away.receiver()
    for size in (LONGEST + 1, LONGEST + 1, LONGEST, LONGEST):
        away.send(link, size, 7)
    away.ways.flush()
    assert sizes(rows(behind, 4)) == [[LONGEST + 1], [LONGEST + 1], [LONGEST, LONGEST]]


def test_a_receiver_that_knows_nothing_of_it_gets_one_packet_after_another(away: Away) -> None:
    link, behind = away.receiver(whole=False)
    for fill in range(2 * BATCH + 3):
        away.send(link, 100, fill)
    away.ways.flush()
    assert [behind.recv(65_536) for _ in range(2 * BATCH + 3)] == [
        bytes([fill]) * 100 for fill in range(2 * BATCH + 3)
    ]


def test_where_the_system_refuses_to_cut_each_leaves_by_itself(away: Away) -> None:
    """It refuses it, and nothing else, on a socket that writes no checksums."""
    away.socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    (link, behind), (other, beyond) = away.receiver(), away.receiver()
    for fill in range(4):
        away.send(link, 1_000, fill)
    away.send(other, 700, 9)
    away.ways.flush()
    came = rows(behind, 4)
    assert [packet[0] for row in came for packet in row] == [0, 1, 2, 3]
    assert sizes(came) == [[1_000]] * 4
    assert sizes(rows(beyond, 1)) == [[700]]
    assert away.unsent() == 0


def test_what_cannot_leave_is_counted_and_the_rest_goes_on(away: Away) -> None:
    nowhere: Any = away.receiver()[0]
    nowhere.address_bytes = 3
    link, behind = away.receiver()
    for _ in range(3):
        away.send(nowhere, 500, 1)
    away.send(link, 500, 2)
    away.ways.flush()
    assert sizes(rows(behind, 1)) == [[500]]
    assert away.unsent() == 3


def test_who_is_aimed_elsewhere_is_not_sent_to_where_they_were(away: Away) -> None:
    link, before = away.receiver()
    _, after = away.receiver()
    away.send(link, 500, 1)
    address = fastways.socket_address(socket.AF_INET, after.getsockname())
    inner: Any = link
    away.ways.aim(link, None, None)
    ffi.memmove(inner.address, address, len(address))
    inner.srtp = ffi.cast("void *", 1)
    away.send(link, 500, 2)
    away.ways.flush()
    assert [packet[0] for row in rows(before, 1) for packet in row] == [1]
    assert [packet[0] for row in rows(after, 1) for packet in row] == [2]
