"""Who gets which picture for how much bandwidth."""

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.signalling import Part
from leeside_server.video.allocator import (
    AMPLE,
    AUDIO_BPS,
    FRESH_RIPE_S,
    MARGIN,
    PRINCIPALS,
    RIPE_S,
    Allocation,
    Allocator,
    Demand,
    Layer,
    bought,
    price,
    steps,
    useful,
)

LAYERS = (Layer(180, 100_000), Layer(360, 300_000), Layer(720, 1_000_000))
PERSON = Demand("b", Part.RESPONDER, LAYERS, person=True)
RESPONDER = Demand("a", Part.RESPONDER, LAYERS)
PSYCHIATRIST = Demand("c", Part.PSYCHIATRIST, LAYERS)
INTERPRETER = Demand("d", Part.INTERPRETER, LAYERS)
SIGNING = Demand("d", Part.INTERPRETER, LAYERS, signs=True)
SUPERVISOR = Demand("e", Part.SUPERVISOR, LAYERS)
FACILITY = Demand("f", Part.RECEIVING_FACILITY, LAYERS)


def settled(budget_bps: float, demands: Sequence[Demand], audio_streams: int = 0) -> Allocation:
    """What stands after a while at one budget."""
    allocator = Allocator()
    for tenth in range(100):
        allocator.allocate(budget_bps, audio_streams, demands, tenth / 10)
    return allocator.allocate(budget_bps, audio_streams, demands, 10.0)


def spent(demands: Sequence[Demand], lines: dict[str, int]) -> float:
    """What the pictures of an allocation are reckoned with."""
    return sum(price(layer) for d in demands for layer in d.layers if layer.lines == lines[d.mid])


def test_sound_is_paid_before_any_picture() -> None:
    assert settled(45_000 * 3 + 99_000, [PERSON], audio_streams=3).audio_only
    assert settled(45_000 * 3 + 100_000, [PERSON], audio_streams=3).lines == {"b": 180}


def test_pictures_go_in_the_order_of_importance() -> None:
    everybody = [FACILITY, SUPERVISOR, INTERPRETER, PSYCHIATRIST, RESPONDER, PERSON]
    kept = [
        {mid for mid, lines in settled(count * 100_000, everybody).lines.items() if lines}
        for count in range(7)
    ]
    assert kept == [
        set(),
        {"b"},
        {"a", "b"},
        {"a", "b", "c"},
        {"a", "b", "c", "d"},
        set("abcde"),
        set("abcdef"),
    ]


def test_a_signing_interpreter_is_never_dropped_first() -> None:
    assert settled(100_000, [PERSON, PSYCHIATRIST, SIGNING]).lines == {"b": 0, "c": 0, "d": 180}
    assert settled(200_000, [PERSON, PSYCHIATRIST, SIGNING]).lines == {"b": 180, "c": 0, "d": 180}


def test_the_person_grows_first() -> None:
    assert settled(450_000, [PSYCHIATRIST, SIGNING, PERSON]).lines == {"b": 180, "c": 180, "d": 180}
    assert settled(550_000, [PSYCHIATRIST, SIGNING, PERSON]).lines == {"b": 360, "c": 180, "d": 180}


def test_nothing_is_sent_larger_than_it_is_shown() -> None:
    small = Demand("b", Part.RESPONDER, LAYERS, wanted_lines=200, person=True)
    assert settled(5_000_000, [small]).lines == {"b": 360}, "the smallest that fills the place"
    none = Demand("b", Part.RESPONDER, LAYERS, wanted_lines=0)
    allocation = settled(5_000_000, [none, PSYCHIATRIST])
    assert allocation.lines == {"b": 0, "c": 720}
    assert not settled(10_000, [none]).audio_only, "nobody wanted a picture"


def test_the_first_picture_waits_for_nothing_and_a_larger_one_until_it_is_sure() -> None:
    allocator = Allocator()
    assert allocator.allocate(2_000_000, 1, [PERSON], 0.0).lines == {"b": 180}
    assert allocator.allocate(2_000_000, 1, [PERSON], FRESH_RIPE_S - 0.1).lines == {"b": 180}
    assert allocator.allocate(2_000_000, 1, [PERSON], FRESH_RIPE_S).lines == {"b": 720}


