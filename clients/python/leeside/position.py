"""Sharing one's position: off unless a person turns it on, coarsened here, paced here. Pure.

A fix is coarsened before it leaves the device: moved to the middle of a cell of `coarse_m`, so that the finer
place is nowhere in what is sent. Speed and heading would tell it again, so they are left out then.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from leeside.bodies import Fix

EVERY_S: Final = 10
LAST_POSITION_S: Final = 60
"""How often the kept last position is written while sharing: age and place outlive the device."""
MOVED_M: Final = 10
"""Below this a device stands still, and its position is sent at a quarter of the pace."""
STILL_FACTOR: Final = 4
_E7_PER_M: Final = 1e7 / 111_320.0


def coarsen(fix: Fix, coarse_m: int) -> Fix:
    """The same fix no finer than `coarse_m`; 0 leaves it as it is."""
    if coarse_m <= 0:
        return fix
    step = max(1, round(coarse_m * _E7_PER_M))
    lat = _middle(fix.lat_e7, step, 900_000_000)
    # A degree of longitude shrinks towards the poles; the cell does not. By the cell's latitude, not the fix's:
    # otherwise the longitude would tell it.
    shrink = max(0.01, math.cos(math.radians(lat / 1e7)))
    lon = _middle(fix.lon_e7, max(1, round(step / shrink)), 1_800_000_000)
    return msgspec.structs.replace(
        fix,
        lat_e7=lat,
        lon_e7=lon,
        accuracy_m=max(fix.accuracy_m, coarse_m),
        coarse_m=coarse_m,
        heading_deg=None,
        speed_cm_s=None,
    )


def _middle(value: int, step: int, bound: int) -> int:
    return max(-bound, min(bound, value // step * step + step // 2))


def distance_m(one: Fix, other: Fix) -> float:
    """The distance between two fixes, good to a percent at the distances of a city."""
    lat_m = (one.lat_e7 - other.lat_e7) / _E7_PER_M
    shrink = math.cos(math.radians((one.lat_e7 + other.lat_e7) / 2e7))
    return math.hypot(lat_m, (one.lon_e7 - other.lon_e7) / _E7_PER_M * shrink)


class Pacer:
    """Decides which fixes are sent live, and when the last position is written.

    `every_s` is the pace while moving; standing still, a fix goes out four times as seldom, so that others see
    the device is alive.
    """

    def __init__(self, every_s: int = EVERY_S, coarse_m: int = 0) -> None:
        if every_s < 1 or coarse_m < 0:
            raise ValueError("a pace is at least a second, a coarseness not below zero")
        self.every_s: Final = every_s
        self.coarse_m: Final = coarse_m
        self.newest: Fix | None = None
        """The newest fix offered, coarsened: what `last_position` says."""
        self._sent: Fix | None = None
        self._sent_s = -math.inf
        self._kept_s = -math.inf

    def offer(self, fix: Fix, now_s: float) -> Fix | None:
        """A fix from the device: what to send live now, or None."""
        coarse = coarsen(fix, self.coarse_m)
        if self.newest is not None and fix.fix_ms < self.newest.fix_ms:
            return None
        self.newest = coarse
        moved = self._sent is None or distance_m(coarse, self._sent) >= MOVED_M
        pace_s = self.every_s if moved else self.every_s * STILL_FACTOR
        if now_s - self._sent_s < pace_s:
            return None
        self._sent, self._sent_s = coarse, now_s
        return coarse

    def keep_due(self, now_s: float) -> bool:
        """Whether the last position is to be written now; asking counts as done."""
        if self.newest is None or now_s - self._kept_s < LAST_POSITION_S:
            return False
        self._kept_s = now_s
        return True
