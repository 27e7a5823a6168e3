"""Those who open the demo in a browser: a link for each part, approved and let into its channels without anybody's help.

A link invites a person of its own, so that whoever opens the next one is a stranger to nobody's devices. The fragment
carries what no server may see; the administrator's also carries the authority's key, which everybody knows here. Approval
compares nothing: that is why a real agency's is a person's work, and why the page says that this is a demo.

    guests.json      in the demo's folder: who was invited, so that a second run knows them
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from leeside import authority as a
from leeside.api import Api, ApiError
from leeside.client import Leeside
from leeside.demo import oncall
from leeside.demo.agency import ADMIN, Agency, now_ms, opened, unlock
from leeside.errors import LeesideError
from leeside.keystore import Keystore, replace_file
from leeside.profile import load_identity, profile
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import SignedEntry
from leeside_protocol.words import ChannelPurpose, Discipline, Role

LOOK_S: Final = 0.5
RENEW_MS: Final = 60_000
"""How long before its end a link is replaced by another."""
TRIES: Final = 5
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Part:
    """What somebody who opens a link plays. `unit` is the number of their unit, or -1."""

    name: str
    shown: str
    role: Role
    discipline: Discipline | None = None
    unit: int = -1


PARTS: Final = (
    Part("responder", "Rosa Lind", Role.RESPONDER, Discipline.CLINICIAN, 0),
    Part("psychiatrist", "Dr Nora Feld", Role.PSYCHIATRIST),
    Part("dispatcher", "Dario Weiss", Role.DISPATCHER),
    Part("supervisor", "Selma Quist", Role.SUPERVISOR),
    Part("admin", "Alma Stone", Role.ADMIN),
)


class Guest(msgspec.Struct):
    """One person invited. Ids are hexadecimal; `device` is empty until the link was used."""

    part: str
    shown: str
    member: str
    device: str = ""


Tell = Callable[[str, dict[str, object]], None]
"""Shows a line to a person, or the same as an object to a program."""


@dataclass(slots=True)
class Guests:
    """The links, and who came by them."""

    agency: Agency
    people: dict[str, Leeside]
    tell: Tell
    _admin: Leeside
    _office: Api
    _signer: AuthorityKey
    _root_public: bytes
    _seed: bytes
    _rota: str = ""
    _guests: list[Guest] = field(default_factory=list[Guest])
    _links: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """Of each part the link that can be used now, and when it ends."""
    _owed: set[tuple[ChannelId, DeviceId]] = field(default_factory=set[tuple[ChannelId, DeviceId]])
    """Who was let in where, and was not given yet what was said there before."""

    @classmethod
    @asynccontextmanager
    async def invited(cls, agency: Agency, people: dict[str, Leeside], tell: Tell) -> AsyncGenerator[Guests]:
        """With a link for every part. Raises `ApiError`."""
        home = profile(ADMIN, agency.root)
        seed = a.load_key(home.agency / "authority.keys", unlock(), "authority")
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(opened(home))
            with Keystore.open(home.keystore_path, unlock()) as keystore:
                identity = load_identity(keystore)
            office = await stack.enter_async_context(agency.office())
            guests = cls(agency, people, tell, admin, office, a.authority_key(seed), identity.root_pub, seed)
            guests._restore()
            guests._rota = await oncall.stand(office, agency.made.members["priya"])
            for part in PARTS:
                await guests._invite(part)
            yield guests

    @property
    def links(self) -> dict[str, str]:
        """The link of each part that can be used now."""
        return {part: url for part, (url, _) in self._links.items()}

    async def attend(self) -> None:
        """Approve who came, let them in, renew what was used or ends; until cancelled."""
        while True:
            # A busy server: the next look does it.
            with contextlib.suppress(LeesideError):
                await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        waiting = (await self._office.devices(state="pending")).items
        invited = {guest.member: guest for guest in self._guests if not guest.device}
        for info in waiting:
            guest = invited.get(info.member)
            if guest is not None:
                await self._welcome(guest, info)
        for guest in self._guests:
            if guest.device:
                # A channel that just ended, or a device that was revoked, keeps nobody else waiting.
                with contextlib.suppress(LeesideError, SealingError):
                    await self._let_in(guest)
        for part in PARTS:
            if self._links[part.name][1] - now_ms() < RENEW_MS:
                await self._invite(part)
                self._tell_renewed(part, "ended")

    async def _welcome(self, guest: Guest, info: r.DeviceInfo) -> None:
        """Certify the device that came by this guest's link, and make the next link."""
        part = next(part for part in PARTS if part.name == guest.part)
        await self._certify(part, info)
        if part.unit >= 0:
            await self._join_unit(part.unit, guest.member)
        if part.role is Role.PSYCHIATRIST:
            await oncall.take_over(self._office, self._rota, guest.member, now_ms())
        guest.device = info.id
        self._keep()
        with contextlib.suppress(LeesideError, SealingError):
            await self._let_in(guest)
        self.tell(
            f"   {guest.shown} has come in by the {part.name}'s link.",
            {"guest": guest.part, "member": guest.member, "device": guest.device},
        )
        await self._invite(part)
        self._tell_renewed(part, "was used")

    def _tell_renewed(self, part: Part, why: str) -> None:
        url = self.links[part.name]
        self.tell(f"   The {part.name}'s link {why}. The next one: {url}", {"links": {part.name: url}})

    # ---- inviting

    async def _invite(self, part: Part) -> None:
        """A link for this part: for who was invited and has not come, else for another person."""
        guest = next((g for g in self._guests if g.part == part.name and not g.device), None)
        if guest is None:
            guest = await self._new(part)
        code = await self._office.create_enrolment(guest.member, r.NewEnrolment("browser"))
        authority = f"&authority={self._seed.hex()}" if part.role is Role.ADMIN else ""
        url = f"{self.agency.public or self.agency.url}/#enrol={code.code}&root={self._root_public.hex()}{authority}"
        self._links[part.name] = (url, code.expires_ms)

    async def _new(self, part: Part) -> Guest:
        number = sum(guest.part == part.name for guest in self._guests) + 1
        shown = part.shown if number == 1 else f"{part.shown} {number}"
        member = (await self._office.create_member(r.NewMember((part.role,), part.discipline))).id
        await self._admin.name_member(self._agency_channel, MemberId(bytes.fromhex(member)), shown)
        guest = Guest(part.name, shown, member)
        self._guests.append(guest)
        self._keep()
        return guest

    async def _join_unit(self, number: int, member: str) -> None:
        """Only now: a crew does not name people who may never come."""
        unit = await self._office.unit(self.agency.unit(number))
        if member not in unit.members:
            change = r.UnitChange(unit.revision, (*unit.members, member))
            await self._office.change_unit(self.agency.unit(number), change)

    def _restore(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._guests = msgspec.json.decode(_file(self.agency).read_bytes(), type=list[Guest])
        self._name()

    def _keep(self) -> None:
        replace_file(_file(self.agency), msgspec.json.encode(self._guests))
        self._name()

    def _name(self) -> None:
        self.agency.guests.update({guest.member: guest.shown for guest in self._guests})

    # ---- letting in

    async def _certify(self, part: Part, info: r.DeviceInfo) -> None:
        """Sign the device into the directory, again where another authority was faster."""
        seen = a.applicant(info.public_key, info.device_key)
        member = MemberId(bytes.fromhex(info.member))
        for attempt in range(TRIES):
            directory = await self._directory()
            added = a.device_added(seen.public, member, part.role, now_ms(), discipline=part.discipline)
            entry = a.sign(directory, added, [self._signer], now_ms())
            try:
                await self._office.post_directory(r.DirectoryPost((entry.encode(),)))
            except ApiError as error:
                if error.code is not WireError.CONFLICT or attempt == TRIES - 1:
                    raise
            else:
                return

    async def _directory(self) -> Directory:
        """The agency's directory as it is now, checked from its first entry."""
        directory = Directory(self._root_public)
        while page := await self._office.directory(directory.seq, _PAGE):
            for data in page:
                directory.apply(SignedEntry.decode(data))
        return directory

    async def _let_in(self, guest: Guest) -> None:
        """Into every channel of the part that the device is not in yet; and, but for incidents, what was said there."""
        device = DeviceId(bytes.fromhex(guest.device))
        for opener, channel, context in self._channels(guest):
            if not opener.caught_up(channel):
                continue
            if device not in opener.readers(channel):
                await opener.openings.admit(channel, (device,))
                if context:
                    self._owed.add((channel, device))
            if (channel, device) in self._owed:
                await opener.openings.grant(channel, device)
                self._owed.discard((channel, device))

    def _channels(self, guest: Guest) -> list[tuple[Leeside, ChannelId, bool]]:
        """The channels of a guest's part: who opens each to them, and whether they are given what was before."""
        found = [(self._admin, self._agency_channel, True)]
        sofia, deniz = self.people["sofia"], self.people["deniz"]
        if guest.part in {"admin", "psychiatrist"}:
            # A psychiatrist is let into a consult's incident when they accept it, by those who are in it.
            return found
        for client, purposes in (
            (sofia, {ChannelPurpose.UNIT, ChannelPurpose.DESK}),
            (deniz, {ChannelPurpose.INCIDENT}),
        ):
            for info in client.channels():
                channel = ChannelId(bytes.fromhex(info.id))
                own_unit = guest.part == "responder" and channel == self.agency.unit_channel(0)
                mine = (
                    guest.part in {"dispatcher", "supervisor"}
                    or own_unit
                    or info.purpose is ChannelPurpose.INCIDENT
                )
                if info.purpose in purposes and mine and not info.archived:
                    found.append((client, channel, info.purpose is not ChannelPurpose.INCIDENT))
        return found

    @property
    def _agency_channel(self) -> ChannelId:
        return ChannelId(bytes.fromhex(self.agency.made.agency_channel))


def _file(agency: Agency) -> Path:
    return agency.root / "guests.json"
