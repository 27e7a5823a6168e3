"""The relay's HTTP half with consults: what `HttpDouble` leaves out. Its consults are what a test says they are."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from leeside.api import ApiError, Unreachable
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.words import ConsultActionKind, ConsultState, Urgency
from tests.client.people import Person
from tests.client.relay_double import HttpDouble, RelayDouble

PHONES = (o.Phone("Duty doctor", "+15550100"),)


class Desk:
    """Consults of one agency, and everything that was asked about them."""

    def __init__(self) -> None:
        self.consults: dict[str, o.Consult] = {}
        self.posts: list[o.ConsultPost] = []
        self.actions: list[tuple[str, ConsultActionKind]] = []
        self.receipts: list[tuple[str, str]] = []
        self.roster: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.refuse: list[ApiError] = []
        """What the next requests are answered with, in order."""
        self.forbidden = False
        self.travel_s = 0.0
        """How long an answer is under way that says how consults stand."""

    def change(self, consult: str, **fields: Any) -> o.Consult:
        """Another revision of a consult."""
        known = self.consults[consult]
        self.consults[consult] = replace(known, revision=known.revision + 1, **fields)
        return self.consults[consult]


class ConsultHttp(HttpDouble):
    """One device's view of it."""

    def __init__(self, relay: RelayDouble, device: DeviceId, desk: Desk) -> None:
        super().__init__(relay, device)
        self.desk = desk

    async def consults(self, state: str = "", after: str = "", limit: int = 100) -> o.Consults:
        await self._arrive()
        del after, limit
        if self.desk.forbidden:
            raise ApiError(WireError.FORBIDDEN)
        over = {ConsultState.ENDED, ConsultState.CANCELLED}
        found = [c for c in self.desk.consults.values() if (c.state in over) is (state == "ended")]
        await asyncio.sleep(self.desk.travel_s)
        return o.Consults("", tuple(found))

    async def consult(self, consult: bytes | str) -> o.Consult:
        await self._arrive()
        found = self.desk.consults.get(consult if isinstance(consult, str) else consult.hex())
        await asyncio.sleep(self.desk.travel_s)
        if found is None:
            raise ApiError(WireError.NOT_FOUND)
        return found

    async def consult_action(self, consult: bytes | str, body: o.ConsultAction) -> o.Consult:
        found = await self.consult(consult)
        self.desk.actions.append((found.id, body.kind))
        return found

    async def ladder_roster(self, ladder: bytes | str, language: str = "") -> o.LadderRoster:
        await self._arrive()
        del ladder, language
        return o.LadderRoster(None, *self.desk.roster, PHONES)

    async def create_consult(self, body: o.ConsultPost) -> r.CommitAnswer:
        self.desk.posts.append(body)
        if self.desk.refuse:
            raise self.desk.refuse.pop(0)
        answer = await self.create_channel(body.channel)
        self.desk.consults[body.consult.hex()] = consult(body.consult.hex(), answer.channel.hex())
        return answer

    async def page_receipt(self, page: bytes | str, body: o.ReceiptPost) -> None:
        await self._arrive()
        self.desk.receipts.append((page if isinstance(page, str) else page.hex(), body.state))


def consult(key: str, channel: str, **fields: Any) -> o.Consult:
    """A consult that is being asked for."""
    plain: dict[str, Any] = dict.fromkeys(
        ("unit", "side", "ladder", "accepted_by", "accepted_device", "taken_by"), None
    )
    times = ("step_ms", "next_ms", "accepted_ms", "joined_ms", "ended_ms", "held_until_ms", "alarms", "turn")
    plain |= dict.fromkeys(times, 0)
    plain |= {
        "id": key,
        "incident": key,
        "member": "00" * 16,
        "device": "00" * 16,
        "urgency": Urgency.URGENT,
        "language": "",
        "interpreter": False,
        "specialty": "",
        "state": ConsultState.PAGING,
        "channel": channel,
        "step": 0,
        "steps": 1,
        "requested_ms": 1,
        "targets": (),
        "tried": (),
        "me": o.ConsultMine((), None, False),
        "revision": 1,
    }
    return o.Consult(**(plain | fields))


def on_desk(person: Person, desk: Desk) -> Person:
    """This person's device asks that desk."""
    person.http = ConsultHttp(person.relay, person.keys.device_id, desk)
    return person


UNREACHABLE = Unreachable("the server cannot be reached", sent=True)
