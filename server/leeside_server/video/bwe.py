"""What a receiver's link carries, estimated by the bridge that sends (one `Bandwidth` a receiver).

Each packet has a transport-wide number; the receiver reports which came, and when (draft-holmer-rmcat-transport-wide-cc-
extensions-01). From that:

- a queue that stands and does not drain means that too much is sent: the estimate falls to 0.85 of what arrives (`delay`;
  the rules of draft-ietf-rmcat-gcc-02, with the standing delay in place of its arrival filter);
- loss lowers it where lowering helps (`losses`);
- the estimate grows to what was carried, never beyond: within seconds with the media, in leaps by probes (`probing`).

A queue that does not drain although less and less is sent is somebody else's: the threshold rises above it, so that a
download beside the call does not starve the call.

A link that reports nothing at all is not full but gone (a tunnel, a change of cell): the estimate is held for five
seconds, and what was lost meanwhile is no sign of anything.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from operator import sub
from typing import Final, cast

from leeside_protocol.video.rtcp import Part
from leeside_protocol.video.twcc import TwccReport, read_twcc
from leeside_server.video.delay import QueueDelay
from leeside_server.video.losses import CALM, Losses
from leeside_server.video.probing import Prober
from leeside_server.video.ways import NOTHING, PLAIN, RING, Heard, Ways

START_BPS: Final = 500_000.0
"""A hope: a picture of one usual size, and sound. What the link carries is known within a second."""
RESUMED_MOST_BPS: Final = 1_500_000.0
"""With so much at most begins a device that was here before: it may come back by another path."""
LEAST_BPS: Final = 40_000.0
MOST_BPS: Final = 10_000_000.0

TOO_OLD_S: Final = 10.0
CLOCK_WRAP_US: Final = (1 << 24) * 64_000
"""Reports give the receiver's time in 24 bits of 64 ms."""

RATE_WINDOW_S: Final = 0.5
DECREASE: Final = 0.85
PUSHED: Final = 1.15
"""Packets sent so much faster than they arrive fill the queue themselves. Where they do not, a decrease goes to half at
most: what arrives is then only what was sent, not what could be."""
DOUBTED: Final = 0.7
"""A full link that carried less than this share of the estimate."""
FLOWS: Final = 1.1
"""What flows, and a little more than that."""
CATCHES_UP_S: Final = 1.0
"""How fast the estimate follows what arrives, when that is more and nothing queues."""
CALM_AFTER_S: Final = 1.0
"""After a decrease, no growth."""

THRESHOLD_S: Final = 0.1
"""The standing queue that is too much, to begin with."""
MOST_THRESHOLD_S: Final = 0.5
THRESHOLD_FALLS: Final = 0.2
"""The share a second of the way back."""
STRIKES: Final = 4
"""Decreases on end after which a queue that still stands is somebody else's, or none but a longer path."""
ABOVE: Final = 1.25
"""The threshold above a queue of somebody else's."""
DRAINS: Final = -0.05
"""A queue that falls by so much a second is being drained: wait."""
GROWS: Final = 0.02
"""One that does not grow by so much either is not ours, or full: it counts twice."""

SILENT_S: Final = 1.0
HELD_S: Final = 5.0
"""Silence for which an estimate is held; then it is halved every two seconds."""
GRACE_S: Final = 1.0
"""After a silence, what stood in queues arrives late: that much time nothing is taken for congestion."""
CLOCK_JUMPS_S: Final = 10.0
"""A receiver's clock that went so much further than ours, or back, is another clock."""
GAP_PACKETS: Final = 256
"""Packets between two reports that are taken as reported when a report was lost."""
AHEAD: Final = 1.5
"""How much faster than the estimate packets leave on a link that bears all that is wanted. The estimate ends a little above what
flows: at that pace a key frame would hold up all that comes after it, for as long as it takes to gain its size."""
DRAINING: Final = 0.95
"""The share of the estimate at which packets leave while any queue."""
REPORTED_EVERY_S: Final = 1.0
REPORTED_GROWTH: Final = 1.05
REPORTED_CALM: Final = 0.02
REPORTED_MUCH: Final = 0.1
"""Of the loss-based controller of draft-ietf-rmcat-gcc-02, section 6."""
LATE_REPAIRS_S: Final = 0.06
"""With so long a round trip what is asked for again comes too late for a picture that moves."""
LOSES: Final = 0.002
LOSES_NO_MORE: Final = 0.0007
LOSES_MUCH: Final = 0.02
"""Where repairs are lost as well, whatever the round trip."""
REPAIRS_MOST: Final = 0.3
"""The largest share of the estimate that is kept for repairs."""

