"""A server that lies is found out: what it made up is not shown, and the person is told to talk by voice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from playwright.async_api import Browser, expect

from leeside.client import Leeside
from leeside_protocol.ids import ChannelId, ChannelKind, MessageId
from leeside_protocol.messages import Batch, ServerMessage
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.crooked import Crooked, Says, crooked
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.web_words import pattern, words
from tests.web.screen import Screen


def spoilt(kind: ChannelKind) -> Says:
    """What stands in logs of this kind comes with its last byte changed."""

    def says(message: ServerMessage) -> Sequence[ServerMessage]:
        if not isinstance(message, Batch) or message.channel[:1] != kind.value:
            return (message,)
        entries = tuple(
            msgspec.structs.replace(entry, payload=entry.payload[:-1] + bytes([entry.payload[-1] ^ 1]))
            for entry in message.entries
        )
        return (msgspec.structs.replace(message, entries=entries),)

    return says


def repeated(message: ServerMessage) -> Sequence[ServerMessage]:
    """What was said comes a second time behind itself, as if somebody had said it again."""
    if (
        not isinstance(message, Batch)
        or message.channel[:1] != ChannelKind.CONTENT.value
        or not message.entries
    ):
        return (message,)
    last = message.entries[-1]
    again = msgspec.structs.replace(last, offset=message.to + 1, id=MessageId(bytes(reversed(last.id))))
    return (message, Batch(message.channel, message.to, message.to + 1, (again,)))


async def test_the_server_in_the_middle_carries_everything_until_it_lies(
    one: Stage, town: Town, spare_port: int
) -> None:
    ana, deniz = await town.enrol("ana", Role.RESPONDER), await town.enrol("deniz", Role.DISPATCHER)
    async with (
        crooked(one.url(0), spare_port) as server,
        ana.open(server.url) as phone,
        deniz.open(one.url(0)) as desk,
    ):
        channel: ChannelId = await town.unit_channel(desk, phone)
        await phone.send(channel, "Arrived.")
        await until(lambda: "Arrived." in texts(desk, channel), "what passes through")

        server.says = spoilt(ChannelKind.CONTENT)
        await desk.send(channel, "Copy.")
        await until(lambda: any(type(e).__name__ == "Unreadable" for e in phone.history(channel)), "the lie")
        assert "Copy." not in texts(phone, channel)


@asynccontextmanager
async def lied_to(
    browser: Browser, one: Stage, town: Town, port: int
) -> AsyncGenerator[tuple[Crooked, Screen, Leeside, ChannelId]]:
    """A responder's browser behind a server that will lie, and a dispatcher's terminal on the honest node."""
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        crooked(one.url(0), port) as server,
        deniz.open(one.url(0)) as desk,
        Screen.opened(browser, server.url) as ana,
    ):
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        await desk.send(channel, "Before.")
        await ana.sees("Before.")
        yield server, ana, desk, channel


@pytest.mark.slow
async def test_a_forged_commit_raises_the_alarm_and_nobody_joins(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    ben = await town.enrol("ben", Role.RESPONDER)
    async with lied_to(browser, one, town, spare_port) as (server, ana, desk, channel):
        server.says = spoilt(ChannelKind.EPOCHS)
        await desk.openings.admit(channel, [ben.device])
        await expect(ana.page.get_by_role("heading", name=words("alarm.title"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("alarm.refused_commit"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("row.joined"))).to_have_count(0)


@pytest.mark.slow
async def test_a_replayed_frame_raises_the_alarm_and_is_not_shown(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    async with lied_to(browser, one, town, spare_port) as (server, ana, desk, channel):
        server.says = repeated
        await desk.send(channel, "Hold.")
        await expect(ana.messages.get_by_text(pattern("closed.other"))).to_be_visible()
        await ana.sees("Hold.", times=1)


@pytest.mark.slow
async def test_a_ghost_under_ones_own_name_raises_the_alarm(browser: Browser, one: Stage, town: Town) -> None:
    async with Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        await town.enrol("ghost", Role.RESPONDER, Discipline.CLINICIAN, member=ana.member)
        await expect(ana.page.get_by_role("heading", name=words("alarm.title"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("alarm.ghost_device"))).to_be_visible()
