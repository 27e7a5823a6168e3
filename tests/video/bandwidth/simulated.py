"""A call over a simulated link: virtual time, a seeded source of chance, and the real estimator, pacer and allocator.

`Link` is a bottleneck: a rate, a queue that overflows, a delay, jitter that keeps the order, loss, and moments in which
nothing passes. `Call` is what one receiver gets through it: sound every 20 ms, a picture in three sizes with key frames
where it begins or changes size, repairs, padding, and reports on the way back. `Download` is a greedy flow beside it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from leeside_protocol.video.signalling import Part
from leeside_protocol.video.twcc import TwccReport
from leeside_server.video.allocator import Allocator, Demand, Layer
from leeside_server.video.bwe import Bandwidth
from leeside_server.video.pacer import Pacer, Urgency

AUDIO_BYTES = 112
"""Opus at 24 kbit/s with one redundant frame and every header, every 20 ms: 45 kbit/s."""
AUDIO_S = 0.02
PACKET_BYTES = 1_150
PADDING_BYTES = 275
FPS = 20
KEY_FRAME = 6
"""A key frame is so many times the size of another one."""
USUAL = (Layer(180, 110_000), Layer(360, 330_000), Layer(720, 1_100_000))
KEY_FRAME_S = 0.25
"""So long after it was asked for a key frame comes."""
PLAYED_AFTER_S = 0.06
"""What a receiver waits at least before it plays sound."""
SHRINKS_A_S = 0.03
"""How fast it gives up what it waits longer."""


class World:
    """What happens, in order of time."""

    def __init__(self, seed: int) -> None:
        self.now_s = 0.0
        self.chance = random.Random(seed)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        """Do it then."""
        self._number += 1
        heapq.heappush(self._agenda, (max(when_s, self.now_s), self._number, what))

    def every(self, period_s: float, what: Callable[[], None]) -> None:
        """Do it now and then again and again."""

        def again() -> None:
            what()
            self.at(self.now_s + period_s, again)

        self.at(self.now_s, again)

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._agenda and self._agenda[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self._agenda)
            what()
        self.now_s = until_s


@dataclass
class Link:
    """One direction of a path. Its fields may be changed while time passes."""

    world: World
    bps: float = 100e6
    delay_s: float = 0.02
    jitter_s: float = 0.0
    loss: float = 0.0
    queue_s: float = 0.3
    """What the queue holds, as time at the link's rate."""
    up: bool = True
    in_a_row: float = 1.0
    """How many packets are lost on end, in the mean: radio loses them in bursts."""
    _losing: bool = False
    _free_s: float = 0.0
    _last_s: float = 0.0

    def send(self, size: int, arrive: Callable[[], None]) -> bool:
        """Send a packet; False: it is lost, and nobody is told."""
        world = self.world
        start_s = max(world.now_s, self._free_s)
        if not self.up or start_s - world.now_s > self.queue_s:
            return False
        self._free_s = start_s + size * 8 / self.bps
        # Two states (Gilbert's model): the mean of the loss is `loss`, that of a burst `in_a_row`.
        begins = self.loss / (self.in_a_row * (1 - self.loss))
        self._losing = world.chance.random() < (1 - 1 / self.in_a_row if self._losing else begins)
        if self._losing:
            return False
        late_s = abs(world.chance.gauss(0, self.jitter_s)) if self.jitter_s else 0.0
        self._last_s = max(self._last_s, self._free_s + self.delay_s + late_s)
        world.at(self._last_s, arrive)
        return True


@dataclass
class _Picture:
    lines: int = 0
    new: bool = False


