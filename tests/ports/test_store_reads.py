"""The contract of reading a `Store`: ranges and pages, state compaction, pruning."""

from leeside_protocol.ids import ChannelKind, address
from leeside_server.core.writes import NotStored, Repeated, Stored
from leeside_server.ports import Store
from tests.ports.stores import (
    AGENCY,
    ALL,
    ANY_BYTES,
    LOG,
    NOW_MS,
    OTHER_AGENCY,
    OTHER_LOG,
    item,
    offsets,
    payloads,
    says,
    sets,
    stored,
    write,
)

DAY_MS = 86_400_000


async def test_an_unknown_log_is_empty(store: Store) -> None:
    page = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert page.entries == ()
    assert (page.after, page.to, page.head, page.floor, page.generation) == (0, 0, 0, 0, store.generation)
    assert await store.heads([(AGENCY, LOG)]) == [0]
    assert await store.heads([]) in ([], ())


async def test_heads_come_in_the_order_asked(store: Store) -> None:
    await store.apply([item(says(1)), item(says(2)), item(says(3, log=OTHER_LOG))])
    nowhere = address(ChannelKind.INBOX, b"9" * 16)
    asked = [(AGENCY, OTHER_LOG), (AGENCY, nowhere), (AGENCY, LOG), (OTHER_AGENCY, LOG), (AGENCY, OTHER_LOG)]
    assert await store.heads(asked) == [1, 0, 2, 0, 1]


async def test_heads_of_many_logs(store: Store) -> None:
    logs = [address(ChannelKind.CONTENT, number.to_bytes(16, "big")) for number in range(600)]
    await store.apply([item(says(number, log=log)) for number, log in enumerate(logs)])
    assert await store.heads([(AGENCY, log) for log in logs]) == [1] * 600


async def test_a_page_ends_at_the_limit_and_the_next_goes_on(store: Store) -> None:
    await store.apply([item(says(number)) for number in range(7)])
    seen: list[int] = []
    after = 0
    while True:
        page = await store.read(AGENCY, LOG, after, 3, ANY_BYTES)
        assert page.after == after
        seen += [entry.offset for entry in page.entries]
        after = page.to
        if page.to == page.head:
            break
        assert len(page.entries) == 3
    assert seen == list(range(1, 8))


async def test_a_page_of_exactly_the_rest_reaches_the_head(store: Store) -> None:
    await store.apply([item(says(1)), item(sets(2, b"k", b"a")), item(says(3)), item(sets(4, b"k", b""))])
    await stored(store, sets(5, b"k", b"c"))
    page = await store.read(AGENCY, LOG, 0, 2, ANY_BYTES)
    assert ([entry.offset for entry in page.entries], page.to) == ([1, 3], 3)
    page = await store.read(AGENCY, LOG, 0, 3, ANY_BYTES)
    assert ([entry.offset for entry in page.entries], page.to) == ([1, 3, 5], 5)


async def test_a_page_holds_no_more_bytes_than_asked_but_always_one_entry(store: Store) -> None:
    sizes = [10, 10, 500, 10]
    await store.apply([item(says(number, bytes(size))) for number, size in enumerate(sizes)])
    page = await store.read(AGENCY, LOG, 0, ALL, 20)
    assert ([entry.offset for entry in page.entries], page.to) == ([1, 2], 2)
    page = await store.read(AGENCY, LOG, 2, ALL, 20)
    assert ([entry.offset for entry in page.entries], page.to) == ([3], 3)
    page = await store.read(AGENCY, LOG, 3, ALL, 20)
    assert ([entry.offset for entry in page.entries], page.to) == ([4], 4)


async def test_a_reader_ahead_of_the_head_sees_the_head(store: Store) -> None:
    await stored(store, says(1))
    page = await store.read(AGENCY, LOG, 9, ALL, ANY_BYTES)
    assert (page.entries, page.to, page.head) == ((), 1, 1)


async def test_a_state_value_replaces_the_one_before_in_its_key_and_log(store: Store) -> None:
    await store.apply([item(sets(1, b"k", b"old")), item(sets(2, b"other", b"x"))])
    await store.apply([item(sets(3, b"k", b"elsewhere", log=OTHER_LOG)), item(says(4))])
    await stored(store, sets(5, b"k", b"new"))
    assert await offsets(store) == [2, 3, 4]
    assert await payloads(store) == [b"x", b"sealed", b"new"]
    assert await payloads(store, OTHER_LOG) == [b"elsewhere"]


async def test_many_values_of_a_key_in_one_batch_leave_the_last(store: Store) -> None:
    await stored(store, sets(0, b"k", b"before"))
    await store.apply([item(sets(number, b"k", b"%d" % number)) for number in range(1, 40)])
    assert await payloads(store) == [b"39"]
    assert await store.heads([(AGENCY, LOG)]) == [40]


async def test_a_page_covers_the_offsets_of_replaced_values(store: Store) -> None:
    await store.apply([item(sets(number, b"k", b"v")) for number in range(1, 6)])
    page = await store.read(AGENCY, LOG, 2, ALL, ANY_BYTES)
    assert (page.after, page.to, [entry.offset for entry in page.entries]) == (2, 5, [5])
    page = await store.read(AGENCY, LOG, 5, ALL, ANY_BYTES)
    assert (page.after, page.to, page.entries) == (5, 5, ())


