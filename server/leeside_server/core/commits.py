"""Commits as the server takes them: every acceptance rule first, then one item that changes everything.

The server applies the whole table of `leeside_protocol.sealing.public` before it stores a commit, because one
invalid commit that wins the compare-and-set would brick its channel. What it adds is its own: which roles may sit
in a channel of this purpose, and that the poster is the committer.

One item holds the commit behind the head of the channel's EPOCHS log (compare-and-set: offset n + 1 holds epoch n),
the boxes, the channel's row, the fence that refuses frames of epochs past, notices, and whatever the caller adds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, ChannelKind, DeviceId, MessageId, address
from leeside_protocol.limits import PAYLOAD_BYTES
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.acceptance import (
    ChannelLine,
    Directories,
    Receipt,
    roster_public_key,
    verify_commit,
)
from leeside_protocol.sealing.public.archive import (
    MAX_ARCHIVE_BYTES,
    Archive,
    ArchiveLabel,
    verify_archive,
)
from leeside_protocol.sealing.public.boxes import Box, BoxList, verify_boxes
from leeside_protocol.sealing.public.commit import NO_INCIDENT, Commit, CommitReason, parse_commit
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.encoding import sha256
from leeside_protocol.sealing.public.entries import DURABLE, parse_suite
from leeside_protocol.sealing.public.frame import check_frame, parse_frame
from leeside_protocol.sealing.public.grant import Grant, SealedGrant, verify_grant
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Compartment, Lane, Urgency
from leeside_server.core.channels import ChannelRow, RosterDevice
from leeside_server.core.notices import Notice, Random, notices
from leeside_server.core.policy import may_sit
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Append, Audit, Fence, Part, PutBoxes

_encode: Final = msgspec.msgpack.Encoder().encode
_shared: Final = msgspec.msgpack.Decoder(tuple[tuple[bytes, ...], bytes])

FORGOTTEN_BOXES: Final = _encode([[], b""])
"""The shared part of an epoch whose boxes were deleted: no hash and no signature (spec 04, "Boxes")."""

INCIDENT_PURPOSES: Final = frozenset({ChannelPurpose.INCIDENT, ChannelPurpose.CONSULT})


class Checked(msgspec.Struct, frozen=True):
    """A commit that may be stored, with its verified box list."""

    commit: Commit
    boxes: tuple[Box, ...]
    box_list: BoxList


def signed_of(signed: r.SignedObject) -> Signed:
    """A signed object as sealing reads it; nothing is verified yet."""
    if len(signed.signer) != 16 or len(signed.sig) != 64:
        raise SealingError(SealingCode.E_ENCODING, "signer or signature length")
    return Signed(signed.payload, signed.signer, signed.sig)


def commit_of(post: r.CommitPost) -> Commit:
    """The commit in a post, parsed and unverified: its channel and epoch say what to compare it with."""
    return parse_commit(signed_of(post.commit))


def check_commit(
    post: r.CommitPost,
    prev: Commit | None,
    purpose: ChannelPurpose,
    directories: Directories,
    device_keys: DeviceKeyBook,
    committer: DeviceId,
    now_ms: int,
) -> Checked:
    """The commit, if every rule of acceptance and of the server's policy lets it follow `prev` (None: genesis).

    `committer` is the authenticated device. Raises `SealingError` with the rule's code, or `forbidden`.
    """
    signed = signed_of(post.commit)
    parsed = parse_commit(signed)
    if parsed.committer != committer:
        raise ProtocolError(WireError.FORBIDDEN, "a commit is posted by its committer")
    line = ChannelLine(parsed.channel_id) if prev is None else ChannelLine.at(prev)
    commit = verify_commit(line, signed, directories, Receipt(now_ms, device_keys, storing=True))
    boxes = tuple(Box(b.recipient, b.kid, b.suite, b.sealed) for b in post.boxes)
    public = roster_public_key(commit if prev is None else prev, committer, directories)
    box_list = verify_boxes(commit, boxes, post.box_list_sig, public)
    _check_seats(commit, purpose, directories)
    return Checked(commit, boxes, box_list)


def _check_seats(commit: Commit, purpose: ChannelPurpose, directories: Directories) -> None:
    for entry in commit.roster:
        if entry.guest is not None:
            if purpose not in INCIDENT_PURPOSES:
                raise ProtocolError(WireError.FORBIDDEN, "guests join incidents and consults only")
            continue
        certificate = directories[entry.agency_id].device(entry.device_id)
        if certificate is None or not may_sit(certificate.role, purpose):
            raise ProtocolError(
                WireError.FORBIDDEN, "a role in the roster may not sit in this kind of channel"
            )


def check_subject(purpose: ChannelPurpose, subject: bytes, commit: Commit) -> None:
    """That the channel's clear subject agrees with what the commit signs.

    Channels of incidents and consults sign the incident; standing ones sign none, and a unit's names its unit.
    """
    if purpose in INCIDENT_PURPOSES:
        right = len(subject) == 16 and commit.incident_id == subject
    elif purpose is ChannelPurpose.UNIT:
        right = len(subject) == 16 and commit.incident_id == NO_INCIDENT
    else:
        right = not subject and commit.incident_id == NO_INCIDENT
    if not right:
        raise ProtocolError(WireError.INVALID, "the subject does not fit the channel's purpose or its commit")
    if (
        purpose is not ChannelPurpose.INCIDENT
        and purpose is not ChannelPurpose.CONSULT
        and commit.compartment
    ):
        raise ProtocolError(WireError.INVALID, "a standing channel belongs to operations")


def channel_row(
    commit: Commit, purpose: ChannelPurpose, subject: bytes, before: ChannelRow | None, now_ms: int
) -> ChannelRow:
    """The channel's row with this commit as its head."""
    return ChannelRow(
        purpose=purpose,
        compartment=Compartment(commit.compartment),
        subject=subject.hex() if subject else None,
        epoch=commit.epoch,
        commit_hash=commit.hash,
        prev_commit_prefix=commit.prev_hash[:16],
        epoch_since_ms=now_ms,
        reason=int(commit.reason),
        devices=tuple(RosterDevice(e.device_id.hex(), e.class_mask) for e in commit.roster),
        archived=False,
        creator=commit.committer.hex() if before is None else before.creator,
    )


