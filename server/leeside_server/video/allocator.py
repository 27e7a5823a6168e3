"""Which pictures a receiver gets, and how large, for what its link carries.

Sound is paid first, for every stream. What is left buys pictures in steps, and the steps stand in one order: first the
smallest picture of everybody, in order of importance; then the next size of everybody; and so on. The budget buys the
steps from the first on and stops at the first that it cannot pay. So more budget never makes any picture smaller, and
nobody's picture is bought before that of somebody who matters more.

Downward at once, because a link that is sent too much loses sound as well. Upward only when the budget held the step and
a margin for two seconds on end; and when a step up did not last, the next try waits twice as long.
"""

from __future__ import annotations

from collections.abc import Sequence
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
LASTS_S: Final = 15.0
"""A step up that is taken back sooner was a mistake."""
LONGEST_RIPE_S: Final = 32.0
SMOOTH_S: Final = 3.0
"""A picture that is shown is reckoned with its rate over so long: a key frame is no reason to take it away."""
PEAK_FADES_S: Final = 10.0
"""A larger one follows its rate up at once, and down over so long: after a key frame an encoder sends less for a while."""
AMPLE: Final = 1.5
"""Where so many times the price is there, earlier mistakes say nothing."""


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


class _Step(msgspec.Struct, frozen=True):
    mid: str
    lines: int
    bps: float
    """More than the step before it of the same picture."""
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


def steps(demands: Sequence[Demand]) -> list[_Step]:
    """What can be bought, in the one order in which it is."""
    ladders = [(demand, useful(demand)) for demand in demands]
    ordered: list[_Step] = []
    for rung in range(max((len(layers) for _, layers in ladders), default=0)):
        # The smallest picture of an interpreter who signs is bought before all others, and so is never the first to go.
        # Larger pictures are for the person first.
        ranked = sorted(
            (pair for pair in ladders if rung < len(pair[1])),
            key=lambda pair: (rung > 0 or not pair[0].signs, not pair[0].person, pair[0].part, pair[0].mid),
        )
        for demand, layers in ranked:
            before = price(layers[rung - 1]) if rung else 0.0
            ordered.append(
                _Step(demand.mid, layers[rung].lines, max(0.0, price(layers[rung]) - before), first=not rung),
            )
    return ordered


def affordable(ordered: Sequence[_Step], budget_bps: float) -> int:
    """How many of the steps, from the first on, this budget pays."""
    spent = 0.0
    for count, step in enumerate(ordered):
        spent += step.bps
        if spent > budget_bps:
            return count
    return len(ordered)


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
        self._rose_s: float | None = None
        """When the last step up was made that was not taken back."""

    def allocate(
        self, budget_bps: float, audio_streams: int, demands: Sequence[Demand], now_s: float
    ) -> Allocation:
        """Share `budget_bps` among `audio_streams` of sound and these pictures."""
        ordered = steps(self._priced(demands, now_s))
        sound_bps = AUDIO_BPS * audio_streams
        paid = ordered[: affordable(ordered, budget_bps - sound_bps)]
        if self._asked_for_more(demands):
            # Somebody has made a picture larger and looks at it: that is no estimate that could be a mistake.
            self._ripens_s = float("-inf")
        kept = [step for step in paid if self._has(step)]
        if any(step.mid in self._held and self._has(step) for step in ordered[len(paid) :]):
            self._fell(now_s)
        else:
            kept = self._rise(kept, paid, budget_bps - sound_bps, now_s)
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
            wanted_bps=sound_bps + AMPLE * _cost(ordered) if ordered else 0.0,
        )

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

    def _has(self, step: _Step) -> bool:
        """Whether a step is held; the smallest picture of somebody new counts as held: the first waits for nothing."""
        held = self._held.get(step.mid)
        return step.first if held is None else step.lines <= held

    def _remembered(self, smallest: _Step, lines: dict[str, int]) -> int:
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

    def _rise(self, kept: list[_Step], paid: Sequence[_Step], left_bps: float, now_s: float) -> list[_Step]:
        """The steps to hold now: more than those kept only once that has been affordable, with room, for long enough."""
        more = list(kept)
        for step in paid:
            if step in kept:
                continue
            if _cost(kept) + MARGIN * (_cost(more) - _cost(kept) + step.bps) > left_bps:
                break
            more.append(step)
        if len(more) == len(kept):
            self._ripens_s = None
            return kept
        if self._ripens_s is None:
            self._ripens_s = now_s
        ample = left_bps >= AMPLE * _cost(more)
        if now_s - self._ripens_s < (RIPE_S if ample else self._ripe_s):
            return kept
        self._rose_s = now_s
        self._ripens_s = None
        return more


def _cost(bought: Sequence[_Step]) -> float:
    return sum(step.bps for step in bought)
