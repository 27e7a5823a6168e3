"""The contract of a `Store` beside messages: objects, boxes, security events, generations, its life."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelId
from leeside_server.core.writes import (
    OBJECT_BYTES,
    Audit,
    AuditRow,
    NotStored,
    Object,
    PutBoxes,
    Remove,
    Save,
    Stored,
)
from leeside_server.ports import Store, StoreUnavailable
from tests.ports.stores import (
    AGENCY,
    ALL,
    ANY_BYTES,
    LOG,
    NOW_MS,
    OTHER_AGENCY,
    Place,
    item,
    offsets,
    saves,
    says,
    stored,
    write,
)

CHANNEL = ChannelId(b"C" * 16)
CONFLICT = NotStored(WireError.CONFLICT)


async def test_an_object_is_saved_by_its_revision(store: Store) -> None:
    await stored(store, Save("unit", b"u", 0, b'{"a":1}', b"p", 5))
    assert await store.get(AGENCY, "unit", b"u") == Object("unit", b"u", 1, b'{"a":1}', b"p", 5)
    assert await write(store, saves("unit", b"u", 0)) == CONFLICT
    assert await write(store, saves("unit", b"u", 2)) == CONFLICT
    await stored(store, Save("unit", b"u", 1, b'{"a":2}'))
    assert await store.get(AGENCY, "unit", b"u") == Object("unit", b"u", 2, b'{"a":2}', b"", None)


async def test_an_object_that_does_not_exist_is_none_and_cannot_be_changed(store: Store) -> None:
    assert await store.get(AGENCY, "unit", b"u") is None
    assert await write(store, saves("unit", b"u", 1)) == CONFLICT


async def test_many_objects_come_in_the_order_asked(store: Store) -> None:
    for number in range(70):
        await stored(store, saves("unit", b"%d" % number, 0, b"%d" % number))
    await stored(store, saves("unit", b"3", 0, b"theirs"), agency=OTHER_AGENCY)
    names = [(AGENCY, "unit", b"%d" % number) for number in range(70)]
    found = await store.get_many([*names, (OTHER_AGENCY, "unit", b"3"), (AGENCY, "member", b"3"), names[3]])
    bodies = [b"%d" % number for number in range(70)]
    assert [one and one.body for one in found] == [*bodies, b"theirs", None, b"3"]
    assert found[3] == await store.get(AGENCY, "unit", b"3")
    assert list(await store.get_many([])) == []


async def test_objects_of_kinds_and_agencies_are_apart(store: Store) -> None:
    await stored(store, saves("unit", b"x", 0, b"1"))
    await stored(store, saves("member", b"x", 0, b"2"))
    await stored(store, saves("unit", b"x", 0, b"3"), agency=OTHER_AGENCY)
    found = [
        await store.get(AGENCY, "unit", b"x"),
        await store.get(AGENCY, "member", b"x"),
        await store.get(OTHER_AGENCY, "unit", b"x"),
        await store.get(OTHER_AGENCY, "member", b"x"),
    ]
    assert [one and one.body for one in found] == [b"1", b"2", b"3", None]


async def test_of_many_that_save_the_same_revision_one_wins(nodes: Sequence[Store]) -> None:
    for revision in range(4):
        asked = [
            nodes[number % 2].apply([item(saves("unit", b"u", revision, b"%d" % number))])
            for number in range(12)
        ]
        outcomes = [answer[0] for answer in await asyncio.gather(*asked)]
        assert outcomes.count(CONFLICT) == 11
        winner = next(number for number, outcome in enumerate(outcomes) if isinstance(outcome, Stored))
        found = await nodes[0].get(AGENCY, "unit", b"u")
        assert found == Object("unit", b"u", revision + 1, b"%d" % winner, b"", None)


async def test_a_removed_object_is_gone_and_may_be_made_anew(store: Store) -> None:
    await stored(store, saves("unit", b"u", 0, b"1", parent=b"p"), saves("unit", b"v", 0, b"1", parent=b"p"))
    await stored(store, saves("unit", b"u", 1, b"2", parent=b"p"))
    for wrong in (Remove("unit", b"u", 1), Remove("unit", b"none", 1), Remove("member", b"u", 2)):
        assert await write(store, wrong) == CONFLICT
    assert await write(store, Remove("unit", b"u", 2), agency=OTHER_AGENCY) == CONFLICT
    assert await write(store, Remove("unit", b"none", 0)) == CONFLICT
    await stored(store, Remove("unit", b"u", 2))
    assert await store.get(AGENCY, "unit", b"u") is None
    assert [found.id for found in await store.objects(AGENCY, "unit", b"p", b"", 10)] == [b"v"]
    assert await write(store, Remove("unit", b"u", 2)) == CONFLICT
    assert await write(store, saves("unit", b"u", 2)) == CONFLICT
    await stored(store, saves("unit", b"u", 0, b"3"))
    found = await store.get(AGENCY, "unit", b"u")
    assert found is not None
    assert (found.revision, found.body) == (1, b"3")


async def test_within_one_batch_an_object_can_come_go_and_come_back(store: Store) -> None:
    await stored(store, saves("unit", b"old", 0, b"1"))
    outcomes = await store.apply(
        [
            item(saves("unit", b"brief", 0), Remove("unit", b"brief", 1)),
            item(Remove("unit", b"old", 1), saves("unit", b"old", 0, b"2")),
            item(Remove("unit", b"old", 2)),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [Stored, Stored, NotStored]
    assert await store.get(AGENCY, "unit", b"brief") is None
    found = await store.get(AGENCY, "unit", b"old")
    assert found is not None
    assert (found.revision, found.body) == (1, b"2")


async def test_of_many_that_remove_or_save_one_revision_one_wins(nodes: Sequence[Store]) -> None:
    await stored(nodes[0], saves("unit", b"u", 0))
    parts = [Remove("unit", b"u", 1) if n % 3 else saves("unit", b"u", 1, b"%d" % n) for n in range(12)]
    asked = [nodes[n % 2].apply([item(part)]) for n, part in enumerate(parts)]
    outcomes = [answer[0] for answer in await asyncio.gather(*asked)]
    assert outcomes.count(CONFLICT) == 11


async def test_a_lost_save_loses_the_message_beside_it(nodes: Sequence[Store]) -> None:
    asked = [nodes[n % 2].apply([item(says(n), saves("consult", b"c", 0))]) for n in range(10)]
    outcomes = [answer[0] for answer in await asyncio.gather(*asked)]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotStored"] * 9 + ["Stored"]
    assert await offsets(nodes[0]) == [1]


async def test_saves_of_one_item_and_batch_follow_each_other(store: Store) -> None:
    await stored(store, saves("unit", b"u", 0, b"1"), saves("unit", b"u", 1, b"2"))
    outcomes = await store.apply([item(saves("unit", b"u", 2, b"3")), item(saves("unit", b"u", 2, b"4"))])
    assert outcomes == [Stored(store.generation, ()), CONFLICT]
    found = await store.get(AGENCY, "unit", b"u")
    assert found is not None
    assert (found.revision, found.body) == (3, b"3")


async def test_a_body_that_is_too_large_is_refused(store: Store) -> None:
    await stored(store, saves("unit", b"u", 0, bytes(OBJECT_BYTES)))
    outcome = await write(store, saves("unit", b"v", 0, bytes(OBJECT_BYTES + 1)))
    assert outcome == NotStored(WireError.TOO_LARGE)


async def test_objects_are_listed_by_kind_parent_and_page(store: Store) -> None:
    for number in range(6):
        await stored(store, saves("unit", b"%d" % number, 0, parent=b"even" if number % 2 == 0 else b"odd"))
    await stored(store, saves("member", b"9", 0, parent=b"even"))
    await stored(store, saves("unit", b"8", 0, parent=b"even"), agency=OTHER_AGENCY)

    async def ids(parent: bytes | None, after: bytes, limit: int) -> list[bytes]:
        return [found.id for found in await store.objects(AGENCY, "unit", parent, after, limit)]

    assert await ids(None, b"", 10) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert await ids(None, b"1", 2) == [b"2", b"3"]
    assert await ids(b"even", b"", 10) == [b"0", b"2", b"4"]
    assert await ids(b"even", b"0", 1) == [b"2"]
    assert await ids(b"", b"", 10) == []


async def test_an_object_can_change_its_parent(store: Store) -> None:
    await stored(store, saves("device", b"d", 0, parent=b"old"))
    await stored(store, saves("device", b"d", 1, parent=b"new"))
    assert await store.objects(AGENCY, "device", b"old", b"", 10) == []
    assert len(await store.objects(AGENCY, "device", b"new", b"", 10)) == 1


async def test_due_objects_come_from_all_agencies_oldest_first(store: Store) -> None:
    for number, due_ms in enumerate([30, 10, None, 20, 40]):
        agency = AGENCY if number % 2 else OTHER_AGENCY
        await stored(store, Save("timer", b"%d" % number, 0, b"{}", b"", due_ms), agency=agency)
    await stored(store, Save("other", b"x", 0, b"{}", b"", 1))
    due = await store.due("timer", 30, 10)
    assert [(agency, found.id, found.due_ms) for agency, found in due] == [
        (AGENCY, b"1", 10),
        (AGENCY, b"3", 20),
        (OTHER_AGENCY, b"0", 30),
    ]
    assert [found.id for _, found in await store.due("timer", 100, 2)] == [b"1", b"3"]
    await stored(store, Save("timer", b"1", 1, b"{}", b"", None))
    assert [found.id for _, found in await store.due("timer", 20, 10)] == [b"3"]


async def test_agencies_are_those_with_an_agency_object(store: Store) -> None:
    assert list(await store.agencies()) == []
    await stored(store, saves("agency", OTHER_AGENCY, 0), agency=OTHER_AGENCY)
    await stored(store, saves("agency", AGENCY, 0))
    await stored(store, saves("unit", b"u", 0), agency=AgencyId(b"Z" * 16))
    assert list(await store.agencies()) == [AGENCY, OTHER_AGENCY]


async def test_a_box_is_given_to_its_recipient_alone(store: Store) -> None:
    await stored(store, PutBoxes(CHANNEL, 3, ((b"ann", b"for ann"), (b"bob", b"for bob")), b"shared 3"))
    await stored(store, PutBoxes(CHANNEL, 4, ((b"bob", b"for bob 4"),), b"shared 4"))
    ann = await store.boxes(AGENCY, CHANNEL, b"ann", 0, 10)
    assert ann == [(3, b"for ann", b"shared 3"), (4, None, b"shared 4")]
    assert await store.boxes(AGENCY, CHANNEL, b"bob", 4, 10) == [(4, b"for bob 4", b"shared 4")]
    assert await store.boxes(AGENCY, CHANNEL, b"bob", 0, 1) == [(3, b"for bob", b"shared 3")]
    assert await store.boxes(OTHER_AGENCY, CHANNEL, b"ann", 0, 10) == []
    assert await store.boxes(AGENCY, ChannelId(b"X" * 16), b"ann", 0, 10) == []


async def test_the_boxes_of_an_epoch_are_written_once(nodes: Sequence[Store]) -> None:
    asked = [
        nodes[n % 2].apply([item(says(n), PutBoxes(CHANNEL, 1, ((b"ann", b"%d" % n),), b"s"))])
        for n in range(6)
    ]
    outcomes = [answer[0] for answer in await asyncio.gather(*asked)]
    winner = next(number for number, outcome in enumerate(outcomes) if isinstance(outcome, Stored))
    assert outcomes.count(CONFLICT) == 5
    assert await nodes[1].boxes(AGENCY, CHANNEL, b"ann", 0, 10) == [(1, b"%d" % winner, b"s")]


async def test_an_epoch_with_two_boxes_for_one_recipient_is_invalid(store: Store) -> None:
    outcome = await write(store, PutBoxes(CHANNEL, 1, ((b"ann", b"1"), (b"ann", b"2")), b"s"))
    assert outcome == NotStored(WireError.INVALID)


async def test_an_epoch_without_boxes_stands(store: Store) -> None:
    await stored(store, PutBoxes(CHANNEL, 1, (), b"s"))
    assert await store.boxes(AGENCY, CHANNEL, b"ann", 0, 10) == [(1, None, b"s")]


async def test_security_events_are_numbered_within_their_agency(nodes: Sequence[Store]) -> None:
    async def sender(node: Store, actor: bytes) -> None:
        for _ in range(10):
            await stored(node, Audit("sign_in", actor, b"subject", "ok"))

    async with asyncio.TaskGroup() as group:
        for index in range(4):
            group.create_task(sender(nodes[index % 2], b"%d" % index))
    await stored(nodes[0], Audit("refused", b"a", b"s", "forbidden"), agency=OTHER_AGENCY)
    rows = await nodes[1].audits(AGENCY, 0, 100)
    assert [row.seq for row in rows] == list(range(1, 41))
    assert await nodes[1].audits(AGENCY, 38, 1) == [rows[38]]
    assert await nodes[0].audits(OTHER_AGENCY, 0, 9) == [
        AuditRow(1, NOW_MS, "refused", b"a", b"s", "forbidden")
    ]


async def test_a_new_generation_is_above_the_last_and_in_every_answer(nodes: Sequence[Store]) -> None:
    before = nodes[0].generation
    first = await nodes[0].bump_generation()
    second = await nodes[0].bump_generation()
    assert before < first < second == nodes[0].generation
    assert (await stored(nodes[0], says(1))).generation == second
    assert (await stored(nodes[1], says(2))).generation == second
    assert (await nodes[1].read(AGENCY, LOG, 0, ALL, ANY_BYTES)).generation == second
    assert nodes[1].generation == second


async def test_the_stores_clock_goes_forward(store: Store) -> None:
    first = await store.now_ms()
    assert 1_700_000_000_000 < first <= await store.now_ms()


async def test_everything_is_there_after_reopening(place: Place) -> None:
    store = await place.reopen()
    await stored(store, says(1), saves("unit", b"u", 0), Audit("e", b"", b"", "ok"))
    generation = store.generation
    await store.close()
    store = await place.open()
    assert store.generation == generation
    assert await offsets(store) == [1]
    assert await store.get(AGENCY, "unit", b"u") is not None
    assert (await stored(store, says(2))).offsets == (2,)
    assert (await store.audits(AGENCY, 0, 9))[0].seq == 1


async def test_two_databases_have_two_generations(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Else a client of a database that was begun anew would take it for the one it knew."""
    store = await place.open()
    assert store.generation > 1_700_000_000_000


