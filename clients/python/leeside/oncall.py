"""The calls of `Api` about who is on call, paging, consults and their guests (spec 08): one method a route, as there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from leeside_protocol import oncall as o
from leeside_protocol import resources as r

Id = bytes | str
"""An identifier: 16 bytes (17 for a log's address), or its lowercase hexadecimal digits."""
_T = TypeVar("_T")


class OnCallCalls(ABC):
    """What `Api` inherits; it makes the calls."""

    @abstractmethod
    async def _one(
        self,
        name: str,
        kind: type[_T],
        *,
        path: Mapping[str, Id] | None = None,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
    ) -> _T:
        """The decoded answer of a route."""

    @abstractmethod
    async def _nothing(
        self, name: str, *, path: Mapping[str, Id] | None = None, body: object | None = None
    ) -> None:
        """A route that answers without a body."""

    # ---- consults

    async def create_consult(self, body: o.ConsultPost) -> r.CommitAnswer:
        """A repeat of the same request is the same consult."""
        return await self._one("create_consult", r.CommitAnswer, body=body)

    async def consults(self, state: str = "", after: str = "", limit: int = 100) -> o.Consults:
        """Those that concern me; `state` is active, ended, or empty for both."""
        query = {"limit": str(limit), "after": after, "state": state}
        return await self._one("consults", o.Consults, query={k: v for k, v in query.items() if v})

    async def consult(self, consult: Id) -> o.Consult:
        return await self._one("consult", o.Consult, path={"id": consult})

    async def consult_action(self, consult: Id, body: o.ConsultAction) -> o.Consult:
        """`already_accepted` when somebody else did. One that got no answer may be sent again: what was done is not done
        twice. Only `escalate` means the step after the next when it is repeated later than 5 s after."""
        return await self._one("consult_action", o.Consult, path={"id": consult}, body=body)

    async def figures(self, from_ms: int, until_ms: int, zone: str) -> o.Figures:
        """How long consults waited that were asked for in a window, by the hours and weekdays of a zone. For supervisors."""
        query = {"from_ms": str(from_ms), "until_ms": str(until_ms), "zone": zone}
        return await self._one("figures", o.Figures, query=query)

    async def figures_csv(self, from_ms: int, until_ms: int, zone: str) -> bytes:
        """The same as CSV."""
        query = {"from_ms": str(from_ms), "until_ms": str(until_ms), "zone": zone}
        return await self._one("figures_csv", bytes, query=query)

    # ---- pages

    async def duty(self) -> o.Duty:
        return await self._one("duty", o.Duty)

    async def put_duty(self, body: o.DutyPut) -> o.Duty:
        return await self._one("put_duty", o.Duty, body=body)

    async def test_page(self) -> o.TestPage:
        """Pages this device by every way that it has."""
        return await self._one("test_page", o.TestPage)

    async def page(self, page: Id) -> o.PageReceipts:
        return await self._one("page", o.PageReceipts, path={"id": page})

    async def page_receipt(self, page: Id, body: o.ReceiptPost) -> None:
        """The page came here, or a person saw it."""
        await self._nothing("page_receipt", path={"id": page}, body=body)

    # ---- guests

    async def create_guest(self, consult: Id, body: o.NewGuest) -> o.GuestLink:
        return await self._one("create_guest", o.GuestLink, path={"id": consult}, body=body)

    async def guests(self, consult: Id) -> o.Guests:
        return await self._one("guests", o.Guests, path={"id": consult})

    async def take_guest_link(self, body: o.GuestPost) -> o.GuestTaken:
        return await self._one("take_guest_link", o.GuestTaken, body=body)

    async def guest(self, guest: Id) -> o.Guest:
        return await self._one("guest", o.Guest, path={"id": guest})

    async def end_guest(self, guest: Id) -> None:
        await self._nothing("end_guest", path={"id": guest})

    # ---- who is on call

    async def on_call(self) -> o.OnCall:
        """Who holds each rota now, and what the next 24 hours lack."""
        return await self._one("on_call", o.OnCall)

    async def rotas(self, after: str = "", limit: int = 100) -> o.Rotas:
        return await self._one("rotas", o.Rotas, query=_page(after, limit))

    async def create_rota(self, body: o.NewRota) -> o.Rota:
        return await self._one("create_rota", o.Rota, body=body)

    async def rota(self, rota: Id) -> o.Rota:
        return await self._one("rota", o.Rota, path={"id": rota})

    async def change_rota(self, rota: Id, body: o.RotaChange) -> o.Rota:
        """`conflict` when somebody changed it since `body.revision`: read it anew and decide again."""
        return await self._one("change_rota", o.Rota, path={"id": rota}, body=body)

    async def schedule(self, rota: Id, from_ms: int, until_ms: int) -> o.Schedule:
        """Who is on call in a window of 100 days at most."""
        query = {"from_ms": str(from_ms), "until_ms": str(until_ms)}
        return await self._one("schedule", o.Schedule, path={"id": rota}, query=query)

    async def import_calendar(self, rota: Id, body: o.CalendarImport) -> o.Rota:
        """The shifts of an iCalendar file, from now on, in the place of those of the file before."""
        return await self._one("import_calendar", o.Rota, path={"id": rota}, body=body)

    async def create_feed(self, rota: Id, body: o.NewFeed) -> o.Feed:
        """A live calendar: the path is told once, and whoever has it reads it."""
        return await self._one("create_feed", o.Feed, path={"id": rota}, body=body)

    async def end_feeds(self, rota: Id) -> None:
        """All of the rota for a supervisor or owner, else one's own."""
        await self._nothing("end_feeds", path={"id": rota})

    # ---- ladders

    async def ladders(self, after: str = "", limit: int = 100) -> o.Ladders:
        return await self._one("ladders", o.Ladders, query=_page(after, limit))

    async def create_ladder(self, body: o.NewLadder) -> o.Ladder:
        return await self._one("create_ladder", o.Ladder, body=body)

    async def ladder(self, ladder: Id) -> o.Ladder:
        return await self._one("ladder", o.Ladder, path={"id": ladder})

    async def change_ladder(self, ladder: Id, body: o.LadderChange) -> o.Ladder:
        return await self._one("change_ladder", o.Ladder, path={"id": ladder}, body=body)

    async def ladder_roster(self, ladder: Id, language: str = "") -> o.LadderRoster:
        """Who a consult's first roster must hold; `oncall.NO_LADDER` is the agency's default ladder."""
        query = {"language": language} if language else {}
        return await self._one("ladder_roster", o.LadderRoster, path={"id": ladder}, query=query)


def _page(after: str, limit: int) -> dict[str, str]:
    return {"limit": str(limit), "after": after} if after else {"limit": str(limit)}
