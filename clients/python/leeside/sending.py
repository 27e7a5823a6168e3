"""Emptying the outbox: one message at a time in each channel, in order, until each was answered.

One task per channel that has something to say. It seals what is composed, writes the exact frame down, publishes
it, and acts on the answer: `Accepted` ends it; `stale` alone permits sealing anew; anything that may succeed later
is repeated with the same bytes; a refusal for good is kept for the person to see, and the next one's turn comes.
One in flight per channel keeps order: nothing overtakes a message that has to be sealed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from leeside.api import ApiError
from leeside.channels import Channel
from leeside.connection import Reply, Uniform, asked_s, backoff_s
from leeside.errors import ChannelAlarmed, NotPermitted, Offline, Refused
from leeside.outbox import Outbox, Waiting
from leeside_protocol import messages as m
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.limits import IN_FLIGHT_MESSAGES
from leeside_protocol.sealing.errors import SealingError

BLOCKED_S: Final = 30.0
CHAIN_WAIT_S: Final = 1.0
"""How long a message waits for its channel's commits to come over the link, before they are fetched."""
"""How long a channel that may not send waits before it looks again, unless something changes."""
_WAIT_CODES: Final = frozenset(
    {WireError.TOKEN_EXPIRED, WireError.NOT_SUBSCRIBED, WireError.PENDING, WireError.CONFLICT}
)


class Publisher(Protocol):
    """How a message reaches the server."""

    async def request(self, build: Callable[[int], m.ClientMessage], timeout_s: float = ...) -> Reply:
        """The server's answer. Raises `Offline`."""
        ...


class SendListener(Protocol):
    """Who is told how messages fare. Must not block."""

    def on_accepted(self, log: ChannelAddress, message: MessageId, generation: int, offset: int) -> None: ...

    def on_refused(self, log: ChannelAddress, message: MessageId, code: WireError) -> None: ...

    def on_blocked(self, log: ChannelAddress, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Publish:
    """Builds the message for whatever request number it gets."""

    waiting: Waiting
    frame: bytes

    def __call__(self, req: int) -> m.Publish:
        draft = self.waiting.draft
        return m.Publish(
            req, draft.channel, draft.lane, draft.key, draft.id, self.frame, draft.urgency, draft.mark
        )


class Sending:
    """Works the outbox off while `online` is set. `channel_of` finds a channel by its content log; `newest` says
    whether the link has brought every commit of it that the server knows."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        channel_of: Callable[[ChannelAddress], Channel | None],
        listener: SendListener,
        uniform: Uniform,
        newest: Callable[[ChannelAddress], bool],
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._channel_of = channel_of
        self._listener = listener
        self._uniform = uniform
        self._newest = newest
        self._online = asyncio.Event()
        self._nudges: dict[ChannelAddress, asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None
        self._room = asyncio.Semaphore(IN_FLIGHT_MESSAGES)

    async def run(self) -> None:
        """Run until cancelled; begins with what an earlier run left behind."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for log in self._outbox.channels():
                self.nudge(log)
            await asyncio.Event().wait()

    def nudge(self, log: ChannelAddress) -> None:
        """Something waits in this channel, or what kept it from sending may have changed."""
        event = self._nudges.get(log)
        if event is not None:
            event.set()
        elif self._group is not None:
            self._nudges[log] = asyncio.Event()
            self._group.create_task(self._empty(log))

    def nudge_all(self) -> None:
        """Look again everywhere."""
        for log in self._outbox.channels():
            self.nudge(log)

    def online(self) -> None:
        """A session stands."""
        self._online.set()
        self.nudge_all()

    def offline(self) -> None:
        """The session is over."""
        self._online.clear()

    async def _empty(self, log: ChannelAddress) -> None:
        """Until nothing waits in this channel any more."""
        attempt = 0
        try:
            while (waiting := self._outbox.first(log)) is not None:
                await self._online.wait()
                attempt = 0 if await self._turn(log, waiting, attempt) else attempt + 1
        finally:
            del self._nudges[log]
        # A message may have come in between the last look and the goodbye.
        if self._outbox.first(log) is not None:
            self.nudge(log)

    async def _turn(self, log: ChannelAddress, waiting: Waiting, attempt: int) -> bool:
        """One try. True when the next message's turn has come, or this one may go again at once."""
        channel = self._channel_of(log)
        if channel is None or channel.epoch < 0:
            await self._pause(log, BLOCKED_S)
            return False
        if waiting.frame is None and not attempt and not self._newest(log):
            # Who was let in while this device was away shall read what it sends now.
            await self._pause(log, CHAIN_WAIT_S)
            return False
        try:
            async with self._room:
                return await self._send(channel, waiting, attempt)
        except Offline:
            await self._pause(log, backoff_s(attempt, self._uniform))
        except ChannelAlarmed as alarmed:
            self._listener.on_blocked(log, alarmed.code)
            await self._pause(log, BLOCKED_S)
        except (NotPermitted, SealingError) as error:
            self._listener.on_blocked(log, str(error))
            self._refuse(waiting, WireError.FORBIDDEN)
            return True
        except Refused as refused:
            self._listener.on_blocked(log, refused.code.label)
            await self._pause(log, BLOCKED_S)
        except ApiError as error:
            await self._pause(log, max(asked_s(error.retry_ms), backoff_s(attempt, self._uniform)))
        return False

    async def _send(self, channel: Channel, waiting: Waiting, attempt: int) -> bool:
        draft = waiting.draft
        frame = waiting.frame
        if frame is None:
            if not self._newest(draft.channel):
                await channel.sync()
            try:
                await channel.prepare()
            except NotPermitted:
                # For good is judged on the newest chain only: this device may have been let in a commit later.
                await channel.sync()
                await channel.prepare()
            sealed, epoch = channel.seal(draft)
            frame = self._outbox.seal(draft.id, sealed, epoch)
            if frame is None:
                return True
        reply = await self._publisher.request(_Publish(waiting, frame))
        if isinstance(reply, m.Accepted):
            self._outbox.accept(draft.id, reply.offset, reply.generation)
            self._listener.on_accepted(draft.channel, draft.id, reply.generation, reply.offset)
            return True
        if not isinstance(reply, m.Refused):
            raise Offline("the server answered something else")
        code = wire_error(reply.error)
        if code is WireError.STALE:
            self._outbox.unseal(draft.id, frame)
            await channel.sync()
            if attempt:
                await self._pause(draft.channel, backoff_s(attempt, self._uniform))
            return False
        if code.may_retry or code in _WAIT_CODES:
            await self._pause(draft.channel, max(asked_s(reply.retry_ms), backoff_s(attempt, self._uniform)))
            return False
        self._refuse(waiting, code)
        return True

    def _refuse(self, waiting: Waiting, code: WireError) -> None:
        self._outbox.refuse(waiting.draft.id, code)
        self._listener.on_refused(waiting.draft.channel, waiting.draft.id, code)

    async def _pause(self, log: ChannelAddress, delay_s: float) -> None:
        event = self._nudges[log]
        event.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await event.wait()


def wire_error(number: int) -> WireError:
    """The error of that number; a newer server's is judged by its range (spec 90)."""
    try:
        return WireError(number)
    except ValueError:
        if number < 200:
            return WireError.UNAVAILABLE
        return WireError.CONFLICT if number < 300 else WireError.INVALID
