"""The arithmetic of attachments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.errors import ProtocolError
from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.limits import BLOB_BYTES, BLOB_CHUNK_BYTES
from leeside_server.core.attachments import BlobRow, announce, check_chunk, chunks_of


def row(size_bytes: int) -> BlobRow:
    return announce(ChannelId(b"c" * 16), DeviceId(b"d" * 16), size_bytes, 0, BLOB_BYTES)


@given(st.integers(1, BLOB_BYTES))
def test_chunks_of_the_told_sizes_make_the_whole(size_bytes: int) -> None:
    blob = row(size_bytes)
    count = chunks_of(blob)
    last = size_bytes - (count - 1) * BLOB_CHUNK_BYTES
    assert 0 < last <= BLOB_CHUNK_BYTES
    check_chunk(blob, count - 1, last)
    if count > 1:
        check_chunk(blob, 0, BLOB_CHUNK_BYTES)
    for index, size in ((count, last), (-1, last)):
        with pytest.raises(ProtocolError, match=r"^not_found"):
            check_chunk(blob, index, size)
    with pytest.raises(ProtocolError, match=r"^invalid"):
        check_chunk(blob, count - 1, last + 1)


def test_what_is_too_large_is_not_announced() -> None:
    with pytest.raises(ProtocolError, match=r"^too_large"):
        row(BLOB_BYTES + 1)
    with pytest.raises(ProtocolError, match=r"^too_large"):
        announce(ChannelId(b"c" * 16), DeviceId(b"d" * 16), 1001, 0, 1000)
