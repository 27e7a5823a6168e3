"""The records custodian: opening its boxes, and the archive of one incident.

At close a member wraps the class secrets of a channel under a fresh archive key and seals
that key to the records recipient.  Legal hold keeps the archive; shredding deletes it with its
sealed key, and with it this incident alone.  Once an archive stands, the server
deletes the records boxes of the single commits.  Every opening is logged by the caller.
Spec chapter 04, "Records".
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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
from leeside_protocol.sealing.public.acceptance import ChannelLine, Directories
from leeside_protocol.sealing.public.archive import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_EPOCHS,
    Archive,
    encode_archive_label,
    verify_archive,
)
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import PREFIX, as_list, as_uint, decode, encode, pae, sha256
from leeside_protocol.sealing.public.entries import (
    CLASSES,
    DURABLE,
    SUITE_X25519,
    RecordsAdded,
    RecordsId,
    kid_of,
    records_id_of,
)
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE

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


def make_archive(
    channel: SealedChannel,
    keys: DeviceKeys,
    records_id: RecordsId,
    directories: Directories,
    *,
    now_ms: int,
    random: Random,
) -> Archive | None:
    """Archive the durable secrets held of a channel; None when there are none that the records key may see.

    Ephemeral and media secrets are gone a minute after their epoch, and so is what they opened.  Of more than
    1,000 epochs the newest are archived.  Raises `E_RECORDS` when the key is not one of the newest commit.  Once
    archives stand (the server took them), the client deletes its own secrets (`forget_all`).
    """
    head = channel.head
    record = next((r for r in head.records if r.records_id == records_id), None)
    key = None if record is None else directories[record.agency_id].records_key(records_id)
    if record is None or key is None:
        raise SealingError(SealingCode.E_RECORDS, "not a records key of this channel")
    epochs = archivable(channel, record.class_mask)
    if not epochs:
        return None
    content = [(epoch, [(DURABLE, channel.secrets(epoch)[DURABLE])]) for epoch in epochs]
    archive_key = random(SECRET_BYTES)
    aad = pae(PREFIX + b"archive", channel.channel_id, head.incident_id, records_id)
    wrapped = AESGCM(archive_key).encrypt(_ARCHIVE_NONCE, encode(content), aad)
    payload = encode_archive_label(
        head,
        records_id,
        class_mask=1 << DURABLE,
        epochs=epochs,
        ts_ms=max(now_ms, head.ts_ms),
        wrapped_hash=sha256(wrapped),
    )
    signed = keys.identity.sign(KIND_ARCHIVE, keys.device_id, payload)
    info = pae(PREFIX + b"archivekey", signed.hash(b"archive"), records_id, record.kid)
    return Archive(signed, key.suite, hpke.seal(key.suite, key.public, info, archive_key), wrapped)


def archivable(channel: SealedChannel, class_mask: int) -> tuple[int, ...]:
    """The epochs that an archive to a records key with this class mask would hold, in order."""
    if not class_mask >> DURABLE & 1:
        return ()
    return channel.epochs_held(DURABLE)[-MAX_ARCHIVE_EPOCHS:]


def open_archive(
    key: RecordsPrivateKey, archive: Archive, line: ChannelLine, directories: Directories
) -> Mapping[int, ClassSecrets]:
    """The secrets by epoch, each held against the commitment signed at the time.  All of them or none.

    `line` is the channel's verified chain.  Raises as `verify_archive` does, and `E_RECORDS` (to another key, or
    content that is not what the label says), `E_UNKNOWN_EPOCH`, `E_BOX`, `E_AEAD`, `E_COMMITMENT`.
    """
    label = verify_archive(line, archive, directories)
    if label.records_id != key.records_id:
        raise SealingError(SealingCode.E_RECORDS, "not to this records key")
    info = pae(PREFIX + b"archivekey", label.hash, key.records_id, key.held.kid)
    archive_key = hpke.unseal(archive.suite, key.held.private, info, archive.key_box)
    aad = pae(PREFIX + b"archive", line.channel_id, label.incident_id, key.records_id)
    try:
        content = AESGCM(archive_key).decrypt(_ARCHIVE_NONCE, archive.wrapped, aad)
    except (InvalidTag, ValueError):
        raise SealingError(SealingCode.E_AEAD, "archive does not open") from None
    due = {c for c in CLASSES if label.class_mask >> c & 1}
    secrets: dict[int, ClassSecrets] = {}
    for item in decode(content, max_bytes=MAX_ARCHIVE_BYTES):
        number, classes = as_list(item, 2)
        secrets[as_uint(number)] = parse_class_secrets(classes)
    if tuple(secrets) != label.epochs or any(set(held) != due for held in secrets.values()):
        raise SealingError(SealingCode.E_RECORDS, "other epochs or classes than the label says")
    for epoch, held in secrets.items():
        commit = line.commits.get(epoch)
        if commit is None:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
        check_commitments(commit, held)
    return secrets
