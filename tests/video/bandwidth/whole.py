"""A whole call in virtual time: the bridge's real plane between a publisher in several sizes and a receiver behind a link.

Everything that the bridge does to a packet is done by the bridge's own code (layers, slots, pacer, estimate, allocator),
and what the receiver tells it is told by the receiver of the Python SDK. Only the codec, SRTP and the sockets are left out.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from functools import partial

from leeside.media.receiving import Downlink as Screen
from leeside.media.receiving import Frame
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.rtcp import SenderInfo, compound, read_picture_requests
from leeside_protocol.video.signalling import Join, Part, PausedWhy
from leeside_server.core.video import Ticket
from leeside_server.video.bwe import Bandwidth
from leeside_server.video.forward import Downlink, Uplink
from leeside_server.video.layer import Layer, Track
from leeside_server.video.pacer import Pacer
from leeside_server.video.receiver import Receiver
from leeside_server.video.room import Member
from leeside_server.video.slot import ALL_LINES, Held
from tests.support.video_plane import Camera
from tests.video.bandwidth.simulated import Link, World

ROOM = bytes(16)
SRTP_BYTES = 10
SOUND_S = 0.02
TICK_S = 0.02
PACE_S = 0.005
SHARE_S = 0.2
FPS = 15
KEY_FRAME = 6
"""A key frame is so many times the size of another one."""
ENCODED_AFTER_S = 0.03
STALL_S = 0.15
"""A picture stands still when the next comes so much later than usual (W3C webrtc-stats, freezeCount)."""

LATE_S = 0.1
"""What a receiver plays sound later than it came covers so long a gap."""

Sizes = tuple[tuple[str, int], ...]
SIMULCAST: Sizes = (("q", 150_000), ("h", 400_000), ("f", 1_200_000))
"""Name and rate of each size: 180, 360 and 720 lines."""


class _Far:
    """The far end of a peer, as the plane sees it (`Outlet`)."""

    ready = True

    def __init__(self, call: Whole | None = None) -> None:
        self.call = call
        self.out = bytearray(2_048)
        self.keys_wanted: set[int] = set()

    def next_seq(self) -> int:
        return 0 if self.call is None else self.call.bandwidth.next_seq()

    def send_rtp(self, length: int, transport_seq: int | None) -> None:
        call = self.call
        assert call is not None
        if transport_seq is not None:
            call.bandwidth.sent(transport_seq, length + SRTP_BYTES, call.world.now_s)
        call.carry(bytes(self.out[:length]))

    def held(self) -> None:
        """It is looked at every 5 ms."""

    def send_rtcp(self, packet: bytes) -> None:
        call = self.call
        if call is not None:
            call.down.send(len(packet), lambda: call.screen.take(packet, call.world.now_s))
            return
        for part in compound(packet) or ():
            if part.kind == 206 and part.variant == 1:
                self.keys_wanted |= set(read_picture_requests(packet, part))


@dataclass
class Publisher:
    """Somebody who sends sound and a picture in these sizes; one without a name is a picture of one size."""

    world: World
    sizes: Sizes
    part: Part = Part.RESPONDER
    person: bool = True
    fps: int = FPS
    sends: bool = True
    far: _Far = field(default_factory=_Far)

    def __post_init__(self) -> None:
        number = self.world.chance.randrange(1 << 30)
        self.device = DeviceId(number.to_bytes(16))
        self.uplink = Uplink(self.far, _nothing, _nothing_unsealed)
        self.chance = random.Random(number)
        self.cameras = [
            Camera(self.uplink, ssrc=2_000 + place, repair_ssrc=3_000 + place, rid=rid)
            for place, (rid, _) in enumerate(self.sizes)
        ]
        self.member = _member(self.device, self.part, person=self.person)
        self.world.every(SOUND_S, self._sound)
        self.world.every(1 / self.fps, self._frame)
        self.world.every(TICK_S, lambda: self.uplink.due(self.world.now_s))

    def _sound(self) -> None:
        if self.sends:
            self.cameras[0].send(self.cameras[0].sound(), self.world.now_s)

    def _frame(self) -> None:
        key = bool(self.far.keys_wanted) or not self.cameras[0].frames
        self.far.keys_wanted.clear()
        for camera, (_, bps) in zip(self.cameras, self.sizes, strict=True):
            size = int(bps / 8 / self.fps * self.chance.uniform(0.7, 1.3) * (KEY_FRAME if key else 1))
            packets = camera.frame(key=key, size=size, step=round(90_000 / self.fps))
            if self.sends:
                self.world.at(self.world.now_s + ENCODED_AFTER_S, partial(self._send, camera, packets))

    def _send(self, camera: Camera, packets: list[bytes]) -> None:
        camera.send(packets, self.world.now_s)


class Whole:
    """A receiver of these publishers. `lines` and `shown` say how it went."""

    def __init__(self, down: Link, up: Link, publishers: list[Publisher]) -> None:
        self.world, self.down, self.up, self.publishers = down.world, down, up, publishers
        self.bandwidth = Bandwidth()
        self.pacer: Pacer[Held] = Pacer(self.bandwidth.estimate_bps)
        far = _Far(self)
        ssrcs = list(range(10_001, 10_021))
        self.downlink = Downlink(far, far.out, ssrcs, self.bandwidth.report, _no_clock, self.pacer)
        self.receiver = Receiver(self.bandwidth, self.downlink, self._told)
        self.member = _member(DeviceId(b"\xff" * 16), Part.PSYCHIATRIST, person=False)
        slots = self.downlink.slots
        self.screen = Screen(
            {slot.ssrc: mid for mid, slot in slots.items()},
            {slot.repair_ssrc: slot.ssrc for slot in slots.values() if slot.kind is MediaKind.VIDEO},
            self._frame,
            self.world.now_s,
        )
        self.lines: dict[DeviceId, list[tuple[float, int]]] = {each.device: [] for each in publishers}
        """Each change of what the room was told of a picture."""
        self.frames: dict[str, list[float]] = {}
        """When each frame of a line could be shown."""
        self.estimates: list[tuple[float, float]] = []
        self._arrived: set[bytes] = set()
        """Number and stream of each packet; a call here is shorter than numbers take to come again."""
        self._shared_s = -SHARE_S
        for pair, publisher in enumerate(publishers):
            self.member.pairs[publisher.device] = pair
            for mid, track in zip(("abcdefghij"[2 * pair :]), publisher.uplink.tracks.values(), strict=False):
                slots[mid].attach(track, self.world.now_s)
        self.world.every(TICK_S, self._tick)
        self.world.every(PACE_S, lambda: self.downlink.due(self.world.now_s))

    def _tick(self) -> None:
        now_s = self.world.now_s
        for packet in self.screen.due(now_s):
            self.up.send(len(packet), partial(self._hear, packet))
        self.receiver.probe(now_s)
        self.receiver.repeat(now_s)
        if now_s - self._shared_s >= SHARE_S or self.receiver.awaits:
            self._shared_s = now_s
            self.pacer.rate(self.bandwidth.pace_bps)
            others = {each.device: each.member for each in self.publishers}
            self.receiver.share(self.member, others, ALL_LINES, now_s)
        self.estimates.append((now_s, self.bandwidth.estimate_bps))

    def carry(self, packet: bytes) -> None:
        """Bring a packet to the receiver, where SRTP lets each through once (RFC 3711, 3.3.2)."""

        def arrive() -> None:
            name = packet[2:4] + packet[8:12]
            if name not in self._arrived:
                self._arrived.add(name)
                self.screen.receive(packet, self.world.now_s)

        self.down.send(len(packet) + SRTP_BYTES, arrive)

    def _hear(self, packet: bytes) -> None:
        self.downlink.receive_rtcp(packet, self.world.now_s)

    def _told(self, publisher: DeviceId, why: PausedWhy, lines: int) -> None:
        self.lines[publisher].append((self.world.now_s, lines if why is PausedWhy.FLOWING else 0))

    def _frame(self, frame: Frame) -> None:
        self.frames.setdefault(frame.mid, []).append(self.world.now_s)

    # ---- what came of it

    def given(self, at_s: float, place: int = 0) -> int:
        """The lines that were sent of a publisher's picture at a time."""
        told = self.lines[self.publishers[place].device]
        return next((lines for when_s, lines in reversed(told) if when_s <= at_s), 0)

    def estimate(self, at_s: float) -> float:
        """The estimate at a time."""
        return next((bps for when_s, bps in reversed(self.estimates) if when_s <= at_s), 0.0)

    def late_sound(self, from_s: float, to_s: float, place: int = 0) -> float:
        """The share of sound that came so much later than usual, or never, that it is not heard as it was said."""
        times = [at for at in self.frames.get("acegi"[place], []) if from_s <= at <= to_s]
        gaps = [later - earlier for earlier, later in itertools.pairwise([from_s, *times, to_s])]
        return sum(gap - LATE_S for gap in gaps if gap > LATE_S) / (to_s - from_s)

    def switches(self, from_s: float, to_s: float, place: int = 0) -> list[tuple[float, int]]:
        """What the room was told of a picture within a time."""
        return [each for each in self.lines[self.publishers[place].device] if from_s <= each[0] < to_s]

    def stalls(self, from_s: float, to_s: float, place: int = 0) -> list[tuple[float, float]]:
        """(when, how long) a picture stood still."""
        times = [at for at in self.frames.get("bdfhj"[place], []) if from_s <= at <= to_s]
        longest_s = STALL_S + 1 / self.publishers[place].fps
        return [
            (earlier, later - earlier)
            for earlier, later in itertools.pairwise([from_s, *times, to_s])
            if later - earlier > longest_s
        ]

    def frozen(self, from_s: float, to_s: float, place: int = 0) -> float:
        """The share of a time in which a picture stood still."""
        return sum(gap for _, gap in self.stalls(from_s, to_s, place)) / (to_s - from_s)


def _member(device: DeviceId, part: Part, *, person: bool) -> Member:
    ticket = Ticket(ROOM, device, part, admits=True, team=True, node=b"test..1", until_ms=1 << 50)
    return Member(ticket, Join(1, person=person), 0)


def _no_clock(_info: SenderInfo, _now_s: float) -> None:
    """This receiver publishes nothing."""


def _nothing(_track: Track, _layer: Layer) -> None:
    pass


def _nothing_unsealed(_track: Track) -> None:
    pass
