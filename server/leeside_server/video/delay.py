"""How long packets wait in a link's queues, from when they were sent and when the receiver says that they came.

The two clocks have nothing in common but their pace, so a one-way delay is known only up to a constant. The least of the
last 20 s stands for an empty path. What waits is the *standing* delay: the least above that base among the packets of
the last moments. A least is deaf to jitter, which only ever adds, and to the burst of a key frame, which passes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

BASE_WINDOW_S: Final = 20.0
STANDING_WINDOW_S: Final = 0.25
SLOPE_WINDOW_S: Final = 1.0
EASED_S: Final = 0.03
"""A least that falls by so much at once is another path, or a queue that somebody else has left."""
POINTS_KEPT: Final = 64
"""Reports kept; a receiver sends 20 a second at most when it is honest."""


class QueueDelay:
    """The standing delay of one link, and whether it grows. `told` takes each report, in order of arrival here."""

    def __init__(self) -> None:
        self._bases: deque[tuple[float, float]] = deque()
        """(when, least delay of that second), rising: what is older and larger can never be the least again."""
        self._points: deque[tuple[float, float]] = deque(maxlen=POINTS_KEPT)
        """(when, least delay) of each report."""
        self.standing_s = 0.0
        self.slope = 0.0
        """Seconds of queue gained a second: 0.1 is a link sent a tenth more than it carries."""

    def forget(self) -> None:
        """The path is another one: what was measured on the old one says nothing."""
        self._bases.clear()
        self._points.clear()
        self.standing_s = self.slope = 0.0

    def told(self, least_s: float, now_s: float) -> bool:
        """The least one-way delay among the packets of one report. True: the path has become a quicker one."""
        bases = self._bases
        eased = bool(bases) and least_s < bases[0][1] - EASED_S
        while bases and bases[-1][1] >= least_s:
            bases.pop()
        if not bases or now_s - bases[-1][0] >= 1.0:
            bases.append((now_s, least_s))
        while now_s - bases[0][0] > BASE_WINDOW_S:
            bases.popleft()
        points = self._points
        points.append((now_s, least_s))
        while now_s - points[0][0] > SLOPE_WINDOW_S:
            points.popleft()
        recent = least_s
        for at, least in reversed(points):
            if now_s - at > STANDING_WINDOW_S:
                break
            recent = min(recent, least)
        self.standing_s = recent - bases[0][1]
        self.slope = _slope(points)
        return eased


def _slope(points: deque[tuple[float, float]]) -> float:
    """The straight line through the points, by least squares; 0 below three points or a quarter of a second."""
    count = len(points)
    if count < 3 or points[-1][0] - points[0][0] < STANDING_WINDOW_S:
        return 0.0
    sum_at = sum_delay = 0.0
    for at, delay in points:
        sum_at += at
        sum_delay += delay
    mean_at, mean_delay = sum_at / count, sum_delay / count
    spread = rise = 0.0
    for at, delay in points:
        aside = at - mean_at
        spread += aside * aside
        rise += aside * (delay - mean_delay)
    return rise / spread
