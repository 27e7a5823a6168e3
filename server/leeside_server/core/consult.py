"""The consult: from a request to a member who came, or to an alarm that repeats (spec 08).

A pure machine. `open` makes a consult, `step` moves one; each gives the row to save, by compare-and-set on the revision it
was read with, and the effects that belong into the same item. Nothing here waits, reads a clock or looks anything up.

    requested ──release──> paging ──accept──> accepted ──join──> in_session ──end──> ended
        │                  │  ^  ^               │                   │
        │                  │  │  └──not joined───┘<──gone for 60 s───┘
        │       ladder over│  │not joined
        │                  v  │
        └──accept──>    exhausted ──accept──> accepted           all but in_session and ended ──cancel──> cancelled

Every state but the last two is due at some time, or waits for people who were told. Whoever acts is named in the input; what
they may do stands in `consult_rights`. The same input twice is one input: a retry gets the same row and no effects.

**Late.** A tick that comes late does what was due once, and each new deadline counts from that tick: after an outage no step
is burnt without its time. A turn that was overdue by more than `LATE_MS` while none of its pages had been handed to any way
begins anew, once, with the same pages: it ended on paper alone. No deadline is ever early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, DeviceId, IncidentId, LadderId, MemberId, PageId, UnitId
from leeside_protocol.limits import JOIN_AGAIN_S, JOIN_S, REJOIN_S
from leeside_protocol.words import ConsultActionKind, ConsultEvent, ConsultState, TargetState, Urgency
from leeside_server.core.consult_draft import Draft
from leeside_server.core.consult_moves import (
    Accept,
    Cancel,
    Decline,
    Effect,
    End,
    Escalate,
    Hold,
    Input,
    Join,
    Leave,
    Now,
    Receipt,
    Release,
    Side,
    Take,
    Tick,
)
from leeside_server.core.consult_rights import require
from leeside_server.core.consult_row import FINAL, NEVER_MS, PROGRESS, UNANSWERED, ConsultRow, with_target
from leeside_server.core.ladder import LadderRow, World, with_last

LATE_MS: Final = 5_000
"""A deadline that is acted on later than this was missed: no node was at work."""
ESCALATE_AGAIN_MS: Final = 5_000
"""Asking for the next step twice within this time is asking once."""

Ids = Callable[[], PageId]
"""Gives a new random page id at each call."""
_K = ConsultActionKind
_S = ConsultState


class Request(msgspec.Struct, frozen=True):
    """What is asked for, by whom. `language` is a primary subtag of BCP 47, empty for any. `specialty` is a wish that those
    who are paged are shown; it leaves nobody out."""

    incident: IncidentId
    unit: UnitId | None
    member: MemberId
    device: DeviceId
    urgency: Urgency
    language: str
    interpreter: bool
    specialty: str
    channel: ChannelId


def open(  # noqa: A001
    request: Request,
    ladder: tuple[LadderId, LadderRow] | None,
    now: Now,
    world: World,
    ids: Ids,
    *,
    held: bool = False,
) -> tuple[ConsultRow, tuple[Effect, ...]]:
    """A new consult: paging at once, or `held` for a supervisor, with an alarm. `ladder` None: the last step alone."""
    row = ConsultRow(
        incident=request.incident,
        unit=request.unit,
        member=request.member,
        device=request.device,
        urgency=request.urgency,
        language=request.language,
        interpreter=request.interpreter,
        specialty=request.specialty,
        channel=request.channel,
        ladder=None if ladder is None else ladder[0],
        steps=with_last(() if ladder is None else ladder[1].steps),
        phones=() if ladder is None else ladder[1].phones,
        requested_ms=now.wall_ms,
        asked_steady_ms=now.steady_ms,
        state=_S.REQUESTED,
    )
    draft = Draft(row, now, world, ids)
    if held:
        draft.alarm()
    else:
        draft.begin(0)
    return draft.done()


def step(
    row: ConsultRow, given: Input, now: Now, world: World, ids: Ids
) -> tuple[ConsultRow, tuple[Effect, ...]]:
    """Move a consult. A row that comes back as the same object needs no saving.

    Raises `ProtocolError`: `already_accepted` to whoever answers second, `conflict` when the consult stands where the input
    makes no sense, `forbidden` when it is not theirs to do. Ticks and receipts never raise.
    """
    draft = Draft(row, now, world, ids)
    match given:
        case Tick():
            _tick(draft)
        case Accept(member, device):
            _accept(draft, member, device)
        case Decline(member):
            _decline(draft, member)
        case Hold(member):
            _hold(draft, member)
        case Escalate(member):
            _escalate(draft, member)
        case Cancel(member):
            _finish(draft, member, _K.CANCEL, _S.CANCELLED, ConsultEvent.CANCELLED)
        case Join(member, device):
            _join(draft, member, device)
        case Leave(member):
            _leave(draft, member)
        case End(member):
            _finish(draft, member, _K.END, _S.ENDED, ConsultEvent.ENDED)
        case Take(member):
            _take(draft, member)
        case Release(member):
            _release(draft, member)
        case Side(member, channel):
            _side(draft, member, channel)
        case Receipt(page, state):
            _receipt(draft, page, state)
        case _ as never:
            assert_never(never)
    return draft.done()


# ---- time


def _tick(draft: Draft) -> None:
    row, due = draft.row, draft.due
    match row.state:
        case _S.REQUESTED:
            if due or _taker_gone(draft):
                draft.alarm()
        case _S.PAGING:
            _go_on_paging(draft, due)
        case _S.ACCEPTED:
            _await_joining(draft, due)
        case _S.IN_SESSION:
            if row.accepted_by is None or draft.world.person(row.accepted_by).ended:
                draft.log(ConsultEvent.LEFT, row.accepted_by)
                _search_again(draft)
            elif due:
                _search_again(draft)
        case _S.EXHAUSTED:
            if due or _taker_gone(draft):
                draft.look()
                draft.alarm()
        case _S.ENDED | _S.CANCELLED:
            return
        case _ as never:
            assert_never(never)
    if draft.row.state in UNANSWERED:
        if draft.row.hold_steady_ms <= draft.now.steady_ms:
            draft.end_hold()
        draft.count_tells()


def _go_on_paging(draft: Draft, due: bool) -> None:
    """The turn ends if it is time; then see who came and went, and climb where nobody is left to wait for."""
    if due:
        _turn_over(draft)
    if draft.row.state is _S.PAGING:
        draft.look()
        if not draft.waiting():
            draft.begin(draft.row.step + 1)


def _taker_gone(draft: Draft) -> bool:
    """Whether the supervisor who took the alarm left the agency: then nobody has it, and it sounds again."""
    member = draft.row.taken_by
    if member is None or not draft.world.person(member).ended:
        return False
    draft.set(taken_by=None)
    return True


def _turn_over(draft: Draft) -> None:
    """A turn's time has passed: once more, or the next step. What never went out is not counted as tried."""
    row, waiting = draft.row, draft.waiting()
    late = draft.now.steady_ms - row.deadline_steady_ms > LATE_MS
    if late and not row.renewed and waiting and all(t.state is TargetState.QUEUED for t in waiting):
        draft.repeat(row.turn)
        if (draft.row.state, draft.row.step) == (row.state, row.step):
            draft.set(renewed=True)
    elif row.turn < row.steps[row.step].repeats:
        draft.repeat(row.turn + 1)
    else:
        for target in waiting:
            draft.log(ConsultEvent.TIMED_OUT, target.member)
        draft.begin(row.step + 1)


