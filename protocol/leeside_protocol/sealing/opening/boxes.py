"""Sealing an epoch's secrets to each recipient, and opening one's own box.

Spec chapter 04, "Boxes".  A box's content counts only once it matches the signed commitments.
"""

from __future__ import annotations

from dataclasses import dataclass

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.keys import HeldKey
from leeside_protocol.sealing.opening.schedule import (
    SECRET_BYTES,
    ClassSecrets,
    check_commitments,
    epoch_keys,
)
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import (
    PREFIX,
    Value,
    as_bytes,
    as_list,
    as_uint,
    decode,
    encode,
    pae,
)
from leeside_protocol.sealing.public.entries import CLASSES

WHOLE_EPOCH = 1
SOME_CLASSES = 2


@dataclass(frozen=True, slots=True, repr=False)
class OpenedBox:
    """Secrets that match the commit.  `chain` is there only for a holder of the whole epoch."""

    classes: ClassSecrets
    chain: bytes | None


def box_info(commit_hash: bytes, recipient: bytes, kid: bytes) -> bytes:
    return pae(PREFIX + b"box", commit_hash, recipient, kid)


def whole_epoch(secret: bytes) -> bytes:
    """The plaintext for a full member: the epoch secret."""
    return encode([WHOLE_EPOCH, secret])


def some_classes(secrets: ClassSecrets, class_mask: int) -> bytes:
    """The plaintext for records keys, masked devices and guests: only their classes."""
    return encode([SOME_CLASSES, [[c, secrets[c]] for c in CLASSES if class_mask >> c & 1]])


def seal_box(commit: Commit, recipient: bytes, kid: bytes, public: bytes, plaintext: bytes) -> Box:
    sealed = hpke.seal(commit.suite, public, box_info(commit.hash, recipient, kid), plaintext)
    return Box(recipient, kid, commit.suite, sealed)


def open_box(commit: Commit, box: Box, key: HeldKey, *, class_mask: int, whole: bool) -> OpenedBox:
    """The secrets in one's own box, checked against the commit.

    `class_mask` and `whole` are what the commit's roster or records entry says.  Raises
    `E_BOX` (does not open, or holds another kind than the entry calls for), `E_ENCODING`
    is reported as `E_BOX` too; `E_COMMITMENT` when the secrets are not those signed.
    """
    if box.kid != key.kid or box.suite != commit.suite:
        raise SealingError(SealingCode.E_BOX, "box under another key")
    plaintext = hpke.unseal(box.suite, key.private, box_info(commit.hash, box.recipient, box.kid), box.sealed)
    try:
        kind, content = as_list(list(decode(plaintext)), 2)
        opened = _parse_content(commit, as_uint(kind), content)
    except SealingError:
        raise SealingError(SealingCode.E_BOX, "malformed content") from None
    due = set(CLASSES) if whole else {c for c in CLASSES if class_mask >> c & 1}
    if whole != (opened.chain is not None) or set(opened.classes) != due:
        raise SealingError(SealingCode.E_BOX, "other content than the roster calls for")
    check_commitments(commit, opened.classes)
    return opened


def _parse_content(commit: Commit, kind: int, content: Value) -> OpenedBox:
    if kind == WHOLE_EPOCH:
        secret = as_bytes(content, SECRET_BYTES)
        keys = epoch_keys(secret, commit.channel_id, commit.epoch, commit.prev_hash)
        return OpenedBox(keys.classes, keys.chain)
    if kind == SOME_CLASSES:
        return OpenedBox(parse_class_secrets(content), None)
    raise SealingError(SealingCode.E_ENCODING, "unknown kind of box")


def parse_class_secrets(value: Value) -> ClassSecrets:
    """`[[class, secret]..]`, classes rising; `E_ENCODING`."""
    secrets: ClassSecrets = {}
    last = 0
    for item in as_list(value, most=len(CLASSES)):
        number, secret = as_list(item, 2)
        key_class = as_uint(number, max(CLASSES))
        if key_class <= last:
            raise SealingError(SealingCode.E_ENCODING, "classes not rising")
        secrets[key_class] = as_bytes(secret, SECRET_BYTES)
        last = key_class
    return secrets
