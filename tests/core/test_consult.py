"""The consult climbs: pages, steps, repeats, outages, the end of the ladder (spec 08, "The ladder").

Answers and sessions are in `test_consult_answers`, any sequence of both in `test_consult_states`.
"""

from __future__ import annotations

import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.words import ConsultState, TargetState, Urgency
from leeside_server.core.consult_moves import (
    Accept,
    Cancel,
    Decline,
    End,
    Escalate,
    Hold,
    Join,
    Page,
    Receipt,
    Release,
    Take,
    Tick,
)
from leeside_server.core.consult_row import NEVER_MS, due_ms
from leeside_server.core.ladder import Person, StepRow
from tests.core.oncall_world import AWAY, ENDED, HERE, OnCall, device, names, rota, who

S = ConsultState
T = TargetState
ANN = StepRow(members=names("ann"))
BO = StepRow(members=names("bo"))
CY = StepRow(members=names("cy"))
ANN_BO = StepRow(members=names("ann", "bo"))


def test_from_a_request_to_its_end() -> None:
    oncall = OnCall(StepRow(rotas=(rota("day"),)), BO, holders={"day": "ann"})
    assert (oncall.row.state, oncall.row.step, oncall.paged()) == (S.PAGING, 0, ["ann"])
    first = oncall.page_of("ann")
    oncall.do(Tick(), 59.999)
    assert oncall.effects == ()
    oncall.do(Tick(), 0.001)
    assert (oncall.row.step, oncall.paged(), oncall.over()) == (1, ["bo"], [first])
    assert oncall.state("ann") is T.TIMED_OUT
    second = oncall.page_of("bo")
    assert second != first
    oncall.do(Accept(who("bo"), device("bo")), 5)
    assert (oncall.row.state, oncall.row.accepted_by, oncall.over()) == (S.ACCEPTED, who("bo"), [second])
    oncall.do(Join(who("bo"), device("bo")), 20)
    assert (oncall.row.state, due_ms(oncall.row)) == (S.IN_SESSION, NEVER_MS)
    oncall.do(End(who("req")), 600)
    assert (oncall.row.state, due_ms(oncall.row)) == (S.ENDED, None)
    assert oncall.ended()
    assert oncall.lines() == [
        "paged:ann",
        "timed_out:ann",
        "paged@1:bo",
        "accepted@1:bo",
        "joined@1:bo",
        "ended@1:req",
    ]
    start = oncall.row.requested_ms
    row = oncall.row
    times = (row.paged_ms, row.answered_ms, row.met_ms, row.ended_ms)
    assert [at - start for at in times] == [0, 65_000, 85_000, 685_000]
    assert (row.deepest, row.exhausted_ms) == (1, 0)


def test_the_people_s_times_follow_the_wall_and_no_deadline_does() -> None:
    oncall = OnCall(StepRow(members=names("ann"), delay_s=10), BO)
    assert (oncall.row.step_ms, oncall.row.next_ms) == (oncall.now.wall_ms, oncall.now.wall_ms + 10_000)
    oncall.now = oncall.now.__class__(oncall.now.steady_ms, oncall.now.wall_ms + 7_200_000)
    oncall.do(Tick(), 9)
    assert oncall.row.step == 0, "a clock that was set forward is nobody's time"
    oncall.now = oncall.now.__class__(oncall.now.steady_ms, oncall.now.wall_ms - 14_400_000)
    oncall.do(Tick(), 1)
    assert oncall.row.step == 1, "nor one that was set back"


# ---- who is reached


def test_a_step_that_reaches_nobody_is_passed_at_once() -> None:
    oncall = OnCall(StepRow(rotas=(rota("day"),)), ANN, BO, holders={"day": None}, away=("ann",))
    assert (oncall.row.step, oncall.paged()) == (2, ["bo"])
    assert oncall.lines() == ["no_one_on_call", "unreachable@1:ann", "paged@2:bo"]
    assert oncall.row.step_ms == oncall.row.requested_ms
    assert oncall.state("ann") is T.UNREACHABLE


def test_who_can_be_reached_is_paged_though_another_of_the_step_cannot() -> None:
    oncall = OnCall(ANN_BO, away=("ann",))
    assert (oncall.row.step, oncall.paged()) == (0, ["bo"])
    assert oncall.lines() == ["unreachable:ann", "paged:bo"]


