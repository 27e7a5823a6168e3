"""Clients and the bridge over the loopback's UDP: joining, media, new paths, and what hostile ones are refused."""

import asyncio
import contextlib
import gc
import random
import socket
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCCertificate, RTCDtlsTransport

from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import VP8, MediaKind
from leeside_protocol.video.signalling import Part
from leeside_server.video import bridge as bridging
from leeside_server.video.bridge import AGAIN_MS, CALM_TICKS
from leeside_server.video.dtls import Dtls, Srtp
from leeside_server.video.forward import Uplink
from leeside_server.video.layer import Track
from leeside_server.video.life import State
from leeside_server.video.peer import BINDINGS_A_SECOND, HANDSHAKES_A_SECOND, Peer
from leeside_server.video.receiver import Receiver
from leeside_server.video.slot import Slot
from leeside_server.video.ways import PACKETS_A_SECOND
from leeside_server.video.words import Configure
from tests.support.fast_way import WAYS
from tests.support.patience import PATIENCE_S
from tests.video.worker import world
from tests.video.worker.light_client import LightClient
from tests.video.worker.world import ROOM, World, bridge, until

ANA = b"a" * 16
BEN = b"b" * 16


@pytest.fixture(autouse=True, params=WAYS, scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways that packets can take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "FAST", request.param == "fast")
        yield


async def test_two_clients_join_and_hear_each_other() -> None:
    async with bridge() as world:
        ana = await world.joined(ANA)
        ben = await world.joined(BEN, Part.PSYCHIATRIST, ssrc=41)
        peers = world.bridge.halls[ROOM].peers
        await until(lambda: all(peer.life.state is State.LIVE for peer in peers.values()))
        for _ in range(5):
            ana.sound()
            ben.sound()
        await until(lambda: len(ben.got) >= 4 and len(ana.got) >= 4)
        (slot,) = ben.told(s.Slot)
        assert (slot.participant.device, slot.audio_mid, slot.video_mid) == (ANA, "a", "b")
        assert all(packet[-3:] == b"LS\x01" for packet in ben.got)
        assert world.bridge.counts.faulty == 0


async def test_a_call_may_go_over_both_kinds_of_addresses() -> None:
    async with bridge(Configure(("::1", "127.0.0.1"), 0)) as world:
        ana = await world.joined(ANA)
        assert ":" in ana.host
        ben = world.client(BEN, ssrc=41)
        ben.old = True
        ben.join()
        await ben.secured.wait()
        assert ben.host == "127.0.0.1"
        assert ben.port == ana.port
        await heard(ana, ben)


async def test_clients_are_told_the_public_addresses_of_a_nat() -> None:
    async with bridge(Configure(("127.0.0.1",), 0, public=("203.0.113.7",))) as world:
        client = world.client(ANA)
        told: list[bytes] = []
        client.hear = told.append  # type: ignore[assignment, method-assign]
        client.join()
        offers = [signal for body in told if isinstance(signal := s.decode_bridge_signal(body), s.Offer)]
        assert f"203.0.113.7 {world.bridge.port.number} typ host" in offers[0].sdp
        assert "127.0.0.1 " not in offers[0].sdp.split("t=0 0")[1]


async def test_who_comes_is_shown_nothing_before_there_is_a_way_and_then_a_key_frame() -> None:
    async with bridge() as world:
        ana = await world.joined(ANA)
        track = world.bridge.halls[ROOM].peers[DeviceId(ANA)].up.tracks["1"]
        ana.picture(4_000, key=True)
        await until(lambda: bool(track.layers) and track.layers[""].alive)
        ben = world.client(BEN, ssrc=41)
        answers: list[s.ClientSignal] = []
        say, ben.say = ben.say, answers.append
        say(s.Join(1))
        # Much more than may wait for a link that nothing is known of: the next pictures would be left out.
        came = world.bridge.counts.packets_in
        for number in range(12):
            ana.picture(6_000, key=not number)
        await until(lambda: world.bridge.counts.packets_in >= came + 60)
        assert track.layers[""].keys_asked == 0
        peer = world.bridge.halls[ROOM].peers[DeviceId(BEN)]
        assert not peer.down.waits
        for answer in answers:
            say(answer)
        await until(lambda: peer.ready)
        assert track.layers[""].keys_asked == 1
        ana.picture(4_000, key=True)
        await until(lambda: len(pictures(ben)) == 4)
        assert world.bridge.counts.faulty == 0


