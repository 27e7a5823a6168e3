"""Attachments: what is announced before sealed chunks are uploaded, and the arithmetic of chunks.

All sizes are of sealed bytes. Every chunk has `BLOB_CHUNK_BYTES` but the last, which holds the rest; what a
chunk says is sealed, so size and order are all that the server can check, and the reader checks the rest.
"""

from __future__ import annotations

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.limits import BLOB_BYTES, BLOB_CHUNK_BYTES


class BlobRow(msgspec.Struct, frozen=True):
    """An announced attachment of a channel. `dropped`: its chunks are gone, by retention or because the upload was
    never finished."""

    channel: ChannelId
    device: DeviceId
    size_bytes: int
    created_ms: int
    dropped: bool = False


def announce(channel: ChannelId, device: DeviceId, size_bytes: int, now_ms: int, most_bytes: int) -> BlobRow:
    """A new attachment's row; `too_large` beyond what this server takes."""
    if size_bytes > min(most_bytes, BLOB_BYTES):
        raise ProtocolError(WireError.TOO_LARGE, "attachments of this size are not taken")
    return BlobRow(channel, device, size_bytes, now_ms)


def chunks_of(row: BlobRow) -> int:
    """How many chunks the attachment has."""
    return -(-row.size_bytes // BLOB_CHUNK_BYTES)


def check_chunk(row: BlobRow, index: int, size_bytes: int) -> None:
    """`not_found` for an index that the attachment has not; `invalid` for a chunk of another size."""
    count = chunks_of(row)
    if not 0 <= index < count:
        raise ProtocolError(WireError.NOT_FOUND)
    expected = BLOB_CHUNK_BYTES if index + 1 < count else row.size_bytes - BLOB_CHUNK_BYTES * (count - 1)
    if size_bytes != expected:
        raise ProtocolError(WireError.INVALID, "a chunk has another size than was announced")
