"""A result as a picture: one bar a row, on a logarithmic scale, with the target as a mark. SVG, written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import Final

from tests.bench.figures import Result, Row, figure

WIDTH: Final = 960
LABELS: Final = 470
"""Where the scale begins."""
RIGHT: Final = 110
"""Room for the figure behind the longest bar."""
LINE: Final = 30
TOP: Final = 70
GOOD, BAD, PLAIN, INK, FAINT = "#2e7d5b", "#b3432f", "#5b7083", "#1d2730", "#d9e0e6"


def picture(result: Result) -> str:
    """The whole SVG. Bars show ours divided by the peer's; rows without a comparison say so in words."""
    ratios = [row.ratio for row in result.rows if row.ratio]
    marks = [row.target.ratio for row in result.rows if row.target]
    values = [*ratios, *marks, 1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    height = TOP + LINE * len(result.rows) + 30

    def at(value: float) -> float:
        if value <= 0:
            return LABELS
        share = (math.log10(value) - low) / (high - low)
        return LABELS + max(0.0, min(1.0, share)) * (WIDTH - LABELS - RIGHT)

    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
    )
    told = (
        '<text x="16" y="47">A dark line is the target. 1 means as much as the peer. '
        "Green holds, red does not, blue has no target.</text>"
    )
    parts = [
        head,
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="28" font-size="17" font-weight="600">Leeside, {escape(result.name)}: ours divided by the peer\'s</text>',
        told,
    ]
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 24}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{10.0**power:g}x</text>')
    for number, row in enumerate(result.rows):
        parts += _bar(row, TOP + LINE * number, at, low)
    return "\n".join([*parts, "</svg>\n"])


def _bar(row: Row, y: int, at: Callable[[float], float], low: int) -> list[str]:
    against = f"{row.measure}{' / ' + row.peer if row.peer else ''}"
    parts = [f'<text x="16" y="{y + 14}">{escape(_cut(against))}</text>']
    ratio = row.ratio
    if ratio is None:
        words = f"{figure(row.ours, row.unit)} {row.note}".strip()
        return [*parts, f'<text x="{LABELS}" y="{y + 14}" fill="{PLAIN}">{escape(words)}</text>']
    colour = PLAIN if row.holds is None else GOOD if row.holds else BAD
    left, end = at(10.0**low), at(ratio)
    parts.append(
        f'<rect x="{left:.1f}" y="{y}" width="{max(1.0, end - left):.1f}" height="{LINE - 12}" fill="{colour}" rx="2"/>'
    )
    parts.append(f'<text x="{end + 6:.1f}" y="{y + 14}">{ratio:.3g}x</text>')
    if row.target is not None:
        x = at(row.target.ratio)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + LINE - 8}" stroke="{INK}" stroke-width="2"/>'
        )
    return parts


def _cut(text: str) -> str:
    return text if len(text) <= 70 else text[:69] + "…"
