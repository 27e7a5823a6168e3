"""When did what run? Stretches in which nodes and the store were up, for promises that count working time alone. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

STORE: Final = "store"


@dataclass(slots=True)
class Uptime:
    """Parts go up and down at moments, in seconds of one clock; a part is down until it first went up.

    Every part but `STORE` is a node. Work is possible while the store is up and one node is.
    """

    _changes: dict[str, list[tuple[float, bool]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[float, bool]]](list)
    )

    def up(self, part: str, at_s: float) -> None:
        """From now on it runs."""
        self._changes[part].append((at_s, True))

    def down(self, part: str, at_s: float) -> None:
        """From now on it does not: killed, frozen, restarting."""
        self._changes[part].append((at_s, False))

    def is_up(self, part: str, at_s: float) -> bool:
        """Whether it ran at this moment; changes count from the moment on."""
        before = [up for when, up in self._changes.get(part, []) if when <= at_s]
        return bool(before) and before[-1]

    def down_s(self, part: str, from_s: float, to_s: float) -> float:
        """How long this part did not run between two moments."""
        return sum(end - begin for begin, end in self._pieces(from_s, to_s) if not self.is_up(part, begin))

    def falls(self, from_s: float, to_s: float) -> int:
        """How often a node went down between two moments."""
        return sum(
            not up and from_s <= when <= to_s
            for part, changes in self._changes.items()
            if part != STORE
            for when, up in changes
        )

    def worked_s(self, from_s: float, to_s: float) -> float:
        """How long work was possible between two moments; 0 when they are the wrong way round."""
        return sum(end - begin for begin, end in self._pieces(from_s, to_s) if self._works(begin))

    def _works(self, at_s: float) -> bool:
        nodes = [part for part in self._changes if part != STORE]
        return self.is_up(STORE, at_s) and any(self.is_up(node, at_s) for node in nodes)

    def _pieces(self, from_s: float, to_s: float) -> list[tuple[float, float]]:
        """The stretch, cut wherever something changed."""
        if to_s <= from_s:
            return []
        moments = {when for changes in self._changes.values() for when, _ in changes}
        cuts = [from_s, *sorted(when for when in moments if from_s < when < to_s), to_s]
        return list(pairwise(cuts))