def test_nobody_is_paged_for_their_own_consult() -> None:
    oncall = OnCall(StepRow(members=names("req")), StepRow(members=names("req", "ann")))
    assert (oncall.row.step, oncall.paged()) == (1, ["ann"])
    assert oncall.lines() == ["no_one_on_call", "paged@1:ann"]


def test_a_page_says_whether_there_is_a_telephone_and_which_step_it_is_of() -> None:
    oncall = OnCall(ANN_BO, people={"bo": Person(phone=True)})
    pages = [
        (effect.member, effect.phone, effect.step) for effect in oncall.effects if isinstance(effect, Page)
    ]
    assert pages == [(who("ann"), False, 0), (who("bo"), True, 0)]


def test_language_counts_only_where_a_consult_names_one() -> None:
    step = StepRow(members=names("ann", "bo"), language=True)
    people = {"bo": Person(("es",), live=True)}
    assert OnCall(step, people=people, language="es").paged() == ["bo"]
    assert OnCall(step, people=people, language="").paged() == ["ann", "bo"]
    nobody = OnCall(step, people=people, language="so")
    assert (nobody.lines(), nobody.paged()) == (["no_one_on_call", "paged@1:sup"], ["sup"])


def test_a_ladder_of_no_steps_pages_the_supervisors() -> None:
    for oncall in (OnCall(), OnCall(implied=True), OnCall(StepRow())):
        assert oncall.paged() == ["sup"]
        assert oncall.row.state is S.PAGING
    assert OnCall(implied=True).row.ladder is None


def test_the_last_step_calls_the_phone_tree_with_the_supervisors() -> None:
    oncall = OnCall(ANN, phones=2)
    assert oncall.dialled() == []
    oncall.wait(60)
    assert (oncall.paged(), oncall.dialled()) == (["sup"], ["+15550000000", "+15550000001"])
    calls = oncall.row.dialled
    oncall.do(Accept(who("sup"), device("sup")))
    assert set(calls) <= set(oncall.over())
    assert oncall.row.dialled == ()


# ---- repeats


def test_a_repeat_pages_with_the_same_id_and_waits_its_time_again() -> None:
    oncall = OnCall(StepRow(members=names("ann", "bo"), delay_s=20, repeats=2), CY)
    pages = (oncall.page_of("ann"), oncall.page_of("bo"))
    for turn in (1, 2):
        oncall.do(Tick(), 19.999)
        assert oncall.effects == ()
        oncall.do(Tick(), 0.001)
        assert (oncall.row.step, oncall.row.turn, oncall.paged(), oncall.over()) == (
            0,
            turn,
            ["ann", "bo"],
            [],
        )
        assert (oncall.page_of("ann"), oncall.page_of("bo")) == pages
    oncall.do(Tick(), 20)
    assert (oncall.row.step, oncall.row.turn, oncall.paged()) == (1, 0, ["cy"])
    assert set(oncall.over()) == set(pages)


def test_a_repeat_does_not_page_who_declined() -> None:
    oncall = OnCall(StepRow(members=names("ann", "bo"), repeats=1), CY)
    oncall.do(Decline(who("ann")), 10)
    oncall.wait(50)
    assert (oncall.row.turn, oncall.paged()) == (1, ["bo"])
    oncall.do(Decline(who("bo")), 1)
    assert (oncall.row.step, oncall.paged()) == (1, ["cy"])


def test_a_repeat_pages_who_holds_the_rota_then() -> None:
    oncall = OnCall(StepRow(rotas=(rota("day"),), repeats=1), holders={"day": "ann"})
    first = oncall.page_of("ann")
    oncall.holder("day", "bo")
    oncall.wait(59)
    assert oncall.paged() == [], "the holder of a step is who held it when it began"
    oncall.wait(1)
    assert (oncall.row.turn, oncall.paged(), oncall.over()) == (1, ["bo"], [first])
    assert oncall.state("ann") is T.TIMED_OUT


