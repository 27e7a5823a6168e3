"""What the clients of one run write down: the history for the checker, and how long things took."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from leeside_protocol.errors import WireError
from leeside_protocol.messages import Entry
from tests.faults.history import Acked, Delivered, History, Sent
from tests.faults.world import Sealed, digest_of


class Lag(NamedTuple):
    """How long after its first attempt a message reached one reader, or its sender's acknowledgement."""

    at_s: float
    lag_s: float
    who: bytes


@dataclass(slots=True)
class Diary:
    """One for a run. `keep_delivered` off: entries are counted, not kept (for millions of them)."""

    history: History = field(default_factory=History)
    delivered: int = 0
    delivery_lags: list[Lag] = field(default_factory=list[Lag])
    ack_lags: list[Lag] = field(default_factory=list[Lag])
    refused: Counter[str] = field(default_factory=Counter[str])
    """Refusals by name."""
    closed: Counter[int] = field(default_factory=Counter[int])
    """Ends of connections by close code."""
    resets: int = 0
    """Logs that a reader was told to drop: never right unless a backup was restored."""
    trims: int = 0
    last_ack_s: float = 0.0
    _sent_s: dict[bytes, float] = field(default_factory=dict[bytes, float])

    @property
    def acknowledged(self) -> int:
        """Messages that were acknowledged, each counted once."""
        return len({(ack.device, ack.id) for ack in self.history.acked})

    def sending(self, sealed: Sealed, now_s: float) -> None:
        """A message is about to be sent for the first time."""
        self._sent_s[sealed.id] = now_s
        self.history.sent.append(Sent(sealed.channel, sealed.device, sealed.id, sealed.digest))

    def accepted(self, sealed: Sealed, offset: int, repeat: int, now_s: float) -> None:
        """`Accepted` came."""
        self.last_ack_s = now_s
        self.ack_lags.append(Lag(now_s, now_s - self._sent_s[sealed.id], sealed.device))
        self.history.acked.append(
            Acked(sealed.channel, sealed.device, sealed.id, sealed.digest, offset, repeat == 2)
        )

    def was_refused(self, error: int) -> None:
        """`Refused` came."""
        try:
            name = WireError(error).label
        except ValueError:
            name = str(error)
        self.refused[name] += 1

    def taken(
        self, channel: bytes, reader: bytes, connection: int, entries: tuple[Entry, ...], now_s: float
    ) -> None:
        """A reader was shown these entries."""
        self.delivered += len(entries)
        for entry in entries:
            sent_s = self._sent_s.get(entry.id)
            if sent_s is not None:
                self.delivery_lags.append(Lag(now_s, now_s - sent_s, reader))
            self.history.delivered.append(
                Delivered(
                    channel,
                    reader,
                    connection,
                    entry.offset,
                    entry.device,
                    entry.id,
                    digest_of(entry.payload),
                )
            )

    def lags_between(
        self, lags: list[Lag], from_s: float, to_s: float, who: Collection[bytes] | None = None
    ) -> list[float]:
        """Lags of what arrived in a stretch of time, at those devices or at all."""
        return [lag.lag_s for lag in lags if from_s <= lag.at_s < to_s and (who is None or lag.who in who)]


@dataclass(slots=True)
class Outbox:
    """Messages of one client that are not answered yet, in order; each is repeated with the same bytes."""

    ready: deque[Sealed] = field(default_factory=deque[Sealed])
    """Sealed and not begun."""
    flying: dict[int, Sealed] = field(default_factory=dict[int, Sealed])
    """By request number."""
