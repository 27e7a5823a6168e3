"""What a peer has seen of one participant of a call, counted; and when it is time to tell a person that something is wrong."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from leeside_protocol.sealing.errors import SealingCode

ALARM_COUNT: Final = 3
ALARM_S: Final = 10.0
_HARMLESS: Final = frozenset((SealingCode.E_UNKNOWN_EPOCH, SealingCode.E_DUPLICATE))
"""A commit is on its way; a packet was repaired or doubled on its way."""


@dataclass(slots=True)
class Seen:
    """Frames of one participant. `dropped` counts by the code of what was wrong; `alarm`: three of one kind within 10 s, which
    a person must hear of (spec 09, "Sealed frames")."""

    sounds_opened: int = 0
    sounds_decoded: int = 0
    sounds_lost: int = 0
    pictures_opened: int = 0
    pictures_decoded: int = 0
    undecodable: int = 0
    waiting_for_key: int = 0
    """Pictures passed over because what they build on is missing."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the newest picture."""
    dropped: Counter[SealingCode] = field(default_factory=Counter[SealingCode])
    alarm: SealingCode | None = None
    _recent: dict[SealingCode, deque[float]] = field(default_factory=dict[SealingCode, deque[float]])

    def drop(self, code: SealingCode, now_s: float) -> None:
        """A frame did not open."""
        self.dropped[code] += 1
        if code in _HARMLESS:
            return
        recent = self._recent.setdefault(code, deque(maxlen=ALARM_COUNT))
        recent.append(now_s)
        if len(recent) == ALARM_COUNT and now_s - recent[0] <= ALARM_S:
            self.alarm = code