async def test_a_replaced_value_is_still_known_by_its_id(store: Store) -> None:
    await stored(store, sets(1, b"k", b"old"))
    await stored(store, sets(2, b"k", b"new"))
    assert await write(store, sets(1, b"k", b"old")) == Repeated(store.generation, 1, differs=False)
    assert await write(store, sets(1, b"k", b"tampered")) == Repeated(store.generation, 1, differs=True)
    assert await payloads(store) == [b"new"]


async def test_a_deletion_is_seen_until_a_value_follows(store: Store) -> None:
    await stored(store, sets(1, b"k", b"v"))
    await stored(store, sets(2, b"k", b""))
    assert await payloads(store) == [b""]
    await stored(store, sets(3, b"k", b"again"))
    assert await payloads(store) == [b"again"]


async def test_pruning_drops_payloads_and_keeps_hashes_and_ids(store: Store) -> None:
    await store.apply([item(says(number, b"%d" % number)) for number in range(1, 6)])
    before = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert await store.prune(AGENCY, LOG, 3, 0) == 3
    page = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert page.floor == 3
    assert [entry.payload for entry in page.entries] == [None, None, None, b"4", b"5"]
    assert [entry.hash for entry in page.entries] == [entry.hash for entry in before.entries]
    assert await write(store, says(2, b"2")) == Repeated(store.generation, 2, differs=False)
    assert await write(store, says(2, b"x")) == Repeated(store.generation, 2, differs=True)


async def test_the_floor_never_falls_nor_passes_the_head(store: Store) -> None:
    await store.apply([item(says(number)) for number in range(3)])
    assert await store.prune(AGENCY, LOG, 2, 0) == 2
    assert await store.prune(AGENCY, LOG, 1, 0) == 0
    assert (await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)).floor == 2
    assert await store.prune(AGENCY, LOG, 99, 0) == 1
    assert (await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)).floor == 3
    assert (await stored(store, says(9))).offsets == (4,)
    assert await payloads(store) == [None, None, None, b"sealed"]


async def test_pruning_nothing_changes_nothing(store: Store) -> None:
    assert await store.prune(AGENCY, LOG, 5, NOW_MS) == 0
    assert await store.heads([(AGENCY, LOG)]) == [0]


async def test_pruning_leaves_live_values_other_logs_and_agencies(store: Store) -> None:
    await store.apply([item(sets(1, b"k", b"v")), item(says(2)), item(says(3, log=OTHER_LOG))])
    await stored(store, says(4), agency=OTHER_AGENCY)
    assert await store.prune(AGENCY, LOG, 2, NOW_MS + DAY_MS) == 1
    assert await payloads(store) == [b"v", None]
    assert await payloads(store, OTHER_LOG) == [b"sealed"]
    assert await payloads(store, agency=OTHER_AGENCY) == [b"sealed"]


async def test_replaced_values_are_forgotten_by_age(store: Store) -> None:
    await stored(store, sets(1, b"k", b"a"), at_ms=NOW_MS)
    await stored(store, sets(2, b"k", b"b"), at_ms=NOW_MS + DAY_MS)
    await stored(store, sets(3, b"k", b"c"), at_ms=NOW_MS + 2 * DAY_MS)
    assert await store.prune(AGENCY, LOG, 0, NOW_MS) == 0
    assert await store.prune(AGENCY, LOG, 0, NOW_MS + DAY_MS) == 1
    assert await write(store, sets(2, b"k", b"b")) == Repeated(store.generation, 2, differs=False)
    assert await write(store, sets(1, b"k", b"a")) == Stored(store.generation, (4,))


async def test_a_deletion_is_forgotten_only_when_old_and_below_the_floor(store: Store) -> None:
    """Else a reader who was away would keep the value that was deleted, and nothing would tell of the gap."""
    await stored(store, sets(1, b"k", b"v"))
    await stored(store, sets(2, b"k", b""))
    await stored(store, says(3))
    old_ms = NOW_MS + DAY_MS
    assert await store.prune(AGENCY, LOG, 1, old_ms) == 1  # the replaced value
    assert await offsets(store) == [2, 3]
    assert await store.prune(AGENCY, LOG, 2, NOW_MS) == 0
    assert await offsets(store) == [2, 3]
    assert await store.prune(AGENCY, LOG, 2, old_ms) == 1
    assert await offsets(store) == [3]
    assert (await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)).floor == 2


async def test_pruning_goes_through_more_than_one_step(store: Store) -> None:
    await store.apply([item(says(number, b"x")) for number in range(2_500)])
    await store.apply([item(sets(10_000 + number, b"k", b"x")) for number in range(2_500)])
    assert await store.prune(AGENCY, LOG, 2_400, NOW_MS + 1) == 2_400 + 2_499
    page = await store.read(AGENCY, LOG, 2_399, ALL, ANY_BYTES)
    assert page.floor == 2_400
    assert len(page.entries) == 102
    assert page.entries[0].payload is None
    assert page.entries[-1].offset == page.head == 5_000


async def test_pruning_does_not_loosen_a_fence_or_a_head(store: Store) -> None:
    await stored(store, says(1))
    await store.prune(AGENCY, LOG, 1, 0)
    outcome = await write(store, says(2, expect_head=0))
    assert isinstance(outcome, NotStored)
    assert outcome.head == 1
