"""The `Bridges` port inside one process: a node with its own workers, or several nodes of one test.

Nothing here survives the process, and nothing has to: its workers end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from leeside_server.log import get_logger
from leeside_server.ports import (
    ROOM_LEASE_S,
    WORKER_LEASE_S,
    BridgesFull,
    Clock,
    NoBridge,
    Placement,
    Word,
    Workplace,
)

_log: Final = get_logger("leeside.video")


class _Lease(msgspec.Struct, frozen=True):
    placement: Placement
    until_s: float


def least_loaded(workplaces: Sequence[Workplace]) -> Workplace:
    """Who takes the next room; of equals the one that stands first. Raises `NoBridge`, `BridgesFull`."""
    if not workplaces:
        raise NoBridge
    open_ones = [place for place in workplaces if place.open and place.load < 1.0]
    if not open_ones:
        raise BridgesFull
    return min(open_ones, key=lambda place: (place.load, place.rooms))


class Listeners:
    """Who of this process listens at which address, and what is said to them."""

    def __init__(self) -> None:
        self._listening: dict[bytes, Word] = {}

    def __contains__(self, address: bytes) -> bool:
        return address in self._listening

    def set(self, address: bytes, on_word: Word) -> None:
        """Words to this address go there from now on."""
        self._listening[address] = on_word

    def forget(self, address: bytes) -> None:
        """And now to nobody."""
        self._listening.pop(address, None)

    def hand_on(self, address: bytes, word: bytes) -> None:
        """Give a word to who listens; nothing happens when nobody does."""
        on_word = self._listening.get(address)
        if on_word is None:
            return
        try:
            on_word(word)
        except Exception as error:  # noqa: BLE001 - one word that its reader cannot take must not stop who says it
            _log.error("video_word_failed", error=type(error).__name__)


class MemoryBridges:
    """Rooms and words of one process. Leases count on the monotonic clock, epochs on the wall's: they only grow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners = Listeners()
        self._on_gone: list[Callable[[bytes], None]] = []
        self._workers: dict[bytes, tuple[float, Workplace]] = {}
        self._rooms: dict[bytes, _Lease] = {}
        self._epoch = 0

    @property
    def shared(self) -> bool:
        """False: the workers of this process are all there are."""
        return False

    async def start(self, on_gone: Callable[[bytes], None]) -> None:
        self._on_gone.append(on_gone)

    async def listen(self, address: bytes, on_word: Word) -> None:
        self._listeners.set(address, on_word)

    async def unlisten(self, address: bytes) -> None:
        self._listeners.forget(address)

    async def say(self, address: bytes, word: bytes) -> None:
        """The word has arrived when this returns."""
        self._listeners.hand_on(address, word)

    async def announce(self, workplace: Workplace) -> None:
        self._workers[workplace.worker] = (self._clock.monotonic_s() + WORKER_LEASE_S, workplace)

    async def withdraw(self, worker: bytes) -> None:
        self._workers.pop(worker, None)
        for on_gone in tuple(self._on_gone):
            on_gone(worker)

    async def workplaces(self) -> Sequence[Workplace]:
        now_s = self._clock.monotonic_s()
        self._workers = {name: kept for name, kept in self._workers.items() if kept[0] > now_s}
        return tuple(workplace for _, workplace in self._workers.values())

    async def place(self, room: bytes) -> Placement:
        workplaces = await self.workplaces()
        now_s = self._clock.monotonic_s()
        self._rooms = {name: lease for name, lease in self._rooms.items() if lease.until_s > now_s}
        lease = self._rooms.get(room)
        if lease is None or all(lease.placement.worker != place.worker for place in workplaces):
            chosen = least_loaded(workplaces)
            self._epoch = max(self._epoch + 1, self._clock.now_ms())
            lease = _Lease(Placement(chosen.worker, self._epoch), now_s + ROOM_LEASE_S)
            self._rooms[room] = lease
        return lease.placement

    async def keep(self, worker: bytes, rooms: Mapping[bytes, int]) -> frozenset[bytes]:
        until_s = self._clock.monotonic_s() + ROOM_LEASE_S
        lost: set[bytes] = set()
        for room, epoch in rooms.items():
            mine = Placement(worker, epoch)
            lease = self._rooms.get(room)
            if lease is not None and lease.until_s > self._clock.monotonic_s() and lease.placement != mine:
                lost.add(room)
            else:
                self._rooms[room] = _Lease(mine, until_s)
        return frozenset(lost)

    async def release(self, worker: bytes, room: bytes, epoch: int) -> None:
        lease = self._rooms.get(room)
        if lease is not None and lease.placement == Placement(worker, epoch):
            del self._rooms[room]

    async def close(self) -> None:
        """Several nodes of one test share it: what each of them brought ends with its workers and leases."""
