"""What a worker counts: numbers only, no id and no content. They travel in `Load` (words) and stand on `/metrics` of the
server that started it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from leeside_server.video.words import Load


class Counts(msgspec.Struct):
    """Since the worker began."""

    packets_in: int = 0
    """RTP that was genuine."""
    packets_out: int = 0
    """RTP that was sent, repairs among it."""
    strange: int = 0
    """Datagrams dropped: of nobody, or of no kind that comes here."""
    refused: int = 0
    """Dropped: not genuine, or seen before."""
    flooded: int = 0
    """Dropped: more than a peer may send, or of more streams."""
    unsent: int = 0
    """Dropped: the system took no more."""
    overrun: int = 0
    """Dropped by the system: nobody read them in time."""
    faulty: int = 0
    """Dropped: an exception of ours. Anything but 0 is a fault."""
    unsealed: int = 0
    """Dropped: media that were not sealed end to end."""
    joins: int = 0
    handshakes_failed: int = 0
    restarts: int = 0
    """Paths that were made anew."""
    stale: int = 0
    """Peers that went silent."""
    lost: int = 0
    """Peers that went silent and never came back."""


WHY_DROPPED: Final = ("strange", "refused", "flooded", "unsent", "overrun", "faulty", "unsealed")


class Figures(Collector):
    """The workers of one supervisor, for the server's registry. `loads` gives the newest word of each that lives, `posts` how
    many workers there should be, and how many end as soon as they start."""

    def __init__(
        self, loads: Callable[[], Sequence[Load]], posts: Callable[[], tuple[int, int]] = lambda: (0, 0)
    ) -> None:
        self.crashes = 0
        """Workers that ended without being told to."""
        self.words_refused = 0
        """Words that no node of ours sealed, or that were for another worker."""
        self._loads = loads
        self._posts = posts
        self._ended = Counts()

    def ended(self, counts: Counts) -> None:
        """A worker is no more: what it counted stays counted."""
        self._ended = _sum((self._ended, counts))

    def counts(self) -> Counts:
        """What all workers counted, those that ended among them."""
        return _sum((self._ended, *(load.counts for load in self._loads())))

    def collect(self) -> Iterable[Metric]:
        """All of it, as Prometheus reads it."""
        loads = self._loads()
        counts = self.counts()
        yield _gauge("workers", "Workers of the video bridge that live.", len(loads))
        wanted, failing = self._posts()
        yield _gauge("workers_wanted", "Workers that there should be.", wanted)
        yield _gauge("workers_failing", "Those of them that end as soon as they start.", failing)
        yield _gauge("workers_open", "Those that take new rooms.", sum(load.open for load in loads))
        yield _gauge("rooms", "Rooms of calls.", sum(load.rooms for load in loads))
        yield _gauge("peers", "Clients in calls.", sum(load.peers for load in loads))
        yield _gauge(
            "load", "Share of what the fullest worker takes.", max((x.load for x in loads), default=0)
        )
        yield _gauge(
            "cpu", "Share of a core that the busiest worker uses.", max((x.cpu for x in loads), default=0)
        )
        lag_s = max((load.lag_ms for load in loads), default=0) / 1000
        yield _gauge("lag_seconds", "The longest that a worker's loop was late in its last second.", lag_s)
        yield _counter("packets_in", "RTP packets that came and were genuine.", counts.packets_in)
        yield _counter("packets_out", "RTP packets that were sent.", counts.packets_out)
        dropped = CounterMetricFamily(
            "leeside_video_dropped", "Datagrams and packets that were dropped, by why.", labels=("why",)
        )
        for why in WHY_DROPPED:
            dropped.add_metric((why,), getattr(counts, why))
        yield dropped
        yield _counter("joins", "Transports that were offered.", counts.joins)
        yield _counter("handshakes_failed", "Handshakes that did not hold.", counts.handshakes_failed)
        yield _counter("restarts", "Paths that were made anew.", counts.restarts)
        yield _counter("stale", "Clients that went silent.", counts.stale)
        yield _counter("lost", "Clients that went silent and never came back.", counts.lost)
        yield _counter("worker_crashes", "Workers that ended without being told to.", self.crashes)
        yield _counter("words_refused", "Words for a worker that no node of ours sealed.", self.words_refused)


def _sum(several: Iterable[Counts]) -> Counts:
    totals = dict.fromkeys(Counts.__struct_fields__, 0)
    for counts in several:
        for name in totals:
            totals[name] += getattr(counts, name)
    return Counts(**totals)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"leeside_video_{name}", says, value=value)


def _counter(name: str, says: str, value: int) -> Metric:
    return CounterMetricFamily(f"leeside_video_{name}", says, value=value)
