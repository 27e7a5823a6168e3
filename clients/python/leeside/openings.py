"""Opening channels and incidents, and changing who is in them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from leeside.api import ApiError
from leeside.bodies import REPEAT_S, Text
from leeside.channels import commit_post
from leeside.founding import Founding
from leeside.switchboard import Switchboard
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, DeviceId, IncidentId, UnitId
from leeside_protocol.sealing.public.commit import NO_INCIDENT, AuthRecord
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.words import ChannelPurpose, Compartment, IncidentState, Urgency

ID_BYTES: Final = 16


class Openings:
    """What changes the set of channels and their members. Every method needs the server: raises `ApiError`."""

    def __init__(self, board: Switchboard) -> None:
        self._inside = board
        self._founding = Founding(board)

    async def channel(
        self,
        purpose: ChannelPurpose,
        devices: Iterable[DeviceId],
        *,
        subject: bytes = b"",
        compartment: Compartment = Compartment.OPERATIONS,
        incident: IncidentId = NO_INCIDENT,
        auth: tuple[AuthRecord, ...] = (),
    ) -> ChannelId:
        """Open a channel for these devices and this one. `auth` is the ground for compartments 1 to 3.

        Where somebody has opened the only one there may be (the agency's, a unit's, an incident's), gives that one, with
        the members it has: `admit` whom you miss. Raises `NotPermitted` when the certificate of this or another device
        does not allow it, `ApiError` (`conflict`) when this device is not in the one that stands (spec 03, "Places").
        """
        made = await self._founding.genesis(devices, compartment, incident, auth)
        post = r.ChannelPost(purpose, subject, commit_post(made))
        try:
            await self._inside.api.create_channel(post)
        except ApiError as error:
            standing = None
            if error.code is WireError.CONFLICT:
                standing = await self._standing(purpose, subject, compartment)
            if standing is None:
                raise
            return standing
        return self._founding.join(made, post.genesis).id

    async def incident(
        self,
        devices: Iterable[DeviceId],
        *,
        priority: int = 3,
        units: Iterable[UnitId] = (),
        first: str = "",
        urgency: Urgency = Urgency.URGENT,
    ) -> tuple[IncidentId, ChannelId]:
        """Open an incident: its row, its operations channel and its first message in one transaction.

        The first message wakes the units assigned, so it is urgent unless said otherwise.
        """
        incident = IncidentId(secrets.token_bytes(ID_BYTES))
        made = await self._founding.genesis(devices, Compartment.OPERATIONS, incident)
        text = Text(urgency, first, REPEAT_S if urgency is Urgency.URGENT else 0) if first else None
        message = None if text is None else self._founding.first(made, text, urgency)
        post = r.ChannelPost(ChannelPurpose.INCIDENT, incident, commit_post(made), message)
        await self._inside.api.open_incident(r.IncidentPost(incident, priority, tuple(units), post))
        return incident, self._founding.join(made, post.genesis).id

    async def move_incident(self, incident: IncidentId, state: IncidentState) -> None:
        """Take an incident into its next state; closing it archives its channels."""
        found = await self._inside.api.incident(incident)
        await self._inside.api.change_incident(incident, r.IncidentChange(found.revision, None, state))

    async def admit(self, channel: ChannelId, devices: Iterable[DeviceId]) -> bool:
        """Let devices in; false when they were there. Earlier messages stay closed to them: see `grant`."""
        return await self._inside.channel(channel).admit(devices)

    async def remove(self, channel: ChannelId, devices: Iterable[DeviceId]) -> bool:
        """Take devices out; false when they were not there."""
        return await self._inside.channel(channel).remove(devices)

    async def leave(self, channel: ChannelId) -> bool:
        """Take this device out."""
        return await self.remove(channel, (self._inside.device,))

    async def rekey(self, channel: ChannelId) -> bool:
        """New keys for the same members, e.g. on suspicion; false when somebody else was faster."""
        return await self._inside.channel(channel).rekey()

    async def grant(self, channel: ChannelId, to: DeviceId, epochs: tuple[int, ...] = ()) -> None:
        """Give a member earlier context: the epochs named, or all that this device can read."""
        found = self._inside.channel(channel)
        await found.grant(to, epochs or found.sealed.epochs_held(DURABLE))

    def export(self, channel: ChannelId) -> bytes:
        """A channel's verified chain and secrets, as they are kept: for evidence, and secret as a whole."""
        return self._inside.channel(channel).sealed.export()

    async def _standing(
        self, purpose: ChannelPurpose, subject: bytes, compartment: Compartment
    ) -> ChannelId | None:
        """The channel that this device is in at a place that only one may hold."""
        await self._inside.refresh()
        wanted = (purpose, subject.hex() or None, compartment)
        for channel, info in self._inside.infos.items():
            if not info.archived and (info.purpose, info.subject, info.compartment) == wanted:
                return channel
        return None
