"""Token buckets: what fits, what waits, and that waiting as told suffices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_server.core.rates import Bucket, Buckets, Rate, take

RATE = Rate(2.0, 3)


def test_a_burst_passes_and_the_next_waits_for_its_token() -> None:
    bucket: Bucket | None = None
    waits: list[float] = []
    for _ in range(5):
        bucket, wait_s = take(bucket, RATE, 10.0)
        waits.append(wait_s)
    assert waits == [0.0, 0.0, 0.0, 0.5, 0.5]


def test_time_that_runs_backwards_gives_nothing() -> None:
    bucket, _ = take(None, RATE, 10.0, cost=3)
    bucket, wait_s = take(bucket, RATE, 5.0)
    assert wait_s == 0.5


@given(
    st.floats(0.1, 100.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 5.0), min_size=1, max_size=50),
)
def test_waiting_as_told_is_enough_and_no_more_pass_than_the_rate_allows(
    per_s: float, burst: int, gaps: list[float]
) -> None:
    rate, now_s, passed = Rate(per_s, burst), 100.0, 0
    bucket: Bucket | None = None
    for gap in gaps:
        now_s += gap
        bucket, wait_s = take(bucket, rate, now_s)
        if wait_s == 0.0:
            passed += 1
            continue
        after, wait_again_s = take(bucket, rate, now_s + wait_s + 1e-6)
        assert wait_again_s == 0.0
        assert after.tokens >= 0.0
    assert passed <= burst + (now_s - 100.0) * per_s + 1e-6


def test_keys_do_not_share_a_bucket() -> None:
    buckets = Buckets(Rate(1.0, 1))
    assert buckets.take(b"a", 1.0) == 0.0
    assert buckets.take(b"b", 1.0) == 0.0
    assert buckets.take(b"a", 1.0) == pytest.approx(1.0)


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 2))
    for n in range(100):
        buckets.take(b"%d" % n, float(n))
    assert len(buckets) <= 3


def test_many_busy_keys_stay_within_the_bound() -> None:
    buckets = Buckets(Rate(0.001, 5), keys_kept=10)
    for n in range(100):
        buckets.take(b"%d" % n, 1.0)
    assert len(buckets) <= 11
