"""Who lost access to an agency: devices that were revoked and sessions that ended, on every node at once.

Theory of operation. Whatever takes access away appends to the agency's ACCESS log, in the same item. Each node
follows that log like any other: by hints, and by polling its head every second (four times as often while
the bus is unhealthy), so a revocation arrives within a second of being durable, hints or no hints. An entry
is the MessagePack array `[kind, id16]` (`core.notices.Access`).

`load` an agency before asking: until then nothing is known, and `is_out` says so by raising.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelKind, DeviceId, address
from leeside_protocol.limits import PAGE_ENTRIES, TOKEN_TTL_S
from leeside_protocol.messages import Entry
from leeside_server.core import notices
from leeside_server.ports import Clock, Store, StoreUnavailable
from leeside_server.relay.hub import Hub, Spawn
from leeside_server.relay.logs import Log, wire_entry

READ_TIMEOUT_S: Final = 5.0
PAGE_BYTES: Final = 65_536
SESSION_KEPT_MS: Final = 2 * TOKEN_TTL_S * 1000
"""An ended session is forgotten once its last token has ended for sure."""

_decoder: Final[msgspec.msgpack.Decoder[tuple[int, bytes]]] = msgspec.msgpack.Decoder(tuple[int, bytes])


class _Out:
    """What is known of one agency."""

    __slots__ = ("devices", "sessions")

    def __init__(self) -> None:
        self.devices: set[bytes] = set()
        self.sessions: dict[bytes, int] = {}


class Access:
    """Devices and sessions that are out, by agency. `on_out` hears of each (agency, kind, id) once it is."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        hub: Hub,
        on_out: Callable[[AgencyId, notices.Access, bytes], None],
        spawn: Spawn,
    ) -> None:
        self._store = store
        self._clock = clock
        self._hub = hub
        self._on_out = on_out
        self._spawn = spawn
        self._out: dict[AgencyId, _Out] = {}
        self._loading: dict[AgencyId, asyncio.Future[None]] = {}

    async def load(self, agency: AgencyId) -> None:
        """Know this agency from now on; cheap once known. Raises `StoreUnavailable`.

        Whoever gives up waiting leaves the reading to go on: a log of years takes longer than a sign-in may, and would
        otherwise begin anew with each.
        """
        if agency in self._out:
            return
        loading = self._loading.get(agency)
        if loading is None:
            loading = self._loading[agency] = asyncio.get_running_loop().create_future()
            self._spawn(self._load(agency, loading))
        await asyncio.wait((loading,))
        loading.result()

    def knows(self, agency: AgencyId) -> bool:
        """Whether the agency was loaded."""
        return agency in self._out

    def is_out(self, agency: AgencyId, device: DeviceId) -> bool:
        """Whether the device was revoked. Raises `LookupError` before `load`: nobody is let in on a guess."""
        return device in self._out[agency].devices

    def is_session_out(self, agency: AgencyId, session: bytes) -> bool:
        """Whether the session (16 bytes) has ended. Raises `LookupError` before `load`."""
        return session in self._out[agency].sessions

    async def reload(self) -> None:
        """The store's history is another one: read every agency again. Who was out stays out meanwhile, and
        also if the new history does not know of it: a lost revocation must not open a door."""
        for agency, known in tuple(self._out.items()):
            await self._read(self._hub.logs[agency, address(ChannelKind.ACCESS, agency)], known)

    def sweep(self) -> None:
        """Forget sessions whose tokens have all ended; call every minute or so."""
        before_ms = self._clock.now_ms() - SESSION_KEPT_MS
        for out in self._out.values():
            for session in [s for s, at_ms in out.sessions.items() if at_ms < before_ms]:
                del out.sessions[session]

    async def _load(self, agency: AgencyId, loading: asyncio.Future[None]) -> None:
        known = _Out()
        log = self._hub.pin(agency, address(ChannelKind.ACCESS, agency))
        try:
            await self._read(log, known)
            # No await between the last page and this: nothing slips by in between.
            log.watchers.append(self._watch)
            self._out[agency] = known
        except StoreUnavailable:
            pass
        finally:
            self._hub.unpin(log)
            del self._loading[agency]
            if agency in self._out:
                loading.set_result(None)
            else:
                loading.set_exception(StoreUnavailable())
                # Whoever waited has it; nobody else must be told of an exception never fetched.
                loading.exception()

    async def _read(self, log: Log, known: _Out) -> None:
        """The whole log, page by page, until nothing is beyond what this node delivered of it."""
        await self._hub.opened(log)
        after = 0
        try:
            while after < log.head:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    page = await self._store.read(log.agency, log.address, after, PAGE_ENTRIES, PAGE_BYTES)
                self._take(log.agency, known, [wire_entry(row) for row in page.entries])
                if page.to <= after:
                    break
                after = page.to
        except TimeoutError:
            raise StoreUnavailable from None

    def _watch(self, log: Log, entries: Sequence[Entry]) -> None:
        known = self._out.get(log.agency)
        if known is not None:
            self._take(log.agency, known, entries)

    def _take(self, agency: AgencyId, known: _Out, entries: Sequence[Entry]) -> None:
        forget_before_ms = self._clock.now_ms() - SESSION_KEPT_MS
        for entry in entries:
            try:
                kind, subject = _decoder.decode(entry.payload)
            except msgspec.MsgspecError:
                # A later version's kind of entry; what it adds this one cannot enforce.
                continue
            if kind == notices.Access.DEVICE_OUT:
                known.devices.add(subject)
                self._on_out(agency, notices.Access.DEVICE_OUT, subject)
            elif kind == notices.Access.SESSION_OUT:
                if entry.at_ms >= forget_before_ms:
                    known.sessions[subject] = entry.at_ms
                    self._on_out(agency, notices.Access.SESSION_OUT, subject)
            elif kind == notices.Access.DEVICE_BACK:
                known.devices.discard(subject)
