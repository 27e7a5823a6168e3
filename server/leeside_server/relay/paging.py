"""The outbox of pages on one node: claims what is due, and makes the attempts (spec 08, "Paging"; `core/paging.py`).

Theory of operation. A page was stored with what called for it, here or on another node. A page of this node wakes `look_forever`
at once; the clockwork finds all others, and what died with its node, within half a second. A claim leases the ways that are
due; an attempt reads the row again, begins only behind its fence, ends within `ATTEMPT_S`, and is written down. What cannot
be written down is repeated after its lease, with the same page id.

No page waits for another: attempts run side by side, `FIRST` of pages that are asked for and `AGAIN` of what is tried again,
each bounded by itself, so that a push service which hangs fills only the repeats. What finds no room stays due in the store,
for every node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from leeside_protocol.errors import ProtocolError
from leeside_protocol.ids import AgencyId, ConsultId, DeviceId, MemberId, PageId
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.words import TargetState
from leeside_server.core import paging
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow
from leeside_server.core.notices import Notice, notices
from leeside_server.core.paging import NO_MEMBER, Attempt, PageKind, PageRow, Path, Reach, Result
from leeside_server.core.rows import KINDS, Held, change, create, read
from leeside_server.core.synthetic import AGENCY as SYNTHETIC
from leeside_server.core.writes import Item, Object, Part, Save, Stored
from leeside_server.log import get_logger
from leeside_server.ports import (
    Calling,
    GatewayRefused,
    GatewayUnavailable,
    PushGone,
    PushRefused,
    PushUnavailable,
    StoreFull,
    StoreUnavailable,
    Subscription,
)
from leeside_server.relay.reading import every, find

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

DUE_AT_ONCE: Final = 1_000
CLAIMED_AT_ONCE: Final = 32
"""What is claimed with one write: the first attempts of many begin before the last are planned."""
FIRST: Final = 256
AGAIN: Final = 128
"""Attempts that run at once: of pages that are asked for, and of what is tried again. A page has several: what is claimed last
may go a little beyond."""
PUSH_TTL_S: Final = 60
"""How long a push service keeps a page for a phone without a network. By then it was sent anew."""
PROBE_TTL_S: Final = 3_600
RECORD_TRIES: Final = 16
AGENCIES_KEPT_S: Final = 5.0
TEXTS: Final = {PageKind.TEST: "This is a test of your pages.", PageKind.CONSULT: "A consult is waiting."}
"""What a gateway says: nothing of who, where or what."""

_PAGE: Final = KINDS[PageRow]
_log = get_logger("leeside.paging")


class Paging:
    """The pages of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self._running = {True: 0, False: 0}
        """Attempts under way: of pages that were asked for, and of what is tried again."""
        self._agencies_kept: Sequence[AgencyId] = ()
        self._agencies_read_s = float("-inf")

    @property
    def running(self) -> int:
        """Attempts that are under way."""
        return sum(self._running.values())

    @property
    def idle(self) -> bool:
        """Nothing is noted, looked at, or on its way."""
        return not (self._wake.is_set() or self._looking.locked() or self.running)

    # ---- for who decides about pages

    async def page_parts(self, agency: AgencyId, page: PageId, row: PageRow) -> Sequence[Part]:
        """What writes a new page, for the item that calls for it: the row, and the notice in each inbox of its member.
        Raises the store's errors."""
        return (create(page, row), *await self._notices(agency, page, row))

    async def ring_parts(self, agency: AgencyId, held: Held[PageRow], now_ms: int) -> Sequence[Part]:
        """What has a page that lives ring once more, with the same id."""
        row, page = paging.ring_again(held.row, now_ms), PageId(held.id)
        return (change(held, row), *await self._notices(agency, page, row))

    def over_part(self, held: Held[PageRow]) -> Part:
        """What ends a page, for the item that decides it: no attempt begins behind that."""
        return change(held, paging.end(held.row, self._node.clock.now_ms()))

    async def find(self, page: PageId) -> tuple[AgencyId, Held[PageRow]] | None:
        """A page of whichever agency has it: who posts a receipt has nothing but the id. Raises the store's errors."""
        agencies = await self._agencies()
        for first in range(0, len(agencies), PAGE_ENTRIES):
            some = agencies[first : first + PAGE_ENTRIES]
            found = await self._node.store.get_many([(agency, _PAGE, bytes(page)) for agency in some])
            for agency, one in zip(some, found, strict=True):
                if one is not None:
                    return agency, read(PageRow, one)
        return None

    async def receipt(self, page: PageId, path: Path, state: TargetState) -> None:
        """A device has this page, or a person saw it. Nothing for a page that is not there. Raises the store's errors."""
        node = self._node
        for _ in range(RECORD_TRIES):
            found = await self.find(page)
            if found is None:
                return
            agency, held = found
            row = paging.take_receipt(held.row, path, state, node.clock.now_ms())
            if row == held.row or await self._saved(agency, change(held, row)):
                break
        else:
            return
        # Who kept an old page's id says nothing of today's pushes with it.
        lives = node.steady.estimate_ms() < row.until_ms
        if path is Path.PUSH and row.device and lives:
            await node.probes.reached(agency, DeviceId(row.device), page, test=row.kind is PageKind.TEST)
        if row.consult and row != held.row:
            await self._tell_consult(agency, page, row, state)

    # ---- looking

    def saved(self, part: Save) -> None:
        """Look at once when a write of this node left a page that is due."""
        if not self._wake.is_set() and _due_now(part):
            self._wake.set()

    async def look_forever(self) -> None:
        """Claim what this node itself stored, as soon as it was."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.carry_out(await self._node.steady.now_ms())
            except (StoreUnavailable, StoreFull):
                # The clockwork finds it, here or elsewhere.
                continue

    async def carry_out(self, now_ms: int) -> None:
        """Claim every page that is due, as far as there is room. Raises the store's errors."""
        async with self._looking:
            rows = await self._due(now_ms)
            # Who is asked for is before what is only tried again.
            rows.sort(key=lambda one: not _asked(one[1].row))
            for at in range(0, len(rows), CLAIMED_AT_ONCE):
                await self._claim(rows[at : at + CLAIMED_AT_ONCE], now_ms)

    async def _due(self, now_ms: int) -> list[tuple[AgencyId, Held[PageRow]]]:
        """What is due, the oldest first. Where all of it is only tried again, and might stand there because a push service
        hangs, more: who is asked for now is behind it."""
        rows: list[tuple[AgencyId, Held[PageRow]]] = []
        for limit in (DUE_AT_ONCE, DUE_AT_ONCE * 4, DUE_AT_ONCE * 16):
            found = await self._node.store.due(_PAGE, now_ms, limit)
            rows = [(agency, held) for agency, one in found if (held := _readable(one)) is not None]
            if len(found) < limit or any(_asked(held.row) for _, held in rows):
                break
        return rows

    async def _claim(self, rows: Sequence[tuple[AgencyId, Held[PageRow]]], now_ms: int) -> None:
        node, wall_ms = self._node, self._node.clock.now_ms()
        claims: list[tuple[AgencyId, Held[PageRow], Sequence[Attempt], bool]] = []
        items: list[Item] = []
        room = {True: FIRST - self._running[True], False: AGAIN - self._running[False]}
        for agency, held in rows:
            first = _asked(held.row)
            if room[first] <= 0:
                continue
            try:
                reach = await self.reach(agency, held.row) if first else Reach()
            except msgspec.ValidationError as error:
                # Somebody's row of a later version: a node of that version pages them.
                _log.error("page_unread", error=type(error).__name__)
                continue
            row, claimed = paging.claim(held.row, reach, now_ms, wall_ms)
            room[first] -= len(claimed)
            claims.append((agency, held, claimed, first))
            items.append(Item(agency, wall_ms, (change(held, row),)))
        if not items:
            return
        for (agency, held, attempts, first), outcome in zip(claims, await node.write(items), strict=True):
            if not isinstance(outcome, Stored):
                # Another node claimed it, or it is over.
                continue
            for attempt in attempts:
                self._running[first] += 1
                node.spawn(self._attempt(agency, PageId(held.id), held.row.member, attempt, first))

    async def reach(self, agency: AgencyId, row: PageRow) -> Reach:
        """How this page's member can be reached now: by devices on duty, or by all where none is. Raises the store's
        errors."""
        gateway = self._node.gateway.on
        if row.member == NO_MEMBER:
            return Reach(phone=gateway)
        store = self._node.store
        member = await store.get(agency, KINDS[MemberRow], row.member)
        if member is None or (who := read(MemberRow, member).row).ended_ms:
            return Reach()
        devices = [held for held in await self._devices(agency, row.member) if held.row.push_endpoint]
        duties = await store.get_many([(agency, KINDS[DutyRow], held.id) for held in devices])
        on = {one.id for one in duties if one is not None and read(DutyRow, one).row.on}
        taking = tuple(DeviceId(held.id) for held in devices if row.device or not on or held.id in on)
        return Reach(taking, gateway and bool(who.phone))

    # ---- attempts

    async def _attempt(
        self, agency: AgencyId, page: PageId, member: MemberId, attempt: Attempt, first: bool
    ) -> None:
        """One attempt, from its fence to what is written of it."""
        node = self._node
        try:
            # Between the fence and the sending nothing is waited for: a store that comes back late, or a library that is
            # loaded, must not stand between a look at a page that lives and a call for one that is over.
            await (node.push if attempt.path is Path.PUSH else node.gateway).ready()
            kind, whom = (DeviceRow, attempt.device) if attempt.device else (MemberRow, member)
            found = await node.store.get_many([(agency, _PAGE, bytes(page)), (agency, KINDS[kind], whom)])
            held = None if found[0] is None else read(PageRow, found[0])
            if held is None or not paging.may_begin(held.row, attempt):
                node.metrics.page_attempts.labels(attempt.path, "fenced").inc()
                return
            result = await self._send(agency, page, held.row, attempt, found[1])
            node.metrics.page_attempts.labels(attempt.path, result).inc()
            if result is Result.TAKEN and attempt.ring == attempt.fence == 1:
                node.metrics.page_s.observe(max(0, node.clock.now_ms() - held.row.created_ms) / 1_000)
            await self._record(agency, page, attempt, result)
        except (StoreUnavailable, StoreFull):
            # Its lease ends, and somebody tries again.
            return
        finally:
            self._running[first] -= 1

    async def _send(
        self, agency: AgencyId, page: PageId, row: PageRow, attempt: Attempt, whom: Object | None
    ) -> Result:
        try:
            async with asyncio.timeout(paging.ATTEMPT_S):
                if agency == SYNTHETIC:
                    await self._node.synthetic.rang(ConsultId(row.consult))
                    return Result.TAKEN
                if attempt.path is Path.PUSH:
                    device = None if whom is None else read(DeviceRow, whom)
                    return await self._push(agency, page, row.kind, device)
                number = attempt.number or _number(None if whom is None else read(MemberRow, whom).row)
                return await self._call(page, row, attempt, number)
        except TimeoutError:
            return Result.LATER

    async def _push(
        self, agency: AgencyId, page: PageId, kind: PageKind, device: Held[DeviceRow] | None
    ) -> Result:
        if device is None or device.row.state is not DeviceState.ACTIVE or not device.row.push_endpoint:
            return Result.NEVER
        row = device.row
        to = Subscription(row.push_endpoint, row.push_public, row.push_auth)
        payload = paging.push_payload(kind, page)
        try:
            ttl_s = PROBE_TTL_S if kind is PageKind.PROBE else PUSH_TTL_S
            await self._node.push.send(to, payload, ttl_s, paging.push_topic(page))
        except PushGone:
            await self._node.pushes.forget(agency, device)
            return Result.NEVER
        except PushRefused as refused:
            _log.warning("page_refused", kind="push", status=refused.status)
            return Result.NEVER
        except PushUnavailable:
            return Result.LATER
        return Result.TAKEN

    async def _call(self, page: PageId, row: PageRow, attempt: Attempt, to: str) -> Result:
        if not to:
            return Result.NEVER
        kind: Literal["sms", "voice"] = "sms" if attempt.path is Path.SMS else "voice"
        text = TEXTS[row.kind]
        calling = Calling(paging.delivery_id(page, attempt), kind, to, page.hex(), text)
        try:
            await self._node.gateway.send(calling)
        except GatewayRefused as refused:
            _log.warning("page_refused", kind=kind, status=refused.status)
            return Result.NEVER
        except GatewayUnavailable:
            return Result.LATER
        return Result.TAKEN

    async def _record(self, agency: AgencyId, page: PageId, attempt: Attempt, result: Result) -> None:
        """Write what became of an attempt, over whatever else was written of the page since."""
        node = self._node
        for _ in range(RECORD_TRIES):
            held = await find(node.store, agency, PageRow, page)
            if held is None:
                return
            now_ms, wall_ms = node.steady.estimate_ms(), node.clock.now_ms()
            row = paging.settle(held.row, attempt, result, now_ms, wall_ms)
            if row == held.row:
                return
            if await self._saved(agency, change(held, row)):
                if row.consult and paging.came(row) and not paging.came(held.row):
                    await self._tell_consult(agency, page, row, TargetState.SENT)
                return

    async def _saved(self, agency: AgencyId, save: Part) -> bool:
        (outcome,) = await self._node.write([Item(agency, self._node.clock.now_ms(), (save,))])
        return isinstance(outcome, Stored)

    async def _tell_consult(self, agency: AgencyId, page: PageId, row: PageRow, state: TargetState) -> None:
        """Let the consult know how far its page came. It may have ended, or be busy: then it does without."""
        if row.member == NO_MEMBER:
            return
        with contextlib.suppress(ProtocolError):
            await self._node.consults.receipt(agency, ConsultId(row.consult), page, state)

    # ---- reading

    async def _notices(self, agency: AgencyId, page: PageId, row: PageRow) -> Sequence[Part]:
        node = self._node
        if row.kind is PageKind.TEST:
            return notices(Notice.TEST_PAGE, (page,), [DeviceId(row.device)], node.random)
        if row.kind is not PageKind.CONSULT or row.member == NO_MEMBER:
            return ()
        devices = [DeviceId(held.id) for held in await self._devices(agency, row.member)]
        return notices(Notice.PAGE, (page, row.consult), devices, node.random)

    async def _devices(self, agency: AgencyId, member: MemberId) -> Sequence[Held[DeviceRow]]:
        """The active devices of a member."""
        rows = await every(self._node.store, agency, DeviceRow, member)
        return [held for held in rows if held.row.state is DeviceState.ACTIVE]

    async def _agencies(self) -> Sequence[AgencyId]:
        """Every agency, as of a few seconds ago."""
        now_s = self._node.clock.monotonic_s()
        if now_s - self._agencies_read_s >= AGENCIES_KEPT_S:
            self._agencies_kept = await self._node.store.agencies()
            self._agencies_read_s = now_s
        return self._agencies_kept


def _number(member: MemberRow | None) -> str:
    """A member's telephone, as it stands now; empty for none, or where the membership ended."""
    return "" if member is None or member.ended_ms else member.phone


def _asked(row: PageRow) -> bool:
    """Whether its consult asks for it: new, or once more."""
    return row.planned < row.rings


def _due_now(part: Save) -> bool:
    """Whether this row is of a page that was never planned, or is to ring again."""
    if part.kind != _PAGE or part.due_ms is None:
        return False
    row = msgspec.json.decode(part.body, type=PageRow)
    return not row.over_ms and _asked(row)


def _readable(found: Object) -> Held[PageRow] | None:
    """A row that this node can read: one of a later version is left to a node of that version."""
    try:
        return read(PageRow, found)
    except msgspec.ValidationError:
        return None
