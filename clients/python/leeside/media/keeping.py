"""A new epoch of the channel whenever somebody came into the call or went: what was before opens nothing that comes after.

One of those who are there does it, the *keeper*: the lowest device id among those who may commit (spec 09).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from leeside.api import ApiError
from leeside.channels import Channel
from leeside.errors import LeesideError
from leeside_protocol.ids import DeviceId

EVERY_S: Final = 2.0
FINISH_S: Final = 5.0


def is_keeper(channel: Channel, device: DeviceId, others: Iterable[DeviceId]) -> bool:
    """Whether this device makes the new epoch."""
    there = {device, *others}
    able = [e.device_id for e in channel.sealed.head.roster if e.gets_epoch_secret and e.device_id in there]
    return bool(able) and min(able) == device


class Keeper:
    """Runs on every device of a call; acts on one."""

    def __init__(self, channel: Channel, device: DeviceId, others: Callable[[], Iterable[DeviceId]]) -> None:
        self._channel = channel
        self._device = device
        self._others = others
        self._changed = asyncio.Event()
        self._committing: asyncio.Task[bool] | None = None

    def changed(self) -> None:
        """Somebody came, went, or may not hear any more."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. What cannot be committed now is tried again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if is_keeper(self._channel, self._device, self._others()):
                # A commit under way is not cut off: whether it stands would be unknown.
                self._committing = asyncio.ensure_future(self._commit())
                if not await asyncio.shield(self._committing):
                    self._changed.set()
            await asyncio.sleep(EVERY_S)

    async def finish(self) -> None:
        """Let a commit that is under way come to its end."""
        if self._committing is not None:
            await asyncio.wait({self._committing}, timeout=FINISH_S)

    async def _commit(self) -> bool:
        try:
            await self._channel.rekey()
        except (LeesideError, ApiError):
            return False
        return True
