"""A relay in memory: one node's rules and faults on demand, without sockets, threads or disk.

It speaks the real codec, stores frames and commits, verifies commits by the server's rules, deduplicates by id,
answers `stale`, and pushes to who is in the roster. A test may drop pushes, lose answers, close links, and restore
an older state.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from leeside.api import ApiError, Unreachable
from leeside.link import LinkClosed
from leeside_protocol import messages as m
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.codec import decode_client, encode
from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import (
    ChannelAddress,
    ChannelId,
    ChannelKind,
    DeviceId,
    MemberId,
    MessageId,
    address,
    split_address,
)
from leeside_protocol.messages import ClientMessage, Entry, ServerMessage
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import DeviceKeys, SigningKey
from leeside_protocol.sealing.opening.records import RecordsPrivateKey
from leeside_protocol.sealing.public.acceptance import ChannelLine, Receipt, verify_commit
from leeside_protocol.sealing.public.archive import Archive, verify_archive
from leeside_protocol.sealing.public.boxes import Box, verify_boxes
from leeside_protocol.sealing.public.device_key import DeviceKeyBook, parse_device_key
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import (
    AuthorityAdded,
    DeviceAdded,
    DeviceRemoved,
    Operation,
    SignedEntry,
)
from leeside_protocol.sealing.public.frame import parse_frame
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Compartment, Lane
from tests.client.virtual_time import VirtualClock

ALL_CAPS = 63
DAY_MS = 86_400_000
SERVER = DeviceId(bytes(16))


@dataclass
class Log:
    """One log: its entries (state rows that were replaced are gone) and its head."""

    entries: list[Entry] = field(default_factory=list[Entry])
    head: int = 0
    floor: int = 0

    def append(self, entry: Entry) -> None:
        if entry.lane is Lane.STATE:
            self.entries = [e for e in self.entries if not (e.lane is Lane.STATE and e.key == entry.key)]
        self.entries.append(entry)
        self.head = entry.offset

    def page(self, after: int, limit: int) -> tuple[int, tuple[Entry, ...]]:
        found = [e for e in self.entries if e.offset > after][:limit]
        to = found[-1].offset if len(found) == limit else self.head
        return to, tuple(found)


@dataclass
class Room:
    """A channel as the server has it."""

    line: ChannelLine
    purpose: str
    subject: bytes
    posts: list[r.CommitPost] = field(default_factory=list[r.CommitPost])
    archived: bool = False
    forgotten: set[int] = field(default_factory=set[int])
    """Epochs whose boxes retention took, or a server says so."""

    @property
    def devices(self) -> set[DeviceId]:
        return {entry.device_id for entry in self.line.head.roster} if self.line.head else set()


class Wire:
    """One socket between a client and the relay; the client's end is a `Link`."""

    def __init__(self, relay: RelayDouble, device: DeviceId) -> None:
        self.relay = relay
        self.device = device
        self.to_client: asyncio.Queue[bytes | int] = asyncio.Queue()
        self.following: dict[ChannelAddress, int] = {}
        self.welcomed = False
        self.closed: int | None = None
        self.silent = False

    async def send(self, data: bytes) -> None:
        await asyncio.sleep(0)
        if self.closed is not None:
            raise LinkClosed(self.closed)
        message = decode_client(data)
        if message is not None and not self.silent:
            self.relay.receive(self, message)

    async def receive(self) -> bytes:
        item = await self.to_client.get()
        if isinstance(item, int):
            self.to_client.put_nowait(item)
            raise LinkClosed(item)
        return item

    async def close(self) -> None:
        self.break_off(1000)

    def push(self, message: ServerMessage) -> None:
        if self.closed is None and not self.silent:
            self.to_client.put_nowait(encode(message))

    def break_off(self, code: int = 1006) -> None:
        if self.closed is None:
            self.closed = code
            self.to_client.put_nowait(code)
        if self in self.relay.wires:
            self.relay.wires.remove(self)


