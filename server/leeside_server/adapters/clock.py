"""The machine's clock, for production."""

from __future__ import annotations

import time


class SystemClock:
    """The `Clock` port on the operating system's clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Unix time in milliseconds; may jump when the machine's clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never jumps."""
        return time.monotonic()
