"""Clients and the bridge over the loopback's UDP: joining, media, new paths, and what hostile ones are refused."""

from leeside_protocol.video import signalling as s
from leeside_protocol.video.signalling import Part
from leeside_server.video.life import State
from tests.video.worker.world import ROOM, bridge, until

ANA = b"a" * 16
BEN = b"b" * 16


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
