"""What is kept how long: payloads of logs, positions, attachments, boxes, remembered ids.

Theory of operation. The end of an incident is a timer: the request that closes it saves the row with a deadline, and
whichever node sees it due carries it out. First the last positions of the incident's channels are deleted, at once and
once more when every node has noticed; then the row waits for `incident_days` and payloads, values, boxes and attachments
go. Everything that has no deadline of its own (standing channels, inboxes) is looked through once a day, and so are ended
incidents, whose days may have been set or shortened since. Every step can be repeated, and two nodes that do it at once do
it once: the row's revision decides, and pruning what is pruned changes nothing.

A legal hold stops all of this for its incident. Placing one changes the incident's row, and every decision to take
something away is written together with that row first: a hold that was acknowledged before the decision prevents it. While
the hold stands the row has no deadline, so that a node of the version before, which knows no holds, takes nothing either.

Boxes of a standing channel go with the epochs that were over before its retention time and that no kept frame needs.

What only ever served once is forgotten `SPENT_KEPT_MS` after its end, when nobody can present it any more: sessions, pages,
enrolment codes, codes of guests' links, announcements of attachments that are gone. A spent bootstrap code is not: the operator's file still
has its hash, and the row is what keeps it from serving twice.

The signed directory and the epochs of channels are never pruned, and the hash of a pruned frame stays, so that
members can still prove what stood where. In an inbox nobody proves an order: there the row of a pruned notice is
forgotten with its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, BlobId, ChannelAddress, ChannelId, ChannelKind, StateKind, address
from leeside_protocol.limits import INT_MAX
from leeside_protocol.words import ChannelPurpose
from leeside_server.core.attachments import BlobRow, chunks_of
from leeside_server.core.channels import ChannelRow, boxes_unneeded_below
from leeside_server.core.commits import FORGOTTEN_BOXES
from leeside_server.core.directory import revocation_parts
from leeside_server.core.guests import GuestCodeRow
from leeside_server.core.identity import NO_AGENCY, DeviceRow, EnrolmentRow, SessionRow
from leeside_server.core.incidents import ENDED, IncidentRow
from leeside_server.core.paging import PageRow
from leeside_server.core.person import TicketRow
from leeside_server.core.records import DAY_MS, HELD, RecordsRow, kept_until_ms
from leeside_server.core.rows import KINDS, Held, R, change, create, read, remove
from leeside_server.core.writes import NO_DEVICE, Audit, Item, Part, Save, Stored
from leeside_server.log import get_logger
from leeside_server.ports import Clock, Store, StoreFull, StoreUnavailable
from leeside_server.relay.erasure import Erasure
from leeside_server.relay.http.host import Host
from leeside_server.relay.reading import every, find

SWEEP_S: Final = 30.0
DUE_AT_ONCE: Final = 50
SPENT_KEPT_MS: Final = DAY_MS
"""Beyond every token, challenge and repeat that could still name what has ended."""
REMOVED_AT_ONCE: Final = 500
SETTLED_MS: Final = 10_000
"""After its end every node knows that an incident's channels are archived (`Heads`): no position comes any more."""

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
        self._erasure = Erasure(host, random)
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
        await self._due(IncidentRow, self._incident, now_ms)
        await self._due(RecordsRow, self._erasure.shred, now_ms)
        await self._due(DeviceRow, self._shift_ends, now_ms)
        await self._due(BlobRow, self._upload, now_ms)
        if now_ms >= self._next_daily_ms:
            for agency in await self._store.agencies():
                await self._daily(agency, now_ms)
            with _alone("codes"):
                await self._forget(NO_AGENCY, EnrolmentRow, lambda row: row.expires_ms, now_ms)
            with _alone("guest_codes"):
                await self._forget(NO_AGENCY, GuestCodeRow, lambda row: row.expires_ms, now_ms)
            self._next_daily_ms = now_ms + DAY_MS

    async def _due(
        self, kind: type[R], carry_out: Callable[[AgencyId, Held[R], int], Awaitable[None]], now_ms: int
    ) -> None:
        for agency, found in await self._store.due(KINDS[kind], now_ms, DUE_AT_ONCE):
            with _alone(KINDS[kind]):
                await carry_out(agency, read(kind, found), now_ms)

    # ---- incidents

    async def _incident(self, agency: AgencyId, held: Held[IncidentRow], now_ms: int) -> None:
        # The incident's row was read first: a hold that is not seen here changes that row, and every write below fails.
        records = await self._records(agency, held.id)
        row = held.row
        if row.state not in ENDED or (records is not None and (records.row.holds or records.row.shred_ms)):
            await self._save(agency, change(held, row), now_ms)
            return
        until_ms = kept_until_ms(row, self._settings.incident_days)
        if not until_ms or now_ms < until_ms:
            if row.swept:
                await self._save(agency, change(held, row, until_ms or None), now_ms)
            else:
                await self._end(agency, held, until_ms, now_ms)
        elif await self._begin_emptying(agency, held, records, now_ms):
            await self._erasure.empty(agency, held.id, self._ids_before(now_ms), now_ms)
            await self._save(agency, change(_following(held), row), now_ms)

    async def _end(self, agency: AgencyId, held: Held[IncidentRow], until_ms: int, now_ms: int) -> None:
        """What the end demands at once: the last positions go, in one item with the row that says so. And those that
        came after them, once no node can take any more."""
        settled_ms = held.row.closed_ms + SETTLED_MS
        settled = now_ms >= settled_ms
        swept = msgspec.structs.replace(held.row, swept=settled)
        parts: list[Part] = [change(held, swept, (until_ms or None) if settled else settled_ms)]
        for channel in await self._erasure.channels(agency, held.id):
            parts += await self._erasure.deletions(agency, channel.id, StateKind.POSITION)
        await self._host.write([Item(agency, now_ms, tuple(parts))])

    async def _begin_emptying(
        self, agency: AgencyId, held: Held[IncidentRow], records: Held[RecordsRow] | None, now_ms: int
    ) -> bool:
        """Write down that the content goes now. False when a hold or a shredding came first."""
        begun = RecordsRow() if records is None else records.row
        begun = msgspec.structs.replace(begun, emptied_ms=begun.emptied_ms or now_ms)
        saved = create(held.id, begun) if records is None else change(records, begun)
        item = Item(agency, now_ms, (change(held, held.row, now_ms), saved))
        (outcome,) = await self._host.write([item])
        return isinstance(outcome, Stored)

    async def _records(self, agency: AgencyId, incident: bytes) -> Held[RecordsRow] | None:
        return await find(self._store, agency, RecordsRow, incident)

    async def _on_hold(self, agency: AgencyId) -> frozenset[str]:
        """The incidents on legal hold, as channels name them."""
        return frozenset(held.id.hex() for held in await every(self._store, agency, RecordsRow, HELD))

    # ---- shared devices

    async def _shift_ends(self, agency: AgencyId, held: Held[DeviceRow], now_ms: int) -> None:
        """A shared device is refused for good. Its tokens have ended by now; nobody waits for a `dev-`, because its
        certificate ends with its shift."""
        parts = revocation_parts(agency, held, (), NO_DEVICE, now_ms, self._random)
        item = Item(agency, now_ms, (*parts, Audit("shift_ended", NO_DEVICE, held.id, "done")))
        # A conflict means that another node was first, or that the device changed itself: it is due still.
        await self._host.write([item])

    # ---- attachments

    async def _upload(self, agency: AgencyId, held: Held[BlobRow], now_ms: int) -> None:
        """An upload's day is over: what is complete stays, what is not goes, first its chunks, then its row."""
        if held.row.dropped:
            await self._host.blobs.delete(agency, BlobId(held.id))
            await self._host.write([Item(agency, now_ms, (remove(BlobRow, held),))])
            return
        have = await self._host.blobs.have(agency, BlobId(held.id))
        if len(have) >= chunks_of(held.row):
            await self._save(agency, change(held, held.row), now_ms)
        elif await self._channel_on_hold(agency, held.row.channel):
            await self._save(agency, change(held, held.row, now_ms + DAY_MS), now_ms)
        else:
            await self._erasure.drop(agency, held, now_ms)

    async def _channel_on_hold(self, agency: AgencyId, channel: ChannelId) -> bool:
        held = await find(self._store, agency, ChannelRow, channel)
        subject = None if held is None else held.row.subject
        records = None if subject is None else await self._records(agency, bytes.fromhex(subject))
        return records is not None and bool(records.row.holds)

    # ---- once a day

    async def _daily(self, agency: AgencyId, now_ms: int) -> None:
        with _alone("overdue"):
            await self._overdue(agency, now_ms)
        with _alone("channels"):
            await self._channels(agency, now_ms)
        with _alone("inboxes"):
            inbox_ms = now_ms - self._settings.inbox_days * DAY_MS
            for device in await every(self._store, agency, DeviceRow):
                inbox = address(ChannelKind.INBOX, device.id)
                await self._prune(agency, inbox, inbox_ms, now_ms)
                await self._store.forget_pruned(agency, inbox, self._ids_before(now_ms))
        with _alone("tickets"):
            await self._forget(agency, TicketRow, lambda row: row.until_ms, now_ms)
        with _alone("pages"):
            await self._forget(agency, PageRow, lambda row: row.over_ms or INT_MAX, now_ms)
        with _alone("sessions"):
            await self._forget(agency, SessionRow, lambda row: row.ended_ms or row.refresh_until_ms, now_ms)

    async def _channels(self, agency: AgencyId, now_ms: int) -> None:
        before_ms = now_ms - self._settings.standing_days * DAY_MS if self._settings.standing_days else 0
        on_hold = await self._on_hold(agency)
        for channel in await every(self._store, agency, ChannelRow):
            if channel.row.subject in on_hold:
                continue
            standing = channel.row.subject is None or channel.row.purpose is ChannelPurpose.UNIT
            await self._prune(
                agency, address(ChannelKind.CONTENT, channel.id), before_ms if standing else 0, now_ms
            )
            if standing and before_ms:
                await self._forget_boxes(agency, channel, before_ms)
                for blob in await every(self._store, agency, BlobRow, channel.id):
                    if blob.row.created_ms < before_ms:
                        await self._erasure.drop(agency, blob, now_ms)

    async def _overdue(self, agency: AgencyId, now_ms: int) -> None:
        """Incidents whose days are over and that no timer wakes: they ended while none, or more, were set."""
        for held in await every(self._store, agency, IncidentRow):
            until_ms = kept_until_ms(held.row, self._settings.incident_days)
            if not held.row.swept or not until_ms or now_ms < until_ms:
                continue
            records = await self._records(agency, held.id)
            if records is None or not (records.row.holds or records.row.emptied_ms or records.row.shred_ms):
                await self._incident(agency, held, now_ms)

    async def _forget(self, agency: AgencyId, kind: type[R], end_ms: Callable[[R], int], now_ms: int) -> None:
        """Remove the rows whose end lies `SPENT_KEPT_MS` back."""
        spent = [
            held
            for held in await every(self._store, agency, kind)
            if end_ms(held.row) + SPENT_KEPT_MS <= now_ms
        ]
        items = [Item(agency, now_ms, (remove(kind, held),)) for held in spent]
        for first in range(0, len(items), REMOVED_AT_ONCE):
            await self._host.write(items[first : first + REMOVED_AT_ONCE])

    async def _prune(self, agency: AgencyId, log: ChannelAddress, before_ms: int, now_ms: int) -> None:
        up_to = await self._last_before(agency, log, before_ms) if before_ms else 0
        await self._store.prune(agency, log, up_to, self._ids_before(now_ms))

    async def _forget_boxes(self, agency: AgencyId, channel: Held[ChannelRow], before_ms: int) -> None:
        """Of epochs that were over before `before_ms`, as far as no kept frame needs them."""
        epochs = await self._last_before(agency, address(ChannelKind.EPOCHS, channel.id), before_ms)
        kept = await self._store.kept(agency, address(ChannelKind.CONTENT, channel.id))
        # The last epoch that began before then was still going on.
        below = boxes_unneeded_below(kept, channel.row.epoch, epochs - 1)
        if below:
            await self._store.forget_boxes(agency, ChannelId(channel.id), below, FORGOTTEN_BOXES)

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

    def _ids_before(self, now_ms: int) -> int:
        """What is older may be forgotten with its id."""
        return now_ms - self._settings.ids_days * DAY_MS

    async def _save(self, agency: AgencyId, save: Save, now_ms: int) -> None:
        # A conflict means that another node, or a request, was first: it is seen next time.
        await self._host.write([Item(agency, now_ms, (save,))])


@contextlib.contextmanager
def _alone(what: str) -> Generator[None]:
    """A fault in here, such as a row that this version cannot read, costs this piece of work and none of the others. A store
    that fails ends the sweep."""
    try:
        yield
    except (StoreUnavailable, StoreFull):
        raise
    except Exception as error:  # noqa: BLE001
        # Its text could repeat content.
        _log.error("retention_failed", what=what, error=type(error).__name__)


def _following(held: Held[IncidentRow]) -> Held[IncidentRow]:
    """The row as it stands after one more change of it that kept it as it was."""
    return Held(held.id, held.row, held.revision + 1)
