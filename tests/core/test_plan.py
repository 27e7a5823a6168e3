"""The planner of batches: against a naive model, and what the model does not show."""

from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelId,
    ChannelKind,
    DeviceId,
    MessageId,
    address,
)
from leeside_protocol.words import Lane
from leeside_server.core.plan import Facts, IdName, LogName, Plan, Standing, needs, plan
from leeside_server.core.writes import (
    Append,
    Audit,
    Fence,
    Item,
    NotStored,
    Outcome,
    Part,
    PutBoxes,
    Remove,
    Repeated,
    Save,
    Stored,
)

AGENCY = AgencyId(b"A" * 16)
DEVICE = DeviceId(b"D" * 16)
LOG = address(ChannelKind.CONTENT, b"1" * 16)
GENERATION = 5


def says(number: int, payload: bytes = b"x", expect_head: int | None = None) -> Append:
    return Append(LOG, Lane.LOG, b"", DEVICE, message_id(number), payload, expect_head=expect_head)


def message_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def item(*parts: Part) -> Item:
    return Item(AGENCY, 7, parts)


# ---- the naive model: one item after the other, on a whole copy of the world


@dataclass
class World:
    """All that stands, in the plainest form."""

    logs: dict[LogName, list[tuple[IdName, int, bytes, bytes | None, bytes]]] = field(
        default_factory=dict[LogName, list[tuple[IdName, int, bytes, bytes | None, bytes]]]
    )
    """(id, lane, key, payload or None when replaced, hash) by log; the offset is the place, from 1."""
    fences: dict[LogName, int] = field(default_factory=dict[LogName, int])
    objects: dict[tuple[AgencyId, str, bytes], tuple[int, bytes, bytes, int | None]] = field(
        default_factory=dict[tuple[AgencyId, str, bytes], tuple[int, bytes, bytes, int | None]]
    )
    boxes: dict[tuple[AgencyId, ChannelId, int], tuple[bytes, dict[bytes, bytes]]] = field(
        default_factory=dict[tuple[AgencyId, ChannelId, int], tuple[bytes, dict[bytes, bytes]]]
    )
    audits: dict[AgencyId, list[tuple[int, str, bytes, bytes, str]]] = field(
        default_factory=dict[AgencyId, list[tuple[int, str, bytes, bytes, str]]]
    )

    def copy(self) -> "World":
        return World(
            {log: list(rows) for log, rows in self.logs.items()},
            dict(self.fences),
            dict(self.objects),
            dict(self.boxes),
            {agency: list(rows) for agency, rows in self.audits.items()},
        )

    def find(self, name: IdName) -> tuple[LogName, int] | None:
        for log, rows in self.logs.items():
            for offset, row in enumerate(rows, 1):
                if row[0] == name:
                    return log, offset
        return None

    def apply(self, one: Item) -> tuple["World", Outcome]:
        """The world after an item, and its outcome; the same world when it was refused."""
        for part in one.parts:
            if isinstance(part, Append) and (found := self.find((one.agency, part.device, part.id))):
                log, offset = found
                _, lane, key, _, digest = self.logs[log][offset - 1]
                same = (log[1], lane, key, digest) == (
                    part.channel,
                    part.lane,
                    part.key,
                    sha256(part.payload).digest(),
                )
                return self, Repeated(GENERATION, offset, not same)
        after = self.copy()
        taken: list[int] = []
        for part in one.parts:
            refusal = after.add(one.agency, one.at_ms, part, taken)
            if refusal is not None:
                return self, refusal
        return after, Stored(GENERATION, tuple(taken))

    def add(self, agency: AgencyId, at_ms: int, part: Part, taken: list[int]) -> NotStored | None:
        match part:
            case Append():
                log = (agency, part.channel)
                rows = self.logs.get(log, [])
                fence = self.fences.get(log, 0)
                if part.refuse is not None:
                    return NotStored(part.refuse)
                if part.epoch is not None and part.epoch < fence:
                    return NotStored(WireError.STALE, fence)
                if part.expect_head not in {None, len(rows)}:
                    return NotStored(WireError.CONFLICT, len(rows))
                if part.lane is Lane.STREAM or self.find((agency, part.device, part.id)):
                    return NotStored(WireError.INVALID)
                if part.lane is Lane.STATE:
                    rows = [
                        (row[0], row[1], row[2], None, row[4]) if row[1:3] == (Lane.STATE, part.key) else row
                        for row in rows
                    ]
                digest = sha256(part.payload).digest()
                self.logs[log] = [
                    *rows,
                    ((agency, part.device, part.id), int(part.lane), part.key, part.payload, digest),
                ]
                taken.append(len(rows) + 1)
            case Save():
                name = (agency, part.kind, part.id)
                revision = self.objects[name][0] if name in self.objects else 0
                if revision != part.expect:
                    return NotStored(WireError.CONFLICT)
                self.objects[name] = (revision + 1, part.body, part.parent, part.due_ms)
            case Remove():
                name = (agency, part.kind, part.id)
                if name not in self.objects or self.objects[name][0] != part.expect:
                    return NotStored(WireError.CONFLICT)
                del self.objects[name]
            case PutBoxes():
                epoch = (agency, part.channel, part.epoch)
                if epoch in self.boxes:
                    return NotStored(WireError.CONFLICT)
                self.boxes[epoch] = (part.shared, dict(part.boxes))
            case Fence():
                log = (agency, part.channel)
                self.fences[log] = max(self.fences.get(log, 0), part.min_epoch)
            case Audit():
                self.audits.setdefault(agency, []).append(
                    (at_ms, part.event, part.actor, part.subject, part.outcome)
                )
        return None


