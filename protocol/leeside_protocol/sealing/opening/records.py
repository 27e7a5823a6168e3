"""The records custodian: opening its boxes, and the archive of one incident.

At close a member wraps the class secrets of a channel under a fresh archive key and seals
that key to the records recipient.  Legal hold keeps the archive; shredding deletes the
sealed archive key, and with it this incident alone.  Once an archive stands, the server
deletes the records boxes of the single commits.  Every opening is logged by the caller.
Spec chapter 04, "Records".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside_protocol.ids import ChannelId, IncidentId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.boxes import OpenedBox, open_box, parse_class_secrets
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.keys import DeviceKeys, HeldKey
from leeside_protocol.sealing.opening.schedule import (
    SECRET_BYTES,
    ClassSecrets,
    Random,
    check_commitments,
)
from leeside_protocol.sealing.public.acceptance import ChannelLine, Directories, roster_public_key
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import (
    PREFIX,
    as_bytes,
    as_list,
    as_uint,
    decode,
    encode,
    pae,
    sha256,
)
from leeside_protocol.sealing.public.entries import (
    CLASSES,
    SUITE_X25519,
    RecordsAdded,
    RecordsId,
    kid_of,
    parse_suite,
    records_id_of,
)
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE, Signed, verify_signed

MAX_ARCHIVE_BYTES = 4 * 1024 * 1024
# The archive key is used for one ciphertext only, so its nonce may be fixed.
_ARCHIVE_NONCE = bytes(12)


class RecordsPrivateKey:
    """A records custodian's private key: kept offline, used to open, never to send."""

    def __init__(self, private: bytes) -> None:
        self.public = hpke.public_of(private)
        self.records_id: RecordsId = records_id_of(self.public)
        kid = kid_of(self.public)
        self.held = HeldKey(kid, SUITE_X25519, private, 0, 0, None)

    @classmethod
    def create(cls, random: Random) -> RecordsPrivateKey:
        return cls(random(32))

    def entry(
        self, *, compartments: int, class_mask: int, not_before_ms: int, not_after_ms: int
    ) -> RecordsAdded:
        """The `rec+` operation that authorities sign."""
        return RecordsAdded(SUITE_X25519, self.public, compartments, class_mask, not_before_ms, not_after_ms)


def open_records_box(key: RecordsPrivateKey, commit: Commit, box: Box) -> OpenedBox:
    """The classes of an epoch that the records key may read; `E_RECORDS`, `E_BOX`, `E_COMMITMENT`."""
    for record in commit.records:
        if record.records_id == key.records_id and box.recipient == key.records_id:
            return open_box(commit, box, key.held, class_mask=record.class_mask, whole=False)
    raise SealingError(SealingCode.E_RECORDS, "not a records key of this commit")


@dataclass(frozen=True, slots=True, repr=False)
class Archive:
    """The secrets of one channel of an incident, sealed to a records key.

    `signed` names what is inside; `key_box` is what shredding deletes; `wrapped` is useless
    without it.
    """

    signed: Signed
    suite: int
    key_box: bytes
    wrapped: bytes

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


@dataclass(frozen=True, slots=True)
class ArchiveLabel:
    """What an archive's signature says is inside."""

    channel_id: ChannelId
    incident_id: IncidentId
    epoch: int
    head_hash: bytes
    records_id: RecordsId
    class_mask: int
    ts_ms: int
    wrapped_hash: bytes


