"""How good a link is, in four words: 3 good, 2 fair, 1 poor, 0 lost (`Quality` of spec 09).

The word is the worst of what each measure says. It falls when the worse has been so for a second, so that one late packet
alarms nobody, and rises after four: a word that flickers helps no responder. Only from lost it rises after one, to say
that something is there again.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from leeside_server.video.losses import LEAST_PACKETS, WINDOW_S

LOST: Final = 0
POOR: Final = 1
FAIR: Final = 2
GOOD: Final = 3

SILENT_S: Final = 3.0
"""Nothing heard for so long: the link is lost, whatever it was before."""
WORSE_AFTER_S: Final = 1.0
BETTER_AFTER_S: Final = 4.0


class Link(msgspec.Struct, frozen=True):
    """What is known of one direction of a link. `bps`: what it carries, as estimated; None where nobody estimates it."""

    loss: float = 0.0
    """The share of packets that did not come, 0 to 1."""
    queue_s: float = 0.0
    """How long packets wait above what the path takes; for a direction without feedback, its jitter."""
    rtt_s: float = 0.0
    bps: float | None = None
    silent_s: float = 0.0
    """How long nothing was heard, while something should have been."""


class _Bounds(msgspec.Struct, frozen=True):
    """What a link may have at most, and must carry at least, to be worth a grade."""

    grade: int
    loss: float
    queue_s: float
    rtt_s: float
    bps: float


# Loss that repair hides (of a picture up to a tenth, measured over two seconds with what chance adds; sound is whole there),
# delay at which people do not yet talk over each other (ITU-T G.114: 150 ms one way good, 400 ms the most), and room for a
# picture of 360 lines, of 180 lines.
_GRADES: Final = (
    _Bounds(GOOD, loss=0.03, queue_s=0.08, rtt_s=0.3, bps=350_000),
    _Bounds(FAIR, loss=0.15, queue_s=0.2, rtt_s=0.6, bps=150_000),
)


def grade(link: Link) -> int:
    """The word for what is measured now, 3 to 0, without memory."""
    if link.silent_s >= SILENT_S:
        return LOST
    for bounds in _GRADES:
        if (
            link.loss <= bounds.loss
            and link.queue_s <= bounds.queue_s
            and link.rtt_s <= bounds.rtt_s
            and (link.bps is None or link.bps >= bounds.bps)
        ):
            return bounds.grade
    return POOR


class Missing:
    """The share of what one peer publishes that does not come: of all its streams together, over two seconds. One of seven
    packets of a small picture is no bad link."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int, int]] = deque()

    def share(self, expected: int, came: int, now_s: float) -> float:
        """Take how many packets were expected and came since the beginning; streams that begin anew count from nothing."""
        counts = self._counts
        if counts and expected < counts[-1][1]:
            counts.clear()
        counts.append((now_s, expected, came))
        while now_s - counts[0][0] > WINDOW_S:
            counts.popleft()
        wanted = expected - counts[0][1]
        return 0.0 if wanted < LEAST_PACKETS else max(0.0, 1 - (came - counts[0][2]) / wanted)


class Grader:
    """The word of one direction of one link, over time. Starts with good: nobody is warned before something is known."""

    def __init__(self) -> None:
        self.word = GOOD
        self._heading = GOOD
        """The mildest grade since measures left the word's side."""
        self._since_s = 0.0

    def grade(self, link: Link, now_s: float) -> int:
        """Take what is measured now; the word to show."""
        seen = grade(link)
        if seen == LOST:
            self.word = self._heading = LOST
            return LOST
        if seen == self.word:
            self._heading = seen
            return self.word
        turned = self._heading == self.word or (seen > self.word) != (self._heading > self.word)
        if turned:
            self._heading, self._since_s = seen, now_s
        # Of what was seen meanwhile, what is nearest to the word has held all the time.
        elif seen < self.word:
            self._heading = max(self._heading, seen)
        else:
            self._heading = min(self._heading, seen)
        quick = seen < self.word or self.word == LOST
        if now_s - self._since_s >= (WORSE_AFTER_S if quick else BETTER_AFTER_S):
            self.word = self._heading
        return self.word