def test_where_the_room_is_not_ample_or_a_step_was_taken_back_it_waits_for_two_seconds() -> None:
    scarce = Allocator()
    given = [scarce.allocate(1_250_000, 1, [PERSON], tenth / 10).lines["b"] for tenth in range(25)]
    assert given.index(720) == 10 * RIPE_S
    failed = Allocator()
    for tenth in range(10):
        failed.allocate(2_000_000, 1, [PERSON], tenth / 10)
    assert failed.allocate(200_000, 1, [PERSON], 1.0).lines == {"b": 180}
    given = [failed.allocate(2_000_000, 1, [PERSON], 2 + tenth / 10).lines["b"] for tenth in range(25)]
    assert given.index(720) == 10 * RIPE_S


def test_what_flows_is_not_paused_by_a_budget_that_is_only_not_known_yet() -> None:
    single = Demand("b", Part.RESPONDER, (Layer(360, 300_000),), person=True)
    grown = Demand("b", Part.RESPONDER, (Layer(360, 1_200_000),), person=True)
    allocator = Allocator()
    assert allocator.allocate(500_000, 1, [single], 0.0, proven=False).lines == {"b": 360}
    for tenth in range(1, 100):
        assert allocator.allocate(500_000, 1, [grown], tenth / 10, proven=False).lines == {"b": 360}
    assert allocator.allocate(500_000, 1, [grown], 10.0, proven=True).audio_only


def test_what_does_not_flow_yet_begins_only_within_what_is_known() -> None:
    dear = Demand("b", Part.RESPONDER, (Layer(360, 1_200_000),), person=True)
    allocator = Allocator()
    assert allocator.allocate(500_000, 1, [dear], 0.0, proven=False).audio_only
    assert allocator.allocate(1_300_000, 1, [dear], 0.6, proven=False).lines == {"b": 360}


ONE_SIZE = (Layer(720, 1_200_000),)


def test_one_dear_size_of_a_minor_seat_keeps_nobody_small() -> None:
    dear = Demand("e", Part.SUPERVISOR, ONE_SIZE)
    assert settled(1_450_000, [dear, PSYCHIATRIST, PERSON]).lines == {"b": 720, "c": 360, "e": 0}
    assert settled(4_000_000, [dear, PSYCHIATRIST, PERSON]).lines == {"b": 720, "c": 720, "e": 720}


def test_one_dear_size_of_a_principal_is_seen_before_anybody_grows() -> None:
    dear = Demand("c", Part.PSYCHIATRIST, ONE_SIZE)
    assert settled(1_350_000, [SUPERVISOR, dear, PERSON]).lines == {"b": 180, "c": 720, "e": 0}
    signing = Demand("d", Part.INTERPRETER, ONE_SIZE, signs=True)
    assert settled(1_250_000, [SUPERVISOR, signing, PERSON]).lines == {"b": 0, "d": 720, "e": 0}


def test_what_a_picture_that_does_not_fit_leaves_shows_somebody_else() -> None:
    dear = Demand("c", Part.PSYCHIATRIST, ONE_SIZE)
    assert settled(700_000, [SUPERVISOR, dear, PERSON]).lines == {"b": 360, "c": 0, "e": 360}


def test_who_matters_more_takes_the_place_of_who_matters_less_in_one_step() -> None:
    allocator = Allocator()
    dear = Demand("c", Part.PSYCHIATRIST, (Layer(360, 400_000),))
    small = Demand("e", Part.SUPERVISOR, LAYERS[:1])
    assert allocator.allocate(600_000, 0, [small, dear], 0.0).lines == {"c": 360, "e": 180}
    assert allocator.allocate(300_000, 0, [small, dear], 0.1).lines == {"c": 0, "e": 180}
    course = [allocator.allocate(480_000, 0, [small, dear], 1 + tenth / 10).lines for tenth in range(40)]
    assert [lines for lines, _ in itertools.groupby(course)] == [{"c": 0, "e": 180}, {"c": 360, "e": 0}]


