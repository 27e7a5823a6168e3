"""The fast way does what the plain one does: the same calls both ways, every byte that leaves and all that is kept compared."""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import native
from leeside_protocol.video.formats import VP8
from leeside_protocol.video.signalling import PausedWhy
from leeside_protocol.video.twcc import ArrivalsState
from leeside_server.video import fastways
from leeside_server.video.pacer import Pacer
from leeside_server.video.seal import Packet
from leeside_server.video.slot import Held, Slot
from leeside_server.video.ways import GateState, LineState, StreamState, UplinkState
from tests.support.fast_way import SANITIZED, WAYS, both_ways, missing, taken
from tests.support.video_plane import SEALED, VIDEO_SSRC, Ear, Plane

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

LINE = tuple(LineState.__dataclass_fields__)
STREAM = tuple(StreamState.__dataclass_fields__)
GATE = tuple(GateState.__dataclass_fields__)
UPLINK = tuple(UplinkState.__dataclass_fields__)
ARRIVALS = tuple(ArrivalsState.__dataclass_fields__)
LINK = ("seq", "room", "filled_s", "bytes_per_s", "most", "held_bytes")


@dataclass
class Keeping(Ear):
    """Keeps the bytes as they are."""

    bytes_heard: list[bytes] = field(default_factory=list[bytes])

    def hear(self, packet: bytes) -> None:
        self.bytes_heard.append(packet)


@pytest.fixture(autouse=True, scope="module")
def way() -> str:
    """Each test here takes both."""
    return "both"


class Call:
    """A camera that three receivers see: one without a pacer, one with room, one with too little."""

    def __init__(self) -> None:
        self.plane = Plane()
        self.ears = [Keeping() for _ in range(3)]
        pacers: tuple[Pacer[Held] | None, ...] = (None, Pacer(3_000_000), Pacer(150_000))
        self.downlinks = [
            self.plane.receiver(ear, pacer) for ear, pacer in zip(self.ears, pacers, strict=True)
        ]
        self.now_s = 1.0
        self.rest: list[bytes] = []
        """Of a frame that has begun."""

    @property
    def slots(self) -> list[Slot]:
        return [downlink.slots[mid] for downlink in self.downlinks for mid in "ab"]

    def do(self, move: str, who: int, chance: random.Random) -> None:
        plane, slot = self.plane, self.slots[who % len(self.slots)]
        self.now_s += chance.choice((0.001, 0.01, 0.05))
        match move:
            case "attach":
                slot.attach(plane.uplink.tracks["1" if slot.mid == "b" else "0"], self.now_s)
            case "detach":
                slot.detach()
            case "pause" if slot.track is not None:
                slot.pause(PausedWhy.BANDWIDTH)
            case "resume":
                slot.resume(self.now_s)
            case "shift":
                slot.line.pictures, slot.line.levels = (
                    chance.randrange(-40_000, 40_000),
                    chance.randrange(256),
                )
            case "resend":
                slot.resend(slot.line.newest - chance.randrange(4) & 0xFFFF, self.now_s)
            case "empty":
                plane.camera.send(plane.camera.packet(b"", marker=False), self.now_s)
            case "sound":
                plane.camera.send(plane.camera.sound(), self.now_s)
            case "bare":
                plane.camera.send(plane.camera.frame(sealed=False, size=2_000), self.now_s)
            case "bare sound":
                plane.camera.send(plane.camera.sound(sealed=False), self.now_s)
            case "wait":
                self.now_s += chance.choice((1.0, 2.1, 3.0))
            case "jump":
                plane.camera.timestamp += chance.choice((1 << 31, 1 << 20, (1 << 32) - 9_000))
                plane.camera.send(plane.camera.frame(size=2_000), self.now_s)
            case "overtaken":
                packets = plane.camera.frame(size=3_000) + plane.camera.frame(size=3_000)
                plane.camera.send(packets[1:4] + packets[:1] + packets[4:], self.now_s)
            case "doubled":
                packets = plane.camera.frame(size=2_000)
                plane.camera.send([packet for packet in packets for _ in range(2)], self.now_s)
            case "late end":
                packets = plane.camera.frame(size=3_000)
                plane.camera.send(packets[:-1], self.now_s)
                plane.camera.send(plane.camera.frame(size=900), self.now_s)
                plane.camera.send(packets[-1:], self.now_s)
            case "dressed":
                packets = [dressed(packet, chance) for packet in plane.camera.frame(size=2_000)]
                plane.camera.send(packets, self.now_s)
            case "mangled":
                packets = [mangled(packet, chance) for packet in plane.camera.frame(size=2_000)]
                plane.camera.send(packets, self.now_s)
            case "begin":
                packets = self.rest + plane.camera.frame(size=3_000)
                plane.camera.send(packets[:2], self.now_s)
                self.rest = packets[2:]
            case "end":
                plane.camera.send(self.rest, self.now_s)
                self.rest = []
            case "due":
                plane.uplink.due(self.now_s)
            case _:
                packets = plane.camera.frame(key=move == "key", size=chance.choice((40, 900, 6_000)))
                if move == "mixed":
                    chance.shuffle(packets)
                elif move == "lossy":
                    packets = packets[1:] + packets[:1]
                plane.camera.send(packets, self.now_s)
        for downlink in self.downlinks:
            downlink.due(self.now_s)

    def kept(self) -> list[Any]:
        lines = [[getattr(slot.line, name) for name in LINE] for slot in self.slots]
        # Without a pacer the slots ask for no room, and say nothing of it.
        links = [[ear.link.seq] for ear in self.ears[:1]]
        links += [[getattr(ear.link, name) for name in LINK] for ear in self.ears[1:]]
        uplink = self.plane.uplink
        layers = [layer for track in uplink.tracks.values() for layer in track.layers.values()]
        streams = [[getattr(layer.state, name) for name in STREAM] for layer in layers]
        gates = [[getattr(layer.gate.state, name) for name in GATE] for layer in layers]
        frames = [(list(layer.gate.timestamps), list(layer.gate.fates), layer.held) for layer in layers]
        arrivals = uplink.arrivals
        came = [getattr(arrivals.state, name) for name in ARRIVALS]
        when = list(zip(arrivals.numbers, arrivals.times, strict=True))[: len(arrivals)]
        publisher = [getattr(uplink.state, name) for name in UPLINK] + [
            uplink.refused,
            uplink.over,
            uplink.faults,
        ]
        shown = [(slot.state, slot.stalled) for slot in self.slots]
        return [
            lines,
            links,
            streams,
            gates,
            frames,
            came,
            when,
            publisher,
            shown,
            self.plane.publisher.control,
        ]


