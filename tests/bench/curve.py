"""How a cost grows: a line for each contender over how much there is to do. SVG, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 480
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 60, 60
COLOURS: Final = ("#2e7d5b", "#5b7083", "#b3432f", "#8a6d1f")
INK, FAINT = "#1d2730", "#d9e0e6"
TICKS: Final = 5

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """What to draw; `lines` are (contender, its points), ours first. A broken line ends where its contender gave up."""

    title: str
    across: str
    upwards: str
    lines: Sequence[tuple[str, Sequence[Point]]]

    def as_object(self) -> dict[str, object]:
        """`{title, across, upwards, lines: {contender: [[x, y]..]}}`."""
        return {
            "title": self.title,
            "across": self.across,
            "upwards": self.upwards,
            "lines": {name: [[x, round(y, 4)] for x, y in points] for name, points in self.lines},
        }


def draw(curve: Curve) -> str:
    """The whole SVG."""
    points = [point for _, line in curve.lines for point in line]
    most_x = max((x for x, _ in points), default=1.0)
    most_y = max((y for _, y in points), default=1.0) or 1.0

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + point[0] / most_x * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] / most_y * (HEIGHT - TOP - BOTTOM)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="16" y="28" font-size="17" font-weight="600">{escape(curve.title)}</text>',
        f'<text x="{LEFT}" y="{TOP - 12}">{escape(curve.upwards)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 16}" text-anchor="end">{escape(curve.across)}</text>',
    ]
    for tick in range(TICKS + 1):
        value = most_y * tick / TICKS
        _, y = place((0, value))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    for x_value in sorted({x for x, _ in points}):
        x, y = place((x_value, 0))
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{x_value:g}</text>')
    for (name, line), colour in zip(curve.lines, COLOURS, strict=False):
        placed = [place(point) for point in line]
        if not placed:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        x, y = placed[-1]
        parts.append(f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