def commit_parts(
    checked: Checked,
    purpose: ChannelPurpose,
    subject: bytes,
    before: Held[ChannelRow] | None,
    now_ms: int,
    random: Random,
) -> tuple[Part, ...]:
    """The parts that store this commit; its append stands first, so that a repeat answers for all."""
    commit = checked.commit
    channel = commit.channel_id
    row = channel_row(commit, purpose, subject, None if before is None else before.row, now_ms)
    return (
        Append(
            address(ChannelKind.EPOCHS, channel),
            Lane.LOG,
            b"",
            commit.committer,
            MessageId(commit.hash[:16]),
            commit.signed.encode(),
            expect_head=commit.epoch,
        ),
        PutBoxes(
            channel,
            commit.epoch,
            tuple((box.recipient, box.encode()) for box in checked.boxes),
            _encode([list(checked.box_list.hashes), checked.box_list.signature]),
        ),
        create(channel, row) if before is None else change(before, row),
        Fence(address(ChannelKind.CONTENT, channel), fence_epoch(commit)),
        Audit("commit", commit.committer, channel, CommitReason(commit.reason).name.lower()),
        *_roster_notices(channel, row, None if before is None else before.row, commit.committer, random),
    )


def fence_epoch(commit: Commit) -> int:
    """The lowest epoch whose frames are still taken: a revocation ends the epoch before at once."""
    if commit.reason is CommitReason.REVOKE:
        return commit.epoch
    return max(0, commit.epoch - 1)


def _roster_notices(
    channel: ChannelId, row: ChannelRow, before: ChannelRow | None, committer: DeviceId, random: Random
) -> tuple[Append, ...]:
    old = frozenset(before.masks) if before is not None else frozenset[DeviceId]()
    new = frozenset(row.masks)
    joined = sorted(new - old - {committer})
    left = sorted(old - new - {committer})
    return (
        *notices(Notice.CHANNEL_JOINED, (channel,), joined, random),
        *notices(Notice.CHANNEL_LEFT, (channel,), left, random),
    )


