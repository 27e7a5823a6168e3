"""How content is taken away: values, payloads, boxes, attachments, and an incident's sealed keys.

Every step can be repeated, and is after a crash: pruning what is pruned, deleting what is deleted and forgetting what is
forgotten change nothing. What may go, and when, is decided elsewhere (`core.records`, `relay.retention`), and stands in
the store before the first step here.

A shredding that was ordered is done again `AGAIN_MS` later: a device's archive that was on its way while the order came
has arrived by then, and goes too. From the order on the server takes no more of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

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
from leeside_protocol.words import Lane
from leeside_server.core.attachments import BlobRow
from leeside_server.core.channels import ChannelRow
from leeside_server.core.commits import FORGOTTEN_BOXES
from leeside_server.core.records import RecordsRow
from leeside_server.core.rows import Held, change
from leeside_server.core.writes import NO_DEVICE, Append, Audit, Item, Outcome, Part
from leeside_server.ports import Blobs, Store
from leeside_server.relay.reading import every

PAGE_BYTES: Final = 1 << 20
DROPPED_KEPT_MS: Final = 3_600_000
"""A chunk that was being uploaded when its attachment went has arrived by then, and goes too."""
AGAIN_MS: Final = 3_600_000
DELETED_AT_ONCE: Final = 500

Random = Callable[[int], bytes]


class Host(Protocol):
    """The node that content is taken from. `write` stores items and delivers what was appended."""

    @property
    def store(self) -> Store: ...

    @property
    def blobs(self) -> Blobs: ...

    async def write(self, items: Sequence[Item]) -> Sequence[Outcome]: ...


class Erasure:
    """Takes content away, through one node. Raises the store's errors; what was begun is begun anew then."""

    def __init__(self, host: Host, random: Random = os.urandom) -> None:
        self._host = host
        self._random = random

    async def channels(self, agency: AgencyId, incident: bytes) -> list[Held[ChannelRow]]:
        """An incident's channels, consults included."""
        rows = await every(self._host.store, agency, ChannelRow)
        return [held for held in rows if held.row.subject == incident.hex()]

    async def deletions(
        self, agency: AgencyId, channel: bytes, kind: StateKind | None = None
    ) -> tuple[Append, ...]:
        """What deletes every value that the channel still holds: those of one kind, or all. Not written yet."""
        log = address(ChannelKind.CONTENT, channel)
        keys: list[bytes] = []
        after = 0
        while True:
            page = await self._host.store.read(agency, log, after, PAGE_ENTRIES, PAGE_BYTES)
            keys += [
                entry.key
                for entry in page.entries
                if entry.lane is Lane.STATE and entry.payload
                if kind is None or entry.key[:1] == kind.value
            ]
            if page.to >= page.head:
                break
            after = page.to
        return tuple(
            Append(log, Lane.STATE, key, NO_DEVICE, MessageId(self._random(16)), b"") for key in keys
        )

    async def empty(self, agency: AgencyId, incident: bytes, ids_before_ms: int, now_ms: int) -> None:
        """Take an ended incident's content: payloads, values, boxes, attachments. Hashes, commits, grants and archives
        stay. Replaced values from before `ids_before_ms` are forgotten with their ids."""
        store = self._host.store
        for channel in await self.channels(agency, incident):
            log = address(ChannelKind.CONTENT, channel.id)
            await self._prune_all(agency, log, ids_before_ms)
            gone = await self.deletions(agency, channel.id)
            for first in range(0, len(gone), DELETED_AT_ONCE):
                await self._host.write([Item(agency, now_ms, gone[first : first + DELETED_AT_ONCE])])
            if gone:
                await self._prune_all(agency, log, ids_before_ms)
            await store.forget_boxes(agency, ChannelId(channel.id), channel.row.epoch + 1, FORGOTTEN_BOXES)
            for blob in await every(self._host.store, agency, BlobRow, channel.id):
                await self.drop(agency, blob, now_ms)

    async def shred(self, agency: AgencyId, records: Held[RecordsRow], now_ms: int) -> None:
        """Carry out the order in an incident's row: its content, if any is left, and the keys that open copies of it.

        Of grants and archives the hashes stay, and in the security events who gave what to whom.
        """
        await self.empty(agency, records.id, 0, now_ms)
        for channel in await self.channels(agency, records.id):
            await self._prune_all(agency, address(ChannelKind.GRANTS, channel.id), 0)
            for blob in await every(self._host.store, agency, BlobRow, channel.id):
                # Also what was dropped before: a node may have died between the two steps.
                await self._host.blobs.delete(agency, BlobId(blob.id))
        row = records.row
        parts: tuple[Part, ...]
        if row.shredded_ms:
            parts = (change(records, row),)
        else:
            done = msgspec.structs.replace(row, shredded_ms=now_ms)
            by = row.shred_by or NO_DEVICE
            again_ms = now_ms + AGAIN_MS
            parts = (change(records, done, again_ms), Audit("records_shredded", by, records.id, "done"))
        # A conflict means that another node was first to say so.
        await self._host.write([Item(agency, now_ms, parts)])

    async def drop(self, agency: AgencyId, blob: Held[BlobRow], now_ms: int) -> None:
        """Take an attachment's chunks; nothing for one that was dropped before."""
        if blob.row.dropped:
            return
        dropped = msgspec.structs.replace(blob.row, dropped=True)
        save = change(blob, dropped, now_ms + DROPPED_KEPT_MS)
        await self._host.write([Item(agency, now_ms, (save,))])
        await self._host.blobs.delete(agency, BlobId(blob.id))

    async def _prune_all(self, agency: AgencyId, log: ChannelAddress, ids_before_ms: int) -> None:
        (head,) = await self._host.store.heads([(agency, log)])
        await self._host.store.prune(agency, log, head, ids_before_ms)
