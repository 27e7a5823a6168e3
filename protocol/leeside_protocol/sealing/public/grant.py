"""History grants as an observer without keys sees them: who gave whom which epochs.

Payload: `[v=1, channel, epoch, head_hash, to, kid, epochs, class_mask, ts]`, signed by the
granter as "grant"; beside it an HPKE box.  Spec chapter 04, "History grants".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.acceptance import (
    REPLAY,
    ChannelLine,
    Directories,
    Receipt,
    certificate_for,
)
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.directory import CLOCK_BOUND_MS
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, as_uint, decode, encode
from leeside_protocol.sealing.public.entries import CAP_GRANT, RecordsId, parse_class_mask, parse_suite
from leeside_protocol.sealing.public.signed import KIND_GRANT, Signed, verify_signed

MAX_GRANT_EPOCHS: Final = 256
MAX_GRANT_BYTES: Final = 48 * 1024


class Grant(msgspec.Struct, frozen=True):
    """A parsed grant.  `to` is a device in the roster, or a records id."""

    channel_id: ChannelId
    epoch: int
    head_hash: bytes
    to: bytes
    kid: bytes
    epochs: tuple[int, ...]
    class_mask: int
    ts_ms: int
    granter: DeviceId
    hash: bytes
    signed: Signed


class SealedGrant(msgspec.Struct, frozen=True):
    """A grant with its box, as it is stored and sent: `[grant, suite, enc||ct]`."""

    signed: Signed
    suite: int
    box: bytes

    def encode(self) -> bytes:
        s = self.signed
        return encode([[s.payload, s.signer, s.signature], self.suite, self.box])

    @classmethod
    def decode(cls, data: bytes) -> SealedGrant:
        signed, suite, box = as_list(list(decode(data, max_bytes=MAX_GRANT_BYTES)), 3)
        payload, signer, signature = as_list(signed, 3)
        return cls(
            Signed(as_bytes(payload), as_bytes(signer, 16), as_bytes(signature, 64)),
            parse_suite(suite),
            as_bytes(box),
        )


def encode_grant(
    *,
    channel_id: ChannelId,
    epoch: int,
    head_hash: bytes,
    to: bytes,
    kid: bytes,
    epochs: tuple[int, ...],
    class_mask: int,
    ts_ms: int,
) -> bytes:
    """The payload to sign."""
    return encode([1, channel_id, epoch, head_hash, to, kid, epochs, class_mask, ts_ms])


def parse_grant(signed: Signed) -> Grant:
    """The grant in `signed`, unverified; `E_ENCODING` or `E_FORMAT`."""
    v, channel, epoch, head, to, kid, epochs, mask, ts = as_list(
        list(decode(signed.payload, max_bytes=MAX_GRANT_BYTES)), 9
    )
    if as_uint(v) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    numbers = tuple(as_uint(e) for e in as_list(epochs, most=MAX_GRANT_EPOCHS))
    if not numbers or any(a >= b for a, b in pairwise(numbers)):
        raise SealingError(SealingCode.E_ENCODING, "epochs not rising")
    return Grant(
        ChannelId(as_bytes(channel, 16)),
        as_uint(epoch),
        as_bytes(head, 32),
        as_bytes(to, 16),
        as_bytes(kid, 8),
        numbers,
        parse_class_mask(mask),
        as_uint(ts),
        DeviceId(signed.signer),
        signed.hash(b"grant"),
        signed,
    )


def verify_grant(
    line: ChannelLine, signed: Signed, directories: Directories, receipt: Receipt = REPLAY
) -> Grant:
    """The grant, if its granter might give it; checked against the commit it names.

    The granter needs GRANT, unless the receiver was in the roster of every epoch given with
    that sight: then it is a re-seal of what was theirs (the line must hold those commits).
    The receiver must be in the *signed* roster, or among the records keys, of the commit
    that the grant names.  Raises `E_UNKNOWN_EPOCH` (fetch commits first), `E_CHAIN`,
    `E_AUTHZ`, `E_GRANT`, `E_REVOKED`, `E_CLOCK`, `E_SIG`.
    """
    grant = parse_grant(signed)
    if grant.channel_id != line.channel_id:
        raise SealingError(SealingCode.E_CHAIN, "another channel")
    commit = line.commits.get(grant.epoch)
    if commit is None:
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
    if commit.hash != grant.head_hash:
        raise SealingError(SealingCode.E_CHAIN, "another branch")
    entry = commit.entry(grant.granter)
    if entry is None or entry.guest is not None:
        raise SealingError(SealingCode.E_AUTHZ, "granter not in the roster")
    head = commit.head_of(entry.agency_id)
    certificate = certificate_for(directories, entry.agency_id, grant.granter)
    if certificate is None or head is None:
        raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "granter not certified")
    verify_signed(signed, certificate.public, KIND_GRANT)
    newest = directories[entry.agency_id].seq
    if certificate.revoked_as_of(newest if receipt.now_ms is not None else head.seq):
        raise SealingError(SealingCode.E_REVOKED, "granter revoked")
    if receipt.now_ms is not None and abs(grant.ts_ms - receipt.now_ms) >= CLOCK_BOUND_MS:
        raise SealingError(SealingCode.E_CLOCK, "ten minutes off")
    if grant.ts_ms > certificate.not_after_ms:
        raise SealingError(SealingCode.E_EXPIRED, "granter expired")
    _check_receiver(grant, commit, directories, receipt)
    if grant.epochs[-1] > commit.epoch:
        raise SealingError(SealingCode.E_GRANT, "an epoch yet to come")
    if not certificate.caps & CAP_GRANT and not _is_reseal(grant, line):
        raise SealingError(SealingCode.E_AUTHZ, "may not grant")
    return grant


def _sight_of(commit: Commit, to: bytes) -> int | None:
    """The class mask of a device or a records key in a commit."""
    for entry in commit.roster:
        if entry.device_id == to:
            return entry.class_mask
    for record in commit.records:
        if record.records_id == RecordsId(to):
            return record.class_mask
    return None


def _check_receiver(grant: Grant, commit: Commit, directories: Directories, receipt: Receipt) -> None:
    mask = _sight_of(commit, grant.to)
    if mask is None:
        raise SealingError(SealingCode.E_GRANT, "receiver not in the signed roster")
    if grant.class_mask & ~mask:
        raise SealingError(SealingCode.E_GRANT, "more than the receiver may see")
    entry = commit.entry(DeviceId(grant.to))
    if receipt.now_ms is not None and entry is not None and entry.guest is None:
        directories[entry.agency_id].live_device(entry.device_id)


def _is_reseal(grant: Grant, line: ChannelLine) -> bool:
    for epoch in grant.epochs:
        commit = line.commits.get(epoch)
        mask = None if commit is None else _sight_of(commit, grant.to)
        if mask is None or grant.class_mask & ~mask:
            return False
    return True
