"""G7: who is revoked receives nothing any more, on whichever node their socket is, with the bus or without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from leeside.client import Leeside
from leeside.errors import Stopped
from leeside.feeds import Feed
from leeside_protocol import resources as r
from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.messages import Batch, Subscribed
from leeside_protocol.words import Discipline, Role
from tests.support.meddling import PlainSocket, plain_socket
from tests.support.patience import in_time
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Person, Town, settled, until

WITH_BUS_S = 1.0
WITHOUT_BUS_S = 3.0
PACE_S = 0.02


@dataclass
class Stream:
    """Someone who writes all the time, and one socket that listens."""

    channel: ChannelId
    socket: PlainSocket
    desk: Leeside
    written: list[str] = field(default_factory=list[str])

    async def write(self) -> None:
        while True:
            self.written.append(f"{len(self.written)}")
            await self.desk.send(self.channel, self.written[-1])
            await asyncio.sleep(PACE_S)

    async def cut_off_after(self, began_s: float) -> float:
        """Seconds from `began_s` until the socket was closed as revoked; messages came until then, and none after."""
        code = await self.socket.end()
        took_s = time.monotonic() - began_s
        assert code == CloseCode.REVOKED
        return took_s


@asynccontextmanager
async def streaming(stage: Stage, town: Town, lost: Person) -> AsyncGenerator[Stream]:
    """A dispatcher on the first node writes without a pause; the lost device listens on the second."""
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(stage.url(0)) as desk:
        async with lost.open(stage.url(1)) as phone:
            channel = await town.unit_channel(desk, phone)
        async with plain_socket(lost, stage.url(1)) as socket:
            stream = Stream(channel, socket, desk)
            assert isinstance(await socket.subscribe(address(ChannelKind.CONTENT, channel)), Subscribed)
            writing = asyncio.ensure_future(stream.write())
            try:
                await socket.expect(Batch)
                yield stream
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)


async def test_g7_a_device_revoked_in_mid_stream_is_cut_off_within_a_second(stage: Stage, town: Town) -> None:
    async def attempt() -> float:
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        async with streaming(stage, town, ana) as stream:
            began_s = time.monotonic()
            asked = asyncio.ensure_future(town.refuse(ana))
            took_s = await stream.cut_off_after(began_s)
            await asked
        return took_s

    await in_time(WITH_BUS_S, attempt)


async def test_g7_a_member_who_left_is_cut_off_within_a_second(stage: Stage, town: Town) -> None:
    async def attempt() -> float:
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        async with streaming(stage, town, ana) as stream:
            member = await town.office.member(ana.member)
            began_s = time.monotonic()
            asked = asyncio.ensure_future(
                town.office.change_member(ana.member, r.MemberChange(member.revision, ended=True))
            )
            took_s = await stream.cut_off_after(began_s)
            await asked
        return took_s

    await in_time(WITH_BUS_S, attempt)


@pytest.mark.parametrize("shared_stage", [pytest.param("two", marks=pytest.mark.services)], indirect=True)
async def test_g7_a_device_revoked_while_the_bus_is_a_black_hole_is_cut_off_within_three_seconds(
    stage: Stage, town: Town
) -> None:
    async def attempt() -> float:
        await stage.ready()
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        async with streaming(stage, town, ana) as stream:
            with stage.frozen_bus():
                began_s = time.monotonic()
                asked = asyncio.ensure_future(town.refuse(ana))
                took_s = await stream.cut_off_after(began_s)
                await asked
        return took_s

    await in_time(WITHOUT_BUS_S, attempt)


async def read_all(feed: Feed) -> None:
    async for _ in feed:
        pass


async def test_g7_a_revoked_device_is_told_to_stop_and_its_channels_get_new_keys(
    stage: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    lost = await town.enrol("lost", Role.RESPONDER, Discipline.EMT)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        ana.open(stage.url(0)) as phone,
        deniz.open(stage.url(1)) as desk,
        lost.open(stage.url(1)) as thief,
    ):
        channel = await town.unit_channel(desk, phone, thief)
        feed = thief.follow()
        await town.revoke(lost)
        with pytest.raises(Stopped):
            await asyncio.wait_for(read_all(feed), WAIT_S)
        await until(lambda: lost.device not in desk.readers(channel), "the channel dropped the device")
        await until(lambda: lost.device not in phone.readers(channel), "and everyone saw it")
        with pytest.raises(Stopped):
            await thief.send(channel, "from the thief")


async def test_who_is_removed_from_a_channel_stays_in_the_others(stage: Stage, town: Town) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk:
        left = await town.unit_channel(desk, phone)
        kept = await town.unit_channel(desk, phone)
        await desk.openings.remove(left, [ana.device])
        await until(lambda: left.hex() not in {i.id for i in phone.channels()}, "the phone is out")
        await desk.send(left, "not for Ana")
        sent = await desk.send(kept, "for Ana")
        await settled(phone, kept)
        await until(lambda: ana.device in sent.devices, "the other channel goes on")
