"""Commits: the signed, hash-chained steps by which a channel changes its members and keys.

This module is the shape: parse and encode.  The rules by which a commit is accepted are in
`acceptance`.  Field numbers are those of spec chapter 04, "Commit".
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, IncidentId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.encoding import (
    Packable,
    Value,
    as_bytes,
    as_list,
    as_uint,
    decode,
    digest,
    encode,
)
from leeside_protocol.sealing.public.entries import (
    COMPARTMENTS,
    FULL_CLASS_MASK,
    RecordsId,
    parse_class_mask,
    parse_suite,
)
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.sealing.public.signed import Signed

MAX_ROSTER: Final = 200
MAX_RECORDS: Final = 16
MAX_AGENCIES: Final = 16
MAX_AUTHORISATIONS: Final = 16
MAX_COMMIT_BYTES: Final = 48 * 1024
NO_INCIDENT: Final = IncidentId(bytes(16))
"""The incident of a standing channel: unit, desk, agency, on-call."""


class CommitReason(IntEnum):
    CREATE = 0
    MEMBER = 1
    REVOKE = 2
    PERIODIC = 3
    CONSENT = 4


class Authorisation(IntEnum):
    CONSENT = 1
    BREAK_GLASS = 2


class Guest(msgspec.Struct, frozen=True):
    """A key that the committer vouched for, at most four hours; it is in no directory."""

    public: bytes
    hpke_public: bytes
    not_after_ms: int


class RosterEntry(msgspec.Struct, frozen=True):
    """Who can read: a certified device, or a guest.  `kid` is 8 zero bytes for a dormant one."""

    device_id: DeviceId
    agency_id: AgencyId
    kid: bytes
    class_mask: int = FULL_CLASS_MASK
    guest: Guest | None = None

    @property
    def gets_epoch_secret(self) -> bool:
        """Whether its box is `[1, ..]`; masked devices and guests get `[2, ..]`."""
        return self.guest is None and self.class_mask == FULL_CLASS_MASK


class RecordsEntry(msgspec.Struct, frozen=True):
    records_id: RecordsId
    agency_id: AgencyId
    class_mask: int
    kid: bytes


class Head(msgspec.Struct, frozen=True):
    """A directory head that the committer acted on."""

    agency_id: AgencyId
    seq: int
    hash: bytes


class AuthRecord(msgspec.Struct, frozen=True):
    """The legal ground for a sensitive channel: SHA-256 of the sealed record's frame."""

    kind: Authorisation
    record_hash: bytes


class Policy(msgspec.Struct, frozen=True):
    """Which agencies' devices may be here, and which records keys must read along; sorted."""

    agencies: tuple[AgencyId, ...]
    records: tuple[RecordsId, ...] = ()


class Commit(msgspec.Struct, frozen=True):
    """A parsed commit.  Only `acceptance` says whether it holds."""

    suite: int
    channel_id: ChannelId
    epoch: int
    prev_hash: bytes
    committer: DeviceId
    ts_ms: int
    reason: CommitReason
    compartment: int
    incident_id: IncidentId
    nonce: bytes
    roster: tuple[RosterEntry, ...]
    records: tuple[RecordsEntry, ...]
    heads: tuple[Head, ...]
    commitments: tuple[bytes, bytes, bytes]
    auth: tuple[AuthRecord, ...]
    seen: LogHead
    policy: Policy
    hash: bytes
    signed: Signed

    def entry(self, device_id: DeviceId) -> RosterEntry | None:
        """The roster entry of a device, or None."""
        for entry in self.roster:
            if entry.device_id == device_id:
                return entry
        return None

    def roster_index(self, device_id: DeviceId) -> int | None:
        for index, entry in enumerate(self.roster):
            if entry.device_id == device_id:
                return index
        return None

    def head_of(self, agency_id: AgencyId) -> Head | None:
        for head in self.heads:
            if head.agency_id == agency_id:
                return head
        return None


def channel_id_of(creator: DeviceId, incident_id: IncidentId, compartment: int, nonce: bytes) -> ChannelId:
    """A channel's name: nobody else can create it, nor the creator with another compartment."""
    return ChannelId(digest(b"channel", creator, incident_id, bytes([compartment]), nonce)[:16])


def encode_commit(
    *,
    suite: int,
    channel_id: ChannelId,
    epoch: int,
    prev_hash: bytes,
    committer: DeviceId,
    ts_ms: int,
    reason: int,
    compartment: int,
    incident_id: IncidentId,
    nonce: bytes,
    roster: Iterable[RosterEntry],
    records: Iterable[RecordsEntry],
    heads: Iterable[Head],
    commitments: Iterable[bytes],
    auth: Iterable[AuthRecord],
    seen: LogHead,
    policy: Policy,
) -> bytes:
    """The payload to sign, from fields that are already sorted."""
    fields: list[Packable] = [
        1,
        suite,
        channel_id,
        epoch,
        prev_hash,
        committer,
        ts_ms,
        int(reason),
        compartment,
        incident_id,
        nonce,
        [[e.device_id, e.agency_id, e.kid, e.class_mask, _guest_fields(e.guest)] for e in roster],
        [[r.records_id, r.agency_id, r.class_mask, r.kid] for r in records],
        [[h.agency_id, h.seq, h.hash] for h in heads],
        list(commitments),
        [[int(a.kind), a.record_hash] for a in auth],
        [seen.seq, seen.hash],
        [list(policy.agencies), list(policy.records)],
    ]
    return encode(fields)


