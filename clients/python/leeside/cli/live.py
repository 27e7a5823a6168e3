"""What the commands with a live link share: the client, the channels by name, and the names that it brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from leeside.api import ApiError
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn
from leeside.cli.names import Names, channel_name
from leeside.cli.registry import Choice, choose, fetch_directory, read_entries
from leeside.client import Leeside, Sent
from leeside.connection import LinkState
from leeside.errors import Offline
from leeside.events import Progress
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, DeviceId, MemberId, UnitId
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.words import ChannelPurpose

ONLINE_S: Final = 15.0
"""How long a command waits for a link before it says that there is none."""
NAMES_S: Final = 3.0
CATCH_UP_STEP_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Live:
    """A client with what the command line adds to it."""

    client: Leeside
    desk: SignedIn
    owners: dict[DeviceId, MemberId] = field(default_factory=dict[DeviceId, MemberId])
    """Whose devices they are, by the verified directory as this command found it."""

    def names(self) -> Names:
        """Shown names, the newest that came with the agency's channel included; they are kept for other commands."""
        names = Names.of(self.desk.keystore)
        agency = self.agency()
        if agency is not None:
            names.keep(self.desk.keystore, self.client.board(agency).names)
        return names

    def agency(self) -> ChannelId | None:
        """The agency's channel, where names are, if this device is in one."""
        for info in self.client.channels():
            if info.purpose is ChannelPurpose.AGENCY and not info.archived:
                return ChannelId(bytes.fromhex(info.id))
        return None

    def channel(self, text: str) -> r.ChannelInfo:
        """The channel that a person means, among those last heard of: this works without a link."""
        infos = self.client.channels()
        names = self.names()
        choices = [Choice(bytes.fromhex(i.id), channel_name(i, names)) for i in infos if not i.archived]
        chosen = choose("channel", text, choices).id.hex()
        return next(i for i in infos if i.id == chosen)

    def unit_channel(self, unit: str) -> tuple[UnitId, ChannelId]:
        """A unit that a person means, and its channel."""
        infos = [
            i
            for i in self.client.channels()
            if i.purpose is ChannelPurpose.UNIT and not i.archived and i.subject
        ]
        names = self.names()
        chosen = choose(
            "unit with a channel that this device is in", unit, names.choices(str(i.subject) for i in infos)
        )
        info = next(i for i in infos if i.subject == chosen.id.hex())
        return UnitId(chosen.id), ChannelId(bytes.fromhex(info.id))

    def who(self, device: DeviceId, member: MemberId | None) -> str:
        """A person's shown name, or the first digits of what is known."""
        owner = member or self.owners.get(device)
        return Names.of(self.desk.keystore).show(device if owner is None else owner)


@asynccontextmanager
async def client_of(run: Invocation, desk: SignedIn) -> AsyncGenerator[Live]:
    """A client over a session that stands already."""
    async with Leeside.assemble(
        desk.api,
        desk.session,
        run.dial(desk.settings),
        desk.keys,
        desk.identity,
        desk.keystore,
        run.profile.local,
    ) as client:
        yield Live(client, desk)


@asynccontextmanager
async def live(run: Invocation, *, wait_s: float = ONLINE_S) -> AsyncGenerator[Live]:
    """The client of this profile, once it is online or `wait_s` are over: everything kept can be read without a link."""
    async with run.signed_in() as desk, client_of(run, desk) as found:
        with suppress(TimeoutError):
            await found.client.online(wait_s)
        if not found.client.channels():
            # A device without a local copy can show nothing yet: it waits longer.
            with suppress(TimeoutError):
                await found.client.online(ONLINE_S)
        await _settle_names(found)
        directory = await _directory(run, found)
        found.owners.update({c.device_id: c.member_id for c in directory.devices()})
        yield found


async def _directory(run: Invocation, found: Live) -> Directory:
    """The newest directory; without a link the one that was verified last."""
    root_pub, kept = found.desk.identity.root_pub, run.profile.directory_log
    if found.client.link.state is LinkState.ONLINE:
        with suppress(ApiError):
            return await fetch_directory(found.desk.api, root_pub, kept)
    return Directory.replay(root_pub, read_entries(kept))


async def _settle_names(found: Live) -> None:
    """Give the agency's channel a moment to bring names; without them ids are shown."""
    agency = found.agency()
    if agency is not None and found.client.link.state is LinkState.ONLINE:
        await settle(found.client, agency, NAMES_S)
        found.names()


async def learn_names(run: Invocation, desk: SignedIn) -> None:
    """Fetch the names of the agency's channel, for a command that was given one it does not know."""
    async with client_of(run, desk) as found:
        with suppress(TimeoutError):
            await found.client.online(ONLINE_S)
        await _settle_names(found)


async def settle(client: Leeside, channel: ChannelId, timeout_s: float) -> bool:
    """Wait until everything of a channel is here, so that what is sent now is sealed at once; whether it is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            # The client tells followers, not strangers: this looks from outside, for a moment.
            while not (client.readers(channel) and client.caught_up(channel)):  # noqa: ASYNC110
                await asyncio.sleep(CATCH_UP_STEP_S)
            return True
    return False


async def need_link(client: Leeside) -> None:
    """Wait for a link; `Offline` when there is none."""
    try:
        await client.online(ONLINE_S)
    except TimeoutError:
        raise CommandError(
            "There is no link to the server, and this needs one. Try again.", Exit.TRY_AGAIN, "offline"
        ) from None


async def accepted(sent: Sent, timeout_s: float) -> bool:
    """Whether the server has it durably within the time; it stays in the outbox otherwise."""
    try:
        await sent.wait(Progress.ACCEPTED, timeout_s=timeout_s)
    except (TimeoutError, Offline):
        return False
    return True


async def set_name(
    run: Invocation, desk: SignedIn, kind: Literal["member", "unit"], owner: bytes, name: str
) -> None:
    """Seal a shown name into the agency's channel."""
    async with client_of(run, desk) as found:
        await need_link(found.client)
        agency = found.agency()
        if agency is None:
            raise CommandError(
                "There is no agency channel yet that this device is in, so names have no place: leeside channel open agency",
                Exit.NOT_FOUND,
                "no_agency_channel",
            )
        await settle(found.client, agency, ONLINE_S)
        if kind == "member":
            sent = await found.client.name_member(agency, MemberId(owner), name)
        else:
            sent = await found.client.name_unit(agency, UnitId(owner), name)
        stands = await accepted(sent, ONLINE_S)
        Names.of(desk.keystore).keep(desk.keystore, {owner: name})
        if not stands:
            run.screen.warn("The name waits in the outbox; the next live command sends it.")


async def change_members(
    run: Invocation,
    desk: SignedIn,
    channel: ChannelId,
    what: str,
    devices: frozenset[DeviceId],
    *,
    context: bool = False,
) -> int:
    """Admit, remove, grant, or make new keys; the channel's epoch afterwards. `context`: whom is admitted is also
    given what this device can read of earlier."""
    async with client_of(run, desk) as found:
        client = found.client
        await need_link(client)
        await settle(client, channel, ONLINE_S)
        if what == "admit":
            await client.openings.admit(channel, devices)
        elif what == "remove":
            await client.openings.remove(channel, devices)
        elif what == "rekey":
            await client.openings.rekey(channel)
        if what == "grant" or context:
            for device in sorted(devices.intersection(client.readers(channel)) - {client.device}):
                await client.openings.grant(channel, device)
        return (await desk.api.channel(channel)).epoch
