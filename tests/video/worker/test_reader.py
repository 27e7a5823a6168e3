"""The fast way to read a port: who is known, what is left to Python, and that rows end where they should."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from leeside_protocol.ids import DeviceId
from leeside_server.video import slot
from leeside_server.video.dtls import Buffers
from leeside_server.video.fastways import FastWays, named_address, socket_address
from leeside_server.video.metrics import Counts
from leeside_server.video.peer import Peer
from leeside_server.video.udp import Endpoint, Face, Port
from leeside_server.video.ways import DoorState
from tests.support.fast_way import missing
from tests.video.worker import world
from tests.video.worker.world import bridge, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
ROW = 64
"""Datagrams that are read at once."""
ANA, BEN = DeviceId(b"a" * 16), DeviceId(b"b" * 16)
MEDIA = b"\x80\x6f" + bytes(30)


class Known:
    """Keeps what comes of it."""

    def __init__(self, ways: FastWays) -> None:
        self.door: DoorState = ways.door()
        self.came: list[bytes] = []
        self.port: Port | None = None

    def media(self, length: int, now_s: float) -> None:
        assert self.port is not None
        self.came.append(bytes(self.port.inward[:length]))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Bench:
    """A port that is read by the test, on one address."""

    def __init__(self, host: str) -> None:
        loaded = world.fast()
        assert isinstance(loaded, FastWays)
        self.ways = loaded
        self.counts = Counts()
        self.port = Port(Buffers(), self.counts, lambda: 1.0, self.ways.flush, self.ways)
        self.port.open([host], 0)
        self.host = host
        self.face: Face = self.port.faces[0]

    def known(self, address: Any) -> Known:
        endpoint = Known(self.ways)
        endpoint.port = self.port
        self.port.know(self.face, address, cast("Endpoint", endpoint))
        return endpoint

    def read(self) -> None:
        self.port.readable(self.face)
        self.ways.count(self.counts)

    def send(self, sender: socket.socket, data: bytes) -> None:
        sender.sendto(data, (self.host, self.port.number))


@pytest.fixture(params=["127.0.0.1", "::1"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    yield made
    made.port.close()


def test_of_many_addresses_each_is_its_own_and_the_others_are_strangers(bench: Bench) -> None:
    family = bench.face.socket.family
    with ExitStack() as sockets:
        senders = [sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(60)]
        for sender in senders:
            sender.bind((bench.host, 0))
        for number in range(400):
            bench.known((f"192.0.2.{number % 256}", 1_000 + number) if family == socket.AF_INET
                        else (f"2001:db8::{number:x}", 4_000, 0, 0))  # fmt: skip
        friends = [bench.known(sender.getsockname()) for sender in senders[::2]]
        for number, sender in enumerate(senders):
            bench.send(sender, MEDIA + bytes([number]))
        bench.read()
        assert [friend.came for friend in friends] == [[MEDIA + bytes([each])] for each in range(0, 60, 2)]
        assert bench.counts.strange == 30

        for sender in senders[::4]:
            bench.port.know(bench.face, sender.getsockname(), None)
        for sender in senders:
            bench.send(sender, MEDIA)
        bench.read()
        assert [len(friend.came) for friend in friends] == [1 + number % 2 for number in range(30)]


def test_what_is_no_media_is_pythons_and_what_is_too_long_is_refused(bench: Bench) -> None:
    with socket.socket(bench.face.socket.family, socket.SOCK_DGRAM) as sender:
        sender.bind((bench.host, 0))
        friend = bench.known(sender.getsockname())
        for data in (b"", b"\x80", b"\x50" * 20, b"\xff" * 20, MEDIA + bytes(1_500), MEDIA + bytes(4_000)):
            bench.send(sender, data)
        bench.read()
        assert friend.came == [b"\x80"]
        assert (bench.counts.strange, bench.counts.faulty) == (5, 0)


def test_a_row_is_read_at_once_and_the_rest_with_the_next(bench: Bench) -> None:
    with socket.socket(bench.face.socket.family, socket.SOCK_DGRAM) as sender:
        sender.bind((bench.host, 0))
        friend = bench.known(sender.getsockname())
        for number in range(ROW + 5):
            bench.send(sender, MEDIA + bytes([number]))
        bench.read()
        assert len(friend.came) == ROW
        bench.read()
        assert [each[-1] for each in friend.came] == list(range(ROW + 5))
        bench.read()
        assert len(friend.came) == ROW + 5


@pytest.mark.parametrize("address", [("192.0.2.7", 4_242), ("::1", 7, 0, 0), ("fe80::7", 65_535, 9, 3)])
def test_an_address_that_was_written_is_named_again(address: Any) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    assert named_address(family, socket_address(family, address).ljust(28, b"\0")) == address


async def test_a_fault_of_one_packet_costs_no_other_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots that C leaves are Python's: what breaks there is one packet's."""
    async with bridge() as stage:
        ana, ben = await stage.joined(ANA, ssrc=100), await stage.joined(BEN, ssrc=200)
        ana.sound()
        await until(lambda: len(ben.got) == 1)
        bridged = next(iter(stage.bridge.halls.values())).peers[BEN]
        sound = next(each for each in bridged.down.slots.values() if each.layer is not None)

        def breaks(_self: object, *_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch:
            # What is below the newest is left to the slot.
            newest, sound.line.newest = sound.line.newest, 1 << 40
            patch.setattr(slot.Slot, "forward", breaks)
            ana.sound()
            await until(lambda: stage.bridge.counts.faulty == 1)
        sound.line.newest = newest
        ana.sound()
        await until(lambda: len(ben.got) == 2)
        assert stage.bridge.counts.faulty == 1


async def test_packets_that_take_the_fast_way_keep_their_sender_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes is a sign of life whichever way it takes, and is counted."""
    async with bridge() as stage:
        ana, ben = await stage.joined(ANA, ssrc=100), await stage.joined(BEN, ssrc=200)
        ana.sound()
        await until(lambda: len(ben.got) == 1)
        signs = next(iter(stage.bridge.halls.values())).peers[ANA].life.signs
        before_s = signs.media_s

        def opened(_self: Peer, _length: int, _now_s: float) -> None:
            raise AssertionError("it takes the plain way")

        monkeypatch.setattr(Peer, "opened", opened)
        ana.sound()
        await until(lambda: len(ben.got) == 2)
        assert signs.media_s > before_s
        await until(lambda: stage.bridge.counts.packets_in == 2)
        assert stage.bridge.counts.faulty == 0
