"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """The `Clock` port, moved by hand. Wall and monotonic time are apart, as on a real machine."""

    def __init__(self, now_ms: int = 1_800_000_000_000, monotonic_s: float = 1_000.0) -> None:
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        if seconds < 0:
            raise ValueError("time does not run backwards; jump() sets the wall clock")
        self._now_ms += round(seconds * 1_000)
        self._monotonic_s += seconds

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as an operator or NTP would; monotonic time does not move."""
        self._now_ms += milliseconds