def a_call() -> tuple[Call, random.Random]:
    """One in which all are shown a first picture; what is not said of it is by chance."""
    call, chance = Call(), random.Random(0)
    for who in range(6):
        call.do("attach", who, chance)
    call.do("key", 0, chance)
    return call, chance


def dressed(packet: bytes, chance: random.Random) -> bytes:
    """The same packet with another head, all in order: contributors, more or other elements, padding."""
    head, rest = bytearray(packet[:12]), packet[12:]
    words = struct.unpack("!H", rest[2:4])[0]
    elements, payload = rest[4 : 4 + 4 * words], rest[4 + 4 * words :]
    match chance.randrange(6):
        case 0:
            head[0] |= 2
            return bytes(head) + bytes(8) + rest
        case 1:
            elements += bytes([0x70, chance.randrange(256), 0, 0])
        case 2:
            elements += b"\xf0\x70\x01\0"
        case 3:
            head[0] |= 0x20
            payload += bytes(4) + b"\5"
        case 4:
            head[0] &= ~0x10
            return bytes(head) + payload
        case _:
            inner = bytes([1, 1, ord("1"), 3, 2]) + elements[-2:] + bytes(1)
            return bytes(head) + b"\x10\0" + struct.pack("!H", len(inner) // 4) + inner + payload
    return bytes(head) + rest[:2] + struct.pack("!H", len(elements) // 4) + elements + payload


def mangled(packet: bytes, chance: random.Random) -> bytes:
    """Some bytes of its head, of what stands before the picture, or of its end are others; or it is cut."""
    if chance.randrange(8) == 0:
        return packet[: chance.randrange(40)]
    mangled = bytearray(packet)
    for _ in range(chance.randrange(1, 4)):
        place = chance.choice((0, 1, 2, 3, 7, 12, 13, 14, 15, 16, 17, 18, 20, 24, 25, 28, -1, -3))
        mangled[place] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
    return bytes(mangled)


MOVES = (
    "attach",
    "detach",
    "pause",
    "resume",
    "shift",
    "resend",
    "empty",
    "sound",
    "key",
    "mixed",
    "lossy",
    "bare",
    "bare sound",
    "wait",
    "jump",
    "overtaken",
    "doubled",
    "late end",
    "dressed",
    "mangled",
    "begin",
    "end",
    "due",
    "frame",
    "frame",
    "frame",
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 5)), max_size=60),
    st.integers(0, 1 << 32),
)
def test_both_ways_send_the_same_bytes_and_keep_the_same(moves: list[tuple[str, int]], seed: int) -> None:
    told: list[list[Any]] = []
    for way in WAYS:
        with both_ways(way):
            call, chance = Call(), random.Random(seed)
            for who in range(6):
                call.do("attach", who, chance)
            states: list[Any] = []
            for move, who in [("key", 0), ("sound", 0), *moves]:
                call.do(move, who, chance)
                states.append(call.kept())
            call.plane.sane()
            told.append([[ear.bytes_heard for ear in call.ears], states])
            if way == "fast":
                assert taken() > 0
    assert told[0] == told[1]