def test_a_repeat_that_reaches_nobody_is_the_next_step() -> None:
    oncall = OnCall(StepRow(rotas=(rota("day"),), repeats=3), CY, holders={"day": "ann"})
    oncall.holder("day", None)
    oncall.wait(60)
    assert (oncall.row.step, oncall.paged()) == (1, ["cy"])


def test_a_later_step_pages_anew_who_let_the_first_pass() -> None:
    oncall = OnCall(ANN, ANN_BO)
    first = oncall.page_of("ann")
    oncall.wait(60)
    assert oncall.paged() == ["ann", "bo"]
    assert oncall.page_of("ann") != first
    assert oncall.over() == [first]


# ---- people come and go


@pytest.mark.parametrize("person", [AWAY, ENDED])
def test_who_vanishes_in_mid_page_is_unreachable_at_the_next_tick(person: Person) -> None:
    oncall = OnCall(ANN_BO, CY)
    page = oncall.page_of("ann")
    oncall.person("ann", person)
    oncall.do(Tick(), 2)
    assert (oncall.state("ann"), oncall.row.step) == (T.UNREACHABLE, 0)
    # Whoever lost their only way may find it again; whoever left for good is not tried any more.
    assert oncall.over() == ([page] if person.ended else [])
    oncall.person("bo", person)
    oncall.do(Tick(), 2)
    assert (oncall.row.step, oncall.paged()) == (1, ["cy"])
    assert page not in {target.page for target in oncall.row.targets}


def test_a_member_that_the_agency_does_not_have_any_more_is_unreachable() -> None:
    oncall = OnCall(StepRow(members=names("ghost")), CY)
    assert (oncall.lines(), oncall.row.step) == (["unreachable:ghost", "paged@1:cy"], 1)


def test_who_is_back_in_time_is_paged_with_the_same_id_for_the_rest_of_the_step() -> None:
    oncall = OnCall(ANN_BO, CY)
    page = oncall.page_of("ann")
    oncall.person("ann", AWAY)
    oncall.do(Tick(), 2)
    oncall.person("ann", HERE)
    oncall.do(Tick(), 2)
    assert (oncall.paged(), oncall.page_of("ann")) == (["ann"], page)
    oncall.do(Tick(), 56)
    assert oncall.row.step == 1, "nobody's wait is drawn out"


def test_who_comes_in_the_middle_of_a_step_that_could_not_reach_them_is_paged() -> None:
    oncall = OnCall(ANN_BO, away=("ann",))
    oncall.person("ann", HERE)
    oncall.do(Tick(), 30)
    assert oncall.paged() == ["ann"]


# ---- receipts


def test_receipts_move_a_target_forward_and_never_back() -> None:
    oncall = OnCall(ANN)
    page = oncall.page_of("ann")
    for state in (T.SENT, T.DELIVERED, T.SEEN):
        oncall.do(Receipt(page, state), 1)
        assert oncall.state("ann") is state
        assert "req" in oncall.told()
    for state in (T.SENT, T.DELIVERED, T.SEEN, T.QUEUED, T.ACCEPTED, T.DECLINED):
        before = oncall.row
        assert oncall.do(Receipt(page, state), 1) is before
    oncall.do(Accept(who("ann"), device("ann")))
    before = oncall.row
    assert oncall.do(Receipt(page, T.SEEN)) is before, "a page that is over says nothing"


def test_seen_is_not_accepted() -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(Receipt(oncall.page_of("ann"), T.SEEN), 1)
    oncall.wait(59)
    assert (oncall.row.step, oncall.paged(), oncall.state("ann")) == (1, ["bo"], T.TIMED_OUT)


# ---- late


def test_a_late_tick_burns_one_step_and_the_next_has_its_full_time() -> None:
    oncall = OnCall(ANN, BO, CY)
    oncall.do(Receipt(oncall.page_of("ann"), T.SENT), 1)
    oncall.do(Tick(), 3_600)
    assert (oncall.row.step, oncall.paged()) == (1, ["bo"])
    oncall.do(Tick(), 59.999)
    assert oncall.row.step == 1
    oncall.do(Tick(), 0.001)
    assert oncall.row.step == 2


