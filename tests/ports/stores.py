"""Stores to test, and short ways to say what is written to them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    NO_KEY,
    AgencyId,
    ChannelAddress,
    ChannelKind,
    DeviceId,
    MessageId,
    address,
)
from leeside_protocol.words import Lane
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.core.writes import Append, Item, Outcome, Part, Save, Stored
from leeside_server.ports import Store
from tests.support.sqlite import RESERVE_BYTES

AGENCY = AgencyId(b"A" * 16)
OTHER_AGENCY = AgencyId(b"B" * 16)
DEVICE = DeviceId(b"D" * 16)
LOG = address(ChannelKind.CONTENT, b"1" * 16)
OTHER_LOG = address(ChannelKind.CONTENT, b"2" * 16)
NOW_MS = 1_800_000_000_000
ALL = 1_000
ANY_BYTES = 1 << 30


def message_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def says(
    number: int,
    payload: bytes = b"sealed",
    *,
    log: ChannelAddress = LOG,
    device: DeviceId = DEVICE,
    expect_head: int | None = None,
    epoch: int | None = None,
    refuse: WireError | None = None,
) -> Append:
    """A message of the log lane."""
    return Append(
        log,
        Lane.LOG,
        NO_KEY,
        device,
        message_id(number),
        payload,
        expect_head=expect_head,
        epoch=epoch,
        refuse=refuse,
    )


def sets(number: int, key: bytes, payload: bytes, *, log: ChannelAddress = LOG) -> Append:
    """A value of the state lane."""
    return Append(log, Lane.STATE, key, DEVICE, message_id(number), payload)


def saves(kind: str, key: bytes, expect: int, body: bytes = b"{}", *, parent: bytes = b"") -> Save:
    return Save(kind, key, expect, body, parent)


def item(*parts: Part, agency: AgencyId = AGENCY, at_ms: int = NOW_MS) -> Item:
    return Item(agency, at_ms, parts)


async def write(store: Store, *parts: Part, agency: AgencyId = AGENCY, at_ms: int = NOW_MS) -> Outcome:
    """Apply one item."""
    return (await store.apply([item(*parts, agency=agency, at_ms=at_ms)]))[0]


async def stored(store: Store, *parts: Part, agency: AgencyId = AGENCY, at_ms: int = NOW_MS) -> Stored:
    """Apply one item that must be stored."""
    outcome = await write(store, *parts, agency=agency, at_ms=at_ms)
    assert isinstance(outcome, Stored)
    return outcome


async def offsets(store: Store, log: ChannelAddress = LOG, agency: AgencyId = AGENCY) -> list[int]:
    """The offsets of all that a reader of the log is shown."""
    page = await store.read(agency, log, 0, ALL, ANY_BYTES)
    assert page.to == page.head
    return [entry.offset for entry in page.entries]


async def payloads(store: Store, log: ChannelAddress = LOG, agency: AgencyId = AGENCY) -> list[bytes | None]:
    """The payloads of all that a reader of the log is shown."""
    page = await store.read(agency, log, 0, ALL, ANY_BYTES)
    return [entry.payload for entry in page.entries]


@dataclass
class Place:
    """Where stores are opened; one file, or one database that many nodes share."""

    path: Path | None = None
    dsn: str | None = None
    opened: list[Store] = field(default_factory=list[Store])

    async def open(self) -> Store:
        """Open it; closed at the end of the test at the latest."""
        store = await self.reopen()
        self.opened.append(store)
        return store

    async def reopen(self) -> Store:
        if self.path is not None:
            return await SqliteStore.open(self.path, reserve_bytes=RESERVE_BYTES)
        assert self.dsn is not None
        return await PostgresStore.open(self.dsn)

    async def nodes(self) -> Sequence[Store]:
        """Two nodes on the same data: two stores where the adapter allows it, else one store twice."""
        first = await self.open()
        return (first, first) if self.path is not None else (first, await self.open())

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for store in self.opened:
                stack.push_async_callback(store.close)


async def together(store: Store, items: Sequence[Item]) -> list[Outcome]:
    """Each item in a call of its own, all at once."""
    answers = await asyncio.gather(*(store.apply([one]) for one in items))
    return [outcome for answer in answers for outcome in answer]
