"""A consult while it is decided on: the row so far, and what must be done once it is saved.

The machine in `consult` says what happens when; here is how each thing is done: paging a step, ending pages, sounding the
alarm. A draft lives within one call of the machine and is never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from leeside_protocol.ids import MemberId, PageId
from leeside_protocol.limits import ALARM_S, HOLD_S
from leeside_protocol.words import ConsultEvent, ConsultState, TargetState
from leeside_server.core.consult_moves import Alarm, Dial, Effect, Ended, Now, Page, Tell, Unpage
from leeside_server.core.consult_rights import watchers
from leeside_server.core.consult_row import (
    NEVER_MS,
    PROGRESS,
    ConsultRow,
    TargetRow,
    TriedRow,
    ringing,
    told_by,
    with_line,
    with_target,
)
from leeside_server.core.ladder import World, called


class Draft:
    """One decision. Call `done` last, once."""

    def __init__(self, row: ConsultRow, now: Now, world: World, ids: Callable[[], PageId]) -> None:
        self.row: ConsultRow = row
        self.now: Final = now
        self.world: Final = world
        self._ids: Final = ids
        self._before: Final = row
        self._pages: list[Page | Dial] = []
        self._over: dict[PageId, None] = {}
        self._others: list[Effect] = []

    def done(self) -> tuple[ConsultRow, tuple[Effect, ...]]:
        """The row to save and what goes with it. An unchanged row is the very same object, and wants nothing."""
        if self.row == self._before:
            return self._before, ()
        unpage = (Unpage(tuple(self._over)),) if self._over else ()
        everybody = watchers(self._before, self.world) | watchers(self.row, self.world)
        return self.row, (*unpage, *self._pages, *self._others, Tell(everybody))

    def set(self, **fields: Any) -> None:
        """Change fields of the row."""
        self.row = replace(self.row, **fields)

    def log(self, event: ConsultEvent, member: MemberId | None = None, step: int | None = None) -> None:
        """Add a line to what was done; `step` is the present one unless given."""
        at = self.row.step if step is None else step
        self.row = with_line(self.row, TriedRow(self.now.wall_ms, event, at, member))

    def time(self, seconds: int) -> int:
        """The instant so many seconds from now, on the steady clock."""
        return self.now.steady_ms + seconds * 1000

    @property
    def due(self) -> bool:
        """The state's own deadline has come."""
        return self.row.deadline_steady_ms <= self.now.steady_ms

    def count_tells(self) -> None:
        """The requester is told at fixed times, though nothing else happened: a changed count is what makes `Tell`."""
        self.set(told=max(self.row.told, told_by(self.row, self.now.steady_ms)))

    # ---- climbing

    def begin(self, step: int, also: tuple[MemberId, ...] = ()) -> None:
        """Begin a step, or the first one behind it that reaches somebody, at once; behind the last, exhaust.

        `also` are paged with the first that is tried, whatever it names.
        """
        for at in range(step, len(self.row.steps)):
            if self._page_step(at, 0, also=also if at == step else ()):
                return
        self.exhaust()

    def repeat(self, turn: int) -> None:
        """Begin a turn of the present step, for whoever it means now: who had a page keeps it. Where it reaches nobody
        (any more) the next step begins."""
        if not self._page_step(self.row.step, turn, again=True):
            self.begin(self.row.step + 1)

    def _page_step(self, at: int, turn: int, *, again: bool = False, also: tuple[MemberId, ...] = ()) -> bool:
        """Page whom a step reaches, and set its time. False: nobody, and no time is set."""
        step, last = self.row.steps[at], at == self.row.last
        named = dict.fromkeys([*called(step, self.row.language, self.world, last=last), *also])
        named.pop(self.row.member, None)
        asked = [member for member in named if not self._has_answered(member)]
        reached = [member for member in asked if self.world.person(member).reachable]
        self.close_pages(but=reached if again else (), phones=not again)
        self.set(step=at, turn=turn, renewed=False, deepest=max(self.row.deepest, at))
        if not named:
            self.log(ConsultEvent.NO_ONE_ON_CALL)
        for member in asked:
            if member in reached:
                self.page(member)
            else:
                self._lose(member)
        if last:
            self._dial()
        if reached:
            wait_ms = step.delay_s * 1000
            self.set(
                state=ConsultState.PAGING,
                deadline_steady_ms=self.now.steady_ms + wait_ms,
                step_ms=self.now.wall_ms,
                next_ms=self.now.wall_ms + wait_ms,
            )
        return bool(reached)

    def _has_answered(self, member: MemberId) -> bool:
        target = self.row.target(member)
        holds = member == self.row.held_by and self.row.hold_steady_ms != NEVER_MS
        return holds or (target is not None and target.state is TargetState.DECLINED)

    def waiting(self) -> tuple[TargetRow, ...]:
        """Who is being paged in the present step and may still answer."""
        return tuple(target for target in self.row.targets if target.page and target.state in PROGRESS)

    def exhaust(self) -> None:
        """The ladder has ended: alarm, and go on trying whoever can be reached of the last step."""
        first = self.row.exhausted_ms or self.now.wall_ms
        self.set(
            state=ConsultState.EXHAUSTED,
            exhausted_ms=first,
            step=self.row.last,
            turn=0,
            next_ms=0,
            taken_by=None,
        )
        self.log(ConsultEvent.EXHAUSTED)
        self.look()
        self.alarm()

    def alarm(self) -> None:
        """Alarm now, and again in `ALARM_S`."""
        self.set(alarms=self.row.alarms + 1, deadline_steady_ms=self.time(ALARM_S))
        self.log(ConsultEvent.ALARMED)
        self._others.append(Alarm(self.row.alarms))

    def look(self) -> None:
        """See who came and went. Who is gone is `unreachable`; who is back is paged for what is left of the step. Once
        exhausted every supervisor counts as paged before, and the phone tree is called."""
        for target in self.waiting():
            if not self.world.person(target.member).reachable:
                self._lose(target.member)
        back = [
            t.member
            for t in self.row.targets
            if t.state is TargetState.UNREACHABLE and t.step == self.row.step
        ]
        if self.row.state is ConsultState.EXHAUSTED:
            calls = called(self.row.steps[self.row.last], "", self.world, last=True)
            back += [member for member in calls if ringing(self.row, member) is None]
            self._dial()
        for member in dict.fromkeys(back):
            if self._may_be_paged(member):
                self.page(member)

    def _may_be_paged(self, member: MemberId) -> bool:
        reachable = self.world.person(member).reachable
        return reachable and member != self.row.member and not self._has_answered(member)

    # ---- pages

    def page(self, member: MemberId, state: TargetState = TargetState.QUEUED) -> None:
        """Page a member in the present step: with the page that they have, or a new one when it is over."""
        page = ringing(self.row, member) or self._ids()
        self._put(member, state, page)
        self._pages.append(Page(page, member, self.row.step, self.world.person(member).phone))
        self.log(ConsultEvent.PAGED, member)
        if not self.row.paged_ms:
            self.set(paged_ms=self.now.wall_ms)

    def answer(self, member: MemberId, state: TargetState) -> None:
        """Note what a member said; their page is over."""
        self._end(ringing(self.row, member))
        self._put(member, state, None)

    def hold(self, member: MemberId) -> None:
        """Their page is over; they are paged anew when the hold is."""
        self.answer(member, TargetState.SEEN)
        wait_ms = HOLD_S * 1000
        self.set(
            held_by=member,
            held_until_ms=self.now.wall_ms + wait_ms,
            hold_steady_ms=self.now.steady_ms + wait_ms,
        )
        self.log(ConsultEvent.HELD, member)

    def end_hold(self) -> None:
        """Five minutes are over, and nobody came: whoever asked for them is paged anew."""
        holder = self.row.held_by
        self.set(hold_steady_ms=NEVER_MS, held_until_ms=0)
        if holder is None or self._has_answered(holder):
            return
        if self.world.person(holder).reachable:
            self.page(holder)
        else:
            self._lose(holder)

    def close_pages(self, but: Iterable[MemberId] = (), *, phones: bool = True) -> None:
        """Every page is over but those of some, the phone tree's too with `phones`. Who had not answered has timed out."""
        for target in self.row.targets:
            if target.page is not None and target.member not in but:
                self._end(target.page)
                state = TargetState.TIMED_OUT if target.state in PROGRESS else target.state
                at_ms = target.at_ms if state is target.state else self.now.wall_ms
                self.row = with_target(self.row, replace(target, page=None, state=state, at_ms=at_ms))
        if phones:
            for page in self.row.dialled:
                self._end(page)
            self.set(dialled=())

    def silence(self) -> None:
        """Nothing rings any more, and nothing is waited for."""
        self.close_pages()
        self.set(deadline_steady_ms=NEVER_MS, hold_steady_ms=NEVER_MS, held_until_ms=0, next_ms=0)

    def _dial(self) -> None:
        if self.row.dialled:
            return
        pages = tuple(self._ids() for _ in self.row.phones)
        self.set(dialled=pages)
        for page, phone in zip(pages, self.row.phones, strict=True):
            self._pages.append(Dial(page, phone.label, phone.number))

    def _lose(self, member: MemberId) -> None:
        """No way leads to them (any more). A page that they have goes on being tried, unless they left for good."""
        page = ringing(self.row, member)
        if self.world.person(member).ended:
            self._end(page)
            page = None
        self._put(member, TargetState.UNREACHABLE, page)
        self.log(ConsultEvent.UNREACHABLE, member)

    def _put(self, member: MemberId, state: TargetState, page: PageId | None) -> None:
        self.row = with_target(self.row, TargetRow(member, self.row.step, state, page, self.now.wall_ms))

    def _end(self, page: PageId | None) -> None:
        if page is not None:
            self._over[page] = None

    # ---- the end

    def finish(self, state: ConsultState, event: ConsultEvent, member: MemberId) -> None:
        """Over for good."""
        self.silence()
        self.set(state=state, ended_ms=self.now.wall_ms)
        self.log(event, member)
        self._others.append(Ended())