async def test_who_comes_waits_for_the_size_that_they_will_have_and_for_no_other() -> None:
    async with bridge() as world:
        await world.joined(ANA)
        track = world.bridge.halls[ROOM].peers[DeviceId(ANA)].up.tracks["1"]
        now_s = asyncio.get_running_loop().time()
        layers = [track.add(900 + number, rid, now_s) for number, rid in enumerate("qhf")]
        waited: list[list[str]] = []

        def live(peer: Peer) -> None:
            for number, layer in enumerate(layers):
                layer.alive, layer.bps = True, 100_000.0 * 3**number
            bridging.Bridge.live(world.bridge, peer)
            waited.append([layer.rid for layer in layers if layer.waiting])

        world.bridge.live = live  # type: ignore[method-assign]
        await world.joined(BEN, ssrc=41)
        await until(lambda: bool(waited))
        # Of 500 kbit/s, which is all that is known, the middle one would leave no room.
        assert waited == [["q"]]


def pictures(client: LightClient) -> list[bytes]:
    """What came of somebody's picture."""
    return [packet for packet in client.got if packet[1] & 0x7F == VP8]


async def test_a_path_is_made_anew_on_the_same_keys() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        before = ana.ufrag
        await ana.move()
        ana.say(s.RestartIce(ana.generation))
        await until(lambda: ana.ufrag != before and ana.bound.is_set())
        await heard(ana, ben)
        assert ana.offers == 2
        assert world.bridge.counts.joins == 2
        # What named the path before is nobody's now.
        strange = world.bridge.counts.strange
        ana.bind(ufrag=before)
        await until(lambda: world.bridge.counts.strange > strange)


async def test_another_address_that_proves_the_same_password_is_followed() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        await ana.move()
        # Media from there are a stranger's until it is proven who is there.
        strange = world.bridge.counts.strange
        ana.sound()
        await until(lambda: world.bridge.counts.strange > strange)
        ana.bind()
        await ana.bound.wait()
        await heard(ana, ben)
        assert ana.offers == 1


async def test_a_silent_peer_is_offered_a_new_path_and_keeps_its_seat() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        before = ana.ufrag
        await ana.move()
        await until(lambda: ana.ufrag != before and ana.bound.is_set())
        assert world.bridge.counts.stale >= 1
        await heard(ana, ben)
        assert not ben.told(s.Gone)


async def test_who_leaves_is_gone_and_their_address_is_a_strangers() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        ben.say(s.Leave(ben.generation))
        await until(lambda: bool(ana.told(s.Gone)))
        await until(lambda: len(world.bridge.port.named) == 1)
        strange = world.bridge.counts.strange
        ben.sound()
        await until(lambda: world.bridge.counts.strange > strange)


async def test_who_joins_anew_is_heard_in_the_same_place() -> None:
    async with bridge() as world:
        ana, _ = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        again = await world.joined(BEN, ssrc=61, generation=2)
        await heard(ana, again)
        assert [(slot.audio_mid, slot.video_mid) for slot in ana.told(s.Slot)] == [("a", "b"), ("a", "b")]
        assert len(world.bridge.halls[ROOM].peers) == 2


async def test_who_joins_again_on_another_socket_hears_again_how_it_is() -> None:
    async with bridge() as world:
        ana, _ = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await until(lambda: bool(ana.told(s.Quality)))
        path = world.bridge.halls[ROOM].peers[DeviceId(ANA)]
        ana.heard.clear()
        ana.join()
        await until(lambda: bool(ana.told(s.Welcome) and ana.told(s.Slot) and ana.told(s.Quality)))
        # The path stands, and so does its offer.
        assert world.bridge.halls[ROOM].peers[DeviceId(ANA)] is path
        assert not ana.told(s.Offer)


async def test_a_muted_sound_is_passed_on_to_nobody() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        ana.say(s.Mute(ana.generation, MediaKind.AUDIO, muted=True))
        passed = len(ben.got)
        came = world.bridge.counts.packets_in
        for _ in range(20):
            ana.sound()
        await until(lambda: world.bridge.counts.packets_in >= came + 20)
        assert len(ben.got) == passed
        ana.say(s.Mute(ana.generation, MediaKind.AUDIO, muted=False))
        await heard(ana, ben)


