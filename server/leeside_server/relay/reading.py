"""Rows of the store as the relay reads them: one by its id, or all of a kind."""

from __future__ import annotations

from leeside_protocol.ids import AgencyId
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_server.core.rows import KINDS, Held, R, read
from leeside_server.ports import Store


async def find(store: Store, agency: AgencyId, kind: type[R], key: bytes) -> Held[R] | None:
    """A row, or None. Raises `StoreUnavailable`."""
    found = await store.get(agency, KINDS[kind], key)
    return None if found is None else read(kind, found)


async def every(store: Store, agency: AgencyId, kind: type[R], parent: bytes | None = None) -> list[Held[R]]:
    """All rows of a kind (and parent, unless None) in the order of ids, read in pages. Raises `StoreUnavailable`."""
    rows: list[Held[R]] = []
    after = b""
    while True:
        found = await store.objects(agency, KINDS[kind], parent, after, PAGE_ENTRIES)
        rows += [read(kind, item) for item in found]
        if len(found) < PAGE_ENTRIES:
            return rows
        after = found[-1].id