def test_a_step_whose_pages_never_went_out_because_nothing_ran_begins_anew_once() -> None:
    oncall = OnCall(ANN_BO, CY)
    pages = (oncall.page_of("ann"), oncall.page_of("bo"))
    oncall.do(Tick(), 3_600)
    assert (oncall.row.step, oncall.row.renewed, oncall.paged()) == (0, True, ["ann", "bo"])
    assert (oncall.page_of("ann"), oncall.page_of("bo")) == pages
    oncall.do(Tick(), 59.999)
    assert oncall.effects == ()
    oncall.do(Tick(), 3_600)
    assert (oncall.row.step, oncall.row.renewed) == (1, False), (
        "once: a server that is always late climbs too"
    )


@pytest.mark.parametrize(("late_s", "step"), [(0, 1), (5, 1), (5.001, 0)])
def test_a_tick_that_is_a_little_late_is_none_of_an_outage(late_s: float, step: int) -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(Tick(), 60 + late_s)
    assert oncall.row.step == step


def test_an_outage_in_the_last_step_calls_the_phone_tree_with_the_same_pages() -> None:
    oncall = OnCall(phones=1)
    calls = oncall.row.dialled
    oncall.do(Tick(), 900)
    assert (oncall.row.state, oncall.row.renewed, oncall.row.dialled) == (S.PAGING, True, calls)
    oncall.wait(60)
    assert (oncall.row.state, oncall.row.dialled) == (S.EXHAUSTED, calls)


def test_a_step_that_an_outage_left_without_anybody_is_passed() -> None:
    oncall = OnCall(ANN, BO)
    oncall.person("ann", AWAY)
    oncall.do(Tick(), 900)
    assert (oncall.row.step, oncall.row.renewed, oncall.paged()) == (1, False, ["bo"])


# ---- by hand


def test_a_responder_can_escalate_by_hand() -> None:
    oncall = OnCall(ANN, BO, CY)
    page = oncall.page_of("ann")
    oncall.do(Escalate(who("req")), 3)
    assert (oncall.row.step, oncall.paged(), oncall.over()) == (1, ["bo"], [page])
    assert oncall.lines() == ["paged:ann", "escalated:req", "paged@1:bo"]
    once = oncall.row
    assert oncall.do(Escalate(who("req")), 4.999) is once, "a second tap is the same wish"
    oncall.do(Escalate(who("mate")), 0.001)
    assert (oncall.row.step, oncall.paged()) == (2, ["cy"])


def test_escalating_the_last_step_is_the_alarm() -> None:
    oncall = OnCall()
    oncall.do(Escalate(who("disp")), 1)
    assert (oncall.row.state, oncall.alarms()) == (S.EXHAUSTED, [1])


# ---- the requester is told


def test_the_requester_is_told_at_60_120_and_180_seconds() -> None:
    oncall = OnCall(StepRow(members=names("ann"), delay_s=3_600))
    times: list[float] = []
    for second in range(1, 300):
        oncall.do(Tick(), 1)
        if oncall.effects:
            assert {"req", "mate"} <= oncall.told()
            times.append(second)
    assert times == [60, 120, 180]


def test_a_late_tick_tells_once_for_all_that_passed() -> None:
    oncall = OnCall(StepRow(members=names("ann"), delay_s=3_600))
    oncall.do(Tick(), 150)
    assert (oncall.row.told, len(oncall.effects)) == (2, 1)
    assert due_ms(oncall.row) == oncall.row.asked_steady_ms + 180_000


# ---- the end of the ladder


def test_the_end_of_the_ladder_alarms_every_30_s_until_a_person_takes_it() -> None:
    oncall = OnCall(ANN)
    oncall.wait(119.999)
    assert oncall.row.state is S.PAGING
    oncall.do(Tick(), 0.001)
    assert (oncall.row.state, oncall.alarms(), oncall.row.next_ms) == (S.EXHAUSTED, [1], 0)
    for number in (2, 3, 4):
        oncall.do(Tick(), 29.999)
        assert oncall.alarms() == []
        oncall.do(Tick(), 0.001)
        assert oncall.alarms() == [number]
    page = oncall.page_of("sup")
    oncall.do(Take(who("sup")), 3)
    assert (oncall.row.state, oncall.row.taken_by, oncall.over()) == (S.EXHAUSTED, who("sup"), [page])
    oncall.wait(3_600)
    assert oncall.row.alarms == 4
    assert oncall.lines()[-3:] == ["exhausted@1", "alarmed@1", "taken@1:sup"]


