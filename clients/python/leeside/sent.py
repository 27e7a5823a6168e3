"""A message of this device on its way, as whoever wrote it sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from leeside.errors import Refused
from leeside.events import Progress
from leeside.outbox import Waiting
from leeside.sending import wire_error
from leeside.switchboard import Switchboard
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, DeviceId, MessageId

_RANK: Final = {progress: rank for rank, progress in enumerate(Progress)}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of this device on its way. Losing this object loses nothing."""

    channel: ChannelId
    id: MessageId
    _board: Switchboard

    @property
    def progress(self) -> Progress:
        """How far it has come at the server: waiting, accepted (durable there), or refused."""
        return self._board.receipts.own(self.id) or Progress.WAITING

    @property
    def devices(self) -> Mapping[DeviceId, Progress]:
        """How far it has come at each other device that said so."""
        return self._board.receipts.progress(self.id)

    async def wait(
        self, progress: Progress = Progress.ACCEPTED, *, devices: int = 1, timeout_s: float | None = None
    ) -> None:
        """Until it has come this far: at the server for `ACCEPTED`, else at so many devices.

        Raises `Refused` when the server will not have it, `TimeoutError` after `timeout_s` (it stays in the
        outbox all the same).
        """
        feed = self._board.feeds.open(self.channel)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._reached(progress, devices):
                    await feed.next()
        finally:
            feed.close()

    def _reached(self, progress: Progress, devices: int) -> bool:
        if self.progress is Progress.REFUSED:
            waiting = self._board.outbox.get(self.id)
            raise Refused(refusal_of(waiting), "the server refused this message")
        if progress in {Progress.WAITING, Progress.ACCEPTED}:
            return self.progress is Progress.ACCEPTED
        return sum(_RANK[p] >= _RANK[progress] for p in self.devices.values()) >= devices


def refusal_of(waiting: Waiting | None) -> WireError:
    """Why the server refused a message."""
    return WireError.INVALID if waiting is None else wire_error(waiting.code)
