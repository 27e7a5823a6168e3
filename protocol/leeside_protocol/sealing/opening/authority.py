"""Signing an agency's directory: the root, its authorities, and the second signature.

These keys live with an admin's enrolled machine or in a file that the command line keeps;
never on the server.  Spec chapter 04, "Directory".
"""

from __future__ import annotations

from typing import Final

from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import (
    Entry,
    Operation,
    SignedEntry,
    agency_id_of,
    authority_id_of,
    cosigning_input,
    encode_entry,
)
from leeside_protocol.sealing.public.signed import KIND_DIRECTORY


class AuthorityKey:
    """A key that signs directory entries: an agency's root, or one of its authorities."""

    def __init__(self, key: SigningKey, *, root: bool = False) -> None:
        self.key: Final = key
        self.signer_id: Final[bytes] = agency_id_of(key.public) if root else authority_id_of(key.public)

    def sign_entry(self, directory: Directory, operation: Operation, ts_ms: int) -> SignedEntry:
        """The entry that follows the directory's head.

        Its time is never before the head's.  The caller applies it to a directory (which
        says whether this authority may) and posts it; where `dual_control` holds, another
        authority adds `cosign` first.
        """
        entry = Entry(
            directory.agency_id, directory.seq + 1, directory.head, max(ts_ms, directory.ts_ms), operation
        )
        return SignedEntry(self.key.sign(KIND_DIRECTORY, self.signer_id, encode_entry(entry)))

    def cosign(self, entry: SignedEntry) -> SignedEntry:
        """The same entry with this authority's second signature.  Read what it says first."""
        signature = self.key.sign_raw(cosigning_input(entry.signed, self.signer_id))
        return SignedEntry(entry.signed, self.signer_id, signature)