WHOLE = b"\x90\x80\x80\x07\x11" + bytes(60) + SEALED
"""A frame that stands in one packet."""


@pytest.mark.parametrize(
    ("first", "extension"),
    [
        (0x80, b""),
        (0x90, b"\xbe\xde\0\2\x10\x31\x31\0\0\0\0\0"),
        (0x90, b"\xbe\xde\0\2\x10\x31\xf0\0\x31\0\7\0"),
        (0x90, b"\xbe\xde\0\2\x10\x31\x32\0\7\7\0\0"),
        (0x90, b"\xbe\xde\0\2\x10\x31\x71\3\7\0\0\0"),
        (0x90, b"\xbe\xde\0\2\x10\x31\x70\3\x31\0\7\0"),
        (0x90, b"\xbe\xde\0\1\x10\x31\x3f\0"),
        (0x90, b"\xbe\xde\0\xff\x10\x31\x30\0"),
        (0x90, b"\x10\0\0\2\1\1\x31\3\2\0\7\0"),
        (0x90, b"\x12\x34\0\1\x31\0\7\0"),
        (0x92, bytes(8) + b"\xbe\xde\0\1\x31\0\7\0"),
        (0x8F, b""),
        (0x40, b""),
    ],
)
@pytest.mark.parametrize("padding", [b"", b"\1", b"\0", bytes(3) + b"\4", b"\xff"])
def test_a_head_is_read_the_same(first: int, extension: bytes, padding: bytes) -> None:
    first |= 0x20 if padding else 0
    compare(first, extension + WHOLE + padding)


@pytest.mark.parametrize("key", [0, 1])
@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x10",
        b"\x90\x00",
        b"\x90\x80\x07",
        b"\x90\x80\x80\x07",
        b"\x90\xc0\x80\x07\x01",
        b"\x90\xe0\x80\x07\x01\x20",
        b"\x90\x70\x01\x21",
        b"\x90\x40\x01",
        b"\x90\x10\x01",
        b"\x11",
        b"\x80\x80\x80\x07",
    ],
)
def test_a_key_frame_is_known_the_same(descriptor: bytes, key: int) -> None:
    """One that goes on: the end of a frame would let go of it in either case."""
    compare(0x80, descriptor + bytes([0x10 | key]) + bytes(60), ends=False)


def compare(first: int, rest: bytes, *, ends: bool = True) -> None:
    """Both ways make the same of the next packet of a picture that has the gate's trust."""
    told: list[Any] = []
    for way in WAYS:
        with both_ways(way):
            call, _ = a_call()
            camera = call.plane.camera
            timestamp = camera.timestamp + 3_000
            head = struct.pack("!BBHLL", first, 0x80 * ends | VP8, camera.sequence, timestamp, VIDEO_SSRC)
            camera.send(head + rest, call.now_s)
            told.append([[ear.bytes_heard for ear in call.ears], call.kept()])
    assert told[0] == told[1]


def test_a_frame_that_waits_is_not_forgotten_for_one_that_is_trusted() -> None:
    """Sixty-four frames are remembered; one whose packets wait is let go by Python, with them."""
    told: list[Any] = []
    for way in WAYS:
        with both_ways(way):
            call, chance = a_call()
            late = call.plane.camera.frame(key=True, size=3_000)
            call.plane.camera.send(late[:1], call.now_s)
            states: list[Any] = []
            for _ in range(70):
                call.do("frame", 0, chance)
                states.append(call.kept())
            call.plane.camera.send(late[1:], call.now_s)
            told.append([[ear.bytes_heard for ear in call.ears], states, call.kept()])
    assert told[0] == told[1]


