"""What a verified directory entry changes on the server: devices become active or are refused.

The chain itself is `leeside_protocol.sealing.public.Directory`. Here its steps become parts of one store item:
the signed bytes behind the head of the agency's DIRECTORY log, and what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelKind, DeviceId, MemberId, MessageId, address
from leeside_protocol.sealing.public.directory import CheckedEntry
from leeside_protocol.sealing.public.entries import OP_NAMES, DeviceAdded, DeviceRemoved
from leeside_protocol.words import Lane
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow, certify, revoke
from leeside_server.core.notices import Access, Notice, Random, access_entry, notices
from leeside_server.core.rows import Held, change
from leeside_server.core.writes import Append, Audit, Part

POSTED_ENTRIES: Final = 64
"""Entries of one post: each costs a signature check."""


class People(msgspec.Struct, frozen=True):
    """The rows that the entries name, and who is told: supervisors' and administrators' active devices."""

    devices: Mapping[DeviceId, Held[DeviceRow]]
    members: Mapping[MemberId, MemberRow]
    watchers: Iterable[DeviceId]


def devices_named(checked: Sequence[CheckedEntry]) -> tuple[DeviceId, ...]:
    """The devices that these entries certify or revoke."""
    return tuple(
        entry.entry.operation.device_id
        for entry in checked
        if isinstance(entry.entry.operation, DeviceAdded | DeviceRemoved)
    )


def entry_append(agency: AgencyId, checked: CheckedEntry, poster: DeviceId) -> Append:
    """The entry behind the head, as it was signed: offset n holds entry n, or `conflict`."""
    return Append(
        address(ChannelKind.DIRECTORY, agency),
        Lane.LOG,
        b"",
        poster,
        MessageId(checked.hash[:16]),
        checked.signed.encode(),
        expect_head=checked.entry.seq - 1,
    )


def directory_parts(
    agency: AgencyId,
    checked: Sequence[CheckedEntry],
    people: People,
    poster: DeviceId,
    now_ms: int,
    random: Random,
) -> tuple[Part, ...]:
    """All that these entries change, to be stored in one item.

    `invalid` for a device that has not enrolled here; `conflict` when an item names one device twice, which an
    authority has no reason to do.
    """
    parts: list[Part] = [entry_append(agency, entry, poster) for entry in checked]
    named = devices_named(checked)
    if len(set(named)) != len(named):
        raise ProtocolError(WireError.CONFLICT, "one device twice in one post")
    for entry in checked:
        operation = entry.entry.operation
        parts.append(Audit(f"directory_{_WORDS[OP_NAMES[type(operation)]]}", poster, entry.hash[:16], "done"))
        if isinstance(operation, DeviceAdded):
            parts += _certified(operation, people, poster, now_ms, random)
        elif isinstance(operation, DeviceRemoved):
            parts += _revoked(agency, operation.device_id, people, poster, now_ms, random)
    return tuple(parts)


_WORDS: Final = {
    "ea+": "authority_added",
    "ea-": "authority_removed",
    "dev+": "device_added",
    "dev-": "device_removed",
    "rec+": "records_added",
    "rec-": "records_removed",
}


def _certified(
    operation: DeviceAdded, people: People, poster: DeviceId, now_ms: int, random: Random
) -> list[Part]:
    held = people.devices.get(operation.device_id)
    if held is None:
        raise ProtocolError(WireError.INVALID, "the device has not enrolled here")
    member = people.members.get(operation.member_id)
    row = certify(held.row, member, operation.public, operation.member_id, operation.role, now_ms)
    device = operation.device_id
    return [
        change(held, row),
        Audit("device_certified", poster, device, "done"),
        *notices(Notice.DEVICE_CERTIFIED, (device, operation.member_id), [device], random),
    ]


def _revoked(
    agency: AgencyId, device: DeviceId, people: People, poster: DeviceId, now_ms: int, random: Random
) -> list[Part]:
    held = people.devices.get(device)
    if held is None:
        return []
    return revocation_parts(agency, held, people.watchers, poster, now_ms, random)


def revocation_parts(
    agency: AgencyId,
    held: Held[DeviceRow],
    watchers: Iterable[DeviceId],
    by: DeviceId,
    now_ms: int,
    random: Random,
) -> list[Part]:
    """Refuse a device from this commit on, on every node; empty when it is refused already."""
    if held.row.state is DeviceState.REVOKED:
        return []
    device = DeviceId(held.id)
    told = [watcher for watcher in watchers if watcher != device]
    return [
        change(held, revoke(held.row, now_ms)),
        access_entry(agency, Access.DEVICE_OUT, device, random),
        Audit("device_revoked", by, device, "done"),
        *notices(Notice.DEVICE_REVOKED, (device, held.row.member), told, random),
    ]
