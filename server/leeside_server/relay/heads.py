"""The newest verified head of each channel, cached: what decides who may publish and who may follow.

Theory of operation. A row changes only together with its channel's EPOCHS log, so this node watches that log
of every channel that is followed here: `hold` joins it, and a batch of it beyond the row in hand holds back
all delivery until the row was read anew (`Hub`). A write of this node puts the row at once. What changes
without a commit (a channel is archived) shows because a row in use is read again every `WATCHED_S`. A row that
nobody here follows is taken for `UNWATCHED_S` at most; the store's fence refuses what is older even then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelId, ChannelKind, address
from leeside_protocol.messages import Entry
from leeside_server.core.channels import CHANNEL, ChannelRow
from leeside_server.core.writes import Save
from leeside_server.ports import Clock, Store, StoreUnavailable
from leeside_server.relay.hub import Hub, Spawn
from leeside_server.relay.logs import Log

UNWATCHED_S: Final = 1.0
WATCHED_S: Final = 2.0
ROWS_KEPT: Final = 16_384
READ_TIMEOUT_S: Final = 5.0

_Key = tuple[AgencyId, ChannelId]
_decoder: Final[msgspec.json.Decoder[ChannelRow]] = msgspec.json.Decoder(ChannelRow)


class _Held:
    __slots__ = ("read_s", "revision", "row")

    def __init__(self, row: ChannelRow | None, revision: int, read_s: float) -> None:
        self.row = row
        self.revision = revision
        self.read_s = read_s


class Heads:
    """Channel rows by agency and channel."""

    def __init__(self, store: Store, clock: Clock, hub: Hub, spawn: Spawn) -> None:
        self._store = store
        self._clock = clock
        self._hub = hub
        self._spawn = spawn
        self._reading: set[_Key] = set()
        self._rows: OrderedDict[_Key, _Held] = OrderedDict()
        self._watched: dict[_Key, Log] = {}
        self._forgotten = 0

    async def get(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """The channel's row, or None when this agency has no such channel. Raises `StoreUnavailable`."""
        held = self._rows.get((agency, channel))
        if held is not None and self._current(agency, channel, held):
            return held.row
        return await self.refresh(agency, channel)

    def peek(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """The row if it can be had without waiting; None says nothing."""
        held = self._rows.get((agency, channel))
        if held is None or not self._current(agency, channel, held):
            return None
        if self._clock.monotonic_s() - held.read_s >= WATCHED_S and (agency, channel) not in self._reading:
            self._reading.add((agency, channel))
            self._spawn(self._read_again(agency, channel))
        return held.row

    def held_row(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """The row in hand, however old; for logs that are followed here, where it is kept current."""
        held = self._rows.get((agency, channel))
        return None if held is None else held.row

    async def refresh(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None:
        """Read the row from the store now. A roster that changed is enforced before this returns."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                while True:
                    forgotten = self._forgotten
                    found = await self._store.get(agency, CHANNEL, channel)
                    if forgotten == self._forgotten:
                        break
                    # It began in a history that has ended since, whose revisions must not count against this one's.
        except TimeoutError:
            raise StoreUnavailable from None
        row = None if found is None else _decoder.decode(found.body)
        return self._put(agency, channel, row, 0 if found is None else found.revision)

    async def hold(self, agency: AgencyId, channel: ChannelId) -> None:
        """Keep the channel's row current from now on, as long as any of its logs is followed (or pinned)
        here. Raises `StoreUnavailable`."""
        key = (agency, channel)
        if key in self._watched:
            await self._hub.opened(self._watched[key])
            await self.get(agency, channel)
            return
        log = self._hub.pin(agency, address(ChannelKind.EPOCHS, channel))
        try:
            await self._hub.opened(log)
            if key not in self._watched:
                # What was read before the log was joined may be older than what its head says. A watched row is taken
                # for current, so it goes before the next one was read, which may fail.
                self._rows.pop(key, None)
                self._watched[key] = log
                log.watchers.append(_watch)
            await self.refresh(agency, channel)
        finally:
            self._hub.unpin(log)

    def saved(self, agency: AgencyId, save: Save) -> None:
        """A write of this node saved a channel's row; tell followers before anything is delivered."""
        self._put(agency, ChannelId(save.id), _decoder.decode(save.body), save.expect + 1)

    def sweep(self) -> None:
        """Stop watching channels that nobody follows here; call every few seconds."""
        for key, log in tuple(self._watched.items()):
            if not self._hub.followed(*key):
                del self._watched[key]
                log.watchers.remove(_watch)

    def forget(self) -> None:
        """The store's history is another one: trust no row in hand, and none that is being read."""
        self._rows.clear()
        self._forgotten += 1

    @property
    def watched(self) -> Sequence[_Key]:
        """Channels whose rows are kept current."""
        return tuple(self._watched)

    async def _read_again(self, agency: AgencyId, channel: ChannelId) -> None:
        try:
            await self.refresh(agency, channel)
        except StoreUnavailable:
            # The row in hand serves on: the store takes no write now anyway.
            return
        finally:
            self._reading.discard((agency, channel))

    def _current(self, agency: AgencyId, channel: ChannelId, held: _Held) -> bool:
        return (agency, channel) in self._watched or self._clock.monotonic_s() - held.read_s < UNWATCHED_S

    def _put(
        self, agency: AgencyId, channel: ChannelId, row: ChannelRow | None, revision: int
    ) -> ChannelRow | None:
        key = (agency, channel)
        held = self._rows.get(key)
        if held is not None and held.revision > revision:
            # A slower read of an older state came in second. Also one that found nothing: a channel's row stays.
            return held.row
        if held is not None and held.revision == revision:
            held.read_s = self._clock.monotonic_s()
            return held.row
        changed = held is None or held.revision != revision
        self._rows[key] = _Held(row, revision, self._clock.monotonic_s())
        self._rows.move_to_end(key)
        while len(self._rows) > ROWS_KEPT:
            oldest = next(iter(self._rows))
            if oldest in self._watched:
                self._rows.move_to_end(oldest)
                if len(self._watched) >= ROWS_KEPT:
                    break
            else:
                del self._rows[oldest]
        if changed:
            self._hub.revise(agency, channel, row)
        return row


def _watch(_log: Log, _entries: Sequence[Entry]) -> None:
    """Being there is enough: the hub reads the row before it delivers an epoch beyond it."""
