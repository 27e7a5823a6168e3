"""One request as a handler sees it: decoded, limited and authenticated."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId, from_hex
from leeside_protocol.limits import INT_MAX, PAGE_ENTRIES
from leeside_protocol.routes import Route
from leeside_protocol.words import Role
from leeside_server.core import policy
from leeside_server.core.notices import Random
from leeside_server.core.policy import Action
from leeside_server.core.rows import KINDS, Held, R, read
from leeside_server.core.writes import Audit, Item, Outcome, Part, Repeated, Stored
from leeside_server.relay.http.host import Host
from leeside_server.relay.http.limits import RequestLimits
from leeside_server.relay.http.refusals import Refused, stored
from leeside_server.relay.http.settings import HttpSettings
from leeside_server.relay.reading import every, find

A = TypeVar("A")
B = TypeVar("B")
DEFAULT_PAGE: Final = 100
ATTEMPTS: Final = 16
"""How often a change is decided anew. A device that changes its own row all the time loses against so many."""


class Actor(msgspec.Struct, frozen=True):
    """Who asks: verified, and for every change read anew from the store."""

    agency: AgencyId
    member: MemberId
    device: DeviceId
    session: bytes
    roles: tuple[Role, ...]

    def require(self, action: Action) -> None:
        """`forbidden` unless one of the actor's roles permits this."""
        policy.require(self.roles, action)

    def permits(self, action: Action) -> bool:
        return policy.permits(self.roles, action)


class Call(msgspec.Struct, frozen=True):
    """A request to a route. `actor` is None where nobody is asked who they are."""

    host: Host
    settings: HttpSettings
    limits: RequestLimits
    route: Route
    params: Mapping[str, str]
    query: Mapping[str, str]
    content: object
    source: str
    now_ms: int
    known: Actor | None = None
    random: Random = secrets.token_bytes

    @property
    def actor(self) -> Actor:
        """Who asks, on routes for devices."""
        assert self.known is not None
        return self.known

    def body(self, kind: type[B]) -> B:
        """The decoded body, which the route declared to be of this kind."""
        assert isinstance(self.content, kind)
        return self.content

    # -- what the path and the query say

    @property
    def id(self) -> bytes:
        """The `{id}` of the path; what is no id is not found, like an id of nothing."""
        return _path_id(self.params["id"])

    @property
    def limit(self) -> int:
        """How many items the page may have."""
        return self.number("limit", DEFAULT_PAGE, 1, PAGE_ENTRIES)

    def number(self, name: str, default: int, least: int = 0, most: int = INT_MAX) -> int:
        """A number of the query; `invalid` when it is none or out of bounds."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 16 or not least <= int(text) <= most:
            raise ProtocolError(WireError.INVALID, f"`{name}` is a number within its bounds")
        return int(text)

    @property
    def after_id(self) -> bytes:
        """The cursor of a listing of objects: the last id seen, or nothing."""
        text = self.query.get("after", "")
        return from_hex(text) if text else b""

    # -- the store

    async def find(self, agency: AgencyId, kind: type[R], key: bytes) -> Held[R] | None:
        """A row, or None."""
        return await find(self.host.store, agency, kind, key)

    async def need(self, kind: type[R], key: bytes) -> Held[R]:
        """A row of the actor's agency, or `not_found`."""
        held = await self.find(self.actor.agency, kind, key)
        if held is None:
            raise ProtocolError(WireError.NOT_FOUND)
        return held

    async def page(self, kind: type[R], parent: bytes | None = None) -> tuple[list[Held[R]], str]:
        """A page of rows of the actor's agency, and the cursor of the next one."""
        found = await self.host.store.objects(
            self.actor.agency, KINDS[kind], parent, self.after_id, self.limit
        )
        rows = [read(kind, item) for item in found]
        return rows, rows[-1].id.hex() if len(rows) == self.limit else ""

    async def rows(self, kind: type[R], after: bytes, limit: int) -> list[Held[R]]:
        """Rows of the actor's agency with ids above `after`."""
        found = await self.host.store.objects(self.actor.agency, KINDS[kind], None, after, limit)
        return [read(kind, item) for item in found]

    async def every(self, agency: AgencyId, kind: type[R], parent: bytes | None = None) -> list[Held[R]]:
        """All rows of a kind, read in pages."""
        return await every(self.host.store, agency, kind, parent)

    async def apply(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Store items. When this returns, the node itself has taken notice, so that an answer never comes before
        what it says: whoever was revoked is refused from the next request on."""
        outcomes = await self.host.write(items)
        await asyncio.sleep(0)
        return outcomes

    async def write(self, agency: AgencyId, *parts: Part) -> Stored | Repeated:
        """Store parts in one item; a refusal is raised with the head it names."""
        (outcome,) = await self.apply([Item(agency, self.now_ms, parts)])
        return stored(outcome)

    async def write_anew(
        self, agency: AgencyId, decide: Callable[[], Awaitable[tuple[Sequence[Part], A]]]
    ) -> A:
        """Store the parts that `decide` makes of the newest rows, in one item, and give its answer. Decided anew when
        somebody else changed one of the rows first: whoever shall lose something may be that somebody."""
        for left in reversed(range(ATTEMPTS)):
            parts, answer = await decide()
            try:
                if parts:
                    await self.write(agency, *parts)
            except Refused as error:
                if error.code is not WireError.CONFLICT or not left:
                    raise
            else:
                return answer
        raise AssertionError("the last attempt raised")

    async def record_refusal(
        self, agency: AgencyId, event: str, actor: bytes, subject: bytes, outcome: str
    ) -> None:
        """Record a refusal as a security event of the agency: the first few, then one a minute for each subject."""
        if self.limits.report_refusal(event, subject, self.host.clock.monotonic_s()):
            await self.apply([Item(agency, self.now_ms, (Audit(event, actor, subject, outcome),))])


def _path_id(text: str) -> bytes:
    try:
        return from_hex(text)
    except ProtocolError:
        raise ProtocolError(WireError.NOT_FOUND) from None


def ids(texts: tuple[str, ...] | None) -> tuple[bytes, ...] | None:
    """Ids of a body, whose pattern was checked when it was decoded."""
    return None if texts is None else tuple(bytes.fromhex(text) for text in texts)
