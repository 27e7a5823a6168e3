"""A consult as it is kept: kind `consult`, the parent is `active` or `ended`, due at its next deadline.

Two clocks stand here. Deadlines are `..._steady_ms`: a clock that nobody sets, the same on every node. Times that people
read are `..._ms`, Unix time; nothing is decided by them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.ids import ChannelId, DeviceId, IncidentId, LadderId, MemberId, PageId, UnitId
from leeside_protocol.limits import CONSULT_TARGETS, CONSULT_TRIED, DECIDED_S, INT_MAX
from leeside_protocol.words import ConsultEvent, ConsultState, TargetState, Urgency
from leeside_server.core.ladder import PhoneRow, StepRow

ACTIVE: Final = b"active"
ENDED: Final = b"ended"
NEVER_MS: Final = INT_MAX
"""A deadline that does not come: an active consult without one is due then, so that `due` lists it."""

_S = ConsultState
FINAL: Final = frozenset({_S.ENDED, _S.CANCELLED})
UNANSWERED: Final = frozenset({_S.REQUESTED, _S.PAGING, _S.EXHAUSTED})
"""Nobody has accepted."""
PROGRESS: Final = (TargetState.QUEUED, TargetState.SENT, TargetState.DELIVERED, TargetState.SEEN)
"""How far a page comes before there is an answer, in order."""


class TargetRow(msgspec.Struct, frozen=True):
    """One member, and the page that rings for them: None before it and once it is over. `at_ms` is when `state` began."""

    member: MemberId
    step: int
    state: TargetState
    page: PageId | None
    at_ms: int


class TriedRow(msgspec.Struct, frozen=True):
    """One line of what was done, for the requester. `step` counts from 0; `member` None: it concerns no one alone."""

    at_ms: int
    event: ConsultEvent
    step: int
    member: MemberId | None = None


class ConsultRow(msgspec.Struct, frozen=True):
    """A consult's clear part.

    `steps` and `phones` are the ladder's as they were when it was asked for, the last step included; `ladder` None: the
    agency had none. `step` is -1 before the first; `turn` counts a step's repeats. `targets` has a member once at most.
    `next_ms` is when the next step is expected, 0 for none.
    """

    incident: IncidentId
    unit: UnitId | None
    member: MemberId
    device: DeviceId
    urgency: Urgency
    language: str
    interpreter: bool
    specialty: str
    channel: ChannelId
    ladder: LadderId | None
    steps: tuple[StepRow, ...]
    phones: tuple[PhoneRow, ...]
    requested_ms: int
    asked_steady_ms: int
    state: ConsultState
    deadline_steady_ms: int = NEVER_MS
    """When the state's own time is over: the step's, the accepter's to join, the alarm's to repeat."""
    hold_steady_ms: int = NEVER_MS
    """When `held_by` is paged again."""
    escalated_steady_ms: int = 0
    told: int = 0
    """How many times of `DECIDED_S` have passed."""
    step: int = -1
    turn: int = 0
    renewed: bool = False
    """This turn began anew because nothing ran when it should have ended."""
    step_ms: int = 0
    next_ms: int = 0
    targets: tuple[TargetRow, ...] = ()
    dialled: tuple[PageId, ...] = ()
    """The pages to `phones`, in their order; empty while they are not called."""
    tried: tuple[TriedRow, ...] = ()
    tried_lost: int = 0
    """Lines of the middle that `tried` had no room for."""
    held_by: MemberId | None = None
    held_until_ms: int = 0
    accepted_by: MemberId | None = None
    accepted_device: DeviceId | None = None
    accepted_ms: int = 0
    nudged: bool = False
    """Whoever accepted was paged again because they had not joined."""
    joined_ms: int = 0
    alarms: int = 0
    taken_by: MemberId | None = None
    ended_ms: int = 0
    side: ChannelId | None = None
    paged_ms: int = 0
    """The first page: with the four below what figures are made of. 0: it did not happen."""
    answered_ms: int = 0
    """The first acceptance."""
    met_ms: int = 0
    """The first joining."""
    exhausted_ms: int = 0
    """The ladder's first end."""
    deepest: int = -1
    """The highest step that was begun."""

    def target(self, member: MemberId) -> TargetRow | None:
        """The member's place among the targets."""
        return next((target for target in self.targets if target.member == member), None)

    @property
    def last(self) -> int:
        """The number of the last step: all supervisors and the phone tree."""
        return len(self.steps) - 1


def parent(row: ConsultRow) -> bytes:
    """Under which parent the row is kept."""
    return ENDED if row.state in FINAL else ACTIVE


def due_ms(row: ConsultRow) -> int | None:
    """The row's next deadline on the steady clock; None once it is over, `NEVER_MS` while it waits for people alone."""
    if row.state in FINAL:
        return None
    due = row.deadline_steady_ms
    if row.state in UNANSWERED:
        due = min(due, row.hold_steady_ms, _tell_steady_ms(row))
    return due


def told_by(row: ConsultRow, steady_ms: int) -> int:
    """How many times of `DECIDED_S` have passed at that instant."""
    return sum(row.asked_steady_ms + after_s * 1000 <= steady_ms for after_s in DECIDED_S)


def _tell_steady_ms(row: ConsultRow) -> int:
    if row.told >= len(DECIDED_S):
        return NEVER_MS
    return row.asked_steady_ms + DECIDED_S[row.told] * 1000


def ringing(row: ConsultRow, member: MemberId) -> PageId | None:
    """The page that rings for this member now, until they answer; None when nothing does."""
    target = row.target(member)
    return None if target is None else target.page


def with_line(row: ConsultRow, line: TriedRow) -> ConsultRow:
    """The row with one more line of what was done. A repeated alarm takes the place of the alarm before it; when there are
    too many lines the first half stays, and the newest: what is between them is counted and forgotten."""
    tried = row.tried
    if line.event is ConsultEvent.ALARMED:
        tried = tuple(old for old in tried if old.event is not ConsultEvent.ALARMED)
    tried = (*tried, line)
    over = len(tried) - CONSULT_TRIED
    if over > 0:
        half = CONSULT_TRIED // 2
        tried = (*tried[:half], *tried[half + over :])
    return msgspec.structs.replace(row, tried=tried, tried_lost=row.tried_lost + max(over, 0))


def with_target(row: ConsultRow, target: TargetRow) -> ConsultRow:
    """The row with this target in its member's place, behind the others if it is a new one. When there are too many, those
    make room whose page has been over for longest: `tried` still tells of them."""
    if row.target(target.member) is None:
        targets = (*row.targets, target)
        if len(targets) > CONSULT_TARGETS:
            over = [old for old in row.targets if old.page is None and old.member != row.accepted_by]
            oldest = min(over, key=lambda old: old.at_ms)
            targets = tuple(kept for kept in targets if kept is not oldest)
    else:
        targets = tuple(target if old.member == target.member else old for old in row.targets)
    return msgspec.structs.replace(row, targets=targets)
