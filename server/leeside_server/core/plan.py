"""Decides what a batch of items does to the store: the one place where offsets, repeats and refusals are made.

Pure. An adapter asks `needs` what a batch depends on, loads exactly that under its locks, calls `plan`, writes
the rows of the answer and commits. So both stores answer alike, and the rules below are a table of fast tests.

Rules, in order, for each item; items in the order given, later ones see what earlier ones did:

1. An item one of whose messages stands already (same agency, device and id) is `Repeated`, whatever else it
   asks: it was stored as a whole before. This comes before every other check, so that a message retried after
   its epoch ended, or after someone else moved the head, is still answered with the offset it has.
2. Its parts are checked in order; the first that cannot be done refuses the whole item:
   `Append`: `refuse`, then the fence (`stale`), then `expect_head` (`conflict`); `Save` and `Remove`: its
   revision (`conflict`); `PutBoxes`: the boxes of an epoch are written once (`conflict`); `Fence` and `Audit` never.
3. Otherwise all of it is written. A value of the `state` lane takes the payload of the one it replaces away,
   and leaves that row's id and hash.

A repeat `differs` when anything a reader would see is other: the log, the lane, the key or the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias, assert_never

import msgspec

from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.words import Lane
from leeside_server.core.writes import (
    OBJECT_BYTES,
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

LogName: TypeAlias = tuple[AgencyId, ChannelAddress]
IdName: TypeAlias = tuple[AgencyId, DeviceId, MessageId]
ObjectName: TypeAlias = tuple[AgencyId, str, bytes]
EpochName: TypeAlias = tuple[AgencyId, ChannelId, int]

MessageRow: TypeAlias = tuple[
    AgencyId, ChannelAddress, int, int, bytes, DeviceId, MessageId, int, int, int, bytes | None, bytes
]
"""agency, address, lane, offset, key, device, id, at_ms, urgency, mark, payload, hash: a row of `messages`."""
ObjectRow: TypeAlias = tuple[AgencyId, str, bytes, int, bytes, int | None, bytes]
"""agency, kind, id, revision, parent, due_ms, body: a row of `objects`."""
BoxRow: TypeAlias = tuple[AgencyId, ChannelId, int, bytes, bytes]
"""agency, channel, epoch, recipient, box: a row of `boxes`."""
SharedRow: TypeAlias = tuple[AgencyId, ChannelId, int, bytes]
"""agency, channel, epoch, shared: a row of `boxes_shared`."""
AuditRowOut: TypeAlias = tuple[AgencyId, int, int, str, bytes, bytes, str]
"""agency, seq, at_ms, event, actor, subject, outcome: a row of `audits`."""

_STORED: Final = frozenset({Lane.LOG, Lane.STATE})
_STATE: Final = int(Lane.STATE)
_PAYLOAD: Final = 10
"""Where `MessageRow` has its payload."""


class Standing(NamedTuple):
    """Where a message id stands, and what it was."""

    address: ChannelAddress
    offset: int
    lane: int
    key: bytes
    hash: bytes


class Needs(msgspec.Struct, frozen=True):
    """What a batch depends on; every sequence is free of repeats. `logs` is in the order in which rows are locked."""

    logs: Sequence[LogName]
    ids: Sequence[IdName]
    objects: Sequence[ObjectName]
    epochs: Sequence[EpochName]
    audited: Sequence[AgencyId]


class Facts(msgspec.Struct, frozen=True):
    """What stands before the batch; what a mapping lacks does not stand (head, fence and revision 0)."""

    generation: int
    heads: Mapping[LogName, int] = msgspec.field(default_factory=dict[LogName, int])
    fences: Mapping[LogName, int] = msgspec.field(default_factory=dict[LogName, int])
    ids: Mapping[IdName, Standing] = msgspec.field(default_factory=dict[IdName, Standing])
    revisions: Mapping[ObjectName, int] = msgspec.field(default_factory=dict[ObjectName, int])
    epochs: AbstractSet[EpochName] = frozenset()
    audit_heads: Mapping[AgencyId, int] = msgspec.field(default_factory=dict[AgencyId, int])


class Plan(msgspec.Struct):
    """Outcomes in the order of the items, and the rows to write. Write `replaced` before `messages`."""

    outcomes: list[Outcome] = msgspec.field(default_factory=list[Outcome])
    replaced: list[tuple[AgencyId, ChannelAddress, bytes]] = msgspec.field(
        default_factory=list[tuple[AgencyId, ChannelAddress, bytes]]
    )
    """(agency, address, key) whose standing state value loses its payload."""
    messages: list[MessageRow] = msgspec.field(default_factory=list[MessageRow])
    channels: list[tuple[AgencyId, ChannelAddress, int, int]] = msgspec.field(
        default_factory=list[tuple[AgencyId, ChannelAddress, int, int]]
    )
    """(agency, address, head, min_epoch) of every log that changed."""
    created: list[ObjectRow] = msgspec.field(default_factory=list[ObjectRow])
    updated: list[ObjectRow] = msgspec.field(default_factory=list[ObjectRow])
    removed: list[ObjectName] = msgspec.field(default_factory=list[ObjectName])
    boxes: list[BoxRow] = msgspec.field(default_factory=list[BoxRow])
    shared: list[SharedRow] = msgspec.field(default_factory=list[SharedRow])
    audits: list[AuditRowOut] = msgspec.field(default_factory=list[AuditRowOut])
    audit_heads: list[tuple[AgencyId, int]] = msgspec.field(default_factory=list[tuple[AgencyId, int]])

    @property
    def writes(self) -> bool:
        """False when every item was refused or repeated: there is nothing to commit."""
        return bool(
            self.channels or self.created or self.updated or self.removed or self.shared or self.audits
        )


def needs(items: Sequence[Item]) -> Needs:
    """Say what `plan` must know of the store for these items."""
    logs: dict[LogName, None] = {}
    ids: dict[IdName, None] = {}
    objects: dict[ObjectName, None] = {}
    epochs: dict[EpochName, None] = {}
    audited: dict[AgencyId, None] = {}
    for item in items:
        agency = item.agency
        for part in item.parts:
            if type(part) is Append:
                logs[agency, part.channel] = None
                ids[agency, part.device, part.id] = None
            elif type(part) is Save or type(part) is Remove:
                objects[agency, part.kind, part.id] = None
            elif type(part) is PutBoxes:
                epochs[agency, part.channel, part.epoch] = None
            elif type(part) is Fence:
                logs[agency, part.channel] = None
            else:
                audited[agency] = None
    return Needs(sorted(logs), list(ids), sorted(objects), sorted(epochs), sorted(audited))


def plan(items: Sequence[Item], facts: Facts) -> Plan:
    """Decide every item and collect the rows. `facts` must cover `needs(items)` and is left as it was."""
    planner = _Planner(facts)
    outcomes = planner.plan.outcomes
    for item in items:
        parts = item.parts
        first = parts[0] if parts else None
        if type(first) is Append and len(parts) == 1:
            outcomes.append(planner.one_append(item.agency, item.at_ms, first))
        else:
            outcomes.append(planner.item(item))
    return planner.finish()


class _Planner:
    """The working copy of the facts while a batch is decided."""

    def __init__(self, facts: Facts) -> None:
        self.plan = Plan()
        self._facts = facts
        self._generation = facts.generation
        self._heads = dict(facts.heads)
        self._fences = dict(facts.fences)
        self._old_ids = facts.ids
        self._new_ids: dict[IdName, Standing] = {}
        self._revisions = dict(facts.revisions)
        self._epochs = set(facts.epochs)
        self._audit_heads = dict(facts.audit_heads)
        self._touched: dict[LogName, None] = {}
        self._live: dict[tuple[AgencyId, ChannelAddress, bytes], int] = {}
        self._objects: dict[ObjectName, ObjectRow | None] = {}

    def one_append(self, agency: AgencyId, at_ms: int, part: Append) -> Outcome:
        """The lean path: most of what a relay stores is one message."""
        name = (agency, part.device, part.id)
        standing = self._new_ids.get(name) or self._old_ids.get(name)
        if standing is not None:
            return self._repeated(part, standing)
        log = (agency, part.channel)
        head = self._heads.get(log, 0)
        refusal = _refusal(part, head, self._fences.get(log, 0))
        if refusal is not None:
            return refusal
        return Stored(self._generation, (self._append(log, name, at_ms, part, head + 1),))

    def item(self, item: Item) -> Outcome:
        """Any item: repeats first, then every check, then every write."""
        agency = item.agency
        for part in item.parts:
            if type(part) is Append:
                name = (agency, part.device, part.id)
                standing = self._new_ids.get(name) or self._old_ids.get(name)
                if standing is not None:
                    return self._repeated(part, standing)
        refusal = self._check(agency, item.parts)
        if refusal is not None:
            return refusal
        return Stored(self._generation, self._write(agency, item.at_ms, item.parts))

    def finish(self) -> Plan:
        """Turn the working copy into the rows that differ from the facts."""
        done = self.plan
        heads, fences, before = self._heads, self._fences, self._facts.revisions
        done.channels = [(*log, heads.get(log, 0), fences.get(log, 0)) for log in sorted(self._touched)]
        for name in sorted(self._objects):
            row, stood = self._objects[name], before.get(name, 0)
            if row is not None:
                (done.updated if stood else done.created).append(row)
            elif stood:
                done.removed.append(name)
        done.audit_heads = sorted({row[0]: self._audit_heads[row[0]] for row in done.audits}.items())
        return done

    def _repeated(self, part: Append, standing: Standing) -> Repeated:
        same = (
            standing.hash == sha256(part.payload).digest()
            and standing.address == part.channel
            and standing.lane == part.lane
            and standing.key == part.key
        )
        return Repeated(self._generation, standing.offset, not same)

    def _check(self, agency: AgencyId, parts: tuple[Part, ...]) -> NotStored | None:
        """Walk the parts on top of the working copy without changing it; the first refusal, or None."""
        heads: dict[LogName, int] = {}
        fences: dict[LogName, int] = {}
        ids: set[IdName] = set()
        revisions: dict[ObjectName, int] = {}
        epochs: set[EpochName] = set()
        for part in parts:
            match part:
                case Append():
                    log, name = (agency, part.channel), (agency, part.device, part.id)
                    head = heads.get(log, self._heads.get(log, 0))
                    refusal = _refusal(part, head, fences.get(log, self._fences.get(log, 0)))
                    if refusal is not None:
                        return refusal
                    if name in ids:
                        return NotStored(WireError.INVALID)
                    ids.add(name)
                    heads[log] = head + 1
                case Save():
                    key = (agency, part.kind, part.id)
                    revision = revisions.get(key, self._revisions.get(key, 0))
                    if revision != part.expect:
                        return NotStored(WireError.CONFLICT)
                    if len(part.body) > OBJECT_BYTES:
                        return NotStored(WireError.TOO_LARGE)
                    revisions[key] = revision + 1
                case Remove():
                    key = (agency, part.kind, part.id)
                    revision = revisions.get(key, self._revisions.get(key, 0))
                    if not revision or revision != part.expect:
                        return NotStored(WireError.CONFLICT)
                    revisions[key] = 0
                case PutBoxes():
                    epoch = (agency, part.channel, part.epoch)
                    if epoch in self._epochs or epoch in epochs:
                        return NotStored(WireError.CONFLICT)
                    if len({recipient for recipient, _ in part.boxes}) != len(part.boxes):
                        return NotStored(WireError.INVALID)
                    epochs.add(epoch)
                case Fence():
                    log = (agency, part.channel)
                    fences[log] = max(fences.get(log, self._fences.get(log, 0)), part.min_epoch)
                case Audit():
                    pass
                case _:
                    assert_never(part)
        return None

    def _write(self, agency: AgencyId, at_ms: int, parts: tuple[Part, ...]) -> tuple[int, ...]:
        """Do what `_check` allowed; the offsets of the messages, in order."""
        offsets: list[int] = []
        done = self.plan
        for part in parts:
            match part:
                case Append():
                    log, name = (agency, part.channel), (agency, part.device, part.id)
                    offsets.append(self._append(log, name, at_ms, part, self._heads.get(log, 0) + 1))
                case Save():
                    key = (agency, part.kind, part.id)
                    revision = self._revisions[key] = part.expect + 1
                    self._objects[key] = (*key, revision, part.parent, part.due_ms, part.body)
                case Remove():
                    key = (agency, part.kind, part.id)
                    self._revisions[key], self._objects[key] = 0, None
                case PutBoxes():
                    epoch = (agency, part.channel, part.epoch)
                    self._epochs.add(epoch)
                    done.shared.append((*epoch, part.shared))
                    done.boxes.extend((*epoch, recipient, box) for recipient, box in part.boxes)
                case Fence():
                    log = (agency, part.channel)
                    self._fences[log] = max(self._fences.get(log, 0), part.min_epoch)
                    self._touched[log] = None
                case Audit():
                    seq = self._audit_heads[agency] = self._audit_heads.get(agency, 0) + 1
                    done.audits.append(
                        (agency, seq, at_ms, part.event, part.actor, part.subject, part.outcome)
                    )
                case _:
                    assert_never(part)
        return tuple(offsets)

    def _append(self, log: LogName, name: IdName, at_ms: int, part: Append, offset: int) -> int:
        agency, address = log
        payload, key, lane = part.payload, part.key, int(part.lane)
        digest = sha256(payload).digest()
        messages = self.plan.messages
        if lane == _STATE:
            value = (agency, address, key)
            before = self._live.get(value)
            if before is None:
                self.plan.replaced.append(value)
            else:
                row = messages[before]
                messages[before] = (*row[:_PAYLOAD], None, *row[_PAYLOAD + 1 :])  # type: ignore[assignment]
            self._live[value] = len(messages)
        messages.append(
            (
                agency,
                address,
                lane,
                offset,
                key,
                part.device,
                part.id,
                at_ms,
                int(part.urgency),
                int(part.mark),
                payload,
                digest,
            )
        )
        self._new_ids[name] = Standing(address, offset, lane, key, digest)
        self._heads[log] = offset
        self._touched[log] = None
        return offset


def _refusal(part: Append, head: int, fence: int) -> NotStored | None:
    """Why a message that does not stand yet may not be stored; None when it may."""
    if part.refuse is not None:
        return NotStored(part.refuse)
    if part.epoch is not None and part.epoch < fence:
        return NotStored(WireError.STALE, fence)
    if part.expect_head is not None and part.expect_head != head:
        return NotStored(WireError.CONFLICT, head)
    if part.lane not in _STORED:
        return NotStored(WireError.INVALID)
    return None
