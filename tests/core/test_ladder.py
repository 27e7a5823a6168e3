"""Ladders: whom a step means at one instant, and at the very instant of a hand-over."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from leeside_protocol.ids import MemberId
from leeside_server.core.consult_moves import Tick
from leeside_server.core.ladder import (
    LAST_STEP,
    NOBODY,
    STEP_MEMBERS,
    Person,
    StepRow,
    World,
    called,
    with_last,
)
from leeside_server.core.rota import OverrideRow, RotaRow, holder
from tests.core.oncall_world import WALL_MS, OnCall, names, rota, who

SPANISH = Person(("en", "es"), ("child",), ("CA", "NV"), live=True)
ENGLISH = Person(("en",), (), ("CA",), live=True)


def world(**people: Person) -> World:
    return World({}, {who(name): person for name, person in people.items()}, names("sup"))


@pytest.mark.parametrize(
    ("person", "reachable"),
    [
        (Person(live=True), True),
        (Person(pushed=True), True),
        (Person(phone=True), True),
        (Person(), False),
        (Person(live=True, pushed=True, phone=True, ended=True), False),
        (NOBODY, False),
    ],
)
def test_a_socket_a_probed_push_or_a_telephone_reaches_somebody(person: Person, reachable: bool) -> None:
    assert person.reachable is reachable


@pytest.mark.parametrize(
    ("step", "language", "expected"),
    [
        (StepRow(members=names("es", "en")), "es", names("es", "en")),
        (StepRow(members=names("es", "en"), language=True), "es", names("es")),
        (StepRow(members=names("es", "en"), language=True), "", names("es", "en")),
        (StepRow(members=names("es", "en"), language=True), "so", ()),
        (StepRow(members=names("es", "en"), specialty="child"), "", names("es")),
        (StepRow(members=names("es", "en"), licence="CA"), "", names("es", "en")),
        (
            StepRow(members=names("es", "en"), licence="NV", specialty="child", language=True),
            "en",
            names("es"),
        ),
        (StepRow(members=names("en", "en", "es")), "", names("en", "es")),
        (StepRow(members=names("ghost"), language=True), "en", ()),
        (StepRow(members=names("ghost")), "en", names("ghost")),
        (StepRow(), "", ()),
    ],
)
def test_a_step_means_those_who_fit(step: StepRow, language: str, expected: tuple[MemberId, ...]) -> None:
    assert called(step, language, world(es=SPANISH, en=ENGLISH), last=False) == expected


def test_holders_come_first_and_a_gap_names_nobody() -> None:
    now = World({rota("a"): who("ann"), rota("b"): None, rota("c"): who("cy")}, {}, ())
    step = StepRow((rota("b"), rota("c"), rota("a"), rota("unknown")), names("bo", "ann"))
    assert called(step, "", now, last=False) == names("cy", "ann", "bo")


def test_the_last_step_is_all_supervisors_whatever_they_speak() -> None:
    steps = with_last((StepRow(members=names("ann")),))
    assert steps == (StepRow(members=names("ann")), LAST_STEP)
    now = World({}, {}, names("sup", "sue"))
    assert called(steps[-1], "so", now, last=True) == names("sup", "sue")


def test_a_step_pages_so_many_and_no_more() -> None:
    crowd = names(*(f"m{n}" for n in range(STEP_MEMBERS + 5)))
    assert called(StepRow(members=crowd), "", World({}, {}, ()), last=False) == crowd[:STEP_MEMBERS]
    assert called(LAST_STEP, "", World({}, {}, crowd), last=True) == crowd[:STEP_MEMBERS]


@pytest.mark.parametrize(("off_ms", "expected"), [(-1, "bo"), (0, "bo"), (1, "ann")])
def test_a_hand_over_at_the_very_instant_of_a_step_pages_who_comes_on(off_ms: int, expected: str) -> None:
    """The shift ends exactly when the step begins: half-open, so it is the next holder's."""
    begins_ms = WALL_MS + 60_000
    handover_ms = begins_ms + off_ms
    table = RotaRow(
        "day",
        WALL_MS,
        overrides=(
            OverrideRow(b"1" * 16, WALL_MS, handover_ms, who("ann")),
            OverrideRow(b"2" * 16, handover_ms, handover_ms + 9, who("bo")),
        ),
    )
    oncall = OnCall(StepRow(members=names("cy")), StepRow(rotas=(rota("day"),)), holders={"day": None})
    oncall.do(Tick(), 59.999)
    assert oncall.paged() == []
    oncall.world = replace(
        oncall.world, holders={rota("day"): holder({rota("day"): table}, rota("day"), begins_ms)}
    )
    oncall.do(Tick(), 0.001)
    assert oncall.paged() == [expected]
