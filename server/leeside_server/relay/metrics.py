"""What a node counts, for `/metrics`: numbers only, no id and no content in any label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One node's counters in a registry of its own, so that several nodes live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sockets = self._gauge("sockets", "Open sockets that are signed in.")
        self.congested = self._gauge("sockets_congested", "Sockets that catch up because they take no more.")
        self.logs = self._gauge("logs", "Logs that are followed on this node.")
        self.degraded = self._gauge("degraded", "1 while the bus does not carry hints and heads are polled.")
        self.catchup_waiting = self._gauge("catchup_waiting", "Subscriptions that wait for a page.")
        self.published = self._counter("published", "Messages stored for sockets.")
        self.repeated = self._counter("repeated", "Messages that stood already.")
        self.deliveries = self._counter("deliveries", "Entries written to live followers.")
        self.pages = self._counter("catchup_pages", "Pages written to followers that catch up.")
        self.values = self._counter("stream_values", "Stream values taken.")
        self.values_dropped = self._counter(
            "stream_values_dropped", "Stream values dropped for slow sockets."
        )
        self.holes = self._counter("holes", "Holes in hints that were filled from the store.")
        self.polled = self._counter("polled", "Logs found behind by polling heads.")
        self.hints_sent = self._counter("hints_sent", "Hints given to the bus.")
        self.hints_lost = self._counter("hints_lost", "Hints that the bus did not take.")
        self.hints_refused = self._counter("hints_refused", "Hints that no node of ours wrote.")
        self.pushes_waiting = self._gauge(
            "pushes_waiting", "Devices that wait to be told, or looked at again."
        )
        self.pushes = self._counter("pushes", "Pushes that a push service took.")
        self.pushes_failed = self._counter("pushes_failed", "Pushes that no push service took.")
        self.pushes_dropped = self._counter("pushes_dropped", "Pushes that found no room to wait.")
        self.page_attempts = Counter(
            "leeside_page_attempts",
            "Attempts to page somebody, by way and by what became of them.",
            ("path", "result"),
            registry=self.registry,
        )
        self.page_s = Histogram(
            "leeside_page_seconds",
            "From a page's row to the first time that a push service or a gateway took it.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 300),
            registry=self.registry,
        )
        self.probes_failed = self._counter("probes_failed", "Probes of devices that had no receipt.")
        self.synthetic_age_s = self._gauge(
            "synthetic_age_seconds", "How long ago a synthetic consult last came from its request to its end."
        )
        self.synthetic_s = self._gauge("synthetic_seconds", "What the last one took.")
        self.synthetic_failed = self._counter(
            "synthetic_failed", "Synthetic consults that did not end in time."
        )
        self.pages_running = self._gauge("page_attempts_running", "Attempts that are under way.")
        self.clockwork_age_s = self._gauge(
            "clockwork_age_seconds", "How far behind the clockwork is: above 15 this node is not ready."
        )
        self.consults = Counter(
            "leeside_consults", "Consults that came into a state.", ("state",), registry=self.registry
        )
        self.consult_wait_s = Histogram(
            "leeside_consult_wait_seconds",
            "From a consult's request to its first page, acceptance and joining, by the clock that people read.",
            ("until",),
            buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 180, 300, 600, 1200, 3600),
            registry=self.registry,
        )
        self.consults_failed = self._counter(
            "consults_failed",
            "Times that a fault of ours kept a consult from moving: its people may be waiting.",
        )
        self.consult_alarms = self._counter("consult_alarms", "Alarms of consults that nobody answered.")
        self.video_offered = self._gauge("video_offered", "1 where this server has video.")
        self.video_calls = self._gauge("video_calls", "Calls that a device of this node is in.")
        self.video_workers = self._gauge(
            "video_found_workers", "Workers of the video bridge that this node finds."
        )
        self.video_open = self._gauge("video_found_open", "Those of them that take new rooms.")
        self.video_rooms = self._gauge("video_found_rooms", "Rooms of all workers that this node finds.")
        self.video_signals = Counter(
            "leeside_video_signals",
            "Signals of calls, by what became of them.",
            ("result",),
            registry=self.registry,
        )
        self.video_words_refused = self._counter(
            "video_words_strange", "Words about calls that no node of ours wrote, or too long ago."
        )
        self.refused = Counter("leeside_refused", "Requests refused.", ("error",), registry=self.registry)
        self.closed = Counter("leeside_closed", "Sockets closed by us.", ("code",), registry=self.registry)
        self.write_s = Histogram(
            "leeside_write_seconds",
            "From handing a batch to the store to its commit.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"leeside_{name}", help_text, registry=self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"leeside_{name}", help_text, registry=self.registry)
