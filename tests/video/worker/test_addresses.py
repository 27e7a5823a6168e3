"""A worker on IPv6, alone and beside IPv4, in a process of its own: people of both kinds of network meet."""

from __future__ import annotations

import asyncio

import pytest

from leeside_protocol.video.signalling import Part
from tests.support.light_peer import LightPeer
from tests.support.video_worker import until, video_worker

pytestmark = pytest.mark.slow

SOUND_S = 0.02
V4, V6 = "127.0.0.1", "::1"


class Peer(LightPeer):
    """A peer on this kind of network, who takes the bridge's address of the same kind."""

    def __init__(self, host: str, hosts: tuple[str, ...]) -> None:
        super().__init__(host=host)
        self.place = hosts.index(host)

    async def connect(self, candidate: int = 0) -> None:
        assert candidate == 0
        await super().connect(self.place)


@pytest.mark.parametrize(
    ("hosts", "ana_from", "ben_from"),
    [((V6,), V6, V6), ((V6, V4), V6, V4)],
    ids=["IPv6 alone", "one of each"],
)
async def test_people_of_both_kinds_of_network_hear_and_see_each_other(
    hosts: tuple[str, ...], ana_from: str, ben_from: str
) -> None:
    async with video_worker(hosts) as worker:
        room = worker.room()
        ana = (await worker.join(room, peer=Peer(ana_from, hosts))).peer
        ben = (await worker.join(room, Part.PSYCHIATRIST, peer=Peer(ben_from, hosts))).peer

        async def talk() -> None:
            while True:
                for peer in (ana, ben):
                    peer.sound()
                    peer.picture(size=800)
                await asyncio.sleep(SOUND_S)

        talking = asyncio.ensure_future(talk())
        try:
            await until(lambda: min(ana.sounds, ben.sounds) > 20 and min(ana.pictures, ben.pictures) > 10, 60)
        finally:
            talking.cancel()
        counts = await worker.counted()
        assert (counts.faulty, counts.unsealed, counts.strange) == (0, 0, 0)
