"""Requesting a consult, and answering one (spec 08). What a client does by itself is in `consulting`.

consult = await leeside.consults.request("He hears voices.", urgency=Urgency.URGENT, unit=unit)
...
await leeside.consults.accept(consult_id)       # on the psychiatrist's device, which was told by `Ring`
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from leeside.api import ApiError
from leeside.bodies import ConsultAsked, Text
from leeside.channels import Channel, commit_post
from leeside.consult_tending import DESK, may_read
from leeside.errors import Offline
from leeside.founding import ID_BYTES, Founding
from leeside.sent import Sent
from leeside.switchboard import Switchboard
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId, IncidentId, LadderId, MemberId, UnitId
from leeside_protocol.limits import CONFIRM_S, ROSTER_DEVICES, UNSENT_S
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.committer import MadeCommit
from leeside_protocol.sealing.public.commit import Authorisation, AuthRecord
from leeside_protocol.sealing.public.encoding import sha256
from leeside_protocol.words import (
    ChannelPurpose,
    Compartment,
    ConsultActionKind,
    Lane,
    Role,
    Urgency,
)

AGAIN_S: Final = 1.0
REMADE: Final = 4
"""How often a request is sealed anew because the directory moved on while it was under way."""
_MOVED_ON: Final = frozenset(
    {SealingCode.E_DIR_BEHIND, SealingCode.E_REVOKED, SealingCode.E_DEVKEY, SealingCode.E_EXPIRED}
)
_PHONES: Final = "phones"
Unconfirmed = Callable[[tuple[o.Phone, ...]], None]
"""Told once when the server did not confirm within `CONFIRM_S`: show the phone tree. Trying goes on."""


class Consults:
    """Consults as a person asks for and answers them. Raises `ApiError` where nothing else is said."""

    def __init__(self, board: Switchboard) -> None:
        self._inside = board
        self._founding = Founding(board)

    @property
    def known(self) -> Mapping[ConsultId, o.Consult]:
        """Those that concern this person and go on, as last heard."""
        return self._inside.consulting.known

    # ---- requesting

    async def request(
        self,
        summary: str = "",
        *,
        urgency: Urgency = Urgency.IMPORTANT,
        language: str = "",
        interpreter: bool = False,
        specialty: str = "",
        incident: IncidentId | None = None,
        unit: UnitId | None = None,
        ladder: LadderId | None = None,
        grant_to: tuple[Role, ...] = (Role.PSYCHIATRIST,),
        unconfirmed: Unconfirmed | None = None,
        trying_s: float = UNSENT_S,
    ) -> o.Consult:
        """Ask for a consult. `summary` is sealed to everybody who could come; `grant_to` are the roles to which members give
        the incident's earlier context by themselves.

        Tried again for `trying_s` while the server does not answer, always as the same consult; then raises the last
        `ApiError`, and a person decides whether to ask again. Raises `NotPermitted`, `BodyError`, and `ApiError` at once
        when the request is refused.
        """
        asked = ConsultAsked(ConsultId(secrets.token_bytes(ID_BYTES)), urgency, summary, grant_to)
        wanted = _Wanted(asked, language, interpreter, specialty, incident, unit, ladder)
        warning = asyncio.ensure_future(self._warn(unconfirmed))
        try:
            made = await self._until_posted(wanted, trying_s)
        finally:
            warning.cancel()
        self._founding.join(made, commit_post(made))
        return self._inside.consulting.took(await self._inside.api.consult(asked.consult))

    async def _warn(self, unconfirmed: Unconfirmed | None) -> None:
        await asyncio.sleep(CONFIRM_S)
        if unconfirmed is not None:
            unconfirmed(self.phones())

    def phones(self) -> tuple[o.Phone, ...]:
        """The phone tree as it was last heard, for a screen that has no link."""
        note = self._inside.history.note(_PHONES)
        return () if note is None else msgspec.msgpack.decode(note, type=tuple[o.Phone, ...])

    async def _until_posted(self, wanted: _Wanted, trying_s: float) -> MadeCommit:
        until_s = self._inside.clock.monotonic_s() + trying_s
        made: tuple[MadeCommit, o.ConsultPost] | None = None
        remade = 0
        while True:
            try:
                if made is None:
                    made = await self._make(wanted)
                await self._inside.api.create_consult(made[1])
            except ApiError as error:
                if error.sealing_code in _MOVED_ON and remade < REMADE:
                    # Provably not stored: the same request, sealed for who is certified now.
                    made, remade = None, remade + 1
                    continue
                if not error.code.may_retry or self._inside.clock.monotonic_s() >= until_s:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return made[0]

    async def _make(self, wanted: _Wanted) -> tuple[MadeCommit, o.ConsultPost]:
        asked = wanted.asked
        subject = IncidentId(wanted.incident or asked.consult)
        devices = await self._devices(wanted)
        made = await self._founding.genesis(devices, Compartment.OPERATIONS, subject)
        # The envelope is routine: whom to wake is for the ladder to say.
        first = self._founding.first(made, asked, Urgency.ROUTINE)
        channel = r.ChannelPost(ChannelPurpose.CONSULT, subject, commit_post(made), first)
        return made, o.ConsultPost(
            asked.consult,
            wanted.incident or b"",
            wanted.unit or b"",
            asked.urgency,
            wanted.language,
            wanted.interpreter,
            wanted.specialty,
            wanted.ladder or b"",
            channel,
        )

    async def _devices(self, wanted: _Wanted) -> list[DeviceId]:
        """Who reads from the first moment: one's own devices and the unit's, everybody whom the ladder could page, the desk.

        Whom the ladder names says the server; that they are of this agency says the directory.
        """
        inside = self._inside
        await inside.directories.sync()
        roster = await inside.api.ladder_roster(
            o.NO_LADDER if wanted.ladder is None else wanted.ladder, wanted.language
        )
        inside.history.keep_note(_PHONES, msgspec.msgpack.encode(roster.phones))
        team = {inside.directories.member}
        if wanted.unit is not None:
            unit = await inside.api.unit(wanted.unit)
            team.update(MemberId(bytes.fromhex(member)) for member in unit.members)
        named = {DeviceId(bytes.fromhex(device)) for device in roster.devices}
        named = {DeviceId(bytes.fromhex(device)) for device in roster.devices}
        paged = {MemberId(bytes.fromhex(member)) for member in roster.members}
        directory, now_ms = inside.directories.own, inside.home.now_ms()
        groups: tuple[list[DeviceId], ...] = ([], [], [])
        for certificate in directory.devices():
            device, member = certificate.device_id, certificate.member_id
            if not may_read(certificate, now_ms):
                continue
            if member in team:
                groups[0].append(device)
            elif device in named and member in paged:
                groups[1].append(device)
            elif certificate.role in DESK:
                groups[2].append(device)
        order = {DeviceId(bytes.fromhex(device)): at for at, device in enumerate(roster.devices)}
        groups[1].sort(key=lambda device: order[device])
        # A roster that cannot hold all leaves out whom the ladder would ask last, and the desk before them.
        most = ROSTER_DEVICES - len(directory.records_keys())
        return [inside.device, *(d for group in groups for d in group if d != inside.device)][:most]

    # ---- answering

    async def accept(self, consult: ConsultId) -> o.Consult:
        """Come. The consult's channel is open already; the others who were asked leave it. `already_accepted`: someone else
        was first."""
        return await self._act(consult, ConsultActionKind.ACCEPT)

    def seen(self, consult: ConsultId) -> None:
        """A person saw that it rings; seen is not accepted."""
        known = self._inside.consulting.known.get(consult)
        if known is not None and known.me.page is not None:
            self._inside.consulting.seen(bytes.fromhex(known.me.page))

    async def decline(self, consult: ConsultId) -> o.Consult:
        """Do not come; the next in the ladder is asked once all of a step said so."""
        return await self._act(consult, ConsultActionKind.DECLINE)

    async def hold(self, consult: ConsultId) -> o.Consult:
        """ "5 minutes", once and never when it is urgent: the backup is asked meanwhile."""
        return await self._act(consult, ConsultActionKind.HOLD)

    async def escalate(self, consult: ConsultId) -> o.Consult:
        """The next step, now."""
        return await self._act(consult, ConsultActionKind.ESCALATE)

    async def cancel(self, consult: ConsultId) -> o.Consult:
        """It is not needed any more."""
        return await self._act(consult, ConsultActionKind.CANCEL)

    async def join(self, consult: ConsultId) -> o.Consult:
        """Whoever accepted is there, with this device."""
        return await self._act(consult, ConsultActionKind.JOIN)

    async def leave(self, consult: ConsultId) -> o.Consult:
        """Whoever accepted is gone for a moment; searched for again after a minute."""
        return await self._act(consult, ConsultActionKind.LEAVE)

    async def end(self, consult: ConsultId) -> o.Consult:
        """The consult is over; its channel takes no more messages."""
        return await self._act(consult, ConsultActionKind.END)

    async def take(self, consult: ConsultId) -> o.Consult:
        """A supervisor takes the alarm."""
        return await self._act(consult, ConsultActionKind.TAKE)

    async def release(self, consult: ConsultId) -> o.Consult:
        """A supervisor lets a held request be paged."""
        return await self._act(consult, ConsultActionKind.RELEASE)

    async def open_side(self, consult: ConsultId, kind: Authorisation, ground: str) -> ChannelId:
        """The clinicians' own channel of a consult, for those of its channel who may hold clinical content.

        `ground` is the record of why (spec 04, `auth`); it is written into the consult's channel first, and the side channel
        signs its frame. Gives the one that stands when there is one.
        """
        found = await self._inside.api.consult(consult)
        if found.side is not None:
            return ChannelId(bytes.fromhex(found.side))
        channel = self._inside.channel(ChannelId(bytes.fromhex(found.channel)))
        auth = (AuthRecord(kind, await self._written(channel, ground)),)
        # Not who is in the consult's channel: those of the ladder who were not needed may not have left it yet.
        members = await self._taking_part(found)
        clinical = [
            device
            for device in channel.roster
            if self._inside.directories.member_of(device) in members
            and self._may_hold(device, Compartment.CLINICAL)
        ]
        subject = IncidentId(bytes.fromhex(found.incident))
        made = await self._founding.genesis(clinical, Compartment.CLINICAL, subject, auth)
        post = r.ChannelPost(ChannelPurpose.CONSULT, subject, commit_post(made))
        await self._inside.api.create_channel(post)
        side = self._founding.join(made, post.genesis).id
        named = o.ConsultAction(ConsultActionKind.SIDE, side.hex())
        self._inside.consulting.took(await self._inside.api.consult_action(consult, named))
        return side

    async def _taking_part(self, consult: o.Consult) -> set[MemberId]:
        """Who asked, their unit, and who comes."""
        named = {consult.member} | ({consult.accepted_by} if consult.accepted_by is not None else set[str]())
        if consult.unit is not None:
            named.update((await self._inside.api.unit(consult.unit)).members)
        return {MemberId(bytes.fromhex(member)) for member in named}

    def _may_hold(self, device: DeviceId, compartment: Compartment) -> bool:
        certificate = self._inside.directories.certificate(device)
        return certificate is not None and bool(certificate.compartments >> compartment & 1)

    async def _written(self, channel: Channel, text: str) -> bytes:
        """The hash of the frame under which a record stands in a channel, once the server has it."""
        content = Text(Urgency.IMPORTANT, text)
        message = self._inside.compose(channel.id, content, lane=Lane.LOG, urgency=Urgency.IMPORTANT)
        await Sent(channel.id, message, self._inside).wait(timeout_s=CONFIRM_S)
        waiting = self._inside.outbox.get(message)
        if waiting is None or waiting.frame is None:
            raise Offline("the record was not kept")
        return sha256(waiting.frame)

    def in_order(self, consult: o.Consult) -> bool:
        """Whether this device, which accepted, has taken everybody out of the channel who is not needed, and so signed that
        it came. Done by itself; for a program that ends soon."""
        return self._inside.consulting.tending.in_order(consult)

    async def _act(self, consult: ConsultId, kind: ConsultActionKind) -> o.Consult:
        answer = await self._inside.api.consult_action(consult, o.ConsultAction(kind))
        return self._inside.consulting.took(answer, kind)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request as a person made it."""

    asked: ConsultAsked
    language: str
    interpreter: bool
    specialty: str
    incident: IncidentId | None
    unit: UnitId | None
    ladder: LadderId | None
