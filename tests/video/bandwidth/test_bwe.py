"""The estimator by hand: numbers, clocks, reports that are lost, late, doubled, or lies."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.video.twcc import TwccReport
from leeside_server.video.bwe import (
    CLOCK_WRAP_US,
    LEAST_BPS,
    MOST_BPS,
    RESUMED_MOST_BPS,
    START_BPS,
    Bandwidth,
)
from leeside_server.video.ways import RING

EVERY_S = 0.01
SIZE = 250
"""200 kbit/s."""
HELD_UP_S = 0.05


def told(bandwidth: Bandwidth, packets: list[tuple[int, int | None]], now_s: float) -> None:
    """A report of these packets in a row. Its times go on from the first, which is within the receiver's clock."""
    wraps_us = next((came_us // CLOCK_WRAP_US * CLOCK_WRAP_US for _, came_us in packets if came_us), 0)
    arrivals_us = [None if came_us is None else came_us - wraps_us for _, came_us in packets]
    bandwidth.feedback(TwccReport(packets[0][0], arrivals_us), now_s)


def steady(bandwidth: Bandwidth, seconds: float, from_s: float = 0.0, clock_us: int = 5_000_000) -> float:
    """Send at a steady pace and report each tenth of a second; the time then. Nothing is lost, nothing waits."""
    now_s = from_s
    batch: list[tuple[int, int | None]] = []
    for tick in range(round(seconds / EVERY_S)):
        now_s = from_s + tick * EVERY_S
        seq = bandwidth.next_seq()
        bandwidth.sent(seq, SIZE, now_s)
        batch.append((seq, clock_us + round((now_s + HELD_UP_S) * 1e6)))
        if len(batch) == 10:
            told(bandwidth, batch, now_s + 2 * HELD_UP_S)
            batch = []
    return now_s


def test_numbers_run_on_and_wrap() -> None:
    bandwidth = Bandwidth()
    numbers = [bandwidth.next_seq() for _ in range(0x10000 + 1)]
    assert numbers[0] == numbers[-1] == 1
    assert sorted(numbers[:-1]) == list(range(0x10000))


def test_it_measures_what_arrives_the_round_trip_and_no_queue() -> None:
    bandwidth = Bandwidth()
    steady(bandwidth, 3)
    assert bandwidth.acked_bps == pytest.approx(8 * SIZE / EVERY_S, rel=0.05)
    assert bandwidth.rtt_s == pytest.approx(2 * HELD_UP_S, abs=0.01)
    assert bandwidth.queue_s == pytest.approx(0, abs=1e-3)
    assert bandwidth.loss == 0
    assert bandwidth.budget_bps == bandwidth.estimate_bps == START_BPS


def test_numbers_and_the_receivers_clock_may_wrap_in_mid_call() -> None:
    bandwidth = Bandwidth()
    for _ in range(0xFFFF - 100):
        bandwidth.next_seq()
    steady(bandwidth, 4, clock_us=CLOCK_WRAP_US - 2_000_000)
    assert bandwidth.acked_bps == pytest.approx(8 * SIZE / EVERY_S, rel=0.05)
    assert bandwidth.queue_s == pytest.approx(0, abs=1e-3)
    assert bandwidth.loss == 0


def test_a_receivers_clock_that_jumps_is_another_clock() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 3)
    steady(bandwidth, 3, from_s=now_s + EVERY_S, clock_us=900_000_000)
    assert bandwidth.acked_bps == pytest.approx(8 * SIZE / EVERY_S, rel=0.05)
    assert bandwidth.queue_s == pytest.approx(0, abs=1e-3)
    assert bandwidth.estimate_bps == START_BPS


def test_a_packet_that_comes_after_all_was_not_lost() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 2)
    seqs = [bandwidth.next_seq() for _ in range(10)]
    for seq in seqs:
        bandwidth.sent(seq, SIZE, now_s)
    came_us = 5_000_000 + round((now_s + HELD_UP_S) * 1e6)
    told(bandwidth, [(seq, None if seq % 2 else came_us) for seq in seqs], now_s + 0.1)
    assert bandwidth.loss > 0
    told(bandwidth, [(seq, came_us if seq % 2 else None) for seq in seqs], now_s + 0.15)
    assert bandwidth.loss == 0


