"""Opening channels of which there is only one (spec 03, "Places")."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leeside.api import ApiError
from leeside_protocol.errors import WireError
from leeside_protocol.words import ChannelPurpose
from tests.client.people import person, settled
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import play

UNIT = b"u" * 16


def test_two_who_open_a_units_channel_at_once_come_to_one(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            one, other = await asyncio.gather(
                a.openings.channel(ChannelPurpose.UNIT, [b.device], subject=UNIT),
                b.openings.channel(ChannelPurpose.UNIT, [a.device], subject=UNIT),
            )
            assert one == other
            assert list(relay.rooms) == [one]
            await settled(a, one)
            assert await a.openings.rekey(one)

    play(story())


def test_the_channel_that_stands_without_this_device_is_not_opened_a_second_time(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await a.openings.channel(ChannelPurpose.UNIT, [], subject=UNIT)
            with pytest.raises(ApiError) as refused:
                await b.openings.channel(ChannelPurpose.UNIT, [a.device], subject=UNIT)
            assert refused.value.code is WireError.CONFLICT

            relay.rooms[channel].archived = True
            after = await b.openings.channel(ChannelPurpose.UNIT, [a.device], subject=UNIT)
            assert after != channel

    play(story())