def test_taking_twice_is_taking_once_and_the_newest_has_it() -> None:
    oncall = OnCall(supervisors=("sup", "sue"))
    oncall.wait(60)
    taken = oncall.do(Take(who("sup")))
    assert oncall.do(Take(who("sup")), 1) is taken
    assert oncall.do(Take(who("sue"))).taken_by == who("sue")


@pytest.mark.parametrize("held", [False, True])
def test_the_alarm_that_a_supervisor_took_along_sounds_again(held: bool) -> None:
    oncall = OnCall(supervisors=("sup", "sue"), held=held)
    oncall.wait(200)
    oncall.do(Take(who("sue")))
    oncall.wait(3_600)
    assert oncall.alarms() == []
    oncall.person("sue", ENDED)
    oncall.do(Tick(), 1)
    assert oncall.row.taken_by is None
    assert len(oncall.alarms()) == 1
    alarms = oncall.row.alarms
    oncall.wait(30)
    assert oncall.row.alarms == alarms + 1


def test_supervisors_ring_on_while_it_is_exhausted() -> None:
    oncall = OnCall(supervisors=("sup", "sue"), away=("sue",))
    page = oncall.page_of("sup")
    oncall.wait(60)
    assert (oncall.row.state, oncall.over(), oncall.page_of("sup")) == (S.EXHAUSTED, [], page)
    oncall.person("sue", HERE)
    oncall.wait(30)
    assert (oncall.paged(), oncall.alarms()) == (["sue"], [2]), "whoever of them comes is paged"
    oncall.do(Decline(who("sup")), 1)
    oncall.wait(29)
    assert (oncall.paged(), oncall.alarms()) == ([], [3]), "and who said no is not paged again"


@pytest.mark.parametrize("phones", [0, 2])
def test_a_last_step_without_a_reachable_supervisor_is_the_alarm_at_once(phones: int) -> None:
    oncall = OnCall(phones=phones, away=("sup",))
    assert (oncall.row.state, oncall.alarms(), len(oncall.dialled())) == (S.EXHAUSTED, [1], phones)
    oncall = OnCall(supervisors=())
    assert (oncall.row.state, oncall.alarms(), oncall.lines()) == (
        S.EXHAUSTED, [1], ["no_one_on_call", "exhausted", "alarmed"],
    )  # fmt: skip


def test_the_last_supervisor_who_vanishes_is_the_alarm_at_the_next_tick() -> None:
    oncall = OnCall()
    oncall.person("sup", ENDED)
    oncall.do(Tick(), 2)
    assert (oncall.row.state, oncall.alarms()) == (S.EXHAUSTED, [1])


def test_an_alarm_after_an_outage_sounds_once_and_goes_on_in_its_time() -> None:
    oncall = OnCall(away=("sup",))
    oncall.do(Tick(), 3_600)
    assert oncall.alarms() == [2]
    oncall.do(Tick(), 30)
    assert oncall.alarms() == [3]


# ---- held


def test_a_held_request_pages_nobody_and_alarms_until_it_is_released() -> None:
    oncall = OnCall(ANN, held=True)
    assert (oncall.row.state, oncall.row.step, oncall.paged(), oncall.alarms()) == (S.REQUESTED, -1, [], [1])
    oncall.wait(60)
    assert (oncall.row.state, oncall.row.alarms) == (S.REQUESTED, 3)
    oncall.do(Release(who("sup")), 1)
    assert (oncall.row.state, oncall.paged(), oncall.row.alarms) == (S.PAGING, ["ann"], 0)
    released = oncall.row
    assert oncall.do(Release(who("sup")), 1) is released
    assert (
        due_ms(oncall.row) == oncall.now.steady_ms - 1_000 + 59_000 - 2_000 + 2_000 + 0
        or oncall.row.told == 1
    )


