"""What leaves the bridge for whom once consent was withdrawn: packet by packet, by the test's own clock and without sockets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

import pytest

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.rtcp import write_nacks
from leeside_protocol.video.signalling import Part
from leeside_server.core.video import Spoken
from leeside_server.video.bridge import Bridge
from leeside_server.video.life import State
from leeside_server.video.peer import Peer
from leeside_server.video.words import Configure, FromWorker
from tests.support.video_plane import Camera, Heard, read
from tests.video.worker.world import ROOM, ticket

ANA, BEN, EVE, TIM, SUE = (DeviceId(letter * 16) for letter in (b"a", b"b", b"e", b"t", b"s"))
PARTS: Final = {
    ANA: Part.RESPONDER,
    BEN: Part.PSYCHIATRIST,
    EVE: Part.INTERPRETER,
    TIM: Part.RECEIVING_FACILITY,
    SUE: Part.SUPERVISOR,
}
TICK_S: Final = 0.02
PADDED: Final = 32


class Wire:
    """A path of one peer: keeps what is sent on it."""

    def __init__(self) -> None:
        self.media: list[Heard] = []

    def send(self, data: memoryview) -> None:
        packet = bytes(data)
        # Padding measures the link, and carries nothing of anybody.
        if not 192 <= packet[1] <= 223 and not packet[0] & PADDED:
            self.media.append(read(packet))


class Plain:
    """SRTP that protects nothing."""

    def same(self, length: int) -> int:
        return length

    open_rtp = open_rtcp = close_rtp = close_rtcp = same


class Night:
    """A room of five whose time is the test's. Everybody sends; the facility and the supervisor were admitted."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.said: list[FromWorker] = []
        self.bridge = Bridge(
            Configure(("127.0.0.1",), 0),
            self.said.append,
            _never,
            self._later,
            lambda: self.now_s,
            lambda: round(self.now_s * 1000),
        )
        self.wires = {device: Wire() for device in PARTS}
        self.cameras: dict[DeviceId, Camera] = {}
        for device in PARTS:
            self.say(device, s.Join(1))
        for device in (EVE, TIM, SUE):
            self.say(BEN, s.Admit(1, device))
        for device, peer in self.peers.items():
            inner: Any = peer
            inner._srtp, inner._path = Plain(), self.wires[device]
            inner.life.state = State.LIVE
            inner.ready = True
            self.bridge.live(peer)
            self.cameras[device] = Camera(peer.up)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self.timers.append((self.now_s + delay_s, work))

    @property
    def peers(self) -> dict[DeviceId, Peer]:
        return self.bridge.halls[ROOM].peers

    def say(self, device: DeviceId, signal: s.ClientSignal) -> None:
        self.bridge.spoken(Spoken(1, ticket(device, PARTS[device]), s.encode_signal(signal)))

    def run(self, seconds: float, *, size: int = 2_500) -> None:
        """Everybody speaks and is seen for so long."""
        for number in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            due, self.timers = (
                [w for t, w in self.timers if t <= self.now_s],
                [one for one in self.timers if one[0] > self.now_s],
            )
            for work in due:
                work()
            for device, camera in self.cameras.items():
                self.peers[device].life.heard(self.now_s, media=True)
                camera.send(camera.sound(), self.now_s)
                if number % 5 == 0:
                    camera.send(camera.frame(key=number % 25 == 0, size=size), self.now_s)
            self.bridge.tick()

    def counts(self) -> dict[DeviceId, int]:
        return {device: len(wire.media) for device, wire in self.wires.items()}


def _never(work: Coroutine[Any, Any, None]) -> None:
    work.close()


@pytest.fixture
def night() -> Generator[Night]:
    made = Night()
    yield made
    assert made.bridge.counts.faulty == 0
    for peer in made.peers.values():
        assert peer.up.faults == peer.down.faults == 0


def test_not_one_packet_leaves_for_the_others_once_it_is_said(night: Night) -> None:
    night.run(2.0)
    assert all(count > 100 for count in night.counts().values())
    # A picture that is longer than the link takes at once: pieces of it wait in every receiver's pacer.
    night.run(TICK_S, size=30_000)
    assert night.peers[TIM].down.waits
    assert night.peers[SUE].down.waits
    night.say(ANA, s.Restrict(1, restricted=True))
    before = night.counts()
    night.run(3.0)
    after = night.counts()
    assert (after[TIM], after[SUE]) == (before[TIM], before[SUE])
    for device in (ANA, BEN, EVE):
        assert after[device] > before[device] + 100


def test_what_they_had_before_is_not_sent_again_either(night: Night) -> None:
    night.run(2.0)
    wire, down = night.wires[TIM], night.peers[TIM].down
    sound = down.slots["a"]
    (nack,) = write_nacks(
        sound.ssrc, [heard.sequence for heard in wire.media if heard.ssrc == sound.ssrc][-3:]
    )
    before = len(wire.media)
    down.receive_rtcp(nack, night.now_s)
    assert len(wire.media) == before + 3, "until then it could be had"
    night.say(BEN, s.Restrict(1, restricted=True))
    night.run(1.0)
    down.receive_rtcp(nack, night.now_s)
    assert len(wire.media) == before + 3


def test_who_comes_meanwhile_gets_nothing_and_all_of_it_when_there_is_a_consent_again(night: Night) -> None:
    night.say(ANA, s.Restrict(1, restricted=True))
    night.say(TIM, s.Join(2))
    inner: Any = night.peers[TIM]
    inner._srtp, inner._path = Plain(), night.wires[TIM]
    inner.life.state, inner.ready = State.LIVE, True
    night.bridge.live(inner)
    night.cameras[TIM] = Camera(inner.up)
    night.run(1.0)
    assert night.wires[TIM].media == []
    # Only who may say so is heard.
    night.say(EVE, s.Restrict(1, restricted=False))
    night.say(SUE, s.Restrict(1, restricted=False))
    night.run(1.0)
    assert night.wires[TIM].media == []
    night.say(BEN, s.Restrict(1, restricted=False))
    night.run(2.0)
    assert len(night.wires[TIM].media) > 100
