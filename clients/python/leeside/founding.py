"""Making channels: the genesis, the first message sealed in it, and joining what stands."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

from leeside.bodies import Content, encode_content
from leeside.channels import Channel
from leeside.errors import NotPermitted
from leeside.outbox import Draft
from leeside.switchboard import Switchboard
from leeside_protocol import resources as r
from leeside_protocol.ids import DeviceId, IncidentId, MessageId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.committer import Committer, Genesis, MadeCommit, Seat
from leeside_protocol.sealing.public.commit import AuthRecord, Policy
from leeside_protocol.words import Compartment, Lane, Urgency

ID_BYTES: Final = 16


class Founding:
    """What whoever opens a channel does before and after the server has it."""

    def __init__(self, board: Switchboard) -> None:
        self._inside = board

    async def genesis(
        self,
        devices: Iterable[DeviceId],
        compartment: Compartment,
        incident: IncidentId,
        auth: tuple[AuthRecord, ...] = (),
    ) -> MadeCommit:
        """The genesis of a channel of these devices and this one, made with the newest directory and keys.

        Raises `NotPermitted`, `ApiError`.
        """
        home = self._inside.home
        await home.directories.sync()
        await home.directories.learn_keys()
        agency = home.directories.agency
        now_ms = home.now_ms()
        directory = home.directories.own
        records = tuple(
            sorted(
                key.records_id
                for key in directory.records_keys()
                if key.compartments >> compartment & 1 and key.usable(directory.seq, now_ms)
            )
        )
        seats = tuple(Seat(device, agency) for device in sorted({*devices, self._inside.device}))
        genesis = Genesis(seats, Policy((agency,), records), compartment, incident, auth)
        try:
            return self._committer().create(genesis, now_ms=now_ms)
        except SealingError as error:
            raise NotPermitted(error.code) from None

    def _committer(self) -> Committer:
        home = self._inside.home
        return Committer(home.keys, home.directories.by_agency, home.directories.book, home.random)

    def first(self, made: MadeCommit, content: Content, urgency: Urgency) -> r.FirstMessage:
        """The first message, sealed in a channel that does not stand yet. `urgency` is the envelope's."""
        home = self._inside.home
        now_ms = home.now_ms()
        sealed = SealedChannel(made.commit.channel_id, home.keys.device_id)
        sealed.process_commit(
            made.commit.signed, self._delivery(made), home.keys, home.directories.by_agency, now_ms=now_ms
        )
        message = MessageId(secrets.token_bytes(ID_BYTES))
        body = encode_content(content, now_ms, message)
        channel = Channel(made.commit.channel_id, home)
        channel.sealed = sealed
        frame, _ = channel.seal(Draft(channel.content, message, Lane.LOG, b"", body, now_ms, urgency))
        return r.FirstMessage(message, frame, urgency)

    def _delivery(self, made: MadeCommit) -> Delivery:
        return Delivery(made.box_for(self._inside.device), made.box_list)

    def join(self, made: MadeCommit, post: r.CommitPost) -> Channel:
        """The channel stands: keep its genesis and follow it."""
        channel = made.commit.channel_id
        self._inside.history.keep_posted(channel, 0, msgspec.msgpack.encode(post))
        found = self._inside.opened(channel)
        self._inside.chore()
        return found
