"""Which pictures a receiver gets, and how large, for what its link carries.

Sound is paid first, for every stream. What is left buys pictures in steps, and the steps stand in one order: first the
smallest picture of everybody, in order of importance; then the next size of everybody; and so on. A picture that comes in
one dear size waits, where its seat is a minor one, until those who matter more have theirs as large. What is not to be
paid is passed over: a whole picture alone, so that what it leaves shows somebody else; a larger size with all larger
sizes after it, so that nobody grows past somebody who matters more.

Downward at once, because a link that is sent too much loses sound as well; but a picture that flows is not paused while
nothing was seen to speak against the link: then the budget is only what is known yet. Upward when the budget held the step
and a margin for two seconds on end, and sooner on a link that has never failed; when a step up did not last, the next try
waits twice as long.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from leeside_protocol.video.signalling import Part

AUDIO_BPS: Final = 45_000
"""What is kept for a stream of sound, with its redundancy and every header."""
PICTURE_BPS: Final = 80_000
"""The least a picture is reckoned with: less is a slide show, and a key frame would hold up the sound."""
USUAL_BPS: Final = {180: 120_000, 360: 350_000, 720: 1_200_000}
"""What a layer is reckoned with until it was measured, by its lines."""

MARGIN: Final = 1.15
"""A step up must leave so much of its own price as room."""
RIPE_S: Final = 2.0
FRESH_RIPE_S: Final = 0.4
"""Where there is ample room, and no step was ever taken back."""
LASTS_S: Final = 15.0
"""A step up that is taken back sooner was a mistake."""
LONGEST_RIPE_S: Final = 32.0
SMOOTH_S: Final = 3.0
"""A picture that is shown is reckoned with its rate over so long: a key frame is no reason to take it away."""
PEAK_FADES_S: Final = 10.0
"""A larger one follows its rate up at once, and down over so long: after a key frame an encoder sends less for a while."""
AMPLE: Final = 1.5
"""Where so many times the price is there, earlier mistakes say nothing."""
DEAR_BPS: Final = (180_000, 600_000)
"""What costs more than this is reckoned as a second size, or a third, though it is the first of its picture."""
PRINCIPALS: Final = frozenset((Part.RESPONDER, Part.PSYCHIATRIST))
"""Whose first picture waits for nobody's larger one, whatever it costs."""


class Layer(msgspec.Struct, frozen=True):
    """A size in which a picture can be had. `bps`: measured over a second or more; 0 when nothing flows now."""

    lines: int
    bps: float


class Demand(msgspec.Struct, frozen=True):
    """A picture that one receiver could get: whose it is, how large it is shown, and in which sizes it comes."""

    mid: str
    part: Part
    layers: tuple[Layer, ...]
    """From the smallest to the largest; one where the sender has one size only; none: nothing flows."""
    wanted_lines: int = 4_320
    """How large it is shown; 0: it is not shown. The default is as large as the link allows."""
    person: bool = False
    """The camera shows the person in crisis, who comes first."""
    signs: bool = False
    """An interpreter of a signed language: their picture is the talk itself."""


class Allocation(msgspec.Struct, frozen=True):
    """What a receiver gets now."""

    lines: dict[str, int]
    """For each demand's mid, the lines of its layer; 0: it is paused for want of bandwidth (or nothing is wanted)."""
    audio_only: bool
    """Pictures are wanted, and none of them fits."""
    wanted_bps: float
    """What the link would have to carry for all that is wanted, and for its bursts; 0: nothing is. For
    `Bandwidth.want`."""
    sound_twice: bool = False
    """That is wanted, and what is left bears it."""
    twice: tuple[str, ...] = ()
    """The pictures, by mid, that can be sent twice with what is left beside the sound."""


class Step(msgspec.Struct, frozen=True):
    """What can be bought: a picture, or the next size of it."""

    mid: str
    lines: int
    bps: float
    """More than the step before it of the same picture."""
    level: int
    """0: somebody's smallest picture; then by size."""
    first: bool
    """The smallest of its picture."""


def price(layer: Layer) -> float:
    """What a layer is reckoned with."""
    return max(PICTURE_BPS, layer.bps or USUAL_BPS.get(layer.lines, layer.lines * 1_500.0))


def useful(demand: Demand) -> tuple[Layer, ...]:
    """The sizes worth sending: up to the first that fills the place where the picture is shown."""
    if not demand.wanted_lines:
        return ()
    enough = next(
        (number for number, layer in enumerate(demand.layers, 1) if layer.lines >= demand.wanted_lines), None
    )
    return demand.layers[:enough]