@dataclass
class Tables:
    """The rows that plans left behind: what an adapter keeps."""

    messages: dict[LogName, dict[int, tuple[IdName, int, bytes, bytes | None, bytes]]] = field(
        default_factory=dict[LogName, dict[int, tuple[IdName, int, bytes, bytes | None, bytes]]]
    )
    heads: dict[LogName, int] = field(default_factory=dict[LogName, int])
    fences: dict[LogName, int] = field(default_factory=dict[LogName, int])
    objects: dict[tuple[AgencyId, str, bytes], tuple[int, bytes, bytes, int | None]] = field(
        default_factory=dict[tuple[AgencyId, str, bytes], tuple[int, bytes, bytes, int | None]]
    )
    boxes: dict[tuple[AgencyId, ChannelId, int], tuple[bytes, dict[bytes, bytes]]] = field(
        default_factory=dict[tuple[AgencyId, ChannelId, int], tuple[bytes, dict[bytes, bytes]]]
    )
    audits: dict[AgencyId, list[tuple[int, str, bytes, bytes, str]]] = field(
        default_factory=dict[AgencyId, list[tuple[int, str, bytes, bytes, str]]]
    )

    def facts(self, items: list[Item]) -> Facts:
        """Exactly what the planner says it needs, and nothing else."""
        need = needs(items)
        ids: dict[IdName, Standing] = {}
        for log, rows in self.messages.items():
            for offset, (name, lane, key, _, digest) in rows.items():
                if name in need.ids:
                    ids[name] = Standing(log[1], offset, lane, key, digest)
        return Facts(
            GENERATION,
            {log: self.heads[log] for log in need.logs if log in self.heads},
            {log: self.fences[log] for log in need.logs if log in self.fences},
            ids,
            {name: self.objects[name][0] for name in need.objects if name in self.objects},
            {epoch for epoch in need.epochs if epoch in self.boxes},
            {agency: len(self.audits[agency]) for agency in need.audited if agency in self.audits},
        )

    def write(self, done: Plan) -> None:
        """Write the rows as a database with its constraints would."""
        for agency, log_address, key in done.replaced:
            rows = self.messages.get((agency, log_address), {})
            for offset, row in rows.items():
                if row[1] == Lane.STATE and row[2] == key:
                    rows[offset] = (row[0], row[1], row[2], None, row[4])
        for inserted in done.messages:
            agency, log_address, lane, offset, key, device, number, _, _, _, payload, digest = inserted
            rows = self.messages.setdefault((agency, log_address), {})
            assert offset not in rows
            rows[offset] = ((agency, device, number), lane, key, payload, digest)
        for agency, log_address, head, fence in done.channels:
            self.heads[agency, log_address] = head
            self.fences[agency, log_address] = fence
        for agency, kind, key, revision, parent, due_ms, body in done.created:
            assert (agency, kind, key) not in self.objects
            self.objects[agency, kind, key] = (revision, body, parent, due_ms)
        for agency, kind, key, revision, parent, due_ms, body in done.updated:
            assert (agency, kind, key) in self.objects
            self.objects[agency, kind, key] = (revision, body, parent, due_ms)
        for removed in done.removed:
            del self.objects[removed]
        for agency, channel, epoch, shared in done.shared:
            assert (agency, channel, epoch) not in self.boxes
            self.boxes[agency, channel, epoch] = (shared, {})
        for agency, channel, epoch, recipient, box in done.boxes:
            own = self.boxes[agency, channel, epoch][1]
            assert recipient not in own
            own[recipient] = box
        for agency, seq, at_ms, event, actor, subject, outcome in done.audits:
            rows_ = self.audits.setdefault(agency, [])
            assert seq == len(rows_) + 1
            rows_.append((at_ms, event, actor, subject, outcome))
        for agency, head in done.audit_heads:
            assert head == len(self.audits[agency])


