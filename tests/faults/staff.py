"""Who asks for consults and who is asked: an agency with psychiatrists, ladders, telephones and push subscriptions.

    async with open_staff(site, doors, Crew(responders=20, psychiatrists=6)) as staff:
        ladder = await staff.ladder("by night", [step], "+15550001")
        wanted = staff.wanted(staff.responders[0], ladder, [*staff.psychiatrists, staff.supervisor])
        await staff.responders[0].api.create_consult(wanted)     # again and again: the bytes are the same

Everybody's requests go to the node that they are given first, and to the other one when it does not answer.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx

from leeside.api import Api
from leeside.bodies import ConsultAsked, encode_content
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import (
    ChannelAddress,
    ChannelKind,
    ConsultId,
    IncidentId,
    LadderId,
    MessageId,
    address,
)
from leeside_protocol.sealing.opening.body import decode_body
from leeside_protocol.sealing.opening.boxes import open_box
from leeside_protocol.sealing.opening.committer import Committer, Genesis, MadeCommit, seats_of
from leeside_protocol.sealing.opening.frames import SID_BYTES, FrameSender
from leeside_protocol.sealing.public.commit import Policy
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.words import ChannelPurpose, Role, Urgency
from tests.faults.agency import Agency, Device, found_agency, now_ms
from tests.faults.doors import Doors
from tests.faults.installation import Installation
from tests.faults.node import Node
from tests.faults.world import commit_post

DEADLINE_S: Final = 4.0
"""How long somebody waits for a node before they try the other one."""


class EitherNode(httpx.AsyncBaseTransport):
    """Sends to the node whose turn it is; one that fails loses its turn. So a request is never repeated here that may have
    arrived: whoever sends it decides that."""

    def __init__(self, nodes: Sequence[Node], first: int) -> None:
        self._nodes = tuple(nodes)
        self._turn = first % len(nodes)
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=2))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        turn = self._turn
        request.url = request.url.copy_with(port=self._nodes[turn].port)
        try:
            return await self._inner.handle_async_request(request)
        except AttributeError:
            # anyio on uvloop, of a connection that was cut as soon as it was made.
            self._turn = (turn + 1) % len(self._nodes)
            raise httpx.ReadError("cut off") from None
        except BaseException:
            # Refused, cut, or too slow for whoever waits (a frozen node answers nothing).
            self._turn = (turn + 1) % len(self._nodes)
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """One member with one device. `number`: their telephone; `pushed`: their device has a push subscription."""

    device: Device
    api: Api
    number: str
    pushed: bool

    @property
    def member(self) -> bytes:
        return self.device.member

    @property
    def inbox(self) -> ChannelAddress:
        return address(ChannelKind.INBOX, self.device.id)


@dataclass(frozen=True, slots=True)
class Crew:
    """How many there are. Of the psychiatrists every second one has a push subscription; all have a telephone."""

    responders: int
    psychiatrists: int


@dataclass(slots=True, repr=False)
class Staff:
    """The people of a run."""

    agency: Agency
    office: Api
    responders: tuple[Person, ...]
    psychiatrists: tuple[Person, ...]
    supervisor: Person
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def everybody(self) -> tuple[Person, ...]:
        return (*self.responders, *self.psychiatrists, self.supervisor)

    def new_number(self) -> str:
        """A telephone number that nobody has."""
        return f"+1556{next(self._numbers):07}"

    async def ladder(self, steps: Sequence[o.LadderStep], number: str) -> LadderId:
        """A ladder of these steps, whose phone tree has one number."""
        body = o.NewLadder("faults", tuple(steps), (o.Phone("fallback", number),))
        return LadderId(bytes.fromhex((await self.office.create_ladder(body)).id))

    def wanted(self, by: Person, ladder: LadderId, others: Sequence[Person]) -> o.ConsultPost:
        """A request with its channel, whose members are the requester and these others."""
        agency, device = self.agency, by.device
        consult = ConsultId(os.urandom(16))
        directories = {agency.directory.agency_id: agency.directory}
        committer = Committer(device.keys, directories, agency.book, os.urandom)
        devices = [device.id, *(other.device.id for other in others)]
        seats = seats_of(directories, agency.directory.agency_id, devices)
        policy = Policy((agency.directory.agency_id,))
        made = committer.create(Genesis(seats, policy, incident_id=IncidentId(consult)), now_ms=now_ms())
        first = _first(device, made, consult)
        channel = r.ChannelPost(ChannelPurpose.CONSULT, consult, commit_post(made), first)
        return o.ConsultPost(consult, b"", b"", int(Urgency.URGENT), "", False, "", ladder, channel)


def _first(device: Device, made: MadeCommit, consult: ConsultId) -> r.FirstMessage:
    commit = made.commit
    box, entry = made.box_for(device.id), commit.entry(device.id)
    assert box is not None
    assert entry is not None
    secret = open_box(commit, box, device.keys.held(entry.kid), class_mask=entry.class_mask, whole=True)
    sender = FrameSender(
        device.keys.identity,
        device.id,
        commit,
        secret.classes,
        key_class=DURABLE,
        sid=os.urandom(SID_BYTES),
    )
    message = MessageId(os.urandom(16))
    body = encode_content(
        ConsultAsked(consult, Urgency.URGENT, "said to be on the bridge"), now_ms(), message
    )
    return r.FirstMessage(message, sender.seal(decode_body(body)), int(Urgency.URGENT))


@asynccontextmanager
async def open_staff(site: Installation, doors: Doors, crew: Crew) -> AsyncGenerator[Staff]:
    """Found an agency with these people. Their sessions go on working inside the block, on whichever node is up."""
    async with AsyncExitStack() as stack:
        turns = itertools.count()

        def transport() -> EitherNode:
            return EitherNode(site.nodes, next(turns))

        open_api = await stack.enter_async_context(
            Api(site.first.url, transport=transport(), deadline_s=DEADLINE_S)
        )
        agency = await found_agency(open_api, site.first)
        office = await stack.enter_async_context(agency.office)
        roles = [
            *[Role.RESPONDER] * crew.responders,
            *[Role.PSYCHIATRIST] * crew.psychiatrists,
            Role.SUPERVISOR,
        ]
        members: list[tuple[r.Member, Role]] = []
        for index, role in enumerate(roles):
            number = f"+1555{index:07}" if role is not Role.RESPONDER else ""
            members.append((await office.create_member(r.NewMember((role,), phone=number)), role))
        people: list[Person] = []
        for index, (device, (member, role)) in enumerate(
            zip(await agency.enrol(members), members, strict=True)
        ):
            api = await stack.enter_async_context(
                Api(site.first.url, device.session, transport=transport(), deadline_s=DEADLINE_S)
            )
            pushed = role is Role.SUPERVISOR or (
                role is Role.PSYCHIATRIST and (index - crew.responders) % 2 == 0
            )
            if pushed:
                endpoint, browser = doors.subscribe(device.id.hex())
                await api.put_push(r.PushSubscription(endpoint, browser.public, browser.auth))
            people.append(Person(device, api, member.phone, pushed))
        yield Staff(
            agency,
            office,
            tuple(people[: crew.responders]),
            tuple(people[crew.responders : -1]),
            people[-1],
        )
