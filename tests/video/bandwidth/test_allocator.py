"""Who gets which picture for how much bandwidth."""

import itertools
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.signalling import Part
from leeside_server.video.allocator import (
    AMPLE,
    AUDIO_BPS,
    MARGIN,
    RIPE_S,
    Allocation,
    Allocator,
    Demand,
    Layer,
    affordable,
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


def test_the_first_picture_waits_for_nothing_and_a_larger_one_for_two_seconds() -> None:
    allocator = Allocator()
    assert allocator.allocate(2_000_000, 1, [PERSON], 0.0).lines == {"b": 180}
    assert allocator.allocate(2_000_000, 1, [PERSON], RIPE_S - 0.1).lines == {"b": 180}
    assert allocator.allocate(2_000_000, 1, [PERSON], RIPE_S).lines == {"b": 720}


def test_a_picture_of_one_size_comes_as_soon_as_it_fits() -> None:
    allocator = Allocator()
    single = Demand("b", Part.RESPONDER, (Layer(360, 1_200_000),), person=True)
    assert allocator.allocate(300_000, 1, [single], 0.0).audio_only
    assert allocator.allocate(900_000, 1, [single], 0.6).audio_only
    assert allocator.allocate(1_500_000, 1, [single], 1.0).lines == {"b": 360}


def test_it_falls_at_once_and_tells_of_sound_alone() -> None:
    allocator = Allocator()
    allocator.allocate(2_000_000, 1, [PERSON], 0.0)
    allocator.allocate(2_000_000, 1, [PERSON], 2.0)
    assert allocator.allocate(500_000, 1, [PERSON], 2.1).lines == {"b": 360}
    assert allocator.allocate(120_000, 1, [PERSON], 2.2) == Allocation(
        {"b": 0}, audio_only=True, wanted_bps=AUDIO_BPS + AMPLE * 1_000_000
    )


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


@given(some_demands(), budgets, budgets)
def test_more_budget_makes_no_picture_smaller(demands: list[Demand], one: float, other: float) -> None:
    less, more = sorted((one, other))
    at_less, at_more = settled(less, demands).lines, settled(more, demands).lines
    assert all(at_more[mid] >= lines for mid, lines in at_less.items())


@given(some_demands(), budgets)
def test_nobody_is_shown_while_somebody_who_matters_more_is_not(demands: list[Demand], budget: float) -> None:
    lines = settled(budget, demands).lines
    shown = [(not d.signs, not d.person, d.part) for d in demands if lines[d.mid]]
    paused = [(not d.signs, not d.person, d.part) for d in demands if useful(d) and not lines[d.mid]]
    assert not shown or not paused or max(shown) <= min(paused)


@given(some_demands(), budgets)
def test_the_steps_bought_are_the_first_ones(demands: list[Demand], budget: float) -> None:
    ordered = steps(demands)
    count = affordable(ordered, budget)
    assert sum(step.bps for step in ordered[:count]) <= budget
    if count < len(ordered):
        assert sum(step.bps for step in ordered[: count + 1]) > budget
