"""G2: a message stands exactly once in its channel's log, however often and by whatever way it is sent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec

from leeside_protocol.ids import MessageId
from leeside_protocol.messages import Accepted
from leeside_protocol.words import Discipline, Lane, Role
from tests.support.meddling import Meddler, plain_socket
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, texts, until

TIMES = 50


async def test_g2_the_acknowledgement_is_lost_the_keys_change_and_the_retry_stands_once(
    stage: Stage, town: Town
) -> None:
    """The hardest way to send twice: stored, not acknowledged, and by the retry sealed under keys that are old."""
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    wire = Meddler(stage.url(0))
    async with ana.open(stage.url(0), dialer=wire) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        wire.swallow_accepted, wire.down = True, True
        sent = await phone.send(channel, "once")
        await asyncio.wait_for(wire.swallowed.wait(), WAIT_S)
        await until(lambda: texts(desk, channel) == ["once"], "the message stands")
        # Twice: after one change the old keys would still be taken for a moment.
        assert await desk.openings.rekey(channel)
        assert await desk.openings.rekey(channel)
        await desk.refresh()
        epoch = next(i.epoch for i in desk.channels() if i.id == channel.hex())
        wire.down = False
        await sent.wait(timeout_s=WAIT_S)
        first, *again = [p for p in wire.published if p.id == sent.id]
        assert again
        assert all(p.payload == first.payload for p in again), "the exact bytes are sent again"
        await (await phone.send(channel, "after")).wait(timeout_s=WAIT_S)
        for client in (phone, desk):
            await until(lambda c=client: "after" in texts(c, channel), "the next one arrived")  # type: ignore[misc]
            assert texts(client, channel) == ["once", "after"]
        assert epoch == 2


async def test_g2_the_same_id_sent_fifty_times_at_once_stands_once(stage: Stage, town: Town) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    wire = Meddler(stage.url(0))
    async with ana.open(stage.url(0), dialer=wire) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        await phone.send(channel, "first")
        await until(lambda: texts(desk, channel) == ["first"], "an ordinary message arrived")
        wire.hold_back = True
        sent = await phone.send(channel, "many times")
        await until(lambda: any(p.id == sent.id for p in wire.published), "it was sealed")
        message = next(p for p in wire.published if p.id == sent.id)
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(plain_socket(ana, stage.url(n))) for n in range(10)]
            answers = await asyncio.gather(*(sockets[n % 10].publish(message) for n in range(10)))
            for socket in sockets:
                for _ in range(TIMES // 10 - 1):
                    answers.append(await socket.publish(message))
        assert len(answers) == TIMES
        accepted = [answer for answer in answers if isinstance(answer, Accepted)]
        assert len(accepted) == TIMES
        assert len({(a.generation, a.offset) for a in accepted}) == 1
        assert sorted(a.repeat for a in accepted) == [0] + [1] * (TIMES - 1)
        wire.hold_back = False
        await until(lambda: "many times" in texts(desk, channel), "it arrived")
        await (await desk.send(channel, "last")).wait(timeout_s=WAIT_S)
        await until(lambda: "last" in texts(desk, channel), "the last one arrived")
        assert texts(desk, channel) == ["first", "many times", "last"]


async def test_g2_the_same_id_with_another_body_gets_the_first_offset_marked(
    stage: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    wire = Meddler(stage.url(0))
    async with ana.open(stage.url(0), dialer=wire) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        sent = await phone.send(channel, "stands")
        await sent.wait(timeout_s=WAIT_S)
        wire.hold_back = True
        other = await phone.send(channel, "does not")
        await until(lambda: any(p.id == other.id for p in wire.published), "another one was sealed")
        first = next(p for p in wire.published if p.id == sent.id)
        second = next(p for p in wire.published if p.id == other.id)
        assert first.lane is Lane.LOG
        async with plain_socket(ana, stage.url(1)) as socket:
            same = await socket.publish(first)
            differs = await socket.publish(msgspec.structs.replace(second, id=MessageId(first.id)))
        assert isinstance(same, Accepted)
        assert isinstance(differs, Accepted)
        assert (same.repeat, differs.repeat) == (1, 2)
        assert (same.generation, same.offset) == (differs.generation, differs.offset)
        await until(lambda: texts(desk, channel) == ["stands"], "what stood first stands")
