"""Consults on one node: what a person or the clock wants of one is decided by the machine, and stored as one item.

Theory of operation. A decision reads the consult, its world and the pages that it touches, lets `core.consult` decide, and
writes the row, the pages, the notices and the security event together, each by compare-and-set. Whoever was slower reads
anew and decides anew, on every node alike; so of twenty who accept at once one is first, and the others see that. Nothing is
kept here between two decisions.

What rings is the notice in the inbox and the page's row, both in the item that moved the consult (`relay.paging` sends).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import (
    ID_BYTES,
    AgencyId,
    ChannelId,
    ConsultId,
    DeviceId,
    LadderId,
    MemberId,
    PageId,
)
from leeside_protocol.limits import INT_MAX
from leeside_protocol.words import ConsultState, IncidentState, Role, TargetState
from leeside_server.core import consult
from leeside_server.core.channels import ACTIVE, ChannelRow
from leeside_server.core.commits import archive_parts
from leeside_server.core.consult import Request
from leeside_server.core.consult_moves import (
    Alarm,
    Dial,
    Effect,
    Ended,
    Input,
    Leave,
    Now,
    Page,
    Receipt,
    Tell,
    Tick,
    Unpage,
)
from leeside_server.core.consult_row import ACTIVE as CONSULT_ACTIVE
from leeside_server.core.consult_row import NEVER_MS, ConsultRow, told_by
from leeside_server.core.guests import GuestRow
from leeside_server.core.incidents import ENDED, IncidentRow, change_incident
from leeside_server.core.ladder import LadderRow
from leeside_server.core.notices import Notice, notices
from leeside_server.core.paging import NO_MEMBER, PageKind, PageRow, open_page
from leeside_server.core.rows import KINDS, Held, SlotRow, change, create, door_id, read
from leeside_server.core.synthetic import AGENCY as SYNTHETIC
from leeside_server.core.writes import NO_DEVICE, Audit, Item, NotStored, Object, Part
from leeside_server.log import get_logger
from leeside_server.ports import StoreFull, StoreUnavailable
from leeside_server.relay.guests import end_parts
from leeside_server.relay.reading import every, find
from leeside_server.relay.worlds import Worlds

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

_CONSULT: Final = KINDS[ConsultRow]
_log = get_logger("leeside.consults")

ATTEMPTS: Final = 24
"""How often a move is decided anew. Twenty people, their pages and the clock may all move one consult at the same moment."""
LOOK_S: Final = 2.0
"""How often who comes and goes is looked at."""
DUE_AT_ONCE: Final = 4_000
ACTIVE_AT_ONCE: Final = 10_000
HELD_AT_ONCE: Final = 50
HELD_QUEUE: Final = 500
"""Held consults that wait for their alarm to repeat. All beyond would stand before everybody else's in what is due."""
HELD_LATER_MS: Final = 600_000
"""How much later those are alarmed again. Each was when it was asked for, and stands in the supervisors' queue."""
HELD_APART_MS: Final = 20
"""And one after the other, so that they do not all come due at once again."""
TICKS: Final = 16
"""Consults that are decided side by side."""
WATCHED: Final = frozenset({ConsultState.PAGING, ConsultState.ACCEPTED, ConsultState.IN_SESSION})
"""Where a consult moves when somebody comes or goes, whatever the time."""
GONE_S: Final = 5.0
"""A device that is in a session, and that no node has held for this long, left it."""


