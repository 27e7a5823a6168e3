"""The consult's row: what is due, how long its lists grow, and that it is kept under the right parent."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from leeside_protocol.limits import (
    CONSULT_TARGETS,
    CONSULT_TRIED,
    JSON_BODY_BYTES,
    LADDER_PHONES,
    LADDER_STEPS,
    ROTA_MEMBERS,
)
from leeside_protocol.words import ConsultEvent, ConsultState, TargetState
from leeside_server.core.consult_moves import Accept, Cancel, Join, Take
from leeside_server.core.consult_row import (
    ACTIVE,
    ENDED,
    NEVER_MS,
    ConsultRow,
    TargetRow,
    TriedRow,
    due_ms,
    ringing,
    with_line,
    with_target,
)
from leeside_server.core.ladder import LadderRow, PhoneRow, StepRow, with_last
from leeside_server.core.rows import KINDS, create
from leeside_server.core.writes import OBJECT_BYTES
from tests.core.oncall_world import STEADY_MS, WALL_MS, OnCall, device, names, rota, who

ANN = StepRow(members=names("ann"))


def row() -> ConsultRow:
    return OnCall(ANN).row


def test_a_row_sets_its_own_due_time_and_parent() -> None:
    oncall = OnCall(ANN)
    active = create(b"k" * 16, oncall.row)
    assert (active.kind, active.parent, active.due_ms) == ("consult", ACTIVE, STEADY_MS + 60_000)
    over = create(b"k" * 16, oncall.do(Cancel(who("req"))), due_ms=5)
    assert (over.parent, over.due_ms) == (ENDED, None)


@pytest.mark.parametrize("state", ConsultState)
def test_only_what_is_over_is_never_due(state: ConsultState) -> None:
    due = due_ms(replace(row(), state=state))
    assert (due is None) is (state in {ConsultState.ENDED, ConsultState.CANCELLED})


def test_a_consult_that_waits_for_people_is_due_at_the_end_of_time() -> None:
    oncall = OnCall(ANN)
    oncall.do(Accept(who("ann"), device("ann")))
    assert due_ms(oncall.row) == STEADY_MS + 90_000
    assert due_ms(oncall.do(Join(who("ann"), device("ann")))) == NEVER_MS
    taken = OnCall(ANN)
    taken.wait(200)
    assert due_ms(taken.do(Take(who("sup")))) == NEVER_MS


def test_the_earliest_of_its_times_is_due() -> None:
    asked = row()
    assert due_ms(replace(asked, hold_steady_ms=STEADY_MS + 7)) == STEADY_MS + 7
    assert due_ms(replace(asked, deadline_steady_ms=NEVER_MS, told=1)) == STEADY_MS + 120_000
    assert due_ms(replace(asked, deadline_steady_ms=NEVER_MS, told=3)) == NEVER_MS


def test_lines_keep_the_beginning_and_the_newest() -> None:
    full = replace(row(), tried=())
    for at in range(CONSULT_TRIED + 30):
        full = with_line(full, TriedRow(at, ConsultEvent.PAGED, 0))
    kept = [line.at_ms for line in full.tried]
    half = CONSULT_TRIED // 2
    assert kept == [*range(half), *range(half + 30, CONSULT_TRIED + 30)]
    assert full.tried_lost == 30


def test_a_repeated_alarm_is_one_line_with_its_newest_time() -> None:
    alarmed = replace(row(), tried=())
    for at, event in enumerate([ConsultEvent.ALARMED, ConsultEvent.PAGED, ConsultEvent.ALARMED]):
        alarmed = with_line(alarmed, TriedRow(at, event, 0))
    assert [(line.event, line.at_ms) for line in alarmed.tried] == [("paged", 1), ("alarmed", 2)]


def test_targets_make_room_for_new_ones_and_never_those_that_ring() -> None:
    page = OnCall(ANN).page_of("ann")
    full = replace(row(), accepted_by=who("win"), targets=())
    full = with_target(full, TargetRow(who("rings"), 0, TargetState.SEEN, page, 0))
    full = with_target(full, TargetRow(who("win"), 0, TargetState.ACCEPTED, None, 0))
    for at in range(CONSULT_TARGETS + 10):
        full = with_target(full, TargetRow(who(f"m{at}"), 0, TargetState.TIMED_OUT, None, at + 1))
    assert len(full.targets) == CONSULT_TARGETS
    assert full.target(who("m11")) is None
    assert full.target(who("m12")) is not None
    assert full.target(who("win")) is not None
    assert ringing(full, who("rings")) == page


def test_a_member_is_a_target_once() -> None:
    once = with_target(row(), TargetRow(who("ann"), 3, TargetState.SEEN, None, 9))
    assert [target.step for target in once.targets] == [3]
    assert ringing(once, who("ann")) is None
    assert ringing(once, who("nobody")) is None


def test_rows_are_json_and_read_back_the_same() -> None:
    oncall = OnCall(StepRow((rota("a"),), names("ann"), 5, 2, True, "child", "CA"), phones=2, away=("ann",))
    again = msgspec.json.decode(msgspec.json.encode(oncall.row), type=ConsultRow)
    assert again == oncall.row
    assert len(again.dialled) == 2
    ladder = LadderRow("l", WALL_MS, (ANN,), (PhoneRow("line", "+15550000001"),))
    assert msgspec.json.decode(msgspec.json.encode(ladder), type=LadderRow) == ladder
    assert KINDS[LadderRow] == "ladder"


def test_the_largest_consult_there_can_be_is_stored() -> None:
    """One that cannot be saved is never moved again, and nobody would say so."""
    word, ids = "\U0001f6a8" * 40, [f"m{at}" for at in range(max(CONSULT_TARGETS, CONSULT_TRIED))]
    rotas = tuple(rota(f"r{at}") for at in range(8))
    step = StepRow(rotas, names(*ids[:ROTA_MEMBERS]), 3_600, 5, True, word, word)
    page = OnCall(ANN).page_of("ann")
    late = WALL_MS * 2
    full = replace(
        row(),
        steps=with_last((step,) * LADDER_STEPS),
        phones=(PhoneRow(word * 2, "+155500000000000"),) * LADDER_PHONES,
        targets=tuple(
            TargetRow(who(name), LADDER_STEPS, TargetState.UNREACHABLE, page, late)
            for name in ids[:CONSULT_TARGETS]
        ),
        tried=tuple(
            TriedRow(late, ConsultEvent.NO_ONE_ON_CALL, LADDER_STEPS, who(name))
            for name in ids[:CONSULT_TRIED]
        ),
        dialled=(page,) * LADDER_PHONES,
    )
    assert JSON_BODY_BYTES < len(create(b"k" * 16, full).body) < OBJECT_BYTES // 2