def test_a_report_told_twice_counts_once() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 2)
    seqs = [bandwidth.next_seq() for _ in range(4)]
    for seq in seqs:
        bandwidth.sent(seq, SIZE, now_s)
    report = [(seq, None if seq == seqs[1] else 5_000_000 + round((now_s + HELD_UP_S) * 1e6)) for seq in seqs]
    told(bandwidth, report, now_s + 0.1)
    measured = (bandwidth.acked_bps, bandwidth.loss)
    told(bandwidth, report, now_s + 0.1)
    assert (bandwidth.acked_bps, bandwidth.loss) == measured


@pytest.mark.parametrize("first", [1, RING - 5, 0x1_0000 - 5])
def test_a_report_that_begins_with_what_was_told_says_the_same_as_one_that_does_not(first: int) -> None:
    """The row of a report in which all came is taken as a whole, wherever it stands; any other one by one."""
    measured: list[tuple[float, float, float, float, float]] = []
    for told_before in (0, 1):
        bandwidth = Bandwidth()
        for _ in range(first - 1):
            bandwidth.next_seq()
        row: list[tuple[int, int | None]] = []
        for tick in range(200):
            now_s = 1.0 + tick * EVERY_S
            seq = bandwidth.next_seq()
            bandwidth.sent(seq, SIZE + tick, now_s)
            row.append((seq, round((now_s + HELD_UP_S) * 1e6) + tick * tick))
            if tick % 20 == 19:
                told(bandwidth, row[-20 - told_before :], now_s + 2 * HELD_UP_S)
        assert bandwidth.acked_bps > 0
        measured.append(
            (
                bandwidth.estimate_bps,
                bandwidth.acked_bps,
                bandwidth.rtt_s,
                bandwidth.queue_s,
                bandwidth.loss,
            )
        )
    assert measured[0] == measured[1]


def test_what_was_never_sent_or_long_ago_says_nothing() -> None:
    bandwidth = Bandwidth()
    told(bandwidth, [(seq, seq * 1_000) for seq in range(500)], 1.0)
    assert bandwidth.acked_bps == 0
    bandwidth.sent(bandwidth.next_seq(), SIZE, 1.0)
    told(bandwidth, [(1, 1_000)], 60.0)
    assert bandwidth.rtt_s == 0


def test_repairs_are_kept_out_of_the_budget() -> None:
    bandwidth = Bandwidth()
    now_s = 0.0
    for batch in range(40):
        now_s = batch * 0.1
        report: list[tuple[int, int | None]] = []
        for number in range(10):
            seq = bandwidth.next_seq()
            bandwidth.sent(seq, SIZE, now_s)
            report.append((seq, None if number == 5 else round((now_s + HELD_UP_S) * 1e6)))
        told(bandwidth, report, now_s + 0.1)
    assert bandwidth.loss == pytest.approx(0.1)
    assert bandwidth.budget_bps == pytest.approx(0.9 * bandwidth.estimate_bps, rel=0.03)


def test_no_padding_before_the_link_is_known_or_when_nothing_is_wanted() -> None:
    bandwidth = Bandwidth()
    bandwidth.want(2_000_000)
    assert [bandwidth.probe_due(tick / 100) for tick in range(100)] == [0] * 100
    now_s = steady(bandwidth, 2)
    bandwidth.want(bandwidth.estimate_bps)
    assert bandwidth.probe_due(now_s + 0.01) == 0
    bandwidth.want(2_000_000)
    bandwidth.probe_due(now_s + 0.02)
    assert bandwidth.probe_due(now_s + 0.05) > 0


def test_the_estimate_limits_only_what_is_wanted() -> None:
    bandwidth = Bandwidth()
    scarce: list[float | None] = []
    for wanted_bps in (0, START_BPS + 1, 0):
        bandwidth.want(wanted_bps)
        scarce.append(bandwidth.scarce_bps)
    assert scarce == [None, START_BPS, None]


def test_a_receiver_without_transport_reports_is_judged_by_its_own() -> None:
    bandwidth = Bandwidth()
    bandwidth.want(1_000_000)
    for tenth in range(100):
        bandwidth.sent(bandwidth.next_seq(), SIZE, tenth / 10)
        assert bandwidth.probe_due(tenth / 10) == 0
        bandwidth.reported(0.0, tenth / 10)
    grown = bandwidth.estimate_bps
    assert START_BPS * 1.3 < grown < START_BPS * 1.7
    for tenth in range(100, 200):
        bandwidth.reported(0.3, tenth / 10)
    assert bandwidth.estimate_bps < grown / 3
    for tenth in range(200, 900):
        bandwidth.reported(0.05, tenth / 10)
        bandwidth.probe_due(tenth / 10)
    assert bandwidth.estimate_bps > LEAST_BPS, "silence of a kind that never was says nothing"


