"""Files: sealed chunk by chunk on this device, sent and fetched over HTTP, going on where it broke off.

The server sees how large the sealed file is and nothing else. The key travels in the message that names the file.
An upload that broke off resumes from what the server has: the same key seals the same bytes to the same chunks,
so its state (key and blob id) is kept until the message is in the outbox.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from leeside.api import ApiError
from leeside.bodies import Attachment
from leeside.errors import LeesideError, Refused
from leeside.history import History
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import BlobId, ChannelId
from leeside_protocol.limits import BLOB_BYTES
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.attachments import CHUNK_BYTES, AttachmentKey
from leeside_protocol.sealing.opening.schedule import Random

Progressed = Callable[[int, int], None]
"""Told (bytes done, bytes in all) after each chunk."""
_READ_BYTES: Final = 1_048_576
_SEALED_BYTES: Final = CHUNK_BYTES + 16
_DAMAGED: Final = "the file does not open: it was changed or cut short"


class AttachmentDamaged(LeesideError):
    """What was fetched is not the file that the message names: it was discarded."""


class BlobApi(Protocol):
    """What of the server's HTTP half this module needs."""

    async def create_blob(self, channel: bytes | str, body: r.NewBlob) -> r.Blob: ...
    async def blob(self, blob: bytes | str) -> r.Blob: ...
    async def put_chunk(self, blob: bytes | str, index: int, data: bytes) -> None: ...
    async def chunk(self, blob: bytes | str, index: int) -> bytes: ...


class _Upload(msgspec.Struct, frozen=True, array_like=True):
    """A begun upload, kept sealed in the history."""

    blob: bytes
    file_id: bytes
    key: bytes
    size_bytes: int
    sha256: bytes

    def __repr__(self) -> str:
        return "_Upload(...)"


class Attachments:
    """Uploads and downloads of one device."""

    def __init__(self, api: BlobApi, history: History, random: Random) -> None:
        self._api = api
        self._history = history
        self._random = random

    async def upload(
        self,
        channel: ChannelId,
        path: Path,
        *,
        media_type: str = "",
        caption: str = "",
        progressed: Progressed | None = None,
    ) -> Attachment:
        """Send a file's sealed chunks; the content that names it, to be published.

        Call it again with the same file after a failure: it goes on where it broke off. Raises `ApiError`;
        `Refused` (`too_large`) when the file is beyond 64 MiB sealed; `LeesideError` when it changed under way.
        """
        sha256, size_bytes = _measure(path)
        note = f"upload {channel.hex()} {sha256.hex()}"
        upload, have = await self._begin(channel, note, sha256, size_bytes)
        key = AttachmentKey(upload.file_id, upload.key, upload.size_bytes)
        done = 0
        with path.open("rb") as file:
            for index, plain in enumerate(_pieces(file, key.chunks)):
                if index not in have:
                    await self._put(upload, key, index, plain)
                done += len(plain)
                if progressed is not None:
                    progressed(done, size_bytes)
        if _measure(path) != (sha256, size_bytes):
            self._history.keep_note(note, b"")
            raise LeesideError("the file changed while it was being sent: send it again")
        return Attachment(
            BlobId(upload.blob), key.key, key.file_id, size_bytes, sha256, path.name, media_type, caption
        )

    def sent(self, channel: ChannelId, attachment: Attachment) -> None:
        """The message that names the file is in the outbox: sending the file again is a new upload."""
        self._history.keep_note(f"upload {channel.hex()} {attachment.sha256.hex()}", b"")

    async def _begin(
        self, channel: ChannelId, note: str, sha256: bytes, size_bytes: int
    ) -> tuple[_Upload, frozenset[int]]:
        kept = self._history.note(note)
        if kept:
            upload = msgspec.msgpack.decode(kept, type=_Upload)
            try:
                blob = await self._api.blob(BlobId(upload.blob))
            except ApiError as error:
                if error.code not in {WireError.NOT_FOUND, WireError.EXPIRED}:
                    raise
            else:
                return upload, frozenset(blob.have)
        key = AttachmentKey.create(self._random, size_bytes)
        if key.sealed_bytes > BLOB_BYTES:
            raise Refused(WireError.TOO_LARGE, "an attachment has 64 MiB at most")
        blob = await self._api.create_blob(channel, r.NewBlob(key.sealed_bytes))
        upload = _Upload(bytes.fromhex(blob.id), key.file_id, key.key, size_bytes, sha256)
        self._history.keep_note(note, msgspec.msgpack.encode(upload))
        return upload, frozenset(blob.have)

    async def _put(self, upload: _Upload, key: AttachmentKey, index: int, plain: bytes) -> None:
        try:
            sealed = key.seal_chunk(index, plain)
        except SealingError:
            raise LeesideError("the file changed while it was being sent: send it again") from None
        await self._api.put_chunk(BlobId(upload.blob), index, sealed)

    async def download(
        self, attachment: Attachment, path: Path, *, progressed: Progressed | None = None
    ) -> None:
        """Fetch a file to `path`, which appears only when it is whole and proved.

        What was fetched before a failure is kept beside it (`.part`, still sealed) and not fetched again.
        Raises `ApiError`, `AttachmentDamaged`.
        """
        key = AttachmentKey(attachment.file_id, attachment.key, attachment.size_bytes)
        part = path.with_name(path.name + ".part")
        try:
            await self._fetch(attachment, key, part, progressed)
        except SealingError:
            part.unlink(missing_ok=True)
            raise AttachmentDamaged(_DAMAGED) from None
        plain = path.with_name(path.name + ".plain")
        digest = hashlib.sha256()
        try:
            descriptor = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out, part.open("rb") as sealed:
                for piece in key.open_all(_sealed_pieces(sealed)):
                    digest.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if digest.digest() != attachment.sha256:
                raise AttachmentDamaged("the file is not the one that the message names")
            plain.replace(path)
        except SealingError:
            raise AttachmentDamaged(_DAMAGED) from None
        finally:
            plain.unlink(missing_ok=True)
            part.unlink(missing_ok=True)

    async def _fetch(
        self, attachment: Attachment, key: AttachmentKey, part: Path, progressed: Progressed | None
    ) -> None:
        with _open_part(part) as file:
            there = file.seek(0, os.SEEK_END) // _SEALED_BYTES
            file.truncate(there * _SEALED_BYTES)
            file.seek(there * _SEALED_BYTES)
            for index in range(there, key.chunks):
                sealed = await self._api.chunk(attachment.blob, index)
                # At once, not at the end: an answer may be of any size, and would lie on this disk.
                key.open_chunk(index, sealed)
                file.write(sealed)
                file.flush()
                if progressed is not None:
                    progressed(min((index + 1) * CHUNK_BYTES, attachment.size_bytes), attachment.size_bytes)


def _measure(path: Path) -> tuple[bytes, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            size_bytes += len(piece)
    return digest.digest(), size_bytes


def _pieces(file: BinaryIO, chunks: int) -> Iterator[bytes]:
    for _ in range(chunks):
        yield file.read(CHUNK_BYTES)


def _open_part(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _sealed_pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_SEALED_BYTES):
        yield piece
