"""The ports `Bus`, `Latest`, `Presence`, `Push` and `Gateway` inside one process: the embedded default, and what tests run on.

Nothing here survives the process, and nothing has to: a bus carries hints, a stream value lasts two minutes,
and presence is renewed every ten seconds. Several nodes of one process share a `MemoryExchange`, one
`MemoryLatest` and one `MemoryPresence`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from leeside_protocol.ids import AgencyId, ChannelAddress, DeviceId
from leeside_protocol.limits import NODE_LEASE_S, STREAM_TTL_S
from leeside_server.log import get_logger
from leeside_server.ports import (
    WAITING,
    BusUnavailable,
    Calling,
    Clock,
    GatewayRefused,
    Hint,
    LatestValue,
    OnlineView,
    PushRefused,
    Subscription,
)

VALUES_KEPT: Final = 65_536
"""Stream values of all channels together; the one that was written longest ago makes room."""
NODE_FORGOTTEN_S: Final = 600
"""How long a node that vanished keeps presence stale. By then each of its devices has connected elsewhere
or is offline (both sides give a silent socket up after `SILENT_S`)."""

_log = get_logger("leeside.bus")


class MemoryExchange:
    """What the buses of one process have in common: who wants which topic."""

    __slots__ = ("_wanted",)

    def __init__(self) -> None:
        self._wanted: dict[str, dict[MemoryBus, None]] = {}

    def join(self, topic: str, bus: MemoryBus) -> None:
        """Let a bus have a topic's hints from now on."""
        self._wanted.setdefault(topic, {})[bus] = None

    def part(self, topic: str, bus: MemoryBus) -> None:
        """End that; nothing happens when it had not joined."""
        buses = self._wanted.get(topic, {})
        if bus in buses:
            del buses[bus]
            if not buses:
                del self._wanted[topic]

    def pass_on(self, topic: str, data: bytes) -> None:
        """Hand a hint to every bus that wants it, in the order in which they joined."""
        for bus in tuple(self._wanted.get(topic, ())):
            bus.receive(topic, data)