class Consults:
    """Every move of every consult on this node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.worlds: Final = Worlds(node)

    # ---- reading

    async def find(self, agency: AgencyId, key: ConsultId) -> Held[ConsultRow] | None:
        """A consult as it stands now, or None. Raises `StoreUnavailable`."""
        return await find(self._node.store, agency, ConsultRow, key)

    async def need(self, agency: AgencyId, key: ConsultId) -> Held[ConsultRow]:
        """A consult as it stands now, or `not_found`."""
        held = await self.find(agency, key)
        if held is None:
            raise ProtocolError(WireError.NOT_FOUND)
        return held

    async def ladder(self, agency: AgencyId, key: bytes) -> tuple[LadderId, LadderRow] | None:
        """A ladder that is in use, or `not_found`; without a key the agency's default: its oldest, or None."""
        if key:
            held = await find(self._node.store, agency, LadderRow, key)
            if held is None or held.row.ended_ms:
                raise ProtocolError(WireError.NOT_FOUND)
            return LadderId(held.id), held.row
        used = [h for h in await every(self._node.store, agency, LadderRow) if not h.row.ended_ms]
        if not used:
            return None
        oldest = min(used, key=lambda held: (held.row.created_ms, held.id))
        return LadderId(oldest.id), oldest.row

    async def now(self) -> Now:
        """This instant on both clocks. Raises `StoreUnavailable`."""
        return Now(await self._node.steady.now_ms(), self._node.clock.now_ms())

    # ---- moving

    async def opening(
        self, agency: AgencyId, key: ConsultId, request: Request, ladder: bytes, *, held: bool
    ) -> tuple[ConsultRow, tuple[Part, ...]]:
        """A new consult, and the parts that store it, for the item that opens its channel; tell `opened` once that stands.
        Raises `not_found` for a ladder that is not in use."""
        now = await self.now()
        found = await self.ladder(agency, ladder)
        steps = () if found is None else found[1].steps
        world = await self.worlds.before(agency, request.unit, steps, now)
        row, effects = consult.open(request, found, now, world, self._page_id, held=held)
        parts = await self._parts(agency, key, row, effects, now, request.device)
        event = Audit("consult_requested", request.device, key, row.state.value)
        return row, (create(key, row), *parts, *(() if agency == SYNTHETIC else (event,)))

    async def move(
        self, agency: AgencyId, key: ConsultId, given: Input, by: DeviceId, event: str
    ) -> Held[ConsultRow]:
        """Carry out what a person wants; the consult as it then stands. `by` is the device, `event` the security event.

        Raises what the machine refuses (`already_accepted`, `conflict`, `forbidden`), `not_found`, and the store's errors.
        """

        async def wanted(row: ConsultRow) -> Input:
            del row
            return given

        return await self._move(agency, key, wanted, by, event)

    async def tick(self, agency: AgencyId, key: ConsultId) -> None:
        """Time went on: do what is due. Raises the store's errors."""

        async def due(row: ConsultRow) -> Input:
            return Leave(row.accepted_by) if row.accepted_by and await self._gone(agency, row) else Tick()

        await self._move(agency, key, due, NO_DEVICE, "")

    async def carry_out(self, now_ms: int) -> None:
        """Tick every consult that is due, for the clockwork. Raises the store's errors.

        What waits for a supervisor comes last, and a few at a time: a device that asks for a thousand consults must not
        keep another's page waiting.
        """
        found = await self._node.store.due(_CONSULT, now_ms, DUE_AT_ONCE)
        due = _readable(found)
        held = [one for one in due if one[1].row.state is ConsultState.REQUESTED]
        await self._tick_all([one for one in due if one[1].row.state is not ConsultState.REQUESTED])
        await self._tick_all(held[:HELD_AT_ONCE])
        await self._put_off(held[HELD_QUEUE:], now_ms)

    async def look(self, now_ms: int) -> None:
        """Tick every consult for which it counts who comes and goes, due or not. Raises the store's errors."""
        del now_ms
        found = await self._node.store.due(_CONSULT, INT_MAX, ACTIVE_AT_ONCE)
        await self._tick_all([one for one in _readable(found) if _watched(one[1].row)])

    async def receipt(self, agency: AgencyId, key: ConsultId, page: PageId, state: TargetState) -> None:
        """A page of this consult came so far, as its row says by now. Raises the store's errors, and `busy`."""

        async def came(row: ConsultRow) -> Input:
            del row
            return Receipt(page, state)

        await self._move(agency, key, came, NO_DEVICE, "")

    async def active_of(self, agency: AgencyId, incident: bytes) -> ConsultId | None:
        """A consult of this incident that goes on: an incident does not end under one."""
        for held in await every(self._node.store, agency, ConsultRow, CONSULT_ACTIVE):
            if held.row.incident == incident:
                return ConsultId(held.id)
        return None

    # ---- inside

    async def _put_off(self, held: Sequence[tuple[AgencyId, Held[ConsultRow]]], now_ms: int) -> None:
        """Have these repeat their alarm later, all in one write: whoever moves one meanwhile was first."""
        if not held:
            return
        wall_ms, items = self._node.clock.now_ms(), list[Item]()
        for at, (agency, one) in enumerate(held):
            later_ms = now_ms + HELD_LATER_MS + at * HELD_APART_MS
            row = msgspec.structs.replace(
                one.row, deadline_steady_ms=later_ms, told=max(one.row.told, told_by(one.row, later_ms))
            )
            items.append(Item(agency, wall_ms, (change(one, row),)))
        await self._node.write(items)

    async def _tick_all(self, due: Sequence[tuple[AgencyId, Held[ConsultRow]]]) -> None:
        room = asyncio.Semaphore(TICKS)

        async def tick(agency: AgencyId, key: ConsultId) -> None:
            async with room:
                try:
                    await self.tick(agency, key)
                except ProtocolError as error:
                    # Others move it at this very moment: it is looked at again soon. Anything else it would meet each time.
                    if error.code not in (WireError.BUSY, WireError.NOT_FOUND):
                        self._failed(error.code.label)
                except (StoreUnavailable, StoreFull):
                    raise
                except Exception as error:  # noqa: BLE001
                    # A fault of ours in one consult must not keep the others waiting. Its text could repeat content.
                    self._failed(type(error).__name__)

        results = await asyncio.gather(
            *(tick(agency, ConsultId(held.id)) for agency, held in due), return_exceptions=True
        )
        # Each had its turn before the store's trouble is told.
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _failed(self, error: str) -> None:
        """A consult that cannot be moved meets its fault at every tick, and readiness says nothing of it: one consult must
        not take a node from everybody. An alert does."""
        self._node.metrics.consults_failed.inc()
        _log.error("consult_failed", error=error)

    async def _move(
        self,
        agency: AgencyId,
        key: ConsultId,
        wanted: Callable[[ConsultRow], Awaitable[Input]],
        by: DeviceId,
        event: str,
    ) -> Held[ConsultRow]:
        for _ in range(ATTEMPTS):
            held = await self.need(agency, key)
            now = await self.now()
            world = await self.worlds.whole(agency, held.row, now)
            row, effects = consult.step(held.row, await wanted(held.row), now, world, self._page_id)
            if row is held.row:
                return held
            told = event or ("" if row.state is held.row.state else f"consult_{row.state.value}")
            parts: list[Part] = [change(held, row)]
            if told and agency != SYNTHETIC:
                parts.append(Audit(told, by, key, row.state.value))
            parts += await self._parts(agency, key, row, effects, now, by)
            (outcome,) = await self._node.write([Item(agency, now.wall_ms, tuple(parts))])
            if not isinstance(outcome, NotStored):
                if agency != SYNTHETIC:
                    self._count(held.row, row)
                return Held(held.id, row, held.revision + 1)
            if outcome.code is not WireError.CONFLICT:
                raise ProtocolError(outcome.code)
        raise ProtocolError(WireError.BUSY, "others keep moving this consult")

    async def _parts(
        self,
        agency: AgencyId,
        key: ConsultId,
        row: ConsultRow,
        effects: Iterable[Effect],
        now: Now,
        by: DeviceId,
    ) -> list[Part]:
        """What a move wants done, as parts of the item that stores it."""
        effects = tuple(effects)
        people = await self._node.staff.of(agency)
        parts = await self._page_parts(agency, key, effects, now)
        for effect in effects:
            match effect:
                case Tell():
                    parts += self._tell(Notice.CONSULT_CHANGED, key, people.devices_of(effect.members))
                case Alarm():
                    to = people.devices_of(people.having(Role.SUPERVISOR))
                    parts += self._tell(Notice.CONSULT_ALARM, key, to)
                case Ended():
                    parts += await self._closing(agency, key, row, now, by)
                case Page() | Dial() | Unpage():
                    pass
                case _ as never:
                    assert_never(never)
        return parts

    async def _page_parts(
        self, agency: AgencyId, key: ConsultId, effects: Sequence[Effect], now: Now
    ) -> list[Part]:
        """The pages that a move begins, rings again and ends, with their notices."""
        standing = await self._standing(agency, effects)
        pager, parts = self._node.paging, list[Part]()
        for effect in effects:
            match effect:
                case Page(page=page, member=member, step=step):
                    parts += await self._ring(agency, key, standing.get(page), page, member, step, (), now)
                case Dial(page=page, number=number):
                    phones = (number,)
                    parts += await self._ring(
                        agency, key, standing.get(page), page, NO_MEMBER, 0, phones, now
                    )
                case Unpage(pages=pages):
                    found = [standing[page] for page in pages if page in standing]
                    parts += [pager.over_part(held) for held in found if not held.row.over_ms]
                case _:
                    pass
        return parts

    async def _ring(
        self,
        agency: AgencyId,
        key: ConsultId,
        held: Held[PageRow] | None,
        page: PageId,
        member: MemberId,
        step: int,
        phones: tuple[str, ...],
        now: Now,
    ) -> Sequence[Part]:
        if held is not None:
            # Its hour may be over though nobody answered: the same page goes on.
            goes_on = msgspec.structs.replace(held.row, over_ms=0)
            return await self._node.paging.ring_parts(
                agency, Held(held.id, goes_on, held.revision), now.steady_ms
            )
        row = open_page(
            PageKind.CONSULT,
            member,
            now_ms=now.steady_ms,
            wall_ms=now.wall_ms,
            consult=key,
            step=step,
            phones=phones,
        )
        return await self._node.paging.page_parts(agency, page, row)

    async def _standing(self, agency: AgencyId, effects: Iterable[Effect]) -> dict[PageId, Held[PageRow]]:
        """Those that stand already of all pages that these effects name."""
        wanted: dict[PageId, None] = {}
        for effect in effects:
            match effect:
                case Page(page=page) | Dial(page=page):
                    wanted[page] = None
                case Unpage(pages=pages):
                    wanted.update(dict.fromkeys(pages))
                case _:
                    pass
        found = await self._node.store.get_many([(agency, KINDS[PageRow], page) for page in wanted])
        return {PageId(item.id): read(PageRow, item) for item in found if item is not None}

    def _tell(self, kind: Notice, key: ConsultId, to: Iterable[DeviceId]) -> Sequence[Part]:
        return notices(kind, (key,), to, self._node.random)

    async def _gone(self, agency: AgencyId, row: ConsultRow) -> bool:
        """Whether the device that is in the session was lost, and nobody has said so yet."""
        here = row.state is ConsultState.IN_SESSION and row.deadline_steady_ms == NEVER_MS
        if not here or row.accepted_device is None:
            return False
        return not await self.worlds.connected(agency, (row.accepted_device,), GONE_S)

    async def _closing(
        self, agency: AgencyId, key: ConsultId, row: ConsultRow, now: Now, by: DeviceId
    ) -> list[Part]:
        """The end of a consult takes its channels out of service and lets its guests go; one without an incident takes the
        incident that was made for it along, with everything that was opened in it, so that retention finds it."""
        store, random = self._node.store, self._node.random
        parts: list[Part] = []
        for guest in await every(store, agency, GuestRow, key):
            parts += await end_parts(store, agency, guest, by, now.wall_ms, random)
        if bytes(row.incident) == bytes(key):
            parts += await self._own_incident_ends(agency, key, row.state, now)
            active = await every(store, agency, ChannelRow, ACTIVE)
            channels = [held for held in active if held.row.subject == key.hex()]
        else:
            named = [channel for channel in (row.channel, row.side) if channel is not None]
            found = [await find(store, agency, ChannelRow, channel) for channel in named]
            channels = [held for held in found if held is not None]
        return [*parts, *(part for held in channels for part in archive_parts(held, by, random))]

    async def _own_incident_ends(
        self, agency: AgencyId, key: ConsultId, state: ConsultState, now: Now
    ) -> list[Part]:
        """The incident that was made for a consult without one ends with it, unless somebody ended it; no channel is opened
        in it at the same moment."""
        store, door_key = self._node.store, door_id(key)
        door = await find(store, agency, SlotRow, door_key)
        closed = SlotRow(ChannelId(bytes(ID_BYTES)))
        parts: list[Part] = [create(door_key, closed) if door is None else change(door, closed)]
        incident = await find(store, agency, IncidentRow, key)
        if incident is not None and incident.row.state not in ENDED:
            cancelled = state is ConsultState.CANCELLED
            end = IncidentState.CANCELLED if cancelled else IncidentState.CLOSED
            moved = change_incident(incident.row, None, end, None, now.wall_ms)
            parts.append(change(incident, moved, now.wall_ms))
        return parts

    def _page_id(self) -> PageId:
        return PageId(self._node.random(ID_BYTES))

    def opened(self, row: ConsultRow) -> None:
        """A new consult stands: count it."""
        self._count(None, row)

    def _count(self, before: ConsultRow | None, after: ConsultRow) -> None:
        metrics = self._node.metrics
        if before is None or after.state is not before.state:
            metrics.consults.labels(after.state.value).inc()
        if after.alarms > (0 if before is None else before.alarms):
            metrics.consult_alarms.inc()
        for until, then_ms, now_ms in (
            ("paged", 0 if before is None else before.paged_ms, after.paged_ms),
            ("accepted", 0 if before is None else before.answered_ms, after.answered_ms),
            ("joined", 0 if before is None else before.met_ms, after.met_ms),
        ):
            if now_ms and not then_ms:
                metrics.consult_wait_s.labels(until).observe(max(0, now_ms - after.requested_ms) / 1000)


def _watched(row: ConsultRow) -> bool:
    """Whether it counts who comes and goes. Whoever took an alarm may leave the agency."""
    return row.state in WATCHED or row.taken_by is not None


def _readable(
    found: Iterable[tuple[AgencyId, Object]],
) -> list[tuple[AgencyId, Held[ConsultRow]]]:
    """Those that this node can read: one of a later version must not stop all others."""
    rows: list[tuple[AgencyId, Held[ConsultRow]]] = []
    for agency, item in found:
        try:
            rows.append((agency, read(ConsultRow, item)))
        except msgspec.MsgspecError as error:
            _log.error("consult_unread", error=type(error).__name__)
    return rows
