"""A city for the tests of HTTP: an operator, agencies with their keys, people with devices, and a real node."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace
from starlette.types import ASGIApp

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, BlobId, ChannelId, DeviceId, IncidentId, MemberId
from leeside_protocol.routes import BY_NAME
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.committer import (
    Change,
    Committer,
    Genesis,
    MadeCommit,
    Seat,
    channel_for,
)
from leeside_protocol.sealing.opening.keys import DeviceKeys, SigningKey
from leeside_protocol.sealing.public.commit import NO_INCIDENT, AuthRecord, Policy
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.entries import (
    ALL_CAPS,
    AuthorityAdded,
    DeviceAdded,
    Operation,
    SignedEntry,
)
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Role
from leeside_server.adapters.memory import (
    MemoryBus,
    MemoryExchange,
    MemoryGateway,
    MemoryLatest,
    MemoryPresence,
    MemoryPush,
)
from leeside_server.core.identity import bootstrap_hash
from leeside_server.ports import ChunkDiffers
from leeside_server.relay.app import build_app
from leeside_server.relay.http import HttpSettings, routes
from leeside_server.relay.node import Node
from leeside_server.relay.settings import RelaySettings
from tests.support.clock import FakeClock
from tests.support.sqlite import open_store

YEAR_MS = 365 * 86_400_000
SECRET = bytes(range(32))
PUSH_KEY = b"\x04" + bytes(64)
Json = dict[str, Any]


class MemoryBlobs:
    """Attachments in a dict."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[bytes, bytes, int], bytes] = {}

    async def put(self, agency: AgencyId, blob: BlobId, index: int, data: bytes) -> None:
        if self.chunks.setdefault((agency, blob, index), data) != data:
            raise ChunkDiffers

    async def get(self, agency: AgencyId, blob: BlobId, index: int) -> bytes | None:
        return self.chunks.get((agency, blob, index))

    async def have(self, agency: AgencyId, blob: BlobId) -> Sequence[int]:
        return sorted(i for a, b, i in self.chunks if (a, b) == (agency, blob))

    async def delete(self, agency: AgencyId, blob: BlobId) -> None:
        for key in [k for k in self.chunks if k[:2] == (agency, blob)]:
            del self.chunks[key]

    async def close(self) -> None: ...


class Refusal(Exception):
    """An answer that was a refusal."""

    def __init__(self, status: int, answer: r.ErrorAnswer) -> None:
        super().__init__(answer.code, answer.sealing_code, answer.detail)
        self.status = status
        self.answer = answer

    @property
    def code(self) -> WireError:
        return WireError(self.answer.number)


@dataclass
class Person:
    """A member's device and, once signed in, its session."""

    city: City
    keys: DeviceKeys
    member: str = ""
    tokens: r.SessionTokens | None = None

    @property
    def id(self) -> DeviceId:
        return self.keys.device_id

    async def sign_in(self) -> r.SessionTokens:
        device = self.id.hex()
        challenge = await self.city.ask("challenge", body=r.ChallengeRequest(device))
        signature = self.keys.identity.sign_raw(pae(PREFIX + b"session", challenge.nonce, self.id))
        body = r.SessionRequest(device, challenge.nonce, signature)
        self.tokens = await self.city.ask("sign_in", body=body)
        assert self.tokens is not None
        return self.tokens

    async def ask(self, name: str, body: Any = None, query: Json | None = None, **params: Any) -> Any:
        assert self.tokens is not None
        return await self.city.ask(name, body=body, query=query, token=self.tokens.token, **params)


