"""The agency of the demo: founded, enrolled and named through the client library, on disk as any other.

<data>/
    demo.json        what was made, so that a second run goes on with it
    passphrase       opens every key file here: for the demo only
    server/          the server's data folder
    server.log
    profiles/        one profile a person, for `leeside --profile NAME …`
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from leeside import authority as a
from leeside.api import Api
from leeside.client import Leeside
from leeside.keystore import Cost, Keystore, Passphrase, replace_file
from leeside.profile import Profile, Settings, load_keys, profile, save_enrolment
from leeside.session import Session
from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, MemberId, UnitId
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.words import ChannelPurpose, Discipline, Role

LABEL: Final = "Demo: Harbour County"
PASSPHRASE: Final = "for the demo only"  # noqa: S105 - it is printed
CHEAP: Final = Cost(passes=1, memory_kib=8 * 1024, lanes=1)
"""A passphrase that everybody knows is not worth guessing slowly."""
ONLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Character:
    """Someone of the demo. `unit` is the number of their unit, or -1."""

    name: str
    shown: str
    role: Role
    discipline: Discipline | None = None
    unit: int = -1


CAST: Final = (
    Character("ana", "Ana Ruiz", Role.RESPONDER, Discipline.CLINICIAN, 0),
    Character("ben", "Ben Okafor", Role.RESPONDER, Discipline.LAW_ENFORCEMENT_OFFICER, 0),
    Character("eva", "Eva Lindt", Role.RESPONDER, Discipline.PEER_SPECIALIST, 1),
    Character("tom", "Tom Haddad", Role.RESPONDER, Discipline.EMT, 1),
    Character("deniz", "Deniz Aydin", Role.DISPATCHER),
    Character("priya", "Dr Priya Nair", Role.PSYCHIATRIST),
    Character("sofia", "Sofia Marin", Role.SUPERVISOR),
)
ADMIN: Final = "admin"
UNITS: Final = ("Crisis 7", "Crisis 9")


class Made(msgspec.Struct, frozen=True):
    """`demo.json`: what a second run needs to know. Ids are hexadecimal."""

    port: int
    members: dict[str, str]
    units: tuple[str, ...]
    channels: tuple[str, ...]
    agency_channel: str


@dataclass(frozen=True, slots=True)
class Agency:
    """The demo's agency, ready to be played in."""

    root: Path
    url: str
    made: Made
    public: str = ""
    """Where browsers find the server; empty: where everybody does."""
    guests: dict[str, str] = field(default_factory=dict[str, str])
    """Shown names of those who came by a link, by member."""

    def unit(self, number: int) -> UnitId:
        return UnitId(bytes.fromhex(self.made.units[number]))

    def unit_channel(self, number: int) -> ChannelId:
        return ChannelId(bytes.fromhex(self.made.channels[number]))

    def shown(self, member: MemberId | None) -> str:
        """A member's shown name."""
        names = {identifier: name for name, identifier in self.made.members.items()}
        if member is not None and member.hex() in self.guests:
            return self.guests[member.hex()]
        name = names.get(member.hex(), "") if member is not None else ""
        return next((c.shown for c in CAST if c.name == name), name or "somebody")

    @asynccontextmanager
    async def office(self) -> AsyncGenerator[Api]:
        """The administrator's half of the server, in a session of its own: their client renews the one that the profile
        keeps."""
        with Keystore.open(profile(ADMIN, self.root).keystore_path, unlock()) as keystore:
            keys = load_keys(keystore)
        verify = trusted(self.url, self.root)
        async with Api(self.url, verify=verify) as outside:
            session = Session(outside, keys.device_id, keys.identity.sign_raw)
            async with Api(self.url, session, verify=verify) as office:
                yield office

    @asynccontextmanager
    async def people(self) -> AsyncGenerator[dict[str, Leeside]]:
        """A client for everyone but the administrator, online."""
        async with AsyncExitStack() as stack:
            clients: dict[str, Leeside] = {}
            for character in CAST:
                clients[character.name] = await stack.enter_async_context(
                    opened(profile(character.name, self.root))
                )
            yield clients


def kept(root: Path) -> Made | None:
    """What an earlier run made here; None when there was none."""
    try:
        return msgspec.json.decode((root / "demo.json").read_bytes(), type=Made)
    except FileNotFoundError:
        return None


def unlock() -> Passphrase:
    """Opens every key file of the demo."""
    return Passphrase(PASSPHRASE, CHEAP)


def passphrase_file(root: Path) -> Path:
    """The passphrase as `--passphrase-file` wants it: for its owner's eyes."""
    path = root / "passphrase"
    if not path.exists():
        path.touch(0o600)
        path.write_text(f"{PASSPHRASE}\n")
    return path


@asynccontextmanager
async def opened(found: Profile) -> AsyncGenerator[Leeside]:
    """The client of a profile, online."""
    with Keystore.open(found.keystore_path, unlock()) as keystore:
        async with Leeside.open(found, keystore) as client:
            await client.online(ONLINE_S)
            yield client


def now_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000


def trusted(url: str, root: Path) -> Path | None:
    """The authority of the demo's own, where the server is reached over TLS."""
    return root / "lan/authority.pem" if url.startswith("https:") else None


def settings(url: str, root: Path) -> Settings:
    """What every profile here says of its server."""
    return Settings(url, ca_file=str(trusted(url, root) or ""))


def moved(root: Path, url: str) -> None:
    """The server of an earlier run is now found there."""
    for name in (ADMIN, *(c.name for c in CAST)):
        profile(name, root).save(settings(url, root))


