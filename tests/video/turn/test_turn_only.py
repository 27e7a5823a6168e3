"""Calls with nothing but TURN: a real coturn as it is shipped, a real worker, and clients that use no other candidate."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import pytest

from leeside.media.description import read_offer, write_answer
from leeside.media.path import IceRoute, SecurePath
from leeside.media.receiving import Downlink
from leeside.media.sending import Uplink
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.signalling import Answer, Join, Offer, Part
from leeside_server.config import Config, ServerSection, TurnSection, VideoSection
from leeside_server.core.video import turn_server
from leeside_server.findings import Verdict
from leeside_server.video_checks import examine_call
from tests.support.coturn import Coturn, coturn_running
from tests.support.light_peer import LightPeer
from tests.support.services import HOST
from tests.support.turn_flood import ask_for_many
from tests.support.video_worker import VideoWorker, until, video_worker

pytestmark = pytest.mark.slow

SOUND_S: Final = 0.02
ATTEMPTS: Final = 1_000
USER_QUOTA: Final = 24
"""deploy/turn/turnserver.conf; tests/deploy/test_turn.py compares."""
REFUSED: Final = frozenset({486, 437})
"""Over quota; and a port of ours that another attempt had a moment ago."""
FORGOTTEN_S: Final = 2.0
UNDISTURBED: Final = 0.9
FLAT_BYTES: Final = 12_000_000


class RelayedPeer(LightPeer):
    """A peer that has no way but a TURN server's, by the client library's own ICE."""

    def __init__(self, coturn: Coturn, url: str) -> None:
        super().__init__(host=HOST)
        given = turn_server(
            (url,), coturn.secret, bytes(16), DeviceId(bytes(16)), time.time_ns() // 1_000_000
        )
        self.ice = IceRoute((given,), relay_only=True)
        self.path = SecurePath(self.ice, on_rtp=self._on_rtp, on_rtcp=self._on_rtcp)

    async def answer_relayed(self, offer: str) -> str:
        """The answer, once the TURN server gave an address."""
        self.remote = read_offer(offer)
        ufrag, password = await self.ice.gather()
        return write_answer(ufrag=ufrag, password=password, fingerprint=self.path.fingerprint, sent=self.sent)

    async def connect(self, candidate: int = 0) -> None:
        del candidate
        assert self.remote is not None
        assert self.sent is not None
        await self.ice.connect(self.remote)
        await self.path.open(self.remote)
        now_s = asyncio.get_running_loop().time()
        self.down = Downlink(self.remote.streams, self.remote.repairs, self._on_frame, now_s)
        self.up = Uplink(self.sent, self._send)
        self._tending = asyncio.ensure_future(self._tend())

    async def close(self) -> None:
        await super().close()
        await self.ice.close()


async def join_relayed(worker: VideoWorker, room: bytes, part: Part, peer: RelayedPeer) -> RelayedPeer:
    """Let this peer be in the room."""
    seat = worker.seat(room, part, peer=peer)
    seat.say(Join(1))
    offer = await seat.next(Offer)
    seat.say(Answer(1, offer.version, await peer.answer_relayed(offer.sdp)))
    await peer.connect()
    return peer


@pytest.mark.parametrize("way", ["udp", "tls on 443"])
async def test_two_people_who_have_nothing_but_turn_hear_and_see_each_other(
    coturn_server: Coturn, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn_server.ca_file))
    url = coturn_server.urls[0 if way == "udp" else 1]
    async with video_worker((coturn_server.bridge,)) as worker:
        room = worker.room()
        ana = await join_relayed(worker, room, Part.RESPONDER, RelayedPeer(coturn_server, url))
        ben = await join_relayed(worker, room, Part.PSYCHIATRIST, RelayedPeer(coturn_server, url))

        async def talk() -> None:
            while True:
                for peer in (ana, ben):
                    peer.sound()
                    peer.picture(size=800)
                await asyncio.sleep(SOUND_S)

        talking = asyncio.ensure_future(talk())
        try:
            await until(lambda: min(ana.sounds, ben.sounds) > 30 and min(ana.pictures, ben.pictures) > 10)
        finally:
            talking.cancel()
        counts = await worker.counted()
        assert (counts.faulty, counts.unsealed) == (0, 0)


@pytest.mark.usefixtures("coturn_server")
async def test_a_thousand_allocations_of_one_person_end_at_their_share_and_disturb_no_call() -> None:
    """Everybody in a call has a credential, and may try. Two people talk through the same TURN server meanwhile. It remembers
    whom it refused for a moment: the first thousand shows what that takes, the second must take no more."""
    with coturn_running({"max-allocate-timeout": "1"}) as turn:
        room, device = secrets.token_bytes(16), DeviceId(secrets.token_bytes(16))
        greedy = turn_server(turn.urls, turn.secret, room, device, time.time_ns() // 1_000_000)

        async def asked() -> Counter[int]:
            name, password = greedy.username, greedy.credential
            return await asyncio.to_thread(ask_for_many, turn.address, name, password, ATTEMPTS)

        async with video_worker((turn.bridge,)) as worker:
            room = worker.room()
            ana = await join_relayed(worker, room, Part.RESPONDER, RelayedPeer(turn, turn.urls[0]))
            ben = await join_relayed(worker, room, Part.PSYCHIATRIST, RelayedPeer(turn, turn.urls[0]))
            said = 0

            async def talk() -> None:
                nonlocal said
                while True:
                    ana.sound()
                    ben.sound()
                    said += 1
                    await asyncio.sleep(SOUND_S)

            talking = asyncio.ensure_future(talk())
            try:
                await until(lambda: min(ana.sounds, ben.sounds) > 20)
                said_before, heard_before = said, min(ana.sounds, ben.sounds)
                first = await asked()
                await asyncio.sleep(FORGOTTEN_S)
                turn_bytes, worker_bytes = turn.memory_bytes(), worker.memory_bytes()
                second = await asked()
                assert turn.memory_bytes() - turn_bytes < FLAT_BYTES
                assert worker.memory_bytes() - worker_bytes < FLAT_BYTES
                heard = min(ana.sounds, ben.sounds) - heard_before
                assert heard >= UNDISTURBED * (said - said_before), "the call was disturbed"
            finally:
                talking.cancel()
            for answers in (first, second):
                assert 0 < answers[0] <= USER_QUOTA
                assert answers.keys() <= {0, *REFUSED}
                assert answers.total() == ATTEMPTS
            assert (await worker.counted()).faulty == 0


# ---- what `leeside-server doctor` says of it


def config(folder: Path, listen: tuple[str, ...], urls: tuple[str, ...] = (), secret: str = "") -> Config:
    """A server with the bridge on these addresses."""
    path = folder / "turn-secret"
    path.write_text(secret)
    path.chmod(0o600)
    return msgspec.structs.replace(
        Config(server=ServerSection(data_dir=folder / "data", roles=("relay", "video"))),
        video=VideoSection(listen=listen, port=0, workers=1),
        turn=TurnSection(urls=urls, secret_file=path if urls else None),
    )


async def test_doctor_places_a_call_through_turn(
    coturn_server: Coturn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn_server.ca_file))
    made = config(tmp_path, (coturn_server.bridge,), coturn_server.urls, coturn_server.secret)
    found = await examine_call(made)
    assert [finding.verdict for finding in found] == [Verdict.WELL] * 2, found
    assert all(url in finding.says for url, finding in zip(coturn_server.urls, found, strict=True))


async def test_doctor_says_where_a_call_through_turn_ends(coturn_server: Coturn, tmp_path: Path) -> None:
    udp = coturn_server.urls[:1]
    (refused,) = await examine_call(config(tmp_path, (coturn_server.bridge,), udp, "another secret " * 3))
    assert (refused.verdict, "static-auth-secret" in refused.fix) == (Verdict.BAD, True)
    # coturn speaks to nobody but the bridge's own address, and 127.0.0.1 is not it.
    (elsewhere,) = await examine_call(config(tmp_path, (HOST,), udp, coturn_server.secret))
    assert (elsewhere.verdict, "allowed-peer-ip" in elsewhere.fix) == (Verdict.BAD, True)


async def test_doctor_places_a_call_where_there_is_no_turn(tmp_path: Path) -> None:
    (straight,) = await examine_call(config(tmp_path, (HOST,)))
    assert straight.verdict is Verdict.WELL
    assert straight.figure is not None


async def test_a_public_address_that_is_not_reached_from_inside_is_no_proof(tmp_path: Path) -> None:
    """192.0.2.1 is documentation's, and no tests' (tests/support/loopback.py): nothing answers there."""
    made = config(tmp_path, (HOST,))
    video = msgspec.structs.replace(made.video, public=("192.0.2.1",))
    (behind,) = await examine_call(msgspec.structs.replace(made, video=video))
    assert (behind.verdict, "another network" in behind.fix) == (Verdict.WARNING, True)


async def test_doctor_places_no_call_where_there_is_no_bridge(tmp_path: Path) -> None:
    made = config(tmp_path, (HOST,))
    server = msgspec.structs.replace(made.server, roles=("relay",))
    assert await examine_call(msgspec.structs.replace(made, server=server)) == ()