_ALL_NUMBERS: Final = array("i", range(0x1_0000))


class Bandwidth:
    """The estimate of one link. The caller numbers its packets with `next_seq`, tells `sent` and each `report`, asks
    `probe_due` every 10 to 20 ms while `restless`, and gives `budget_bps` to the allocator and `pace_bps` to the pacer. `ways` may number and
    tell by itself: what stands in `link` and in the rings is all there is to know of what was sent."""

    def __init__(self, start_bps: float = START_BPS, ways: Ways = PLAIN) -> None:
        self.estimate_bps = start_bps
        self.proven = False
        """Whether this path was seen to carry no more: packets queued, or were lost. Until then the estimate is a hope, and
        what flows is not to be stopped because of it."""
        self.acked_bps = 0.0
        """What arrives, over half a second."""
        self.rtt_s = 0.0
        self._numbers = array("i", [NOTHING] * RING)
        self._times = array("d", [0.0] * RING)
        self._sizes = array("i", [0] * RING)
        """Of the packets sent last: number, when, size; a negative size: counted as lost."""
        self._ways = ways
        self.link: Final = ways.link(self._numbers, self._times, self._sizes)
        self._delay = QueueDelay()
        self._losses = Losses()
        self._prober = Prober()
        self._threshold_s = THRESHOLD_S
        self._strikes = 0
        self._first_cut_bps = start_bps
        """The estimate after the first decrease of those that count as strikes."""
        self._wanted_bps = 0.0
        self._arrivals: deque[tuple[float, float, int]] = deque(maxlen=128)
        """(newest arrival, when that was sent, bytes) of each report."""
        self._sent: deque[tuple[float, int]] = deque(maxlen=128)
        """(when, all bytes sent until then) at each report."""
        self._pushed = 1.0
        """How much faster packets are sent than they arrive."""
        self._told_s: float | None = None
        self._lasting_bps: float | None = None
        """The estimate after the newest report."""
        self._halved_s = 0.0
        self._decreased_s = float("-inf")
        self._grace_until_s = float("-inf")
        self._returned = False
        self._late = False
        self._reported_s: float | None = None

    # ---- what the link is

    @property
    def budget_bps(self) -> float:
        """The estimate less what repairs will take: what media may use."""
        return self.estimate_bps * self._for_media

    @property
    def pace_bps(self) -> float:
        """How fast packets may leave: a burst had better wait here than before the sound in the network, and repairs of
        what was lost in a queue must not keep that queue up."""
        if self._delay.standing_s >= self._calm_s or self._losses.excess >= CALM:
            return self.estimate_bps * DRAINING
        # Of a link that nothing was told of yet the estimate is a hope.
        return self.estimate_bps * (AHEAD if self.told and self.scarce_bps is None else 1.0)

    @property
    def scarce_bps(self) -> float | None:
        """The estimate while more is wanted than fits; None: whatever the link carries, it is enough."""
        return self.estimate_bps if self._wanted_bps > self.budget_bps else None

    @property
    def restless(self) -> bool:
        """Whether `probe_due` may have something to say with every tick."""
        return self._prober.running or self.scarce_bps is not None

    @property
    def _for_media(self) -> float:
        return 1 - min(self._losses.usual, REPAIRS_MOST)

    @property
    def loss(self) -> float:
        """The share of packets lost over two seconds."""
        return self._losses.share

    @property
    def repairs_late(self) -> bool:
        """Whether the link loses anything that is repaired too late for a picture that moves."""
        least = LOSES_NO_MORE if self._late else LOSES
        self._late = self.rtt_s >= LATE_REPAIRS_S and self._losses.lately >= least
        return self._late

    @property
    def repeats(self) -> bool:
        """Whether the link loses what it does not repair in time, though nothing queues: better send twice what there is
        room for."""
        late = self.repairs_late
        return (late or self.loses_much) and self._delay.standing_s < self._calm_s

    @property
    def loses_much(self) -> bool:
        """Whether so much is lost that sound, with its own redundancy, is not whole."""
        return max(self._losses.usual, self._losses.lately) >= LOSES_MUCH

    @property
    def queue_s(self) -> float:
        """How long packets wait in the link's queues."""
        return self._delay.standing_s

    @property
    def lasting_bps(self) -> float | None:
        """What is worth knowing of this link when its device joins anew; None: nothing was ever told. (A silence lowers the
        estimate, and says little of the link after it.)"""
        return self._lasting_bps

    @property
    def sent_bytes(self) -> int:
        """All that left, since the beginning."""
        return self.link.sent_bytes

    def silent_s(self, now_s: float) -> float:
        """For how long reports are overdue."""
        owed_since_s = self.link.owed_since_s
        return 0.0 if owed_since_s < 0 else max(0.0, now_s - owed_since_s)

    # ---- what the caller does

    def next_seq(self) -> int:
        """The transport-wide number of the next packet."""
        link = self.link
        seq = link.seq = (link.seq + 1) & 0xFFFF
        return seq

    def sent(self, seq: int, size: int, now_s: float) -> None:
        """A packet of `size` bytes left with this number."""
        place, link = seq & (RING - 1), self.link
        self._numbers[place], self._times[place], self._sizes[place] = seq, now_s, size
        link.sent_bytes += size
        if link.owed_since_s < 0:
            link.owed_since_s = now_s

    def want(self, bps: float) -> None:
        """So much could be used for media: probe for it while `budget_bps` is less. 0: nothing more is wanted."""
        self._wanted_bps = min(bps, MOST_BPS)

    def resume(self, bps: float) -> None:
        """Begin with what was known of this device's link before, instead of a hope."""
        self._set(min(bps, RESUMED_MOST_BPS))

    def path_changed(self, now_s: float) -> None:
        """Packets take another way from now on (ICE restarted, another address)."""
        self.proven = False
        self._delay.forget()
        self._losses.forget()
        self._arrivals.clear()
        self._threshold_s = THRESHOLD_S
        self._grace_until_s = now_s + GRACE_S
        self._prober.encourage(now_s + GRACE_S)

    @property
    def told(self) -> bool:
        """Whether its receiver sends transport-wide reports: then `reported` says nothing."""
        return self._told_s is not None

    def reported(self, loss: float, now_s: float) -> None:
        """The loss that a receiver's own reports tell (RFC 3550): all there is to go by while it sends none of the
        transport-wide kind. Once it does, this says nothing."""
        if self.told:
            return
        if self._reported_s is None or now_s - self._reported_s >= REPORTED_EVERY_S:
            first, self._reported_s = self._reported_s is None, now_s
            if loss > REPORTED_MUCH:
                self.proven = True
                self._set(self.estimate_bps * (1 - loss / 2))
            elif loss < REPORTED_CALM and not first and self._wanted_bps > self.estimate_bps:
                self._set(self.estimate_bps * REPORTED_GROWTH)

    def returned(self) -> bool:
        """Whether the link came back from a silence since this was asked last. What was lost meanwhile is too much to be
        repaired: begin pictures anew."""
        returned, self._returned = self._returned, False
        return returned

    def probe_due(self, now_s: float) -> int:
        """Bytes of padding to send now, as packets that are numbered and `sent` like all others."""
        silent_s = self.silent_s(now_s)
        if silent_s > SILENT_S:
            if self._told_s is not None and silent_s > HELD_S and now_s - self._halved_s > 2.0:
                self._halved_s = now_s
                self._set(self.estimate_bps / 2)
            return 0
        prober = self._prober
        if not prober.running:
            wanted_bps = self._wanted_bps / self._for_media
            if wanted_bps <= self.estimate_bps or self._told_s is None or not self._may_grow(now_s):
                return 0
            known_bps = max(self.estimate_bps, self.acked_bps)
            prober.start(known_bps, wanted_bps, self.sent_bytes, now_s)
        return prober.due(self.sent_bytes, now_s)

    def report(self, data: bytes, part: Part, now_s: float) -> bool:
        """A report of the receiver as it came, in this part of a compound. False: it cannot be read."""
        # A probe looks at each packet by itself; and what is said after a silence, or while a report is missing, is not the usual.
        if not self._prober.running and self.silent_s(now_s) <= SILENT_S:
            heard = self._ways.heard(self.link, data, part.start, part.end, now_s - TOO_OLD_S)
            if heard is not None:
                self._learn(heard, 0, now_s)
                return True
        report = read_twcc(data, part)
        if report is not None:
            self.feedback(report, now_s)
        return report is not None

    def feedback(self, report: TwccReport, now_s: float) -> None:
        """A report of the receiver. What is not known, too old or said twice is ignored."""
        after_silence = self.silent_s(now_s) > SILENT_S
        if after_silence:
            self._returned = True
            self._delay.forget()
            self._losses.forget()
            self._arrivals.clear()
            self._grace_until_s = now_s + GRACE_S
        credited = 0 if after_silence else self._credit_gap(report)
        sent_s, came_us, sizes, lost = self._known(report, now_s - TOO_OLD_S)
        if not came_us:
            if lost and not after_silence:
                self._losses.told(0, lost, now_s, calm=False)
            return
        came_s = self._unwrapped(came_us)
        if self._prober.running:
            for packet in zip(sent_s, came_s, sizes, strict=True):
                self._prober.arrived(*packet)
        least_s = min(map(sub, came_s, sent_s))
        heard = Heard(len(came_s), sum(sizes) + credited, max(came_s), sent_s[-1], least_s)
        self._learn(heard, 0 if after_silence else lost, now_s)

    def _learn(self, heard: Heard, lost: int, now_s: float) -> None:
        newest_s, newest_sent_s = heard.newest_s, heard.newest_sent_s
        passed_s = 0.0 if self._told_s is None else min(0.5, now_s - self._told_s)
        if self._arrivals and abs(newest_s - self._arrivals[-1][0]) > CLOCK_JUMPS_S + passed_s:
            self._delay.forget()
            self._arrivals.clear()
        self._told_s = now_s
        self.link.owed_since_s = NOTHING
        self._measure_rate(newest_s, newest_sent_s, heard.bytes)
        if self._delay.told(heard.least_s, now_s):
            self._prober.encourage(now_s)
        calm = self._delay.standing_s < self._calm_s
        self._losses.told(heard.count, lost, now_s, calm=calm)
        rtt_s = max(0.0, now_s - newest_sent_s)
        self.rtt_s = rtt_s if not self.rtt_s else self.rtt_s + 0.2 * (rtt_s - self.rtt_s)
        self._judge(newest_sent_s, passed_s, now_s)
        self._lasting_bps = self.estimate_bps

    # ---- what it makes of it

    def _known(
        self, report: TwccReport, oldest_s: float
    ) -> tuple[Sequence[float], Sequence[int], Sequence[int], int]:
        """Of the packets that came: when each left, when it came, its size; then how many more than before are lost. Each is
        known once, and none from before `oldest_s`."""
        first, arrivals_us = report
        numbers, times, sizes = self._numbers, self._times, self._sizes
        mask = RING - 1
        place, count = first & mask, len(arrivals_us)
        row = slice(place, place + count)
        if (
            place + count <= RING
            and numbers[row] == _ALL_NUMBERS[first : first + count]
            and times[place] >= oldest_s
            and None not in arrivals_us
            and min(sizes[row]) > 0
        ):
            # All of them came, and nothing was told of any before, as nearly always: every packet that was ever sent to
            # anybody passes here, and a row of them costs no more than a few by themselves.
            numbers[row] = array("i", [NOTHING]) * count
            return times[row], cast("list[int]", arrivals_us), sizes[row], 0
        sent_s: list[float] = []
        came_us: list[int] = []
        came_bytes: list[int] = []
        lost = 0
        for seq, arrival_us in enumerate(arrivals_us, first):
            place = seq & mask
            if numbers[place] != seq & 0xFFFF or times[place] < oldest_s:
                continue
            size = sizes[place]
            if arrival_us is None:
                if size > 0:
                    lost += 1
                    sizes[place] = -size
                continue
            if size < 0:
                size, lost = -size, lost - 1
            numbers[place] = NOTHING
            sent_s.append(times[place])
            came_us.append(arrival_us)
            came_bytes.append(size)
        return sent_s, came_us, came_bytes, lost

    def _unwrapped(self, came_us: Sequence[int]) -> list[float]:
        """Times of one report as seconds that go on from those of the reports before."""
        first_us, half_us, link = came_us[0], CLOCK_WRAP_US // 2, self.link
        clock_us = first_us if link.clock_us == NOTHING else link.clock_us
        wraps_us = clock_us + (first_us - clock_us + half_us) % CLOCK_WRAP_US - half_us - first_us
        link.clock_us = came_us[-1] + wraps_us
        return [(arrival_us + wraps_us) / 1e6 for arrival_us in came_us]

    def _credit_gap(self, report: TwccReport) -> int:
        """The bytes of packets that a lost report spoke of: they count as arrived, less the usual loss, or the rate would
        seem to fall with every report that is lost."""
        first, link = report.first, self.link
        expected = link.reported
        after = (first + len(report.arrivals_us)) & 0xFFFF
        if expected == NOTHING:
            link.reported = after
            return 0
        if (after - expected) & 0xFFFF < 0x8000:
            link.reported = after
        gap = (first - expected) & 0xFFFF
        if not 0 < gap <= GAP_PACKETS:
            return 0
        found = 0
        for number in range(gap):
            seq = (expected + number) & 0xFFFF
            place = seq & (RING - 1)
            if self._numbers[place] == seq and self._sizes[place] > 0:
                found += self._sizes[place]
                self._numbers[place] = NOTHING
        return int(found * (1 - self._losses.usual))

    def _measure_rate(self, newest_s: float, newest_sent_s: float, acked_bytes: int) -> None:
        arrivals = self._arrivals
        if arrivals and newest_s <= arrivals[-1][0]:
            # A report that came out of order.
            last_s, last_sent_s, size = arrivals[-1]
            arrivals[-1] = (last_s, last_sent_s, size + acked_bytes)
        else:
            arrivals.append((newest_s, newest_sent_s, acked_bytes))
        while len(arrivals) > 2 and newest_s - arrivals[1][0] >= RATE_WINDOW_S:
            arrivals.popleft()
        came_s, sent_s = arrivals[-1][0] - arrivals[0][0], arrivals[-1][1] - arrivals[0][1]
        if came_s > RATE_WINDOW_S / 4:
            self.acked_bps = 8 * (sum(size for _, _, size in arrivals) - arrivals[0][2]) / came_s
            self._pushed = came_s / max(0.01, sent_s)

    def _sent_bps(self, now_s: float) -> float:
        """What left here, over half a second."""
        sent = self._sent
        sent.append((now_s, self.sent_bytes))
        while len(sent) > 2 and now_s - sent[1][0] >= RATE_WINDOW_S:
            sent.popleft()
        return 8 * (self.sent_bytes - sent[0][1]) / max(RATE_WINDOW_S / 4, now_s - sent[0][0])

    def _judge(self, newest_sent_s: float, passed_s: float, now_s: float) -> None:
        standing_s, prober = self._delay.standing_s, self._prober
        sent_bps = self._sent_bps(now_s)
        self._adapt(standing_s, passed_s)
        probed = prober.running
        if probed:
            found = prober.judge(
                newest_sent_s,
                queueing=standing_s > self._calm_s,
                losing=self._losses.excess > CALM,
                rtt_s=self.rtt_s,
                now_s=now_s,
            )
            if found is not None and found.carried:
                self._set(max(self.estimate_bps, found.bps))
            elif found is not None:
                self._doubt(found.bps)
        if now_s < self._grace_until_s:
            return
        settles_s = 0.2 + min(1.0, self.rtt_s)
        if standing_s > self._threshold_s and self._delay.slope > DRAINS:
            if probed:
                # The probe filled the queue; what stands after it has drained is the media's.
                if prober.running and (carried_bps := prober.carried_bps()) is not None:
                    self._doubt(carried_bps)
                prober.postpone(now_s)
                self._grace_until_s = now_s + settles_s
            elif now_s - self._decreased_s > settles_s:
                self._decrease(standing_s, sent_bps, now_s)
            return
        if standing_s > self._calm_s:
            # What is lost while packets queue is lost to that queue.
            return
        by_loss_bps = self._losses.judge(self.estimate_bps, self.acked_bps, self.rtt_s, now_s)
        if by_loss_bps < self.estimate_bps:
            self.proven = True
            self._decreased_s = now_s
            prober.postpone(now_s)
        self._set(by_loss_bps)
        if self._may_grow(now_s) and not probed:
            more_bps = max(0.0, self.acked_bps - self.estimate_bps)
            self._set(self.estimate_bps + more_bps * min(1.0, passed_s / CATCHES_UP_S))

    def _doubt(self, found_bps: float) -> None:
        """A probe filled the link, and told its rate. Where that is far below an estimate that nothing has tried yet, the
        estimate is believed no longer: each further probe would flood the link."""
        if found_bps >= self.estimate_bps:
            self._set(found_bps)
        elif (came_bps := max(found_bps, self.acked_bps)) < DOUBTED * self.estimate_bps:
            self.proven = True
            self._set(max(came_bps, self.estimate_bps / 2))

    def _decrease(self, standing_s: float, sent_bps: float, now_s: float) -> None:
        """Less is sent; unless that was tried often enough and did not help: then all but the first decrease is given
        back, and the queue borne."""
        self.proven = True
        if self._strikes and sent_bps > PUSHED * self.estimate_bps:
            # The decrease before has not come into effect: a smaller picture must begin with a key frame.
            self._decreased_s = now_s
            self._set(min(self.estimate_bps, DECREASE * self.acked_bps))
            return
        if self._strikes >= STRIKES:
            self._strikes = 0
            self._threshold_s = min(MOST_THRESHOLD_S, ABOVE * standing_s)
            self._set(max(self.estimate_bps, self._first_cut_bps))
            return
        self._decreased_s = now_s
        grows = self._delay.slope > GROWS
        pushed = self._pushed / (1 - min(0.9, self._losses.excess)) > PUSHED
        least_bps = 0.0 if pushed else self.estimate_bps / 2
        if not pushed and not grows:
            # It stands, and what is sent arrives: perhaps somebody else's. What flows is not paused for that yet.
            least_bps = max(least_bps, min(self.estimate_bps, FLOWS * self.acked_bps))
        self._set(max(least_bps, DECREASE * min(self.estimate_bps, self.acked_bps)))
        self._prober.postpone(now_s)
        if not self._strikes:
            self._first_cut_bps = self.estimate_bps
            self._losses.doubt()
        self._strikes += 1 if grows else 2

    def _adapt(self, standing_s: float, passed_s: float) -> None:
        """A queue that has drained was ours; a threshold that had to rise comes back as the queue does."""
        if standing_s < self._calm_s:
            self._strikes = 0
        if standing_s < THRESHOLD_S:
            back_s = THRESHOLD_FALLS * passed_s * (self._threshold_s - standing_s)
            self._threshold_s = max(THRESHOLD_S, self._threshold_s - back_s)

    @property
    def _calm_s(self) -> float:
        """The standing queue below which more may be sent: half of what is too much, or nearly all of somebody else's."""
        return self._threshold_s * (0.5 if self._threshold_s <= THRESHOLD_S else 0.8)

    def _may_grow(self, now_s: float) -> bool:
        return (
            now_s - self._decreased_s > CALM_AFTER_S
            and now_s >= self._grace_until_s
            and self._delay.standing_s < self._calm_s
            and self._losses.excess < CALM
        )

    def _set(self, bps: float) -> None:
        self.estimate_bps = min(MOST_BPS, max(LEAST_BPS, bps))
