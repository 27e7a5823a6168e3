"""Attachments: a random key per file, 64 KiB chunks, nothing cut off or moved unnoticed.

The key travels in a durable message.  Chunk i is AES-256-GCM with nonce
`u88 i || u8 last` and the file id as aad.  Every chunk but the last holds exactly 64 KiB of
plaintext; the last holds at most that, and may be empty.  Spec chapter 04, "Attachments".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.schedule import Random
from leeside_protocol.sealing.public.encoding import Value, as_bytes, as_list, as_uint

CHUNK_BYTES: Final = 65_536
SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + 16
FILE_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, repr=False)
class AttachmentKey:
    """A file's id and key: for one file's content only, never for two."""

    file_id: bytes
    key: bytes
    size_bytes: int

    @classmethod
    def create(cls, random: Random, size_bytes: int) -> AttachmentKey:
        return cls(random(FILE_ID_BYTES), random(32), size_bytes)

    @property
    def chunks(self) -> int:
        return max(1, -(-self.size_bytes // CHUNK_BYTES))

    @property
    def sealed_bytes(self) -> int:
        """The size of all sealed chunks together."""
        return self.size_bytes + 16 * self.chunks

    def fields(self) -> list[bytes | int]:
        """What goes into the durable message that names the file."""
        return [self.file_id, self.key, self.size_bytes]

    @classmethod
    def parse(cls, value: Value) -> AttachmentKey:
        file_id, key, size = as_list(value, 3)
        return cls(as_bytes(file_id, FILE_ID_BYTES), as_bytes(key, 32), as_uint(size))

    def _plain_bytes(self, index: int) -> int:
        last = self.chunks - 1
        if not 0 <= index <= last:
            raise SealingError(SealingCode.E_ATTACHMENT, "no such chunk")
        return CHUNK_BYTES if index < last else self.size_bytes - CHUNK_BYTES * last

    def _nonce(self, index: int) -> bytes:
        return index.to_bytes(11, "big") + bytes([index == self.chunks - 1])

    def seal_chunk(self, index: int, plain: bytes) -> bytes:
        """Sealed chunk `index`; the same bytes each time, so an upload can resume anywhere.

        `E_ATTACHMENT` when `plain` is not the size that this chunk must have.
        """
        if len(plain) != self._plain_bytes(index):
            raise SealingError(SealingCode.E_ATTACHMENT, "chunk size")
        return AESGCM(self.key).encrypt(self._nonce(index), plain, self.file_id)

    def open_chunk(self, index: int, sealed: bytes) -> bytes:
        """The plaintext of chunk `index`; `E_ATTACHMENT` when altered, moved or of another size."""
        if len(sealed) != self._plain_bytes(index) + 16:
            raise SealingError(SealingCode.E_ATTACHMENT, "chunk size")
        try:
            return AESGCM(self.key).decrypt(self._nonce(index), sealed, self.file_id)
        except InvalidTag:
            raise SealingError(SealingCode.E_ATTACHMENT, "chunk does not open") from None

    def seal_all(self, data: Iterable[bytes]) -> Iterator[bytes]:
        """Sealed chunks of a file read in pieces of any size; `E_ATTACHMENT` if its size differs."""
        held, index = bytearray(), 0
        for piece in data:
            held += piece
            while len(held) > CHUNK_BYTES or (len(held) == CHUNK_BYTES and index < self.chunks - 1):
                yield self.seal_chunk(index, bytes(held[:CHUNK_BYTES]))
                del held[:CHUNK_BYTES]
                index += 1
        if index != self.chunks - 1:
            raise SealingError(SealingCode.E_ATTACHMENT, "file shorter than announced")
        yield self.seal_chunk(index, bytes(held))

    def open_all(self, sealed: Iterable[bytes]) -> Iterator[bytes]:
        """Plain chunks of the sealed ones in order.

        Nothing counts before the iterator ends without error: a file cut short raises
        `E_ATTACHMENT` at its end.
        """
        index = 0
        for chunk in sealed:
            yield self.open_chunk(index, chunk)
            index += 1
        if index != self.chunks:
            raise SealingError(SealingCode.E_ATTACHMENT, "file cut short")
