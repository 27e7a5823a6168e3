"""A name that a person gives, while the agency's names are still to come: nobody says that there is none."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn
from leeside.cli.live import Live
from leeside.cli.names import SOUGHT_S, Names, find_unit
from leeside.client import Leeside
from leeside.connection import LinkState, LinkStatus
from leeside.lockbox import Keystore
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import ChannelPurpose, Compartment
from tests.client.people import MemoryKeystore
from tests.client.virtual_time import play

UNIT = "ab" * 16
AGENCY, CHANNEL = "01" * 16, "02" * 16
NAMED = {bytes.fromhex(UNIT): "Crisis 7"}


def info(ident: str, purpose: ChannelPurpose, subject: str | None = None) -> r.ChannelInfo:
    return r.ChannelInfo(ident, purpose, Compartment.CLINICAL, subject, 0, b"", (), False, 1, 1)


class Client:
    """A client whose agency's channel is here after `late_s`, and with it the unit's name."""

    def __init__(self, late_s: float, state: LinkState = LinkState.ONLINE) -> None:
        self.link = LinkStatus(state, 0)
        self._late_s = late_s
        self._here = False

    def channels(self) -> tuple[r.ChannelInfo, ...]:
        return info(AGENCY, ChannelPurpose.AGENCY), info(CHANNEL, ChannelPurpose.UNIT, UNIT)

    def board(self, _channel: ChannelId) -> SimpleNamespace:
        return SimpleNamespace(names=NAMED if self._here else {})

    def caught_up(self, channel: ChannelId) -> bool:
        assert channel == bytes.fromhex(AGENCY)
        return self._here

    def follow(self, _channel: ChannelId) -> Client:
        return self

    async def next(self) -> None:
        await asyncio.sleep(self._late_s)
        self._here = True

    def close(self) -> None:
        """A feed, as well."""


def at(client: Client) -> Live:
    return Live(cast("Leeside", client), cast("SignedIn", SimpleNamespace(keystore=MemoryKeystore())))


def test_a_channel_is_found_by_a_name_that_comes_late() -> None:
    assert play(at(Client(SOUGHT_S - 1)).channel("Crisis 7")).id == CHANNEL
    assert play(at(Client(SOUGHT_S - 1)).unit_channel("Crisis 7")) == (
        bytes.fromhex(UNIT),
        bytes.fromhex(CHANNEL),
    )


@pytest.mark.parametrize(
    ("client", "code", "ending"),
    [
        (Client(1.0), "not_found", Exit.NOT_FOUND),
        (Client(SOUGHT_S + 1), "names_late", Exit.TRY_AGAIN),
        (Client(1.0, LinkState.OFFLINE), "not_found", Exit.NOT_FOUND),
    ],
    ids=["all names came", "they did not", "no link brings any"],
)
def test_who_is_not_found_is_told_whether_that_is_sure(client: Client, code: str, ending: Exit) -> None:
    with pytest.raises(CommandError) as raised:
        play(at(client).channel("Crisis 8"))
    assert (raised.value.code, raised.value.exit_code) == (code, ending)


@pytest.mark.parametrize(("whole", "code"), [(True, "not_found"), (False, "names_late")])
def test_commands_without_a_link_of_their_own_say_so_too(whole: bool, code: str) -> None:
    waited: list[float] = []

    async def learn(_desk: SignedIn, wait_s: float) -> bool:
        waited.append(wait_s)
        return whole

    async def units(_after: str, _limit: int) -> r.Units:
        return r.Units("", (r.Unit(UNIT, (), None, 1, 0, 1),))

    desk = SimpleNamespace(keystore=MemoryKeystore(), learn=learn, api=SimpleNamespace(units=units))
    with pytest.raises(CommandError) as raised:
        play(find_unit(cast("SignedIn", desk), "Crisis 7"))
    assert raised.value.code == code
    assert waited == [SOUGHT_S]
    Names({}).keep(cast("Keystore", desk.keystore), NAMED)
    assert play(find_unit(cast("SignedIn", desk), "Crisis 7")).id == UNIT
    assert len(waited) == 1, "what is known here is not asked for"