def test_a_held_request_that_a_supervisor_took_is_quiet_and_can_still_be_released_or_cancelled() -> None:
    oncall = OnCall(ANN, held=True)
    oncall.do(Take(who("sup")), 1)
    oncall.wait(3_600)
    assert oncall.row.alarms == 1
    oncall.do(Release(who("sup")))
    assert oncall.paged() == ["ann"]
    gone = OnCall(ANN, held=True)
    gone.do(Cancel(who("req")))
    assert (gone.row.state, gone.ended()) == (S.CANCELLED, True)


def test_who_comes_while_it_is_held_comes() -> None:
    oncall = OnCall(ANN, held=True)
    oncall.do(Accept(who("ann"), device("ann")))
    assert oncall.row.state is S.ACCEPTED
    oncall.wait(150)
    assert (oncall.row.state, oncall.row.step, oncall.paged()) == (S.PAGING, 0, ["ann"]), (
        "and the ladder begins"
    )


# ---- five minutes


def test_five_minutes_pages_the_backup_at_once_and_the_holder_again_when_they_are_over() -> None:
    oncall = OnCall(ANN, StepRow(members=names("bo"), delay_s=600))
    page = oncall.page_of("ann")
    oncall.do(Hold(who("ann")), 10)
    assert (oncall.row.step, oncall.paged(), oncall.over()) == (1, ["bo"], [page])
    assert oncall.row.held_until_ms == oncall.now.wall_ms + 300_000
    oncall.wait(299.999)
    assert oncall.paged() == []
    oncall.do(Tick(), 0.001)
    assert (oncall.paged(), oncall.row.held_until_ms, oncall.row.step) == (["ann"], 0, 1)
    assert oncall.page_of("ann") != page


def test_another_of_the_step_is_the_backup_and_keeps_their_time() -> None:
    oncall = OnCall(ANN_BO, CY)
    oncall.do(Hold(who("ann")), 10)
    assert (oncall.row.step, oncall.paged()) == (0, [])
    oncall.wait(50)
    assert (oncall.row.step, oncall.paged(), oncall.state("ann")) == (1, ["cy"], T.SEEN)


def test_the_holder_can_still_accept() -> None:
    oncall = OnCall(ANN, BO)
    oncall.do(Hold(who("ann")), 10)
    oncall.do(Accept(who("ann"), device("ann")), 100)
    assert (oncall.row.state, oncall.row.accepted_by, oncall.row.held_until_ms) == (S.ACCEPTED, who("ann"), 0)
    oncall.do(Join(who("ann"), device("ann")), 1)
    oncall.wait(600)
    assert oncall.row.state is S.IN_SESSION
    assert oncall.paged() == []


def test_a_hold_outlasts_the_ladder_and_the_alarm_does_not_wait_for_it() -> None:
    oncall = OnCall(ANN)
    oncall.do(Hold(who("ann")), 10)
    oncall.wait(60)
    assert (oncall.row.state, oncall.row.alarms) == (S.EXHAUSTED, 1)
    oncall.wait(240)
    assert oncall.paged() == ["ann"]


def test_a_holder_is_not_paged_by_a_later_step_before_their_time() -> None:
    oncall = OnCall(ANN, ANN_BO)
    oncall.do(Hold(who("ann")), 10)
    assert (oncall.row.step, oncall.paged()) == (1, ["bo"])


def test_a_holder_who_left_meanwhile_is_not_paged() -> None:
    oncall = OnCall(ANN, StepRow(members=names("bo"), delay_s=600))
    oncall.do(Hold(who("ann")), 10)
    oncall.person("ann", ENDED)
    oncall.wait(300)
    assert (oncall.paged(), oncall.state("ann")) == ([], T.UNREACHABLE)


@pytest.mark.parametrize(("urgency", "first"), [(Urgency.URGENT, None), (Urgency.ROUTINE, "bo")])
def test_a_hold_is_once_a_consult_and_never_when_it_is_urgent(urgency: Urgency, first: str | None) -> None:
    oncall = OnCall(StepRow(members=names("ann", "bo", "cy")), urgency=urgency)
    if first is not None:
        held = oncall.do(Hold(who(first)))
        assert oncall.do(Hold(who(first)), 1) is held
    with pytest.raises(ProtocolError) as refused:
        oncall.do(Hold(who("ann")))
    assert refused.value.code is WireError.FORBIDDEN
