"""What a member has seen of a channel's log: a running hash that the server cannot bend.

`hash_n = SHA-256(hash_{n-1} || u64 n || SHA-256(frame))` over the `log` lane's entries of
the channel in offset order; n is the entry's offset.  Offsets may skip numbers, because
the state lane takes its own from the same sequence.  Members put `(seq, hash)` into commits
and messages, so reordering, dropping, or a history of one's own comes to light.
Spec chapter 04, "Seen".
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

import msgspec

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.encoding import ZERO32, sha256, u64

KEPT_HEADS: Final = 4096


class LogHead(msgspec.Struct, frozen=True):
    """The offset of the last entry seen and the running hash after it; (0, zeros) at first."""

    seq: int = 0
    hash: bytes = ZERO32

    def after(self, seq: int, frame_hash: bytes) -> LogHead:
        """The head after the entry at offset `seq`, given the SHA-256 of its frame.

        `E_LOG_FORK` when `seq` does not come after this head: the log was reordered.
        """
        if seq <= self.seq:
            raise SealingError(SealingCode.E_LOG_FORK, "log offset does not rise")
        return LogHead(seq, sha256(self.hash + u64(seq) + frame_hash))


class Seen(Enum):
    """How another member's claim relates to what this one has seen."""

    AGREES = "agrees"
    AHEAD = "ahead"
    """It names an entry not yet received here: compare again once it is."""
    TOO_OLD = "too_old"
    """It names an entry from before what is kept here."""


class SeenLog:
    """The running hash of one channel's log, and the last 4,096 heads to compare claims with.

    Owned by one caller.  A joiner starts at the `seen` of the commit that admitted them.
    """

    def __init__(self, start: LogHead | None = None) -> None:
        self.head = start or LogHead()
        self._heads: OrderedDict[int, bytes] = OrderedDict({self.head.seq: self.head.hash})

    def append(self, seq: int, frame_hash: bytes) -> LogHead:
        """Take the next log entry; `frame_hash` is SHA-256 of the frame (it outlives the payload)."""
        self.head = self.head.after(seq, frame_hash)
        self._heads[seq] = self.head.hash
        if len(self._heads) > KEPT_HEADS:
            self._heads.popitem(last=False)
        return self.head

    def compare(self, claim: LogHead) -> Seen:
        """Compare a member's signed claim; `E_LOG_FORK` when the histories differ."""
        if claim.seq > self.head.seq:
            return Seen.AHEAD
        known = self._heads.get(claim.seq)
        if known is None:
            first = next(iter(self._heads))
            if claim.seq < first:
                return Seen.TOO_OLD
            raise SealingError(SealingCode.E_LOG_FORK, "no such log entry here")
        if known != claim.hash:
            raise SealingError(SealingCode.E_LOG_FORK, "the histories differ")
        return Seen.AGREES

    def export(self) -> list[list[int | bytes]]:
        """The kept heads, oldest first, as plain values."""
        return [[seq, value] for seq, value in self._heads.items()]

    @classmethod
    def restore(cls, heads: list[LogHead]) -> SeenLog:
        log = cls(heads[-1] if heads else None)
        if heads:
            log._heads = OrderedDict((h.seq, h.hash) for h in heads)
        return log
