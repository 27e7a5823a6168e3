"""How many packets a link loses, and whether that is because it is sent too much.

Radio loses packets whatever is sent; a queue that overflows loses them because of what is sent. They look alike, so it is
tried out: when loss rises, the estimate goes down to what arrives. If the loss falls, it was congestion, and the estimate
stays there. If it does not, the loss is the link's own (`inherent`): the estimate is given back, and that much is borne
from then on. A queue that grows is the business of `delay`, with or without loss.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 2.0
LEAST_PACKETS: Final = 25
"""Fewer say nothing."""
REPORTS_KEPT: Final = 128

EXCESS: Final = 0.08
"""Loss above the link's own that is taken for congestion."""
CALM: Final = 0.05
"""Below that, growth may go on."""
HELPED: Final = 0.7
"""Loss that fell to less than this share fell because less was sent."""
FADES_S: Final = 2.0
LATELY_PACKETS: Final = 1_000
"""Twenty seconds of a small picture: rare loss is seen over no less."""
DOUBTED_PACKETS: Final = 200
"""For so many counts what was seen before, once it is doubted."""


class Losses:
    """The share of lost packets over two seconds, and what of it a link always loses."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, int, int]] = deque()
        self._received = self._lost = 0
        """Of all reports that are kept."""
        self._told_s = 0.0
        self._queued_s = float("-inf")
        """When packets queued last: what was lost in that queue is in the window for two seconds more."""
        self._tried: tuple[float, float, float] | None = None
        """(when, loss, estimate) before it was lowered."""
        self.share = 0.0
        self.inherent = 0.0
        self.usual = 0.0
        """The share while nothing queued: what repairs will have to make good, whatever is sent."""
        self.lately = 0.0
        """The same over many packets: also loss that is rare."""
        self._counted = 0

    @property
    def excess(self) -> float:
        """Loss above the link's own."""
        return max(0.0, self.share - self.inherent)

    def forget(self) -> None:
        """What was lost was lost on another path, or while there was none."""
        self._reports.clear()
        self._received = self._lost = 0
        self._tried = None
        self.share = self.inherent = self.usual = self.lately = 0.0
        self._counted = 0

    def doubt(self) -> None:
        """The link carries less than it did, and is another one perhaps: what is rare on it is to be learned anew."""
        self._counted = min(self._counted, DOUBTED_PACKETS)

    def told(self, received: int, lost: int, now_s: float, *, calm: bool) -> None:
        """Count a report. `lost` is negative where packets came after all that were counted as lost. `calm`: nothing
        queues now."""
        reports = self._reports
        reports.append((now_s, received, lost))
        self._received += received
        self._lost += lost
        while now_s - reports[0][0] > WINDOW_S or len(reports) > REPORTS_KEPT:
            _, old_received, old_lost = reports.popleft()
            self._received -= old_received
            self._lost -= old_lost
        gone = max(0, self._lost)
        count = gone + self._received
        self.share = gone / count if count >= LEAST_PACKETS else 0.0
        fading = min(1.0, (now_s - self._told_s) / FADES_S)
        if self.share < self.inherent:
            self.inherent += (self.share - self.inherent) * fading
        if not calm:
            self._queued_s = now_s
        settled = now_s - self._queued_s >= WINDOW_S
        if settled and self.share >= self.inherent > 0:
            self.inherent += (self.share - self.inherent) * fading / 3
        if settled or self.share < self.usual:
            self.usual += (self.share - self.usual) * fading
        fresh = received + lost
        if settled and fresh > 0:
            self._counted = min(LATELY_PACKETS, self._counted + fresh)
            self.lately = max(0.0, self.lately + (lost / fresh - self.lately) * fresh / self._counted)
        self._told_s = now_s

    def judge(self, estimate_bps: float, acked_bps: float, settles_s: float, now_s: float) -> float:
        """The estimate as loss has it: lower, given back, or as it was. `settles_s`: how long it takes until what is
        sent less shows here (the round trip)."""
        if self._tried is not None:
            since_s, loss, before_bps = self._tried
            if now_s - since_s < WINDOW_S + settles_s:
                return estimate_bps
            self._tried = None
            if self.share > HELPED * loss:
                self.inherent = max(self.inherent, self.share)
                return max(estimate_bps, before_bps)
            return estimate_bps
        if self.excess > EXCESS and now_s - self._queued_s >= WINDOW_S:
            self._tried = (now_s, self.share, estimate_bps)
            return min(estimate_bps, max(acked_bps, estimate_bps * (1 - self.share)))
        return estimate_bps