class MemoryBus:
    """The `Bus` port in one process. Hints arrive before `publish` returns, each once and in order.

    Without an `exchange` it is one node's own, and not `shared`.
    """

    def __init__(self, exchange: MemoryExchange | None = None) -> None:
        self._shared = exchange is not None
        self._exchange = MemoryExchange() if exchange is None else exchange
        self._topics: set[str] = set()
        self._on_hint: Hint | None = None

    @property
    def shared(self) -> bool:
        """Whether it was given an exchange, which other nodes may have too."""
        return self._shared

    async def start(self, on_hint: Hint) -> None:
        """Begin; what was subscribed before counts."""
        self._on_hint = on_hint

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Hand the hints over at once; `BusUnavailable` before `start` and after `close`."""
        if self._on_hint is None:
            raise BusUnavailable
        for topic, data in batch:
            self._exchange.pass_on(topic, data)

    async def subscribe(self, topics: Sequence[str]) -> None:
        for topic in topics:
            self._topics.add(topic)
            self._exchange.join(topic, self)

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        for topic in topics:
            self._topics.discard(topic)
            self._exchange.part(topic, self)

    def healthy(self) -> bool:
        """True between `start` and `close`: within a process nothing gets lost."""
        return self._on_hint is not None

    async def close(self) -> None:
        self._on_hint = None
        await self.unsubscribe(tuple(self._topics))

    def receive(self, topic: str, data: bytes) -> None:
        """For the exchange: a hint for this bus."""
        if self._on_hint is None:
            return
        try:
            self._on_hint(topic, data)
        except Exception as error:  # noqa: BLE001 - one hint that its reader cannot take must not stop the publisher
            _log.error("hint_handler_failed", error=type(error).__name__)


class MemoryLatest:
    """The `Latest` port in one process. A value's age counts from when it was put, on the monotonic clock:
    a jump of the wall clock neither keeps it longer nor drops it early."""

    def __init__(self, clock: Clock, values_kept: int = VALUES_KEPT) -> None:
        self._clock = clock
        self._values_kept = values_kept
        # In the order in which they were put: what is too old stands at the front.
        self._kept: OrderedDict[tuple[AgencyId, ChannelAddress, bytes], tuple[float, LatestValue]] = (
            OrderedDict()
        )
        self._keys: dict[tuple[AgencyId, ChannelAddress], set[bytes]] = {}

    async def put(self, agency: AgencyId, channel: ChannelAddress, value: LatestValue) -> None:
        self._expire()
        name = (agency, channel, value.key)
        there = self._kept.get(name)
        if there is not None and there[1].at_ms > value.at_ms:
            return
        self._kept[name] = (self._clock.monotonic_s(), value)
        self._kept.move_to_end(name)
        self._keys.setdefault((agency, channel), set()).add(value.key)
        if len(self._kept) > self._values_kept:
            self._forget(next(iter(self._kept)))

    async def values(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[LatestValue]:
        self._expire()
        keys = sorted(self._keys.get((agency, channel), ()))
        return tuple(self._kept[agency, channel, key][1] for key in keys)

    async def drop(self, agency: AgencyId, channel: ChannelAddress) -> None:
        for key in tuple(self._keys.get((agency, channel), ())):
            self._forget((agency, channel, key))

    async def close(self) -> None:
        self._kept.clear()
        self._keys.clear()

    def _expire(self) -> None:
        oldest_s = self._clock.monotonic_s() - STREAM_TTL_S
        while self._kept:
            name = next(iter(self._kept))
            if self._kept[name][0] > oldest_s:
                return
            self._forget(name)

    def _forget(self, name: tuple[AgencyId, ChannelAddress, bytes]) -> None:
        agency, channel, key = name
        del self._kept[name]
        keys = self._keys[agency, channel]
        keys.discard(key)
        if not keys:
            del self._keys[agency, channel]


class MemoryPresence:
    """The `Presence` port in one process, for one node or several of one process.

    `as_of_ms` is 0 when no report could be used: then nothing is known, and the view is stale.
    """

    def __init__(self) -> None:
        self._reports: dict[str, tuple[int, frozenset[tuple[AgencyId, DeviceId]]]] = {}

    async def renew(self, node: str, devices: Sequence[tuple[AgencyId, DeviceId]], now_ms: int) -> None:
        self._reports[node] = (now_ms, frozenset(devices))

    async def online(self, agency: AgencyId, devices: Sequence[DeviceId], now_ms: int) -> OnlineView:
        for node, (at_ms, _) in tuple(self._reports.items()):
            if at_ms <= now_ms - NODE_FORGOTTEN_S * 1_000:
                del self._reports[node]
        used = [report for report in self._reports.values() if report[0] > now_ms - NODE_LEASE_S * 1_000]
        return OnlineView(
            frozenset(device for device in devices for _, held in used if (agency, device) in held),
            min((at_ms for at_ms, _ in used), default=0),
            stale=not used or len(used) < len(self._reports),
        )

    async def leave(self, node: str) -> None:
        self._reports.pop(node, None)

    async def close(self) -> None:
        self._reports.clear()


class MemoryPush:
    """The `Push` port that reaches nobody: it keeps what was sent, or does what it was told an endpoint would do.

    With an empty `key` it pushes nothing, which is what a node without push has.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        self.sent: list[tuple[str, bytes, int]] = []
        self.answers: dict[str, list[Exception]] = {}
        """What the next sends to an endpoint raise, in order."""

    @property
    def key(self) -> bytes:
        return self._key

    def permits(self, endpoint: str) -> bool:
        return bool(self._key) and endpoint.startswith("https://push.test/")

    async def ready(self) -> None: ...

    async def send(self, to: Subscription, payload: bytes, ttl_s: int, topic: str = WAITING) -> None:  # noqa: ARG002
        if not self.permits(to.endpoint):
            raise PushRefused(0)
        answers = self.answers.get(to.endpoint)
        if answers:
            raise answers.pop(0)
        self.sent.append((to.endpoint, payload, ttl_s))

    async def close(self) -> None: ...


class MemoryGateway:
    """The `Gateway` port that reaches nobody: it keeps what was sent, or does what it was told for a number. Without
    `on` it is the gateway of a node that has none."""

    def __init__(self, *, on: bool = False) -> None:
        self._on = on
        self.sent: list[Calling] = []
        self.answers: dict[str, list[Exception]] = {}
        """What the next messages to a number raise, in order."""

    @property
    def on(self) -> bool:
        return self._on

    async def ready(self) -> None: ...

    async def send(self, calling: Calling) -> None:
        if not self._on:
            raise GatewayRefused(0)
        answers = self.answers.get(calling.to)
        if answers:
            raise answers.pop(0)
        self.sent.append(calling)

    async def close(self) -> None: ...