class Dialer:
    """Dials the relay in memory as one device."""

    def __init__(self, relay: RelayDouble, device: DeviceId) -> None:
        self.relay = relay
        self.device = device
        self.attempts = 0

    async def dial(self) -> Wire:
        self.attempts += 1
        if not self.relay.reachable:
            raise LinkClosed
        wire = Wire(self.relay, self.device)
        self.relay.wires.append(wire)
        wire.push(m.Challenge(bytes(16), self.relay.clock.now_ms()))
        return wire


class Tokens:
    """Tokens that the relay takes; counts how often new ones were asked for."""

    def __init__(self) -> None:
        self.renewed = 0

    async def token(self) -> str:
        return f"token {self.renewed}"

    async def renew(self, stale: str) -> str:
        del stale
        self.renewed += 1
        return f"token {self.renewed}"


class RelayDouble:
    """One agency on one server."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.generation = 1
        self.reachable = True
        self.http_reachable = True
        self.wires: list[Wire] = []
        self.logs: dict[ChannelAddress, Log] = {}
        self.rooms: dict[ChannelId, Room] = {}
        self.units: list[r.Unit] = []
        self.ids: dict[tuple[DeviceId, MessageId], tuple[ChannelAddress, int, bytes]] = {}
        self.blobs: dict[str, dict[int, bytes]] = {}
        self.blob_sizes: dict[str, int] = {}
        self.device_keys: dict[DeviceId, bytes] = {}
        self.lose: Callable[[Wire, ServerMessage], bool] = lambda _wire, _message: False
        self.refuse_next: list[m.Refused] = []
        self.published: list[m.Publish] = []
        root = AuthorityKey(SigningKey.create(secrets.token_bytes), root=True)
        self.authority = AuthorityKey(SigningKey.create(secrets.token_bytes))
        self.directory = Directory(root.key.public)
        self.entries: list[bytes] = []
        now_ms = self.clock.now_ms()
        self.sign(AuthorityAdded(self.authority.key.public, now_ms + 365 * DAY_MS, None), by=root)

    # ---- the agency

    def sign(self, operation: Operation, by: AuthorityKey | None = None) -> None:
        entry = (by or self.authority).sign_entry(self.directory, operation, self.clock.now_ms())
        self.directory.apply(entry)
        self.entries.append(entry.encode())
        log = address(ChannelKind.DIRECTORY, self.directory.agency_id)
        self.store(log, Entry(0, Lane.LOG, b"", SERVER, _id(), 0, entry.encode()))

    def enrol(
        self, member: MemberId | None = None, caps: int = ALL_CAPS, compartments: int = 1
    ) -> DeviceKeys:
        now_ms = self.clock.now_ms()
        keys = DeviceKeys.create(secrets.token_bytes, now_ms)
        self.certify(keys, member or MemberId(secrets.token_bytes(16)), caps, compartments)
        return keys

    def certify(
        self, keys: DeviceKeys, member: MemberId, caps: int = ALL_CAPS, compartments: int = 1
    ) -> None:
        now_ms = self.clock.now_ms()
        public = keys.identity.public
        self.sign(
            DeviceAdded(public, member, "responder", compartments, caps, now_ms - 1, now_ms + 90 * DAY_MS)
        )
        self.device_keys[keys.device_id] = keys.newest.encode()

    def add_records(self) -> RecordsPrivateKey:
        """A records key that every channel opened from now on names."""
        key = RecordsPrivateKey.create(secrets.token_bytes)
        now_ms = self.clock.now_ms()
        self.sign(
            key.entry(
                compartments=31, class_mask=2, not_before_ms=now_ms - 1, not_after_ms=now_ms + 365 * DAY_MS
            )
        )
        return key

    def end(self, channel: ChannelId) -> None:
        """The channel's incident is over: nothing more can be said, and its devices are told."""
        room = self.rooms[channel]
        room.archived = True
        for device in room.devices:
            notice = msgspec.msgpack.encode([6, channel])
            self.store(address(ChannelKind.INBOX, device), Entry(0, Lane.LOG, b"", SERVER, _id(), 0, notice))

    def revoke(self, device: DeviceId) -> None:
        self.sign(DeviceRemoved(device, "lost", self.clock.now_ms()))
        for wire in [w for w in self.wires if w.device == device]:
            wire.break_off(CloseCode.REVOKED)

    def book(self) -> DeviceKeyBook:
        book = DeviceKeyBook()
        for device, data in self.device_keys.items():
            certificate = self.directory.device(device)
            assert certificate is not None
            book.add(Signed.decode(data), certificate)
        return book

    # ---- the socket

    def receive(self, wire: Wire, message: ClientMessage) -> None:
        match message:
            case m.Hello():
                wire.welcomed = True
                now_ms = self.clock.now_ms()
                self.answer(wire, m.Welcome(now_ms, now_ms + 300_000, 10, self.generation, 64, 262_144))
            case m.Renew(req=req):
                self.answer(wire, m.Renewed(req, self.clock.now_ms() + 300_000))
            case m.Subscribe():
                self.subscribe(wire, message)
            case m.Publish():
                self.publish(wire, message)
            case m.Who(req=req, channel=channel):
                here = tuple(sorted({w.device for w in self.wires if w.welcomed}))
                self.answer(wire, m.Online(req, channel, self.clock.now_ms(), False, here))
            case m.Unsubscribe(channel=channel):
                wire.following.pop(channel, None)
            case m.Video(req=req):
                self.answer(wire, m.Refused(req, WireError.UNSUPPORTED))
            case m.ClientBeat():
                heads = tuple((log, self.log(log).head) for log in wire.following)
                self.answer(wire, m.Beat(self.clock.now_ms(), heads))

    def answer(self, wire: Wire, message: ServerMessage) -> None:
        if not self.lose(wire, message):
            wire.push(message)

    def log(self, log: ChannelAddress) -> Log:
        return self.logs.setdefault(log, Log())

    def may_read(self, device: DeviceId, log: ChannelAddress) -> bool:
        kind, owner = split_address(log)
        if kind in {ChannelKind.CONTENT, ChannelKind.EPOCHS, ChannelKind.GRANTS}:
            room = self.rooms.get(ChannelId(owner))
            return room is not None and device in room.devices
        return owner in {device, self.directory.agency_id}

    def subscribe(self, wire: Wire, asked: m.Subscribe) -> None:
        if not self.may_read(wire.device, asked.channel):
            self.answer(wire, m.Refused(asked.req, WireError.NOT_FOUND))
            return
        log = self.log(asked.channel)
        reset = asked.generation not in (0, self.generation) or asked.offset > log.head
        status = 2 if reset else 1 if asked.offset < log.floor else 0
        answer = m.Subscribed(asked.req, asked.channel, status, self.generation, log.head, log.floor)
        self.answer(wire, answer)
        wire.following[asked.channel] = 0 if reset else asked.offset
        self.pump(wire, asked.channel)

    def pump(self, wire: Wire, name: ChannelAddress) -> None:
        log = self.log(name)
        while wire.following[name] < log.head:
            after = wire.following[name]
            to, entries = log.page(after, 50)
            wire.following[name] = to
            self.answer(wire, m.Batch(name, after, to, entries))

    def store(self, name: ChannelAddress, entry: Entry) -> int:
        log = self.log(name)
        now_ms = self.clock.now_ms()
        log.append(
            Entry(
                log.head + 1, entry.lane, entry.key, entry.device, entry.id, now_ms, entry.payload, entry.urgency, entry.mark
            )
        )  # fmt: skip
        for wire in list(self.wires):
            if name in wire.following and self.may_read(wire.device, name):
                self.pump(wire, name)
        return log.head

    def publish(self, wire: Wire, publish: m.Publish) -> None:
        self.published.append(publish)
        _, owner = split_address(publish.channel)
        room = self.rooms.get(ChannelId(owner))
        if publish.lane is Lane.STREAM:
            for other in self.wires:
                if publish.channel in other.following:
                    live = m.Live(
                        publish.channel, publish.key, wire.device, self.clock.now_ms(), publish.payload
                    )
                    self.answer(other, live)
            return
        known = self.ids.get((wire.device, publish.id))
        if known is not None:
            _, offset, payload = known
            repeat = 1 if payload == publish.payload else 2
            self.answer(wire, m.Accepted(publish.req, offset, self.generation, repeat))
            return
        if self.refuse_next:
            told = self.refuse_next.pop(0)
            self.answer(wire, m.Refused(publish.req, told.error, told.head, told.retry_ms))
            return
        if room is None or room.line.head is None or room.archived or wire.device not in room.devices:
            self.answer(wire, m.Refused(publish.req, WireError.NOT_FOUND))
            return
        header = parse_frame(publish.payload)
        if header.epoch != room.line.epoch:
            self.answer(wire, m.Refused(publish.req, WireError.STALE, room.line.epoch))
            return
        entry = Entry(
            0,
            publish.lane,
            publish.key,
            wire.device,
            publish.id,
            0,
            publish.payload,
            publish.urgency,
            publish.mark,
        )
        offset = self.log(publish.channel).head + 1
        self.ids[wire.device, publish.id] = (publish.channel, offset, publish.payload)
        self.store(publish.channel, entry)
        self.answer(wire, m.Accepted(publish.req, offset, self.generation))

    # ---- commits

    def commit(self, room: Room, post: r.CommitPost) -> int:
        signed = Signed(post.commit.payload, post.commit.signer, post.commit.sig)
        directories = {self.directory.agency_id: self.directory}
        try:
            receipt = Receipt(self.clock.now_ms(), self.book(), storing=True)
            commit = verify_commit(room.line, signed, directories, receipt)
            boxes = [Box(b.recipient, b.kid, b.suite, b.sealed) for b in post.boxes]
            certificate = self.directory.device(commit.committer)
            assert certificate is not None
            verify_boxes(commit, boxes, post.box_list_sig, certificate.public)
        except SealingError as error:
            if error.code is SealingCode.E_DUPLICATE:
                return room.line.epoch
            if error.code in {SealingCode.E_FORK, SealingCode.E_CHAIN}:
                raise ApiError(WireError.CONFLICT, head=room.line.epoch) from None
            raise ApiError(WireError.SEALING_REFUSED, sealing_code=error.code) from None
        room.line.install(commit)
        room.posts.append(post)
        epochs = address(ChannelKind.EPOCHS, commit.channel_id)
        self.store(epochs, Entry(0, Lane.LOG, b"", commit.committer, _id(), 0, signed.encode()))
        for wire in self.wires:
            for log in list(wire.following):
                if not self.may_read(wire.device, log):
                    del wire.following[log]
                    self.answer(wire, m.Refused(0, WireError.NOT_FOUND))
        return commit.epoch

    # ---- restoring a backup

    def backup(self) -> Any:
        """The state to restore later."""
        logs = {n: Log(list(log.entries), log.head, log.floor) for n, log in self.logs.items()}
        lines = {c: (dict(room.line.commits), list(room.posts)) for c, room in self.rooms.items()}
        return logs, lines, dict(self.ids)

    def restore(self, kept: Any) -> None:
        """Bring an older state back, as a new generation; every socket breaks."""
        logs, lines, ids = kept
        self.logs = {n: Log(list(log.entries), log.head, log.floor) for n, log in logs.items()}
        self.ids = dict(ids)
        for channel, (commits, posts) in lines.items():
            line = ChannelLine(channel)
            for commit in commits.values():
                line.install(commit)
            self.rooms[channel].line = line
            self.rooms[channel].posts = list(posts)
        self.generation += 1
        for wire in list(self.wires):
            wire.break_off(CloseCode.RESTART)


