"""What is kept how long: payloads of logs, positions, attachments, remembered ids.

Theory of operation. The end of an incident is a timer: the request that closes it saves the row with a deadline, and
whichever node sees it due carries it out. First the last positions of the incident's channels are deleted, at once;
then the row waits for `incident_days` and the payloads and attachments go. Everything that has no deadline of its own
(standing channels, inboxes) is looked through once a day. Every step can be repeated, and two nodes that do it at
once do it once: the row's revision decides, and pruning what is pruned changes nothing.

What only ever served once is forgotten `SPENT_KEPT_MS` after its end, when nobody can present it any more: sessions,
enrolment codes, announcements of attachments that are gone. A spent bootstrap code is not: the operator's file still
has its hash, and the row is what keeps it from serving twice.

The signed directory and the epochs of channels are never pruned, and the hash of a pruned frame stays, so that
members can still prove what stood where.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec

from leeside_protocol.ids import (
    AgencyId,
    BlobId,
    ChannelAddress,
    ChannelId,
    ChannelKind,
    MessageId,
    StateKind,
    address,
)
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.words import ChannelPurpose, Lane
from leeside_server.core.attachments import BlobRow, chunks_of
from leeside_server.core.channels import ChannelRow
from leeside_server.core.identity import NO_AGENCY, DeviceRow, EnrolmentRow, SessionRow
from leeside_server.core.incidents import ENDED, IncidentRow
from leeside_server.core.rows import KINDS, Held, R, change, read, remove
from leeside_server.core.writes import NO_DEVICE, Append, Item, Save
from leeside_server.log import get_logger
from leeside_server.ports import Clock, Store, StoreFull, StoreUnavailable
from leeside_server.relay.http.host import Host

DAY_MS: Final = 86_400_000
SWEEP_S: Final = 30.0
DUE_AT_ONCE: Final = 50
PAGE_BYTES: Final = 1 << 20
SPENT_KEPT_MS: Final = DAY_MS
"""Beyond every token, challenge and repeat that could still name what has ended."""
DROPPED_KEPT_MS: Final = 3_600_000
"""A chunk that was being uploaded when its attachment went has arrived by then, and goes too."""
REMOVED_AT_ONCE: Final = 500

_log = get_logger("leeside.retention")


class RetentionSettings(msgspec.Struct, frozen=True):
    """Days; 0 keeps for good. `ids_days` is how long the ids of replaced values are remembered."""

    incident_days: int = 0
    standing_days: int = 0
    inbox_days: int = 30
    ids_days: int = 30


class Retention:
    """The retention of one node. `sweep` carries out what is due now."""

    def __init__(
        self, host: Host, settings: RetentionSettings, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._host = host
        self._settings = settings
        self._random = random
        self._next_daily_ms = 0

    @property
    def _store(self) -> Store:
        return self._host.store

    @property
    def _clock(self) -> Clock:
        return self._host.clock

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Sweep every `SWEEP_S` while the body runs."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._sweep_forever())
            try:
                yield
            finally:
                task.cancel()

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (StoreUnavailable, StoreFull) as error:
                _log.warning("retention_put_off", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001
                # A fault of ours in here must not end the relay. Its text could repeat content.
                _log.error("retention_failed", error=type(error).__name__, exc_info=error)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Carry out what is due. Raises the store's errors; what was begun goes on next time."""
        now_ms = self._clock.now_ms()
        for agency, found in await self._store.due(KINDS[IncidentRow], now_ms, DUE_AT_ONCE):
            await self._incident(agency, read(IncidentRow, found), now_ms)
        for agency, found in await self._store.due(KINDS[BlobRow], now_ms, DUE_AT_ONCE):
            await self._upload(agency, read(BlobRow, found), now_ms)
        if now_ms >= self._next_daily_ms:
            for agency in await self._store.agencies():
                await self._daily(agency, now_ms)
            await self._forget(NO_AGENCY, EnrolmentRow, lambda row: row.expires_ms, now_ms)
            self._next_daily_ms = now_ms + DAY_MS

    # ---- incidents

    async def _incident(self, agency: AgencyId, held: Held[IncidentRow], now_ms: int) -> None:
        row = held.row
        if row.state not in ENDED:
            await self._save(agency, change(held, row), now_ms)
            return
        channels = await self._channels_of(agency, held.id)
        if not row.swept:
            for channel in channels:
                await self._forget_positions(agency, channel, now_ms)
            due_ms = row.closed_ms + self._settings.incident_days * DAY_MS
            swept = msgspec.structs.replace(row, swept=True)
            await self._save(
                agency, change(held, swept, due_ms if self._settings.incident_days else None), now_ms
            )
            return
        for channel in channels:
            log = address(ChannelKind.CONTENT, channel)
            (head,) = await self._store.heads([(agency, log)])
            await self._store.prune(agency, log, head, now_ms - self._settings.ids_days * DAY_MS)
            for blob in await self._every(agency, BlobRow, channel):
                await self._drop(agency, blob, now_ms)
        await self._save(agency, change(held, row), now_ms)

    async def _channels_of(self, agency: AgencyId, incident: bytes) -> list[ChannelId]:
        rows = await self._every(agency, ChannelRow, None)
        return [ChannelId(held.id) for held in rows if held.row.subject == incident.hex()]

    async def _forget_positions(self, agency: AgencyId, channel: ChannelId, now_ms: int) -> None:
        """Delete every last position that the channel still holds."""
        log = address(ChannelKind.CONTENT, channel)
        keys: list[bytes] = []
        after = 0
        while True:
            page = await self._store.read(agency, log, after, PAGE_ENTRIES, PAGE_BYTES)
            keys += [
                entry.key
                for entry in page.entries
                if entry.lane is Lane.STATE and entry.key[:1] == StateKind.POSITION.value and entry.payload
            ]
            if page.to >= page.head:
                break
            after = page.to
        if keys:
            parts = tuple(
                Append(log, Lane.STATE, key, NO_DEVICE, MessageId(self._random(16)), b"") for key in keys
            )
            await self._host.write([Item(agency, now_ms, parts)])

    # ---- attachments

    async def _upload(self, agency: AgencyId, held: Held[BlobRow], now_ms: int) -> None:
        """An upload's day is over: what is complete stays, what is not goes, first its chunks, then its row."""
        if held.row.dropped:
            await self._host.blobs.delete(agency, BlobId(held.id))
            await self._host.write([Item(agency, now_ms, (remove(BlobRow, held),))])
            return
        have = await self._host.blobs.have(agency, BlobId(held.id))
        if len(have) < chunks_of(held.row):
            await self._drop(agency, held, now_ms)
        else:
            await self._save(agency, change(held, held.row), now_ms)

    async def _drop(self, agency: AgencyId, held: Held[BlobRow], now_ms: int) -> None:
        if held.row.dropped:
            return
        dropped = msgspec.structs.replace(held.row, dropped=True)
        await self._save(agency, change(held, dropped, now_ms + DROPPED_KEPT_MS), now_ms)
        await self._host.blobs.delete(agency, BlobId(held.id))

    # ---- once a day

    async def _daily(self, agency: AgencyId, now_ms: int) -> None:
        before_ms = now_ms - self._settings.standing_days * DAY_MS if self._settings.standing_days else 0
        for channel in await self._every(agency, ChannelRow, None):
            standing = channel.row.subject is None or channel.row.purpose is ChannelPurpose.UNIT
            await self._prune(
                agency, address(ChannelKind.CONTENT, channel.id), before_ms if standing else 0, now_ms
            )
            if standing and before_ms:
                for blob in await self._every(agency, BlobRow, channel.id):
                    if blob.row.created_ms < before_ms:
                        await self._drop(agency, blob, now_ms)
        inbox_ms = now_ms - self._settings.inbox_days * DAY_MS
        for device in await self._every(agency, DeviceRow, None):
            await self._prune(agency, address(ChannelKind.INBOX, device.id), inbox_ms, now_ms)
        await self._forget(agency, SessionRow, lambda row: row.ended_ms or row.refresh_until_ms, now_ms)

    async def _forget(self, agency: AgencyId, kind: type[R], end_ms: Callable[[R], int], now_ms: int) -> None:
        """Remove the rows whose end lies `SPENT_KEPT_MS` back."""
        spent = [
            held
            for held in await self._every(agency, kind, None)
            if end_ms(held.row) + SPENT_KEPT_MS <= now_ms
        ]
        items = [Item(agency, now_ms, (remove(kind, held),)) for held in spent]
        for first in range(0, len(items), REMOVED_AT_ONCE):
            await self._host.write(items[first : first + REMOVED_AT_ONCE])

    async def _prune(self, agency: AgencyId, log: ChannelAddress, before_ms: int, now_ms: int) -> None:
        up_to = await self._last_before(agency, log, before_ms) if before_ms else 0
        await self._store.prune(agency, log, up_to, now_ms - self._settings.ids_days * DAY_MS)

    async def _last_before(self, agency: AgencyId, log: ChannelAddress, before_ms: int) -> int:
        """The last offset whose entry is older than `before_ms`, found by halving: times rise with offsets."""
        (head,) = await self._store.heads([(agency, log)])
        low, high = 0, head
        while low < high:
            middle = (low + high) // 2
            page = await self._store.read(agency, log, middle, 1, 1)
            if page.entries and page.entries[0].at_ms < before_ms:
                low = page.entries[0].offset
            else:
                high = middle
        return low

    # ---- reading and writing

    async def _every(self, agency: AgencyId, kind: type[R], parent: bytes | None) -> Sequence[Held[R]]:
        rows: list[Held[R]] = []
        after = b""
        while True:
            found = await self._store.objects(agency, KINDS[kind], parent, after, PAGE_ENTRIES)
            rows += [read(kind, one) for one in found]
            if len(found) < PAGE_ENTRIES:
                return rows
            after = found[-1].id

    async def _save(self, agency: AgencyId, save: Save, now_ms: int) -> None:
        # A conflict means that another node, or a request, was first: it is seen next time.
        await self._host.write([Item(agency, now_ms, (save,))])
