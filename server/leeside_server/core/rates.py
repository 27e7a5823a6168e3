"""Rate limits as token buckets: plain arithmetic on a time that is passed in.

A bucket holds `burst` tokens and gains `per_s` a second. One token is one request. `Buckets` keeps one bucket a
key and forgets those that are full again, so that its size is bounded by the keys that were busy lately.

Signing in is limited by source address and not by device: an Ed25519 signature cannot be guessed, so a limit by
device would only let a stranger lock a responder out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

KEYS_KEPT: Final = 50_000


class Rate(msgspec.Struct, frozen=True):
    """`per_s` requests a second in the long run, `burst` at once."""

    per_s: float
    burst: int


class Bucket(msgspec.Struct, frozen=True):
    """Tokens left at a moment of the monotonic clock."""

    tokens: float
    at_s: float


def take(bucket: Bucket | None, rate: Rate, now_s: float, cost: float = 1.0) -> tuple[Bucket, float]:
    """Take `cost` tokens: the bucket afterwards, and seconds to wait (0.0: taken).

    A refusal takes nothing, so that waiting as told succeeds.
    """
    held = float(rate.burst) if bucket is None else bucket.tokens
    since_s = 0.0 if bucket is None else max(0.0, now_s - bucket.at_s)
    tokens = min(float(rate.burst), held + since_s * rate.per_s)
    if tokens >= cost:
        return Bucket(tokens - cost, now_s), 0.0
    return Bucket(tokens, now_s), (cost - tokens) / rate.per_s


class Buckets:
    """A bounded set of buckets of one rate, by key. Owned by one caller.

    When more than `KEYS_KEPT` keys are busy at once, the longest unused starts anew: memory is the harder limit.
    """

    def __init__(self, rate: Rate, keys_kept: int = KEYS_KEPT) -> None:
        self.rate: Final = rate
        self._kept: Final = keys_kept
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: bytes, now_s: float, cost: float = 1.0) -> float:
        """Take from the key's bucket; seconds to wait, 0.0 when the request may go on."""
        bucket, wait_s = take(self._buckets.get(key), self.rate, now_s, cost)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        self._forget(now_s)
        return wait_s

    def _forget(self, now_s: float) -> None:
        full_after_s = self.rate.burst / self.rate.per_s
        for _ in range(2):
            if not self._buckets:
                return
            key, oldest = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._kept and now_s - oldest.at_s < full_after_s:
                return
            del self._buckets[key]
