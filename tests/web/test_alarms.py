"""A server that lies is found out: what it made up is not shown, and the person is told to talk by voice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, expect

from leeside.client import Leeside
from leeside.events import Unreadable
from leeside_protocol.codec import decode_server, encode
from leeside_protocol.ids import ChannelAddress, ChannelId, ChannelKind, MessageId, address
from leeside_protocol.messages import Batch, ServerMessage
from leeside_protocol.words import ChannelPurpose, Discipline, Lane, Role
from tests.support.crooked import Answers, Crooked, Says, crooked
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
            replace(entry, payload=entry.payload[:-1] + bytes([entry.payload[-1] ^ 1]))
            for entry in message.entries
        )
        return (replace(message, entries=entries),)

    return says


def spoilt_pages(kind: ChannelKind) -> Answers:
    """The same of logs that are read by request, as a browser does whose epoch is an old one."""
    says = spoilt(kind)

    def answers(path: str, body: bytes) -> bytes:
        if not path.startswith(f"/v1/logs/{kind.value.hex()}"):
            return body
        page = decode_server(body)
        assert page is not None
        return b"".join(encode(said) for said in says(page))

    return answers


def repeated(log: ChannelAddress, heard: Sequence[ServerMessage]) -> Says:
    """The first message behind what was heard comes a second time behind itself, as if somebody had said it again.

    Nothing else does: a place in a log is taken once, so a copy hides what the node says of that place. Every arrival makes
    the browser say, about a second later, how far it has received. A copy of that would hide the message itself.
    """
    batches = [message for message in heard if isinstance(message, Batch) and message.channel == log]
    behind = max((batch.to for batch in batches), default=0)

    def says(message: ServerMessage) -> Sequence[ServerMessage]:
        if not isinstance(message, Batch) or message.channel != log:
            return (message,)
        for entry in message.entries:
            if entry.lane is Lane.LOG and entry.offset > behind:
                again = replace(entry, offset=message.to + 1, id=MessageId(bytes(reversed(entry.id))))
                return (message, Batch(log, message.to, message.to + 1, (again,)))
        return (message,)

    return says


def unreadable(client: Leeside, channel: ChannelId) -> set[MessageId]:
    """What a device has and cannot show."""
    return {event.id for event in client.history(channel) if isinstance(event, Unreadable)}


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
        sent = await desk.send(channel, "Copy.")
        await until(lambda: sent.id in unreadable(phone, channel), "the lie")
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
        server.says, server.answers = spoilt(ChannelKind.EPOCHS), spoilt_pages(ChannelKind.EPOCHS)
        await desk.openings.admit(channel, [ben.device])
        await expect(ana.page.get_by_role("heading", name=words("alarm.title"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("alarm.refused_commit"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("row.joined"))).to_have_count(0)


@pytest.mark.slow
async def test_a_replayed_frame_raises_the_alarm_and_is_not_shown(
    browser: Browser, one: Stage, town: Town, spare_port: int
) -> None:
    async with lied_to(browser, one, town, spare_port) as (server, ana, desk, channel):
        server.says = repeated(address(ChannelKind.CONTENT, channel), server.heard)
        await desk.send(channel, "Hold.")
        await expect(ana.messages.get_by_text(pattern("closed.other"))).to_be_visible()
        await expect(ana.page.get_by_role("heading", name=words("alarm.title"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("alarm.changed_frame"))).to_be_visible()
        await ana.sees("Hold.", times=1)


@pytest.mark.slow
async def test_a_ghost_under_ones_own_name_raises_the_alarm(browser: Browser, one: Stage, town: Town) -> None:
    async with Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        await town.enrol("ghost", Role.RESPONDER, Discipline.CLINICIAN, member=ana.member)
        await expect(ana.page.get_by_role("heading", name=words("alarm.title"))).to_be_visible()
        await expect(ana.page.get_by_text(pattern("alarm.ghost_device"))).to_be_visible()
