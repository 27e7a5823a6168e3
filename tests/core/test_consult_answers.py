"""Who comes to a consult and whether they stay, and who may do what (spec 08, "Accepting", "In session", "Who may")."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from msgspec.structs import replace

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, PageId
from leeside_protocol.words import ConsultActionKind, ConsultState, TargetState
from leeside_server.core.consult_moves import (
    Accept,
    Cancel,
    Decline,
    End,
    Escalate,
    Hold,
    Input,
    Join,
    Leave,
    Receipt,
    Release,
    Side,
    Take,
    Tick,
)
from leeside_server.core.consult_rights import WHEN, may, watchers
from leeside_server.core.consult_row import NEVER_MS, due_ms
from leeside_server.core.ladder import Person, StepRow
from tests.core.oncall_world import AWAY, ENDED, HERE, OnCall, device, names, rota, who

S = ConsultState
T = TargetState
K = ConsultActionKind
ANN = StepRow(members=names("ann"))
BO = StepRow(members=names("bo"))
ANN_BO = StepRow(members=names("ann", "bo"))
ACCEPT_ANN = Accept(who("ann"), device("ann"))
JOIN_ANN = Join(who("ann"), device("ann"))
SIDE = ChannelId(b"s" * 16)


def refused(oncall: OnCall, given: Input) -> WireError:
    """The code that an input is refused with; the consult is as it was."""
    before = oncall.row
    with pytest.raises(ProtocolError) as error:
        oncall.do(given)
    assert oncall.row is before
    return error.value.code


# ---- accepting


def test_one_acceptance_stops_every_page_and_everybody_is_told() -> None:
    oncall = OnCall(ANN_BO)
    pages = {oncall.page_of("ann"), oncall.page_of("bo")}
    oncall.do(ACCEPT_ANN, 4)
    assert set(oncall.over()) == pages
    assert oncall.paged() == []
    assert {"ann", "bo", "req", "mate", "disp", "sup"} <= oncall.told()
    assert (oncall.state("ann"), oncall.state("bo")) == (T.ACCEPTED, T.TIMED_OUT)
    assert (oncall.row.accepted_device, oncall.row.accepted_ms) == (device("ann"), oncall.now.wall_ms)
    oncall.do(Tick(), 80)
    assert oncall.effects == ()


def test_the_winner_s_retry_is_the_same_answer_and_others_are_told_so() -> None:
    oncall = OnCall(ANN_BO, StepRow(members=names("cy")))
    won = oncall.do(ACCEPT_ANN)
    assert oncall.do(Accept(who("ann"), device("ann 2")), 1) is won, "from another device too"
    assert oncall.effects == ()
    for given in (
        Accept(who("bo"), device("bo")),
        Accept(who("cy"), device("cy")),
        Decline(who("bo")),
        Hold(who("bo")),
    ):
        assert refused(oncall, given) is WireError.ALREADY_ACCEPTED
    oncall.do(JOIN_ANN)
    assert refused(oncall, Accept(who("bo"), device("bo"))) is WireError.ALREADY_ACCEPTED
    over = oncall.do(End(who("ann")))
    assert oncall.do(ACCEPT_ANN, 1) is over
    assert refused(oncall, Accept(who("bo"), device("bo"))) is WireError.ALREADY_ACCEPTED


def test_who_is_late_or_said_no_or_comes_later_in_the_ladder_may_still_accept() -> None:
    for name in ("ann", "bo", "cy", "night", "sup"):
        steps = (ANN, BO, StepRow(members=names("cy")), StepRow(rotas=(rota("night"),)))
        oncall = OnCall(*steps, holders={"night": "night"}, people={"night": HERE})
        oncall.wait(60)
        oncall.do(Decline(who("bo")), 1)
        assert oncall.row.step == 2
        oncall.do(Accept(who(name), device(name)), 1)
        assert oncall.row.accepted_by == who(name)
        assert oncall.state(name) is T.ACCEPTED


def test_a_psychiatrist_of_the_channel_may_accept_and_a_stranger_or_the_requester_may_not() -> None:
    oncall = OnCall(ANN)
    for name in ("stranger", "req", "mate", "disp"):
        assert refused(oncall, Accept(who(name), device(name))) is WireError.FORBIDDEN
    oncall.world = replace(oncall.world, roster=frozenset(names("psy")))
    assert oncall.do(Accept(who("psy"), device("psy"))).accepted_by == who("psy")
    own = OnCall(StepRow(members=names("req", "ann")), supervisors=("req",))
    assert refused(own, Accept(who("req"), device("req"))) is WireError.FORBIDDEN


def test_exhausted_is_left_by_whoever_comes_late() -> None:
    oncall = OnCall(ANN)
    oncall.wait(150)
    oncall.do(Take(who("sup")))
    oncall.do(ACCEPT_ANN, 100)
    assert (oncall.row.state, oncall.row.exhausted_ms > 0) == (S.ACCEPTED, True)
    oncall.do(Tick(), 60)
    assert oncall.alarms() == []
    # Nobody comes: that is a new alarm, whoever took the old one.
    oncall.wait(90)
    assert (oncall.row.state, oncall.row.taken_by, oncall.alarms(), oncall.paged()) == (
        S.EXHAUSTED,
        None,
        [3],
        ["sup"],
    )


# ---- joining


def test_who_accepted_and_does_not_join_is_paged_again_and_then_the_ladder_goes_on() -> None:
    oncall = OnCall(ANN, BO)
    first = oncall.page_of("ann")
    oncall.do(ACCEPT_ANN, 10)
    oncall.do(Tick(), 89.999)
    assert oncall.effects == ()
    oncall.do(Tick(), 0.001)
    again = oncall.page_of("ann")
    assert (oncall.row.state, oncall.paged(), oncall.row.nudged) == (S.ACCEPTED, ["ann"], True)
    assert again != first
    assert oncall.state("ann") is T.ACCEPTED
    oncall.do(Tick(), 59.999)
    assert oncall.effects == ()
    oncall.do(Tick(), 0.001)
    assert (oncall.row.state, oncall.row.step, oncall.paged(), oncall.over()) == (
        S.PAGING,
        1,
        ["bo"],
        [again],
    )
    assert (oncall.row.accepted_by, oncall.row.accepted_ms, oncall.state("ann")) == (None, 0, T.TIMED_OUT)
    assert oncall.lines(2) == ["not_joined:ann", "paged:ann", "not_joined:ann", "paged@1:bo"]
    assert oncall.do(ACCEPT_ANN, 1).accepted_by == who("ann"), "and they may still come"


def test_joining_ends_the_second_page() -> None:
    oncall = OnCall(ANN)
    oncall.do(ACCEPT_ANN)
    oncall.wait(90)
    page = oncall.page_of("ann")
    assert oncall.do(Receipt(page, T.SEEN), 1).state is S.ACCEPTED
    assert oncall.state("ann") is T.ACCEPTED
    oncall.do(JOIN_ANN, 1)
    assert (oncall.row.state, oncall.over(), oncall.state("ann")) == (S.IN_SESSION, [page], T.ACCEPTED)


@pytest.mark.parametrize(("person", "after_s"), [(ENDED, 1), (AWAY, 90)])
def test_no_time_is_lost_on_whoever_accepted_and_is_gone(person: Person, after_s: float) -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(ACCEPT_ANN)
    oncall.person("ann", person)
    oncall.do(Tick(), after_s)
    assert (oncall.row.state, oncall.paged()) == (S.PAGING, ["bo"])


def test_who_cannot_come_after_all_gives_it_back_and_the_others_have_their_time() -> None:
    oncall = OnCall(ANN_BO, StepRow(members=names("cy")))
    oncall.do(ACCEPT_ANN, 5)
    oncall.do(Decline(who("ann")), 20)
    assert (oncall.row.state, oncall.row.step, oncall.paged()) == (S.PAGING, 0, ["bo"])
    oncall.wait(59.999)
    assert oncall.row.step == 0
    alone = OnCall(ANN, BO)
    alone.do(ACCEPT_ANN, 5)
    alone.do(Decline(who("ann")), 20)
    assert (alone.row.step, alone.paged()) == (1, ["bo"])


def test_a_supervisor_who_gives_it_back_leaves_the_alarm() -> None:
    oncall = OnCall(supervisors=("sup", "sue"))
    oncall.do(Accept(who("sup"), device("sup")))
    oncall.do(Decline(who("sup")), 5)
    assert (oncall.row.state, oncall.alarms(), oncall.paged()) == (S.EXHAUSTED, [1], ["sue"])


# ---- in session


def test_a_psychiatrist_who_is_gone_for_60_s_is_searched_for_with_the_others_of_the_step() -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(Decline(who("ann")), 1)
    oncall.do(Accept(who("bo"), device("bo")), 1)
    oncall.do(Join(who("bo"), device("bo")), 1)
    oncall.do(Leave(who("bo")), 600)
    oncall.do(Tick(), 59.999)
    assert oncall.effects == ()
    oncall.do(Tick(), 0.001)
    assert (oncall.row.state, oncall.row.step, oncall.paged()) == (S.PAGING, 1, ["bo"])
    assert oncall.row.accepted_by is None
    assert oncall.lines()[-2:] == ["left@1:bo", "paged@1:bo"]
    assert "ann" in oncall.told()


def test_who_was_lost_is_paged_with_a_step_that_does_not_name_them() -> None:
    oncall = OnCall(ANN, BO)
    oncall.wait(60)
    oncall.do(ACCEPT_ANN, 1)
    oncall.do(JOIN_ANN, 1)
    oncall.do(Leave(who("ann")), 1)
    oncall.wait(60)
    assert (oncall.row.step, oncall.paged()) == (1, ["bo", "ann"])


def test_an_old_refusal_does_not_count_once_the_session_was_lost() -> None:
    oncall = OnCall(ANN_BO)
    oncall.do(Decline(who("ann")), 1)
    oncall.do(Accept(who("bo"), device("bo")), 1)
    oncall.do(Join(who("bo"), device("bo")), 1)
    oncall.do(Leave(who("bo")), 600)
    oncall.wait(60)
    assert oncall.paged() == ["ann", "bo"]


def test_who_is_back_in_time_goes_on() -> None:
    oncall = OnCall(ANN)
    oncall.do(ACCEPT_ANN)
    oncall.do(JOIN_ANN, 1)
    left = oncall.do(Leave(who("ann")), 1)
    assert oncall.do(Leave(who("ann")), 1) is left
    oncall.do(Join(who("ann"), device("ann 2")), 50)
    assert (oncall.row.accepted_device, due_ms(oncall.row)) == (device("ann 2"), NEVER_MS)
    assert oncall.lines()[-2:] == ["left:ann", "rejoined:ann"]
    in_session = oncall.row
    assert oncall.do(Join(who("ann"), device("ann 2")), 1) is in_session
    assert oncall.do(Tick(), 3_600) is in_session


def test_a_psychiatrist_whose_membership_ended_in_session_is_searched_for_at_once() -> None:
    oncall = OnCall(ANN_BO)
    oncall.do(ACCEPT_ANN)
    oncall.do(JOIN_ANN, 1)
    oncall.person("ann", ENDED)
    oncall.do(Tick(), 1)
    assert (oncall.row.state, oncall.paged(), oncall.state("ann")) == (S.PAGING, ["bo"], T.UNREACHABLE)


def test_the_first_times_are_kept_for_the_figures() -> None:
    oncall = OnCall(ANN)
    oncall.do(ACCEPT_ANN, 5)
    oncall.do(JOIN_ANN, 5)
    oncall.do(Leave(who("ann")), 100)
    oncall.wait(60)
    oncall.do(ACCEPT_ANN, 30)
    oncall.do(JOIN_ANN, 10)
    row, start = oncall.row, oncall.row.requested_ms
    assert [row.answered_ms - start, row.met_ms - start] == [5_000, 10_000]
    assert [row.accepted_ms - start, row.joined_ms - start] == [200_000, 210_000]


# ---- over


@pytest.mark.parametrize("given", [Cancel(who("req")), End(who("req"))])
def test_what_is_over_stays_over(given: Input) -> None:
    oncall = OnCall(ANN)
    oncall.do(ACCEPT_ANN)
    over = oncall.do(given, 1)
    assert oncall.ended()
    assert oncall.do(given, 1) is over
    assert oncall.do(Tick(), 3_600) is over
    assert oncall.do(Receipt(PageId(b"p" * 16), T.SEEN)) is over
    others: tuple[Input, ...] = (
        Accept(who("bo"), device("bo")), Escalate(who("req")), JOIN_ANN, Leave(who("ann")), Take(who("sup")),
        Release(who("sup")), Side(who("ann"), SIDE), Cancel(who("req")), End(who("req")),
    )  # fmt: skip
    for other in others:
        if type(other) is not type(given):
            assert refused(oncall, other) in {WireError.CONFLICT, WireError.ALREADY_ACCEPTED}


def test_cancelling_ends_every_page_and_a_session_is_ended_not_cancelled() -> None:
    oncall = OnCall(ANN_BO)
    pages = {oncall.page_of("ann"), oncall.page_of("bo")}
    oncall.do(Cancel(who("mate")), 1)
    assert (oncall.row.state, set(oncall.over())) == (S.CANCELLED, pages)
    oncall = OnCall(ANN)
    oncall.do(ACCEPT_ANN)
    oncall.do(JOIN_ANN)
    assert refused(oncall, Cancel(who("req"))) is WireError.CONFLICT


def test_nobody_ends_what_nobody_accepted_unless_it_is_exhausted() -> None:
    oncall = OnCall(ANN)
    assert refused(oncall, End(who("req"))) is WireError.CONFLICT
    oncall.wait(120)
    assert oncall.do(End(who("disp"))).state is S.ENDED


# ---- the clinicians' own channel


def test_the_side_channel_is_named_once() -> None:
    oncall = OnCall(ANN)
    assert refused(oncall, Side(who("mate"), SIDE)) is WireError.CONFLICT
    oncall.do(ACCEPT_ANN)
    assert refused(oncall, Side(who("bo"), SIDE)) is WireError.FORBIDDEN
    named = oncall.do(Side(who("ann"), SIDE))
    assert named.side == SIDE
    assert oncall.do(Side(who("mate"), SIDE), 1) is named
    assert refused(oncall, Side(who("ann"), ChannelId(b"t" * 16))) is WireError.CONFLICT


# ---- who may

ROLES = {
    "ann": {K.ACCEPT, K.DECLINE, K.HOLD},
    "bo": {K.ACCEPT},
    "req": {K.ESCALATE, K.CANCEL, K.END, K.SIDE},
    "mate": {K.ESCALATE, K.CANCEL, K.SIDE},
    "disp": {K.ESCALATE, K.CANCEL, K.END},
    "sup": {K.ACCEPT, K.ESCALATE, K.CANCEL, K.END, K.TAKE, K.RELEASE},
    "stranger": set[ConsultActionKind](),
}
GIVEN: dict[ConsultActionKind, Callable[[str], Input]] = {
    K.ACCEPT: lambda name: Accept(who(name), device(name)), K.DECLINE: lambda name: Decline(who(name)),
    K.HOLD: lambda name: Hold(who(name)), K.ESCALATE: lambda name: Escalate(who(name)),
    K.CANCEL: lambda name: Cancel(who(name)), K.JOIN: lambda name: Join(who(name), device(name)),
    K.LEAVE: lambda name: Leave(who(name)), K.END: lambda name: End(who(name)), K.TAKE: lambda name: Take(who(name)),
    K.RELEASE: lambda name: Release(who(name)), K.SIDE: lambda name: Side(who(name), SIDE),
}  # fmt: skip


def stands(state: ConsultState) -> OnCall:
    """A consult that came to a state, of a ladder that names ann first and bo second; ann accepts."""
    oncall = OnCall(ANN, BO, held=state is S.REQUESTED)
    match state:
        case S.REQUESTED | S.PAGING:
            pass
        case S.EXHAUSTED:
            oncall.wait(180)
        case _:
            oncall.do(ACCEPT_ANN)
            if state is not S.ACCEPTED:
                oncall.do(JOIN_ANN)
            if state is S.ENDED:
                oncall.do(End(who("req")))
    return oncall


@pytest.mark.parametrize(("state", "name"), list(product([s for s in S if s is not S.CANCELLED], ROLES)))
def test_what_a_screen_offers_is_what_is_taken(state: ConsultState, name: str) -> None:
    """`may` and the machine agree, for everybody in every state; nothing else changes the consult."""
    oncall = stands(state)
    assert oncall.row.state is state
    offered = set(may(oncall.row, who(name), oncall.world))
    for kind, given in GIVEN.items():
        there = stands(state)
        before = there.row
        try:
            moved = there.do(given(name), 1)
        except ProtocolError:
            assert kind not in offered, kind
        else:
            # A repeat of what was done already is answered, and changes nothing.
            assert kind in offered or moved is before, kind


@pytest.mark.parametrize("name", ROLES)
def test_the_rights_of_each_while_it_is_paged(name: str) -> None:
    oncall = OnCall(ANN, BO)
    assert set(may(oncall.row, who(name), oncall.world)) == {k for k in ROLES[name] if S.PAGING in WHEN[k]}


def test_the_accepter_s_rights() -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(ACCEPT_ANN)
    assert set(may(oncall.row, who("ann"), oncall.world)) == {K.DECLINE, K.JOIN, K.END, K.SIDE}
    both = OnCall(ANN_BO)
    both.do(ACCEPT_ANN)
    assert may(both.row, who("bo"), both.world) == (), "who was not first has nothing left to say"
    oncall.do(JOIN_ANN)
    assert set(may(oncall.row, who("ann"), oncall.world)) == {K.JOIN, K.LEAVE, K.END, K.SIDE}


def test_who_sees_a_consult() -> None:
    oncall = OnCall(ANN, BO)
    assert watchers(oncall.row, oncall.world) == frozenset(names("req", "mate", "ann", "disp", "sup"))
    oncall.do(Accept(who("bo"), device("bo")))
    assert watchers(oncall.row, oncall.world) == frozenset(names("req", "mate", "ann", "bo", "disp", "sup"))
