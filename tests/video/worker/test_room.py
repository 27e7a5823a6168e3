"""What a room decides: a table of signals and effects, without a socket and by the test's own clock."""

from typing import Any, TypeVar

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import SEATS, MediaKind
from leeside_protocol.video.signalling import GoneWhy, Part, PausedWhy
from leeside_server.core.video import Ticket
from leeside_server.video import room as r
from leeside_server.video.room import Effect, Room
from tests.video.worker.world import FAR_MS, ticket

ANA, BEN, EVE, TIM = (DeviceId(letter * 16) for letter in (b"a", b"b", b"e", b"t"))
WHO = {ANA: Part.RESPONDER, BEN: Part.PSYCHIATRIST, EVE: Part.INTERPRETER, TIM: Part.RECEIVING_FACILITY}
S = TypeVar("S")
E = TypeVar("E")


class World:
    """A room, its clock, and the effects of the newest signal."""

    def __init__(self) -> None:
        self.room = Room(0.0)
        self.now_s = 0.0
        self.effects: list[Effect] = []

    def say(
        self, device: DeviceId, signal: s.ClientSignal, part: Part | None = None, **more: Any
    ) -> list[Effect]:
        allowed = ticket(device, part or WHO.get(device, Part.RESPONDER), **more)
        self.effects = self.room.hear(allowed, signal, self.now_s, round(self.now_s * 1000))
        return self.effects

    def join(self, *devices: DeviceId, generation: int = 1) -> None:
        for device in devices:
            self.say(device, s.Join(generation))

    def told(self, device: DeviceId, kind: type[S]) -> list[S]:
        """What the newest signal made the room say to this device."""
        return [
            effect.signal
            for effect in self.effects
            if isinstance(effect, r.Tell) and effect.device == device and isinstance(effect.signal, kind)
        ]

    def done(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def test_the_first_is_welcomed_and_offered_a_transport() -> None:
    world = World()
    world.join(ANA)
    (welcome,) = world.told(ANA, s.Welcome)
    assert (welcome.waiting, welcome.participants, welcome.restricted) == (False, (), False)
    assert world.done(r.Open) == [r.Open(ANA, 1)]


def test_the_second_and_the_first_are_shown_to_each_other() -> None:
    world = World()
    world.join(ANA, BEN)
    (welcome,) = world.told(BEN, s.Welcome)
    assert [each.device for each in welcome.participants] == [ANA]
    (to_ben,), (to_ana,) = world.told(BEN, s.Slot), world.told(ANA, s.Slot)
    assert (to_ben.participant.device, to_ben.audio_mid, to_ben.video_mid) == (ANA, "a", "b")
    assert (to_ana.participant.device, to_ana.participant.part) == (BEN, Part.PSYCHIATRIST)
    assert world.done(r.Link) == [r.Link(BEN, ANA, 0), r.Link(ANA, BEN, 0)]
    # A peer must be there before it is linked.
    order = [type(effect) for effect in world.effects]
    assert order.index(r.Open) < order.index(r.Link)


def test_a_repeated_join_is_answered_again_and_changes_nothing() -> None:
    world = World()
    world.join(ANA, BEN)
    world.say(BEN, s.Join(1))
    assert world.told(BEN, s.Welcome)
    assert world.told(BEN, s.Slot)
    assert world.done(r.Reoffer) == [r.Reoffer(BEN, anew=False)]
    assert not world.done(r.Open)
    assert not world.told(ANA, s.Slot)


def test_who_lost_their_socket_hears_all_of_it_again() -> None:
    world = World()
    world.join(ANA, BEN, EVE)
    # Ben's socket was lost when Eve came to wait, and when a colleague of Ana's came in.
    world.join(colleague := DeviceId(b"c" * 16))
    world.say(BEN, s.Join(1))
    (welcome,) = world.told(BEN, s.Welcome)
    assert [each.device for each in welcome.participants] == [ANA, colleague]
    assert [slot.participant.device for slot in world.told(BEN, s.Slot)] == [ANA, colleague]
    assert [word.participant.device for word in world.told(BEN, s.Waiting)] == [EVE]
    assert world.done(r.Retell) == [r.Retell(BEN)]


def test_a_wish_holds_for_who_comes_later_and_again() -> None:
    world = World()
    world.join(ANA)
    world.say(ANA, s.Want(1, ((BEN, 180),)))
    member = world.room.members[ANA]
    world.join(BEN)
    assert member.lines.get(BEN) == 180
    world.say(BEN, s.Leave(1))
    world.join(BEN)
    assert member.lines.get(BEN) == 180


def test_a_repeated_join_may_say_what_the_camera_shows_now() -> None:
    world = World()
    world.join(ANA, BEN)
    world.say(ANA, s.Join(1, person=True))
    (slot,) = world.told(BEN, s.Slot)
    assert slot.participant.person
    assert not world.done(r.Open)


def test_who_joins_anew_takes_their_own_seat_again() -> None:
    world = World()
    world.join(ANA, BEN)
    world.say(ANA, s.Join(2))
    assert world.done(r.Open) == [r.Open(ANA, 2)]
    (to_ben,) = world.told(BEN, s.Slot)
    assert (to_ben.audio_mid, to_ben.video_mid) == ("a", "b")
    assert not world.told(BEN, s.Gone)
    assert all(signal.generation == 2 for signal in world.told(ANA, s.Slot))


@pytest.mark.parametrize(
    "signal", [s.Join(1), s.Leave(1), s.Mute(1, MediaKind.AUDIO, muted=True), s.RestartIce(1)]
)
def test_what_speaks_of_an_older_generation_is_dropped(signal: s.ClientSignal) -> None:
    world = World()
    world.join(ANA, BEN)
    world.join(ANA, generation=2)
    assert world.say(ANA, signal) == []


def test_a_new_path_is_offered_with_the_credentials_that_came_with_the_wish() -> None:
    world = World()
    world.join(ANA)
    assert world.say(ANA, s.RestartIce(1)) == [r.Reoffer(ANA, anew=True)]
    server = s.TurnServer(("turn:turn.example.org",), "user", "credential")
    world.say(ANA, s.RestartIce(1), turn=(server,))
    (welcome,) = world.told(ANA, s.Welcome)
    assert welcome.turn == (server,)
    assert isinstance(world.effects[-1], r.Reoffer)


def test_a_seventh_finds_the_room_full_and_a_member_comes_back_all_the_same() -> None:
    world = World()
    team = [DeviceId(bytes([number]) * 16) for number in range(SEATS)]
    world.join(*team)
    world.join(ANA)
    (denied,) = world.told(ANA, s.Denied)
    assert (denied.error, denied.generation) == (WireError.BUSY, 1)
    assert denied.retry_ms > 0
    world.join(team[0], generation=2)
    assert world.told(team[0], s.Welcome)


def test_every_seat_of_a_full_room_has_a_pair_of_its_own() -> None:
    world = World()
    team = [DeviceId(bytes([number]) * 16) for number in range(SEATS)]
    world.join(*team)
    for member in world.room.members.values():
        assert sorted(member.pairs.values()) == list(range(SEATS - 1))
        assert set(member.pairs) == set(team) - {member.device}


def test_a_pair_that_was_left_is_given_to_the_next() -> None:
    world = World()
    one, two = (DeviceId(bytes([number]) * 16) for number in (1, 2))
    world.join(ANA, one, two)
    world.say(one, s.Leave(1))
    assert r.Unlink(ANA, 0) in world.effects
    world.join(BEN)
    assert r.Link(ANA, BEN, 0) in world.effects
    assert r.Link(two, BEN, 1) in world.effects


def test_a_guest_waits_until_somebody_of_the_call_admits_them() -> None:
    world = World()
    world.join(ANA, BEN, EVE)
    (welcome,) = world.told(EVE, s.Welcome)
    assert welcome.waiting
    assert not world.done(r.Open)
    assert world.told(ANA, s.Waiting)
    assert world.told(BEN, s.Waiting)
    world.say(BEN, s.Admit(1, EVE))
    (welcome,) = world.told(EVE, s.Welcome)
    assert not welcome.waiting
    assert world.done(r.Open) == [r.Open(EVE, 1)]
    assert world.told(ANA, s.Slot)
    world.say(EVE, s.Leave(1))
    world.say(EVE, s.Join(2))
    assert world.done(r.Open) == [r.Open(EVE, 2)]


def test_who_comes_in_hears_who_waits() -> None:
    world = World()
    world.join(EVE, ANA)
    (waiting,) = world.told(ANA, s.Waiting)
    assert waiting.participant.device == EVE


def test_a_guest_admits_nobody_and_restricts_nothing() -> None:
    world = World()
    world.join(ANA, EVE, TIM)
    world.say(ANA, s.Admit(1, EVE))
    assert world.say(EVE, s.Admit(1, TIM)) == []
    assert world.say(EVE, s.Restrict(1, restricted=True)) == []
    assert not world.room.restricted


def test_who_waits_is_refused_by_the_team_alone_and_may_ask_again() -> None:
    world = World()
    world.join(ANA, BEN, EVE, TIM)
    assert world.say(EVE, s.Refuse(1, TIM)) == []
    world.say(BEN, s.Refuse(1, TIM))
    assert world.told(TIM, s.Gone) == [s.Gone(1, TIM, GoneWhy.REMOVED)]
    for device in (ANA, BEN):
        assert world.told(device, s.Gone) == [s.Gone(1, TIM, GoneWhy.REMOVED)]
    assert world.say(ANA, s.Admit(1, TIM)) == [], "too late: nobody is admitted who does not wait"
    world.join(TIM, generation=2)
    (welcome,) = world.told(TIM, s.Welcome)
    assert welcome.waiting


def test_who_is_in_the_call_is_not_refused() -> None:
    world = World()
    world.join(ANA, BEN, EVE)
    world.say(ANA, s.Admit(1, EVE))
    assert world.say(BEN, s.Refuse(1, EVE)) == []
    assert world.say(BEN, s.Refuse(1, ANA)) == []
    assert set(world.room.members) == {ANA, BEN, EVE}


def test_who_waits_may_only_leave() -> None:
    world = World()
    world.join(ANA, EVE)
    assert world.say(EVE, s.Answer(1, 1, "v=0")) == []
    assert world.say(EVE, s.Mute(1, MediaKind.AUDIO, muted=True)) == []
    world.say(EVE, s.Leave(1))
    assert world.told(ANA, s.Gone) == [s.Gone(1, EVE, GoneWhy.LEFT)]


def test_who_was_put_out_waits_the_next_time() -> None:
    world = World()
    world.join(ANA, EVE)
    world.say(ANA, s.Admit(1, EVE))
    world.effects = world.room.remove(EVE, GoneWhy.REMOVED, 1.0)
    assert world.told(EVE, s.Gone) == [s.Gone(1, EVE, GoneWhy.REMOVED)]
    assert world.told(ANA, s.Gone) == [s.Gone(1, EVE, GoneWhy.REMOVED)]
    assert world.done(r.Shut) == [r.Shut(EVE)]
    world.join(EVE, generation=2)
    (welcome,) = world.told(EVE, s.Welcome)
    assert welcome.waiting


def test_a_restriction_takes_media_from_all_but_those_who_are_never_restricted() -> None:
    world = World()
    world.join(ANA, BEN, EVE, TIM)
    world.say(ANA, s.Admit(1, EVE))
    world.say(ANA, s.Admit(1, TIM))
    world.say(ANA, s.Restrict(1, restricted=True))
    assert {effect.subscriber for effect in world.done(r.Unlink)} == {TIM}
    assert len(world.done(r.Unlink)) == 3
    for device in (ANA, BEN, EVE, TIM):
        assert world.told(device, s.Restricted) == [s.Restricted(1, restricted=True, by=ANA)]
    world.join(TIM, generation=2)
    assert TIM not in {effect.subscriber for effect in world.done(r.Link)}
    (welcome,) = world.told(TIM, s.Welcome)
    assert welcome.restricted
    world.say(BEN, s.Restrict(1, restricted=False))
    assert {(effect.subscriber, effect.publisher) for effect in world.done(r.Link)} == {
        (TIM, ANA),
        (TIM, BEN),
        (TIM, EVE),
    }


def test_what_was_decided_outlives_a_worker() -> None:
    world = World()
    world.room.restore(True, ANA, [TIM])
    world.join(ANA, TIM)
    (welcome,) = world.told(TIM, s.Welcome)
    assert (welcome.waiting, welcome.restricted) == (False, True)
    assert TIM not in {effect.subscriber for effect in world.done(r.Link)}


def test_what_was_decided_on_another_machine_comes_with_who_comes() -> None:
    world = World()
    world.join(ANA)
    world.say(TIM, s.Join(1), admitted=True)
    assert (TIM, ANA) in {(effect.subscriber, effect.publisher) for effect in world.done(r.Link)}
    # Ana's node knows nothing; Ben's heard what was decided.
    world.say(BEN, s.Join(1), restricted=True)
    assert {effect.subscriber for effect in world.done(r.Unlink)} == {TIM}
    assert world.told(TIM, s.Restricted)
    (welcome,) = world.told(BEN, s.Welcome)
    assert welcome.restricted
    assert world.done(r.Keep)
    # Who comes without having heard of it changes nothing.
    world.join(EVE)
    assert world.room.restricted
    (welcome,) = world.told(EVE, s.Welcome)
    assert welcome.waiting


def test_what_was_said_here_is_newer_than_what_comes_with_who_comes() -> None:
    world = World()
    world.join(ANA, BEN)
    world.say(ANA, s.Restrict(1, restricted=True))
    world.say(ANA, s.Restrict(1, restricted=False))
    world.say(BEN, s.Join(2), restricted=True)
    assert not world.room.restricted
    # The same after its worker died, and the room was kept.
    kept = World()
    kept.room.restore(False, ANA, [])
    kept.say(BEN, s.Join(2), restricted=True)
    assert not kept.room.restricted


def test_a_mute_is_told_and_carried_out_and_known_to_who_comes_later() -> None:
    world = World()
    world.join(ANA, BEN)
    world.say(ANA, s.Mute(1, MediaKind.VIDEO, muted=True))
    assert world.told(BEN, s.Muted) == [s.Muted(1, ANA, MediaKind.VIDEO, muted=True)]
    assert world.done(r.Hush) == [r.Hush(ANA, MediaKind.VIDEO, muted=True)]
    assert not world.told(ANA, s.Muted)
    other = DeviceId(b"o" * 16)
    world.join(other)
    (welcome,) = world.told(other, s.Welcome)
    assert [each.video_muted for each in welcome.participants if each.device == ANA] == [True]
    order = [type(effect) for effect in world.effects]
    assert order.index(r.Link) < order.index(r.Hush)


def test_only_the_teams_camera_shows_the_person_and_only_interpreters_sign() -> None:
    world = World()
    for device in (ANA, BEN):
        world.say(device, s.Join(1, person=True, signs=True))
    assert [(m.told.person, m.told.signs) for m in world.room.members.values()] == [
        (True, False),
        (False, False),
    ]


def test_an_ended_call_tells_everybody_and_is_forgotten() -> None:
    world = World()
    world.join(ANA, BEN, EVE)
    world.effects = world.room.end(GoneWhy.ENDED)
    for device in (ANA, BEN, EVE):
        assert world.told(device, s.Gone) == [s.Gone(1, device, GoneWhy.ENDED)]
    assert world.done(r.Forget)


def test_a_ticket_that_has_ended_opens_nothing() -> None:
    world = World()
    world.now_s = 10.0
    world.say(EVE, s.Join(1), until_ms=9_999)
    assert world.told(EVE, s.Denied) == [s.Denied(1, WireError.EXPIRED)]


def test_who_stays_beyond_their_ticket_is_put_out() -> None:
    world = World()
    world.join(ANA)
    world.say(EVE, s.Join(1), until_ms=10_000)
    world.effects = world.room.due(9.0, 9_000)
    assert not world.effects
    world.effects = world.room.due(10.0, 10_000)
    assert world.told(ANA, s.Gone) == [s.Gone(1, EVE, GoneWhy.REMOVED)]


def test_an_empty_room_is_forgotten_after_a_while() -> None:
    world = World()
    world.join(ANA)
    world.now_s = 10.0
    world.say(ANA, s.Leave(1))
    assert world.room.due(10.0 + r.EMPTY_S - 1, 0) == []
    assert world.room.due(10.0 + r.EMPTY_S, 0) == [r.Forget()]
    world.now_s = 69.0
    world.join(ANA, generation=2)
    assert world.room.due(1_000.0, 0) == []


def test_unsealed_media_are_told_to_all_and_not_again_at_once() -> None:
    world = World()
    world.join(ANA, BEN)
    world.effects = world.room.violated(ANA, MediaKind.VIDEO, 1.0)
    for device in (ANA, BEN):
        assert world.told(device, s.Violation) == [s.Violation(1, ANA, MediaKind.VIDEO)]
    assert world.room.violated(ANA, MediaKind.VIDEO, 2.0) == []
    assert world.room.violated(ANA, MediaKind.VIDEO, 3.5) != []


def test_what_comes_of_a_picture_is_told_to_who_sees_it() -> None:
    world = World()
    world.join(ANA, BEN)
    world.effects = world.room.paused(BEN, ANA, PausedWhy.BANDWIDTH)
    assert world.told(BEN, s.Paused) == [s.Paused(1, ANA, PausedWhy.BANDWIDTH, 0)]
    assert world.room.paused(BEN, TIM, PausedWhy.BANDWIDTH) == []


def test_as_many_may_wait_as_is_written_and_no_more() -> None:
    world = World()
    for number in range(r.WAITING):
        world.say(DeviceId(bytes([number]) * 16), s.Join(1), Part.SUPERVISOR)
    world.say(EVE, s.Join(1))
    assert world.told(EVE, s.Denied)
    assert len(world.room.waiting) == r.WAITING


def test_a_signal_by_another_node_is_answered_there() -> None:
    world = World()
    world.join(ANA, BEN)
    moved = Ticket(
        ticket(ANA).room, ANA, Part.RESPONDER, admits=True, team=True, node=b"other..8", until_ms=FAR_MS
    )
    world.room.hear(moved, s.Want(1, ()), 0.0, 0)
    world.effects = world.room.violated(BEN, MediaKind.AUDIO, 1.0)
    assert [e.node for e in world.done(r.Tell) if e.device == ANA] == [b"other..8"]