class HttpDouble:
    """The relay's HTTP half as one device calls it; stands in for `Api`."""

    def __init__(self, relay: RelayDouble, device: DeviceId) -> None:
        self.relay = relay
        self.device_id = device
        self.before_commit: Callable[[], None] | None = None

    async def _arrive(self) -> None:
        await asyncio.sleep(0)
        if not self.relay.http_reachable:
            raise Unreachable("the server cannot be reached", sent=False)

    def _room(self, channel: bytes | str) -> Room:
        ident = ChannelId(channel if isinstance(channel, bytes) else bytes.fromhex(channel))
        room = self.relay.rooms.get(ident)
        if room is None or self.device_id not in room.devices:
            raise ApiError(WireError.NOT_FOUND)
        return room

    async def directory(self, after: int = 0, limit: int = 500) -> tuple[bytes, ...]:
        await self._arrive()
        return tuple(self.relay.entries[after : after + limit])

    async def post_directory(self, body: r.DirectoryPost) -> None:
        await self._arrive()
        for data in body.entries:
            self.relay.directory.apply(SignedEntry.decode(data))
            self.relay.entries.append(data)

    async def devices(self, after: str = "", limit: int = 100, state: str = "") -> r.Devices:
        await self._arrive()
        items = tuple(
            r.DeviceInfo(device.hex(), "0" * 32, "active", "", "", b"", key, 0, 0, 1)
            for device, key in self.relay.device_keys.items()
        )
        return r.Devices("", items)

    async def put_device_key(self, body: r.PutDeviceKey) -> None:
        await self._arrive()
        given, known = (
            parse_device_key(Signed.decode(data).payload)
            for data in (body.device_key, self.relay.device_keys[self.device_id])
        )
        if given.kid != known.kid and given.kseq <= known.kseq:
            raise ApiError(WireError.SEALING_REFUSED, sealing_code=SealingCode.E_DEVKEY)
        self.relay.device_keys[self.device_id] = body.device_key

    async def units(self, after: str = "", limit: int = 100) -> r.Units:
        await self._arrive()
        return r.Units("", tuple(self.relay.units))

    async def consults(self, state: str = "", after: str = "", limit: int = 100) -> o.Consults:
        await self._arrive()
        del state, after, limit
        return o.Consults("", ())

    async def channels(self, after: str = "", limit: int = 100) -> r.Channels:
        await self._arrive()
        return r.Channels(
            "",
            tuple(
                r.ChannelInfo(
                    channel.hex(),
                    ChannelPurpose(room.purpose),
                    Compartment(room.line.head.compartment),
                    room.subject.hex() or None,
                    room.line.epoch,
                    room.line.head.hash,
                    tuple(sorted(d.hex() for d in room.devices)),
                    room.archived,
                    self.relay.generation,
                    self.relay.log(address(ChannelKind.CONTENT, channel)).head,
                )
                for channel, room in self.relay.rooms.items()
                if room.line.head is not None and self.device_id in room.devices
            ),
        )

    async def create_channel(self, body: r.ChannelPost) -> r.CommitAnswer:
        await self._arrive()
        signed = Signed(body.genesis.commit.payload, body.genesis.commit.signer, body.genesis.commit.sig)
        from leeside_protocol.sealing.public.commit import parse_commit

        channel = parse_commit(signed).channel_id
        for other, standing in self.relay.rooms.items():
            if (
                body.purpose == "unit"
                and body.subject == standing.subject
                and not standing.archived
                and other != channel
            ):
                raise ApiError(WireError.CONFLICT)
        room = self.relay.rooms.setdefault(channel, Room(ChannelLine(channel), body.purpose, body.subject))
        self.relay.commit(room, body.genesis)
        if body.first is not None:
            first = body.first
            entry = Entry(0, Lane.LOG, b"", self.device_id, MessageId(first.id), 0, first.payload)
            self.relay.store(address(ChannelKind.CONTENT, channel), entry)
        return r.CommitAnswer(channel, 0, room.line.head_hash)

    async def open_incident(self, body: r.IncidentPost) -> r.CommitAnswer:
        return await self.create_channel(body.channel)

    async def post_commit(self, channel: bytes | str, body: r.CommitPost) -> r.CommitAnswer:
        await self._arrive()
        if self.before_commit is not None:
            act, self.before_commit = self.before_commit, None
            act()
        room = self._room(channel)
        if room.archived:
            raise ApiError(WireError.FORBIDDEN)
        epoch = self.relay.commit(room, body)
        return r.CommitAnswer(room.line.channel_id, epoch, room.line.head_hash)

    async def boxes(
        self, channel: bytes | str, from_epoch: int = 0, limit: int = 500
    ) -> tuple[r.EpochBoxes, ...]:
        await self._arrive()
        room = self._room(channel)
        found: list[r.EpochBoxes] = []
        for epoch, post in enumerate(room.posts):
            if from_epoch <= epoch < from_epoch + limit:
                if epoch in room.forgotten:
                    found.append(r.EpochBoxes(epoch, None, (), b""))
                    continue
                own = next((b for b in post.boxes if b.recipient == self.device_id), None)
                ordered = sorted(post.boxes, key=lambda b: b.recipient)
                hashes = tuple(Box(b.recipient, b.kid, b.suite, b.sealed).hash for b in ordered)
                found.append(r.EpochBoxes(epoch, own, hashes, post.box_list_sig))
        return tuple(found)

    async def log(self, address: bytes | str, after: int = 0, limit: int = 500) -> m.Batch:
        await self._arrive()
        name = ChannelAddress(address if isinstance(address, bytes) else bytes.fromhex(address))
        if not self.relay.may_read(self.device_id, name):
            raise ApiError(WireError.NOT_FOUND)
        to, entries = self.relay.log(name).page(after, limit)
        return m.Batch(name, after, to, entries)

    async def post_grant(self, channel: bytes | str, body: r.GrantPost) -> None:
        await self._arrive()
        from leeside_protocol.sealing.public.grant import SealedGrant

        room = self._room(channel)
        sealed = SealedGrant(
            Signed(body.grant.payload, body.grant.signer, body.grant.sig), body.suite, body.box
        )
        name = address(ChannelKind.GRANTS, room.line.channel_id)
        self.relay.store(name, Entry(0, Lane.LOG, b"", self.device_id, _id(), 0, sealed.encode()))

    async def post_archive(self, channel: bytes | str, body: r.ArchivePost) -> None:
        await self._arrive()
        room = self._room(channel)
        signed = Signed(body.label.payload, body.label.signer, body.label.sig)
        archive = Archive(signed, body.suite, body.key_box, body.wrapped)
        if not room.archived or signed.signer != self.device_id:
            raise ApiError(WireError.FORBIDDEN)
        directories = {self.relay.directory.agency_id: self.relay.directory}
        try:
            verify_archive(room.line, archive, directories, Receipt(self.relay.clock.now_ms()))
        except SealingError as error:
            raise ApiError(WireError.SEALING_REFUSED, sealing_code=error.code) from None
        name = address(ChannelKind.GRANTS, room.line.channel_id)
        self.relay.store(name, Entry(0, Lane.LOG, b"", self.device_id, _id(), 0, archive.encode()))

    async def create_blob(self, channel: bytes | str, body: r.NewBlob) -> r.Blob:
        await self._arrive()
        self._room(channel)
        ident = secrets.token_hex(16)
        self.relay.blobs[ident] = {}
        self.relay.blob_sizes[ident] = body.size_bytes
        return await self.blob(ident)

    async def blob(self, blob: bytes | str) -> r.Blob:
        await self._arrive()
        ident = blob if isinstance(blob, str) else blob.hex()
        have = self.relay.blobs.get(ident)
        if have is None:
            raise ApiError(WireError.NOT_FOUND)
        size = self.relay.blob_sizes[ident]
        return r.Blob(ident, size, 65_552, -(-size // 65_552), tuple(sorted(have)), False)

    async def put_chunk(self, blob: bytes | str, index: int, data: bytes) -> None:
        await self._arrive()
        self.relay.blobs[blob if isinstance(blob, str) else blob.hex()][index] = data

    async def chunk(self, blob: bytes | str, index: int) -> bytes:
        await self._arrive()
        return self.relay.blobs[blob if isinstance(blob, str) else blob.hex()][index]


def _id() -> MessageId:
    return MessageId(secrets.token_bytes(16))
