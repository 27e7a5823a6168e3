"""The contract of what a `Store` forgets for good: rows of pruned entries, and boxes that nobody needs."""

from collections.abc import Sequence

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId
from leeside_server.core.writes import NotStored, PutBoxes, Repeated, Stored
from leeside_server.ports import Store, StoreUnavailable
from tests.ports.stores import (
    AGENCY,
    ALL,
    ANY_BYTES,
    LOG,
    NOW_MS,
    OTHER_AGENCY,
    OTHER_LOG,
    Place,
    item,
    offsets,
    payloads,
    says,
    sets,
    stored,
    write,
)

CHANNEL = ChannelId(b"C" * 16)
OTHER_CHANNEL = ChannelId(b"E" * 16)
DAY_MS = 86_400_000
GONE = b"gone"


async def test_pruned_rows_are_forgotten_by_age_and_nothing_else_is(store: Store) -> None:
    for number in range(1, 5):
        await stored(store, says(number), at_ms=NOW_MS + number * DAY_MS)
    await stored(store, sets(5, b"k", b"v"), at_ms=NOW_MS)
    await stored(store, says(6, log=OTHER_LOG), at_ms=NOW_MS)
    await stored(store, says(7), agency=OTHER_AGENCY, at_ms=NOW_MS)
    await store.prune(AGENCY, LOG, 3, 0)
    await store.prune(AGENCY, OTHER_LOG, 1, 0)
    assert await store.forget_pruned(AGENCY, LOG, NOW_MS + 3 * DAY_MS) == 2
    assert await store.forget_pruned(AGENCY, LOG, NOW_MS + 3 * DAY_MS) == 0
    assert await offsets(store) == [3, 4, 5]
    assert await payloads(store) == [None, b"sealed", b"v"]
    assert await payloads(store, OTHER_LOG) == [None]
    assert await payloads(store, agency=OTHER_AGENCY) == [b"sealed"]


async def test_what_was_not_pruned_is_never_forgotten(store: Store) -> None:
    await store.apply([item(says(1)), item(says(2))])
    assert await store.forget_pruned(AGENCY, LOG, NOW_MS + DAY_MS) == 0
    assert await store.forget_pruned(AGENCY, OTHER_LOG, NOW_MS + DAY_MS) == 0
    assert await payloads(store) == [b"sealed", b"sealed"]


async def test_a_forgotten_id_is_new_again_and_offsets_go_on(store: Store) -> None:
    await store.apply([item(says(1)), item(says(2))])
    await store.prune(AGENCY, LOG, 2, 0)
    assert await store.forget_pruned(AGENCY, LOG, NOW_MS + DAY_MS) == 2
    page = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert (page.entries, page.to, page.head, page.floor) == ((), 2, 2, 2)
    assert await write(store, says(1)) == Stored(store.generation, (3,))
    assert await write(store, says(1)) == Repeated(store.generation, 3, differs=False)


async def test_forgetting_rows_goes_through_more_than_one_step(store: Store) -> None:
    await store.apply([item(says(number, b"x")) for number in range(2_500)])
    await store.prune(AGENCY, LOG, 2_400, 0)
    assert await store.forget_pruned(AGENCY, LOG, NOW_MS + 1) == 2_400
    assert (await offsets(store))[0] == 2_401


async def test_what_is_kept_are_the_oldest_message_and_every_standing_value(store: Store) -> None:
    assert await store.kept(AGENCY, LOG) == []
    await store.apply([item(says(number, b"%d" % number)) for number in range(1, 5)])
    await store.apply([item(sets(5, b"a", b"old")), item(sets(6, b"b", b"value"))])
    await store.apply([item(sets(7, b"a", b"new")), item(sets(8, b"c", b"x")), item(sets(9, b"c", b""))])
    await stored(store, says(10, b"other", log=OTHER_LOG))
    await stored(store, says(11, b"foreign"), agency=OTHER_AGENCY)
    assert sorted(await store.kept(AGENCY, LOG)) == [b"1", b"new", b"value"]
    await store.prune(AGENCY, LOG, 2, 0)
    assert sorted(await store.kept(AGENCY, LOG)) == [b"3", b"new", b"value"]
    await store.prune(AGENCY, LOG, 99, 0)
    assert sorted(await store.kept(AGENCY, LOG)) == [b"new", b"value"]
    assert await store.kept(AGENCY, OTHER_LOG) == [b"other"]


async def write_epochs(store: Store, channel: ChannelId, epochs: Sequence[int]) -> None:
    for epoch in epochs:
        boxes = ((b"ann", b"a%d" % epoch), (b"rec", b"r%d" % epoch))
        await stored(store, PutBoxes(channel, epoch, boxes, b"list %d" % epoch))


async def test_boxes_below_an_epoch_go_and_the_epochs_still_count_as_written(nodes: Sequence[Store]) -> None:
    store = nodes[1]
    await write_epochs(nodes[0], CHANNEL, range(4))
    await write_epochs(nodes[0], OTHER_CHANNEL, range(2))
    await stored(nodes[0], PutBoxes(CHANNEL, 0, ((b"ann", b"foreign"),), b"s"), agency=OTHER_AGENCY)
    assert await store.forget_boxes(AGENCY, CHANNEL, 2, GONE) == 4
    assert await store.forget_boxes(AGENCY, CHANNEL, 2, GONE) == 0
    for recipient, letter in ((b"ann", b"a"), (b"rec", b"r")):
        assert await nodes[0].boxes(AGENCY, CHANNEL, recipient, 0, 10) == [
            (0, None, GONE),
            (1, None, GONE),
            (2, letter + b"2", b"list 2"),
            (3, letter + b"3", b"list 3"),
        ]
    assert await write(nodes[0], PutBoxes(CHANNEL, 1, (), b"again")) == NotStored(WireError.CONFLICT)
    assert len(await store.boxes(AGENCY, OTHER_CHANNEL, b"ann", 0, 10)) == 2
    assert (await store.boxes(OTHER_AGENCY, CHANNEL, b"ann", 0, 10))[0][1] == b"foreign"


async def test_forgetting_boxes_goes_through_more_than_one_step(store: Store) -> None:
    await write_epochs(store, CHANNEL, range(13))
    assert await store.forget_boxes(AGENCY, CHANNEL, 12, GONE) == 24
    found = await store.boxes(AGENCY, CHANNEL, b"ann", 0, 20)
    assert [shared for _, _, shared in found] == [GONE] * 12 + [b"list 12"]
    assert [box for _, box, _ in found] == [None] * 12 + [b"a12"]


async def test_of_no_boxes_none_are_forgotten(store: Store) -> None:
    assert await store.forget_boxes(AGENCY, CHANNEL, 9, GONE) == 0
    await write_epochs(store, CHANNEL, [3])
    assert await store.forget_boxes(AGENCY, CHANNEL, 3, GONE) == 0
    assert await store.boxes(AGENCY, CHANNEL, b"ann", 0, 9) == [(3, b"a3", b"list 3")]


async def test_a_closed_store_forgets_nothing(place: Place) -> None:
    store = await place.reopen()
    await store.close()
    for call in (
        store.forget_pruned(AGENCY, LOG, 1),
        store.kept(AGENCY, LOG),
        store.forget_boxes(AGENCY, CHANNEL, 1, GONE),
    ):
        with pytest.raises(StoreUnavailable):
            await call
