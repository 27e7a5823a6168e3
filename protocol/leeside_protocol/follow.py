"""How a receiver follows one log: position, gaps, resets, batches (spec 03, "Following").

Theory of operation. A push is a hint: any batch may be lost, doubled or late. The *position* `(generation,
offset)` is what the receiver has for certain, and it moves only along gapless ranges. Whatever does not fit
leads to one remedy, subscribing again from the position, and the store heals it. So a receiver that keeps
subscribing ends with the log itself, whatever happened on the way; a property test holds this module to that.

`Follower` is one receiver of one log. It performs nothing: each input returns what to do next. The caller
owns it, sends what `subscribe` returns, and stores entries *together with* the new position.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TypeAlias

from leeside_protocol.ids import ChannelAddress
from leeside_protocol.messages import Batch, Entry, Subscribed


class Resume(IntEnum):
    """`Subscribed.status`: what became of the position that was asked for."""

    OK = 0
    GAP = 1
    RESET = 2


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been received without a gap. (0, 0): nothing yet, of no generation."""

    generation: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Take:
    """Store these entries and `position` in one transaction, then show them."""

    entries: tuple[Entry, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Payloads up to `floor` were pruned by the server: say so to the person. `since` is where we stood; the
    batches that follow go on there, with hashes in place of what was pruned."""

    since: int
    floor: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The store's history is another one: drop the local copy, post again what it may have lost. `before`
    is the position that no longer counts."""

    before: Position
    position: Position


@dataclass(frozen=True, slots=True)
class SubscribeAgain:
    """Something was missed: send `Follower.subscribe()`."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The head that the server named at subscription is reached; what follows is live."""

    head: int


Step: TypeAlias = Take | Trimmed | Dropped | SubscribeAgain | CaughtUp


class Follower:
    """One receiver of one log, from `position` on (restored from the receiver's own store)."""

    __slots__ = ("_awaiting", "_beaten_at", "_caught_up", "_head", "_live", "channel", "position")

    def __init__(self, channel: ChannelAddress, position: Position | None = None) -> None:
        self.channel = channel
        self.position = position or Position()
        self._awaiting = False
        self._live = False
        self._caught_up = False
        self._head = 0
        self._beaten_at = -1

    @property
    def live(self) -> bool:
        """Whether the server confirmed the subscription on this socket and its head was reached."""
        return self._live and self._caught_up

    @property
    def head(self) -> int:
        """The newest head that the server named; the log is known to reach at least this far."""
        return self._head

    def subscribe(self) -> Position:
        """Where to ask from; put it into a `Subscribe`. Until its answer nothing asks again."""
        self._awaiting = True
        return self.position

    def on_disconnected(self) -> None:
        """The socket is gone, and with it the subscription. Call `subscribe` on the next one."""
        self._awaiting = False
        self._live = False
        self._caught_up = False
        self._beaten_at = -1

    def on_refused(self) -> None:
        """The subscription was refused; nothing is awaited any more."""
        self._awaiting = False
        self._live = False

    def on_subscribed(self, answer: Subscribed) -> tuple[Step, ...]:
        """The server's answer, also one that nobody asked for (the generation changed under way).

        An answer whose position it does not fit is believed all the same: the server compared generations.
        """
        self._awaiting = False
        self._live = True
        self._caught_up = False
        self._beaten_at = -1
        self._head = answer.head
        steps: list[Step] = []
        before = self.position
        foreign = before.generation not in (0, answer.generation)
        if answer.status == Resume.RESET or foreign or before.offset > answer.head:
            self.position = Position(answer.generation, 0)
            # A receiver that had nothing has nothing to drop: for it, a reset is an ordinary beginning.
            if before.offset > 0:
                steps.append(Dropped(before, self.position))
        else:
            self.position = Position(answer.generation, before.offset)
        if answer.status == Resume.GAP and self.position.offset < answer.floor:
            steps.append(Trimmed(self.position.offset, answer.floor))
        steps.extend(self._reached())
        return tuple(steps)

    def on_batch(self, batch: Batch) -> tuple[Step, ...]:
        """Entries of the range (after, to]: taken if they continue the position, else ignored or asked again."""
        if not self._live or batch.to <= self.position.offset:
            return ()
        if batch.after > self.position.offset:
            return self._again()
        known = self.position.offset
        fresh = tuple(e for e in batch.entries if known < e.offset <= batch.to)
        if any(a.offset >= b.offset for a, b in pairwise(fresh)):
            return self._again()
        self.position = Position(self.position.generation, batch.to)
        self._head = max(self._head, batch.to)
        return (Take(fresh, self.position), *self._reached())

    def on_head(self, head: int) -> tuple[Step, ...]:
        """A heartbeat named the log's head. Beyond the position of a live follower it means a lost push;
        one that still catches up is left alone as long as it moves."""
        if not self._live or head <= self.position.offset:
            return ()
        self._head = max(self._head, head)
        if self._caught_up or self._beaten_at == self.position.offset:
            return self._again()
        self._beaten_at = self.position.offset
        return ()

    def on_unnamed(self) -> tuple[Step, ...]:
        """A heartbeat did not name this log: the server pushes it no more, because the right to it was lost, or has not
        come yet. It may be back: ask, unless an answer is still awaited."""
        if self._awaiting:
            return ()
        self._live = False
        self._caught_up = False
        return self._again()

    def on_overflow(self) -> tuple[Step, ...]:
        """The caller itself had to throw a batch away: ask again once there is room."""
        return self._again() if self._live else ()

    def _again(self) -> tuple[Step, ...]:
        return () if self._awaiting else (SubscribeAgain(),)

    def _reached(self) -> tuple[Step, ...]:
        if self._caught_up or self.position.offset < self._head:
            return ()
        self._caught_up = True
        return (CaughtUp(self._head),)