@dataclass
class Agency:
    """An agency's keys, its directory as clients have it, and its people."""

    city: City
    root: AuthorityKey
    authority: AuthorityKey
    directory: Directory
    admin: Person
    book: DeviceKeyBook = field(default_factory=DeviceKeyBook)

    @property
    def id(self) -> AgencyId:
        return self.directory.agency_id

    def sign(self, operation: Operation, by: AuthorityKey | None = None) -> SignedEntry:
        """The next entry, not yet applied."""
        return (by or self.authority).sign_entry(self.directory, operation, self.city.clock.now_ms())

    async def post(self, operation: Operation, by: AuthorityKey | None = None) -> SignedEntry:
        entry = self.sign(operation, by)
        await self.admin.ask("post_directory", r.DirectoryPost((entry.encode(),)))
        self.directory.apply(entry)
        return entry

    def certificate(
        self, keys: DeviceKeys, member: str, role: Role, *, caps: int = ALL_CAPS, compartments: int = 0b11111
    ) -> DeviceAdded:
        now_ms = self.city.clock.now_ms()
        return DeviceAdded(
            keys.identity.public,
            MemberId(bytes.fromhex(member)),
            role.value,
            compartments,
            caps,
            now_ms - 1000,
            now_ms + YEAR_MS,
        )

    async def enrol(self, member: str) -> Person:
        """A device that waits for approval."""
        code = (await self.admin.ask("create_enrolment", r.NewEnrolment("phone"), id=member)).code
        person = Person(self.city, DeviceKeys.create(os.urandom, self.city.clock.now_ms()), member)
        await self.city.ask("redeem", body=redeem(person.keys, code))
        return person

    async def join(
        self, *roles: Role, caps: int = ALL_CAPS, compartments: int = 0b11111, sign_in: bool = True
    ) -> Person:
        """A new member with one certified device, signed in."""
        member = (await self.admin.ask("create_member", r.NewMember(roles))).id
        person = await self.enrol(member)
        await self.post(self.certificate(person.keys, member, roles[0], caps=caps, compartments=compartments))
        self.learn(person.keys)
        if sign_in:
            await person.sign_in()
        return person

    def learn(self, keys: DeviceKeys) -> None:
        """Know a device's newest DeviceKey, as its colleagues do."""
        certificate = self.directory.device(keys.device_id)
        assert certificate is not None
        self.book.add(keys.newest, certificate)

    def committer(self, person: Person) -> Committer:
        return Committer(person.keys, {self.id: self.directory}, self.book, os.urandom)

    def seats(self, *people: Person) -> tuple[Seat, ...]:
        return tuple(Seat(person.id, self.id) for person in people)

    def genesis(
        self,
        *people: Person,
        incident: bytes = NO_INCIDENT,
        compartment: int = 0,
        auth: tuple[AuthRecord, ...] = (),
        records: tuple[Any, ...] = (),
    ) -> MadeCommit:
        """A genesis by the first of these people."""
        plan = Genesis(
            self.seats(*people), Policy((self.id,), records), compartment, IncidentId(incident), auth
        )
        return self.committer(people[0]).create(plan, now_ms=self.city.clock.now_ms())

    def commit(self, by: Person, channel: SealedChannel, change: Change) -> MadeCommit:
        return self.committer(by).commit(channel, change, now_ms=self.city.clock.now_ms())

    async def open(
        self, purpose: ChannelPurpose, *people: Person, subject: bytes = b"", compartment: int = 0
    ) -> Room:
        """A channel of this purpose, opened by the first of these people."""
        incident = subject if purpose in {ChannelPurpose.INCIDENT, ChannelPurpose.CONSULT} else NO_INCIDENT
        made = self.genesis(*people, incident=incident, compartment=compartment)
        answer = await people[0].ask("create_channel", channel_post(purpose, made, subject))
        assert answer.commit_hash == made.commit.hash
        room = Room(self, people[0], channel_for(made, people[0].id))
        room.take(made)
        return room

    async def unit(self, *people: Person, lead: Person | None = None) -> bytes:
        body = r.NewUnit(tuple(p.member for p in people), None if lead is None else lead.member)
        return bytes.fromhex((await self.admin.ask("create_unit", body)).id)


@dataclass
class Room:
    """A channel as the one who opened it has it."""

    agency: Agency
    owner: Person
    sealed: SealedChannel

    @property
    def id(self) -> ChannelId:
        return self.sealed.channel_id

    def take(self, made: MadeCommit) -> None:
        """Install a commit of the owner's that stands."""
        self.sealed.process_commit(
            made.commit.signed,
            Delivery(made.box_for(self.owner.id), made.box_list),
            self.owner.keys,
            {self.agency.id: self.agency.directory},
            now_ms=self.agency.city.clock.now_ms(),
        )

    def make(self, change: Change, by: Person | None = None) -> MadeCommit:
        return self.agency.commit(by or self.owner, self.sealed, change)

    async def post(self, made: MadeCommit, by: Person | None = None) -> r.CommitAnswer:
        answer: r.CommitAnswer = await (by or self.owner).ask(
            "post_commit", commit_post(made), id=self.id.hex()
        )
        return answer


