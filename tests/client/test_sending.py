"""Emptying the outbox: what is refused for good is refused on the newest chain only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from leeside.channels import Channel
from leeside.errors import NotPermitted
from leeside.lockbox import Lockbox
from leeside.outbox import Draft, Outbox
from leeside.sending import Sending
from leeside_protocol import messages as m
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelAddress, ChannelId, ChannelKind, MessageId, address
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.words import Lane, Mark, Urgency
from tests.client.people import MemoryKeystore
from tests.client.virtual_time import eventually, play

LOG = address(ChannelKind.CONTENT, ChannelId(b"c" * 16))
MESSAGE = MessageId(b"m" * 16)


class StubChannel:
    """A channel that let this device in with the commit `admitted`, of which `epoch` have come so far."""

    def __init__(self, admitted: int | None, *, newest: bool = True) -> None:
        self.content = LOG
        self.epoch = 0
        self.newest = newest
        self.sealed: list[int] = []
        self.preparing: Callable[[], object] = lambda: None
        self._admitted = admitted

    async def prepare(self) -> None:
        self.preparing()
        if self._admitted is None or self.epoch < self._admitted:
            raise NotPermitted(SealingCode.E_AUTHZ)

    async def sync(self) -> None:
        self.epoch = 3

    def seal(self, draft: Draft) -> tuple[bytes, int]:
        self.sealed.append(self.epoch)
        return b"frame", self.epoch


class Told:
    """The server, which takes everything, and the listener."""

    def __init__(self) -> None:
        self.accepted: list[MessageId] = []
        self.refused: list[WireError] = []
        self.taken_back: list[bool] = []

    async def request(self, build: Callable[[int], m.ClientMessage], timeout_s: float = 15.0) -> m.Accepted:
        publish = build(1)
        assert isinstance(publish, m.Publish)
        return m.Accepted(1, 1, 7, 0)

    def on_accepted(self, log: ChannelAddress, message: MessageId, generation: int, offset: int) -> None:
        self.accepted.append(message)

    def on_refused(self, log: ChannelAddress, message: MessageId, code: WireError) -> None:
        self.refused.append(code)

    def on_blocked(self, log: ChannelAddress, why: str) -> None:
        """Nobody looks."""


def sent(folder: Path, channel: StubChannel, *, taken_back: bool = False) -> Told:
    """What became of one message; `taken_back` by its person while the channel is put right before sealing."""
    told = Told()

    async def story() -> None:
        outbox = Outbox(folder / "outbox.db", Lockbox.of(MemoryKeystore()))
        draft = Draft(LOG, MESSAGE, Lane.LOG, b"", b"body", 1, Urgency.ROUTINE, Mark.NONE)
        outbox.add(draft)
        sending = Sending(
            outbox,
            cast("Any", told),
            lambda _: cast("Channel", channel),
            told,
            lambda _, high: high,
            lambda _: channel.newest,
        )
        if taken_back:
            channel.preparing = lambda: told.taken_back.append(outbox.cancel(MESSAGE))
        sending.online()
        task = asyncio.ensure_future(sending.run())
        try:
            await eventually(lambda: bool(told.accepted or told.refused or told.taken_back))
            await asyncio.sleep(1)
        finally:
            task.cancel()
            await asyncio.wait([task])
            outbox.close()

    play(story())
    return told


def test_who_was_let_in_by_a_commit_that_has_still_to_come_is_not_refused(tmp_path: Path) -> None:
    told = sent(tmp_path, StubChannel(admitted=2))
    assert (told.accepted, told.refused) == ([MESSAGE], [])


@pytest.mark.parametrize(("newest", "epoch"), [(True, 0), (False, 3)])
def test_nothing_is_sealed_for_the_members_of_yesterday(tmp_path: Path, newest: bool, epoch: int) -> None:
    channel = StubChannel(admitted=0, newest=newest)
    told = sent(tmp_path, channel)
    assert (told.accepted, channel.sealed) == ([MESSAGE], [epoch])


@pytest.mark.parametrize("admitted", [None, 9])
def test_who_is_not_let_in_by_the_newest_commit_is_told(tmp_path: Path, admitted: int | None) -> None:
    told = sent(tmp_path, StubChannel(admitted))
    assert (told.accepted, told.refused) == ([], [WireError.FORBIDDEN])


def test_a_message_that_was_taken_back_in_time_is_not_sent(tmp_path: Path) -> None:
    told = sent(tmp_path, StubChannel(admitted=0), taken_back=True)
    assert (told.taken_back, told.accepted, told.refused) == ([True], [], [])