async def test_media_that_are_not_sealed_are_dropped_and_told() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        passed = len(ben.got)
        for _ in range(5):
            ana.sound(b"plain" * 9)
        await until(lambda: bool(ana.told(s.Violation) and ben.told(s.Violation)))
        assert ben.told(s.Violation)[0] == s.Violation(1, DeviceId(ANA), MediaKind.AUDIO)
        assert len(ben.got) == passed


async def test_nobody_sends_redundant_sound_while_somebody_cannot_read_it() -> None:
    async with bridge() as world:
        ana = await world.joined(ANA)
        assert sounds(ana) == ["63 111"]
        ben = await world.joined(BEN, ssrc=41, redundant=False)
        await until(lambda: ana.offers == 2)
        await heard(ana, ben)
        assert sounds(ana) == ["63 111", "111"]
        again = ana.told(s.Offer)
        # The same path and keys: only what is sent on it changes.
        assert len({offer.sdp.split("a=ice-pwd:")[1][:32] for offer in again}) == 1
        assert [offer.version for offer in again] == [1, 2]
        ben.say(s.Leave(ben.generation))
        await until(lambda: ana.offers == 3)
        assert sounds(ana)[-1] == "63 111"
        eve = await world.joined(b"e" * 16, ssrc=61)
        await heard(ana, eve)
        assert ana.offers == 3


async def test_who_joins_at_the_same_time_answers_the_offer_that_they_have() -> None:
    async with bridge() as world:
        ana, ben = world.client(ANA), world.client(BEN, ssrc=41, redundant=False)
        answers: list[s.ClientSignal] = []
        say, ana.say = ana.say, answers.append
        say(s.Join(1))
        ben.join()
        await ben.secured.wait()
        # Ana's answer was under way while it became known what Ben reads.
        assert ana.offers == 1
        for answer in answers:
            say(answer)
        ana.say = say
        await until(lambda: ana.offers == 2)
        assert sounds(ana) == ["63 111", "111"]
        await ana.secured.wait()
        await heard(ana, ben)


def sounds(client: LightClient) -> list[str]:
    """The payload types that each offer let the client send its sound with."""
    return [offer.sdp.split("UDP/TLS/RTP/SAVPF ")[1].split("\r\n")[0] for offer in client.told(s.Offer)]


async def test_a_full_worker_takes_nobody_new_and_everybody_back() -> None:
    async with bridge(Configure(("127.0.0.1",), 0, peers=1)) as world:
        await world.joined(ANA)
        assert not world.bridge.load(0.1, 0).open
        ben = world.client(BEN)
        ben.join()
        assert [denied.error for denied in ben.told(s.Denied)] == [WireError.BUSY]
        eve = world.client(b"e" * 16, room=b"o" * 16)
        eve.join()
        assert [denied.error for denied in eve.told(s.Denied)] == [WireError.BUSY]
        await world.joined(ANA, generation=2)


async def test_a_worker_with_too_much_to_do_takes_nobody_new() -> None:
    async with bridge() as world:
        await world.joined(ANA)
        world.bridge.shedding = True
        ben = world.client(BEN)
        ben.join()
        assert ben.told(s.Denied)
        world.bridge.shedding = False
        await world.joined(BEN, generation=2, ssrc=41)


async def test_a_draining_worker_sends_people_on_and_keeps_them_until_they_go() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        world.bridge.drain()
        assert ana.told(s.Migrate)
        await heard(ana, ben)
        again = world.client(ANA, generation=2)
        again.join()
        (denied,) = again.told(s.Denied)
        assert (denied.error, denied.retry_ms) == (WireError.BUSY, AGAIN_MS)
        ana.say(s.Leave(ana.generation))
        ben.say(s.Leave(ben.generation))
        assert world.bridge.peers == 0


# ---- hostile ones


async def test_an_answer_that_does_not_fit_costs_the_seat() -> None:
    async with bridge() as world:
        client = world.client(ANA)
        client.hear = client.heard.append  # type: ignore[assignment, method-assign]
        client.join()
        client.say(s.Answer(1, 1, "v=0\r\n" + "a=x\r\n" * 3_000))
        last = s.decode_bridge_signal(client.heard[-1])  # type: ignore[arg-type]
        assert last == s.Denied(1, WireError.INVALID)
        assert not world.bridge.halls[ROOM].peers