@dataclass
class City:
    """The server, its clock, and an operator who makes codes."""

    node: Node
    app: ASGIApp
    clock: FakeClock
    blobs: MemoryBlobs
    push: MemoryPush
    gateway: MemoryGateway
    codes: Path
    client: httpx.AsyncClient

    async def ask(
        self, name: str, *, body: Any = None, token: str = "", query: Json | None = None, **params: Any
    ) -> Any:
        """Call a route; its decoded answer, or `Refusal`."""
        response = await self.raw(name, body=body, token=token, query=query, **params)
        route = BY_NAME[name]
        if response.status_code >= 400:
            raise Refusal(response.status_code, msgspec.json.decode(response.content, type=r.ErrorAnswer))
        assert response.status_code == route.status
        if route.response is None:
            assert not response.content
            return None
        if route.media == r.JSON:
            return msgspec.json.decode(response.content, type=route.response)
        if route.media == r.MSGPACK:
            kind: Any = list[route.response] if route.listing else route.response  # type: ignore[name-defined]
            return msgspec.msgpack.decode(response.content, type=kind)
        return response.content

    async def raw(
        self,
        name: str,
        *,
        body: Any = None,
        token: str = "",
        query: Json | None = None,
        headers: dict[str, str] | None = None,
        **params: Any,
    ) -> httpx.Response:
        route = BY_NAME[name]
        sent = dict(headers or {})
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        content = b""
        if route.request is not None:
            sent.setdefault("Content-Type", route.media)
            if isinstance(body, bytes):
                content = body
            elif route.media == r.JSON:
                content = msgspec.json.encode(body)
            else:
                content = msgspec.msgpack.encode(body)
        path = route.path.format(**params)
        return await self.client.request(route.method, path, content=content, headers=sent, params=query)

    def code(self) -> str:
        """A new one-time code of the operator's."""
        text = f"operator-{os.urandom(8).hex()}"
        with self.codes.open("a") as file:
            file.write(bootstrap_hash(text).hex() + "\n")
        return text

    async def agency(self) -> Agency:
        """An agency with its administrator, signed in."""
        plan = self.new_agency()
        await self.ask("create_agency", body=plan.body)
        await plan.agency.admin.sign_in()
        return plan.agency

    def new_agency(self, code: str | None = None) -> NewAgencyPlan:
        root = AuthorityKey(SigningKey.create(os.urandom), root=True)
        authority = AuthorityKey(SigningKey.create(os.urandom))
        now_ms = self.clock.now_ms()
        keys = DeviceKeys.create(os.urandom, now_ms)
        admin = Person(self, keys, os.urandom(16).hex())
        agency = Agency(self, root, authority, Directory(root.key.public), admin)
        entries: list[bytes] = []
        first = AuthorityAdded(authority.key.public, now_ms + YEAR_MS, None)
        for operation, by in (
            (first, root),
            (agency.certificate(keys, admin.member, Role.ADMIN), authority),
        ):
            entry = by.sign_entry(agency.directory, operation, now_ms)
            agency.directory.apply(entry)
            entries.append(entry.encode())
        agency.learn(keys)
        text = self.code() if code is None else code
        proof = root.key.sign_raw(pae(PREFIX + b"agency", text.encode()))
        body = r.NewAgency(
            text, root.key.public, proof, "Harbour", tuple(entries), admin.member, keys.newest.encode()
        )
        return NewAgencyPlan(agency, body)


@dataclass(frozen=True)
class NewAgencyPlan:
    """An agency that was not created yet."""

    agency: Agency
    body: r.NewAgency


def signed_object(signed: Signed) -> r.SignedObject:
    return r.SignedObject(signed.payload, signed.signer, signed.signature)


def commit_post(made: MadeCommit) -> r.CommitPost:
    boxes = tuple(r.Box(b.recipient, b.kid, b.suite, b.sealed) for b in made.boxes)
    return r.CommitPost(signed_object(made.commit.signed), boxes, made.box_list.signature)


def channel_post(purpose: ChannelPurpose, made: MadeCommit, subject: bytes = b"") -> r.ChannelPost:
    return r.ChannelPost(purpose.value, subject, commit_post(made))


def redeem(keys: DeviceKeys, code: str) -> r.Redeem:
    return r.Redeem(code, keys.identity.public, keys.enrolment_proof(code), keys.newest.encode())


@contextlib.asynccontextmanager
async def city(folder: Path, settings: HttpSettings | None = None) -> AsyncGenerator[City]:
    """A node on SQLite with a standing clock."""
    clock = FakeClock()
    store = await open_store(folder / "leeside.db")
    blobs, push, gateway = MemoryBlobs(), MemoryPush(PUSH_KEY), MemoryGateway(on=True)
    node = Node(
        RelaySettings(),
        store=store,
        bus=MemoryBus(MemoryExchange()),
        latest=MemoryLatest(clock),
        presence=MemoryPresence(),
        blobs=blobs,
        push=push,
        gateway=gateway,
        clock=clock,
        secret=SECRET,
    )
    codes = folder / "bootstrap-codes"
    app = build_app(node, routes(node, replace(settings or HttpSettings(), bootstrap_codes=codes)))
    await node.start()
    transport = httpx.ASGITransport(app, raise_app_exceptions=True, client=("127.0.0.1", 50_000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://leeside.test") as client:
            yield City(node, app, clock, blobs, push, gateway, codes, client)
    finally:
        await node.close()
        await store.close()
