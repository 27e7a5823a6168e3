"""What a benchmark found: rows of ours against a peer, as a table, one JSON object, and an exit code."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.bench.curve import Curve

EXIT_MISSED, EXIT_LACKING = 1, 78
MISSING: Final = "peer missing"


@dataclass(frozen=True, slots=True)
class Target:
    """What ours divided by the peer's must be: `at_most` or at least that."""

    ratio: float
    at_most: bool = True

    def met(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.at_most else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.ratio:.3g}x"


LIMIT: Final = Target(1.0)
"""For a peer that is a figure of its own: ours must not exceed it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. A figure that could not be had is None, and `note` says why."""

    measure: str
    unit: str
    ours: float | None
    peer: str = ""
    peer_value: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if self.ours is None or self.peer_value is None or self.peer_value <= 0:
            return None
        return self.ours / self.peer_value

    @property
    def holds(self) -> bool | None:
        """None: nothing to hold, or nothing to compare with."""
        if self.target is None or self.ratio is None:
            return None
        return self.target.met(self.ratio)

    def as_object(self) -> dict[str, object]:
        """As in `Result.as_object`."""
        return {
            "measure": self.measure,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "peer": self.peer,
            "peer_value": _rounded(self.peer_value),
            "ratio": _rounded(self.ratio),
            "target": str(self.target) if self.target else "",
            "holds": self.holds,
            "note": self.note,
        }


@dataclass(slots=True)
class Result:
    """All rows of one run. A short run shows its figures and fails by none of them."""

    name: str
    short: bool
    rows: list[Row] = field(default_factory=list[Row])
    notes: list[str] = field(default_factory=list[str])
    """How it was measured, and what to know when reading it."""
    curve: Curve | None = None
    """How a cost grows, for a picture of its own."""

    def add(self, row: Row) -> None:
        self.rows.append(row)

    @property
    def exit_code(self) -> int:
        """0: every target holds; 1: one does not; 78: what could be compared holds, but a peer or a figure is missing."""
        if self.short:
            return 0
        if any(row.holds is False for row in self.rows):
            return EXIT_MISSED
        if not self.rows or any(row.target is not None and row.holds is None for row in self.rows):
            return EXIT_LACKING
        return 0

    def as_object(self) -> dict[str, object]:
        """`{name, short, rows: [{measure, unit, ours, peer, peer_value, ratio, target, holds, note}], notes}`."""
        return {
            "name": self.name,
            "short": self.short,
            "rows": [row.as_object() for row in self.rows],
            "notes": self.notes,
            **({"curve": self.curve.as_object()} if self.curve is not None else {}),
        }

    def table(self) -> str:
        """For people."""
        head = ("", "measure", "ours", "peer", "its", "ratio", "target")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        ]
        for at, row in enumerate(self.rows, start=1):
            if row.note:
                text[at] += f"  {row.note}"
        return "\n".join(
            [f"bench {self.name}{' (short)' if self.short else ''}", *text, *self.notes, self._verdict()]
        )

    def _verdict(self) -> str:
        judged = [row for row in self.rows if row.holds is not None]
        missed = sum(not row.holds for row in judged)
        unjudged = sum(row.target is not None and row.holds is None for row in self.rows)
        words = f"{len(judged) - missed} of {len(judged)} targets hold"
        if unjudged:
            words += f", {unjudged} could not be judged"
        return f"{self.name}: {words}{' (a short run is not judged by them)' if self.short else ''}"


def figure(value: float | None, unit: str = "") -> str:
    """A figure with three digits that matter."""
    if value is None:
        return "-"
    if value >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def median(values: Sequence[float]) -> float | None:
    """The middle one; None of nothing."""
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> str:
    """From the least to the most, where there is more than one."""
    return f"{figure(min(values))} to {figure(max(values))}" if len(values) > 1 else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _cells(row: Row) -> tuple[str, ...]:
    holds = row.holds
    if holds is None:
        sign = "?     " if row.target is not None else "      "
    else:
        sign = "holds " if holds else "MISSED"
    return (
        sign,
        row.measure,
        figure(row.ours, row.unit),
        row.peer,
        figure(row.peer_value, row.unit),
        figure(row.ratio),
        str(row.target) if row.target else "",
    )
