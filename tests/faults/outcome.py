"""What a fault run found: promises with their figures, as a table for people and as one object for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from tests.faults.history import Broken

Mode: TypeAlias = Literal["short", "full"]

SHOWN_BREAKS: Final = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise, whether it held in this run, and the figure that says how well."""

    promise: str
    holds: bool
    figure: str


class Impossible(Exception):
    """This machine lacks something that the fault needs. The text says what, and the exact fix (exit code 78)."""


@dataclass(slots=True)
class Findings:
    """Collects the promises of one run. `timed` judges a time limit, which only a full run fails."""

    name: str
    mode: Mode
    promises: list[Promise] = field(default_factory=list[Promise])
    injected: int = 0
    """Faults that were really brought about."""

    @property
    def full(self) -> bool:
        return self.mode == "full"

    @property
    def holds(self) -> bool:
        return bool(self.promises) and all(p.holds for p in self.promises)

    def judge(self, promise: str, holds: bool, figure: str) -> None:
        """Note a promise that must hold in every run."""
        self.promises.append(Promise(promise, holds, figure))

    def timed(self, promise: str, value_s: float, limit_s: float, note: str = "") -> None:
        """Note a time against its limit; a short run reports it and never fails by it."""
        held = value_s <= limit_s
        text = f"{seconds(value_s)} (limit {seconds(limit_s)}{'' if self.full else ', judged by --full'})"
        self.promises.append(Promise(promise, held or not self.full, f"{text}{'; ' + note if note else ''}"))

    def minimum(self, what: str, count: int, least: int) -> None:
        """A run that did too little proves nothing, and so fails."""
        self.promises.append(Promise(f"enough {what}", count >= least, f"{count} (at least {least})"))

    def history(self, broken: Sequence[Broken], entries: int) -> None:
        """What the history checker found: each broken promise by name, or that none was."""
        names = sorted({b.promise for b in broken})
        for name in names:
            found = [b for b in broken if b.promise == name]
            told = "; ".join(b.what for b in found[:SHOWN_BREAKS])
            self.promises.append(Promise(name, False, f"{len(found)} times: {told}"))
        if not names:
            self.promises.append(
                Promise(
                    "G1-G4 nothing acknowledged is lost, doubled, reordered or shown too early",
                    True,
                    f"{entries} final entries compared",
                )
            )

    def as_object(self) -> dict[str, object]:
        """`{name, promises: [{promise, holds, figure}]}`."""
        return {"name": self.name, "promises": [msgspec.to_builtins(p) for p in self.promises]}

    def table(self) -> str:
        """For people: a line each, what broke first."""
        ordered = sorted(self.promises, key=lambda p: p.holds)
        width = max((len(p.promise) for p in ordered), default=0)
        lines = [f"{'holds ' if p.holds else 'BROKEN'}  {p.promise:<{width}}  {p.figure}" for p in ordered]
        verdict = "every promise held" if self.holds else "a promise was broken"
        return "\n".join([f"faults {self.name} ({self.mode})", *lines, f"{self.name}: {verdict}"])


def seconds(value_s: float) -> str:
    """A duration as people read it."""
    return f"{value_s * 1000:.0f} ms" if value_s < 1 else f"{value_s:.2f} s"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie (nearest rank); 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
