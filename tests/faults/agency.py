"""An agency on a running server, made through its HTTP routes alone: members, and certified devices that are signed in.

    agency = await found_agency(api, node)
    nurse = await agency.office.create_member(r.NewMember((Role.PSYCHIATRIST,)))
    devices = await agency.enrol([(nurse, Role.PSYCHIATRIST)])

Nothing is kept on disk.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from leeside.api import Api
from leeside.authority import authority_key, device_added, found, root_key, sign
from leeside.session import Session
from leeside_protocol import resources as r
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.words import Role
from leeside_server.core.identity import bootstrap_hash
from tests.faults.node import Node

AT_ONCE: Final = 6
"""Requests in flight while the agency is made."""
ENTRIES_A_POST: Final = 50


@dataclass(slots=True, repr=False)
class Device:
    """A certified device: its keys, whose it is, and the session that keeps it signed in."""

    keys: DeviceKeys
    session: Session
    member: MemberId

    @property
    def id(self) -> DeviceId:
        return self.keys.device_id


@dataclass(slots=True, repr=False)
class Agency:
    """`api` carries no session; `office` is the admin's. `book` holds every enrolled device's key."""

    api: Api
    office: Api
    directory: Directory
    authority: AuthorityKey
    book: DeviceKeyBook = field(default_factory=DeviceKeyBook)

    async def enrol(self, people: Sequence[tuple[r.Member, Role]]) -> tuple[Device, ...]:
        """One device for each of these (a member may stand there more than once): certified and signed in, in order."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def redeem(member: r.Member) -> DeviceKeys:
            async with gate:
                code = (await self.office.create_enrolment(member.id, r.NewEnrolment())).code
                keys = DeviceKeys.create(os.urandom, now_ms())
                proof = keys.enrolment_proof(code)
                await self.api.redeem(r.Redeem(code, keys.identity.public, proof, keys.newest.encode()))
                return keys

        held = await asyncio.gather(*(redeem(member) for member, _ in people))
        entries: list[bytes] = []
        devices: list[Device] = []
        for keys, (of, role) in zip(held, people, strict=True):
            member = MemberId(bytes.fromhex(of.id))
            added = device_added(keys.identity.public, member, role, now_ms())
            entries.append(sign(self.directory, added, [self.authority], now_ms()).encode())
            devices.append(Device(keys, _session(self.api, keys), member))
        for start in range(0, len(entries), ENTRIES_A_POST):
            await self.office.post_directory(r.DirectoryPost(tuple(entries[start : start + ENTRIES_A_POST])))
        for device in devices:
            self.book.add(device.keys.newest, self.directory.live_device(device.id))

        async def sign_in(device: Device) -> None:
            async with gate:
                await device.session.token()

        await asyncio.gather(*(sign_in(device) for device in devices))
        return tuple(devices)


def now_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000


async def found_agency(api: Api, node: Node) -> Agency:
    """Found one, with an admin who has a device. `office` is closed with `api`."""
    root, authority = root_key(os.urandom(32)), authority_key(os.urandom(32))
    admin = DeviceKeys.create(os.urandom, now_ms())
    code = secrets.token_hex(16).upper()
    with node.codes.open("a") as codes:
        codes.write(bootstrap_hash(code).hex() + "\n")
    member = MemberId(os.urandom(16))
    added = device_added(admin.identity.public, member, Role.ADMIN, now_ms())
    founding = found(root, [authority], added, code, now_ms())
    await api.create_agency(
        r.NewAgency(
            code,
            root.key.public,
            founding.proof,
            "faults",
            founding.entries,
            member.hex(),
            admin.newest.encode(),
        )
    )
    office = Api(api.base_url, _session(api, admin), transport=api.transport, verify=api.verify)
    return Agency(api, office, founding.directory, authority)


def _session(api: Api, keys: DeviceKeys) -> Session:
    return Session(api, keys.device_id, keys.identity.sign_raw)
