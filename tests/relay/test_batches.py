"""A log's entries as batches: whatever stands in it fits its frames, in order and without a hole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.codec import decode_server
from leeside_protocol.ids import ChannelKind, DeviceId, MessageId, address
from leeside_protocol.limits import BATCH_BYTES, INT_MAX, PAGE_ENTRIES, PAYLOAD_BYTES, STATE_KEY_BYTES
from leeside_protocol.messages import Batch, Entry
from leeside_protocol.words import Lane, Mark, Urgency
from leeside_server.relay.frames import payloads
from leeside_server.relay.logs import batch_frames

LOG = address(ChannelKind.CONTENT, b"L" * 16)
PRUNED = (Lane.LOG, 0, 32)
DELETED = (Lane.STATE, 0, 0)


def entry(offset: int, lane: Lane, payload: int, hashed: int) -> Entry:
    """The largest one of its kind."""
    key = bytes(STATE_KEY_BYTES) if lane is Lane.STATE else b""
    device, name = DeviceId(bytes(16)), MessageId(bytes(16))
    urgency, mark = max(Urgency), max(Mark)
    return Entry(offset, lane, key, device, name, INT_MAX, bytes(payload), urgency, mark, bytes(hashed))


runs = st.lists(
    st.tuples(
        st.integers(1, 520),
        st.sampled_from([PRUNED, DELETED, *((Lane.LOG, size, 0) for size in (1, 228, 3_000, PAYLOAD_BYTES))]),
    ),
    max_size=4,
).filter(lambda found: sum(count * max(size, 1) for count, (_, size, _) in found) < 2_000_000)


@given(runs, st.sampled_from([0, INT_MAX - 5_000]))
def test_whatever_stands_in_a_log_fits_its_frames(
    found: list[tuple[int, tuple[Lane, int, int]]], after: int
) -> None:
    kinds = [kind for count, kind in found for _ in range(count)]
    entries = [entry(after + at, *kind) for at, kind in enumerate(kinds, 1)]
    to = after + len(entries) + 3
    position = after
    got: list[Entry] = []
    for data in payloads(batch_frames(LOG, after, to, entries)):
        batch = decode_server(data)  # refuses what is larger than a frame
        assert isinstance(batch, Batch)
        assert batch.after == position <= batch.to
        assert len(batch.entries) <= PAGE_ENTRIES
        assert len(batch.entries) == 1 or sum(len(e.payload) for e in batch.entries) <= BATCH_BYTES
        position = batch.to
        got.extend(batch.entries)
    assert position == to
    assert got == entries
