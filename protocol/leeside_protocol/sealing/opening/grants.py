"""Giving a member earlier context, and taking it.

The receiver checks every secret against the commitment signed at the time, so history
cannot be made up.  Spec chapter 04, "History grants".
"""

from __future__ import annotations

from dataclasses import dataclass

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.boxes import parse_class_secrets
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.keys import DeviceKeys, HeldKey
from leeside_protocol.sealing.opening.schedule import ClassSecrets, check_commitments
from leeside_protocol.sealing.public.acceptance import REPLAY, Directories, Receipt
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.encoding import PREFIX, as_list, as_uint, decode, encode, pae
from leeside_protocol.sealing.public.entries import CLASSES, RecordsId
from leeside_protocol.sealing.public.grant import (
    MAX_GRANT_BYTES,
    Grant,
    SealedGrant,
    encode_grant,
    verify_grant,
)
from leeside_protocol.sealing.public.signed import KIND_GRANT


@dataclass(frozen=True, slots=True)
class _Receiver:
    recipient: bytes
    kid: bytes
    public: bytes


def grant_info(grant_hash: bytes, to: bytes, kid: bytes) -> bytes:
    return pae(PREFIX + b"grantbox", grant_hash, to, kid)


def make_grant(
    channel: SealedChannel,
    keys: DeviceKeys,
    *,
    to: bytes,
    epochs: tuple[int, ...],
    class_mask: int,
    directories: Directories,
    device_keys: DeviceKeyBook,
    now_ms: int,
) -> SealedGrant:
    """Give a roster device (or a records key) the secrets of the named epochs, no others.

    Raises `E_GRANT` (not in the roster, or more than it may see), `E_AUTHZ` (may not
    grant), `E_NO_KEY` (a secret not held here), `E_DEVKEY` (the receiver is dormant),
    `E_REVOKED`.  Post the result; it is kept, so who was given what can be audited.
    """
    head = channel.head
    receiver = _receiver(head, to, directories, device_keys, now_ms)
    payload = encode_grant(
        channel_id=channel.channel_id,
        epoch=head.epoch,
        head_hash=head.hash,
        to=to,
        kid=receiver.kid,
        epochs=tuple(sorted(set(epochs))),
        class_mask=class_mask,
        ts_ms=max(now_ms, head.ts_ms),
    )
    signed = keys.identity.sign(KIND_GRANT, keys.device_id, payload)
    grant = verify_grant(channel.line, signed, directories, Receipt(max(now_ms, head.ts_ms)))
    content: list[tuple[int, list[tuple[int, bytes]]]] = []
    for epoch in grant.epochs:
        held = channel.secrets(epoch)
        wanted = [c for c in CLASSES if class_mask >> c & 1]
        if any(c not in held for c in wanted):
            raise SealingError(SealingCode.E_NO_KEY, "a secret not held here")
        content.append((epoch, [(c, held[c]) for c in wanted]))
    info = grant_info(grant.hash, to, receiver.kid)
    return SealedGrant(signed, head.suite, hpke.seal(head.suite, receiver.public, info, encode(content)))


def _receiver(
    head: Commit, to: bytes, directories: Directories, device_keys: DeviceKeyBook, now_ms: int
) -> _Receiver:
    for record in head.records:
        if record.records_id == RecordsId(to):
            key = directories[record.agency_id].records_key(record.records_id)
            if key is not None:
                return _Receiver(to, record.kid, key.public)
    entry = head.entry(DeviceId(to))
    if entry is None:
        raise SealingError(SealingCode.E_GRANT, "receiver not in the signed roster")
    if entry.guest is not None:
        return _Receiver(to, entry.kid, entry.guest.hpke_public)
    device_key = device_keys.current(entry.device_id, now_ms)
    if device_key is None:
        raise SealingError(SealingCode.E_DEVKEY, "receiver has no valid DeviceKey")
    return _Receiver(to, device_key.kid, device_key.public)


def accept_grant(
    channel: SealedChannel,
    sealed: SealedGrant,
    keys: DeviceKeys,
    directories: Directories,
    receipt: Receipt = REPLAY,
) -> tuple[int, ...]:
    """Take the secrets of a grant to this device; the epochs given.  All of them or none.

    Raises as `verify_grant` does, and `E_GRANT` (to another device, or content that is not
    what the grant says), `E_NO_KEY`, `E_BOX`, `E_UNKNOWN_EPOCH`, `E_COMMITMENT`.
    """
    grant = verify_grant(channel.line, sealed.signed, directories, receipt)
    if grant.to != channel.device_id:
        raise SealingError(SealingCode.E_GRANT, "to another device")
    secrets = open_grant(grant, sealed, keys.held(grant.kid))
    for epoch, held in secrets.items():
        commit = channel.line.commits.get(epoch)
        if commit is None:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
        check_commitments(commit, held)
    for epoch, held in secrets.items():
        channel.add_secrets(epoch, held)
    return grant.epochs


def open_grant(grant: Grant, sealed: SealedGrant, key: HeldKey) -> dict[int, ClassSecrets]:
    """The secrets in a verified grant's box, by epoch; not yet held against commitments."""
    info = grant_info(grant.hash, grant.to, grant.kid)
    plaintext = hpke.unseal(sealed.suite, key.private, info, sealed.box)
    due = {c for c in CLASSES if grant.class_mask >> c & 1}
    secrets: dict[int, ClassSecrets] = {}
    for item in decode(plaintext, max_bytes=MAX_GRANT_BYTES):
        epoch, held = as_list(item, 2)
        classes = parse_class_secrets(held)
        if set(classes) != due:
            raise SealingError(SealingCode.E_GRANT, "other classes than the grant says")
        secrets[as_uint(epoch)] = classes
    if tuple(secrets) != grant.epochs:
        raise SealingError(SealingCode.E_GRANT, "other epochs than the grant says")
    return secrets