async def test_a_cancelled_call_leaves_the_item_whole_or_not_at_all(store: Store) -> None:
    for number in range(20):
        call = asyncio.ensure_future(store.apply([item(says(number), saves("unit", b"%d" % number, 0))]))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    await stored(store, says(100))
    page = await store.read(AGENCY, LOG, 0, ALL, ANY_BYTES)
    assert [entry.offset for entry in page.entries] == list(range(1, page.head + 1))
    standing = {bytes(entry.id) for entry in page.entries}
    for number in range(20):
        found = await store.get(AGENCY, "unit", b"%d" % number)
        assert (found is not None) == (number.to_bytes(16, "big") in standing)


async def test_closing_finishes_what_was_begun(place: Place) -> None:
    store = await place.reopen()
    calls = [asyncio.ensure_future(store.apply([item(says(number))])) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert [answer[0] for answer in await asyncio.gather(*calls)] == [
        Stored(store.generation, (offset,)) for offset in range(1, 51)
    ]
    assert await offsets(await place.open()) == list(range(1, 51))


async def test_a_closed_store_says_so_and_closing_twice_is_fine(place: Place) -> None:
    store = await place.reopen()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.apply([item(says(1))])
    with pytest.raises(StoreUnavailable):
        await store.read(AGENCY, LOG, 0, 1, 1)
    with pytest.raises(StoreUnavailable):
        await store.heads([(AGENCY, LOG)])
    with pytest.raises(StoreUnavailable):
        await store.prune(AGENCY, LOG, 1, 1)
    with pytest.raises(StoreUnavailable):
        await store.bump_generation()
