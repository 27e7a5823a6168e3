"""Journeys of the client over a relay in memory, on virtual time."""

from __future__ import annotations

from pathlib import Path

from leeside.events import Message, Progress
from leeside_protocol.words import Urgency
from tests.client.people import channel_of, person
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import play


def test_a_sealed_message_reaches_the_other_device_and_its_receipts_come_back(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            heard = b.follow(channel)
            sent = await a.send(channel, "on scene", Urgency.IMPORTANT)
            await sent.wait(timeout_s=30)
            message = await heard.next()
            while not isinstance(message, Message):
                message = await heard.next()
            assert message.text == "on scene"
            assert message.urgency is Urgency.IMPORTANT
            assert message.member == ana.member
            assert not message.mine
            await sent.wait(Progress.DELIVERED, timeout_s=30)
            b.mark_read(channel, message.offset)
            await sent.wait(Progress.READ, timeout_s=30)
            await b.acknowledge(channel, message.id)
            await sent.wait(Progress.ACKNOWLEDGED, timeout_s=30)
        assert all(b"on scene" not in publish.payload for publish in relay.published)

    play(story())
