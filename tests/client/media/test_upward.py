"""A device that adapts what it sends to its link upward: real packets and reports, and a link in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from leeside.media.codecs import PictureEncoder
from leeside.media.description import Sent
from leeside.media.sending import Uplink
from leeside.media.speaking import PICTURE_BPS
from leeside.media.upward import CLOCK_WRAP_US, SHARES, UpwardRate
from leeside_protocol.video.rtp import RtpHeader
from leeside_protocol.video.twcc import Arrivals, TwccReport

SOUND_BYTES = 90
RATE = 12
STEP_S = 0.005


class Upward:
    """A device that sends sound and picture through a bottleneck to a bridge that reports."""

    def __init__(self, bps: float, *, loss: float = 0.0, queue_s: float = 1.0, seed: int = 1) -> None:
        self.now_s = 1_000.0
        self.bps, self.loss, self.queue_s = bps, loss, queue_s
        self.up = Uplink(Sent(1, 2, 3), self._send, lambda: self.now_s)
        self.steps: list[tuple[float, float]] = []
        self.sound_delays: list[tuple[float, float]] = []
        """(when it was sent, how long it took) of each sound."""
        self._chance = random.Random(seed)
        self._free_s = 0.0
        self._arrivals = Arrivals()
        self._header = RtpHeader()
        self._agenda: list[tuple[float, Callable[[], None]]] = []
        self._tick = 0

    def run(self, seconds: float) -> float:
        """Let time pass; the share then."""
        for _ in range(round(seconds / STEP_S)):
            self._tick += 1
            self.now_s = 1_000.0 + self._tick * STEP_S
            due = [what for at_s, what in self._agenda if at_s <= self.now_s]
            self._agenda = [each for each in self._agenda if each[0] > self.now_s]
            for what in due:
                what()
            if self._tick % 4 == 0:
                self.up.sound(bytes(SOUND_BYTES), self._tick * 240)
            if self._tick % 17 == 0:
                size = int(PICTURE_BPS * self.up.rate.share / 8 / RATE * self._chance.uniform(0.7, 1.3))
                if size:
                    self.up.picture(bytes([0x11]) + bytes(size), self._tick * 450)
            if self._tick % 20 == 0:
                for report in self._arrivals.reports(1):
                    self._agenda.append((self.now_s + 0.04, partial(self._told, report)))
            if not self.steps or self.steps[-1][1] != self.up.rate.share:
                self.steps.append((self.now_s - 1_000.0, self.up.rate.share))
        return self.up.rate.share

    def _told(self, report: bytes) -> None:
        self.up.take(report, self.now_s)

    def _send(self, packet: bytes) -> None:
        starts_s = max(self.now_s, self._free_s)
        if starts_s - self.now_s > self.queue_s:
            return
        self._free_s = starts_s + len(packet) * 8 / self.bps
        sent_s = self.now_s
        if self._chance.random() >= self.loss:
            self._agenda.append((self._free_s + 0.04, lambda: self._arrive(packet, sent_s)))

    def _arrive(self, packet: bytes, sent_s: float) -> None:
        assert self._header.read(packet, len(packet))
        self._arrivals.add(self._header.transport_seq, self.now_s)
        if self._header.ssrc == 1:
            self.sound_delays.append((sent_s - 1_000.0, self.now_s - sent_s))

    def longest_delay_s(self, after_s: float) -> float:
        return max(delay for sent_s, delay in self.sound_delays if sent_s >= after_s)


def test_a_link_that_bears_the_picture_gets_all_of_it() -> None:
    link = Upward(600_000)
    assert link.run(60) == 1.0
    assert [share for _, share in link.steps] == [1.0]


@pytest.mark.parametrize(("bps", "share"), [(230_000, 0.5), (150_000, 0.25), (70_000, 0.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_weak_link_gets_the_share_that_it_bears_and_the_sound_is_on_time(
    bps: int, share: float, seed: int
) -> None:
    link = Upward(bps, seed=seed)
    assert link.run(9.5) == share
    assert link.steps[-1][0] < 6
    assert link.longest_delay_s(8.5) < 0.25
    link.run(110)
    over = [now for now, then in zip(link.steps[1:], link.steps, strict=False) if now[1] > then[1]]
    assert len(over) <= 4, "what does not fit is tried ever less often"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_picture_comes_back_step_by_step_when_the_link_does(seed: int) -> None:
    link = Upward(70_000, seed=seed)
    assert link.run(20) == 0.0
    link.bps = 2e6
    assert link.run(120) == 1.0
    assert [share for at_s, share in link.steps if at_s > 20] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_queue_that_holds_nothing_tells_by_what_it_loses(seed: int) -> None:
    link = Upward(150_000, queue_s=0.03, seed=seed)
    assert link.run(9) <= 0.5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_that_less_picture_does_not_lower_is_borne(seed: int) -> None:
    link = Upward(2e6, loss=0.15, seed=seed)
    link.run(60)
    assert min(share for _, share in link.steps) >= 0.5
    assert link.up.rate.share == 1.0


def test_the_clock_of_the_reports_may_wrap() -> None:
    rate = UpwardRate()
    for number in range(600):
        now_s = number / 20
        rate.sent(number, now_s)
        arrival_us = (CLOCK_WRAP_US - 10_000_000 + round(now_s * 1e6)) % CLOCK_WRAP_US
        rate.told(TwccReport(number, [arrival_us]), now_s + 0.05)
    assert rate.share == 1.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.lists(st.one_of(st.none(), st.integers(-(1 << 45), 1 << 45))),
            st.floats(0, 5),
        ),
        max_size=60,
    )
)
def test_no_report_brings_it_out_of_its_steps(
    course: list[tuple[int, list[int | None], float]],
) -> None:
    rate, now_s = UpwardRate(), 50.0
    for number, arrivals_us, later_s in course:
        rate.sent(number, now_s)
        now_s += later_s
        rate.told(TwccReport(number, [1_000, *arrivals_us]), now_s)
        assert rate.share in SHARES


def test_a_quarter_of_the_rate_makes_pictures_of_a_quarter() -> None:
    noise = np.random.default_rng(1)

    def size(share: float) -> int:
        encoder = PictureEncoder(320, 240, rate=RATE, bps=round(share * PICTURE_BPS))
        total = 0
        for number in range(4 * RATE):
            planes = np.full((360, 320), 128, np.uint8)
            planes[:240] = np.roll(noise.integers(96, 160, (240, 320), np.uint8) // 2 + 64, number, 1)
            frame = encoder.encode(
                VideoFrame.from_ndarray(planes, format="yuv420p"), 7_500 * number, key=False
            )
            total += len(frame)
        return total

    whole, half, quarter = (size(share) for share in (1.0, 0.5, 0.25))
    assert half < 0.7 * whole
    assert quarter < 0.7 * half
