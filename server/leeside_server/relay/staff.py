"""Who an agency has: its members and their active devices, read together and kept for a moment.

A consult's decision looks at everybody who could be paged, and consults are decided twice a second on every node; so one
reading serves all decisions of an agency for a while: `KEPT_S`, longer where reading takes long, so that it costs a
twentieth of the time at most. What this node itself writes is seen at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.words import Role
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow
from leeside_server.core.rows import KINDS
from leeside_server.core.writes import Save
from leeside_server.ports import Clock, Store, StoreUnavailable
from leeside_server.relay.reading import every

KEPT_S: Final = 0.25
KEPT_MOST_S: Final = 2.0
SHARE: Final = 20
AGENCIES_KEPT: Final = 256
READ_TIMEOUT_S: Final = 5.0
_KINDS: Final = frozenset({KINDS[MemberRow], KINDS[DeviceRow]})


class People(msgspec.Struct, frozen=True):
    """The members of an agency whose membership lasts, and the active devices of each."""

    members: Mapping[MemberId, MemberRow]
    devices: Mapping[MemberId, Mapping[DeviceId, DeviceRow]]

    def having(self, *roles: Role) -> tuple[MemberId, ...]:
        """Members with one of these roles, who came first first."""
        found = [
            (row.created_ms, m) for m, row in self.members.items() if not set(roles).isdisjoint(row.roles)
        ]
        return tuple(member for _, member in sorted(found))

    def devices_of(self, members: Iterable[MemberId]) -> tuple[DeviceId, ...]:
        """The active devices of these members, each once."""
        return tuple(sorted({device for member in members for device in self.devices.get(member, ())}))

    def owners(self, devices: Collection[DeviceId]) -> frozenset[MemberId]:
        """Whose these devices are, of those that are active."""
        wanted = frozenset(devices)
        return frozenset(member for member, own in self.devices.items() if not wanted.isdisjoint(own))


class Gone(Collection[MemberId]):
    """Members whom nobody can page any more: whoever is not of the agency (now)."""

    def __init__(self, people: People) -> None:
        self._people = people

    def __contains__(self, member: object) -> bool:
        return member not in self._people.members

    def __iter__(self) -> Iterator[MemberId]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Staff:
    """The people of every agency that somebody asked about lately."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[AgencyId, tuple[float, People]] = {}
        """Until when, on the monotonic clock, and what."""
        self._reading: dict[AgencyId, asyncio.Lock] = {}
        self._written = 0
        """Counts this node's writes of people: what was read across one is not kept."""

    async def of(self, agency: AgencyId) -> People:
        """The people of an agency, as of `KEPT_MOST_S` ago at most. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                # One reads, the others wait for what it finds; whoever gives up waiting leaves the next to read.
                async with self._reading.setdefault(agency, asyncio.Lock()):
                    return await self._kept_or_read(agency)
        except TimeoutError:
            raise StoreUnavailable from None

    async def _kept_or_read(self, agency: AgencyId) -> People:
        kept = self._kept.get(agency)
        if kept is not None and self._clock.monotonic_s() < kept[0]:
            return kept[1]
        began_s, written = self._clock.monotonic_s(), self._written
        people = await self._read(agency)
        if written == self._written:
            now_s = self._clock.monotonic_s()
            self._kept.pop(agency, None)
            self._kept[agency] = (now_s + min(KEPT_MOST_S, max(KEPT_S, SHARE * (now_s - began_s))), people)
        while len(self._kept) > AGENCIES_KEPT:
            dropped = next(iter(self._kept))
            del self._kept[dropped]
            self._reading.pop(dropped, None)
        return people

    def saved(self, agency: AgencyId, part: Save) -> None:
        """This node wrote a row: whoever came or went with it is known from now on."""
        if part.kind in _KINDS:
            self._kept.pop(agency, None)
            self._written += 1

    async def _read(self, agency: AgencyId) -> People:
        members = await every(self._store, agency, MemberRow)
        found = await every(self._store, agency, DeviceRow)
        devices: dict[MemberId, dict[DeviceId, DeviceRow]] = {}
        for held in found:
            if held.row.state is DeviceState.ACTIVE:
                devices.setdefault(held.row.member, {})[DeviceId(held.id)] = held.row
        lasting = {MemberId(held.id): held.row for held in members if not held.row.ended_ms}
        return People(lasting, {member: own for member, own in devices.items() if member in lasting})
