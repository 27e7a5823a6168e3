"""The consult machine, rule by rule: each of chapter 08 has its test here."""

from __future__ import annotations

import msgspec
import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.words import ConsultState, TargetState
from leeside_server.core.consult_moves import Accept, Decline, End, Join, Tick
from leeside_server.core.consult_row import NEVER_MS, ConsultRow, due_ms
from leeside_server.core.ladder import StepRow
from tests.core.oncall_world import OnCall, device, names, rota, who

S = ConsultState
T = TargetState
ANN = StepRow(members=names("ann"))
BO = StepRow(members=names("bo"))


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
    assert msgspec.json.decode(msgspec.json.encode(oncall.row), type=ConsultRow) == oncall.row


def test_a_step_that_reaches_nobody_is_passed_at_once() -> None:
    oncall = OnCall(StepRow(rotas=(rota("day"),)), ANN, BO, holders={"day": None}, away=("ann",))
    assert (oncall.row.step, oncall.paged()) == (2, ["bo"])
    assert oncall.lines() == ["no_one_on_call", "unreachable@1:ann", "paged@2:bo"]


def test_all_declined_is_the_next_step_at_once() -> None:
    oncall = OnCall(StepRow(members=names("ann", "bo")), StepRow(members=names("cy")))
    oncall.do(Decline(who("ann")), 1)
    assert (oncall.row.step, oncall.paged()) == (0, [])
    oncall.do(Decline(who("bo")), 1)
    assert (oncall.row.step, oncall.paged()) == (1, ["cy"])


def test_the_end_of_the_ladder_alarms_until_a_person_takes_it() -> None:
    oncall = OnCall(ANN)
    oncall.wait(120)
    assert (oncall.row.state, oncall.alarms(), oncall.row.alarms) == (S.EXHAUSTED, [], 1)
    oncall.wait(60)
    assert oncall.row.alarms == 3


def test_the_second_to_accept_is_told_so_and_a_retry_is_the_same() -> None:
    oncall = OnCall(StepRow(members=names("ann", "bo")))
    won = oncall.do(Accept(who("ann"), device("ann")))
    assert oncall.do(Accept(who("ann"), device("ann")), 1) is won
    assert oncall.effects == ()
    with pytest.raises(ProtocolError) as refused:
        oncall.do(Accept(who("bo"), device("bo")))
    assert refused.value.code is WireError.ALREADY_ACCEPTED