class Call:
    """One receiver of one picture and its sound. `estimates`, `lines` and `sound` say how it went."""

    def __init__(
        self,
        down: Link,
        up: Link,
        layers: tuple[Layer, ...] = USUAL,
        *,
        report_every_s: float = 0.1,
        start_bps: float | None = None,
    ) -> None:
        self.world, self.down, self.up, self.layers = down.world, down, up, layers
        self.bandwidth = Bandwidth() if start_bps is None else Bandwidth(start_bps)
        self.pacer: Pacer[int] = Pacer(self.bandwidth.estimate_bps)
        self.allocator = Allocator()
        self.demands = [Demand("b", Part.RESPONDER, layers, person=True)]
        self.estimates: list[tuple[float, float]] = []
        self.lines: list[tuple[float, int]] = []
        """Each change of what is sent."""
        self.sound: list[tuple[float, float | None]] = []
        """(sent, one-way delay) of each packet of sound; None: lost."""
        self.pictures: list[float] = []
        """When video packets came."""
        self.padding_bytes = 0
        self._picture = _Picture()
        self._given = 0
        self._came: dict[int, int] = {}
        self._reported = 1
        self._repairable: dict[int, int] = {}
        world = self.world
        world.every(AUDIO_S, self._sound)
        world.every(1 / FPS, self._frame)
        world.every(0.005, self._pace)
        world.every(0.02, self._tick)
        world.every(0.2, self._allocate)
        world.every(report_every_s, self._report)

    # ---- the bridge

    def _send(self, size: int, came: Callable[[], None] | None = None, *, repairable: bool = False) -> bool:
        seq = self.bandwidth.next_seq()
        self.bandwidth.sent(seq, size, self.world.now_s)
        if repairable:
            self._repairable[seq] = size
            self._repairable.pop((seq - 1_000) & 0xFFFF, None)

        def arrive() -> None:
            self._came[seq] = int(self.world.now_s * 1e6)
            if came is not None:
                came()

        return self.down.send(size, arrive)

    def _sound(self) -> None:
        sent_s = self.world.now_s
        self.pacer.passes(Urgency.AUDIO, AUDIO_BYTES, sent_s)
        index = len(self.sound)
        self.sound.append((sent_s, None))

        def came() -> None:
            self.sound[index] = (sent_s, self.world.now_s - sent_s)

        self._send(AUDIO_BYTES, came)

    def _frame(self) -> None:
        picture = self._picture
        layer = next((layer for layer in self.layers if layer.lines == picture.lines), None)
        if layer is None:
            return
        size = layer.bps / 8 / FPS * self.world.chance.uniform(0.7, 1.3) * (KEY_FRAME if picture.new else 1)
        picture.new = False
        while size > 0:
            part = int(min(size, PACKET_BYTES)) or 1
            size -= part
            self._paced(Urgency.VIDEO, part)

    def _paced(self, urgency: Urgency, size: int) -> None:
        now_s = self.world.now_s
        if self.pacer.passes(urgency, size, now_s):
            self._video(size)
        else:
            self.pacer.hold(urgency, size, size, now_s)

    def _video(self, size: int) -> None:
        self._send(size, lambda: self.pictures.append(self.world.now_s), repairable=True)

    def _pace(self) -> None:
        for size in self.pacer.due(self.world.now_s):
            self._video(size)

    def _tick(self) -> None:
        now_s = self.world.now_s
        self.pacer.rate(self.bandwidth.pace_bps)
        owed = self.bandwidth.probe_due(now_s)
        while owed >= PADDING_BYTES:
            self._send(PADDING_BYTES)
            self.padding_bytes += PADDING_BYTES
            owed -= PADDING_BYTES
        self.estimates.append((now_s, self.bandwidth.estimate_bps))

    def _allocate(self) -> None:
        allocation = self.allocator.allocate(self.bandwidth.budget_bps, 1, self.demands, self.world.now_s)
        self.bandwidth.want(allocation.wanted_bps)
        lines = allocation.lines["b"]
        if lines == self._given:
            return
        self._given = lines
        self.lines.append((self.world.now_s, lines))
        if lines:
            self.world.at(self.world.now_s + KEY_FRAME_S, lambda: self._begin(lines))
        else:
            self._begin(0)

    def _begin(self, lines: int) -> None:
        """The key frame of that size is there; until then the other size went on."""
        if lines == self._given:
            self._picture.lines, self._picture.new = lines, lines > 0
            self.pacer.clear()

    # ---- the receiver

    def _report(self) -> None:
        if not self._came:
            return
        newest = max(self._came, key=lambda seq: (seq - self._reported + 0x4000) & 0xFFFF)
        count = (newest - self._reported) & 0xFFFF
        if count >= 0x8000:
            self._came.clear()
            return
        numbers = [(self._reported + number) & 0xFFFF for number in range(count + 1)]
        packets = [(seq, self._came.get(seq)) for seq in numbers]
        self._came.clear()
        self._reported = (newest + 1) & 0xFFFF
        self.up.send(40 + 2 * len(packets), lambda: self._told(packets))

    def _told(self, packets: list[tuple[int, int | None]]) -> None:
        self.bandwidth.feedback(
            TwccReport(packets[0][0], [came_us for _, came_us in packets]), self.world.now_s
        )
        for seq, came_us in packets:
            size = self._repairable.pop(seq, None)
            if size is not None and came_us is None:
                self._paced(Urgency.REPAIR, size)

    # ---- what came of it

    def shown(self, at_s: float) -> int:
        """The lines sent at a time."""
        return next((lines for when_s, lines in reversed(self.lines) if when_s <= at_s), 0)

    def estimate(self, at_s: float) -> float:
        """The estimate at a time."""
        return next((bps for when_s, bps in reversed(self.estimates) if when_s <= at_s), 0.0)

    def concealed(self, from_s: float, to_s: float) -> float:
        """The share of sound that is not heard as it was said: two packets lost on end (each carries the one before it
        again), and the silence while a packet is later than all before it."""
        quickest = min(delay for _, delay in self.sound if delay is not None)
        played = quickest + PLAYED_AFTER_S
        gone_s = 0.0
        for number, (sent_s, delay) in enumerate(self.sound):
            if delay is not None and delay > played:
                gone_s += delay - played if from_s <= sent_s < to_s else 0.0
                played = delay
            elif delay is None and number and self.sound[number - 1][1] is None and from_s <= sent_s < to_s:
                gone_s += AUDIO_S
            played = max(quickest + PLAYED_AFTER_S, played - SHRINKS_A_S * AUDIO_S)
        return gone_s / (to_s - from_s)

    def frozen(self, from_s: float, to_s: float, stall_s: float = 0.5) -> float:
        """The share of a time in which no picture came for longer than `stall_s`."""
        times = [from_s, *(at_s for at_s in self.pictures if from_s <= at_s <= to_s), to_s]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return sum(gap for gap in gaps if gap > stall_s) / (to_s - from_s)

    def switches(self, from_s: float, to_s: float) -> int:
        """How often what is sent changed."""
        return sum(1 for at_s, _ in self.lines if from_s <= at_s < to_s)


