"""Boxes as an observer without keys sees them, and the committer's signature over all of them.

A box is `[recipient_id, kid8, suite, enc||ct]`.  It is not signed itself: what it holds must
match the signed commitments.  The signature over the list says whom to blame for a box that
does not open: a box that is not in the list was changed by the server, one that is in it was
made so by the committer.  Spec chapter 04, "Boxes".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.device_key import NO_KID
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, decode, digest, encode, pae, u64
from leeside_protocol.sealing.public.entries import parse_suite
from leeside_protocol.sealing.public.signed import KIND_BOXES, signing_input, verify_raw

MAX_BOX_BYTES: Final = 1024


class Box(msgspec.Struct, frozen=True):
    """One recipient's sealed secret of an epoch."""

    recipient: bytes
    kid: bytes
    suite: int
    sealed: bytes

    def encode(self) -> bytes:
        return encode([self.recipient, self.kid, self.suite, self.sealed])

    @classmethod
    def decode(cls, data: bytes) -> Box:
        recipient, kid, suite, sealed = as_list(list(decode(data, max_bytes=MAX_BOX_BYTES)), 4)
        return cls(as_bytes(recipient, 16), as_bytes(kid, 8), parse_suite(suite), as_bytes(sealed))

    @property
    def hash(self) -> bytes:
        return digest(b"box", self.recipient, self.kid, u64(self.suite), self.sealed)


class BoxList(msgspec.Struct, frozen=True):
    """The hashes of all boxes of a commit, ordered by recipient, and the committer's signature."""

    hashes: tuple[bytes, ...]
    signature: bytes


def recipients_of(commit: Commit) -> dict[bytes, bytes]:
    """Who must get a box: recipient id to kid.  Dormant devices get none."""
    found: dict[bytes, bytes] = {e.device_id: e.kid for e in commit.roster if e.kid != NO_KID}
    found.update({r.records_id: r.kid for r in commit.records})
    return found


def box_list_input(commit: Commit, hashes: Sequence[bytes]) -> bytes:
    """What the committer signs over the boxes; `hashes` are ordered by recipient id."""
    return signing_input(KIND_BOXES, commit.committer, pae(commit.hash, *hashes))


def verify_box_list(commit: Commit, box_list: BoxList, committer_public: bytes) -> None:
    """That the committer signed this list for this commit; else `E_BOXLIST`."""
    if len(box_list.hashes) != len(recipients_of(commit)):
        raise SealingError(SealingCode.E_BOXLIST, "a box for each recipient, and no other")
    try:
        verify_raw(committer_public, box_list.signature, box_list_input(commit, box_list.hashes))
    except SealingError:
        raise SealingError(SealingCode.E_BOXLIST, "signature over the boxes") from None


def verify_boxes(commit: Commit, boxes: Sequence[Box], signature: bytes, committer_public: bytes) -> BoxList:
    """What the server checks before it stores a commit's boxes.

    One box for each recipient of the roster and the records, under the kid that the commit
    names, and the committer's signature over the list; else `E_BOXLIST`.
    """
    expected = recipients_of(commit)
    ordered = sorted(boxes, key=lambda b: b.recipient)
    if [b.recipient for b in ordered] != sorted(expected):
        raise SealingError(SealingCode.E_BOXLIST, "a box for each recipient, and no other")
    for box in ordered:
        if box.kid != expected[box.recipient] or box.suite != commit.suite:
            raise SealingError(SealingCode.E_BOXLIST, "a box under another key than the commit names")
        if len(box.encode()) > MAX_BOX_BYTES:
            # `decode` would refuse it, and with it the page of boxes in which the recipient asks for it.
            raise SealingError(SealingCode.E_BOXLIST, "box too large")
    box_list = BoxList(tuple(b.hash for b in ordered), signature)
    verify_box_list(commit, box_list, committer_public)
    return box_list