def test_another_picture_on_the_same_line_waits_for_nothing() -> None:
    allocator = Allocator()
    for tenth in range(20):
        allocator.allocate(50_000, 0, [PERSON], tenth / 10)
    allocator.forget("b")
    assert allocator.allocate(150_000, 0, [PERSON], 2.1).lines == {"b": 180}


def test_a_picture_of_one_size_comes_as_soon_as_it_fits() -> None:
    allocator = Allocator()
    single = Demand("b", Part.RESPONDER, (Layer(360, 1_200_000),), person=True)
    assert allocator.allocate(300_000, 1, [single], 0.0).audio_only
    assert allocator.allocate(900_000, 1, [single], 0.6).audio_only
    assert allocator.allocate(1_500_000, 1, [single], 1.0).lines == {"b": 360}


def test_it_falls_at_once_and_tells_of_sound_alone() -> None:
    allocator = Allocator()
    allocator.allocate(2_000_000, 1, [PERSON], 0.0)
    assert allocator.allocate(2_000_000, 1, [PERSON], 2.0).lines == {"b": 720}
    assert allocator.allocate(500_000, 1, [PERSON], 2.1).lines == {"b": 360}
    fallen = allocator.allocate(120_000, 1, [PERSON], 2.2)
    assert fallen.lines == {"b": 0}
    assert fallen.audio_only
    assert fallen.wanted_bps == AUDIO_BPS + AMPLE * 1_000_000


def test_what_is_left_bears_sound_twice_then_pictures_in_their_order() -> None:
    small = [Demand("c", Part.PSYCHIATRIST, LAYERS[:1]), Demand("b", Part.RESPONDER, LAYERS[:1])]
    course: list[tuple[int, tuple[bool, tuple[str, ...]], tuple[str, ...]]] = [
        (2 * AUDIO_BPS + 200_000, (False, ()), ()),
        (AUDIO_BPS + 200_000 + round(MARGIN * AUDIO_BPS), (True, ()), ()),
        (2 * AUDIO_BPS + 200_000 + round(MARGIN * 100_000), (True, ("b",)), ("b",)),
        (2 * AUDIO_BPS + 200_000 + round(MARGIN * 200_000), (True, ("b", "c")), ("b", "c")),
        (AUDIO_BPS + 200_000 + round(MARGIN * 200_000), (True, ("b",)), ("b", "c")),
    ]
    for budget, with_sound, alone in course:
        allocator = Allocator()
        both = allocator.allocate(budget + 1, 1, small, 0.0, sound_twice=True)
        assert (both.sound_twice, both.twice) == with_sound
        pictures = allocator.allocate(budget + 1, 1, small, 0.1)
        assert (pictures.sound_twice, pictures.twice) == (False, alone)


def test_where_repairs_come_late_a_smaller_picture_is_sent_twice_rather_than_a_larger_one_once() -> None:
    allocator = Allocator()
    once = [allocator.allocate(450_000, 1, [PERSON], float(second)) for second in range(5)]
    assert once[-1].lines == {"b": 360}
    late = allocator.allocate(450_000, 1, [PERSON], 5.0, repeats=True, repairs_late=True)
    assert (late.lines, late.twice) == ({"b": 180}, ("b",))
    assert late.wanted_bps == pytest.approx(MARGIN * (2 * AUDIO_BPS + 2 * 1_000_000))
    room = AUDIO_BPS + 100_000 + MARGIN * 500_000
    for second in range(6, 40):
        late = allocator.allocate(room, 1, [PERSON], float(second), repeats=True, repairs_late=True)
    assert (late.lines, late.twice) == ({"b": 360}, ("b",)), "what it takes is in its price"
    # The smallest is kept also where it cannot be sent twice.
    least = allocator.allocate(AUDIO_BPS + 110_000, 1, [PERSON], 42.0, repeats=True, repairs_late=True)
    assert (least.lines, least.twice) == ({"b": 180}, ())


def test_a_step_up_wants_room_beside_it() -> None:
    bare = AUDIO_BPS + 300_000
    allocator = Allocator()
    for second in range(10):
        assert allocator.allocate(bare, 1, [PERSON], float(second)).lines == {"b": 180}
    room = AUDIO_BPS + 100_000 + MARGIN * 200_000
    allocator.allocate(room, 1, [PERSON], 10.0)
    assert allocator.allocate(room, 1, [PERSON], 12.0).lines == {"b": 360}
    assert allocator.allocate(bare, 1, [PERSON], 12.1).lines == {"b": 360}, (
        "to be kept it wants its price only"
    )


