"""An agency on a running server, with people who hold real keys and use the real client library.

    async with open_town(node.url, node.codes, folder) as town:
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        deniz = await town.enrol("deniz", Role.DISPATCHER)
        async with ana.open(node.url) as phone, deniz.open(other.url) as desk:
            channel = await town.unit_channel(desk, phone)

Nothing is faked: people are enrolled by code over HTTP, certified by the agency's authority, and connect over sockets.
A person's folder outlives their client: `open` may be called again after a crash, and on another node.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leeside import authority as a
from leeside.api import Api
from leeside.client import Leeside
from leeside.events import Message
from leeside.keystore import Cost, Keystore, Passphrase
from leeside.link import Dialer, WebSocketDialer
from leeside.profile import Identity, Settings, profile, save_enrolment
from leeside.session import Session
from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, MemberId, UnitId
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import Operation
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from leeside_server.core.identity import bootstrap_hash
from tests.support.patience import PATIENCE_S

PASSPHRASE: Final = "a passphrase for tests"
CHEAP: Final = Cost(passes=1, memory_kib=64, lanes=1)
"""Guessing is not what these tests are about."""
WAIT_S: Final = PATIENCE_S
_LOOK_S: Final = 0.01
_SOON_S: Final = 0.05


def now_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000


async def until(happened: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> float:
    """Wait until a condition holds in another process's good time; the seconds that took. Raises `AssertionError`."""
    began_s = time.monotonic()
    while not happened():
        if time.monotonic() - began_s > timeout_s:
            raise AssertionError(f"did not happen within {timeout_s:g} s: {what}")
        await asyncio.sleep(_LOOK_S)
    return time.monotonic() - began_s


def soon(low: float, high: float) -> float:
    """Delays of a client for tests: within the library's bounds, at their lower end."""
    return max(low, min(high, _SOON_S))


class MemoryKeystore:
    """A keystore that outlives its client, as a file would."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self._values.get(name)

    def put(self, name: str, value: bytes) -> None:
        self._values[name] = value

    def delete(self, name: str) -> None:
        self._values.pop(name, None)


@dataclass(slots=True, repr=False)
class Person:
    """One device of a member. Two devices of one person are two of these with the same `member`."""

    name: str
    member: MemberId
    role: Role
    keys: DeviceKeys
    identity: Identity
    folder: Path
    keystore: MemoryKeystore = field(default_factory=MemoryKeystore)

    @property
    def device(self) -> DeviceId:
        return self.keys.device_id

    def session(self, api: Api) -> Session:
        """Signs this device in; kept in the keystore, as on a phone."""
        return Session(api, self.device, self.keys.identity.sign_raw, keystore=self.keystore)

    @asynccontextmanager
    async def desk(self, url: str) -> AsyncGenerator[Api]:
        """The server's HTTP half, signed in."""
        async with Api(url) as outside, Api(url, self.session(outside)) as api:
            yield api

    @asynccontextmanager
    async def open(
        self, url: str, *, dialer: Dialer | None = None, online: bool = True
    ) -> AsyncGenerator[Leeside]:
        """This person's client on that node, online unless said otherwise."""
        async with Api(url) as outside:
            session = self.session(outside)
            async with (
                Api(url, session) as api,
                Leeside.assemble(
                    api,
                    session,
                    dialer or WebSocketDialer(url),
                    self.keys,
                    self.identity,
                    self.keystore,
                    self.folder,
                    uniform=soon,
                ) as client,
            ):
                if online:
                    await client.online(WAIT_S)
                yield client

    def save_profile(self, home: Path, url: str) -> str:
        """The same device as a profile on disk, for the command line; returns the profile's name."""
        found = profile(self.name, home)
        found.path.mkdir(mode=0o700, parents=True)
        with Keystore.create(found.keystore_path, Passphrase(PASSPHRASE, CHEAP)) as store:
            save_enrolment(
                store, self.keys, AgencyId(self.identity.agency), self.member, self.identity.root_pub
            )
        found.save(Settings(url))
        return self.name


