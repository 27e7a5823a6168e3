"""What a client does without being asked: new keys for itself and its channels, and the end of ended incidents.

Nothing here is needed for sending: whoever sends commits first what is due. It keeps quiet channels fresh, lets a
revoked device out soon, and leaves nothing on a device that is over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

from leeside.api import Api, ApiError
from leeside.channels import Channel
from leeside.closing import Closing
from leeside.connection import Connection, Uniform
from leeside.errors import LeesideError
from leeside.home import Home
from leeside.lockbox import Keystore
from leeside.outbox import Outbox
from leeside_protocol import messages as m
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.signed import Signed

KEEP_HOUSE_S: Final = 60.0
REKEY_JITTER_MS: Final = 300
KEYS_RECORD: Final = "device/keys"


class House(Protocol):
    """What of the client's inside is kept in order."""

    @property
    def api(self) -> Api: ...
    @property
    def home(self) -> Home: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def keystore(self) -> Keystore: ...
    @property
    def uniform(self) -> Uniform: ...
    @property
    def infos(self) -> Mapping[ChannelId, r.ChannelInfo]: ...
    @property
    def all_caught_up(self) -> bool: ...

    def channels(self) -> tuple[Channel, ...]: ...
    async def who(self, channel: ChannelId) -> m.Online: ...
    def on_forgotten(self, channel: Channel) -> None: ...


class Upkeep:
    """`run` it in the client's task group; `rekey_soon` and `close_soon` begin work there."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._closing = Closing(house.home, house.outbox)
        self._busy: set[ChannelId] = set()
        self._tended: set[ChannelId] = set()
        self._published: Signed | None = None
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Once a minute, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await self._look()
                    await asyncio.sleep(KEEP_HOUSE_S)
            finally:
                self._group = None

    async def _look(self) -> None:
        house = self._house
        now_ms = house.connection.server_now_ms()
        for channel in house.channels():
            channel.sealed.forget_short_lived(now_ms)
        if not house.connection.online:
            return
        # Only by the server's time: this machine's clock may be days ahead.
        house.outbox.forget(now_ms)
        with suppress(LeesideError):
            # The server is away, or the disk is full: the next minute tries again.
            await self._renew_keys(now_ms)
        for channel in house.channels():
            if self._ended(channel):
                self.close_soon(channel)
            elif channel.rekey_due() is not None:
                self.rekey_soon(channel)

    def _ended(self, channel: Channel) -> bool:
        info = self._house.infos.get(channel.id)
        return info is not None and info.archived

    # ---- ended incidents

    def look_for_ended(self) -> None:
        """The list of channels is fresh: some may have been archived."""
        for channel in self._house.channels():
            if channel.id not in self._tended and self._ended(channel):
                self.close_soon(channel)

    def close_soon(self, channel: Channel) -> None:
        """Archive an ended incident's keys, or forget it when its time has come."""
        self._begin(channel, closing=True)

    async def _close(self, channel: Channel) -> None:
        if channel.id not in self._tended:
            self._tended.add(channel.id)
            # Not all at once: who is first in rank archives, and the others find it done.
            jitter_ms = int(self._house.uniform(0.0, float(REKEY_JITTER_MS)))
            if channel.epoch >= 0:
                everyone = frozenset(channel.roster)
                await asyncio.sleep(channel.sealed.rekey_delay_ms(everyone, jitter_ms) / 1000)
        if await self._closing.tend(channel):
            self._house.on_forgotten(channel)

    # ---- keys of channels

    def rekey_soon(self, channel: Channel) -> None:
        """Any online member commits; who is first in rank is first in time."""
        if not self._ended(channel):
            self._begin(channel, closing=False)

    async def _rekey(self, channel: Channel) -> None:
        online: frozenset[DeviceId] = frozenset()
        with suppress(LeesideError):
            online = frozenset((await self._house.who(channel.id)).devices)
        jitter_ms = int(self._house.uniform(0.0, float(REKEY_JITTER_MS)))
        await asyncio.sleep(channel.sealed.rekey_delay_ms(online, jitter_ms) / 1000)
        await channel.sync()
        await channel.rekey_if_due()

    def _begin(self, channel: Channel, *, closing: bool) -> None:
        if channel.id not in self._busy and self._group is not None:
            self._busy.add(channel.id)
            self._group.create_task(self._work(channel, closing=closing))

    async def _work(self, channel: Channel, *, closing: bool) -> None:
        try:
            await (self._close(channel) if closing else self._rekey(channel))
        except (LeesideError, ApiError):
            # Whoever sends next commits before sending, and the next minute looks again.
            return
        finally:
            self._busy.discard(channel.id)

    # ---- this device's own keys

    async def _renew_keys(self, now_ms: int) -> None:
        """A new DeviceKey each day: kept first, then published, then used by others.

        Published again at each start, and until the server took it: others go on sealing to the key that they find
        there, whose private half goes an hour after it was replaced.
        """
        house = self._house
        keys = house.home.keys
        kept = house.keystore.get(KEYS_RECORD)
        if kept is not None:
            # A command beside a chat window, say: both are this device, and one of them rotates.
            keys.adopt(DeviceKeys.restore(kept), now_ms)
        if keys.rotation_due(now_ms):
            keys.rotate(secrets.token_bytes, now_ms)
        newest = keys.newest
        if newest != self._published:
            house.keystore.put(KEYS_RECORD, keys.export())
            try:
                await house.api.put_device_key(r.PutDeviceKey(newest.encode()))
            except ApiError as error:
                if error.sealing_code == SealingCode.E_DEVKEY:
                    # A newer one is out, made by a process that wrote at the same moment, or before this copy of the
                    # keystore was brought back: get beyond it.
                    keys.rotate(secrets.token_bytes, now_ms)
                raise
            self._published = newest
        if keys.prune(now_ms, boxes_fetched=house.all_caught_up):
            house.keystore.put(KEYS_RECORD, keys.export())
