"""Finding out whether a link carries more, by sending it more for a moment: padding beside the media.

An estimate can only grow by what was sent, and a receiver that gets the smallest picture because the estimate is low
would get it for ever. So while more is wanted, padding fills the link up to a rate above the estimate for a moment, and the
pace at which that arrives is the answer. A probe that went well is followed by a bold one, and on a link that none has
failed on yet without a pause, so that a good link is known within a second; one that did not go well is followed by
a timid one, after a wait that doubles. The further a probe goes, the shorter it is: where the link carries no more than
was known, no probe puts more than a tenth of a second of queue before the sound.
"""

from __future__ import annotations

from typing import Final

import msgspec

QUEUE_S: Final = 0.1
"""What a probe adds to the queue of a link that carries no more than was known."""
SHORTEST_S: Final = 0.08
LONGEST_S: Final = 0.3
AGAIN_S: Final = 0.3
"""After a probe that went well, where one has failed before."""
FIRST_WAIT_S: Final = 1.5
LONGEST_WAIT_S: Final = 6.0
BOLD: Final = 2.0
TIMID: Final = 1.25
LEAST_PACKETS: Final = 8
"""A rate of fewer packets is none."""
PACKET_BYTES: Final = 275
"""Of padding: the most that RTP can say."""
ARRIVED: Final = 0.9
"""What arrives at this share of the rate at which it was sent was carried."""
SATURATED: Final = 0.85
"""Of the rate at which a full link delivers, what is taken for an estimate."""
PADDING_BYTES: Final = 6_000
"""The most padding of one call."""
ANSWER_S: Final = 1.0
"""So long after its end a probe waits for reports, beyond the round trip."""


class Outcome(msgspec.Struct, frozen=True):
    """What a probe found: the estimate that it supports, and whether the link carried all of it."""

    bps: float
    carried: bool


class Prober:
    """The probes of one link. Time and counts are arguments; the caller sends what `due` says."""

    def __init__(self) -> None:
        self.running = False
        self._started_s = self._ends_s = 0.0
        self._bps = 0.0
        self._bytes_at_start = 0
        self._sent_bytes = 0
        self._stopped = False
        self._padded_s = 0.0
        self._failed_once = False
        self._next_s: float | None = None
        self._wait_s = FIRST_WAIT_S
        self._factor = BOLD
        self._arrivals: list[tuple[float, float, int]] = []
        """(sent, arrived, size) of the packets of the probe: at most what its rate puts into so short a time."""

    def encourage(self, now_s: float) -> None:
        """The path is another one, or comes back: what failed before says nothing."""
        self._wait_s, self._factor, self._next_s = FIRST_WAIT_S, BOLD, now_s
        self._failed_once = False
        self.running = False

    def postpone(self, now_s: float) -> None:
        """The link is full now: no probe for a while."""
        self.running = False
        self._failed_once = True
        self._next_s = max(self._next_s or 0.0, now_s + self._wait_s)

    def start(self, estimate_bps: float, wanted_bps: float, sent_bytes: int, now_s: float) -> None:
        """Begin a probe if it is time for one. `sent_bytes` is the count of all that was ever sent on this link."""
        if self._next_s is not None and now_s < self._next_s:
            return
        self.running, self._stopped = True, False
        self._bps = min(estimate_bps * self._factor, max(wanted_bps, estimate_bps * TIMID))
        lasts_s = QUEUE_S * estimate_bps / (self._bps - estimate_bps)
        enough_s = 2 * LEAST_PACKETS * PACKET_BYTES * 8 / self._bps
        self._started_s = self._padded_s = now_s
        self._ends_s = now_s + min(LONGEST_S, max(SHORTEST_S, enough_s, lasts_s))
        self._bytes_at_start = self._sent_bytes = sent_bytes
        self._arrivals = []

    def due(self, sent_bytes: int, now_s: float) -> int:
        """The bytes of padding to send now."""
        if not self.running or self._stopped:
            return 0
        if now_s >= self._ends_s:
            # Nothing may be sent after its last packet: what is told of that one is the answer.
            self._stop(self._padded_s if self._padded_s > self._started_s else self._ends_s)
            return 0
        self._sent_bytes = sent_bytes
        owed = int(self._bps / 8 * (now_s - self._started_s)) - (sent_bytes - self._bytes_at_start)
        if owed <= 0:
            return 0
        self._padded_s = now_s
        return min(PADDING_BYTES, owed)

    def _stop(self, now_s: float) -> None:
        self._stopped = True
        self._ends_s = now_s

    def arrived(self, sent_s: float, arrived_s: float, size: int) -> None:
        """A packet came that was sent while a probe ran."""
        if self._started_s <= sent_s <= self._ends_s:
            self._arrivals.append((sent_s, arrived_s, size))

    def judge(
        self, newest_sent_s: float, *, queueing: bool, losing: bool, rtt_s: float, now_s: float
    ) -> Outcome | None:
        """Look at a running probe after a report whose newest packet was sent at `newest_sent_s`. None: not over yet, or
        nobody knows. `queueing`, `losing`: packets wait or are lost more than before."""
        if queueing and not self._stopped:
            self._stop(now_s)
        late = now_s > self._ends_s + rtt_s + ANSWER_S
        if newest_sent_s < self._ends_s and not late:
            return None
        self.running = False
        rates = self._rates()
        if rates is None:
            self._failed(now_s)
            return None
        sent_bps, arrived_bps = rates
        carried = arrived_bps >= ARRIVED * sent_bps and not queueing and not losing
        if carried:
            self._wait_s, self._factor = FIRST_WAIT_S, BOLD
            self._next_s = now_s + AGAIN_S if self._failed_once else now_s
            return Outcome(min(sent_bps, arrived_bps), carried=True)
        self._failed(now_s)
        return Outcome(SATURATED * min(rates), carried=False)

    def carried_bps(self) -> float | None:
        """What a running probe says of a link that it has filled, by what arrived of it until now; None: too little did."""
        rates = self._rates()
        return None if rates is None else SATURATED * min(rates)

    def _failed(self, now_s: float) -> None:
        self._failed_once = True
        self._next_s = now_s + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
        self._factor = TIMID

    def _rates(self) -> tuple[float, float] | None:
        """Bits a second as sent and as arrived, of the packets that arrived."""
        if len(self._arrivals) < LEAST_PACKETS:
            return None
        sent = [at for at, _, _ in self._arrivals]
        came = [at for _, at, _ in self._arrivals]
        sent_span_s, came_span_s = max(sent) - min(sent), max(came) - min(came)
        if sent_span_s < SHORTEST_S / 2 or came_span_s <= 0:
            return None
        bits = 8 * sum(size for _, _, size in self._arrivals)
        first_sent, first_came, last_sent = (
            sent.index(min(sent)),
            came.index(min(came)),
            sent.index(max(sent)),
        )
        # A rate is what came after the first packet (or left before the last) over the time between.
        return (
            (
                (bits - 8 * self._arrivals[last_sent][2]) / sent_span_s,
                (bits - 8 * self._arrivals[first_came][2]) / came_span_s,
            )
            if first_sent != last_sent
            else None
        )