def _await_joining(draft: Draft, due: bool) -> None:
    """Who accepted and has not come is paged again, and then given up; at once when no way leads to them any more."""
    member = draft.row.accepted_by
    person = draft.world.person(member) if member is not None else None
    if (
        member is None
        or person is None
        or person.ended
        or (due and (draft.row.nudged or not person.reachable))
    ):
        draft.log(ConsultEvent.NOT_JOINED, member)
        _give_up(draft, TargetState.TIMED_OUT)
        draft.begin(draft.row.step + 1)
    elif due:
        draft.log(ConsultEvent.NOT_JOINED, member)
        draft.page(member, TargetState.ACCEPTED)
        draft.set(nudged=True, deadline_steady_ms=draft.time(JOIN_AGAIN_S))


def _give_up(draft: Draft, state: TargetState) -> None:
    """Whoever accepted does not come: nobody has accepted."""
    member = draft.row.accepted_by
    if member is not None:
        draft.answer(member, state)
    draft.set(accepted_by=None, accepted_device=None, accepted_ms=0, nudged=False)


def _search_again(draft: Draft) -> None:
    """The session lost its psychiatrist: the step is climbed anew, they are paged with it, and no old answer counts."""
    member = draft.row.accepted_by
    draft.silence()
    draft.set(targets=(), accepted_by=None, accepted_device=None, accepted_ms=0, nudged=False)
    draft.begin(max(draft.row.step, 0), also=() if member is None else (member,))


# ---- answers


