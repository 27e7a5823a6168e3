"""Whom to tell over a push service that something waits, and when (spec 03, "Push").

Theory of operation. Whatever calls for a push was stored by a write of this node, so this node sees to it, and the path of
that write only leaves a note here (`stored`). One task looks who is in the channel, which of them have a subscription,
and which of those some node holds a socket of. Who has none is sent a push by one of `SENDERS` tasks. Who seems to be
connected is looked at again `AGAIN_S` later, when the socket of a phone that fell asleep has been given up; and so is
who was pushed to less than 15 s ago, then.

Every queue here is bounded, and what finds no room is counted and dropped: a push is a hint. Nothing survives the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import stamina

from leeside_protocol.ids import AgencyId, ChannelId, ChannelKind, DeviceId
from leeside_protocol.limits import PUSH_BYTES, SILENT_S
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.words import Lane, Urgency
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.identity import DeviceRow, DeviceState, without_push
from leeside_server.core.notices import Notice, kind_of
from leeside_server.core.rates import Buckets, Rate
from leeside_server.core.rows import KINDS, Held, change, read
from leeside_server.core.writes import NO_DEVICE, Append, Item, Outcome, Save, Stored
from leeside_server.log import get_logger
from leeside_server.ports import (
    PushGone,
    PushRefused,
    PushUnavailable,
    StoreFull,
    StoreUnavailable,
    Subscription,
)

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

PAYLOAD: Final = b"something is waiting".ljust(PUSH_BYTES)
TTL_S: Final = 60
EVERY: Final = Rate(1 / 15, 1)
AGAIN_S: Final = SILENT_S + 5.0
SENDERS: Final = 16
"""One push service that hangs must not keep the others waiting."""
CHANNELS_WAITING: Final = 1_024
DEVICES_WAITING: Final = 4_096
ATTEMPTS: Final = 4
READ_TIMEOUT_S: Final = 5.0

_CONTENT: Final = ChannelKind.CONTENT.value
_INBOX: Final = ChannelKind.INBOX.value
_CONSULT: Final = KINDS[ConsultRow]
_log = get_logger("leeside.push")

_Device = tuple[AgencyId, DeviceId]


class Pushes:
    """The pushes of one node. `stored` is called for every write and must cost nearly nothing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._on = bool(node.push.key)
        self._channels: dict[tuple[AgencyId, ChannelId], DeviceId] = {}
        """Channels with something urgent, and who sent it; several: nobody."""
        self._devices: dict[_Device, None] = {}
        """Devices that a notice of this moment calls for."""
        self._wake = asyncio.Event()
        self._again: dict[_Device, float] = {}
        """When devices are looked at again, on the monotonic clock."""
        self._ready: asyncio.Queue[tuple[AgencyId, Held[DeviceRow]]] = asyncio.Queue(DEVICES_WAITING)
        self._sending: set[_Device] = set()
        self._looking = False
        self._rate = Buckets(EVERY)

    @property
    def waiting(self) -> int:
        """Devices that wait to be told, or to be looked at again."""
        return len(self._devices) + len(self._again) + len(self._sending)

    @property
    def idle(self) -> bool:
        """Nothing is noted, looked at, or on its way; somebody may still have to be looked at again."""
        return not (self._wake.is_set() or self._looking or self._sending)

    def stored(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        """Note what of a write calls for a push; of repeats nothing does."""
        if not self._on:
            return
        for item, outcome in zip(items, outcomes, strict=True):
            if type(outcome) is not Stored:
                continue
            for part in item.parts:
                if type(part) is Append and part.lane is Lane.LOG:
                    kind = part.channel[:1]
                    if kind == _CONTENT and part.urgency >= Urgency.URGENT and not _of_consult(item):
                        self._note_channel(item.agency, ChannelId(part.channel[1:]), part.device)
                    elif kind == _INBOX and _calls(item, kind_of(part.payload)):
                        self._note_device((item.agency, DeviceId(part.channel[1:])))

    async def look_forever(self) -> None:
        """Look at what was noted, as soon as it was."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._looking = True
            try:
                await self._look_at_noted()
            finally:
                self._looking = False

    async def look_again(self) -> None:
        """Look at the devices whose time has come; called every second."""
        now_s = self._node.clock.monotonic_s()
        due = [device for device, at_s in self._again.items() if at_s <= now_s]
        for device in due:
            del self._again[device]
        for agency, some in _by_agency(due).items():
            await self._look(agency, some, again=False)

    async def send_forever(self) -> None:
        """Send one push after the other; `SENDERS` of these run."""
        while True:
            agency, held = await self._ready.get()
            try:
                await self._send(agency, held)
            finally:
                self._sending.discard((agency, DeviceId(held.id)))

    async def forget(self, agency: AgencyId, held: Held[DeviceRow]) -> None:
        """End a subscription that is gone. Whoever changed the row first may have put another: that one stays."""
        node = self._node
        item = Item(agency, node.clock.now_ms(), (change(held, without_push(held.row)),))
        try:
            await node.write([item])
        except (StoreUnavailable, StoreFull):
            # It is found gone once more, at the next push.
            return

    # ---- inside

    async def _look_at_noted(self) -> None:
        channels, self._channels = self._channels, {}
        devices, self._devices = self._devices, {}
        for (agency, channel), sender in channels.items():
            await self._look(agency, await self._others(agency, channel, sender), again=True)
        for agency, some in _by_agency(devices).items():
            await self._look(agency, some, again=True)

    async def _others(self, agency: AgencyId, channel: ChannelId, sender: DeviceId) -> Sequence[DeviceId]:
        """Who else reads a channel; nobody while the store is away."""
        try:
            row = await self._node.heads.get(agency, channel)
        except StoreUnavailable:
            self._node.metrics.pushes_dropped.inc()
            return ()
        masks = {} if row is None else row.masks
        return [device for device, mask in masks.items() if mask >> DURABLE & 1 and device != sender]

    def _note_channel(self, agency: AgencyId, channel: ChannelId, sender: DeviceId) -> None:
        key = (agency, channel)
        if key not in self._channels and len(self._channels) >= CHANNELS_WAITING:
            self._node.metrics.pushes_dropped.inc()
            return
        self._channels[key] = sender if self._channels.get(key, sender) == sender else NO_DEVICE
        self._wake.set()

    def _note_device(self, device: _Device) -> None:
        if device not in self._devices and len(self._devices) >= DEVICES_WAITING:
            self._node.metrics.pushes_dropped.inc()
            return
        self._devices[device] = None
        self._wake.set()

    async def _look(self, agency: AgencyId, devices: Sequence[DeviceId], *, again: bool) -> None:
        """Send to those of these devices that have a subscription and no socket. Those with one are looked at later,
        if `again`."""
        node = self._node
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                names = [(agency, KINDS[DeviceRow], bytes(device)) for device in devices]
                found = await node.store.get_many(names)
                rows = [read(DeviceRow, one) for one in found if one is not None]
                subscribed = [
                    held for held in rows if held.row.push_endpoint and held.row.state is DeviceState.ACTIVE
                ]
                if not subscribed:
                    return
                ids = [DeviceId(held.id) for held in subscribed]
                view = await node.presence.online(agency, ids, node.clock.now_ms())
        except (StoreUnavailable, TimeoutError):
            node.metrics.pushes_dropped.inc(len(devices))
            return
        now_s = node.clock.monotonic_s()
        # Who is named is said to be here by a node that reports; where the view is stale, the others may be or not.
        here = view.devices | {device for of, device in node.sockets.devices() if of == agency}
        for held in subscribed:
            key = (agency, DeviceId(held.id))
            if key[1] not in here:
                self._tell(key, held, now_s)
            elif again:
                self._look_later(key, now_s + AGAIN_S)

    def _tell(self, key: _Device, held: Held[DeviceRow], now_s: float) -> None:
        if key in self._sending:
            return
        wait_s = self._rate.take(key[0] + key[1], now_s)
        if wait_s:
            self._look_later(key, now_s + wait_s)
            return
        try:
            self._ready.put_nowait((key[0], held))
        except asyncio.QueueFull:
            self._node.metrics.pushes_dropped.inc()
        else:
            self._sending.add(key)

    def _look_later(self, key: _Device, at_s: float) -> None:
        if key not in self._again and len(self._again) >= DEVICES_WAITING:
            self._node.metrics.pushes_dropped.inc()
            return
        self._again[key] = min(at_s, self._again.get(key, at_s))

    async def _send(self, agency: AgencyId, held: Held[DeviceRow]) -> None:
        node, row = self._node, held.row
        to = Subscription(row.push_endpoint, row.push_public, row.push_auth)
        try:
            async with asyncio.timeout(TTL_S):
                async for attempt in stamina.retry_context(
                    on=PushUnavailable, attempts=ATTEMPTS, timeout=TTL_S
                ):
                    with attempt:
                        await node.push.send(to, PAYLOAD, TTL_S)
        except PushGone:
            await self.forget(agency, held)
        except PushRefused as refused:
            node.metrics.pushes_failed.inc()
            _log.warning("push_refused", status=refused.status)
        except (PushUnavailable, TimeoutError):
            node.metrics.pushes_failed.inc()
        else:
            node.metrics.pushes.inc()


def _of_consult(item: Item) -> bool:
    """Whom a consult asks for is paged; of its channel's roster nobody else is woken."""
    return any(type(part) is Save and part.kind == _CONSULT for part in item.parts)


def _calls(item: Item, kind: int) -> bool:
    """Whether a notice of this kind is worth a push."""
    return kind == Notice.CONSULT_ALARM or (kind == Notice.CHANNEL_JOINED and not _of_consult(item))


def _by_agency(devices: Iterable[_Device]) -> dict[AgencyId, list[DeviceId]]:
    found: dict[AgencyId, list[DeviceId]] = {}
    for agency, device in devices:
        found.setdefault(agency, []).append(device)
    return found
