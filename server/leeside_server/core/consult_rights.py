"""Who sees a consult, and who may do what to it, when (spec 08, "Who may").

One table says in which states an action makes sense, one function who may take it. Whoever may not see a consult is told
`not_found` by the shell; here nobody is refused for that.
"""

from __future__ import annotations

from typing import Final, assert_never

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import MemberId
from leeside_protocol.words import ConsultActionKind, ConsultState, TargetState, Urgency
from leeside_server.core.consult_row import FINAL, ConsultRow
from leeside_server.core.ladder import World

_K = ConsultActionKind
_S = ConsultState

WHEN: Final[dict[ConsultActionKind, frozenset[ConsultState]]] = {
    _K.ACCEPT: frozenset({_S.REQUESTED, _S.PAGING, _S.EXHAUSTED}),
    _K.DECLINE: frozenset({_S.PAGING, _S.EXHAUSTED, _S.ACCEPTED}),
    _K.HOLD: frozenset({_S.PAGING}),
    _K.ESCALATE: frozenset({_S.PAGING}),
    _K.CANCEL: frozenset({_S.REQUESTED, _S.PAGING, _S.ACCEPTED, _S.EXHAUSTED}),
    _K.JOIN: frozenset({_S.ACCEPTED, _S.IN_SESSION}),
    _K.LEAVE: frozenset({_S.IN_SESSION}),
    _K.END: frozenset({_S.ACCEPTED, _S.IN_SESSION, _S.EXHAUSTED}),
    _K.TAKE: frozenset({_S.REQUESTED, _S.EXHAUSTED}),
    _K.RELEASE: frozenset({_S.REQUESTED}),
    _K.SIDE: frozenset({_S.ACCEPTED, _S.IN_SESSION}),
}
_ANSWERS: Final = frozenset({_K.ACCEPT, _K.DECLINE, _K.HOLD})


def watchers(row: ConsultRow, world: World) -> frozenset[MemberId]:
    """Who sees the consult: who asked and their unit, who was paged or came, the desk."""
    targets = {target.member for target in row.targets}
    accepter = {row.accepted_by} if row.accepted_by is not None else set[MemberId]()
    return (
        frozenset({row.member} | accepter | targets) | world.unit | world.desk | frozenset(world.supervisors)
    )


def may(row: ConsultRow, member: MemberId, world: World) -> tuple[ConsultActionKind, ...]:
    """What this member could do to the consult now."""
    return tuple(kind for kind in _K if row.state in WHEN[kind] and _entitled(kind, row, member, world))


def require(kind: ConsultActionKind, row: ConsultRow, member: MemberId, world: World) -> None:
    """Raise unless the member may do this now: `already_accepted` when someone else was first, `conflict` when the consult
    stands elsewhere (fetch it), `forbidden` when it is not theirs to do."""
    if kind in _ANSWERS and row.accepted_by not in (None, member):
        raise ProtocolError(WireError.ALREADY_ACCEPTED, "someone else accepted this consult")
    if row.state in FINAL:
        raise ProtocolError(WireError.CONFLICT, "this consult is over")
    if not _entitled(kind, row, member, world):
        raise ProtocolError(WireError.FORBIDDEN, "this is not yours to do in this consult")
    if row.state not in WHEN[kind]:
        raise ProtocolError(WireError.CONFLICT, "this cannot be done as the consult stands")


def _entitled(kind: ConsultActionKind, row: ConsultRow, member: MemberId, world: World) -> bool:
    asking = member == row.member
    desk = member in world.desk or member in world.supervisors
    target = row.target(member)
    match kind:
        case _K.ACCEPT:
            return could_come(row, member, world)
        case _K.DECLINE:
            asked = target is not None and target.state is not TargetState.DECLINED
            return asked and row.accepted_by in (None, member)
        case _K.HOLD:
            rings = target is not None and target.page is not None
            return rings and row.held_by is None and row.urgency is not Urgency.URGENT
        case _K.ESCALATE | _K.CANCEL:
            return asking or member in world.unit or desk
        case _K.JOIN | _K.LEAVE:
            return member == row.accepted_by
        case _K.END:
            return asking or member == row.accepted_by or desk
        case _K.TAKE | _K.RELEASE:
            return member in world.supervisors
        case _K.SIDE:
            return takes_part(row, member, world)
        case _ as never:
            assert_never(never)


def takes_part(row: ConsultRow, member: MemberId, world: World) -> bool:
    """Who asked, their unit, and who comes: whose consult it is."""
    return member in (row.member, row.accepted_by) or member in world.unit


def could_come(row: ConsultRow, member: MemberId, world: World) -> bool:
    """Whether this member might have accepted, whoever did: everyone that the ladder could page (a target, late or not,
    whoever a step names, a supervisor) and the channel's own; never who asks."""
    if member == row.member:
        return False
    named = any(member in step.members for step in row.steps)
    holds = member in (world.holders.get(rota) for step in row.steps for rota in step.rotas)
    return (
        row.target(member) is not None
        or named
        or holds
        or member in world.supervisors
        or member in world.roster
    )
