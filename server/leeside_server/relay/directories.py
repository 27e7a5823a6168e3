"""The verified directory of every agency that this node serves, followed from its log.

A directory is replayed once and then only its new entries are read. It never holds an entry that is not durable:
a post is checked against a copy, stored, and reaches the directory by being read back like everyone's.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelKind, DeviceId, address
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import CheckedEntry, Directory
from leeside_protocol.sealing.public.entries import SignedEntry
from leeside_protocol.sealing.public.signed import Signed
from leeside_server.core.identity import AgencyRow, DeviceRow
from leeside_server.core.rows import KINDS, read
from leeside_server.ports import Store

AGENCIES_KEPT: Final = 256
PAGE_BYTES: Final = 1 << 20
_STEP: Final = 16
"""Entries verified (about 0.2 ms each) before others have their turn."""


class _Keys:
    """An agency's DeviceKeys, and which signed bytes were looked at already."""

    __slots__ = ("book", "known")

    def __init__(self) -> None:
        self.book = DeviceKeyBook()
        self.known: set[bytes] = set()


class Directories:
    """Directories by agency, the least recently used dropped beyond `AGENCIES_KEPT`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[AgencyId, Directory] = OrderedDict()
        self._keys: dict[AgencyId, _Keys] = {}
        self._locks: dict[AgencyId, asyncio.Lock] = {}

    async def fresh(self, agency: AgencyId) -> Directory:
        """The agency's directory up to its head in the store now; read it before the next await.

        Raises `not_found` when there is no such agency, and the store's errors.
        """
        async with self._locks.setdefault(agency, asyncio.Lock()):
            directory = self._held.get(agency)
            generation = self._store.generation
            if directory is None:
                directory = Directory(await self._root(agency))
            while True:
                page = await self._store.read(
                    agency, address(ChannelKind.DIRECTORY, agency), directory.seq, PAGE_ENTRIES, PAGE_BYTES
                )
                if page.head < directory.seq:
                    # The store went back in time (a restored backup): begin anew from what it has.
                    directory = Directory(directory.root_public)
                    continue
                for number, entry in enumerate(page.entries):
                    assert entry.payload is not None
                    directory.apply(SignedEntry.decode(entry.payload))
                    if number % _STEP == _STEP - 1:
                        await asyncio.sleep(0)
                if page.to >= page.head:
                    break
            if generation == self._store.generation:
                self._keep(agency, directory)
            return directory

    async def device_keys(self, agency: AgencyId, devices: Sequence[DeviceId]) -> DeviceKeyBook:
        """The DeviceKeys of these devices as they stand in the store now, each verified once on this node.

        A key whose device is not certified is left out: a commit that names it is refused.
        """
        rows = await device_rows(self._store, agency, devices)
        directory = await self.fresh(agency)
        keys = self._keys.setdefault(agency, _Keys())
        verified = 0
        for device, row in rows.items():
            certificate = directory.device(device)
            if certificate is None:
                continue
            for key in row.device_keys:
                if key in keys.known:
                    continue
                keys.known.add(key)
                with contextlib.suppress(SealingError):
                    keys.book.add(Signed.decode(key), certificate)
                verified += 1
                if verified % _STEP == 0:
                    await asyncio.sleep(0)
        return keys.book

    def forget(self, agency: AgencyId) -> None:
        """Read the agency's directory anew next time."""
        self._held.pop(agency, None)
        self._keys.pop(agency, None)

    def _keep(self, agency: AgencyId, directory: Directory) -> None:
        self._held[agency] = directory
        self._held.move_to_end(agency)
        while len(self._held) > AGENCIES_KEPT:
            dropped, _ = self._held.popitem(last=False)
            self._locks.pop(dropped, None)
            self._keys.pop(dropped, None)

    async def _root(self, agency: AgencyId) -> bytes:
        found = await self._store.get(agency, KINDS[AgencyRow], agency)
        if found is None:
            raise ProtocolError(WireError.NOT_FOUND)
        return read(AgencyRow, found).row.root_pub


def check_entries(directory: Directory, entries: Sequence[bytes], now_ms: int) -> tuple[CheckedEntry, ...]:
    """Verify entries that shall follow the head, all or none; the directory is left as it was.

    Raises `SealingError` with the code of the first that fails.
    """
    decoded = [SignedEntry.decode(entry) for entry in entries]
    if len(decoded) == 1:
        return (directory.check(decoded[0], now_ms),)
    ahead = copy.deepcopy(directory)
    return tuple(ahead.apply(entry, now_ms) for entry in decoded)


async def device_rows(
    store: Store, agency: AgencyId, devices: Sequence[DeviceId]
) -> dict[DeviceId, DeviceRow]:
    """The rows of these devices, those that there are."""
    found = await asyncio.gather(*(store.get(agency, KINDS[DeviceRow], device) for device in devices))
    return {
        device: read(DeviceRow, one).row
        for device, one in zip(devices, found, strict=True)
        if one is not None
    }
