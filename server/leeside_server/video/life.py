"""The life of a peer as a pure machine; time is an argument.

    NEW -> OFFERED -> ANSWERED -> SHAKING -> LIVE -> STALE -> LIVE | GONE

ICE-lite has no state of its own: a path is there or it is not, and who has answered on one shakes hands. Silence is
noticed long before a browser would say so (5 s and more), so that a new path can be offered at once; the seat stays.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from leeside_server.video.ways import DoorState

SILENT_S: Final = 1.5
"""A peer whose media came is stale after this."""
QUIET_S: Final = 7.0
"""One that sends no media is: browsers confirm a path every 2.5 s, and one such may be lost."""
MEDIA_S: Final = 1.0
"""Media count as coming for so long behind the last of them."""
JOIN_S: Final = 30.0
"""From the offer to live."""
GONE_S: Final = 30.0
"""A stale peer is gone after this."""
FAREWELL_S: Final = 5.0
"""The same for one that said goodbye: a page that is loaded again takes its seat again."""


class State(Enum):
    """Where a peer stands."""

    NEW = "new"
    OFFERED = "offered"
    ANSWERED = "answered"
    SHAKING = "shaking"
    LIVE = "live"
    STALE = "stale"
    GONE = "gone"


class Life:
    """One peer's state, and when it last gave a sign (`signs`: of the peer's door, where what comes notes it)."""

    def __init__(self, now_s: float, signs: DoorState | None = None) -> None:
        self.state = State.NEW
        self.since_s = now_s
        self.signs: Final = signs or DoorState()
        self.signs.heard_s = now_s
        self.reached = False
        """There is a path."""
        self.parting = False
        """It said goodbye to its transport."""

    def offered(self, now_s: float) -> None:
        """An offer went out; a later one, of a new path, changes nothing here."""
        if self.state is State.NEW:
            self._be(State.OFFERED, now_s)

    def answered(self, now_s: float) -> bool:
        """The answer is here and fits. True: shake hands now."""
        if self.state is State.OFFERED:
            self._be(State.ANSWERED, now_s)
        return self._may_shake(now_s)

    def path(self, now_s: float) -> bool:
        """A path is proven. True: shake hands now."""
        self.reached = True
        self.heard(now_s)
        return self._may_shake(now_s)

    def _may_shake(self, now_s: float) -> bool:
        if self.state is not State.ANSWERED or not self.reached:
            return False
        self._be(State.SHAKING, now_s)
        return True

    def secured(self, now_s: float) -> None:
        """The handshake held."""
        if self.state is State.SHAKING:
            self.signs.heard_s = now_s
            self._be(State.LIVE, now_s)

    def failed(self, now_s: float) -> None:
        """The handshake did not hold: nothing can come of this peer."""
        self._be(State.GONE, now_s)

    def heard(self, now_s: float, *, media: bool = False) -> None:
        """Something genuine came: who was stale is back."""
        self.signs.heard_s = now_s
        if media:
            self.signs.media_s = now_s
        if self.state is State.STALE and not self.parting:
            self._be(State.LIVE, now_s)

    def farewell(self, now_s: float) -> None:
        """The peer said goodbye to its transport."""
        if self.state in (State.LIVE, State.STALE):
            self.parting = True
            self._be(State.STALE, now_s)

    def due(self, now_s: float) -> State | None:
        """Let time pass: the state that it led to, if it led to one."""
        before = self.state
        if before is State.LIVE:
            signs = self.signs
            patience_s = SILENT_S if signs.heard_s - signs.media_s <= MEDIA_S else QUIET_S
            if now_s - signs.heard_s > patience_s:
                self._be(State.STALE, now_s)
        elif before is State.STALE:
            if now_s - self.since_s > (FAREWELL_S if self.parting else GONE_S):
                self._be(State.GONE, now_s)
        elif before is not State.GONE and now_s - self.since_s > JOIN_S:
            self._be(State.GONE, now_s)
        return self.state if self.state is not before else None

    def _be(self, state: State, now_s: float) -> None:
        self.state = state
        self.signs.live = state is State.LIVE
        self.since_s = now_s
