"""Steady time: the store's clock as all nodes share it, less its jumps (spec 08, "Clockwork").

Deadlines of consults and pages are in steady time. It is the store's clock plus an offset that stands in one row. A node
that sees the store's clock jump against its own monotonic clock moves the offset by compare-and-set, so that steady time
goes on where it was: a clock set two hours forward or back moves no step. The row also keeps when it was last written:
nobody's time goes back behind that, also where a clock was set while every node was down.

Who jumped? A node whose machine slept sees the same as one whose store was set forward. Then what the others wrote since
decides: if steady time went on beyond what this node expected, it was this node that slept.

A time when all nodes were down counts for `DOWN_MS` at most. Nobody could answer in it, and one cannot tell it from a clock
that was set forward meanwhile.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.sealing.public.encoding import digest

STEADY_ID: Final = digest(b"steady")[:16]
JUMP_MS: Final = 2_000
"""Clocks that drift apart by more than this between two looks did not drift."""
TICK_MS: Final = 5_000
"""How old the row may be; before steady time is used beyond that, the row is written."""
DOWN_MS: Final = 60_000


class SteadyRow(msgspec.Struct, frozen=True):
    """`at_ms`: the store's clock when this was written. Steady time was `at_ms + offset_ms` then."""

    offset_ms: int
    at_ms: int

    @property
    def steady_ms(self) -> int:
        """Steady time when this was written."""
        return self.at_ms + self.offset_ms


class Seen(msgspec.Struct, frozen=True):
    """What a node saw when it looked last: steady time, on its own monotonic clock."""

    steady_ms: int
    monotonic_s: float

    def expected_ms(self, monotonic_s: float) -> int:
        """Steady time at `monotonic_s`, if no clock jumped."""
        return self.steady_ms + round((monotonic_s - self.monotonic_s) * 1_000)


def look(row: SteadyRow | None, seen: Seen | None, store_ms: int, monotonic_s: float) -> SteadyRow:
    """The row by which steady time is `store_ms + offset_ms` now. If it differs from `row` it must be saved over that
    before it is used; and looked at anew when somebody else was first."""
    if row is None:
        return SteadyRow(0, store_ms)
    now_ms = store_ms + row.offset_ms
    right_ms = _right(row, seen, now_ms, monotonic_s)
    if right_ms != now_ms:
        return SteadyRow(row.offset_ms + right_ms - now_ms, store_ms)
    return row if store_ms - row.at_ms < TICK_MS else SteadyRow(row.offset_ms, store_ms)


def _right(row: SteadyRow, seen: Seen | None, now_ms: int, monotonic_s: float) -> int:
    """What steady time must be, where the store's clock and the row's offset say `now_ms`."""
    if seen is not None:
        expected_ms = seen.expected_ms(monotonic_s)
        if abs(now_ms - expected_ms) > JUMP_MS and row.steady_ms <= expected_ms + JUMP_MS:
            return max(expected_ms, row.steady_ms)
    elif now_ms > row.steady_ms + DOWN_MS:
        return row.steady_ms + DOWN_MS
    return row.steady_ms if now_ms < row.steady_ms - JUMP_MS else now_ms
