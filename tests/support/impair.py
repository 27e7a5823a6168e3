"""A weak network for tests and benches: a UDP relay in the caller's own loop, with each direction as bad as told.

    async with impaired(("127.0.0.1", bridge_port)) as relay:
        relay.down.bps, relay.down.delay_s = 450_000, 0.06      # at any time, also in mid-call
        relay.lose_ways()                                      # every client has to find another way
        ...                                                    # clients send to relay.address

Each client has a socket of its own towards the target, so the target tells them apart by their ports. A direction is one
bottleneck for all clients together: a rate with a queue that overflows, then a delay, jitter that keeps the order, and
loss. IPv4. It holds a bounded number of packets and of clients; what is beyond is lost and counted.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

Address = tuple[str, int]

HELD_PACKETS: Final = 4_096
"""What a direction holds at once."""
CLIENTS: Final = 128
"""A browser that joins anew, or restarts ICE, is one or two more: each of its ports."""
SOONEST_S: Final = 0.0005
"""Nearer than that is now: a timer of the loop is no finer."""
BUFFER_BYTES: Final = 1 << 20


@dataclass
class Way:
    """How one direction is. Its fields may be changed at any time."""

    bps: float | None = None
    """Bits a second; None: no bottleneck."""
    queue_s: float = 0.3
    """What the queue before the bottleneck holds, as time at its rate."""
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Further delay: the absolute value of a normal distribution of this width."""
    loss: float = 0.0
    """The share of packets that are lost, each by itself."""
    up: bool = True


class Bottleneck:
    """One direction as arithmetic on times that are passed in."""

    def __init__(self, way: Way, seed: int) -> None:
        self.way: Final = way
        self.passed = self.lost = self.overflowed = 0
        self._chance = random.Random(seed)
        self._free_s = 0.0
        self._last_s = 0.0

    def admit(self, size: int, now_s: float) -> float | None:
        """When a packet that comes now arrives at the other end; None: never."""
        way = self.way
        if not way.up or self._chance.random() < way.loss:
            self.lost += 1
            return None
        leaves_s = now_s
        if way.bps is not None:
            starts_s = max(now_s, self._free_s)
            if starts_s - now_s > way.queue_s:
                self.overflowed += 1
                return None
            leaves_s = self._free_s = starts_s + size * 8 / way.bps
        late_s = abs(self._chance.gauss(0.0, way.jitter_s)) if way.jitter_s else 0.0
        self._last_s = max(self._last_s, leaves_s + way.delay_s + late_s)
        self.passed += 1
        return self._last_s


class Direction:
    """A bottleneck with the packets that are in it."""

    def __init__(self, way: Way, seed: int) -> None:
        self.bottleneck: Final = Bottleneck(way, seed)
        self._held: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def pass_on(self, size: int, send: Callable[[], None]) -> None:
        """Call `send` when a packet of this size arrives, or never."""
        now_s = self._loop.time()
        if len(self._held) >= HELD_PACKETS:
            self.bottleneck.overflowed += 1
            return
        arrives_s = self.bottleneck.admit(size, now_s)
        if arrives_s is None:
            return
        if not self._held and arrives_s - now_s < SOONEST_S:
            send()
            return
        self._held.append((arrives_s, send))
        if self._timer is None:
            self._timer = self._loop.call_at(arrives_s, self._due)

    def close(self) -> None:
        """What is held is lost."""
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        soon_s = self._loop.time() + SOONEST_S
        while self._held and self._held[0][0] <= soon_s:
            self._held.popleft()[1]()
        if self._held:
            self._timer = self._loop.call_at(self._held[0][0], self._due)


class Relay:
    """A relay that runs. `down` is from the target to the clients, `up` towards it."""

    def __init__(self, target: Address, host: str, seed: int, port: int = 0) -> None:
        self.down: Final = Way()
        self.up: Final = Way()
        self.refused = 0
        """Datagrams of clients that were too many, or by ways that were lost."""
        self._downward: Final = Direction(self.down, seed)
        self._upward: Final = Direction(self.up, seed + 1)
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._front = self._socket((host, port))
        self._loop.add_reader(self._front, self._from_clients)
        self._backs: dict[Address, socket.socket] = {}
        self._lost: set[Address] = set()

    @property
    def address(self) -> Address:
        """Where clients send to."""
        host, port = self._front.getsockname()
        return host, port

    @property
    def downward(self) -> Bottleneck:
        """What came of the packets towards the clients."""
        return self._downward.bottleneck

    @property
    def upward(self) -> Bottleneck:
        """What came of the packets towards the target."""
        return self._upward.bottleneck

    def lose_ways(self) -> None:
        """Every way that clients have is dead from now on, in both directions: as for who left the network that they were in. Who
        sends from another port gets through."""
        self._lost.update(self._backs)
        for back in self._backs.values():
            self._loop.remove_reader(back)
            back.close()
        self._backs.clear()

    def close(self) -> None:
        """Nothing is passed on any more."""
        self._downward.close()
        self._upward.close()
        for each in (self._front, *self._backs.values()):
            self._loop.remove_reader(each)
            each.close()

    def _socket(self, address: Address) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        made.bind(address)
        return made

    def _from_clients(self) -> None:
        for _ in range(64):
            try:
                data, client = self._front.recvfrom(2_048)
            except OSError:
                return
            back = self._backs.get(client) or self._admit(client)
            if back is not None:
                self._upward.pass_on(len(data), partial(_send, back, data, self._target))

    def _admit(self, client: Address) -> socket.socket | None:
        if client in self._lost or len(self._backs) >= CLIENTS:
            self.refused += 1
            return None
        back = self._backs[client] = self._socket((self._front.getsockname()[0], 0))
        self._loop.add_reader(back, self._from_target, back, client)
        return back

    def _from_target(self, back: socket.socket, client: Address) -> None:
        for _ in range(64):
            try:
                data, sender = back.recvfrom(2_048)
            except OSError:
                return
            if sender == self._target:
                self._downward.pass_on(len(data), partial(_send, self._front, data, client))


def _send(through: socket.socket, data: bytes, to: Address) -> None:
    try:
        through.sendto(data, to)
    except OSError:  # Full, or nobody there any more: lost, as in any network.
        return


@asynccontextmanager
async def impaired(
    target: Address, host: str = "127.0.0.1", seed: int = 1, port: int = 0
) -> AsyncGenerator[Relay]:
    """A relay to `target` that listens on `host`, at `port` or (0) at any; it begins as a perfect network."""
    relay = Relay(target, host, seed, port)
    try:
        yield relay
    finally:
        relay.close()