@settings(max_examples=300)
@given(
    st.binary(max_size=12),
    st.integers(-40_000, 40_000),
    st.integers(-300, 300),
    st.sampled_from((-1, 0, 3, 255)),
)
def test_whatever_a_picture_says_of_itself_both_ways_read_it_the_same(
    descriptor: bytes, pictures: int, levels: int, orientation: int
) -> None:
    heard: list[list[bytes]] = []
    for way in WAYS:
        with both_ways(way):
            call, _ = a_call()
            for slot in call.slots:
                slot.line.pictures, slot.line.levels = pictures, levels
            (layer,) = call.plane.uplink.tracks["1"].layers.values()
            at = 0x1_0000 + 100 + call.plane.camera.sequence
            layer.flowing.forward(Packet(at, 0x60, 7, orientation, descriptor), 2.0)
            heard.append([packet for ear in call.ears for packet in ear.bytes_heard])
    assert heard[0] == heard[1]


def test_what_does_not_fit_a_packet_is_left_to_the_slots() -> None:
    with both_ways("fast"):
        call, _ = a_call()
        (layer,) = call.plane.uplink.tracks["1"].layers.values()
        before = taken()
        layer.flowing.forward(Packet(0x2_0000, 0x60, 7, -1, bytes(1_700)), 2.0)
        assert taken() == before
        assert call.ears[0].bytes_heard[-1][24:] == bytes(1_700)


def test_what_was_built_from_other_sources_or_is_no_library_is_not_used(tmp_path: Path) -> None:
    compiler = native.compiler()
    assert compiler is not None
    other = tmp_path / "other.so"
    native.build(compiler, other)
    assert fastways.load(other) is not None
    told = other.read_bytes()
    other.unlink()  # A library that is loaded must not change under it.
    stale = tmp_path / "stale.so"
    stale.write_bytes(told.replace(native.sources().encode(), b"0" * 64))
    assert fastways.load(stale) is None
    (tmp_path / "none.so").write_bytes(b"no library")
    assert fastways.load(tmp_path / "none.so") is None
    assert fastways.load(tmp_path / "missing.so") is None
    assert native.sources() == fastways.sources()


def test_a_compiler_that_refuses_is_told_of(tmp_path: Path) -> None:
    compiler = native.compiler()
    assert compiler is not None
    with pytest.raises(native.BuildFailed):
        native.build(compiler, tmp_path / "lib.so", "-no-such-flag")
    with pytest.raises(native.BuildFailed):
        native.build(["no-such-compiler"], tmp_path / "lib.so")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", [("192.0.2.7", 4_242), ("::1", 7, 0, 0)])
def test_an_address_is_written_as_the_system_reads_it(address: Any) -> None:
    """libc's own connect reads it: a socket that took it says where it goes."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    written = fastways.socket_address(family, address)
    with socket.socket(family, socket.SOCK_DGRAM) as some:
        assert ctypes.CDLL(None).connect(some.fileno(), written, len(written)) == 0
        assert some.getpeername() == address


def test_an_address_keeps_its_flow_and_its_interface() -> None:
    """As Python's own sockets give and take them: the flow by number, the scope as it is (RFC 3493, 3.3)."""
    written = fastways.socket_address(socket.AF_INET6, ("fe80::7%eth0", 4_242, 9, 3))
    family, port, flow, host, scope = struct.unpack("=HHI16sI", written)
    assert (family, socket.ntohs(port), socket.ntohl(flow), scope) == (socket.AF_INET6, 4_242, 9, 3)
    assert host == socket.inet_pton(socket.AF_INET6, "fe80::7")


@pytest.mark.slow
def test_no_byte_is_read_or_written_that_is_not_its_own(tmp_path: Path) -> None:
    """The tests of both ways once more, with a library that checks every access (gcc's sanitizers)."""
    compiler = native.compiler()
    assert compiler is not None
    library = tmp_path / "checked.so"
    native.build(compiler, library, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
    preload = subprocess.run(
        [*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    tests = [f"{__file__}::{test.__name__}" for test in (
        test_both_ways_send_the_same_bytes_and_keep_the_same,
        test_a_head_is_read_the_same,
        test_a_key_frame_is_known_the_same,
        test_a_frame_that_waits_is_not_forgotten_for_one_that_is_trusted,
        test_whatever_a_picture_says_of_itself_both_ways_read_it_the_same,
        test_what_does_not_fit_a_packet_is_left_to_the_slots,
    )]  # fmt: skip
    worker = Path(__file__).parents[1] / "worker"
    tests += [str(worker / "test_reader.py"), str(worker / "test_bridge.py")]
    tests.append(str(Path(__file__).with_name("test_reports.py")))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-k",
            "not plain",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *tests,
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "LD_PRELOAD": preload,
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONMALLOC": "malloc",
            SANITIZED: str(library),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