few_agencies = st.sampled_from([AGENCY, AgencyId(b"B" * 16)])
few_logs = st.sampled_from([LOG, address(ChannelKind.CONTENT, b"2" * 16)])
few_keys = st.sampled_from([b"", b"k", b"l"])
few_numbers = st.integers(0, 9)
small = st.integers(0, 3)
appends = st.builds(
    Append,
    few_logs,
    st.sampled_from([Lane.LOG, Lane.LOG, Lane.STATE, Lane.STATE, Lane.STREAM]),
    few_keys,
    st.sampled_from([DEVICE, DeviceId(b"E" * 16)]),
    few_numbers.map(message_id),
    st.sampled_from([b"", b"x", b"y"]),
    expect_head=st.one_of(st.none(), st.none(), small),
    epoch=st.one_of(st.none(), small),
    refuse=st.sampled_from([None, None, None, WireError.FORBIDDEN]),
)
saves = st.builds(
    Save,
    st.sampled_from(["unit", "member"]),
    few_keys,
    small,
    few_keys,
    few_keys,
    st.one_of(st.none(), small),
)
removals = st.builds(Remove, st.sampled_from(["unit", "member"]), few_keys, small)
box_sets = st.builds(
    PutBoxes,
    st.sampled_from([ChannelId(b"1" * 16), ChannelId(b"2" * 16)]),
    small,
    st.dictionaries(few_keys, few_keys, max_size=2).map(lambda boxes: tuple(boxes.items())),
    few_keys,
)
fences = st.builds(Fence, few_logs, small)
audits = st.builds(Audit, st.just("event"), few_keys, few_keys, st.just("ok"))
parts = st.one_of(appends, appends, saves, saves, removals, box_sets, fences, audits)
items = st.builds(Item, few_agencies, small, st.lists(parts, max_size=4).map(tuple))
single = st.builds(Item, few_agencies, small, appends.map(lambda part: (part,)))
batches = st.lists(st.lists(st.one_of(single, items), max_size=8), max_size=5)


@given(batches)
@settings(max_examples=300)
def test_batches_do_what_one_item_after_the_other_would_do(chosen: list[list[Item]]) -> None:
    world, tables = World(), Tables()
    for batch in chosen:
        expected: list[Outcome] = []
        for one in batch:
            world, outcome = world.apply(one)
            expected.append(outcome)
        done = plan(batch, tables.facts(batch))
        assert done.outcomes == expected
        tables.write(done)
        assert tables.messages == {log: dict(enumerate(rows, 1)) for log, rows in world.logs.items()}
        assert {log: head for log, head in tables.heads.items() if head} == {
            log: len(rows) for log, rows in world.logs.items()
        }
        assert {log: fence for log, fence in tables.fences.items() if fence} == {
            log: fence for log, fence in world.fences.items() if fence
        }
        assert tables.objects == world.objects
        assert tables.boxes == world.boxes
        assert tables.audits == world.audits


@given(batches)
@settings(max_examples=50)
def test_a_batch_may_be_cut_anywhere(chosen: list[list[Item]]) -> None:
    whole, cut = Tables(), Tables()
    together = [one for batch in chosen for one in batch]
    done = plan(together, whole.facts(together))
    whole.write(done)
    outcomes: list[Outcome] = []
    for batch in chosen:
        part = plan(batch, cut.facts(batch))
        cut.write(part)
        outcomes += part.outcomes
    assert outcomes == done.outcomes
    assert cut == whole


def test_the_facts_are_left_as_they_were() -> None:
    facts = Facts(GENERATION, {(AGENCY, LOG): 3}, {}, {}, {(AGENCY, "unit", b"u"): 1}, set(), {AGENCY: 2})
    before = replace(
        facts,
        heads=dict(facts.heads),
        revisions=dict(facts.revisions),
        epochs=set(facts.epochs),
        audit_heads=dict(facts.audit_heads),
    )
    batch = [
        item(says(1)),
        item(Save("unit", b"u", 1, b""), PutBoxes(ChannelId(b"c"), 1, (), b"")),
        item(Audit("e", b"", b"", "ok"), Fence(LOG, 9)),
    ]
    assert plan(batch, facts).writes
    assert facts == before


def test_refused_and_repeated_items_write_nothing() -> None:
    standing = Standing(LOG, 4, int(Lane.LOG), b"", sha256(b"x").digest())
    facts = Facts(GENERATION, {(AGENCY, LOG): 4}, {}, {(AGENCY, DEVICE, message_id(1)): standing})
    done = plan([item(says(1)), item(says(2, expect_head=9)), item(Save("unit", b"u", 3, b""))], facts)
    assert not done.writes
    assert done == Plan(done.outcomes)


def test_needs_name_everything_once_and_logs_in_order() -> None:
    other = ChannelAddress(b"a" + b"9" * 16)
    batch = [item(says(2)), item(says(1), Fence(other, 1)), item(says(2), Audit("e", b"", b"", "ok"))]
    need = needs(batch)
    assert need.logs == [(AGENCY, other), (AGENCY, LOG)]
    assert need.ids == [(AGENCY, DEVICE, message_id(2)), (AGENCY, DEVICE, message_id(1))]
    assert need.audited == [AGENCY]
    assert (need.objects, need.epochs) == ([], [])


def test_a_value_replaced_within_its_batch_is_written_without_payload() -> None:
    state = msgspec.structs.replace(says(1, b"old"), lane=Lane.STATE, key=b"k")
    newer = msgspec.structs.replace(state, id=message_id(2), payload=b"new")
    done = plan([item(state), item(newer)], Facts(GENERATION))
    assert [row[10] for row in done.messages] == [None, b"new"]
    assert done.messages[0][11] == sha256(b"old").digest()
    assert done.replaced == [(AGENCY, LOG, b"k")]
