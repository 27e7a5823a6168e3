"""By which rows somebody may be in a consult's call, read together: the consult, its channel, and a guest's own (spec 09,
"Who may"). Units and roles count too; who has them is kept by `Staff`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelId, ConsultId, DeviceId, MemberId
from leeside_protocol.video.signalling import Part
from leeside_server.core.channels import ChannelRow
from leeside_server.core.consult_row import FINAL, ConsultRow
from leeside_server.core.guests import GUEST_ROLES, GuestRow
from leeside_server.core.ladder import World
from leeside_server.core.rows import KINDS, read
from leeside_server.core.video import Caller, part_in
from leeside_server.core.writes import Object
from leeside_server.ports import StoreUnavailable

if TYPE_CHECKING:
    from leeside_server.relay.node import Node
    from leeside_server.relay.tokens import Claims

NAMES_AT_ONCE: Final = 500
READ_TIMEOUT_S: Final = 5.0
CONSULT: Final = KINDS[ConsultRow]
CHANNEL: Final = KINDS[ChannelRow]
GUEST: Final = KINDS[GuestRow]
WATCHED: Final = frozenset({CONSULT, CHANNEL, GUEST})

Name = tuple[AgencyId, str, bytes]
Rows = Mapping[Name, Object]


class Right(msgspec.Struct, frozen=True):
    """What a device is to a call, by rows that were read a moment ago."""

    channel: ChannelId
    caller: Caller
    part: Part


class Standing(msgspec.Struct, frozen=True):
    """How a consult stands, for everybody who is in its call."""

    consult: ConsultId
    row: ConsultRow
    roster: Mapping[DeviceId, int]
    world: World
    at_ms: int

    @property
    def over(self) -> bool:
        """Whether there is no call any more, for nobody."""
        return self.row.state in FINAL

    def right(self, caller: Caller) -> Right:
        """What this caller is to the call. Raises as `part_in`."""
        part = part_in(self.consult, self.row, caller, self.world, self.roster, self.at_ms)
        return Right(self.row.channel, caller, part)


class Rights:
    """Reads what rights hang on."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def of(self, agency: AgencyId, consult: ConsultId, claims: Claims) -> Right:
        """What a signed-in device is to a call, by rows that are read now. Raises as `part_in`, and `StoreUnavailable`."""
        held = await self._node.consults.need(agency, consult)
        guests = () if GUEST_ROLES.isdisjoint(claims.roles) else (claims.member,)
        rows = await self.read(names(agency, consult, held.row.channel, guests))
        standing = await self.standing(rows, agency, consult)
        if standing is None:
            raise ProtocolError(WireError.NOT_FOUND, "no such consult")
        guest = guest_in(rows, agency, claims.member) if guests else None
        if guests and guest is None:
            raise ProtocolError(WireError.NOT_FOUND, "no such consult")
        return standing.right(Caller(claims.member, claims.device, guest))

    async def standing(self, rows: Rows, agency: AgencyId, consult: ConsultId) -> Standing | None:
        """How a consult stands by these rows; None when it is not among them. Raises `StoreUnavailable`."""
        found = rows.get((agency, CONSULT, consult))
        if found is None:
            return None
        row = read(ConsultRow, found).row
        head = rows.get((agency, CHANNEL, row.channel))
        roster = {} if head is None else read(ChannelRow, head).row.masks
        # A call asks for no more of the world than a consult that is over does: who is of the unit, and who supervises.
        world = await self._node.consults.worlds.over(agency, row)
        return Standing(consult, row, roster, world, self._node.clock.now_ms())

    async def read(self, wanted: Sequence[Name]) -> dict[Name, Object]:
        """The rows that are there. Raises `StoreUnavailable`."""
        found: dict[Name, Object] = {}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                for first in range(0, len(wanted), NAMES_AT_ONCE):
                    some = wanted[first : first + NAMES_AT_ONCE]
                    objects = await self._node.store.get_many(some)
                    found.update(
                        (name, one) for name, one in zip(some, objects, strict=True) if one is not None
                    )
        except TimeoutError:
            raise StoreUnavailable from None
        return found


def names(
    agency: AgencyId, consult: ConsultId, channel: ChannelId, guests: Iterable[MemberId]
) -> tuple[Name, ...]:
    """The rows that say who may be in this call."""
    return (
        (agency, CONSULT, consult),
        (agency, CHANNEL, channel),
        *((agency, GUEST, member) for member in guests),
    )


def guest_in(rows: Rows, agency: AgencyId, member: MemberId) -> GuestRow | None:
    """A guest's own row, if it is among these."""
    found = rows.get((agency, GUEST, member))
    return None if found is None else read(GuestRow, found).row