def test_who_comes_later_takes_no_picture_away_that_still_fits() -> None:
    allocator = Allocator()
    allocator.allocate(900_000, 1, [FACILITY], 0.0)
    assert allocator.allocate(900_000, 1, [FACILITY], 2.0).lines == {"f": 360}
    assert allocator.allocate(900_000, 2, [FACILITY, PERSON], 2.1).lines == {"b": 180, "f": 360}


def test_a_rate_that_falls_for_a_moment_buys_nothing() -> None:
    allocator = Allocator()
    lull = Demand("b", Part.RESPONDER, (LAYERS[0], Layer(360, 120_000)), person=True)
    usual = Demand("b", Part.RESPONDER, LAYERS[:2], person=True)
    lines = [
        allocator.allocate(300_000, 1, [lull if tick % 10 > 4 else usual], tick / 5).lines["b"]
        for tick in range(100)
    ]
    assert set(lines) == {180}


def test_a_key_frame_takes_no_picture_away() -> None:
    allocator = Allocator()
    burst = Demand("b", Part.RESPONDER, (Layer(180, 250_000),), person=True)
    usual = Demand("b", Part.RESPONDER, (Layer(180, 100_000),), person=True)
    lines = [
        allocator.allocate(200_000, 1, [burst if tick % 20 < 3 else usual], 100 + tick / 5).lines["b"]
        for tick in range(3, 100)
    ]
    assert set(lines) == {180}
    last = [allocator.allocate(200_000, 1, [burst], 120 + tick / 5).lines["b"] for tick in range(50)]
    assert last[-1] == 0, "but what stays too much does not stay"


def test_a_size_that_stops_for_a_moment_is_back_at_once() -> None:
    allocator = Allocator()
    without = Demand("b", Part.RESPONDER, LAYERS[1:], person=True)
    given = [
        allocator.allocate(200_000, 1, [demand], second / 5).lines["b"]
        for second, demand in enumerate([PERSON, PERSON, without, without, PERSON, PERSON])
    ]
    assert given == [180, 180, 0, 0, 180, 180]


def test_a_picture_that_somebody_makes_larger_is_larger_at_once() -> None:
    allocator = Allocator()
    small = Demand("b", Part.RESPONDER, LAYERS, wanted_lines=180, person=True)
    for second in range(20):
        assert allocator.allocate(2_000_000, 1, [small], float(second)).lines == {"b": 180}
    assert allocator.allocate(2_000_000, 1, [PERSON], 20.1).lines == {"b": 720}
    assert allocator.allocate(2_000_000, 1, [small], 20.2).lines == {"b": 180}
    bare = AUDIO_BPS + 300_000
    assert allocator.allocate(bare, 1, [PERSON], 20.3).lines == {"b": 180}, "but never without the margin"


def test_a_step_that_does_not_last_is_tried_ever_less_often() -> None:
    allocator = Allocator()
    rises: list[float] = []
    held = 0
    for tenth in range(1_200):
        # The link looks good while the picture is paused, and bad as soon as it flows.
        lines = allocator.allocate(100_000 if held else 400_000, 1, [PERSON], tenth / 10).lines["b"]
        if lines and not held:
            rises.append(tenth / 10)
        held = lines
    gaps = [later - earlier for earlier, later in itertools.pairwise(rises)]
    assert len(rises) <= 8
    assert gaps[-1] > 30, "half a minute between the tries in the end"


def test_a_noisy_estimate_does_not_make_pictures_flap() -> None:
    noise = random.Random(5)
    for mean in (150_000, 350_000, 420_000, 1_100_000):
        allocator = Allocator()
        held, switches = {"b": 0, "c": 0}, 0
        for tenth in range(1_800):
            budget = mean * noise.uniform(0.75, 1.25)
            lines = allocator.allocate(budget, 2, [PERSON, PSYCHIATRIST], tenth / 10).lines
            switches += sum(lines[mid] != held[mid] for mid in lines)
            held = lines
        assert switches <= 3 * 8, f"{switches} switches in three minutes at {mean} bit/s"


