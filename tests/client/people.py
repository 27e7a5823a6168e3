"""Clients of the relay in memory: one line opens a device's client, on disk so that it can be opened again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

from leeside.api import Api
from leeside.client import Leeside
from leeside.events import Message
from leeside.profile import Identity
from leeside.session import Session
from leeside_protocol.ids import ChannelId, MemberId
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.words import ChannelPurpose
from tests.client.relay_double import Dialer, HttpDouble, RelayDouble, Tokens
from tests.client.virtual_time import VirtualClock, eventually


class MemoryKeystore:
    """A keystore for tests."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    def put(self, name: str, value: bytes) -> None:
        self.values[name] = value

    def delete(self, name: str) -> None:
        self.values.pop(name, None)


@dataclass
class Person:
    """One device of one member, with its folder: `open` may be called again after a crash."""

    relay: RelayDouble
    keys: DeviceKeys
    folder: Path
    keystore: MemoryKeystore = field(default_factory=MemoryKeystore)
    ahead_ms: int = 0
    """How much this device's clock is ahead of the server's."""
    http: HttpDouble = field(init=False)
    dialer: Dialer = field(init=False)
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.http = HttpDouble(self.relay, self.keys.device_id)
        self.dialer = Dialer(self.relay, self.keys.device_id)
        self.tokens = Tokens()

    @property
    def member(self) -> MemberId:
        certificate = self.relay.directory.device(self.keys.device_id)
        assert certificate is not None
        return certificate.member_id

    @asynccontextmanager
    async def open(self, *, online: bool = True) -> AsyncGenerator[Leeside]:
        identity = Identity(
            self.relay.directory.agency_id, self.member, self.keys.device_id, self.relay.directory.root_public
        )
        async with Leeside.assemble(
            cast("Api", self.http),
            cast("Session", self.tokens),
            self.dialer,
            self.keys,
            identity,
            self.keystore,
            self.folder,
            clock=VirtualClock(self.ahead_ms),
            uniform=Random(7).uniform,
        ) as leeside:
            if online:
                await leeside.online(60)
            yield leeside


def person(relay: RelayDouble, folder: Path, member: MemberId | None = None, caps: int = 63) -> Person:
    """A newly enrolled device."""
    keys = relay.enrol(member, caps)
    return Person(relay, keys, folder / keys.device_id.hex())


async def channel_of(opener: Leeside, *others: Leeside) -> ChannelId:
    """A channel with all of them, followed by all."""
    channel = await opener.openings.channel(ChannelPurpose.DESK, [other.device for other in others])
    for other in others:
        await other.refresh()
    for one in (opener, *others):
        await settled(one, channel)
    return channel


async def settled(one: Leeside, channel: ChannelId) -> None:
    """Until a device knows a channel and has received all of it."""
    await eventually(lambda: any(info.id == channel.hex() for info in one.channels()))
    await eventually(lambda: one.caught_up(channel) and bool(one.readers(channel)))


def texts(one: Leeside, channel: ChannelId) -> list[str]:
    """What a device's history says, in order."""
    return [event.text for event in one.history(channel) if isinstance(event, Message)]


async def said(one: Leeside, channel: ChannelId, *expected: str) -> None:
    """Until a device's history says exactly this."""
    await eventually(lambda: texts(one, channel) == list(expected))
