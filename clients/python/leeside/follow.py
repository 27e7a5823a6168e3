"""Following the logs of one channel: pushes in, entries opened, stored with their position, and told.

Theory of operation. One task per channel works off a bounded queue, so that a channel whose keys are late holds
nobody else up. When the queue is full a push is thrown away and the log asked for again later: the store is the
queue, the memory is not. Keys come first: epochs and grants are worked off before content, and content whose epoch
is not known yet waits for them, 30 s at most, then it is kept as "cannot decrypt" and tried again when keys come.

Entries and the position that they reach are stored together before anything is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias, TypeVar

from leeside.api import ApiError
from leeside.channels import Channel
from leeside.connection import asked_s
from leeside.errors import Offline
from leeside.history import History, Place
from leeside.link import Clock
from leeside.reading import Reading
from leeside_protocol.errors import WireError
from leeside_protocol.follow import (
    CaughtUp,
    Dropped,
    Follower,
    Position,
    Step,
    SubscribeAgain,
    Take,
    Trimmed,
)
from leeside_protocol.ids import ChannelAddress, DeviceId, MessageId
from leeside_protocol.messages import Batch, Entry, Refused, Subscribed
from leeside_protocol.sealing.errors import SealingCode, SealingError

QUEUE_PUSHES: Final = 256
HOLD_S: Final = 30.0
AGAIN_S: Final = 2.0
AGAIN_CAP_S: Final = 30.0
_STORE_ENTRIES: Final = 100


class Head:
    """A heartbeat's word about one log."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Unnamed:
    """A heartbeat did not name a log."""


class Up:
    """A session stands: subscribe."""


class Down:
    """The session is over."""


class Again:
    """A person wants to go on after a refused commit."""


Item: TypeAlias = Subscribed | Batch | Head | Unnamed | Up | Down | Again
_T = TypeVar("_T")


class Subscriber(Protocol):
    """How a follower asks the server for a log."""

    async def subscribe(self, log: ChannelAddress, position: Position) -> Subscribed | Refused:
        """The server's answer; `Subscribed` was also pushed, before its batches. Raises `Offline`."""
        ...


class Listener(Protocol):
    """Who is told what following one channel brought, in order, after it was stored. Must not block."""

    def pressing(self, channel: Channel, readings: tuple[Reading, ...]) -> tuple[tuple[MessageId, int], ...]:
        """Before they are stored: the urgent messages among them that must sound here, and since when."""
        ...

    def on_readings(self, channel: Channel, readings: tuple[Reading, ...], *, live: bool) -> None: ...

    def on_granted(self, channel: Channel, epochs: tuple[int, ...], opened: int) -> None:
        """Epochs were given to this device, and what they open, so many entries, was told."""
        ...

    def on_trimmed(self, channel: Channel, since: int, floor: int) -> None: ...

    def on_dropped(self, channel: Channel, position: Position) -> None: ...

    def on_caught_up(self, channel: Channel) -> None: ...

    def on_newest(self, channel: Channel) -> None:
        """Every commit that the server knows is here: see `ChannelFollow.newest`."""
        ...

    def on_lost(self, channel: Channel) -> None:
        """The server says that this log is not ours."""
        ...


