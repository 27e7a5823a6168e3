"""What must be true of calls between real browsers, judged by what their pages counted (`tests.support.call_browser.Media.now`).
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Counts = dict[str, Any]
"""What a page counted up to one moment."""

LOSS_PICTURES: Final = 8.0
"""Pictures a second, of fifteen: below that nobody calls it moving."""
LOSS_CONCEALED: Final = 0.02
LOSS_FROZEN: Final = 0.05
"""Of the time, as browsers count it: a picture that stands for three times as long as usual, or 150 ms longer, is frozen.
At fifteen a second that is 200 ms, so what freezes for half a second is in it."""
LOUD: Final = 1e-5
"""Energy (1.0: as loud as can be, for a second) below which a second is silent: -50 dB. Cameras that pretend beep."""


class NewWay:
    """Tells a picture that came by a way which was not there before: by another connection, or by the same one between other
    ports. It stands for a return: what the old ways brought late is none, and nobody must have seen the picture stand still."""

    def __init__(self, before: Counts) -> None:
        self._known = frozenset(before["ways"])
        self._counts = {_path(way): count for way, count in before["ways"].items()}

    def brings(self, now: Counts) -> bool:
        """Whether it brought a picture since the last look."""
        found = False
        for way, count in now["ways"].items():
            path = _path(way)
            found |= count > self._counts.get(path, 0) and way not in self._known
            self._counts[path] = count
        return found


def _path(way: str) -> str:
    return way.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the worst off of a call got over a while."""

    pictures: float
    """A second."""
    concealed: float
    """The share of the sound that was made up."""
    freezes: int
    frozen: float
    """The share of the time in which the picture was frozen."""

    @property
    def holds(self) -> bool:
        return (
            self.pictures >= LOSS_PICTURES
            and self.concealed < LOSS_CONCEALED
            and self.frozen < LOSS_FROZEN
        )  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{self.pictures:.1f} pictures a second, {self.concealed:.2%} of the sound made up, {self.freezes} freezes, "
            f"{self.frozen:.1%} of the time"
        )


def watched(before: Sequence[Counts], after: Sequence[Counts], took_s: float) -> Watched:
    """Each figure is that of whoever fared worst in it."""
    pairs = list(zip(before, after, strict=True))

    def grown(name: str) -> list[float]:
        return [b[name] - a[name] for a, b in pairs]

    return Watched(
        pictures=max(0.0, min(decoded(b) - decoded(a) for a, b in pairs) / took_s),
        # Who got no sound at all has nothing to be proud of.
        concealed=max(
            c / s if s > 0 else 1.0 for c, s in zip(grown("concealed"), grown("samples"), strict=True)
        ),
        freezes=round(max(grown("freezes"))),
        # A browser adds a freeze up when the next picture comes: what never came was frozen all the time.
        frozen=max(
            1.0 if decoded(b) <= decoded(a) else (b["frozenS"] - a["frozenS"]) / took_s for a, b in pairs
        ),
    )


def decoded(seen: Counts) -> int:
    """All pictures over the connections that live."""
    return sum(seen["decoded"].values())


def directions(name: str, before: Sequence[Counts], after: Sequence[Counts]) -> list[float]:
    """How much of this came from each to each of the others, by the lines that brought most: there is one for every seat of a call,
    and those of empty seats bring nothing. A direction without a line is one in which nothing came."""
    others = len(after) - 1
    found: list[float] = []
    for a, b in zip(before, after, strict=True):
        grown = sorted((more - a[name].get(mid, 0) for mid, more in b[name].items()), reverse=True)
        found += (grown + [0.0] * others)[:others]
    return found


def alive(values: Sequence[float], least: float) -> int:
    """In how many directions more than that came."""
    return sum(value > least for value in values)
