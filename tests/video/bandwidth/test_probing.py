"""Probes: how far, how long, how often."""

import itertools

import pytest

from leeside_server.video.probing import (
    ANSWER_S,
    BOLD,
    LONGEST_WAIT_S,
    PACKET_BYTES,
    QUEUE_S,
    SATURATED,
    TIMID,
    Outcome,
    Prober,
)

ESTIMATE = 400_000.0
RTT_S = 0.1


def probe(
    prober: Prober, now_s: float, link_bps: float, wanted_bps: float = 9e6
) -> tuple[Outcome | None, float, int]:
    """Run one probe over an idle link of this rate, in steps of 5 ms: the outcome, the time it took, the bytes sent."""
    prober.start(ESTIMATE, wanted_bps, 0, now_s)
    assert prober.running
    sent_bytes, free_s, at_s, last_s = 0, now_s, now_s, now_s
    for step in range(200):
        at_s = now_s + step * 0.005
        owed = prober.due(sent_bytes, at_s)
        if step and not owed:
            break
        while owed > 0:
            free_s = max(free_s, at_s) + PACKET_BYTES * 8 / link_bps
            prober.arrived(at_s, free_s, PACKET_BYTES)
            sent_bytes += PACKET_BYTES
            owed -= PACKET_BYTES
            last_s = at_s
    queueing = free_s - at_s > QUEUE_S
    return (
        prober.judge(at_s + 1, queueing=queueing, losing=False, rtt_s=RTT_S, now_s=at_s + RTT_S),
        last_s - now_s,
        sent_bytes,
    )


def test_a_link_that_carries_it_is_probed_boldly() -> None:
    outcome, _, _ = probe(Prober(), 0.0, 10e6)
    assert outcome is not None
    assert outcome.carried
    assert outcome.bps == pytest.approx(BOLD * ESTIMATE, rel=0.1)


def test_a_full_link_tells_its_rate_and_is_hardly_burdened() -> None:
    outcome, took_s, sent_bytes = probe(Prober(), 0.0, ESTIMATE)
    assert outcome is not None
    assert not outcome.carried
    assert outcome.bps == pytest.approx(SATURATED * ESTIMATE, rel=0.1)
    assert sent_bytes * 8 / ESTIMATE - took_s < QUEUE_S + 0.05


def test_no_probe_goes_much_beyond_what_is_wanted() -> None:
    _, took_s, sent_bytes = probe(Prober(), 0.0, 10e6, wanted_bps=1.3 * ESTIMATE)
    assert sent_bytes * 8 / took_s < 1.45 * ESTIMATE


def test_after_failures_they_are_timid_and_ever_rarer() -> None:
    prober = Prober()
    starts: list[float] = []
    sizes: list[float] = []
    for step in range(1_000):
        now_s = step * 0.05
        prober.start(ESTIMATE, 9e6, 0, now_s)
        if prober.running:
            starts.append(now_s)
            sizes.append(prober.due(0, now_s + 0.02) * 8 / 0.02)
            assert (
                prober.judge(now_s + 9, queueing=True, losing=False, rtt_s=RTT_S, now_s=now_s + 0.2) is None
            )
    waits = [round(later - earlier, 1) for earlier, later in itertools.pairwise(starts)]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LONGEST_WAIT_S, abs=0.5)
    assert sizes[0] == pytest.approx(BOLD * ESTIMATE, rel=0.02)
    assert sizes[1:] == pytest.approx([TIMID * ESTIMATE] * len(sizes[1:]), rel=0.02)


def test_on_a_link_that_never_failed_one_follows_the_other_at_once() -> None:
    prober = Prober()
    for number in range(3):
        outcome, _, _ = probe(prober, number * 0.3, 20e6)
        assert outcome is not None
        assert outcome.carried
    probe(prober, 0.9, ESTIMATE)
    prober.encourage(2.0)
    prober.postpone(2.0)
    probe(prober, 2.0 + LONGEST_WAIT_S, 20e6)
    prober.start(ESTIMATE, 9e6, 0, 2.4 + LONGEST_WAIT_S)
    assert not prober.running, "where one has failed there is a pause"


def test_its_answer_waits_for_no_packet_after_it() -> None:
    """A room may have neither sound nor picture yet."""
    prober = Prober()
    prober.start(ESTIMATE, 9e6, 0, 0.0)
    sent_bytes, last_s, now_s = 0, 0.0, 0.0
    while now_s < 0.5:
        now_s += 0.02
        owed = prober.due(sent_bytes, now_s)
        while owed > 0:
            prober.arrived(now_s, now_s + 0.03 + sent_bytes * 8 / 50e6, PACKET_BYTES)
            sent_bytes, owed, last_s = sent_bytes + PACKET_BYTES, owed - PACKET_BYTES, now_s
    outcome = prober.judge(last_s, queueing=False, losing=False, rtt_s=RTT_S, now_s=now_s)
    assert outcome is not None
    assert outcome.carried


def test_an_encouraged_one_is_bold_again() -> None:
    prober = Prober()
    probe(prober, 0.0, ESTIMATE)
    prober.start(ESTIMATE, 9e6, 0, 0.5)
    assert not prober.running, "it failed a moment ago"
    prober.encourage(0.5)
    outcome, _, _ = probe(prober, 0.5, 10e6)
    assert outcome is not None
    assert outcome.bps > TIMID * ESTIMATE * 1.1


def test_without_reports_a_probe_ends_and_says_nothing() -> None:
    prober = Prober()
    prober.start(ESTIMATE, 9e6, 0, 0.0)
    assert prober.judge(-1.0, queueing=False, losing=False, rtt_s=RTT_S, now_s=0.2) is None
    assert prober.running
    assert prober.judge(-1.0, queueing=False, losing=False, rtt_s=RTT_S, now_s=0.5 + RTT_S + ANSWER_S) is None
    assert not prober.running


def test_a_probe_under_way_ends_when_packets_queue() -> None:
    prober = Prober()
    prober.start(ESTIMATE, 9e6, 0, 0.0)
    assert prober.due(0, 0.03) > 0
    prober.judge(0.01, queueing=True, losing=False, rtt_s=RTT_S, now_s=0.04)
    assert prober.due(0, 0.05) == 0
