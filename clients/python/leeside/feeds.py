"""Events on their way to whoever follows a channel: bounded queues that say when they ran over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from leeside.errors import LeesideError, Offline
from leeside.events import Event, Lagged
from leeside_protocol.ids import ChannelId

QUEUE_EVENTS: Final = 4_096


class Feed:
    """One follower's events, an async iterator. `channel` None: those of all channels.

    When it is not read for so long that the queue is full, the oldest events are thrown away and `Lagged` stands in
    their place. Leaving the loop and calling `close` ends it; so does the end of the client.
    """

    def __init__(self, channel: ChannelId | None, on_close: Callable[[Feed], None]) -> None:
        self.channel = channel
        self._events: deque[tuple[ChannelId | None, Event]] = deque()
        self._lost: dict[ChannelId, int] = {}
        self._wake = asyncio.Event()
        self._on_close = on_close
        self._closed = False
        self._error: LeesideError | None = None

    def put(self, channel: ChannelId | None, event: Event) -> None:
        """Add an event; never waits."""
        if len(self._events) >= QUEUE_EVENTS:
            where, _ = self._events.popleft()
            if where is not None:
                self._lost[where] = self._lost.get(where, 0) + 1
        self._events.append((channel, event))
        self._wake.set()

    def end(self, error: LeesideError | None = None) -> None:
        """No more comes; what is queued is still given, then `error` is raised."""
        self._closed = True
        self._error = error
        self._wake.set()

    def close(self) -> None:
        """The follower has had enough."""
        self._on_close(self)
        self._events.clear()
        self.end()

    async def next(self) -> Event:
        """The next event. Raises `Offline` when there will be none, or what ended the client."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise Offline("the client was closed") from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._lost:
                channel, lost = self._lost.popitem()
                return Lagged(channel, lost)
            if self._events:
                return self._events.popleft()[1]
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()


class Feeds:
    """All followers of one client."""

    def __init__(self) -> None:
        self._feeds: list[Feed] = []
        self._ended = False
        self._error: LeesideError | None = None

    def open(self, channel: ChannelId | None) -> Feed:
        """A new follower, from now on; one who comes after the end hears of the end."""
        feed = Feed(channel, self._forget)
        if self._ended:
            feed.end(self._error)
        else:
            self._feeds.append(feed)
        return feed

    def put(self, channel: ChannelId | None, event: Event) -> None:
        """Give an event to whom it concerns; one of no channel concerns everybody."""
        for feed in self._feeds:
            if feed.channel is None or channel is None or feed.channel == channel:
                feed.put(channel, event)

    def end(self, error: LeesideError | None = None) -> None:
        """The client is over; what ended it first counts."""
        if not self._ended:
            self._ended, self._error = True, error
        for feed in self._feeds:
            feed.end(error)
        self._feeds.clear()

    def _forget(self, feed: Feed) -> None:
        if feed in self._feeds:
            self._feeds.remove(feed)
