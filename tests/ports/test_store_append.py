"""The contract of `Store.apply` for messages: exactly once, gapless, in the order of the checks, all or nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.words import Lane, Mark, Urgency
from leeside_server.core.writes import (
    Append,
    Audit,
    Fence,
    NotStored,
    Repeated,
    Stored,
)
from leeside_server.ports import Store
from tests.ports.stores import (
    AGENCY,
    ALL,
    ANY_BYTES,
    DEVICE,
    LOG,
    NOW_MS,
    OTHER_AGENCY,
    OTHER_LOG,
    item,
    message_id,
    offsets,
    payloads,
    saves,
    says,
    sets,
    stored,
    together,
    write,
)


async def test_a_message_reads_back_as_it_was_written(store: Store) -> None:
    sent = Append(
        LOG, Lane.STATE, b"s" * 17, DEVICE, message_id(7), b"\x00\xff", Urgency.URGENT, Mark.ARRIVED
    )
    outcome = await stored(store, sent)
    assert outcome == Stored(store.generation, (1,))
    page = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert (page.after, page.to, page.head, page.floor, page.generation) == (0, 1, 1, 0, store.generation)
    entry = page.entries[0]
    assert (entry.offset, entry.lane, entry.key, entry.device, entry.id) == (
        1,
        sent.lane,
        sent.key,
        DEVICE,
        sent.id,
    )
    assert (entry.at_ms, entry.payload, entry.urgency, entry.mark) == (
        NOW_MS,
        b"\x00\xff",
        sent.urgency,
        sent.mark,
    )
    assert entry.hash.hex() == "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8"


async def test_the_same_id_sent_50_times_at_once_stands_once(nodes: Sequence[Store]) -> None:
    asked = [node.apply([item(says(1))]) for _ in range(25) for node in nodes]
    outcomes = [outcome for answer in await asyncio.gather(*asked) for outcome in answer]
    assert outcomes.count(Stored(nodes[0].generation, (1,))) == 1
    assert outcomes.count(Repeated(nodes[0].generation, 1, differs=False)) == 49
    assert await offsets(nodes[1]) == [1]


async def test_the_same_id_50_times_in_one_call_stands_once(store: Store) -> None:
    outcomes = await store.apply([item(says(1))] * 50)
    assert outcomes[0] == Stored(store.generation, (1,))
    assert set(outcomes[1:]) == {Repeated(store.generation, 1, differs=False)}


@pytest.mark.parametrize(
    "other",
    [says(1, b"other"), says(1, log=OTHER_LOG), sets(1, b"", b"sealed"), sets(1, b"k", b"sealed")],
    ids=["bytes", "log", "lane", "key"],
)
async def test_a_repeat_that_is_not_the_same_says_so_and_keeps_the_first(store: Store, other: Append) -> None:
    await stored(store, says(1))
    assert await write(store, other) == Repeated(store.generation, 1, differs=True)
    assert await payloads(store) == [b"sealed"]
    assert await offsets(store, OTHER_LOG) == []


async def test_an_id_belongs_to_its_device(store: Store) -> None:
    await stored(store, says(1))
    assert (await stored(store, says(1, device=DeviceId(b"E" * 16)))).offsets == (2,)


async def test_the_same_id_in_two_logs_from_two_nodes_at_once_stands_in_one(nodes: Sequence[Store]) -> None:
    for number in range(10):
        outcomes = await asyncio.gather(
            nodes[0].apply([item(says(number, log=LOG))]), nodes[1].apply([item(says(number, log=OTHER_LOG))])
        )
        kinds = sorted(type(answer[0]).__name__ for answer in outcomes)
        assert kinds == ["Repeated", "Stored"]


async def test_offsets_are_consecutive_whoever_writes(nodes: Sequence[Store]) -> None:
    logs = [LOG, OTHER_LOG]

    async def sender(node: Store, base: int) -> list[int]:
        taken: list[int] = []
        for number in range(base, base + 16):
            outcome = await stored(node, says(number, log=logs[number % 2]))
            taken.extend(outcome.offsets)
        return taken

    async with asyncio.TaskGroup() as group:
        for index in range(8):
            group.create_task(sender(nodes[index % 2], 1_000 * index))
    assert await offsets(nodes[0], LOG) == list(range(1, 65))
    assert await offsets(nodes[1], OTHER_LOG) == list(range(1, 65))


async def test_calls_in_a_row_take_offsets_in_that_order(store: Store) -> None:
    outcomes = await together(store, [item(says(number)) for number in range(200)])
    assert outcomes == [Stored(store.generation, (offset,)) for offset in range(1, 201)]


async def test_a_batch_larger_than_a_commit_keeps_its_order(store: Store) -> None:
    outcomes = await store.apply([item(says(number, b"")) for number in range(3_000)])
    assert outcomes == [Stored(store.generation, (offset,)) for offset in range(1, 3_001)]


async def test_a_repeat_is_answered_before_every_other_check(store: Store) -> None:
    await stored(store, says(1, epoch=3, expect_head=0))
    await stored(store, Fence(LOG, 9))
    repeat = Repeated(store.generation, 1, differs=False)
    assert await write(store, says(1, epoch=3)) == repeat
    assert await write(store, says(1, expect_head=0)) == repeat
    assert await write(store, says(1, refuse=WireError.FORBIDDEN)) == repeat
    assert await write(store, saves("unit", b"u", 5), says(1)) == repeat


async def test_refuse_comes_before_the_fence_and_the_fence_before_the_head(store: Store) -> None:
    await stored(store, says(1))
    await stored(store, Fence(LOG, 9))
    asked = says(2, epoch=3, expect_head=7, refuse=WireError.FORBIDDEN)
    assert await write(store, asked) == NotStored(WireError.FORBIDDEN)
    assert await write(store, says(2, epoch=3, expect_head=7)) == NotStored(WireError.STALE, 9)
    assert await write(store, says(2, epoch=9, expect_head=7)) == NotStored(WireError.CONFLICT, 1)
    assert (await stored(store, says(2, epoch=9, expect_head=1))).offsets == (2,)


async def test_a_refused_message_leaves_nothing_and_its_id_is_free(store: Store) -> None:
    assert await write(store, says(1, refuse=WireError.STALE)) == NotStored(WireError.STALE)
    assert await offsets(store) == []
    assert (await stored(store, says(1))).offsets == (1,)


async def test_a_fence_never_falls(store: Store) -> None:
    await stored(store, Fence(LOG, 9))
    await stored(store, Fence(LOG, 4))
    assert await write(store, says(1, epoch=8)) == NotStored(WireError.STALE, 9)


async def test_a_fence_holds_on_every_node_at_once(nodes: Sequence[Store]) -> None:
    await stored(nodes[0], Fence(LOG, 2))
    assert await write(nodes[1], says(1, epoch=1)) == NotStored(WireError.STALE, 2)


async def test_a_stream_message_is_never_stored(store: Store) -> None:
    assert await write(store, Append(LOG, Lane.STREAM, b"", DEVICE, message_id(1), b"x")) == NotStored(
        WireError.INVALID
    )


async def test_of_many_that_expect_the_same_head_one_wins(nodes: Sequence[Store]) -> None:
    asked = [nodes[number % 2].apply([item(says(number, expect_head=0))]) for number in range(20)]
    outcomes = [answer[0] for answer in await asyncio.gather(*asked)]
    assert outcomes.count(Stored(nodes[0].generation, (1,))) == 1
    assert outcomes.count(NotStored(WireError.CONFLICT, 1)) == 19


async def test_an_item_is_written_whole(store: Store) -> None:
    outcome = await stored(
        store,
        says(1),
        says(2, log=OTHER_LOG),
        says(3),
        saves("incident", b"i", 0),
        Audit("opened", b"a", b"s", "ok"),
    )
    assert outcome.offsets == (1, 1, 2)
    assert await store.heads([(AGENCY, LOG), (AGENCY, OTHER_LOG)]) == [2, 1]
    assert len(await store.audits(AGENCY, 0, 10)) == 1


async def test_an_item_with_one_refused_part_leaves_nothing(store: Store) -> None:
    await stored(store, saves("incident", b"i", 0))
    refused = item(
        says(1), sets(2, b"k", b"v"), Fence(LOG, 5), Audit("e", b"", b"", "ok"), saves("incident", b"i", 0)
    )
    after = item(says(3, epoch=1))
    outcomes = await store.apply([refused, after])
    assert outcomes == [NotStored(WireError.CONFLICT), Stored(store.generation, (1,))]
    assert await offsets(store) == [1]
    assert await store.audits(AGENCY, 0, 10) == []
    assert await write(store, says(1)) == Stored(store.generation, (2,))


async def test_an_item_with_the_same_id_twice_is_invalid(store: Store) -> None:
    assert await write(store, says(1), says(1)) == NotStored(WireError.INVALID)
    assert await offsets(store) == []


async def test_parts_of_an_item_see_the_parts_before_them(store: Store) -> None:
    assert (await stored(store, says(1, expect_head=0), says(2, expect_head=1))).offsets == (1, 2)
    assert await write(store, Fence(LOG, 3), says(3, epoch=2)) == NotStored(WireError.STALE, 3)
    assert (await stored(store, says(4, epoch=0))).offsets == (3,)


async def test_items_see_the_items_before_them(store: Store) -> None:
    outcomes = await store.apply(
        [item(says(1, expect_head=0)), item(says(2, expect_head=0)), item(says(3, expect_head=1))]
    )
    generation = store.generation
    assert outcomes == [Stored(generation, (1,)), NotStored(WireError.CONFLICT, 1), Stored(generation, (2,))]


async def test_agencies_share_nothing(store: Store) -> None:
    await stored(store, says(1, b"ours"))
    assert (await stored(store, says(1, b"theirs"), agency=OTHER_AGENCY)).offsets == (1,)
    await stored(store, Fence(LOG, 5), agency=OTHER_AGENCY)
    assert (await stored(store, says(2, b"ours", epoch=1))).offsets == (2,)
    assert await payloads(store) == [b"ours", b"ours"]
    assert await payloads(store, agency=OTHER_AGENCY) == [b"theirs"]
    assert await store.heads([(AGENCY, LOG), (OTHER_AGENCY, LOG)]) == [2, 1]


async def test_nothing_to_write_is_no_error(store: Store) -> None:
    assert await store.apply([]) == ()
    assert await write(store) == Stored(store.generation, ())


async def test_a_value_that_fits_no_column_costs_only_its_caller(store: Store) -> None:
    good = [store.apply([item(says(number))]) for number in range(3)]
    bad = store.apply([item(says(9), at_ms=1 << 70)])
    answers = await asyncio.gather(*good, bad, return_exceptions=True)
    assert isinstance(answers[3], ValueError | OverflowError)
    assert [answer[0] for answer in answers[:3] if not isinstance(answer, BaseException)] == [
        Stored(store.generation, (offset,)) for offset in (1, 2, 3)
    ]


async def test_more_than_the_queue_holds_is_answered_busy_and_not_stored(store: Store) -> None:
    crowd = [store.apply([item(says(base + number, b"")) for number in range(2_500)]) for base in (0, 10_000)]
    more = [store.apply([item(says(100_000 * n, b""))] * 10_000) for n in (1, 2)]
    answers = await asyncio.gather(*crowd, *more)
    assert set(answers[3]) == {NotStored(WireError.BUSY)}
    assert len(set(answers[2])) == 2  # stored once, repeated 9,999 times
    assert (await stored(store, says(200_000))).offsets == (5_002,)
