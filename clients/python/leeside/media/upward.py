"""How much picture this device's link upward bears, by what the bridge reports of its packets.

The bridge says of every packet when it came, or that it did not (transport-wide reports, spec 09). Packets that wait in a
queue, or are lost because more is sent than fits, take a step off the picture: half, a quarter, none. Sound is never
lowered. After a while without either the picture takes a step back up; where that does not last, the next try waits twice as
long. Loss that less picture does not lower is the link's own, and is borne.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from leeside_protocol.video.twcc import TwccReport

SHARES: Final = (1.0, 0.5, 0.25, 0.0)
"""Of the usual rate of the picture; 0: sound alone."""
RING: Final = 2_048
"""Packets remembered, by their numbers."""
OLD_S: Final = 10.0
CLOCK_WRAP_US: Final = (1 << 24) * 64_000
"""Reports give the bridge's time in 24 bits of 64 ms."""
BASE_S: Final = 10.0
"""The least delay of this long, or of this long before, stands for an empty path."""
QUEUED_S: Final = 0.15
"""So long packets wait where too much is sent, and below the next where not."""
CALM_S: Final = 0.06
LOST: Final = 0.1
"""Loss above the link's own that is too much, and below the next none to speak of."""
CALM_LOSS: Final = 0.05
HELPED: Final = 0.7
"""Loss that fell to less than this share fell because less was sent."""
LOSS_WINDOW_S: Final = 3.0
OWN_LOSS_S: Final = 10.0
"""How fast the link's own loss is followed."""
SLOPE_S: Final = 1.0
DRAINS_S: Final = 0.04
"""A queue that falls by so much in that time is being drained: wait. One that rises by so much takes the next step soon."""
LEAST_PACKETS: Final = 25
"""Fewer say nothing of loss."""
BAD_S: Final = 0.4
"""What is bad for so long on end takes a step off."""
SETTLES_S: Final = 2.0
"""So long a step is given to show, and at least the next, while the queue grows."""
SOON_S: Final = 0.8
BACK_S: Final = 8.0
LONGEST_BACK_S: Final = 64.0
LASTS_S: Final = 15.0
"""A step up that is taken back sooner was a mistake."""


class UpwardRate:
    """The share of its usual rate that the picture gets now: `share`. Time is an argument."""

    def __init__(self) -> None:
        self._step = 0
        self._sent: list[tuple[int, float]] = [(-1, 0.0)] * RING
        self._clock: tuple[int, float] | None = None
        """The newest arrival: as it was reported, and without wraps."""
        self._least: tuple[float, float, float] | None = None
        """(since when, least delay since then, least delay of the time before)."""
        self._queues: deque[tuple[float, float]] = deque(maxlen=64)
        """(when, how long packets waited) of each report."""
        self._told_s = 0.0
        self._fates: deque[tuple[float, int, int]] = deque(maxlen=64)
        """(when, received, lost) of each report."""
        self._own_loss = 0.0
        self._tried_loss: float | None = None
        """The loss for which the newest step was taken off."""
        self._bad_since_s: float | None = None
        self._good_since_s: float | None = None
        self._stepped_s = float("-inf")
        self._rose_s = float("-inf")
        self._back_s = BACK_S

    @property
    def share(self) -> float:
        """Of the usual rate: one of `SHARES`."""
        return SHARES[self._step]

    def sent(self, number: int, now_s: float) -> None:
        """A packet left with this transport number (16 bits)."""
        self._sent[number % RING] = (number, now_s)

    def told(self, report: TwccReport, now_s: float) -> None:
        """A report of the bridge. What it says of packets that were not sent, or long ago, says nothing."""
        received = lost = 0
        delays: list[float] = []
        for number, arrival_us in report.packets:
            known, sent_s = self._sent[number % RING]
            if known != number or now_s - sent_s > OLD_S:
                continue
            if arrival_us is None:
                lost += 1
                continue
            received += 1
            delays.append(self._arrived_s(arrival_us) - sent_s)
        if not received and not lost:
            return
        self._fates.append((now_s, received, lost))
        while now_s - self._fates[0][0] > LOSS_WINDOW_S:
            self._fates.popleft()
        self._judge(self._queue_s(min(delays), now_s) if delays else 0.0, self._loss(), now_s)

    def _arrived_s(self, arrival_us: int) -> float:
        before_us, before_s = self._clock or (arrival_us, 0.0)
        half_us = CLOCK_WRAP_US // 2
        came_s = before_s + ((arrival_us - before_us + half_us) % CLOCK_WRAP_US - half_us) / 1e6
        self._clock = (arrival_us, came_s)
        return came_s

    def _queue_s(self, least_s: float, now_s: float) -> float:
        """How long packets wait: what the quickest of a report took, above the quickest of all. The two clocks have nothing
        in common but their pace."""
        since_s, recent_s, before_s = self._least or (now_s, least_s, least_s)
        if now_s - since_s > BASE_S:
            since_s, recent_s, before_s = now_s, least_s, recent_s
        recent_s = min(recent_s, least_s)
        self._least = (since_s, recent_s, before_s)
        return least_s - min(recent_s, before_s)

    def _loss(self) -> float:
        lost = sum(fate[2] for fate in self._fates)
        count = lost + sum(fate[1] for fate in self._fates)
        return lost / count if count >= LEAST_PACKETS else 0.0

    def _judge(self, queue_s: float, loss: float, now_s: float) -> None:
        if self._own_loss:
            self._own_loss += (loss - self._own_loss) * min(1.0, (now_s - self._told_s) / OWN_LOSS_S)
        self._told_s = now_s
        self._queues.append((now_s, queue_s))
        while now_s - self._queues[0][0] > SLOPE_S:
            self._queues.popleft()
        grown_s = queue_s - self._queues[0][1]
        too_late = queue_s > QUEUED_S and grown_s > -DRAINS_S
        since_s = now_s - self._stepped_s
        if since_s < SETTLES_S and not (too_late and grown_s > DRAINS_S and since_s > SOON_S):
            return
        if self._tried_loss is not None:
            if loss > HELPED * self._tried_loss:
                self._own_loss = loss
            self._tried_loss = None
        too_much = too_late or loss > self._own_loss + LOST
        calm = queue_s < CALM_S and loss < self._own_loss + CALM_LOSS
        self._bad_since_s = (self._bad_since_s or now_s) if too_much else None
        self._good_since_s = (self._good_since_s or now_s) if calm else None
        if self._bad_since_s is not None and now_s - self._bad_since_s >= BAD_S:
            self._fall(None if too_late else loss, now_s)
        elif self._good_since_s is not None and now_s - self._good_since_s >= self._back_s:
            self._rise(now_s)

    def _fall(self, loss: float | None, now_s: float) -> None:
        if self._step == len(SHARES) - 1:
            return
        self._step += 1
        self._tried_loss = loss
        soon = now_s - self._rose_s < LASTS_S
        self._back_s = min(LONGEST_BACK_S, self._back_s * 2) if soon else BACK_S
        self._settle(now_s)

    def _rise(self, now_s: float) -> None:
        if self._step == 0:
            return
        self._step -= 1
        self._rose_s = now_s
        self._settle(now_s)

    def _settle(self, now_s: float) -> None:
        self._stepped_s = now_s
        self._fates.clear()
        self._bad_since_s = self._good_since_s = None
