"""Following one channel: nobody is told that all is here before the channel's first commit was processed, and a right
that was lost and is back is taken up on the same link."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from leeside.channels import Channel
from leeside.follow import ChannelFollow
from leeside.history import History, Verdict
from leeside.lockbox import Lockbox
from leeside.reading import Reading, row_of
from leeside_protocol import resources as r
from leeside_protocol.follow import Position
from leeside_protocol.ids import ChannelAddress, ChannelId, ChannelKind, DeviceId, MessageId, address
from leeside_protocol.messages import Batch, Entry, Subscribed
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.words import Lane
from tests.client.people import channel_of, person, texts
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import VirtualClock, eventually, play
from tests.support.town import MemoryKeystore

CHANNEL = ChannelId(b"c" * 16)
GENERATION = 7


class StubChannel:
    """As much of a channel as its follower touches; a batch of commits is its first commit."""

    content = address(ChannelKind.CONTENT, CHANNEL)
    epochs = address(ChannelKind.EPOCHS, CHANNEL)
    grants = address(ChannelKind.GRANTS, CHANNEL)

    stopped = False

    def __init__(self) -> None:
        self.epoch = -1
        self.advanced = asyncio.Event()
        self.sealed = SimpleNamespace(seen=SimpleNamespace(head=None))

    async def sync(self) -> None:
        """Nothing comes over HTTP."""

    def read(self, entry: Entry) -> Reading:
        if self.epoch < 0:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "its commit has still to come")
        return Reading(row_of(entry, Verdict.UNREADABLE, b"E_FORMAT"))

    async def take_epochs(self, entries: Iterable[Entry], *, live: bool) -> None:
        self.epoch = 0

    async def take_grants(self, entries: Iterable[Entry]) -> tuple[int, ...]:
        return ()

    def reopen(self) -> Iterator[tuple[Reading, ...]]:
        return iter(())


class Server:
    """Answers every subscription with the head that its log has."""

    def __init__(self, heads: dict[ChannelAddress, int]) -> None:
        self._heads = heads
        self.follow: ChannelFollow | None = None

    async def subscribe(self, log: ChannelAddress, position: Position) -> Subscribed:
        assert self.follow is not None
        answer = Subscribed(1, log, 0, GENERATION, self._heads[log], 0)
        self.follow.push(log, answer)
        return answer


class Told:
    """Counts how often it was told that all is here, and keeps how much was read by then."""

    def __init__(self) -> None:
        self.times = 0
        self.read = 0
        self.follow: ChannelFollow | None = None
        self.early: list[bool] = []
        """Whether it was called all that is here, each time before something more of it was read."""

    def pressing(self, channel: Channel, readings: tuple[Reading, ...]) -> tuple[tuple[MessageId, int], ...]:
        assert self.follow is not None
        self.early.append(self.follow.caught_up)
        self.read += len(readings)
        return ()

    def on_newest(self, channel: Channel) -> None:
        """Nobody waits to send."""

    def on_caught_up(self, channel: Channel) -> None:
        self.times += 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


def commit() -> Batch:
    """The first, of a channel that has no other."""
    entry = Entry(1, Lane.LOG, b"", DeviceId(b"d" * 16), MessageId(b"m" * 16), 0, b"commit")
    return Batch(StubChannel.epochs, 0, 1, (entry,))


def following(
    story: Callable[[StubChannel, ChannelFollow, Told], Awaitable[None]], *, content: int = 0
) -> None:
    """Play a story with a channel whose content log has so many entries and whose one commit is still on its way."""

    async def run() -> None:
        channel, told = StubChannel(), Told()
        server = Server({channel.content: content, channel.epochs: 1, channel.grants: 0})
        history = History(":memory:", Lockbox.of(MemoryKeystore()))
        follow = ChannelFollow(cast("Channel", channel), history, server, cast("Any", told), VirtualClock())
        server.follow = told.follow = follow
        task = asyncio.ensure_future(follow.run())
        follow.up()
        try:
            await story(channel, follow, told)
        finally:
            task.cancel()
            await asyncio.wait([task])
            history.close()

    play(run())


def test_an_empty_log_says_nothing_before_the_first_commit() -> None:
    async def story(channel: StubChannel, follow: ChannelFollow, told: Told) -> None:
        await eventually(lambda: follow.position.generation == GENERATION)
        await asyncio.sleep(1.0)
        assert not follow.caught_up
        assert told.times == 0
        follow.push(channel.epochs, commit())
        await eventually(lambda: follow.caught_up)
        await eventually(lambda: told.times == 1)
        await asyncio.sleep(1.0)
        assert told.times == 1

    following(story)


def test_what_waits_for_its_keys_is_not_all_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The content arrived, and with it the head; the commit that opens it comes later: who asked for names would find none."""
    monkeypatch.setattr("leeside.follow._STORE_ENTRIES", 1)

    async def story(channel: StubChannel, follow: ChannelFollow, told: Told) -> None:
        entries = tuple(
            Entry(offset, Lane.LOG, b"", DeviceId(b"d" * 16), MessageId(bytes([offset] * 16)), 0, b"frame")
            for offset in (1, 2)
        )
        await eventually(lambda: follow.position.generation == GENERATION)
        follow.push(channel.content, Batch(channel.content, 0, 2, entries))
        await asyncio.sleep(1.0)
        assert (told.read, follow.caught_up) == (0, False)
        follow.push(channel.epochs, commit())
        await eventually(lambda: follow.caught_up)
        assert (told.read, told.times, told.early) == (2, 1, [False, False])
        follow.down()
        await eventually(lambda: not follow.caught_up)
        follow.up()
        await eventually(lambda: follow.caught_up)
        assert told.times == 2
        third = msgspec.structs.replace(entries[0], offset=3, id=MessageId(b"3" * 16))
        follow.push(channel.content, Batch(channel.content, 2, 3, (third,)))
        await eventually(lambda: told.read == 3)
        assert (follow.caught_up, told.times) == (True, 2), "one more is no catching up"

    following(story, content=2)


def test_who_is_let_in_again_before_the_list_was_read_hears_what_is_said_on_the_same_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            again = asyncio.Event()
            listed = ben.http.channels

            async def late(after: str = "", limit: int = 100) -> r.Channels:
                await again.wait()
                return await listed(after, limit)

            monkeypatch.setattr(ben.http, "channels", late)
            assert await a.openings.remove(channel, [b.device])
            assert await a.openings.admit(channel, [b.device])
            again.set()
            await a.send(channel, "back again")
            await eventually(lambda: texts(b, channel) == ["back again"])
            assert b.caught_up(channel)
            assert [wire.device for wire in relay.wires].count(b.device) == 1

    play(story())