parts = st.sampled_from(list(Part))


@st.composite
def some_demands(draw: st.DrawFn) -> list[Demand]:
    """Up to five pictures, as a receiver of a full room sees them."""
    count = draw(st.integers(0, 5))
    demands: list[Demand] = []
    for number in range(count):
        rates = sorted(draw(st.lists(st.floats(0, 3_000_000), min_size=0, max_size=3)))
        layers = tuple(Layer(lines, bps) for lines, bps in zip((180, 360, 720), rates, strict=False))
        demands.append(
            Demand(
                "bdfhj"[number],
                draw(parts),
                layers,
                draw(st.sampled_from([0, 90, 180, 360, 720, 4_320])),
                person=draw(st.booleans()),
                signs=draw(st.booleans()),
            )
        )
    return demands


budgets = st.floats(0, 8_000_000)


@given(
    some_demands(), st.lists(st.tuples(budgets, st.floats(0, 5)), min_size=1, max_size=20), st.integers(0, 5)
)
def test_pictures_never_cost_more_than_is_left_beside_sound(
    demands: list[Demand], course: list[tuple[float, float]], audio_streams: int
) -> None:
    allocator = Allocator()
    now_s = 0.0
    for budget_bps, later_s in course:
        now_s += later_s
        allocation = allocator.allocate(budget_bps, audio_streams, demands, now_s)
        left = max(0.0, budget_bps - AUDIO_BPS * audio_streams)
        # Rates are the same all the time here: what is expected of a layer is what it has.
        assert spent(demands, allocation.lines) <= left * (1 + 1e-9) + 1e-6
        for demand in demands:
            assert allocation.lines[demand.mid] in {0, *(layer.lines for layer in useful(demand))}


def importance(demand: Demand) -> tuple[bool, bool, Part, str]:
    """Less is more."""
    return (not demand.signs, not demand.person, demand.part, demand.mid)


@given(some_demands(), budgets, budgets)
def test_more_budget_takes_nothing_from_who_matters_most(
    demands: list[Demand], one: float, other: float
) -> None:
    wanted = [demand for demand in demands if useful(demand)]
    first = min(wanted, key=importance, default=None)
    if first is not None and (first.person or first.part in PRINCIPALS or first.signs):
        less, more = sorted((one, other))
        assert (settled(more, demands).lines[first.mid] > 0) >= (settled(less, demands).lines[first.mid] > 0)


@given(some_demands(), budgets)
def test_nobodys_picture_costs_somebody_theirs_who_matters_more(demands: list[Demand], budget: float) -> None:
    allocation = settled(budget, demands).lines
    for demand in demands:
        ladder = useful(demand)
        if not ladder or allocation[demand.mid] or not (demand.person or demand.part in PRINCIPALS):
            continue
        # What those who matter more are shown at least with leaves too little.
        before = [d for d in demands if importance(d) < importance(demand) and allocation[d.mid]]
        assert sum(price(useful(d)[0]) for d in before) + MARGIN * price(ladder[0]) > budget


@given(some_demands(), budgets)
def test_what_is_bought_is_paid_and_begins_with_the_smallest(demands: list[Demand], budget: float) -> None:
    ordered = steps(demands)
    paid = bought(ordered, budget)
    assert sum(step.bps for step in paid) <= budget
    for step in paid:
        ladder = [layer.lines for layer in useful(next(d for d in demands if d.mid == step.mid))]
        had = [other.lines for other in paid if other.mid == step.mid]
        assert had == ladder[: len(had)], "no size without those below it"


@given(some_demands(), budgets)
def test_nobody_grows_past_who_matters_more(demands: list[Demand], budget: float) -> None:
    """Of steps to one size the most important that cannot be paid is the last that is looked at."""
    ordered = steps(demands)
    paid = bought(ordered, budget)
    refused = [step for step in ordered if step not in paid and not step.first]
    missed = [
        step
        for step in refused
        if all(other in paid for other in ordered if other.mid == step.mid and other.lines < step.lines)
    ]
    if missed:
        after = ordered[ordered.index(missed[0]) + 1 :]
        assert not [step for step in paid if step in after]
