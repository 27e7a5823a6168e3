"""Signals of calls between sockets and the workers of a bridge: who may, where they go, and who is expelled when."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ConsultId
from leeside_protocol.messages import Refused, Video, VideoTold
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.signalling import (
    Admit,
    Answer,
    ClientSignal,
    Denied,
    GoneWhy,
    Join,
    Leave,
    Migrate,
    Mute,
    Part,
    Restrict,
    Want,
    decode_bridge_signal,
    decode_client_signal,
    encode_signal,
)
from leeside_protocol.words import ConsultState, Role
from leeside_server.core.identity import MemberRow
from leeside_server.core.notices import Access
from leeside_server.core.rows import change
from leeside_server.core.video import Closed, Expelled, Spoken, room_of
from leeside_server.core.writes import Object
from leeside_server.ports import BridgesUnavailable, Workplace
from leeside_server.relay.node import Node
from leeside_server.relay.reading import find
from leeside_server.relay.settings import TurnSettings
from leeside_server.relay.video import JUDGE_S, MISSED, NO_BRIDGE_MS, SIGNALS
from tests.relay.video_scene import AGENCY, OFFER, TURN_SECRET, WORKER, Scene, Worker, scened
from tests.relay.world import joined, serving, world


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scened(tmp_path) as made:
        yield made


class TestThereAndBack:
    async def test_a_signal_reaches_the_worker_with_who_says_it(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(3, person=True))
            word = await scene.worker.spoken(1)
            ticket = word.ticket
            assert word.body == encode_signal(Join(3, person=True))
            assert (ticket.room, ticket.device) == (room_of(AGENCY, scene.consult), scene.asker.id)
            assert (ticket.part, ticket.admits, ticket.team) == (Part.RESPONDER, True, True)
            assert ticket.turn == ()

    async def test_what_the_bridge_says_comes_to_the_socket(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(1))
            await scene.worker.says(await scene.worker.spoken(1))
            assert await phone.expect(VideoTold) == VideoTold(scene.consult, OFFER)
            await scene.says(desk, Join(1))
            word = await scene.worker.spoken(2)
            assert word.ticket.part is Part.PSYCHIATRIST
            await scene.worker.says(word, b"for the desk")
            assert (await desk.expect(VideoTold)).body == b"for the desk"

    async def test_the_newest_socket_of_a_device_hears(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.asker) as (old, new):
            await scene.says(old, Join(1))
            await scene.worker.spoken(1)
            await scene.says(new, Want(1, ()))
            await scene.worker.says(await scene.worker.spoken(2), b"to the new one")
            assert (await new.expect(VideoTold)).body == b"to the new one"
            await scene.says(old, Want(1, ()))
            await scene.worker.says(await scene.worker.spoken(3), b"to the old one again")
            assert (await old.expect(VideoTold)).body == b"to the old one again"

    async def test_signals_keep_their_order(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            sent: list[ClientSignal] = [
                Join(1),
                *(Mute(1, MediaKind.AUDIO, muted=n % 2 == 0) for n in range(30)),
            ]
            for signal in sent:
                await scene.says(phone, signal)
            await scene.worker.spoken(len(sent))
            bodies = [word.body for word in scene.worker.heard if isinstance(word, Spoken)]
            assert bodies == [encode_signal(signal) for signal in sent]

    async def test_a_join_brings_credentials_of_turn_and_nothing_else_does(self, tmp_path: Path) -> None:
        turn = TurnSettings(("turns:turn.example.org:443",), TURN_SECRET)
        async with scened(tmp_path, turn=turn) as scene, scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(1))
            (server,) = (await scene.worker.spoken(1)).ticket.turn
            assert server.urls == turn.urls
            await scene.says(phone, Want(1, ()))
            assert (await scene.worker.spoken(2)).ticket.turn == ()
            assert TURN_SECRET not in repr(turn)

    async def test_words_of_a_worker_that_lost_the_room_are_not_heard(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(1))
            word = await scene.worker.spoken(1)
            await scene.worker.says(word, b"of before", epoch=word.epoch - 1)
            await scene.worker.says(word, b"of now")
            assert (await phone.expect(VideoTold)).body == b"of now"

    async def test_nobody_else_is_heard(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(1))
            word = await scene.worker.spoken(1)
            await scene.bridges.say(scene.node.id, b"planted by who holds the bus" + bytes(64))
            await scene.worker.says(word, b"of now")
            assert (await phone.expect(VideoTold)).body == b"of now"
            strange = scene.node.metrics.registry.get_sample_value("leeside_video_words_strange_total")
            assert strange == 1


class TestWhoMay:
    async def test_supervisors_and_guests_wait(self, scene: Scene) -> None:
        guest = await scene.guest()
        async with scene.socket(scene.chief, guest) as (chief, visitor):
            await scene.says(chief, Join(1))
            first = (await scene.worker.spoken(1)).ticket
            await scene.says(visitor, Join(1, signs=True))
            second = (await scene.worker.spoken(2)).ticket
            assert (first.part, first.admits, first.team) == (Part.SUPERVISOR, False, False)
            assert (second.part, second.admits, second.team) == (Part.INTERPRETER, False, True)
            assert second.until_ms == scene.world.clock.now_ms() + 3_600_000

    async def test_who_has_nothing_to_do_with_it_finds_no_consult(self, scene: Scene) -> None:
        async with scene.socket(scene.stranger) as (desk,):
            assert (await scene.refused(desk, Join(1))).error == WireError.NOT_FOUND
            unknown = ConsultId(os.urandom(16))
            assert (await scene.refused(desk, Join(1), unknown)).error == WireError.NOT_FOUND

    async def test_another_agencys_device_finds_no_consult(self, scene: Scene) -> None:
        foreign = await scene.world.phone(AgencyId(bytes([8]) * 16), Role.RESPONDER)
        async with scene.socket(foreign) as (phone,):
            assert (await scene.refused(phone, Join(1))).error == WireError.NOT_FOUND

    async def test_a_device_that_is_not_in_the_channel_must_be_let_in(self, scene: Scene) -> None:
        del scene.room.members[scene.doctor.id]
        await scene.world.commit(scene.room)
        async with scene.socket(scene.doctor) as (desk,):
            assert (await scene.refused(desk, Join(1))).error == WireError.FORBIDDEN

    @pytest.mark.parametrize(
        ("state", "code"),
        [
            (ConsultState.PAGING, WireError.CONFLICT),
            (ConsultState.ENDED, WireError.EXPIRED),
            (ConsultState.CANCELLED, WireError.EXPIRED),
        ],
    )
    async def test_there_is_a_call_while_somebody_has_accepted(
        self, scene: Scene, state: ConsultState, code: WireError
    ) -> None:
        await scene.to_state(state)
        async with scene.socket(scene.asker) as (phone,):
            assert (await scene.refused(phone, Join(1))).error == code
        assert scene.worker.heard == []

    async def test_a_guest_admits_nobody(self, scene: Scene) -> None:
        guest = await scene.guest()
        async with scene.socket(guest) as (visitor,):
            await scene.says(visitor, Join(1))
            await scene.worker.spoken(1)
            assert (await scene.refused(visitor, Admit(1, guest.id))).error == WireError.FORBIDDEN
            assert (await scene.refused(visitor, Join(2, person=True))).error == WireError.FORBIDDEN
            assert len(scene.worker.heard) == 1

    async def test_what_is_no_signal_is_refused(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            req = phone.req()
            await phone.send(Video(req, scene.consult, b"\xc1 no signal"))
            assert await phone.expect(Refused) == Refused(req, WireError.INVALID)


class TestTheBridge:
    async def test_a_server_without_one_says_so(self, tmp_path: Path) -> None:
        async with world(tmp_path) as bare:
            phone = await bare.phone(AGENCY)
            async with serving(bare) as port, joined(bare, port, phone) as client:
                await client.send(Video(5, ConsultId(bytes(16)), encode_signal(Join(1))))
                assert await client.expect(Refused) == Refused(5, WireError.UNSUPPORTED)

    async def test_none_that_lives_is_unavailable(self, scene: Scene) -> None:
        await scene.bridges.withdraw(WORKER)
        async with scene.socket(scene.asker) as (phone,):
            refused = await scene.refused(phone, Join(1))
            assert (refused.error, refused.retry_ms) == (WireError.UNAVAILABLE, NO_BRIDGE_MS)

    async def test_a_word_that_cannot_be_sent_is_unavailable(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def say(*_: object) -> None:
            raise BridgesUnavailable

        async with scene.socket(scene.asker) as (phone,):
            with monkeypatch.context() as broken:
                broken.setattr(scene.bridges, "say", say)
                assert (await scene.refused(phone, Join(1))).error == WireError.UNAVAILABLE
            await scene.says(phone, Join(1))
            await scene.worker.spoken(1)

    async def test_a_full_one_says_busy(self, scene: Scene) -> None:
        await scene.bridges.announce(Workplace(WORKER, load=1.0))
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(4))
            told = await phone.expect(VideoTold)
            denied = decode_bridge_signal(told.body)
            assert isinstance(denied, Denied)
            assert (denied.generation, denied.error, denied.retry_ms > 0) == (4, WireError.BUSY, True)

    async def test_its_end_brings_everybody_to_another(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(3))
            await scene.says(desk, Join(7))
            before = await scene.worker.spoken(2)
            other = await Worker(scene.world, scene.bridges, b"worker-2").start()
            await scene.bridges.withdraw(WORKER)
            assert decode_bridge_signal((await phone.expect(VideoTold)).body) == Migrate(3)
            assert decode_bridge_signal((await desk.expect(VideoTold)).body) == Migrate(7)
            await scene.says(phone, Join(4))
            after = await other.spoken(1)
            assert after.epoch > before.epoch
            await scene.worker.says(before, b"a ghost")
            await other.says(after)
            assert (await phone.expect(VideoTold)).body == OFFER

    async def test_while_it_lets_its_calls_go_a_device_speaks_to_both(self, scene: Scene) -> None:
        """It joins the new one, sees its pictures, and leaves the old one: nobody is without for a moment."""
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(3))
            old = await scene.worker.spoken(1)
            await scene.says(desk, Join(7))
            await scene.worker.spoken(2)
            other = await Worker(scene.world, scene.bridges, b"worker-2").start()
            await scene.bridges.announce(Workplace(WORKER, open=False))
            await scene.bridges.release(WORKER, old.ticket.room, old.epoch)
            await scene.says(phone, Join(4))
            new = await other.spoken(1)
            assert new.epoch > old.epoch
            await scene.worker.says(old, b"from the old one")
            assert (await phone.expect(VideoTold)).body == b"from the old one"
            await other.says(new, b"from the new one")
            assert (await phone.expect(VideoTold)).body == b"from the new one"
            await scene.says(desk, Want(7, ()))
            assert (await scene.worker.spoken(3)).body == encode_signal(Want(7, ()))
            await scene.says(phone, Want(4, ()))
            assert (await other.spoken(2)).body == encode_signal(Want(4, ()))
            await scene.says(phone, Leave(3))
            assert (await scene.worker.spoken(4)).body == encode_signal(Leave(3))
            await scene.worker.says(old, b"an echo")
            await other.says(new, b"from the new one again")
            assert (await phone.expect(VideoTold)).body == b"from the new one again"
            await scene.to_state(ConsultState.ENDED)
            for worker, epoch in ((scene.worker, old.epoch), (other, new.epoch)):
                await worker.until(lambda heard: any(isinstance(word, Closed) for word in heard))
                assert worker.gone() == [Closed(epoch, old.ticket.room, GoneWhy.ENDED)]

    async def test_whom_media_may_reach_is_said_to_both_meanwhile(self, scene: Scene) -> None:
        """Media go on at the old one until all have left it, and so would they to whom they must not reach."""
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(3))
            old = await scene.worker.spoken(1)
            other = await Worker(scene.world, scene.bridges, b"worker-2").start()
            await scene.bridges.release(WORKER, old.ticket.room, old.epoch)
            await scene.bridges.announce(Workplace(WORKER, open=False))
            await scene.says(phone, Join(4))
            await other.spoken(1)
            await scene.says(phone, Restrict(4, restricted=True))
            assert (await other.spoken(2)).body == encode_signal(Restrict(4, restricted=True))
            at_old = await scene.worker.spoken(2)
            assert (at_old.epoch, at_old.body) == (old.epoch, encode_signal(Restrict(3, restricted=True)))
            await scene.says(phone, Restrict(3, restricted=True))
            await scene.says(phone, Leave(3))
            await scene.says(phone, Restrict(4, restricted=False))
            await other.spoken(3)
            said_there = [
                decode_client_signal(word.body) for word in scene.worker.heard if isinstance(word, Spoken)
            ]
            assert said_there[2:] == [Restrict(3, restricted=True), Leave(3)]

    async def test_a_join_that_nobody_heard_is_repeated_elsewhere(self, scene: Scene) -> None:
        """Its machine ended, and its lease lasts a while."""
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(3))
            await scene.worker.spoken(1)
            await scene.says(phone, Join(4))
            await scene.worker.spoken(2)
            scene.world.clock.advance(4)
            other = await Worker(scene.world, scene.bridges, b"worker-2").start()
            await scene.says(phone, Join(4))
            await other.spoken(1)
            await scene.says(phone, Answer(4, 1, "v=0"))
            assert (await other.spoken(2)).body == encode_signal(Answer(4, 1, "v=0"))
            assert len(scene.worker.heard) == 2

    async def test_who_is_expelled_meanwhile_goes_from_both(self, scene: Scene) -> None:
        guest = await scene.guest()
        async with scene.socket(guest) as (visitor,):
            await scene.says(visitor, Join(3))
            old = await scene.worker.spoken(1)
            other = await Worker(scene.world, scene.bridges, b"worker-2").start()
            await scene.bridges.release(WORKER, old.ticket.room, old.epoch)
            await scene.bridges.announce(Workplace(WORKER, open=False))
            await scene.says(visitor, Join(4))
            await other.spoken(1)
            await scene.end_guest(guest)
            for worker in (scene.worker, other):
                await worker.until(lambda heard: any(isinstance(word, Expelled) for word in heard))

    async def test_one_that_is_silent_is_gone_after_a_few_looks(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(3))
            await scene.worker.spoken(1)
            scene.world.clock.advance(4)
            for _ in range(MISSED - 1):
                await scene.node.calls.look()
            await scene.bridges.announce(Workplace(WORKER))
            await scene.node.calls.look()
            scene.world.clock.advance(4)
            for _ in range(MISSED):
                await scene.node.calls.look()
            assert decode_bridge_signal((await phone.expect(VideoTold)).body) == Migrate(3)


class TestBounds:
    async def test_a_device_that_never_stops_is_refused_and_others_are_not(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            for _ in range(SIGNALS.burst):
                await scene.says(phone, Want(1, ()))
            refused = await scene.refused(phone, Want(1, ()))
            assert (refused.error, refused.retry_ms > 0) == (WireError.RATE_LIMITED, True)
            await scene.says(desk, Join(1))
            await scene.worker.spoken(SIGNALS.burst + 1)
            scene.world.clock.advance(1.0)
            await scene.says(phone, Want(1, ()))
            await scene.worker.spoken(SIGNALS.burst + 2)

    async def test_who_left_leaves_nothing(self, scene: Scene) -> None:
        async with scene.socket(scene.asker, scene.doctor) as (phone, desk):
            await scene.says(phone, Join(1))
            await scene.says(desk, Join(1))
            await scene.worker.spoken(2)
            assert len(scene.node.calls) == 1
            await scene.says(phone, Leave(1))
            await scene.says(desk, Leave(1))
            await scene.worker.spoken(4)
            assert len(scene.node.calls) == 0

    async def test_a_goodbye_is_passed_on_also_when_the_socket_closes_with_it(self, scene: Scene) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(1))
            await scene.worker.spoken(1)
            (socket,) = scene.node.sockets.all()
            scene.node.calls.speak(socket, Video(2, scene.consult, encode_signal(Want(1, ()))))
            scene.node.calls.speak(socket, Video(3, scene.consult, encode_signal(Leave(1))))
            socket.on_close()
            assert (await scene.worker.spoken(2)).body == encode_signal(Leave(1))
            assert len(scene.node.calls) == 0

    async def test_a_call_costs_no_reading_for_each_signal(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with scene.socket(scene.asker) as (phone,):
            await scene.says(phone, Join(1))
            await scene.worker.spoken(1)

            async def get(*_: object) -> None:
                raise AssertionError

            monkeypatch.setattr(scene.node.store, "get", get)
            await scene.says(phone, Want(1, ()))
            await scene.worker.spoken(2)


class TestWhoLostIt:
    """On the node that writes at once, on every other at its next look."""

    @pytest.fixture(params=["here", "elsewhere"])
    async def writer(self, request: pytest.FixtureRequest, pair: Scene) -> Node:
        return pair.world.nodes[0 if request.param == "here" else 1]

    @pytest.fixture
    async def pair(self, tmp_path: Path) -> AsyncIterator[Scene]:
        async with scened(tmp_path, nodes=2) as made:
            yield made

    async def gone(self, scene: Scene, writer: Node, count: int = 1) -> list[Expelled | Closed]:
        if writer is not scene.node:
            await scene.node.calls.look()
        await scene.worker.until(lambda _: len(scene.worker.gone()) >= count)
        return scene.worker.gone()

    async def test_the_consult_ended(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.doctor) as (phone, desk):
            await pair.says(phone, Join(1))
            await pair.says(desk, Join(1))
            word = await pair.worker.spoken(2)
            await pair.to_state(ConsultState.ENDED, writer)
            assert await self.gone(pair, writer) == [Closed(word.epoch, word.ticket.room, GoneWhy.ENDED)]
            assert len(pair.node.calls) == 0

    async def test_a_guest_was_ended(self, pair: Scene, writer: Node) -> None:
        guest = await pair.guest()
        async with pair.socket(pair.asker, guest) as (phone, visitor):
            await pair.says(phone, Join(1))
            await pair.says(visitor, Join(1))
            word = await pair.worker.spoken(2)
            await pair.end_guest(guest, writer)
            expected = Expelled(word.epoch, word.ticket.room, guest.id, GoneWhy.REMOVED)
            assert await self.gone(pair, writer) == [expected]
            assert (await pair.refused(visitor, Want(1, ()))).error == WireError.NOT_FOUND

    async def test_the_roster_lost_a_device(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.chief) as (phone, chief):
            await pair.says(phone, Join(1))
            await pair.says(chief, Join(1))
            word = await pair.worker.spoken(2)
            del pair.room.members[pair.chief.id]
            await pair.world.commit(pair.room, reason=2, node=writer)
            expected = Expelled(word.epoch, word.ticket.room, pair.chief.id, GoneWhy.REMOVED)
            assert await self.gone(pair, writer) == [expected]

    async def test_a_device_was_revoked(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.doctor) as (phone, desk):
            await pair.says(phone, Join(1))
            await pair.says(desk, Join(1))
            word = await pair.worker.spoken(2)
            await pair.world.out(AGENCY, Access.DEVICE_OUT, pair.doctor.id, node=writer)
            expected = Expelled(word.epoch, word.ticket.room, pair.doctor.id, GoneWhy.REMOVED)
            await pair.worker.until(lambda _: pair.worker.gone() == [expected])

    async def test_a_session_ended(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.doctor) as (phone, desk):
            await pair.says(phone, Join(1))
            await pair.says(desk, Join(1))
            word = await pair.worker.spoken(2)
            await pair.world.out(AGENCY, Access.SESSION_OUT, pair.doctor.session, node=writer)
            expected = Expelled(word.epoch, word.ticket.room, pair.doctor.id, GoneWhy.REMOVED)
            await pair.worker.until(lambda _: pair.worker.gone() == [expected])

    async def test_who_accepted_gave_it_back(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.doctor) as (phone, desk):
            await pair.says(phone, Join(1))
            await pair.says(desk, Join(1))
            word = await pair.worker.spoken(2)
            await pair.to_state(ConsultState.PAGING, writer, accepted_by=None)
            expected = Expelled(word.epoch, word.ticket.room, pair.doctor.id, GoneWhy.REMOVED)
            assert await self.gone(pair, writer) == [expected]
            # The team stays where it is: whoever comes next finds it there.
            await pair.says(phone, Want(1, ()))
            await pair.worker.spoken(3)

    async def test_who_is_no_supervisor_any_more(self, pair: Scene, writer: Node) -> None:
        async with pair.socket(pair.asker, pair.chief) as (phone, chief):
            await pair.says(phone, Join(1))
            await pair.says(chief, Join(1))
            word = await pair.worker.spoken(2)
            await pair.node.calls.look()
            held = await find(pair.node.store, AGENCY, MemberRow, pair.chief.member)
            assert held is not None
            await pair.world.write(AGENCY, change(held, MemberRow((Role.ADMIN,), 0)), node=writer)
            pair.world.clock.advance(JUDGE_S)
            await pair.bridges.announce(Workplace(WORKER))
            await pair.node.calls.look()
            assert pair.worker.gone() == [
                Expelled(word.epoch, word.ticket.room, pair.chief.id, GoneWhy.REMOVED)
            ]

    async def test_also_while_its_device_has_no_socket(self, pair: Scene, writer: Node) -> None:
        guest = await pair.guest()
        async with pair.socket(guest) as (visitor,):
            await pair.says(visitor, Join(1))
            word = await pair.worker.spoken(1)
        await pair.end_guest(guest, writer)
        expected = Expelled(word.epoch, word.ticket.room, guest.id, GoneWhy.REMOVED)
        assert await self.gone(pair, writer) == [expected]

    async def test_a_right_that_ended_while_it_was_looked_up(
        self, pair: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        get_many, store = pair.node.store.get_many, pair.node.store
        late = [True]

        async def slow(names: Sequence[tuple[AgencyId, str, bytes]]) -> Sequence[Object | None]:
            found = await get_many(names)
            if late and any(key == pair.consult for _, _, key in names):
                late.clear()
                await pair.to_state(ConsultState.PAGING, pair.world.nodes[1], accepted_by=None)
                # Who is in the call already is judged by the new row, and it is not looked at again for itself.
                await pair.node.calls.look()
            return found

        async with pair.socket(pair.asker, pair.doctor) as (phone, desk):
            await pair.says(phone, Join(1))
            await pair.worker.spoken(1)
            monkeypatch.setattr(store, "get_many", slow)
            await pair.says(desk, Join(1))
            word = await pair.worker.spoken(2)
            await pair.node.calls.look()
            expected = Expelled(word.epoch, word.ticket.room, pair.doctor.id, GoneWhy.REMOVED)
            assert pair.worker.gone() == [expected]

    async def test_a_word_that_was_lost_is_said_again(
        self, pair: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with pair.socket(pair.asker) as (phone,):
            await pair.says(phone, Join(1))
            await pair.worker.spoken(1)

            async def say(*_: object) -> None:
                raise BridgesUnavailable

            with monkeypatch.context() as broken:
                broken.setattr(pair.bridges, "say", say)
                await pair.to_state(ConsultState.ENDED, pair.world.nodes[1])
                await pair.node.calls.look()
            assert pair.worker.gone() == []
            await pair.node.calls.look()
            assert isinstance(pair.worker.gone()[0], Closed)


class TestManyNodes:
    async def test_people_of_two_nodes_meet_in_one_room(self, tmp_path: Path) -> None:
        async with scened(tmp_path, nodes=2) as scene:
            here, there = scene.world.nodes
            async with (
                scene.socket(scene.asker, node=here) as (phone,),
                scene.socket(scene.doctor, node=there) as (desk,),
            ):
                await scene.says(phone, Join(1))
                first = await scene.worker.spoken(1)
                await scene.says(desk, Join(1))
                second = await scene.worker.spoken(2)
                assert (first.epoch, first.ticket.room) == (second.epoch, second.ticket.room)
                assert (first.ticket.node, second.ticket.node) == (here.id, there.id)
                await scene.worker.says(second, b"to the other node")
                assert (await desk.expect(VideoTold)).body == b"to the other node"

    async def test_a_device_that_comes_back_over_another_node_hears_there(self, tmp_path: Path) -> None:
        async with scened(tmp_path, nodes=2) as scene:
            here, there = scene.world.nodes
            async with scene.socket(scene.asker, node=here) as (phone,):
                await scene.says(phone, Join(1))
                first = await scene.worker.spoken(1)
            async with scene.socket(scene.asker, node=there) as (again,):
                await scene.says(again, Want(1, ()))
                second = await scene.worker.spoken(2)
                assert (second.epoch, second.ticket.node) == (first.epoch, there.id)
                await scene.worker.says(second)
                assert (await again.expect(VideoTold)).body == OFFER
