"""An urgent message repeats at each receiver until that person acknowledges it, and the sender sees who did."""

from __future__ import annotations

import asyncio

import pytest

from leeside.events import Acknowledgement, Message, Progress, Repeat
from leeside.feeds import Feed
from leeside_protocol.ids import MessageId
from leeside_protocol.words import Discipline, Role, Urgency
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, until


async def sounded(feed: Feed, message: MessageId, times: int) -> None:
    """Until an urgent message has repeated so many times at this follower."""
    async with asyncio.timeout(WAIT_S):
        while True:
            event = await feed.next()
            if isinstance(event, Repeat) and event.id == message and event.times >= times:
                return


@pytest.mark.slow
async def test_an_urgent_message_repeats_until_acknowledged_on_every_device_of_a_person(
    stage: Stage, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The message carries its own interval; receivers obey whatever it says.
    monkeypatch.setattr("leeside.client.REPEAT_S", 1)
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    tablet = await town.enrol("tablet", Role.RESPONDER, Discipline.CLINICIAN, member=ana.member)
    ben = await town.enrol("ben", Role.RESPONDER, Discipline.EMT)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        ana.open(stage.url(0)) as phone,
        tablet.open(stage.url(1)) as second,
        ben.open(stage.url(1)) as other,
        deniz.open(stage.url(1)) as desk,
    ):
        channel = await town.unit_channel(desk, phone, second, other)
        for alarm in phone.alarms:
            assert alarm.device is not None
            phone.confirm_device(alarm.device)
        feeds = [client.follow(channel) for client in (phone, second, other)]
        sent = await desk.send(channel, "weapon in the house, stay out", Urgency.URGENT)
        await asyncio.gather(*(sounded(feed, sent.id, 2) for feed in feeds))
        assert Progress.ACKNOWLEDGED not in sent.devices.values()

        await phone.acknowledge(channel, sent.id)
        await sent.wait(Progress.ACKNOWLEDGED, timeout_s=WAIT_S)
        assert sent.devices[ana.device] is Progress.ACKNOWLEDGED
        assert sent.devices[ben.device] is not Progress.ACKNOWLEDGED
        await until(
            lambda: any(isinstance(e, Acknowledgement) for e in second.history(channel)), "the tablet knows"
        )
        feeds[1].close()
        quiet = second.follow(channel)
        # Ben still has to be reminded; Ana's tablet is silent although nobody touched it.
        await sounded(feeds[2], sent.id, 4)
        while True:
            try:
                event = await asyncio.wait_for(quiet.next(), 0.05)
            except TimeoutError:
                break
            assert not isinstance(event, Repeat)
        (message,) = [e for e in second.history(channel) if isinstance(e, Message)]
        assert message.urgency is Urgency.URGENT
