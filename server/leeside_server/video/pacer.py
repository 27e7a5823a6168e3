"""When packets leave for one receiver: sound at once, repairs and pictures by turns, none faster than its link bears.

A picture's packet goes straight through as long as the receiver is within its budget, and that is nearly always. What
comes in a burst (a key frame, a row of retransmissions) waits here for some tens of milliseconds, so that the sound does
not stand behind it in the network's own queue. The wait is bounded in bytes and in time: what is too old to be of use is
dropped, because a late picture repairs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final, Generic, TypeVar

from leeside_server.video.ways import LinkState

T = TypeVar("T")

BURST_S: Final = 0.04
"""How much may leave at once, in time at the pace: two frames of sound."""
LEAST_BURST_BYTES: Final = 3_000
HELD_BYTES: Final = 256 * 1024
VIDEO_WAITS_S: Final = 0.8
REPAIR_WAITS_S: Final = 0.25
COPY_WAITS_S: Final = 0.1
"""What is sent twice is of use for so long: then the receiver asks by itself."""
COPIES: Final = 256
CROWDED_S: Final = 0.25
"""What waits longer than this to leave makes a picture late."""


class Urgency(IntEnum):
    """What a packet is."""

    AUDIO = 0
    REPAIR = 1
    VIDEO = 2
    COPY = 3
    """It was sent a moment ago, and nobody missed it yet: it waits for all others."""


class Pacer(Generic[T]):
    """The packets of one receiver that wait. `T` is what the caller needs to build the packet when it leaves, because a
    packet's transport sequence number and send time are those of the moment of sending. `link` holds what the receiver may be
    sent now: a packet that takes the fast way is paid for there."""

    def __init__(self, bps: float, link: LinkState | None = None) -> None:
        self.link = LinkState() if link is None else link
        self.rate(bps)
        self.link.room = float(LEAST_BURST_BYTES)
        self.link.filled_s = 0.0
        self._repairs: deque[tuple[float, int, T]] = deque()
        self._video: deque[tuple[float, int, T]] = deque()
        self._copies: deque[tuple[float, int, T]] = deque(maxlen=COPIES)
        self._repairs_turn = True
        self.dropped = 0
        """Packets that were too many or too old, since the beginning."""

    @property
    def held_bytes(self) -> int:
        """Of repairs and pictures; copies hold up nobody."""
        return self.link.held_bytes

    def rate(self, bps: float) -> None:
        """The link bears another pace (`Bandwidth.pace_bps`)."""
        link = self.link
        link.bytes_per_s = bps / 8
        link.most = max(float(LEAST_BURST_BYTES), link.bytes_per_s * BURST_S)

    def passes(self, urgency: Urgency, size: int, now_s: float) -> bool:
        """Whether a packet may leave at once; it is then paid for. Sound always may. False: `hold` it."""
        # As `_fill`, without another call for every packet.
        link = self.link
        room = link.room + (now_s - link.filled_s) * link.bytes_per_s
        if room > link.most:  # noqa: PLR1730
            room = link.most
        link.filled_s = now_s
        behind = link.held_bytes and (self._repairs or urgency >= Urgency.VIDEO)
        if (room <= 0 or behind) and urgency is not Urgency.AUDIO:
            link.room = room
            return False
        link.room = room - size
        return True

    def hold(self, urgency: Urgency, size: int, item: T, now_s: float) -> bool:
        """Keep a packet for later; False: there is no room, and it is lost. A repair that waits already is not kept twice: a
        receiver asks again long before its turn comes."""
        if urgency is Urgency.COPY:
            self._copies.append((now_s, size, item))
            return True
        if urgency is Urgency.REPAIR and any(waits == item for _, _, waits in self._repairs):
            return True
        if self.held_bytes + size > HELD_BYTES:
            self.dropped += 1
            return False
        (self._repairs if urgency is Urgency.REPAIR else self._video).append((now_s, size, item))
        self.link.held_bytes += size
        return True

    @property
    def crowded(self) -> bool:
        """Whether what comes now would leave too late to be worth it."""
        return self.held_bytes > self.link.bytes_per_s * CROWDED_S

    def due(self, now_s: float) -> Iterator[T]:
        """What may leave now, in order. Call every few milliseconds while anything is held."""
        self._fill(now_s)
        self._drop_old(now_s)
        repairs, video = self._repairs, self._video
        while (repairs or video) and self.link.room > 0:
            # By turns where both wait: a row of repairs must not keep away what makes them needless, a key frame.
            waiting = repairs if repairs and (self._repairs_turn or not video) else video
            self._repairs_turn = waiting is video
            _, size, item = waiting.popleft()
            self.link.held_bytes -= size
            self.link.room -= size
            yield item
        copies = self._copies
        while copies and not repairs and not video and self.link.room > 0:
            _, size, item = copies.popleft()
            self.link.room -= size
            yield item

    @property
    def waits(self) -> bool:
        """Whether anything is held."""
        return self.held_bytes > 0 or bool(self._copies)

    def _drop_old(self, now_s: float) -> None:
        for waiting, longest_s in ((self._repairs, REPAIR_WAITS_S), (self._video, VIDEO_WAITS_S)):
            while waiting and now_s - waiting[0][0] > longest_s:
                self.link.held_bytes -= waiting.popleft()[1]
                self.dropped += 1
        while self._copies and now_s - self._copies[0][0] > COPY_WAITS_S:
            self._copies.popleft()

    def discard(self, which: Callable[[T], bool]) -> list[T]:
        """Drop what waits and is not wanted any more; what that was, in order."""
        discarded: list[T] = []
        for waiting in (self._repairs, self._video):
            kept = deque[tuple[float, int, T]]()
            for each in waiting:
                if which(each[2]):
                    self.link.held_bytes -= each[1]
                    discarded.append(each[2])
                else:
                    kept.append(each)
            waiting.clear()
            waiting.extend(kept)
        self._copies.clear()
        return discarded

    def clear(self) -> None:
        """Nothing that waits is wanted any more: the receiver went, or its path did."""
        self._repairs.clear()
        self._video.clear()
        self._copies.clear()
        self.link.held_bytes = 0

    def _fill(self, now_s: float) -> None:
        link = self.link
        link.room = min(link.most, link.room + (now_s - link.filled_s) * link.bytes_per_s)
        link.filled_s = now_s
