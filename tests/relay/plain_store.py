"""The `Store` port in plain dictionaries, decided by the real planner: no file, no thread, the same every time."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.words import Lane, Mark, Urgency
from leeside_server.core.plan import Facts, IdName, LogName, ObjectName, Standing, plan
from leeside_server.core.writes import AuditRow, Item, LogPage, Object, Outcome, StoredEntry
from leeside_server.ports import StoreUnavailable

Backup: TypeAlias = tuple[
    dict[LogName, list[StoredEntry]], dict[LogName, int], dict[IdName, Standing], dict[ObjectName, Object]
]


class PlainStore:
    """What was applied is at once what is read; every call gives the event loop back once, as a real one would."""

    def __init__(self) -> None:
        self.generation = 7
        self.away = False
        """Every call that finds it so fails, also one that was under way."""
        self.turns: Iterator[int] = itertools.repeat(1)
        """For each call how often it gives the event loop back before it answers with what stood when it came: so a
        later one may overtake it."""
        self.meanwhile: Callable[[], None] | None = None
        """Called once: when the next call has looked, before it answers."""
        self.logs: dict[LogName, list[StoredEntry]] = {}
        self._fences: dict[LogName, int] = {}
        self._ids: dict[IdName, Standing] = {}
        self._objects: dict[ObjectName, Object] = {}

    def backup(self) -> Backup:
        """What stands now."""
        return copy.deepcopy((self.logs, self._fences, self._ids, self._objects))

    def restore(self, backup: Backup) -> None:
        """What stood then, as a new generation."""
        self.logs, self._fences, self._ids, self._objects = copy.deepcopy(backup)
        self.generation += 1

    async def apply(self, items: Sequence[Item]) -> Sequence[Outcome]:
        if self.away:
            raise StoreUnavailable
        heads = {log: len(rows) for log, rows in self.logs.items()}
        revisions = {name: found.revision for name, found in self._objects.items()}
        done = plan(items, Facts(self.generation, heads, self._fences, self._ids, revisions))
        assert not done.replaced
        for (
            agency,
            log,
            lane,
            offset,
            key,
            device,
            id_,
            at_ms,
            urgency,
            mark,
            payload,
            digest,
        ) in done.messages:
            self.logs.setdefault((agency, log), []).append(
                StoredEntry(
                    offset, Lane(lane), key, DeviceId(device), MessageId(id_), at_ms, payload,
                    Urgency(urgency), Mark(mark), digest,
                )
            )  # fmt: skip
            self._ids[agency, device, id_] = Standing(log, offset, lane, key, digest)
        for agency, log, _, fence in done.channels:
            self._fences[agency, log] = fence
        for agency, kind, name, revision, parent, due_ms, body in (*done.created, *done.updated):
            self._objects[agency, kind, name] = Object(kind, name, revision, body, parent, due_ms)
        await self._turn()
        return done.outcomes

    async def read(
        self, agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        rows = self.logs.get((agency, channel), [])
        found = tuple(rows[after : after + limit])
        page = LogPage(found, after, min(len(rows), after + limit), len(rows), 0, self.generation)
        await self._turn()
        return page

    async def heads(self, channels: Sequence[tuple[AgencyId, ChannelAddress]]) -> Sequence[int]:
        found = [len(self.logs.get(log, ())) for log in channels]
        await self._turn()
        return found

    async def get(self, agency: AgencyId, kind: str, key: bytes) -> Object | None:
        found = self._objects.get((agency, kind, key))
        await self._turn()
        return found

    async def get_many(self, names: Sequence[tuple[AgencyId, str, bytes]]) -> Sequence[Object | None]:
        return [await self.get(*name) for name in names]

    async def close(self) -> None: ...

    async def _turn(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        for _ in range(next(self.turns)):
            await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable

    # ---- what the socket half never asks

    async def objects(
        self, agency: AgencyId, kind: str, parent: bytes | None, after: bytes, limit: int
    ) -> Sequence[Object]:
        raise AssertionError

    async def due(self, kind: str, now_ms: int, limit: int) -> Sequence[tuple[AgencyId, Object]]:
        raise AssertionError

    async def boxes(
        self, agency: AgencyId, channel: ChannelId, recipient: bytes, from_epoch: int, limit: int
    ) -> Sequence[tuple[int, bytes | None, bytes]]:
        raise AssertionError

    async def audits(self, agency: AgencyId, after: int, limit: int) -> Sequence[AuditRow]:
        raise AssertionError

    async def agencies(self) -> Sequence[AgencyId]:
        raise AssertionError

    async def now_ms(self) -> int:
        raise AssertionError

    async def prune(self, agency: AgencyId, channel: ChannelAddress, up_to: int, ids_before_ms: int) -> int:
        raise AssertionError

    async def forget_pruned(self, agency: AgencyId, channel: ChannelAddress, before_ms: int) -> int:
        raise AssertionError

    async def kept(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[bytes]:
        raise AssertionError

    async def forget_boxes(self, agency: AgencyId, channel: ChannelId, below: int, shared: bytes) -> int:
        raise AssertionError

    async def bump_generation(self) -> int:
        raise AssertionError