class Download:
    """A greedy flow through the same link: it doubles, then adds, and halves when it loses (as Reno does)."""

    def __init__(self, down: Link, up: Link) -> None:
        self._down, self._up, self._world = down, up, down.world
        self._window = 10.0
        self._flying = 0
        self._slow_start = True
        self._cut_s = float("-inf")
        self.came_bytes = 0
        self.stopped = False
        self._world.every(0.01, self._fill)

    def _fill(self) -> None:
        while not self.stopped and self._flying < self._window:
            self._flying += 1
            sent_s = self._world.now_s
            if not self._down.send(1_250, self._came):
                # Three later packets tell of a lost one: about a round trip from now.
                self._world.at(sent_s + 2 * self._down.delay_s + self._down.queue_s, self._lost)

    def _came(self) -> None:
        self.came_bytes += 1_250
        self._world.at(self._world.now_s + self._up.delay_s, self._acknowledged)

    def _acknowledged(self) -> None:
        self._flying -= 1
        self._window += 1 if self._slow_start else 1 / self._window

    def _lost(self) -> None:
        self._flying -= 1
        self._slow_start = False
        if self._world.now_s - self._cut_s > 2 * self._down.delay_s + self._down.queue_s:
            self._cut_s = self._world.now_s
            self._window = max(2.0, self._window / 2)