def make_archive(
    channel: SealedChannel,
    keys: DeviceKeys,
    records_id: RecordsId,
    directories: Directories,
    *,
    now_ms: int,
    random: Random,
) -> Archive:
    """Archive all secrets held of a channel, within the records key's classes.

    Raises `E_RECORDS` when the key is not one of the newest commit.  Once the server says
    that the archive stands, the client deletes its own secrets within 24 h (`forget_all`).
    """
    head = channel.head
    record = next((r for r in head.records if r.records_id == records_id), None)
    key = None if record is None else directories[record.agency_id].records_key(records_id)
    if record is None or key is None:
        raise SealingError(SealingCode.E_RECORDS, "not a records key of this channel")
    content: list[tuple[int, list[tuple[int, bytes]]]] = []
    for epoch in sorted(channel.line.commits):
        held = channel.secrets(epoch)
        given: list[tuple[int, bytes]] = [
            (c, held[c]) for c in CLASSES if record.class_mask >> c & 1 and c in held
        ]
        if given:
            content.append((epoch, given))
    archive_key = random(SECRET_BYTES)
    aad = pae(PREFIX + b"archive", channel.channel_id, head.incident_id, records_id)
    wrapped = AESGCM(archive_key).encrypt(_ARCHIVE_NONCE, encode(content), aad)
    payload = encode(
        [
            1,
            channel.channel_id,
            head.incident_id,
            head.epoch,
            head.hash,
            records_id,
            record.class_mask,
            now_ms,
            sha256(wrapped),
        ]
    )
    signed = keys.identity.sign(KIND_ARCHIVE, keys.device_id, payload)
    info = pae(PREFIX + b"archivekey", signed.hash(b"archive"), records_id, record.kid)
    return Archive(signed, key.suite, hpke.seal(key.suite, key.public, info, archive_key), wrapped)


def parse_archive_label(signed: Signed) -> ArchiveLabel:
    """What the archive says of itself, unverified; `E_ENCODING`."""
    v, channel, incident, epoch, head, records, mask, ts, wrapped = as_list(list(decode(signed.payload)), 9)
    if as_uint(v) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    return ArchiveLabel(
        ChannelId(as_bytes(channel, 16)),
        IncidentId(as_bytes(incident, 16)),
        as_uint(epoch),
        as_bytes(head, 32),
        RecordsId(as_bytes(records, 16)),
        as_uint(mask),
        as_uint(ts),
        as_bytes(wrapped, 32),
    )


def open_archive(
    key: RecordsPrivateKey, archive: Archive, line: ChannelLine, directories: Directories
) -> Mapping[int, ClassSecrets]:
    """The secrets by epoch, each held against the commitment signed at the time.

    `line` is the channel's verified chain.  Raises `E_RECORDS` (not to this key, or another
    channel), `E_UNKNOWN_EPOCH`, `E_SIG`, `E_BOX`, `E_AEAD`, `E_COMMITMENT`.
    """
    label = parse_archive_label(archive.signed)
    commit = line.commits.get(label.epoch)
    if commit is None:
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
    if (label.channel_id, label.head_hash) != (line.channel_id, commit.hash):
        raise SealingError(SealingCode.E_RECORDS, "another channel or branch")
    record = next((r for r in commit.records if r.records_id == key.records_id), None)
    if record is None or label.records_id != key.records_id:
        raise SealingError(SealingCode.E_RECORDS, "not to this records key")
    signer = next((e.device_id for e in commit.roster if e.device_id == archive.signed.signer), None)
    if signer is None:
        raise SealingError(SealingCode.E_AUTHZ, "archived by someone not in the roster")
    verify_signed(archive.signed, roster_public_key(commit, signer, directories), KIND_ARCHIVE)
    if sha256(archive.wrapped) != label.wrapped_hash:
        raise SealingError(SealingCode.E_AEAD, "archive altered")
    info = pae(PREFIX + b"archivekey", archive.signed.hash(b"archive"), key.records_id, record.kid)
    archive_key = hpke.unseal(archive.suite, key.held.private, info, archive.key_box)
    aad = pae(PREFIX + b"archive", line.channel_id, label.incident_id, key.records_id)
    try:
        content = AESGCM(archive_key).decrypt(_ARCHIVE_NONCE, archive.wrapped, aad)
    except (InvalidTag, ValueError):
        raise SealingError(SealingCode.E_AEAD, "archive does not open") from None
    secrets: dict[int, ClassSecrets] = {}
    for item in decode(content, max_bytes=MAX_ARCHIVE_BYTES):
        number, held = as_list(item, 2)
        epoch = as_uint(number)
        signed_then = line.commits.get(epoch)
        if signed_then is None:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
        secrets[epoch] = parse_class_secrets(held)
        check_commitments(signed_then, secrets[epoch])
    return secrets