def _guest_fields(guest: Guest | None) -> list[bytes | int] | None:
    return None if guest is None else [guest.public, guest.hpke_public, guest.not_after_ms]


def parse_commit(signed: Signed) -> Commit:
    """The commit in `signed`, unverified.

    `E_ENCODING` for shape, order and bounds; `E_FORMAT` for a version or suite not spoken;
    `E_CHAIN` when the payload names another committer than the signer.
    """
    values = as_list(list(decode(signed.payload, max_bytes=MAX_COMMIT_BYTES)), 18)
    if as_uint(values[0]) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    epoch = as_uint(values[3])
    reason = as_uint(values[7], max(CommitReason))
    nonce = as_bytes(values[10])
    if len(nonce) != (16 if epoch == 0 else 0):
        raise SealingError(SealingCode.E_ENCODING, "nonce at genesis only")
    if (epoch == 0) != (reason == CommitReason.CREATE):
        raise SealingError(SealingCode.E_ENCODING, "reason create at genesis only")
    committer = DeviceId(as_bytes(values[5], 16))
    if committer != signed.signer:
        raise SealingError(SealingCode.E_CHAIN, "committer is not the signer")
    first, second, third = (as_bytes(v, 32) for v in as_list(values[14], 3))
    seen_seq, seen_hash = as_list(values[16], 2)
    agencies, records = as_list(values[17], 2)
    return Commit(
        suite=parse_suite(values[1]),
        channel_id=ChannelId(as_bytes(values[2], 16)),
        epoch=epoch,
        prev_hash=as_bytes(values[4], 32),
        committer=committer,
        ts_ms=as_uint(values[6]),
        reason=CommitReason(reason),
        compartment=as_uint(values[8], max(COMPARTMENTS)),
        incident_id=IncidentId(as_bytes(values[9], 16)),
        nonce=nonce,
        roster=_parse_roster(values[11]),
        records=_parse_records(values[12]),
        heads=_parse_heads(values[13]),
        commitments=(first, second, third),
        auth=_parse_auth(values[15]),
        seen=LogHead(as_uint(seen_seq), as_bytes(seen_hash, 32)),
        policy=Policy(
            tuple(AgencyId(i) for i in _sorted_ids(agencies, MAX_AGENCIES)),
            tuple(RecordsId(i) for i in _sorted_ids(records, MAX_RECORDS)),
        ),
        hash=signed.hash(b"commit"),
        signed=signed,
    )


def _ascending(ids: list[bytes]) -> None:
    if any(a >= b for a, b in pairwise(ids)):
        raise SealingError(SealingCode.E_ENCODING, "not sorted, or named twice")


def _sorted_ids(value: Value, most: int) -> list[bytes]:
    ids = [as_bytes(v, 16) for v in as_list(value, most=most)]
    _ascending(ids)
    return ids


def _parse_roster(value: Value) -> tuple[RosterEntry, ...]:
    entries: list[RosterEntry] = []
    for item in as_list(value, most=MAX_ROSTER):
        device, agency, kid, mask, guest = as_list(item, 5)
        entries.append(
            RosterEntry(
                DeviceId(as_bytes(device, 16)),
                AgencyId(as_bytes(agency, 16)),
                as_bytes(kid, 8),
                parse_class_mask(mask),
                _parse_guest(guest),
            )
        )
    _ascending([e.device_id for e in entries])
    return tuple(entries)


def _parse_guest(value: Value) -> Guest | None:
    if value is None:
        return None
    public, hpke_public, not_after = as_list(value, 3)
    return Guest(as_bytes(public, 32), as_bytes(hpke_public, 32), as_uint(not_after))


def _parse_records(value: Value) -> tuple[RecordsEntry, ...]:
    entries: list[RecordsEntry] = []
    for item in as_list(value, most=MAX_RECORDS):
        records, agency, mask, kid = as_list(item, 4)
        entries.append(
            RecordsEntry(
                RecordsId(as_bytes(records, 16)),
                AgencyId(as_bytes(agency, 16)),
                parse_class_mask(mask),
                as_bytes(kid, 8),
            )
        )
    _ascending([e.records_id for e in entries])
    return tuple(entries)


def _parse_heads(value: Value) -> tuple[Head, ...]:
    heads: list[Head] = []
    for item in as_list(value, most=MAX_AGENCIES):
        agency, seq, head_hash = as_list(item, 3)
        heads.append(Head(AgencyId(as_bytes(agency, 16)), as_uint(seq), as_bytes(head_hash, 32)))
    _ascending([h.agency_id for h in heads])
    return tuple(heads)


def _parse_auth(value: Value) -> tuple[AuthRecord, ...]:
    records: list[AuthRecord] = []
    for item in as_list(value, most=MAX_AUTHORISATIONS):
        kind, record_hash = as_list(item, 2)
        number = as_uint(kind, max(Authorisation))
        if number == 0:
            raise SealingError(SealingCode.E_ENCODING, "unknown authorisation")
        records.append(AuthRecord(Authorisation(number), as_bytes(record_hash, 32)))
    return tuple(records)