class ChannelFollow:
    """The logs of one channel, from where the history left off. `run` it in a task group."""

    def __init__(
        self, channel: Channel, history: History, subscriber: Subscriber, listener: Listener, clock: Clock
    ) -> None:
        self.channel = channel
        self._history = history
        self._subscriber = subscriber
        self._listener = listener
        self._clock = clock
        self._keys: deque[tuple[ChannelAddress, Item]] = deque()
        self._content: deque[tuple[ChannelAddress, Item]] = deque()
        self._overflowed: set[ChannelAddress] = set()
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._read_up = False
        """All up to the head that the content's follower has reached was read and told as well, which takes as long as keys do."""
        self._untold = False
        """The content was caught up and nobody was told yet: the first commit has still to come."""
        self._followers = {
            log: Follower(log, history.place(log).position)
            for log in (channel.epochs, channel.grants, channel.content)
        }

    @property
    def logs(self) -> tuple[ChannelAddress, ...]:
        """Every log of this channel, the keys' first."""
        return tuple(self._followers)

    @property
    def caught_up(self) -> bool:
        """Whether all of the content up to the head that the server named is here. Before the first commit was
        processed nothing is: an empty log of a channel without members says nothing."""
        return self._read_up and self._followers[self.channel.content].live and self.channel.epoch >= 0

    @property
    def newest(self) -> bool:
        """Whether every commit that the server named on this connection was processed."""
        epochs = self._followers[self.channel.epochs]
        return epochs.live and self.channel.epoch + 1 >= epochs.head

    @property
    def position(self) -> Position:
        """How far the content was received."""
        return self._followers[self.channel.content].position

    def push(self, log: ChannelAddress, item: Item) -> None:
        """Hand over what arrived; never waits. A full queue forgets batches and asks again later."""
        queue = self._content if log == self.channel.content else self._keys
        if len(queue) >= QUEUE_PUSHES and isinstance(item, Batch | Head | Unnamed):
            self._overflowed.add(log)
            return
        queue.append((log, item))
        self._wake.set()

    def up(self) -> None:
        """A session stands."""
        for log in self._followers:
            self.push(log, Up())

    def down(self) -> None:
        """The session is over: what is still queued of it stays good, for ranges are checked."""
        for log in self._followers:
            self.push(log, Down())

    def look_again(self) -> None:
        """After a refused commit: fetch the channel's chain anew, and go on if it holds now."""
        self.push(self.channel.epochs, Again())

    async def run(self) -> None:
        """Work off what is pushed until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                if not await self._work_keys() and not await self._work_content():
                    self._ask_for_overflowed()
                    self._wake.clear()
                    if not self._keys and not self._content:
                        await self._wake.wait()

    # ---- working off

    async def _work_keys(self) -> bool:
        if not self._keys:
            return False
        log, item = self._keys.popleft()
        if isinstance(item, Again):
            await self._keep_trying(self.channel.look_again)
            # What was pushed may have been made up: what counts is what was verified.
            self._followers[log] = Follower(log, self._verified(self._followers[log].position))
            item = Up()
        # Before the batch itself moves the follower: one that catches up brings history, however new its end is.
        live = self._followers[log].live
        for step in self._steps(log, item):
            await self._perform_keys(log, step, live=live)
        return True

    async def _work_content(self) -> bool:
        if not self._content:
            return False
        log, item = self._content.popleft()
        live = self._followers[log].live
        steps = self._steps(log, item)
        if any(isinstance(step, CaughtUp) for step in steps):
            self._read_up = False
        for step in steps:
            await self._perform_content(log, step, live=live)
        return True

    def _steps(self, log: ChannelAddress, item: Item) -> tuple[Step, ...]:
        follower = self._followers[log]
        match item:
            case Subscribed():
                return follower.on_subscribed(item)
            case Batch():
                return follower.on_batch(item)
            case Head():
                return follower.on_head(item.offset)
            case Unnamed():
                return follower.on_unnamed()
            case Up() | Again():
                follower.on_disconnected()
                return (SubscribeAgain(),)
            case Down():
                follower.on_disconnected()
                return ()

    def _ask_for_overflowed(self) -> None:
        logs, self._overflowed = self._overflowed, set()
        for log in logs:
            if self._followers[log].on_overflow():
                self._subscribe(log)

    async def _perform_keys(self, log: ChannelAddress, step: Step, *, live: bool) -> None:
        match step:
            case Take():
                await self._take_keys(log, step, live=live)
            case Dropped():
                self._history.drop(log, Place(step.position, 0, None))
                if log == self.channel.epochs:
                    await self._keep_trying(self._give_back_commits)
            case SubscribeAgain():
                self._subscribe(log)
            case CaughtUp():
                if log == self.channel.epochs:
                    self._listener.on_newest(self.channel)
            case Trimmed():
                pass

    async def _take_keys(self, log: ChannelAddress, step: Take, *, live: bool) -> None:
        if log == self.channel.epochs:
            await self._keep_trying(lambda: self.channel.take_epochs(step.entries, live=live))
        else:
            epochs = await self._keep_trying(lambda: self.channel.take_grants(step.entries))
            if epochs:
                opened = self._take_late()
                self._listener.on_granted(self.channel, epochs, opened)
        position = self._verified(step.position) if log == self.channel.epochs else step.position
        self._history.take(log, (), Place(position, 0, None))
        if log == self.channel.epochs:
            self._take_late()
        self._tell_caught_up()

    def _take_late(self) -> int:
        """What can be opened only now; returns how many."""
        taken = 0
        for late in self.channel.reopen():
            taken += len(late)
            self._listener.on_readings(self.channel, late, live=False)
        return taken

    def _verified(self, position: Position) -> Position:
        """Epoch n stands at offset n + 1. One that was refused is asked for again, after a restart too."""
        return Position(position.generation, min(position.offset, self.channel.epoch + 1))

    async def _give_back_commits(self) -> None:
        await self.channel.post_lost_commits(self._followers[self.channel.epochs].head)

    async def _perform_content(self, log: ChannelAddress, step: Step, *, live: bool) -> None:
        match step:
            case Take():
                await self._take_content(log, step, live=live)
            case Dropped():
                # The owner reads from the old copy what it must post again, so it is told first.
                self._listener.on_dropped(self.channel, step.position)
                self._history.drop(log, Place(step.position, 0, None))
                self.channel.begin_again()
            case Trimmed():
                self._listener.on_trimmed(self.channel, step.since, step.floor)
            case SubscribeAgain():
                self._subscribe(log)
            case CaughtUp():
                self._read_up = self._untold = True
                self._tell_caught_up()

    def _tell_caught_up(self) -> None:
        if self._untold and self.caught_up:
            self._untold = False
            self._listener.on_caught_up(self.channel)

    async def _take_content(self, log: ChannelAddress, step: Take, *, live: bool) -> None:
        """Entries in portions: each is stored with the offset that it reaches. One whose id stands in the portion
        already waits for the next: whether a message was taken before, the store alone can say."""
        readings: list[Reading] = []
        here: set[tuple[DeviceId, MessageId]] = set()
        for entry in step.entries:
            name = (entry.device, entry.id)
            if name in here or len(readings) >= _STORE_ENTRIES:
                reached = readings[-1].row.offset
                self._store(log, readings, Position(step.position.generation, reached), live=live)
                readings, here = [], set()
            readings.append(await self._read(entry))
            here.add(name)
        self._store(log, readings, step.position, live=live)

    def _store(self, log: ChannelAddress, readings: list[Reading], position: Position, *, live: bool) -> None:
        rows = tuple(reading.row for reading in readings)
        pressing = self._listener.pressing(self.channel, tuple(readings))
        self._history.take(log, rows, Place(position, 0, self.channel.sealed.seen.head), pressing)
        if readings:
            self._listener.on_readings(self.channel, tuple(readings), live=live)

    async def _read(self, entry: Entry) -> Reading:
        """Open an entry; one of an unknown epoch is held until its keys come or 30 s are over."""
        until_s = self._clock.monotonic_s() + HOLD_S
        asked = False
        while True:
            try:
                return self.channel.read(entry)
            except SealingError as error:
                if error.code is not SealingCode.E_UNKNOWN_EPOCH:
                    raise
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0 or self.channel.stopped:
                return self.channel.give_up(entry)
            self.channel.advanced.clear()
            if await self._work_keys():
                continue
            if not asked:
                asked = True
                with suppress(ApiError):
                    await self.channel.sync()
                continue
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, AGAIN_S)):
                    await self.channel.advanced.wait()
            asked = False

    async def _keep_trying(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """The server's HTTP half may be away: the position must not move on without it."""
        delay_s = AGAIN_S
        while True:
            try:
                return await act()
            except ApiError as error:
                if error.code in {WireError.NOT_FOUND, WireError.FORBIDDEN}:
                    self._listener.on_lost(self.channel)
            await asyncio.sleep(delay_s)
            delay_s = min(AGAIN_CAP_S, delay_s * 2)

    # ---- asking

    def _subscribe(self, log: ChannelAddress) -> None:
        position = self._followers[log].subscribe()
        if self._group is not None:
            self._group.create_task(self._ask(log, position))

    async def _ask(self, log: ChannelAddress, position: Position) -> None:
        try:
            answer = await self._subscriber.subscribe(log, position)
        except Offline:
            # The next session subscribes anew.
            self._followers[log].on_refused()
            return
        if isinstance(answer, Subscribed):
            return
        self._followers[log].on_refused()
        if answer.error < 200:
            await asyncio.sleep(max(asked_s(answer.retry_ms), AGAIN_S))
            self.push(log, Up())
        elif answer.error == WireError.NOT_FOUND:
            self._listener.on_lost(self.channel)