async def test_another_certificate_than_the_answers_is_refused() -> None:
    async with bridge() as world:
        client = world.client(ANA)
        client.certificate = RTCCertificate.generateCertificate()
        client.join()
        await until(lambda: world.bridge.counts.handshakes_failed == 1)
        await until(lambda: not world.bridge.halls[ROOM].peers)


async def test_a_peer_may_send_so_much_and_of_so_many_streams() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        flooded = world.bridge.counts.flooded
        for number in range(100):
            ana.sound(ssrc=1_000 + number)
        await until(lambda: world.bridge.counts.flooded >= flooded + 90)
        # The bound on packets, by a clock of the test's own.
        port, inward = world.bridge.port, world.bridge.buffers.inward
        flooded = world.bridge.counts.flooded
        for _ in range(PACKETS_A_SECOND + 50):
            packet = ana.sound(sends=False)
            inward[: len(packet)] = packet
            port.taken(port.faces[0], len(packet), ana.address, 5_000_000.5)
        assert world.bridge.counts.flooded == flooded + 50
        assert world.bridge.counts.faulty == 0


async def test_a_member_that_floods_with_handshakes_or_requests_is_held_to_its_bounds() -> None:
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        flooded = world.bridge.counts.flooded
        for _ in range(HANDSHAKES_A_SECOND * 3):
            ana.write(b"\x16" + bytes(60))
        await until(lambda: world.bridge.counts.flooded > flooded)
        strange = world.bridge.counts.strange
        for _ in range(BINDINGS_A_SECOND * 3):
            ana.bind()
        await until(lambda: world.bridge.counts.strange > strange)
        await heard(ana, ben)


async def test_an_offer_that_was_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridging, "REOFFER_S", 0.3)
    async with bridge() as world:
        client = world.client(ANA)
        lost: list[s.ClientSignal] = []
        answers, client.say = client.say, lost.append
        answers(s.Join(1))
        await until(lambda: client.offers == 2)
        client.say = answers
        await until(client.secured.is_set)
        assert {offer.version for offer in client.told(s.Offer)} == {1}


@contextlib.contextmanager
def deaf(client: LightClient) -> Generator[list[bytes]]:
    """What is said to it meanwhile is lost; yields that."""
    hear, lost = client.hear, list[bytes]()
    client.hear = lost.append  # type: ignore[assignment, method-assign]
    try:
        yield lost
    finally:
        client.hear = hear  # type: ignore[method-assign]


def comes_without_redundancy(world: World) -> LightClient:
    """Who comes cannot read redundant sound: the others are offered to send none."""
    ben = world.client(BEN, ssrc=41)
    ben.redundant = False
    ben.join()
    return ben


async def test_a_newer_offer_that_was_lost_while_media_flow_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridging, "REOFFER_S", 0.3)
    async with bridge() as world:
        ana = await world.joined(ANA)
        peer = world.bridge.halls[ROOM].peers[DeviceId(ANA)]
        await until(lambda: peer.life.state is State.LIVE)
        with deaf(ana) as lost:
            ben = comes_without_redundancy(world)
            await ben.secured.wait()
            await until(lambda: any(isinstance(s.decode_bridge_signal(body), s.Offer) for body in lost))
        await until(lambda: peer.answered_version == peer.version == 2)
        # Nor is it said once more, however long ago it was.
        offers = ana.offers
        peer.offered_s = float("-inf")
        world.bridge.tick()
        assert ana.offers == offers
        await heard(ana, ben)


async def test_who_comes_on_another_socket_hears_the_newer_offer_that_was_lost_with_the_one_before() -> None:
    async with bridge() as world:
        ana = await world.joined(ANA)
        peer = world.bridge.halls[ROOM].peers[DeviceId(ANA)]
        await until(lambda: peer.life.state is State.LIVE)
        with deaf(ana):
            ben = comes_without_redundancy(world)
            await ben.secured.wait()
            await until(lambda: peer.version == 2)
        ana.say(s.Join(ana.generation))
        assert peer.answered_version == 2