def steps(demands: Sequence[Demand], *, doubled: bool = False) -> list[Step]:
    """What can be bought, in the one order in which it is. `doubled`: a picture beyond its smallest size has the price of sending it
    twice, because a smaller one that moves is worth more than a larger one that stands still with each packet lost."""
    ranked: list[tuple[tuple[int, bool, bool, Part, str], Step]] = []
    for demand in demands:
        before_bps = 0.0
        layers = useful(demand)
        lowest = _lowest_level(demand, layers[0]) if layers else 0
        for rung, layer in enumerate(layers):
            level = lowest + rung
            whole_bps = price(layer) * (2 if doubled and rung else 1)
            step = Step(demand.mid, layer.lines, max(0.0, whole_bps - before_bps), level, first=not rung)
            # The smallest picture of an interpreter who signs is bought before all others, and so is never the first to
            # go. Larger pictures are for the person first.
            signs = demand.signs and not level
            ranked.append(((level, not signs, not demand.person, demand.part, demand.mid), step))
            before_bps = whole_bps
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def _lowest_level(demand: Demand, smallest: Layer) -> int:
    if demand.person or demand.signs or demand.part in PRINCIPALS:
        return 0
    return sum(price(smallest) > bps for bps in DEAR_BPS)


def bought(
    ordered: Sequence[Step],
    budget_bps: float,
    held: Collection[Step] | None = None,
    granted: Collection[Step] = (),
) -> list[Step]:
    """The steps that this budget pays. Those that are not `held` (None: all are) must leave a margin; the `granted` are
    bought whatever they cost."""
    spent_bps = 0.0
    paid: list[Step] = []
    closed: set[str] = set()
    new_may_grow = held_may_grow = True
    for step in ordered:
        if step.mid in closed:
            continue
        new = held is not None and step not in held
        cost_bps = step.bps * (MARGIN if new else 1.0)
        may = not step.level or (new_may_grow if new else held_may_grow)
        if step in granted or (may and spent_bps + cost_bps <= budget_bps):
            spent_bps += cost_bps
            paid.append(step)
            continue
        closed.add(step.mid)
        if not step.first:
            new_may_grow = False
            held_may_grow = held_may_grow and new
    return paid


