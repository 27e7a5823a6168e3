"""A server that lies is found out: what it made up is not shown, and the person is told to talk by voice."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from leeside_protocol.ids import ChannelId
from leeside_protocol.messages import Batch, ServerMessage
from leeside_protocol.words import Role
from tests.support.crooked import crooked
from tests.support.stage import Stage
from tests.support.town import Town, texts, until


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

        def spoilt(message: ServerMessage) -> Sequence[ServerMessage]:
            if not isinstance(message, Batch):
                return (message,)
            entries = tuple(
                msgspec.structs.replace(e, payload=e.payload[:-1] + bytes([e.payload[-1] ^ 1]))
                if e.payload
                else e
                for e in message.entries
            )
            return (msgspec.structs.replace(message, entries=entries),)

        server.says = spoilt
        await desk.send(channel, "Copy.")
        await until(lambda: any(type(e).__name__ == "Unreadable" for e in phone.history(channel)), "the lie")
        assert "Copy." not in texts(phone, channel)