async def test_a_hundred_thousand_datagrams_of_strangers_change_nothing() -> None:
    draw = random.Random(7)
    async with bridge() as world:
        ana, ben = await world.joined(ANA), await world.joined(BEN, ssrc=41)
        await heard(ana, ben)
        faces = list(world.bridge.port.faces)
        kinds = [bytes([first]) + draw.randbytes(draw.randint(0, 1_400)) for first in range(256)] * 4
        kinds += [b"", b"\x00", b"\x16", b"\x80\x6f" + bytes(10)]

        def flood(count: int) -> None:
            inward = world.bridge.buffers.inward
            for number in range(count):
                data = kinds[number % len(kinds)]
                inward[: len(data)] = data
                world.bridge.port.taken(faces[0], len(data), ("192.0.2.9", number % 60_000), 0.0)

        flood(10_000)
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        flood(100_000)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 64 * 1024
        assert world.bridge.counts.faulty == 0
        assert world.bridge.counts.strange >= 110_000
        await heard(ana, ben)


async def test_who_is_behind_counts_what_was_not_read_and_asks_for_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bridge() as there:
        await there.joined(ANA)
        (face,) = there.bridge.port.faces
        face.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        asked: list[bool] = []
        repeated: list[float] = []

        def due(_up: Uplink, _now_s: float, *, behind: bool) -> None:
            asked.append(behind)

        def repeat(_receiver: Receiver, now_s: float) -> None:
            repeated.append(now_s)

        monkeypatch.setattr(Uplink, "due", due)
        monkeypatch.setattr(Receiver, "repeat", repeat)
        # Who has something due with every tick.
        monkeypatch.setattr(Uplink, "restless", property(_yes))
        monkeypatch.setattr(Receiver, "restless", property(_yes))
        there.bridge.tick()
        assert (asked, len(repeated)) == ([False], 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            # Nothing is read in between: this is the loop that reads.
            for _ in range(200):
                stranger.sendto(bytes(1_000), ("127.0.0.1", there.bridge.port.number))
        there.bridge.tick()
        assert (asked, len(repeated)) == ([False, True], 1)
        overrun = there.bridge.counts.overrun
        assert 100 < overrun < 200
        await until(lambda: asked[-1] is False)
        assert there.bridge.counts.overrun == overrun


def _yes(_of: object) -> bool:
    return True


async def test_who_misses_nothing_is_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    due = Uplink.due
    async with bridge() as there:
        ana, ben = await there.joined(ANA), await there.joined(BEN, ssrc=41)
        await heard(ana, ben)
        up = there.bridge.halls[ROOM].peers[DeviceId(ANA)].up
        looks: list[float] = []

        def counted(which: Uplink, now_s: float, *, behind: bool) -> None:
            if which is up:
                looks.append(now_s)
            due(which, now_s, behind=behind)

        def in_ticks(count: int) -> int:
            looks.clear()
            for _ in range(count):
                there.bridge.tick()
            return len(looks)

        await until(lambda: not up.restless)
        monkeypatch.setattr(Uplink, "due", counted)
        assert in_ticks(2 * CALM_TICKS) == 2
        ana.sequence += 2
        ana.sound()
        await until(lambda: up.restless)
        assert in_ticks(CALM_TICKS) == CALM_TICKS


async def test_joins_and_leaves_leave_nothing_behind() -> None:
    async with bridge() as world:
        ana = await world.joined(ANA)

        async def come_and_go(times: int) -> None:
            for _ in range(times):
                ben = await world.joined(BEN, ssrc=41)
                await heard(ana, ben)
                ben.say(s.Leave(ben.generation))
                await ben.close()
            await until(lambda: len(world.bridge.port.named) == 1)

        await come_and_go(3)
        gc.collect()
        before = fds(), living()
        await come_and_go(12)

        def left() -> tuple[int, dict[str, int]]:
            gc.collect()
            return fds(), living()

        # What a transport closes, its loop closes a moment later.
        with contextlib.suppress(TimeoutError):
            await until(lambda: left() == before, 30)
        assert left() == before


async def heard(one: LightClient, other: LightClient) -> None:
    """Until each has heard the other once more."""
    before = len(one.got), len(other.got)
    async with asyncio.timeout(PATIENCE_S):
        while len(one.got) <= before[0] or len(other.got) <= before[1]:
            one.sound()
            other.sound()
            await asyncio.sleep(0.01)


def fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def living() -> dict[str, int]:
    kinds = (Peer, Srtp, Dtls, Slot, Track)
    found = {kind.__name__: sum(type(each) is kind for each in gc.get_objects()) for kind in kinds}
    transports: list[Any] = [each for each in gc.get_objects() if type(each) is RTCDtlsTransport]
    found["servers"] = sum(each._role == "server" for each in transports)
    return found