async def make(root: Path, url: str, port: int, code: str) -> Agency:
    """Found the agency with the operator's code, and fill it. Raises `ApiError`."""
    maker = await _Maker.found(root, url, code)
    async with maker.office() as office:
        members = {c.name: await maker.enrol(office, c) for c in CAST}
        await maker.certify(office)
        units: list[r.Unit] = []
        for number in range(len(UNITS)):
            crew = tuple(members[c.name].hex() for c in CAST if c.unit == number)
            units.append(await office.create_unit(r.NewUnit(crew, crew[0])))
    unit_ids = [UnitId(bytes.fromhex(unit.id)) for unit in units]
    devices = {c.name: maker.devices[c.name] for c in CAST}
    async with opened(profile(ADMIN, root)) as admin:
        agency_channel = await admin.openings.channel(ChannelPurpose.AGENCY, devices.values())
        for character in CAST:
            await admin.name_member(agency_channel, members[character.name], character.shown)
        named = [await admin.name_unit(agency_channel, u, n) for u, n in zip(unit_ids, UNITS, strict=True)]
        await named[-1].wait(timeout_s=ONLINE_S)
    channels: list[ChannelId] = []
    async with opened(profile("sofia", root)) as supervisor:
        for number, unit in enumerate(unit_ids):
            crew_devices = [devices[c.name] for c in CAST if c.unit == number]
            desk = [devices["deniz"], devices["sofia"]]
            channels.append(
                await supervisor.openings.channel(ChannelPurpose.UNIT, [*crew_devices, *desk], subject=unit)
            )
        await supervisor.openings.channel(ChannelPurpose.DESK, [devices["deniz"]])
    made = Made(
        port,
        {ADMIN: maker.admin.hex()} | {name: member.hex() for name, member in members.items()},
        tuple(unit.hex() for unit in unit_ids),
        tuple(channel.hex() for channel in channels),
        agency_channel.hex(),
    )
    # Last, and at once: a run that broke off before is not taken up again by half.
    replace_file(root / "demo.json", msgspec.json.encode(made))
    return Agency(root, url, made)


class _Maker:
    """Who holds the agency's keys while it is made."""

    def __init__(
        self, root: Path, url: str, founding: a.Founding, signer: AuthorityKey, admin: MemberId
    ) -> None:
        self.admin: Final = admin
        self.devices: Final[dict[str, DeviceId]] = {}
        self._root = root
        self._url = url
        self._directory = founding.directory
        self._signer = signer
        self._trusted = trusted(url, root)
        self._entries: list[bytes] = []

    @classmethod
    async def found(cls, root: Path, url: str, code: str) -> _Maker:
        """As `leeside agency create` does, key files and all."""
        at_ms = now_ms()
        home = profile(ADMIN, root)
        root_key = a.root_key(a.create_key(home.agency / "root.keys", unlock(), "root"))
        signer = a.authority_key(a.create_key(home.agency / "authority.keys", unlock(), "authority"))
        keys = DeviceKeys.create(secrets.token_bytes, at_ms)
        member = MemberId(secrets.token_bytes(16))
        added = a.device_added(keys.identity.public, member, Role.ADMIN, at_ms)
        founding = a.found(root_key, [signer], added, code, at_ms)
        maker = cls(root, url, founding, signer, member)
        maker._keep(ADMIN, keys, member)
        async with Api(url, verify=trusted(url, root)) as api:
            await api.create_agency(
                r.NewAgency(
                    code,
                    root_key.key.public,
                    founding.proof,
                    LABEL,
                    founding.entries,
                    member.hex(),
                    keys.newest.encode(),
                )
            )
        return maker

    def _keep(self, name: str, keys: DeviceKeys, member: MemberId) -> None:
        found = profile(name, self._root)
        found.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        agency = AgencyId(self._directory.agency_id)
        with Keystore.create(found.keystore_path, unlock()) as keystore:
            save_enrolment(keystore, keys, agency, member, self._directory.root_public)
        found.save(settings(self._url, self._root))

    @asynccontextmanager
    async def office(self) -> AsyncGenerator[Api]:
        """The server's HTTP half, signed in as the administrator."""
        with Keystore.open(profile(ADMIN, self._root).keystore_path, unlock()) as keystore:
            keys = load_keys(keystore)
            async with Api(self._url, verify=self._trusted) as outside:
                session = Session(outside, keys.device_id, keys.identity.sign_raw, keystore=keystore)
                async with Api(self._url, session, verify=self._trusted) as api:
                    yield api

    async def enrol(self, office: Api, character: Character) -> MemberId:
        """A person with one device, enrolled by code; certified by `certify`."""
        info = await office.create_member(r.NewMember((character.role,), character.discipline))
        code = (await office.create_enrolment(info.id, r.NewEnrolment())).code
        at_ms = now_ms()
        keys = DeviceKeys.create(secrets.token_bytes, at_ms)
        member = MemberId(bytes.fromhex(info.id))
        async with Api(self._url, verify=self._trusted) as api:
            await api.redeem(
                r.Redeem(code, keys.identity.public, keys.enrolment_proof(code), keys.newest.encode())
            )
        added = a.device_added(
            keys.identity.public, member, character.role, at_ms, discipline=character.discipline
        )
        self._entries.append(a.sign(self._directory, added, [self._signer], at_ms).encode())
        self.devices[character.name] = keys.device_id
        await asyncio.to_thread(self._keep, character.name, keys, member)
        return member

    async def certify(self, office: Api) -> None:
        """Publish what was signed for everyone enrolled."""
        await office.post_directory(r.DirectoryPost(tuple(self._entries)))
        self._entries.clear()