@dataclass(slots=True, repr=False)
class Town:
    """An agency: its authority's keys, its signed directory, its administrator and everyone enrolled so far."""

    url: str
    folder: Path
    root: AuthorityKey
    authority: AuthorityKey
    directory: Directory
    admin: Person
    office: Api
    """The server, signed in as the administrator."""
    people: list[Person] = field(default_factory=list[Person])

    async def enrol(
        self,
        name: str,
        role: Role,
        discipline: Discipline | None = None,
        *,
        member: MemberId | None = None,
        approved: bool = True,
    ) -> Person:
        """A new device, of a new member unless one is given: invited, enrolled by code, certified."""
        if member is None:
            added = await self.office.create_member(r.NewMember((role,), discipline))
            member = MemberId(bytes.fromhex(added.id))
        code = (await self.office.create_enrolment(member, r.NewEnrolment())).code
        keys = DeviceKeys.create(os.urandom, now_ms())
        redeem = r.Redeem(code, keys.identity.public, keys.enrolment_proof(code), keys.newest.encode())
        async with Api(self.url) as api:
            await api.redeem(redeem)
        identity = Identity(self.directory.agency_id, member, keys.device_id, self.directory.root_public)
        person = Person(name, member, role, keys, identity, self.folder / keys.device_id.hex())
        self.people.append(person)
        if approved:
            await self.approve(person, discipline)
        return person

    async def approve(self, person: Person, discipline: Discipline | None = None) -> None:
        """Certify a device: from now on it may connect."""
        public = person.keys.identity.public
        await self.sign(a.device_added(public, person.member, person.role, now_ms(), discipline=discipline))

    async def sign(self, operation: Operation) -> None:
        """Sign an entry of the directory and publish it."""
        entry = a.sign(self.directory, operation, [self.authority], now_ms())
        await self.office.post_directory(r.DirectoryPost((entry.encode(),)))

    async def refuse(self, person: Person) -> None:
        """The server refuses the device at once; nothing is signed yet."""
        await self.office.revoke_device(person.device)

    async def revoke(self, person: Person) -> None:
        """Refuse a device and sign its revocation: what a lost phone needs."""
        await self.refuse(person)
        await self.sign(a.device_removed(person.device, "lost", now_ms()))

    async def records_key(self) -> bytes:
        """A records key, published; its private half."""
        secret = os.urandom(32)
        await self.sign(a.records_added(secret, now_ms()))
        return secret

    async def unit(self, *members: Person) -> UnitId:
        """A unit of these people."""
        made = await self.office.create_unit(r.NewUnit(tuple({p.member.hex(): None for p in members})))
        return UnitId(bytes.fromhex(made.id))

    async def unit_channel(self, opener: Leeside, *others: Leeside, unit: UnitId | None = None) -> ChannelId:
        """A unit channel, opened by a dispatcher or supervisor; all of them follow it when this returns."""
        subject = unit or await self.unit()
        devices = [other.device for other in others]
        channel = await opener.openings.channel(ChannelPurpose.UNIT, devices, subject=subject)
        for client in (opener, *others):
            await settled(client, channel)
        return channel


def texts(client: Leeside, channel: ChannelId) -> list[str]:
    """What the messages in a device's history say, in order."""
    return [event.text for event in client.history(channel, limit=1_000) if isinstance(event, Message)]


async def settled(client: Leeside, channel: ChannelId) -> None:
    """Until a client knows a channel, holds its keys and has received all of it."""
    await until(lambda: any(info.id == channel.hex() for info in client.channels()), "the channel is known")
    await until(lambda: client.caught_up(channel) and bool(client.readers(channel)), "the channel is read")


@asynccontextmanager
async def open_town(
    url: str, codes: Path, folder: Path, label: str = "Harbour County"
) -> AsyncGenerator[Town]:
    """Found an agency with one authority. `codes` is the operator's file of one-time codes on that server."""
    root, authority = a.root_key(os.urandom(32)), a.authority_key(os.urandom(32))
    keys = DeviceKeys.create(os.urandom, now_ms())
    member = MemberId(os.urandom(16))
    code = secrets.token_hex(16).upper()
    with codes.open("a") as file:
        file.write(bootstrap_hash(code).hex() + "\n")
    added = a.device_added(keys.identity.public, member, Role.ADMIN, now_ms())
    founding = a.found(root, [authority], added, code, now_ms())
    body = r.NewAgency(
        code, root.key.public, founding.proof, label, founding.entries, member.hex(), keys.newest.encode()
    )
    async with Api(url) as api:
        await api.create_agency(body)
    directory = founding.directory
    identity = Identity(directory.agency_id, member, keys.device_id, directory.root_public)
    admin = Person("admin", member, Role.ADMIN, keys, identity, folder / keys.device_id.hex())
    async with admin.desk(url) as office:
        yield Town(url, folder, root, authority, directory, admin, office, [admin])


EVERY_ROLE: Final[tuple[tuple[str, Role, Discipline | None], ...]] = (
    ("ana", Role.RESPONDER, Discipline.CLINICIAN),
    ("ben", Role.RESPONDER, Discipline.LAW_ENFORCEMENT_OFFICER),
    ("deniz", Role.DISPATCHER, None),
    ("sofia", Role.SUPERVISOR, None),
    ("priya", Role.PSYCHIATRIST, None),
    ("ines", Role.INTERPRETER, None),
    ("mercy", Role.RECEIVING_FACILITY, None),
    ("rolf", Role.RECORDS_OFFICER, None),
)


async def enrol_everyone(
    town: Town, who: Iterable[tuple[str, Role, Discipline | None]] = EVERY_ROLE
) -> dict[str, Person]:
    """One person of every role besides the administrator, by name."""
    return {name: await town.enrol(name, role, discipline) for name, role, discipline in who}