def first_append(first: r.FirstMessage, commit: Commit) -> Append:
    """The message that opens a channel, checked against its genesis as the relay checks every frame."""
    if len(first.id) != 16 or len(first.payload) > PAYLOAD_BYTES or first.urgency not in set(Urgency):
        raise ProtocolError(WireError.INVALID, "the first message's id, size or urgency")
    header = parse_frame(first.payload)
    check_frame(header, commit, commit.committer)
    if header.key_class != DURABLE:
        raise SealingError(SealingCode.E_FORMAT, "the first message is durable")
    return Append(
        address(ChannelKind.CONTENT, commit.channel_id),
        Lane.LOG,
        b"",
        commit.committer,
        MessageId(first.id),
        first.payload,
        Urgency(first.urgency),
        epoch=commit.epoch,
    )


def archive_parts(held: Held[ChannelRow], by: DeviceId, random: Random) -> tuple[Part, ...]:
    """Take a channel out of service; nothing for one that is already. Its logs stay."""
    if held.row.archived:
        return ()
    channel = ChannelId(held.id)
    return (
        change(held, msgspec.structs.replace(held.row, archived=True)),
        Audit("channel_archived", by, channel, "done"),
        *notices(Notice.CHANNEL_ARCHIVED, (channel,), sorted(held.row.masks), random),
    )


# ---- boxes and grants as they are handed out


def epoch_boxes(epoch: int, own: bytes | None, shared: bytes) -> r.EpochBoxes:
    """One epoch's answer for a recipient: its own box, and what verifies it."""
    hashes, signature = _shared.decode(shared)
    box = None
    if own is not None:
        found = Box.decode(own)
        box = r.Box(found.recipient, found.kid, found.suite, found.sealed)
    return r.EpochBoxes(epoch, box, hashes, signature)


def check_grant(
    post: r.GrantPost, line: ChannelLine, directories: Directories, granter: DeviceId, now_ms: int
) -> tuple[Grant, SealedGrant]:
    """A history grant, if its granter might give it. `granter` is the authenticated device."""
    signed = signed_of(post.grant)
    grant = verify_grant(line, signed, directories, Receipt(now_ms))
    if grant.granter != granter:
        raise ProtocolError(WireError.FORBIDDEN, "a grant is posted by its granter")
    return grant, SealedGrant(signed, post.suite, post.box)


def grant_parts(grant: Grant, sealed: SealedGrant) -> tuple[Part, ...]:
    """The grant in the channel's GRANTS log, and the security event: who was given what."""
    return (
        Append(
            address(ChannelKind.GRANTS, grant.channel_id),
            Lane.LOG,
            b"",
            grant.granter,
            MessageId(grant.hash[:16]),
            sealed.encode(),
        ),
        Audit("grant", grant.granter, grant.to, f"epochs {grant.epochs[0]} to {grant.epochs[-1]}"),
    )


def check_archive(
    post: r.ArchivePost, line: ChannelLine, directories: Directories, archiver: DeviceId, now_ms: int
) -> tuple[ArchiveLabel, Archive]:
    """An ended incident's archive, if its archiver might make it. `archiver` is the authenticated device."""
    archive = Archive(signed_of(post.label), parse_suite(post.suite), post.key_box, post.wrapped)
    if len(archive.encode()) > MAX_ARCHIVE_BYTES:
        raise ProtocolError(WireError.TOO_LARGE, "archive fewer epochs")
    label = verify_archive(line, archive, directories, Receipt(now_ms))
    if label.archiver != archiver:
        raise ProtocolError(WireError.FORBIDDEN, "an archive is posted by its archiver")
    return label, archive


def archive_entry(label: ArchiveLabel, archive: Archive) -> tuple[Part, ...]:
    """The archive in the channel's GRANTS log, once a device and records key; and the security event."""
    once = sha256(b"archive" + label.channel_id + label.records_id)[:16]
    return (
        Append(
            address(ChannelKind.GRANTS, label.channel_id),
            Lane.LOG,
            b"",
            label.archiver,
            MessageId(once),
            archive.encode(),
        ),
        Audit("archived", label.archiver, label.channel_id, f"records key {label.records_id.hex()}"),
    )
