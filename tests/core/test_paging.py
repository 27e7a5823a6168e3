"""The life of a page: ways, leases, fences, retries, receipts, and its end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.ids import DeviceId, MemberId, PageId
from leeside_protocol.limits import PUSH_BYTES
from leeside_protocol.words import TargetState
from leeside_server.core.paging import (
    LEASE_MS,
    LIFE_MS,
    NO_MEMBER,
    REPEAT_MS,
    RETRY_MS,
    TEST_LIFE_MS,
    Attempt,
    PageKind,
    PageRow,
    Path,
    Reach,
    Result,
    Way,
    claim,
    delivery_id,
    due_ms,
    end,
    may_begin,
    open_page,
    push_payload,
    push_topic,
    ring_again,
    settle,
    take_receipt,
)

NOW, WALL = 1_000_000, 1_800_000_000_000
MEMBER = MemberId(b"m" * 16)
PHONE, TABLET = DeviceId(b"p" * 16), DeviceId(b"t" * 16)
PAGE = PageId(bytes(range(16)))
EVERYTHING = Reach((PHONE, TABLET), phone=True)


def page(kind: PageKind = PageKind.CONSULT, **more: Any) -> PageRow:
    return open_page(kind, more.pop("member", MEMBER), now_ms=NOW, wall_ms=WALL, **more)


def claimed(
    row: PageRow, reach: Reach = EVERYTHING, now_ms: int = NOW
) -> tuple[PageRow, tuple[Attempt, ...]]:
    return claim(row, reach, now_ms, WALL)


def way(row: PageRow, path: Path, device: bytes = b"") -> Way:
    return next(one for one in row.ways if one.path is path and one.device == device)


class TestPlan:
    def test_every_way_starts_at_once(self) -> None:
        row = page(consult=b"c" * 16)
        assert due_ms(row) == NOW
        row, attempts = claimed(row)
        assert [(one.path, one.device) for one in attempts] == [
            (Path.PUSH, PHONE),
            (Path.PUSH, TABLET),
            (Path.SMS, b""),
            (Path.VOICE, b""),
        ]
        assert way(row, Path.SOCKET).state is TargetState.SENT, "its notice stands in the same item"
        assert due_ms(row) == NOW + LEASE_MS

    def test_without_a_gateway_no_number_is_a_way(self) -> None:
        _, attempts = claimed(page(), Reach((PHONE,)))
        assert [one.path for one in attempts] == [Path.PUSH]

    def test_the_phone_tree_is_called_by_voice_and_has_no_inbox(self) -> None:
        row, attempts = claimed(page(member=NO_MEMBER, phones=("+15550100",)), Reach(phone=True))
        assert [(one.path, one.number) for one in attempts] == [(Path.VOICE, "+15550100")]
        assert not [one for one in row.ways if one.path is Path.SOCKET]

    def test_a_test_goes_to_its_own_device_alone(self) -> None:
        _, attempts = claimed(page(PageKind.TEST, device=PHONE))
        assert [(one.path, one.device) for one in attempts] == [
            (Path.PUSH, PHONE),
            (Path.SMS, b""),
            (Path.VOICE, b""),
        ]

    def test_a_probe_is_a_push_and_nothing_else(self) -> None:
        row, attempts = claimed(page(PageKind.PROBE, device=PHONE))
        assert [(one.path, one.device) for one in attempts] == [(Path.PUSH, PHONE)]
        assert len(row.ways) == 1

    def test_who_is_reached_by_nothing_is_looked_at_when_its_time_is_over(self) -> None:
        row, attempts = claimed(page(), Reach())
        assert attempts == ()
        assert due_ms(row) == NOW + LIFE_MS
        row, attempts = claimed(row, Reach(), NOW + LIFE_MS)
        assert (attempts, row.over_ms, due_ms(row)) == ((), WALL, None)


class TestFence:
    def test_who_claimed_begins(self) -> None:
        row, attempts = claimed(page())
        assert all(may_begin(row, attempt) for attempt in attempts)

    def test_a_second_claim_within_the_lease_makes_no_attempt(self) -> None:
        row, _ = claimed(page())
        again, attempts = claimed(row, now_ms=NOW + LEASE_MS - 1)
        assert (again, attempts) == (row, ())

    def test_where_a_node_died_the_next_attempt_is_anothers_and_its_own_begins_no_more(self) -> None:
        row, mine = claimed(page())
        row, theirs = claimed(row, now_ms=NOW + LEASE_MS)
        assert [one.fence for one in theirs] == [2, 2, 2, 2]
        assert not any(may_begin(row, attempt) for attempt in mine)
        assert all(may_begin(row, attempt) for attempt in theirs)

    def test_nothing_begins_once_it_is_over(self) -> None:
        row, attempts = claimed(page())
        row = end(row, WALL + 1)
        assert not any(may_begin(row, attempt) for attempt in attempts)
        assert due_ms(row) is None
        assert claimed(row, now_ms=NOW + LIFE_MS) == (row, ())
        assert end(row, WALL + 2) is row

    def test_a_result_that_comes_late_is_not_taken_for_the_attempt_since(self) -> None:
        row, mine = claimed(page())
        row, _ = claimed(row, now_ms=NOW + LEASE_MS)
        assert settle(row, mine[0], Result.NEVER, NOW + LEASE_MS, WALL) == row


class TestRetries:
    def test_a_failure_is_tried_again_after_2_5_10_and_then_every_20_seconds(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,)))
        waits: list[int] = []
        now = NOW
        for _ in range(6):
            row = settle(row, attempts[0], Result.LATER, now, WALL)
            due = due_ms(row)
            assert due is not None
            waits.append(due - now)
            now = due
            row, attempts = claimed(row, Reach(), now)
        assert waits == [*RETRY_MS, RETRY_MS[-1], RETRY_MS[-1]]
        assert RETRY_MS == (2_000, 5_000, 10_000, 20_000)

    def test_a_failure_of_one_way_holds_up_no_other(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE, TABLET)))
        row = settle(row, attempts[0], Result.LATER, NOW, WALL)
        row, again = claimed(row, Reach(), NOW + RETRY_MS[0])
        assert [one.device for one in again] == [PHONE], "the tablet's hangs, under its lease"

    def test_what_would_never_be_taken_is_not_sent_again(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,)))
        row = settle(row, attempts[0], Result.NEVER, NOW, WALL)
        assert way(row, Path.PUSH, PHONE).state is TargetState.UNREACHABLE
        assert due_ms(row) == NOW + LIFE_MS

    def test_a_push_sounds_again_until_it_was_seen_and_a_call_does_not(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,), phone=True))
        for attempt in attempts:
            row = settle(row, attempt, Result.TAKEN, NOW, WALL)
        assert due_ms(row) == NOW + REPEAT_MS
        row, again = claimed(row, Reach(), NOW + REPEAT_MS)
        assert [one.path for one in again] == [Path.PUSH]
        row = settle(row, again[0], Result.TAKEN, NOW + REPEAT_MS, WALL)
        row = take_receipt(row, Path.PUSH, TargetState.SEEN, WALL)
        assert due_ms(row) == NOW + LIFE_MS
        assert not row.over_ms, "seen is not accepted"

    def test_who_saw_it_while_an_attempt_ran_is_not_told_again(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,)))
        row = take_receipt(row, Path.SOCKET, TargetState.SEEN, WALL)
        assert not may_begin(row, attempts[0])
        row = settle(row, attempts[0], Result.TAKEN, NOW, WALL)
        assert due_ms(row) == NOW + LIFE_MS

    def test_a_consult_may_ask_again_by_every_way_with_the_same_page(self) -> None:
        row, attempts = claimed(page(), EVERYTHING)
        for attempt in attempts:
            row = settle(row, attempt, Result.TAKEN, NOW, WALL)
        row = ring_again(row, NOW + 60_000)
        assert due_ms(row) == NOW + 60_000
        row, again = claimed(row, EVERYTHING, NOW + 60_000)
        assert [one.name for one in again] == [one.name for one in attempts]
        assert [one.fence for one in again] == [2, 2, 2, 2]
        first, second = delivery_id(PAGE, attempts[3]), delivery_id(PAGE, again[3])
        assert first != second, "a gateway must not take it for a retry"
        assert row.until_ms == NOW + 60_000 + LIFE_MS


class TestReceipts:
    def test_a_receipt_is_of_one_path(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,)))
        row = settle(row, attempts[0], Result.TAKEN, NOW, WALL)
        row = take_receipt(row, Path.PUSH, TargetState.DELIVERED, WALL + 5)
        assert (way(row, Path.PUSH, PHONE).state, way(row, Path.PUSH, PHONE).at_ms) == (
            TargetState.DELIVERED,
            WALL + 5,
        )
        assert way(row, Path.SOCKET).state is TargetState.SENT
        assert (row.delivered_ms, row.seen_ms) == (WALL + 5, 0)

    def test_no_receipt_takes_anything_back(self) -> None:
        row, attempts = claimed(page(), Reach((PHONE,)))
        row = take_receipt(row, Path.PUSH, TargetState.SEEN, WALL)
        row = take_receipt(row, Path.PUSH, TargetState.DELIVERED, WALL + 9)
        row = settle(row, attempts[0], Result.TAKEN, NOW, WALL + 9)
        assert way(row, Path.PUSH, PHONE).state is TargetState.SEEN
        assert (row.delivered_ms, row.seen_ms) == (WALL, WALL)

    @pytest.mark.parametrize(
        ("kind", "state", "over"),
        [
            (PageKind.CONSULT, TargetState.SEEN, False),
            (PageKind.TEST, TargetState.DELIVERED, False),
            (PageKind.TEST, TargetState.SEEN, True),
            (PageKind.PROBE, TargetState.DELIVERED, True),
        ],
    )
    def test_what_a_receipt_ends(self, kind: PageKind, state: TargetState, over: bool) -> None:
        row, _ = claimed(page(kind, device=PHONE), Reach((PHONE,)))
        assert bool(take_receipt(row, Path.PUSH, state, WALL).over_ms) is over

    def test_a_test_that_nobody_saw_ends_itself(self) -> None:
        row, _ = claimed(page(PageKind.TEST, device=PHONE), Reach())
        row, attempts = claimed(row, Reach(), NOW + TEST_LIFE_MS)
        assert (attempts, due_ms(row)) == ((), None)


class TestWords:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (PageKind.CONSULT, "a consult is waiting"),
            (PageKind.TEST, "a test is waiting"),
            (PageKind.PROBE, "probe"),
        ],
    )
    def test_every_push_has_one_size(self, kind: PageKind, words: str) -> None:
        payload = push_payload(kind, PAGE)
        assert len(payload) == PUSH_BYTES
        assert payload.decode() == f"{words} {PAGE.hex()}".ljust(PUSH_BYTES)

    def test_a_push_service_is_not_told_the_page(self) -> None:
        topic = push_topic(PAGE)
        assert len(topic) == 32
        assert topic != PAGE.hex()
        assert topic == push_topic(PAGE)
        assert topic != push_topic(PageId(bytes(16)))

    def test_a_retry_has_the_same_key_and_another_number_another(self) -> None:
        one = Attempt(Path.VOICE, b"", "+15550100", 1, 1)
        retry = Attempt(Path.VOICE, b"", "+15550100", 2, 1)
        others = [
            Attempt(Path.SMS, b"", "+15550100", 1, 1),
            Attempt(Path.VOICE, b"", "+15550101", 1, 1),
            Attempt(Path.VOICE, b"", "+15550100", 1, 2),
        ]
        assert delivery_id(PAGE, one) == delivery_id(PAGE, retry)
        assert len({delivery_id(PAGE, each) for each in (one, *others)}) == 4


def test_a_row_of_the_version_before_is_read() -> None:
    least = msgspec.json.decode(
        b'{"kind":"consult","member":"AAAAAAAAAAAAAAAAAAAAAA==","created_ms":1,"asked_ms":2,"until_ms":3}',
        type=PageRow,
    )
    assert due_ms(least) == 2


class Nodes:
    """Two nodes and one row: what each read last, and what it still holds of attempts."""

    def __init__(self) -> None:
        self.row = page(consult=b"c" * 16)
        self.now = NOW
        self.held: dict[int, list[Attempt]] = {0: [], 1: []}
        self.begun: list[tuple[Attempt, int]] = []
        self.over_at: int | None = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "begin", "taken", "later", "pass", "seen", "again", "accept"]),
        st.integers(0, 1),
        st.integers(0, 30_000),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_whatever_two_nodes_do_an_attempt_number_is_begun_by_one_of_them_and_never_after_the_end(
    steps: list[tuple[str, int, int]],
) -> None:
    world = Nodes()
    owners: dict[tuple[object, int], int] = {}
    for what, node, wait in steps:
        match what:
            case "claim":
                world.row, attempts = claim(world.row, EVERYTHING, world.now, WALL)
                for attempt in attempts:
                    # By compare-and-set one node's claim is saved: so its fence is its own.
                    assert owners.setdefault((attempt.name, attempt.fence), node) == node
                world.held[node] += attempts
            case "begin":
                for attempt in world.held[node]:
                    if may_begin(world.row, attempt):
                        assert world.over_at is None
                        world.begun.append((attempt, node))
            case "taken" | "later":
                result = Result.TAKEN if what == "taken" else Result.LATER
                for attempt in world.held[node]:
                    world.row = settle(world.row, attempt, result, world.now, WALL)
                world.held[node] = []
            case "pass":
                world.now += wait
            case "seen":
                world.row = take_receipt(world.row, Path.PUSH, TargetState.SEEN, WALL)
            case "again":
                world.row = world.row if world.row.over_ms else ring_again(world.row, world.now)
            case _:
                world.row = end(world.row, WALL)
                world.over_at = world.now
        due = due_ms(world.row)
        assert (due is None) == bool(world.row.over_ms)
        assert due is None or due <= world.now + LIFE_MS, "no page is forgotten"
