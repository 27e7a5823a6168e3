"""What the commands with a live link share: the client, the channels by name, and the names that it brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from leeside.cli.exits import CommandError, Exit, ending_of
from leeside.cli.invocation import Invocation, SignedIn
from leeside.cli.names import SHOWN_S, SOUGHT_S, Names, channel_name, names_late
from leeside.cli.registry import Choice, choose
from leeside.cli.screen import short
from leeside.client import Leeside, Sent
from leeside.connection import LinkState
from leeside.errors import LeesideError, Offline
from leeside.events import Progress
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, DeviceId, MemberId, UnitId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.words import ChannelPurpose

ONLINE_S: Final = 15.0
"""How long a command that needs a link waits for it before it says that there is none."""
QUIET_S: Final = 1.0
"""How long a command waits for a link before it says so."""
LINK_S: Final = 4.0
"""How long a command that can do without waits for a link before it goes on."""


Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Live:
    """A client with what the command line adds to it."""

    client: Leeside
    desk: SignedIn

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

    async def channel(self, text: str) -> r.ChannelInfo:
        """The channel that a person means, among those last heard of: this works without a link."""

        def look() -> r.ChannelInfo:
            infos = self.client.channels()
            names = self.names()
            choices = [
                Choice(
                    bytes.fromhex(i.id),
                    channel_name(i, names),
                    "archived" if i.archived else "",
                    past=i.archived,
                )
                for i in infos
            ]
            chosen = choose("channel", text, choices).id.hex()
            return next(i for i in infos if i.id == chosen)

        info = await self._found(text, look)
        if info.archived:
            raise CommandError(
                f"Channel {short(info.id)} is out of service: its incident has ended, or it was archived. Nothing is sent "
                "or shown there any more.",
                Exit.NOT_FOUND,
                "archived",
            )
        return info

    async def unit_channel(self, unit: str) -> tuple[UnitId, ChannelId]:
        """A unit that a person means, and its channel."""

        def look() -> tuple[UnitId, ChannelId]:
            infos = [
                i
                for i in self.client.channels()
                if i.purpose is ChannelPurpose.UNIT and not i.archived and i.subject
            ]
            names = self.names()
            chosen = choose(
                "unit with a channel that this device is in",
                unit,
                names.choices(str(i.subject) for i in infos),
            )
            info = next(i for i in infos if i.subject == chosen.id.hex())
            return UnitId(chosen.id), ChannelId(bytes.fromhex(info.id))

        return await self._found(unit, look)

    async def _found(self, text: str, look: Callable[[], Found]) -> Found:
        """What `look` finds. While names are still to come nobody may say that there is none of this name."""
        try:
            return look()
        except CommandError as error:
            agency = self.agency()
            online = self.client.link.state is LinkState.ONLINE
            if error.exit_code is not Exit.NOT_FOUND or agency is None or not online:
                raise
        if not await settle(self.client, agency, SOUGHT_S):
            raise names_late(text)
        return look()

    def who(self, device: DeviceId, member: MemberId | None) -> str:
        """A person's shown name, or the first digits of what is known."""
        owner = member or self.client.member_of(device)
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
async def live(run: Invocation, *, wait_s: float = LINK_S) -> AsyncGenerator[Live]:
    """The client of this profile, once it is online or `wait_s` are over: everything kept can be read without a link.

    Raises what the server says (`ApiError`) where nothing is kept yet and there is no link.
    """
    async with run.signed_in() as desk, client_of(run, desk) as found:
        if not await _online(run, found, wait_s) and not found.client.channels():
            # A device without a local copy can show nothing, so the server is asked why there is no link: that this device
            # waits for approval, say. A server that answers gets more time.
            await desk.api.agency()
            with suppress(TimeoutError):
                await found.client.online(ONLINE_S)
        await _settle_names(found, SHOWN_S)
        yield found


async def _online(run: Invocation, found: Live, wait_s: float) -> bool:
    """Whether there is a link within the time; nobody waits without a word."""
    try:
        await found.client.online(min(QUIET_S, wait_s))
    except TimeoutError:
        run.screen.note("Connecting to the server …")
    else:
        return True
    try:
        await found.client.online(max(0.0, wait_s - QUIET_S))
    except TimeoutError:
        return False
    return True


async def _settle_names(found: Live, wait_s: float) -> bool:
    """Give the agency's channel time to bring names, without which ids are shown; whether all are here."""
    if found.client.link.state is not LinkState.ONLINE:
        return False
    agency = found.agency()
    if agency is None:
        return True
    whole = await settle(found.client, agency, wait_s)
    found.names()
    return whole


async def learn_names(run: Invocation, desk: SignedIn, wait_s: float) -> bool:
    """Fetch the names of the agency's channel, for a command that has none for what it shows or is asked for; whether all are here.
    Once there is a link they have `wait_s`."""
    async with client_of(run, desk) as found:
        with suppress(TimeoutError):
            await found.client.online(ONLINE_S)
        return await _settle_names(found, wait_s)


async def settle(client: Leeside, channel: ChannelId, timeout_s: float) -> bool:
    """Wait until everything of a channel is here, for a command that shows it; whether it is."""
    feed = client.follow(channel)
    try:
        async with asyncio.timeout(timeout_s):
            while not client.caught_up(channel):
                await feed.next()
    except TimeoutError:
        return False
    finally:
        feed.close()
    return True


async def need_link(run: Invocation, found: Live) -> None:
    """Wait for a link; `Offline` when there is none."""
    if not await _online(run, found, ONLINE_S):
        raise CommandError(
            "There is no link to the server, and this needs one. Try again.", Exit.TRY_AGAIN, "offline"
        )


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
        await need_link(run, found)
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


async def name_added(
    run: Invocation, desk: SignedIn, kind: Literal["member", "unit"], owner: str, name: str
) -> None:
    """Name what was just added. Where that fails it stands without a name, and must not be added a second time."""
    try:
        await set_name(run, desk, kind, bytes.fromhex(owner), name)
    except (LeesideError, SealingError) as error:
        ending = ending_of(error)
        assert ending is not None
        later = {"member": "leeside member name {} NAME", "unit": "leeside unit change {} --name NAME"}[kind]
        raise CommandError(
            f"The {kind} {short(owner)} was added, and is without a name. {ending.sentence} Do not add it again; then: "
            f"{later.format(short(owner))}",
            ending.exit_code,
            ending.code,
        ) from None


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
        await need_link(run, found)
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
