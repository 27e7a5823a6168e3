"""The calls of `Api` about who is on call, paging, consults and their guests (spec 08): one method a route, as there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from leeside_protocol import oncall as o

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