class Allocator:
    """The allocations of one receiver over time. Ask every 100 to 200 ms, and when a demand changes."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        """The lines of each picture that was given; 0: paused. Who was never shown is not here, and waits for nothing."""
        self._wanted: dict[str, int] = {}
        self._prices: dict[tuple[str, int], float] = {}
        """What each layer is reckoned with, by mid and lines."""
        self._asked_s = 0.0
        self._ripens_s: float | None = None
        """Since when the budget has held a step more, on end."""
        self._ripe_s = RIPE_S
        self._fresh_ripe_s = FRESH_RIPE_S
        """Where there is ample room."""
        self._rose_s: float | None = None
        """When the last step up was made that was not taken back."""

    def allocate(
        self,
        budget_bps: float,
        audio_streams: int,
        demands: Sequence[Demand],
        now_s: float,
        *,
        proven: bool = True,
        sound_twice: bool = False,
        repeats: bool = False,
        repairs_late: bool = False,
    ) -> Allocation:
        """Share `budget_bps` among `audio_streams` of sound and these pictures. Not `proven`: the link was never seen to
        be full, and may well carry more. `sound_twice`: of what is left, sound is to have its part before pictures are sent
        twice. `repeats`: there is to be something left for that; `repairs_late`: rather a smaller picture, sent twice."""
        ordered = steps(self._priced(demands, now_s), doubled=repairs_late)
        sound_bps = AUDIO_BPS * audio_streams
        left_bps = budget_bps - sound_bps
        if self._asked_for_more(demands):
            # Somebody has made a picture larger and looks at it: that is no estimate that could be a mistake.
            self._ripens_s = float("-inf")
        held = [step for step in ordered if self._has(step)]
        granted = () if proven else [step for step in held if step.first and self._held.get(step.mid)]
        kept = bought(held, left_bps, granted=granted)
        if any(step.mid in self._held and step not in kept for step in held):
            self._fell(now_s)
        else:
            kept = self._rise(kept, bought(ordered, left_bps, kept, granted), left_bps, now_s)
        lines = {demand.mid: 0 for demand in demands}
        for step in kept:
            lines[step.mid] = max(lines[step.mid], step.lines)
        self._held = {
            step.mid: self._remembered(step, lines)
            for step in ordered
            if step.first and (step.mid in self._held or lines[step.mid])
        }
        return Allocation(
            lines,
            audio_only=bool(ordered) and not kept,
            wanted_bps=_wanted(ordered, sound_bps, repeats=repeats, doubled=repairs_late),
            sound_twice=sound_twice and left_bps - _cost(kept) >= MARGIN * sound_bps,
            twice=_twice(
                kept, left_bps - _cost(kept) - (sound_bps if sound_twice else 0.0), doubled=repairs_late
            ),
        )

    def forget(self, mid: str) -> None:
        """Another picture is behind this line from now on: it is new."""
        self._held.pop(mid, None)
        self._wanted.pop(mid, None)
        self._prices = {key: bps for key, bps in self._prices.items() if key[0] != mid}

    def _priced(self, demands: Sequence[Demand], now_s: float) -> list[Demand]:
        """The demands with the rate that each layer must be expected to have."""
        passed_s, self._asked_s = now_s - self._asked_s, now_s
        before, self._prices = self._prices, {}
        return [
            msgspec.structs.replace(
                demand,
                layers=tuple(
                    Layer(layer.lines, self._price(demand.mid, rung, layer, before, passed_s))
                    for rung, layer in enumerate(demand.layers)
                ),
            )
            for demand in demands
        ]

    def _price(
        self, mid: str, rung: int, layer: Layer, before: dict[tuple[str, int], float], passed_s: float
    ) -> float:
        now_bps = price(layer)
        was_bps = before.get((mid, layer.lines), now_bps)
        larger = rung > 0 and layer.lines > self._held.get(mid, 0)
        if larger and now_bps > was_bps:
            expected_bps = now_bps
        else:
            fading = min(1.0, passed_s / (PEAK_FADES_S if larger else SMOOTH_S))
            expected_bps = was_bps + (now_bps - was_bps) * fading
        self._prices[mid, layer.lines] = expected_bps
        return expected_bps

    def _has(self, step: Step) -> bool:
        """Whether a step is held; the smallest picture of somebody new counts as held: the first waits for nothing."""
        held = self._held.get(step.mid)
        return step.first if held is None else step.lines <= held

    def _remembered(self, smallest: Step, lines: dict[str, int]) -> int:
        """What of a picture counts as held from now on. Where its size is not sent any more, and the next is too much, it
        is there again as soon as that size is: the link did not fail it."""
        held = self._held.get(smallest.mid, 0)
        return held if 0 < held < smallest.lines and not lines[smallest.mid] else lines[smallest.mid]

    def _asked_for_more(self, demands: Sequence[Demand]) -> bool:
        before, self._wanted = self._wanted, {demand.mid: demand.wanted_lines for demand in demands}
        return any(lines > before.get(mid, lines) for mid, lines in self._wanted.items())

    def _fell(self, now_s: float) -> None:
        if self._rose_s is not None:
            lasted = now_s - self._rose_s >= LASTS_S
            self._ripe_s = RIPE_S if lasted else min(LONGEST_RIPE_S, self._ripe_s * 2)
        self._rose_s = None
        self._ripens_s = None
        self._fresh_ripe_s = RIPE_S

    def _rise(self, kept: list[Step], affordable: list[Step], left_bps: float, now_s: float) -> list[Step]:
        """The steps to hold now: more than those kept only once that has been affordable, with room, for long enough."""
        if all(step in kept for step in affordable):
            self._ripens_s = None
            return kept
        if self._ripens_s is None:
            self._ripens_s = now_s
        ample = left_bps >= AMPLE * _cost(affordable)
        if now_s - self._ripens_s < (self._fresh_ripe_s if ample else self._ripe_s):
            return kept
        self._rose_s = now_s
        self._ripens_s = None
        return affordable


def _twice(kept: Sequence[Step], spare_bps: float, *, doubled: bool) -> tuple[str, ...]:
    """The pictures, in their order, that what is left pays once more."""
    twice: list[str] = []
    for mid, bps in _again(kept, doubled=doubled).items():
        if MARGIN * bps <= spare_bps:
            spare_bps -= MARGIN * bps
            twice.append(mid)
    return tuple(twice)


def _again(steps_bought: Sequence[Step], *, doubled: bool) -> dict[str, float]:
    """What it takes to send each picture once more, in the order of the pictures. `doubled`: beyond its smallest size that is paid."""
    prices: dict[str, list[float]] = {}
    for step in steps_bought:
        prices.setdefault(step.mid, []).append(step.bps)
    return {mid: 0.0 if doubled and len(each) > 1 else sum(each) for mid, each in prices.items()}


def _wanted(ordered: Sequence[Step], sound_bps: float, *, repeats: bool, doubled: bool) -> float:
    if not ordered:
        return 0.0
    if not repeats:
        return sound_bps + AMPLE * _cost(ordered)
    return MARGIN * (2 * sound_bps + _cost(ordered) + sum(_again(ordered, doubled=doubled).values()))


def _cost(steps_bought: Sequence[Step]) -> float:
    return sum(step.bps for step in steps_bought)
