"""Following a log: whatever is lost, doubled or interrupted, the receiver ends with the log itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.follow import (
    CaughtUp,
    Dropped,
    Follower,
    Position,
    Step,
    SubscribeAgain,
    Take,
    Trimmed,
)
from leeside_protocol.ids import ChannelAddress, DeviceId, MessageId
from leeside_protocol.messages import Batch, Entry, Subscribed
from leeside_protocol.words import Lane

PROTOCOL = Path(__file__).resolve().parents[2] / "protocol"
CHANNEL = ChannelAddress(b"c" + bytes(16))


def entry(offset: int, lane: Lane = Lane.LOG, key: bytes = b"") -> Entry:
    return Entry(offset, lane, key, DeviceId(bytes(16)), MessageId(offset.to_bytes(16, "big")), 1, b"x")


def batch(after: int, to: int, *offsets: int) -> Batch:
    return Batch(CHANNEL, after, to, tuple(entry(o) for o in offsets or range(after + 1, to + 1)))


def subscribed(status: int, head: int, generation: int = 7, floor: int = 0) -> Subscribed:
    return Subscribed(1, CHANNEL, status, generation, head, floor)


def live(head: int = 3) -> Follower:
    follower = Follower(CHANNEL, Position(7, head))
    follower.subscribe()
    assert follower.on_subscribed(subscribed(0, head)) == (CaughtUp(head),)
    return follower


def test_a_batch_that_continues_is_taken() -> None:
    follower = live()
    assert follower.on_batch(batch(3, 5)) == (Take((entry(4), entry(5)), Position(7, 5)),)


def test_a_doubled_batch_is_ignored_and_an_overlapping_one_is_taken_from_the_position_on() -> None:
    follower = live()
    assert follower.on_batch(batch(1, 3)) == ()
    assert follower.on_batch(batch(1, 5)) == (Take((entry(4), entry(5)), Position(7, 5)),)


def test_a_hole_asks_again_once_until_the_answer() -> None:
    follower = live()
    assert follower.on_batch(batch(4, 5)) == (SubscribeAgain(),)
    assert follower.subscribe() == Position(7, 3)
    assert follower.on_batch(batch(5, 6)) == ()
    assert follower.on_subscribed(subscribed(0, 6)) == ()
    assert follower.on_batch(batch(3, 6))[-1] == CaughtUp(6)


def test_the_range_is_gapless_where_replaced_state_values_are_left_out() -> None:
    follower = live()
    steps = follower.on_batch(batch(3, 9, 6, 9))
    assert steps == (Take((entry(6), entry(9)), Position(7, 9)),)


def test_a_head_beyond_a_live_position_is_a_lost_push() -> None:
    assert live().on_head(4) == (SubscribeAgain(),)
    assert live().on_head(3) == ()


def test_catching_up_is_left_alone_while_it_moves() -> None:
    follower = Follower(CHANNEL)
    follower.subscribe()
    follower.on_subscribed(subscribed(0, 100))
    follower.on_batch(batch(0, 10))
    assert follower.on_head(100) == ()
    follower.on_batch(batch(10, 20))
    assert follower.on_head(100) == ()
    assert follower.on_head(100) == (SubscribeAgain(),)


def test_a_reset_drops_what_there_was_and_begins_again() -> None:
    follower = Follower(CHANNEL, Position(7, 3))
    follower.subscribe()
    steps = follower.on_subscribed(subscribed(2, 2, generation=8))
    assert steps == (Dropped(Position(7, 3), Position(8, 0)),)
    assert follower.on_batch(batch(0, 2))[-1] == CaughtUp(2)


def test_another_generation_or_a_shorter_log_is_a_reset_whatever_the_status_says() -> None:
    for answer in (subscribed(0, 9, generation=8), subscribed(0, 2)):
        follower = Follower(CHANNEL, Position(7, 3))
        follower.subscribe()
        assert isinstance(follower.on_subscribed(answer)[0], Dropped)


def test_a_newcomer_has_nothing_to_drop() -> None:
    follower = Follower(CHANNEL)
    follower.subscribe()
    assert follower.on_subscribed(subscribed(2, 0, generation=8)) == (CaughtUp(0),)
    assert follower.position == Position(8, 0)


def test_a_trim_is_told_and_batches_go_on_behind_the_position() -> None:
    follower = Follower(CHANNEL, Position(7, 10))
    follower.subscribe()
    assert follower.on_subscribed(subscribed(1, 60, floor=50)) == (Trimmed(10, 50),)
    assert follower.on_batch(batch(50, 60)) == (SubscribeAgain(),)
    assert follower.on_batch(batch(10, 60))[0] == Take(batch(10, 60).entries, Position(7, 60))


def test_nothing_is_taken_before_the_subscription_is_confirmed() -> None:
    follower = Follower(CHANNEL)
    assert follower.on_batch(batch(0, 3)) == ()
    follower.subscribe()
    follower.on_subscribed(subscribed(0, 3))
    follower.on_disconnected()
    assert follower.on_batch(batch(0, 3)) == ()
    assert not follower.live


def test_entries_out_of_order_are_not_taken() -> None:
    assert live().on_batch(batch(3, 5, 5, 4)) == (SubscribeAgain(),)


# ---- any sequence of pushes, drops, doubles and new sockets ends in the log itself


@dataclass
class Server:
    """A model of the relay: one log with state rows, generations, and pushes that may get lost."""

    generation: int = 1
    entries: list[Entry] = field(default_factory=list[Entry])

    @property
    def head(self) -> int:
        return self.entries[-1].offset if self.entries else 0

    def append(self, key: bytes) -> Batch:
        lane = Lane.STATE if key else Lane.LOG
        new = entry(self.head + 1, lane, key)
        after = self.head
        self.entries.append(new)
        return Batch(CHANNEL, after, after + 1, (new,))

    def page(self, after: int, limit: int) -> Batch:
        to = min(after + limit, self.head)
        last = {e.key: e.offset for e in self.entries if e.key}
        kept = [e for e in self.entries if after < e.offset <= to and (not e.key or last[e.key] == e.offset)]
        return Batch(CHANNEL, after, to, tuple(kept))

    def restore(self, offset: int) -> None:
        self.generation += 1
        self.entries = [e for e in self.entries if e.offset <= offset]

    def answer(self, asked: Position) -> tuple[Subscribed, int]:
        reset = asked.generation not in (0, self.generation) or asked.offset > self.head
        start = 0 if reset else asked.offset
        return Subscribed(1, CHANNEL, 2 if reset else 0, self.generation, self.head, 0), start


@dataclass
class Copy:
    """What a receiver holds: every log entry, and the last value of each key."""

    log: list[int] = field(default_factory=list[int])
    state: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def take(self, taken: tuple[Entry, ...]) -> None:
        for e in taken:
            if e.lane == Lane.STATE:
                self.state[e.key] = e.offset
            else:
                self.log.append(e.offset)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([b"", b"", b"a", b"b"])),
        st.tuples(st.just("lost"), st.sampled_from([b"", b"a"])),
        st.tuples(st.just("double"), st.integers(0, 10)),
        st.tuples(st.just("late"), st.just(0)),
        st.tuples(st.just("beat"), st.just(0)),
        st.tuples(st.just("socket"), st.integers(0, 3)),
        st.tuples(st.just("restore"), st.integers(0, 10)),
    ),
    max_size=40,
)


class Story:
    """A receiver beside the server: what happens to both, and what the receiver ends with."""

    def __init__(self) -> None:
        self.server, self.follower, self.copy = Server(), Follower(CHANNEL), Copy()
        self.pushed: list[Batch] = []
        self.held: Batch | None = None
        self.resume()

    def perform(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Take(entries):
                    self.copy.take(entries)
                case Dropped():
                    self.copy = Copy()
                case SubscribeAgain():
                    self.resume()
                case CaughtUp() | Trimmed():
                    pass

    def push(self, pushed: Batch) -> None:
        self.pushed.append(pushed)
        self.perform(self.follower.on_batch(pushed))

    def beat(self) -> None:
        self.perform(self.follower.on_head(self.server.head))

    def resume(self, pages: int = 1_000) -> None:
        """Subscribe; the link breaks after so many pages."""
        answer, start = self.server.answer(self.follower.subscribe())
        self.perform(self.follower.on_subscribed(answer))
        while start < self.server.head and pages > 0:
            page = self.server.page(start, 3)
            self.push(page)
            start, pages = page.to, pages - 1

    def act(self, name: str, value: int | bytes) -> None:
        match name, value:
            case "append", bytes():
                self.push(self.server.append(value))
            case "lost", bytes():
                self.held = self.server.append(value)
            case "double", int() if self.pushed:
                self.perform(self.follower.on_batch(self.pushed[value % len(self.pushed)]))
            case "late", _ if self.held is not None:
                self.perform(self.follower.on_batch(self.held))
            case "beat", _:
                self.beat()
            case "socket" | "restore", int():
                if name == "restore":
                    self.server.restore(value)
                    self.pushed.clear()
                    self.held = None
                self.follower.on_disconnected()
                self.resume(value)
            case _:
                pass


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_any_sequence_ends_in_the_log_itself(actions: list[tuple[str, int | bytes]]) -> None:
    story = Story()
    for name, value in actions:
        story.act(name, value)
    # Two heartbeats later everything stands, whatever was lost before.
    story.beat()
    story.beat()

    server = story.server
    assert story.follower.position == Position(server.generation, server.head)
    assert story.copy.log == [e.offset for e in server.entries if e.lane == Lane.LOG]
    assert story.copy.state == {e.key: e.offset for e in server.entries if e.lane == Lane.STATE}


def test_an_overflow_of_the_callers_own_asks_again() -> None:
    assert live().on_overflow() == (SubscribeAgain(),)
    assert Follower(CHANNEL).on_overflow() == ()


# ---- the vectors that other languages read

VECTORS: dict[str, Any] = json.loads((PROTOCOL / "vectors" / "follow.json").read_text())


def feed(follower: Follower, kind: str, value: Any) -> tuple[Step, ...]:
    match kind:
        case "subscribe":
            assert follower.subscribe() == Position(*value)
            return ()
        case "subscribed":
            status, generation, head, floor = value
            return follower.on_subscribed(subscribed(status, head, generation, floor))
        case "batch":
            after, to, offsets = value
            return follower.on_batch(Batch(CHANNEL, after, to, tuple(entry(o) for o in offsets)))
        case "head":
            return follower.on_head(value)
        case "unnamed":
            return follower.on_unnamed()
        case "overflow":
            return follower.on_overflow()
        case "disconnected":
            follower.on_disconnected()
            return ()
        case _:
            assert kind == "refused"
            follower.on_refused()
            return ()


def told(step: Step) -> dict[str, Any]:
    """A step as the vectors write it."""
    match step:
        case Take():
            at = step.position
            return {"take": [[e.offset for e in step.entries], [at.generation, at.offset]]}
        case Trimmed():
            return {"trimmed": [step.since, step.floor]}
        case Dropped():
            before, now = step.before, step.position
            return {"dropped": [[before.generation, before.offset], [now.generation, now.offset]]}
        case SubscribeAgain():
            return {"again": True}
        case CaughtUp():
            return {"caught_up": step.head}


@pytest.mark.parametrize("case", VECTORS["valid"] + VECTORS["invalid"], ids=lambda case: case["name"])
def test_a_vector_leads_to_its_steps_and_ends_where_it_says(case: dict[str, Any]) -> None:
    follower = Follower(CHANNEL, Position(*case["position"]))
    for number, (given_input, steps) in enumerate(case["inputs"]):
        ((kind, value),) = given_input.items()
        assert [told(step) for step in feed(follower, kind, value)] == steps, f"input {number}"
    assert [follower.position.generation, follower.position.offset] == case["end"]


def test_the_vectors_use_every_input_and_every_step() -> None:
    cases = VECTORS["valid"] + VECTORS["invalid"]
    inputs = {kind for case in cases for given_input, _ in case["inputs"] for kind in given_input}
    steps = {kind for case in cases for _, steps in case["inputs"] for step in steps for kind in step}
    assert (inputs, steps) == (set(VECTORS["inputs"]), set(VECTORS["steps"]))
    assert len({case["name"] for case in cases}) == len(cases)
    jsonschema.validate(VECTORS, json.loads((PROTOCOL / "vectors" / "schema.json").read_text()))
