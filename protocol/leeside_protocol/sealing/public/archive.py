"""Archives of an incident's secrets: what they say of themselves, and who might make them.

An observer verifies everything but what is inside.  Spec chapter 04, "Records".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec

from leeside_protocol.ids import ChannelId, DeviceId, IncidentId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.acceptance import (
    REPLAY,
    ChannelLine,
    Directories,
    Receipt,
    roster_public_key,
)
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.directory import CLOCK_BOUND_MS
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, as_uint, decode, encode, sha256
from leeside_protocol.sealing.public.entries import RecordsId, parse_class_mask, parse_suite
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE, Signed, verify_signed

MAX_ARCHIVE_BYTES: Final = 48 * 1024
"""Like a grant's: it stands in one entry of a log."""
MAX_ARCHIVE_EPOCHS: Final = 1_000


class ArchiveLabel(msgspec.Struct, frozen=True):
    """What an archive's signature says is inside: the secrets of `epochs`, of the classes in `class_mask`.

    `epoch` and `head_hash` name the channel's newest commit then; `archiver` is who signed.
    """

    channel_id: ChannelId
    incident_id: IncidentId
    epoch: int
    head_hash: bytes
    records_id: RecordsId
    class_mask: int
    epochs: tuple[int, ...]
    ts_ms: int
    wrapped_hash: bytes
    archiver: DeviceId
    hash: bytes


class Archive(msgspec.Struct, frozen=True):
    """The secrets of one channel of an incident, sealed to a records key, as it is stored and sent:
    `[[payload, signer, signature], suite, sealed key, wrapped]`.

    `wrapped` is useless without `key_box`; shredding deletes both.
    """

    signed: Signed
    suite: int
    key_box: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return f"<Archive of {len(self.wrapped)} bytes>"

    def encode(self) -> bytes:
        s = self.signed
        return encode([[s.payload, s.signer, s.signature], self.suite, self.key_box, self.wrapped])

    @classmethod
    def decode(cls, data: bytes) -> Archive:
        signed, suite, key_box, wrapped = as_list(list(decode(data, max_bytes=MAX_ARCHIVE_BYTES)), 4)
        payload, signer, signature = as_list(signed, 3)
        return cls(
            Signed(as_bytes(payload), as_bytes(signer, 16), as_bytes(signature, 64)),
            parse_suite(suite),
            as_bytes(key_box),
            as_bytes(wrapped),
        )


def is_archive(data: bytes) -> bool:
    """Whether an entry of a GRANTS log is an archive: it has four elements, and a grant three."""
    return data[:1] == b"\x94"


def encode_archive_label(
    commit: Commit,
    records_id: RecordsId,
    *,
    class_mask: int,
    epochs: tuple[int, ...],
    ts_ms: int,
    wrapped_hash: bytes,
) -> bytes:
    """The payload to sign, by the channel's newest commit."""
    return encode(
        [
            1,
            commit.channel_id,
            commit.incident_id,
            commit.epoch,
            commit.hash,
            records_id,
            class_mask,
            epochs,
            ts_ms,
            wrapped_hash,
        ]
    )


def parse_archive_label(signed: Signed) -> ArchiveLabel:
    """What the archive says of itself, unverified; `E_ENCODING` or `E_FORMAT`."""
    v, channel, incident, epoch, head, records, mask, epochs, ts, wrapped = as_list(
        list(decode(signed.payload, max_bytes=MAX_ARCHIVE_BYTES)), 10
    )
    if as_uint(v) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    numbers = tuple(as_uint(e) for e in as_list(epochs, most=MAX_ARCHIVE_EPOCHS))
    if not numbers or any(a >= b for a, b in pairwise(numbers)):
        raise SealingError(SealingCode.E_ENCODING, "epochs not rising")
    return ArchiveLabel(
        ChannelId(as_bytes(channel, 16)),
        IncidentId(as_bytes(incident, 16)),
        as_uint(epoch),
        as_bytes(head, 32),
        RecordsId(as_bytes(records, 16)),
        parse_class_mask(mask),
        numbers,
        as_uint(ts),
        as_bytes(wrapped, 32),
        DeviceId(signed.signer),
        signed.hash(b"archive"),
    )


def verify_archive(
    line: ChannelLine, archive: Archive, directories: Directories, receipt: Receipt = REPLAY
) -> ArchiveLabel:
    """The label, if its signer might archive; what is inside only the records key can tell.

    `line` must hold the commit that the archive names.  Raises `E_UNKNOWN_EPOCH`, `E_RECORDS` (another channel,
    or not to a records key of it within its classes), `E_AUTHZ`, `E_SIG`, `E_REVOKED`, `E_CLOCK`, `E_AEAD`.
    """
    label = parse_archive_label(archive.signed)
    commit = line.commits.get(label.epoch)
    if commit is None:
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
    if (label.channel_id, label.head_hash, label.incident_id) != (
        line.channel_id,
        commit.hash,
        commit.incident_id,
    ):
        raise SealingError(SealingCode.E_RECORDS, "another channel, branch or incident")
    record = next((r for r in commit.records if r.records_id == label.records_id), None)
    if record is None or label.class_mask & ~record.class_mask:
        raise SealingError(
            SealingCode.E_RECORDS, "not a records key of this channel, or more than it may see"
        )
    if label.epochs[-1] > label.epoch:
        raise SealingError(SealingCode.E_RECORDS, "an epoch yet to come")
    entry = commit.entry(label.archiver)
    if entry is None or entry.guest is not None:
        raise SealingError(SealingCode.E_AUTHZ, "archived by someone not in the roster")
    verify_signed(archive.signed, roster_public_key(commit, label.archiver, directories), KIND_ARCHIVE)
    if receipt.now_ms is not None:
        directories[entry.agency_id].live_device(label.archiver)
        if abs(label.ts_ms - receipt.now_ms) >= CLOCK_BOUND_MS:
            raise SealingError(SealingCode.E_CLOCK, "ten minutes off")
    if sha256(archive.wrapped) != label.wrapped_hash:
        raise SealingError(SealingCode.E_AEAD, "archive altered")
    return label