def test_its_own_reports_say_nothing_beside_transport_reports() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 2)
    bandwidth.reported(0.9, now_s)
    assert bandwidth.estimate_bps == START_BPS


def test_a_link_that_comes_back_says_so_once() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 2)
    assert not bandwidth.returned()
    bandwidth.sent(bandwidth.next_seq(), SIZE, now_s)
    steady(bandwidth, 1, from_s=now_s + 3)
    assert [bandwidth.returned(), bandwidth.returned()] == [True, False]


def test_a_new_path_is_judged_by_itself() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 3)
    bandwidth.path_changed(now_s)
    # The new one takes half a second longer: no queue.
    steady(bandwidth, 3, from_s=now_s + EVERY_S, clock_us=5_500_000)
    assert bandwidth.queue_s == pytest.approx(0, abs=1e-3)
    assert bandwidth.estimate_bps == START_BPS


def test_a_link_is_proven_by_what_queues_and_not_by_what_is_not_known() -> None:
    bandwidth = Bandwidth()
    now_s = steady(bandwidth, 3)
    proven = [bandwidth.proven]
    for batch in range(10):
        at_s = now_s + EVERY_S + batch * 0.1
        seqs = [bandwidth.next_seq() for _ in range(10)]
        for seq in seqs:
            bandwidth.sent(seq, SIZE, at_s)
        came_s = at_s + HELD_UP_S + 0.05 * batch
        told(bandwidth, [(seq, 5_000_000 + round(came_s * 1e6)) for seq in seqs], came_s + HELD_UP_S)
    proven.append(bandwidth.proven)
    bandwidth.path_changed(now_s + 2)
    proven.append(bandwidth.proven)
    assert proven == [False, True, False], "of the new path nothing is known"


def test_who_comes_back_begins_with_what_was_known_of_the_link() -> None:
    before = Bandwidth()
    known = [before.lasting_bps]
    steady(before, 1)
    known.append(before.lasting_bps)
    assert known == [None, START_BPS]
    before.sent(before.next_seq(), SIZE, 1.0)
    for second in range(20):
        before.probe_due(1.0 + second)
    assert before.estimate_bps < START_BPS / 4
    assert before.lasting_bps == START_BPS, "a silence says nothing of the link after it"
    again = Bandwidth()
    again.resume(100_000)
    assert again.estimate_bps == 100_000
    again.resume(9e6)
    assert again.estimate_bps == RESUMED_MOST_BPS, "but it may come by another path"


arrivals = st.one_of(st.none(), st.integers(-(1 << 45), 1 << 45))
reports = st.tuples(st.integers(0, 0xFFFF), st.lists(arrivals, min_size=1, max_size=60))
likely = st.tuples(
    st.integers(1, 300),
    st.lists(st.one_of(st.none(), st.integers(0, 10_000_000)), min_size=1, max_size=60),
)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(40, 1_400), st.one_of(reports, likely), st.floats(0, 12)),
        max_size=40,
    ),
    st.floats(0, 1e9),
)
def test_no_report_brings_it_out_of_its_bounds(
    course: list[tuple[int, int, tuple[int, list[int | None]], float]], wanted_bps: float
) -> None:
    bandwidth = Bandwidth()
    bandwidth.want(wanted_bps)
    now_s = 100.0
    for count, size, report, later_s in course:
        for _ in range(count):
            bandwidth.sent(bandwidth.next_seq(), size, now_s)
        now_s += later_s
        bandwidth.feedback(TwccReport(*report), now_s)
        assert 0 <= bandwidth.probe_due(now_s) <= 10_000
        assert bandwidth.budget_bps / 0.7 + 1 >= LEAST_BPS
        assert LEAST_BPS <= bandwidth.estimate_bps <= MOST_BPS
        assert 0 <= bandwidth.loss <= 1
        assert bandwidth.queue_s >= 0
        assert bandwidth.rtt_s >= 0
        assert math.isfinite(bandwidth.acked_bps)


def test_it_keeps_no_more_than_a_ring_of_packets() -> None:
    bandwidth = Bandwidth()
    first = bandwidth.next_seq()
    bandwidth.sent(first, SIZE, 0.0)
    for _ in range(RING):
        bandwidth.sent(bandwidth.next_seq(), SIZE, 0.0)
    told(bandwidth, [(first, 1_000)], 0.1)
    assert bandwidth.rtt_s == 0, "overwritten: nobody knows when it was sent"
