"""A small agency for tests: root, two authorities, devices, a records key; all from fixed seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from leeside_protocol.ids import AgencyId, DeviceId, IncidentId, MemberId, MessageId
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.channel import Delivery, Installed, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, Committer, Genesis, MadeCommit, Seat
from leeside_protocol.sealing.opening.keys import DeviceKeys, SigningKey
from leeside_protocol.sealing.opening.records import RecordsPrivateKey
from leeside_protocol.sealing.public.acceptance import Receipt
from leeside_protocol.sealing.public.commit import CommitReason, Policy
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import Value
from leeside_protocol.sealing.public.entries import (
    ALL_CAPS,
    ALL_COMPARTMENTS,
    CAP_SEND,
    DURABLE,
    AuthorityAdded,
    DeviceAdded,
    DeviceRemoved,
    Limits,
    Operation,
    SignedEntry,
)

NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
INCIDENT = IncidentId(hashlib.sha256(b"incident").digest()[:16])


def seed(name: str) -> bytes:
    return hashlib.sha256(b"seed:" + name.encode()).digest()


def seeded(name: str) -> Callable[[int], bytes]:
    """A reproducible source of bytes."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{name}:{count}".encode()).digest(length)

    return draw


class World:
    """One agency, its directory, and devices by name."""

    def __init__(self, *, dual: bool = True, name: str = "north") -> None:
        self.name = name
        self.root = AuthorityKey(SigningKey(seed(f"{name}-root")), root=True)
        self.first = AuthorityKey(SigningKey(seed(f"{name}-first")))
        self.second = AuthorityKey(SigningKey(seed(f"{name}-second")))
        self.night = AuthorityKey(SigningKey(seed(f"{name}-night")))
        self.directory = Directory(self.root.key.public)
        self.log: list[bytes] = []
        self.book = DeviceKeyBook()
        self.keys: dict[str, DeviceKeys] = {}
        self.records = RecordsPrivateKey(seed(f"{name}-records"))
        self.random = seeded(name)
        self.sign(self.root, AuthorityAdded(self.first.key.public, NOW_MS + 400 * DAY_MS, None))
        if dual:
            self.sign(self.root, AuthorityAdded(self.second.key.public, NOW_MS + 400 * DAY_MS, None))

    @property
    def agency(self) -> AgencyId:
        return self.directory.agency_id

    @property
    def directories(self) -> dict[AgencyId, Directory]:
        return {self.agency: self.directory}

    def sign(
        self,
        by: AuthorityKey,
        operation: Operation,
        *,
        cosigner: AuthorityKey | None = None,
        ts_ms: int = NOW_MS,
    ) -> SignedEntry:
        entry = by.sign_entry(self.directory, operation, ts_ms)
        if cosigner is not None:
            entry = cosigner.cosign(entry)
        self.directory.apply(entry)
        self.log.append(entry.encode())
        return entry

    def delegate(self, limits: Limits) -> None:
        self.sign(self.root, AuthorityAdded(self.night.key.public, NOW_MS + 30 * DAY_MS, limits))

    def certificate(
        self,
        name: str,
        *,
        role: str = "responder",
        caps: int = ALL_CAPS,
        compartments: int = ALL_COMPARTMENTS,
        not_before_ms: int = NOW_MS - DAY_MS,
        not_after_ms: int = NOW_MS + 300 * DAY_MS,
    ) -> DeviceAdded:
        """Make the device's keys, and the operation that would certify it."""
        keys = DeviceKeys(SigningKey(seed(f"{self.name}-device-{name}")))
        keys.rotate(seeded(f"{self.name}-hpke-{name}"), NOW_MS)
        self.keys[name] = keys
        member = MemberId(seed(f"{self.name}-member-{name}")[:16])
        return DeviceAdded(
            keys.identity.public, member, role, compartments, caps, not_before_ms, not_after_ms
        )

    def enrol(
        self,
        name: str,
        *,
        role: str = "responder",
        caps: int = ALL_CAPS,
        compartments: int = ALL_COMPARTMENTS,
        not_after_ms: int = NOW_MS + 300 * DAY_MS,
    ) -> DeviceKeys:
        operation = self.certificate(
            name, role=role, caps=caps, compartments=compartments, not_after_ms=not_after_ms
        )
        dual = self.directory.dual_control(NOW_MS) and bool(compartments & 0b11110)
        self.sign(self.first, operation, cosigner=self.second if dual else None)
        keys = self.keys[name]
        self.publish(name)
        return keys

    def publish(self, name: str) -> None:
        """Publish the device's newest DeviceKey."""
        keys = self.keys[name]
        self.book.add(keys.newest, self.directory.live_device(keys.device_id))

    def add_records(self, *, compartments: int = ALL_COMPARTMENTS, class_mask: int = 1 << DURABLE) -> None:
        operation = self.records.entry(
            compartments=compartments,
            class_mask=class_mask,
            not_before_ms=NOW_MS - DAY_MS,
            not_after_ms=NOW_MS + 400 * DAY_MS,
        )
        dual = self.directory.dual_control(NOW_MS)
        self.sign(self.first, operation, cosigner=self.second if dual else None)

    def revoke(self, name: str) -> None:
        self.sign(self.first, DeviceRemoved(self.id(name), "lost", NOW_MS))

    def id(self, name: str) -> DeviceId:
        return self.keys[name].device_id

    def seat(self, name: str) -> Seat:
        return Seat(self.id(name), self.agency)

    def committer(self, name: str) -> Committer:
        return Committer(self.keys[name], self.directories, self.book, self.random)

    def policy(self, *, records: bool = False) -> Policy:
        return Policy((self.agency,), (self.records.records_id,) if records else ())

    def genesis(self, *names: str, records: bool = False) -> MadeCommit:
        """A channel made by the first of `names`."""
        plan = Genesis(tuple(self.seat(n) for n in names), self.policy(records=records), incident_id=INCIDENT)
        return self.committer(names[0]).create(plan, now_ms=NOW_MS)

    def view(self, name: str, *made: MadeCommit) -> SealedChannel:
        """A device's own view of a channel, after these commits."""
        channel = SealedChannel(made[0].commit.channel_id, self.id(name))
        for step in made:
            self.process(name, channel, step)
        return channel

    def process(
        self,
        name: str,
        channel: SealedChannel,
        made: MadeCommit,
        *,
        now_ms: int = NOW_MS,
        receipt: Receipt | None = None,
    ) -> Installed:
        box = made.box_for(self.id(name))
        return channel.process_commit(
            made.commit.signed,
            Delivery(box, made.box_list),
            self.keys[name],
            self.directories,
            now_ms=now_ms,
            receipt=receipt,
        )

    def commit(
        self, name: str, channel: SealedChannel, change: Change, *, now_ms: int = NOW_MS
    ) -> MadeCommit:
        return self.committer(name).commit(channel, change, now_ms=now_ms)

    def say(
        self,
        name: str,
        channel: SealedChannel,
        data: Value = "on my way",
        *,
        now_ms: int = NOW_MS,
        key_class: int = DURABLE,
    ) -> bytes:
        return channel.seal(
            body(data, ts_ms=now_ms),
            self.keys[name],
            self.directories,
            now_ms=now_ms,
            random=self.random,
            key_class=key_class,
        )


def body(data: Value = "on my way", *, ts_ms: int = NOW_MS) -> Body:
    return Body("chat", ts_ms, MessageId(seed("message")[:16]), None, data)


def small_world() -> World:
    """Dispatcher and lead with all capabilities, a unit that may only send, and a spare phone."""
    world = World()
    world.enrol("dispatcher", role="dispatcher")
    world.enrol("lead")
    world.enrol("unit", caps=CAP_SEND)
    world.enrol("spare", caps=CAP_SEND)
    world.enrol("clinician", role="psychiatrist")
    world.add_records()
    return world


PERIODIC = Change(CommitReason.PERIODIC)
