"""What a call decided when its room moves to another machine, and who is told that they are out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.messages import VideoTold
from leeside_protocol.video.signalling import (
    Gone,
    GoneWhy,
    Join,
    Restricted,
    Want,
    Welcome,
    decode_bridge_signal,
    encode_signal,
)
from leeside_protocol.words import ConsultState
from leeside_server.core.video import Expelled
from leeside_server.ports import BridgesUnavailable
from tests.relay.video_scene import WORKER, Scene, Worker, scened


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scened(tmp_path) as made:
        yield made


class TestWhatAnotherMachineMustKnow:
    """A room that moves to another machine is not there any more; what was decided in it goes with who comes."""

    async def elsewhere(self, scene: Scene) -> Worker:
        """The worker that had the room is gone, and another is there."""
        other = await Worker(scene.world, scene.bridges, b"worker-2").start()
        await scene.bridges.withdraw(WORKER)
        return other

    async def test_that_media_are_kept_from_some(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(1))
            word = await scene.worker.spoken(1)
            assert not word.ticket.restricted
            told = Restricted(1, restricted=True, by=scene.asker.id)
            await scene.worker.says(word, encode_signal(told))
            await phone.expect(VideoTold)
            # Who says something is not asked what they know: a worker believes a join alone.
            await scene.says(phone, Want(1, ()))
            assert not (await scene.worker.spoken(2)).ticket.restricted
            other = await self.elsewhere(scene)
            await scene.says(desk, Join(7))
            assert (await other.spoken(1)).ticket.restricted
            lifted = Welcome(7, 1, waiting=False, restricted=False, participants=(), turn=())
            await other.says(await other.spoken(1), encode_signal(lifted))
            await desk.expect(VideoTold)
            await scene.says(phone, Join(2))
            assert not (await other.spoken(2)).ticket.restricted

    async def test_who_was_let_in(self, scene: Scene) -> None:
        async with scene.socket(scene.chief) as (chief,):
            await scene.says(chief, Join(1))
            word = await scene.worker.spoken(1)
            for number, waiting in enumerate((True, False)):
                welcome = Welcome(1, number, waiting, restricted=False, participants=(), turn=())
                await scene.worker.says(word, encode_signal(welcome))
                await chief.expect(VideoTold)
            other = await self.elsewhere(scene)
            await scene.says(chief, Join(2))
            assert (await other.spoken(1)).ticket.admitted

    async def test_who_was_put_out_was_not_let_in(self, scene: Scene) -> None:
        async with scene.socket(scene.chief) as (chief,):
            await scene.says(chief, Join(1))
            word = await scene.worker.spoken(1)
            for signal in (
                Welcome(1, 1, waiting=False, restricted=False, participants=(), turn=()),
                Gone(1, scene.chief.id, GoneWhy.REMOVED),
            ):
                await scene.worker.says(word, encode_signal(signal))
                await chief.expect(VideoTold)
            await scene.says(chief, Join(2))
            assert not (await scene.worker.spoken(2)).ticket.admitted


class TestWhoIsOutIsTold:
    """By the node itself: also while the worker cannot be reached, or cannot say it."""

    async def test_a_guest_whose_stay_ended(self, scene: Scene) -> None:
        guest = await scene.guest()
        async with scene.socket(guest) as (visitor,):
            await scene.says(visitor, Join(3))
            await scene.worker.spoken(1)
            await scene.end_guest(guest)
            told = decode_bridge_signal((await visitor.expect(VideoTold)).body)
            assert told == Gone(3, guest.id, GoneWhy.REMOVED)

    async def test_everybody_when_the_consult_ends(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(3))
            await scene.says(desk, Join(4))
            await scene.worker.spoken(2)
            await scene.to_state(ConsultState.ENDED)
            for client, generation, who in ((phone, 3, scene.asker), (desk, 4, scene.doctor)):
                told = decode_bridge_signal((await client.expect(VideoTold)).body)
                assert told == Gone(generation, who.id, GoneWhy.ENDED)

    async def test_once_while_the_worker_cannot_be_told_and_it_is_told_as_soon_as_it_can(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def say(*_: object) -> None:
            raise BridgesUnavailable

        guest = await scene.guest()
        async with scene.socket(guest) as (visitor,):
            await scene.says(visitor, Join(3))
            word = await scene.worker.spoken(1)
            with monkeypatch.context() as broken:
                broken.setattr(scene.bridges, "say", say)
                await scene.end_guest(guest)
                told = decode_bridge_signal((await visitor.expect(VideoTold)).body)
                assert told == Gone(3, guest.id, GoneWhy.REMOVED)
                await scene.node.calls.look()
                assert scene.worker.gone() == []
            await scene.node.calls.look()
            expected = Expelled(word.epoch, word.ticket.room, guest.id, GoneWhy.REMOVED)
            await scene.worker.until(lambda _: scene.worker.gone() == [expected])
            # Nothing more was said to who is out.
            assert (await scene.refused(visitor, Want(3, ()))).error == WireError.NOT_FOUND
