"""What a client knows of consults: it learns of them, tells how they stand, and rings (spec 08).

Notices of the inbox only say which consult changed; it is fetched, told as `ConsultChange`, and while it rings for this
device's person `Ring` is told every few seconds, until they answer. Their channels are kept in order by `consult_tending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from leeside.api import ApiError, every
from leeside.connection import asked_s, backoff_s
from leeside.consult_tending import COMING, OVER, ConsultHouse, Tending, consult_id
from leeside.events import ConsultAlarm, ConsultChange, Ring, RingTest
from leeside_protocol import messages as m
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ConsultId
from leeside_protocol.words import ConsultActionKind

RING_S: Final = 5.0


@dataclass(slots=True)
class _Ringing:
    page: str
    next_s: float
    times: int = 0


class Consulting:
    """Every consult that concerns this device's person. `run` it in the client's task group."""

    def __init__(self, house: ConsultHouse) -> None:
        self._house = house
        self._known: dict[ConsultId, o.Consult] = {}
        self._ringing: dict[ConsultId, _Ringing] = {}
        self._changed: set[ConsultId] = set()
        self._all = False
        self._wake = asyncio.Event()
        self._rung = asyncio.Event()
        self._pages: dict[bytes, Literal["delivered", "seen"]] = {}
        """Receipts that the server does not have yet."""
        self._joined: set[ConsultId] = set()
        """Consults in which this program is present: it says so again after its link was lost."""
        self._tending: Final = Tending(house, self._known)
        self.fresh: Final = asyncio.Event()
        """Set once the list of consults is as the server had it after the last connection."""

    @property
    def known(self) -> Mapping[ConsultId, o.Consult]:
        """Consults that go on, as last heard."""
        return self._known

    # ---- news

    def online(self) -> None:
        """There is a link: what was missed is fetched."""
        self._all = True
        self.fresh.clear()
        self._wake.set()

    def take_notices(self, entries: Iterable[m.Entry]) -> bool:
        """Notices of the inbox; one about a consult calls for fetching it. Whether there was one about something else."""
        others = False
        for entry in entries:
            match _decoded(entry.payload):
                case [7, bytes(page), bytes(consult), *_]:
                    self._pages[page] = "delivered"
                    self.look_at(ConsultId(consult))
                case [8, bytes(consult), *_]:
                    self.look_at(ConsultId(consult))
                case [11, bytes(page), *_]:
                    self._pages[page] = "delivered"
                    self._house.tell(RingTest(page))
                    self._wake.set()
                case [9, bytes(consult), *_]:
                    self._house.tell(ConsultAlarm(ConsultId(consult)))
                    self.look_at(ConsultId(consult))
                case _:
                    others = True
        return others

    def seen(self, page: bytes) -> None:
        """A person saw it: their other devices need not go on."""
        self._pages[page] = "seen"
        self._wake.set()

    def look_at(self, consult: ConsultId) -> None:
        """Fetch one anew."""
        self._changed.add(consult)
        self._wake.set()

    @property
    def tending(self) -> Tending:
        """What keeps the consults' channels in order."""
        return self._tending

    def took(self, consult: o.Consult, kind: ConsultActionKind | None = None) -> o.Consult:
        """What an action of this device answered: nobody waits for the notice."""
        if kind is ConsultActionKind.JOIN:
            self._joined.add(consult_id(consult))
        elif kind is ConsultActionKind.LEAVE:
            self._joined.discard(consult_id(consult))
        self._take(consult)
        return consult

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ring_forever())
            group.create_task(self._tending.run())
            await self._fetch_forever()

    async def _fetch_forever(self) -> None:
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._house.connection.online:
                continue
            try:
                await self._fetch()
                attempt = 0
            except ApiError as error:
                if not error.code.may_retry:
                    # Whoever may not list consults has none.
                    self._all = False
                    self._changed.clear()
                    self._pages.clear()
                    continue
                await asyncio.sleep(max(asked_s(error.retry_ms), backoff_s(attempt, self._house.uniform)))
                attempt += 1
                self._wake.set()

    async def _fetch(self) -> None:
        api = self._house.api
        for page, state in tuple(self._pages.items()):
            await api.page_receipt(page, o.ReceiptPost(state, "socket"))
            if self._pages.get(page) == state:
                del self._pages[page]
        # Taken off the list before it is asked for: what changes while the answer is under way is asked for again.
        if self._all:
            self._all = False
            try:
                await self._fetch_all()
            except ApiError:
                self._all = True
                raise
        for key in tuple(self._changed):
            self._changed.discard(key)
            try:
                await self._fetch_one(key)
            except ApiError:
                self._changed.add(key)
                raise

    async def _fetch_all(self) -> None:
        found: list[o.Consult] = await every(lambda after: self._house.api.consults("active", after))
        listed = {consult_id(consult) for consult in found}
        self._changed |= self._known.keys() - listed
        for consult in found:
            self._take(consult)
        if not self._all:
            self.fresh.set()
        await self._rejoin()

    async def _fetch_one(self, key: ConsultId) -> None:
        try:
            self._take(await self._house.api.consult(key))
        except ApiError as error:
            if error.code is not WireError.NOT_FOUND:
                raise
            self._forget(key)

    async def _rejoin(self) -> None:
        """The link was lost in a session: whoever is there says so before they are searched for."""
        for key in tuple(self._joined):
            consult = self._known.get(key)
            if consult is None or consult.accepted_device != self._house.device.hex():
                self._joined.discard(key)
            elif consult.state in COMING:
                self._take(await self._house.api.consult_action(key, o.ConsultAction(ConsultActionKind.JOIN)))

    def _take(self, consult: o.Consult) -> None:
        key = consult_id(consult)
        known = self._known.get(key)
        if known is not None and known.revision > consult.revision:
            return
        if consult.state in OVER:
            self._forget(key)
        else:
            self._known[key] = consult
            self._ring(key, consult)
        if known is None or known.revision != consult.revision:
            self._house.tell(ConsultChange(consult))
        self._tending.look(key)

    def _forget(self, key: ConsultId) -> None:
        self._known.pop(key, None)
        self._ringing.pop(key, None)
        self._tending.forget(key)
        self._joined.discard(key)

    # ---- ringing

    def _ring(self, key: ConsultId, consult: o.Consult) -> None:
        page = consult.me.page if consult.me.ringing else None
        if page is None:
            self._ringing.pop(key, None)
        elif key not in self._ringing or self._ringing[key].page != page:
            self._ringing[key] = _Ringing(page, self._house.clock.monotonic_s())
            self._rung.set()

    async def _ring_forever(self) -> None:
        while True:
            now_s = self._house.clock.monotonic_s()
            for key, ringing in self._ringing.items():
                if ringing.next_s <= now_s:
                    ringing.times += 1
                    ringing.next_s = now_s + RING_S
                    self._house.tell(Ring(self._known[key], ringing.times))
            soonest_s = min((ringing.next_s for ringing in self._ringing.values()), default=None)
            self._rung.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if soonest_s is None else max(0.0, soonest_s - now_s)):
                    await self._rung.wait()


def _decoded(payload: bytes) -> list[int | bytes]:
    try:
        return msgspec.msgpack.decode(payload, type=list[int | bytes])
    except msgspec.MsgspecError:
        return []