def _accept(draft: Draft, member: MemberId, device: DeviceId) -> None:
    if draft.row.accepted_by == member:
        return
    require(_K.ACCEPT, draft.row, member, draft.world)
    draft.silence()
    draft.answer(member, TargetState.ACCEPTED)
    draft.set(
        state=_S.ACCEPTED,
        accepted_by=member,
        accepted_device=device,
        accepted_ms=draft.now.wall_ms,
        answered_ms=draft.row.answered_ms or draft.now.wall_ms,
        nudged=False,
        deadline_steady_ms=draft.time(JOIN_S),
    )
    draft.log(ConsultEvent.ACCEPTED, member)


def _decline(draft: Draft, member: MemberId) -> None:
    target = draft.row.target(member)
    if target is not None and target.state is TargetState.DECLINED:
        return
    require(_K.DECLINE, draft.row, member, draft.world)
    draft.log(ConsultEvent.DECLINED, member)
    if draft.row.accepted_by == member:
        # The others of the step were cut short for this member's sake: they have their time now.
        _give_up(draft, TargetState.DECLINED)
        at = max(draft.row.step, 0)
        draft.begin(at if at < draft.row.last else at + 1)
        return
    draft.answer(member, TargetState.DECLINED)
    _next_if_all_answered(draft)


def _hold(draft: Draft, member: MemberId) -> None:
    if draft.row.held_by == member:
        return
    require(_K.HOLD, draft.row, member, draft.world)
    draft.hold(member)
    _next_if_all_answered(draft)


def _next_if_all_answered(draft: Draft) -> None:
    if draft.row.state is _S.PAGING and not draft.waiting():
        draft.begin(draft.row.step + 1)


def _escalate(draft: Draft, member: MemberId) -> None:
    since_ms = draft.now.steady_ms - draft.row.escalated_steady_ms
    if draft.row.escalated_steady_ms and since_ms < ESCALATE_AGAIN_MS:
        return
    require(_K.ESCALATE, draft.row, member, draft.world)
    draft.set(escalated_steady_ms=draft.now.steady_ms)
    draft.log(ConsultEvent.ESCALATED, member)
    draft.begin(draft.row.step + 1)


# ---- being there


def _join(draft: Draft, member: MemberId, device: DeviceId) -> None:
    row = draft.row
    require(_K.JOIN, row, member, draft.world)
    if row.state is _S.ACCEPTED:
        draft.log(ConsultEvent.JOINED, member)
    elif row.deadline_steady_ms != NEVER_MS:
        draft.log(ConsultEvent.REJOINED, member)
    draft.silence()
    draft.set(
        state=_S.IN_SESSION,
        accepted_device=device,
        nudged=False,
        joined_ms=row.joined_ms if row.state is _S.IN_SESSION else draft.now.wall_ms,
        met_ms=row.met_ms or draft.now.wall_ms,
    )


def _leave(draft: Draft, member: MemberId) -> None:
    require(_K.LEAVE, draft.row, member, draft.world)
    if draft.row.deadline_steady_ms == NEVER_MS:
        draft.set(deadline_steady_ms=draft.time(REJOIN_S))
        draft.log(ConsultEvent.LEFT, member)


def _finish(
    draft: Draft, member: MemberId, kind: ConsultActionKind, state: ConsultState, event: ConsultEvent
) -> None:
    if draft.row.state is state:
        return
    require(kind, draft.row, member, draft.world)
    draft.finish(state, event, member)


# ---- the desk


def _take(draft: Draft, member: MemberId) -> None:
    require(_K.TAKE, draft.row, member, draft.world)
    if draft.row.taken_by != member:
        draft.silence()
        draft.set(taken_by=member)
        draft.log(ConsultEvent.TAKEN, member)


def _release(draft: Draft, member: MemberId) -> None:
    if any(line.event is ConsultEvent.RELEASED for line in draft.row.tried):
        return
    require(_K.RELEASE, draft.row, member, draft.world)
    draft.set(taken_by=None, alarms=0)
    draft.log(ConsultEvent.RELEASED, member)
    draft.begin(0)


def _side(draft: Draft, member: MemberId, channel: ChannelId) -> None:
    require(_K.SIDE, draft.row, member, draft.world)
    if draft.row.side not in (None, channel):
        raise ProtocolError(WireError.CONFLICT, "the clinicians have a channel already")
    draft.set(side=channel)


# ---- pages


def _receipt(draft: Draft, page: PageId, state: TargetState) -> None:
    """How far a page came, never back; a page that is over or unknown says nothing."""
    if draft.row.state in FINAL or state not in PROGRESS:
        return
    target = next((target for target in draft.row.targets if target.page == page), None)
    if target is None or target.state not in PROGRESS:
        return
    if PROGRESS.index(state) > PROGRESS.index(target.state):
        draft.row = with_target(
            draft.row, msgspec.structs.replace(target, state=state, at_ms=draft.now.wall_ms)
        )
