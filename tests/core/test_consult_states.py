"""A consult through any sequence of answers, ticks, outages and people who come and go is never silent (G5).

The model knows pages by the effects alone, as a pager would, and compares them with what the row claims.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, MemberId, PageId
from leeside_protocol.limits import ALARM_S, CONSULT_TARGETS, CONSULT_TRIED
from leeside_protocol.words import ConsultActionKind, ConsultState, TargetState, Urgency
from leeside_server.core.consult_moves import (
    Accept,
    Alarm,
    Cancel,
    Decline,
    Dial,
    End,
    Ended,
    Escalate,
    Hold,
    Input,
    Join,
    Leave,
    Page,
    Receipt,
    Release,
    Side,
    Take,
    Tell,
    Tick,
    Unpage,
)
from leeside_server.core.consult_rights import may
from leeside_server.core.consult_row import FINAL, NEVER_MS, PROGRESS, ConsultRow, due_ms
from leeside_server.core.ladder import Person, StepRow
from tests.core.oncall_world import AWAY, ENDED, HERE, OnCall, device, names, rota, who

S = ConsultState
NAMES = ("ann", "bo", "cy", "sup", "sue", "req", "mate", "disp", "stranger")
PAGED = ("ann", "bo", "cy", "sup", "sue")
K = ConsultActionKind
LAST_ACTS = (K.CANCEL, K.END)
GIVEN: dict[ConsultActionKind, Callable[[str], Input]] = {
    K.ACCEPT: lambda name: Accept(who(name), device(name)), K.DECLINE: lambda name: Decline(who(name)),
    K.HOLD: lambda name: Hold(who(name)), K.ESCALATE: lambda name: Escalate(who(name)),
    K.CANCEL: lambda name: Cancel(who(name)), K.JOIN: lambda name: Join(who(name), device(name)),
    K.LEAVE: lambda name: Leave(who(name)), K.END: lambda name: End(who(name)), K.TAKE: lambda name: Take(who(name)),
    K.RELEASE: lambda name: Release(who(name)), K.SIDE: lambda name: Side(who(name), ChannelId(b"s" * 16)),
}  # fmt: skip
MOVES = 100
"""Ticks that end any of these ladders: each turn at most twice, three times of telling, an acceptance that comes to nothing."""
SOON_MS = 3_600_000
"""No step of these ladders is longer: a deadline further off is none."""

steps = st.builds(
    StepRow,
    rotas=st.lists(st.sampled_from([rota("day"), rota("night")]), max_size=2, unique=True).map(tuple),
    members=st.lists(
        st.sampled_from(names("ann", "bo", "cy", "ann", "bo", "cy", "ghost", "req")), min_size=1, max_size=3
    ).map(tuple),
    delay_s=st.sampled_from([5, 60, 3_600]),
    repeats=st.integers(0, 2),
    language=st.sampled_from([False, False, True]),
    specialty=st.sampled_from(["", "", "", "child"]),
)
people = st.sampled_from(
    [
        HERE,
        HERE,
        AWAY,
        ENDED,
        Person(pushed=True),
        Person(phone=True, languages=("es",)),
        Person(("es",), ("child",), live=True),
    ]
)
holders = st.sampled_from([*PAGED, None])


class ConsultStates(RuleBasedStateMachine):
    oncall: OnCall

    @initialize(
        ladder=st.lists(steps, min_size=1, max_size=4),
        phones=st.integers(0, 2),
        urgency=st.sampled_from(Urgency),
        language=st.sampled_from(["", "es"]),
        held=st.sampled_from([False, False, False, True]),
        late_s=st.sampled_from([0, 4, 6]),
        supervisors=st.sampled_from([("sup",), ("sup", "sue"), (), ("req",)]),
        who_is=st.fixed_dictionaries(dict.fromkeys(PAGED, people)),
        on=st.fixed_dictionaries({"day": holders, "night": holders}),
    )
    def begin(
        self,
        ladder: list[StepRow],
        phones: int,
        urgency: Urgency,
        language: str,
        held: bool,
        late_s: int,
        supervisors: tuple[str, ...],
        who_is: dict[str, Person],
        on: dict[str, str | None],
    ) -> None:
        self.oncall = OnCall(
            *ladder, phones=phones, urgency=urgency, language=language, held=held, supervisors=supervisors,
            people=who_is, holders=on,
        )  # fmt: skip
        self.open: set[PageId] = set()
        self.ever: set[PageId] = set()
        self.refusals: set[WireError] = set()
        self.over = False
        self.late_s = late_s
        self.began_ms = self.oncall.now.steady_ms
        self.see(None, self.oncall.row, Tick())

    # ---- what happens

    def move(self, given: Input, after_s: float = 0) -> bool:
        """Whether the input was taken. What was refused changed nothing, and asking twice is asking once."""
        before = self.oncall.row
        try:
            after = self.oncall.do(given, after_s)
        except ProtocolError as refused:
            self.refusals.add(refused.code)
            assert self.oncall.row is before
            assert not isinstance(given, Tick | Receipt)
            return False
        self.see(before, after, given)
        if not isinstance(given, Leave | Join):
            assert self.oncall.do(given) is after, "a retry is the same answer"
            assert self.oncall.effects == ()
        return True

    @rule(after_s=st.sampled_from([0, 0.5, 2, 5, 29.999, 30, 59.999, 60, 90]))
    def tick(self, after_s: float) -> None:
        self.move(Tick(), after_s)

    @rule()
    def tick_when_due(self) -> None:
        due = due_ms(self.oncall.row)
        if due is not None and due != NEVER_MS:
            self.move(Tick(), max(due - self.oncall.now.steady_ms, 0) / 1000)

    @rule(after_s=st.sampled_from([66, 600, 86_400]))
    def tick_after_an_outage(self, after_s: float) -> None:
        self.move(Tick(), after_s)

    @precondition(lambda self: self.oncall.row.state in {S.PAGING, S.ACCEPTED, S.IN_SESSION})
    @rule(all_of_them=st.booleans(), person=st.sampled_from([AWAY, ENDED]))
    def vanish(self, all_of_them: bool, person: Person) -> None:
        """Those who were asked, or who came, are gone between two ticks."""
        row = self.oncall.row
        gone = [
            target.member
            for target in row.targets
            if target.page is not None or target.member == row.accepted_by
        ]
        for member in gone if all_of_them else gone[:1]:
            self.oncall.person(member.decode().rstrip("."), person)
        self.move(Tick(), 2)

    @rule(name=st.sampled_from(PAGED), person=people)
    def come_or_go(self, name: str, person: Person) -> None:
        self.oncall.person(name, person)

    @rule(name=st.sampled_from(["day", "night"]), holder=holders)
    def hand_over(self, name: str, holder: str | None) -> None:
        self.oncall.holder(name, holder)

    @rule(pick=st.integers(0, 999), after_s=st.sampled_from([0, 1, 40]))
    def do_what_is_offered(self, pick: int, after_s: float) -> None:
        """Somebody does what their screen offers: it is taken."""
        row, world = self.oncall.row, self.oncall.world
        offers = [
            (kind, name) for name in NAMES for kind in may(row, who(name), world) if kind not in LAST_ACTS
        ]
        if offers:
            kind, name = offers[pick % len(offers)]
            assert self.move(GIVEN[kind](name), after_s)

    @rule(name=st.sampled_from(PAGED))
    def accept(self, name: str) -> None:
        self.move(Accept(who(name), device(name)), 1)

    @rule(
        name=st.sampled_from(NAMES), kind=st.sampled_from([kind for kind in GIVEN if kind not in LAST_ACTS])
    )
    def do_anything(self, name: str, kind: ConsultActionKind) -> None:
        self.move(GIVEN[kind](name))

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from(LAST_ACTS), really=st.integers(0, 9))
    def finish(self, name: str, kind: ConsultActionKind, really: int) -> None:
        if really == 9:
            self.move(GIVEN[kind](name), 1)

    @precondition(lambda self: self.oncall.row.accepted_by is not None)
    @rule(does=st.sampled_from([K.JOIN, K.LEAVE, K.DECLINE]))
    def come_and_go(self, does: ConsultActionKind) -> None:
        member = _accepter(self.oncall.row)
        self.move(GIVEN[does](member.decode().rstrip(".")), 1)

    @rule(pick=st.integers(0, 99), state=st.sampled_from(TargetState))
    def receipt(self, pick: int, state: TargetState) -> None:
        pages = sorted(self.ever)
        if pages:
            self.move(Receipt(pages[pick % len(pages)], state), 0.1)

    # ---- what is seen of it

    def see(self, before: ConsultRow | None, after: ConsultRow, given: Input) -> None:
        """Follow the effects, and compare what moved with what may move."""
        effects = self.oncall.effects
        if before is not None and after is before:
            assert effects == ()
            return
        assert [type(effect) for effect in effects].count(Tell) == 1
        told = next(effect.members for effect in effects if isinstance(effect, Tell))
        assert who("req") in told
        for effect in effects:
            match effect:
                case Unpage(pages):
                    assert set(pages) <= self.open, "only what rings is ended"
                    self.open -= set(pages)
                case Page(page, member):
                    assert self.oncall.world.person(member).reachable
                    assert member != after.member
                    assert page in self.open or page not in self.ever, "a page that is over stays over"
                    self.open.add(page)
                case Dial(page):
                    assert page not in self.ever
                    self.open.add(page)
                case Ended():
                    assert not self.over
                    self.over = True
                case Alarm(number):
                    assert number == after.alarms
                case Tell():
                    pass
        self.ever |= self.open
        self.check_acceptance(before, after, given)
        if before is not None and isinstance(given, Tick | Decline | Hold):
            self.check_time(before, after, given)
        if before is None or (before.step, before.turn, before.step_ms) != (
            after.step,
            after.turn,
            after.step_ms,
        ):
            self.began_ms = self.oncall.now.steady_ms

    def check_acceptance(self, before: ConsultRow | None, after: ConsultRow, given: Input) -> None:
        """One accepter, who stays so until they do not come, leave or give it back."""
        was = before.accepted_by if before is not None else None
        if was is not None and after.accepted_by != was:
            assert after.accepted_by is None
            assert after.state in {S.PAGING, S.EXHAUSTED}
            assert isinstance(given, Tick) or given == Decline(was)
        if was is None and after.accepted_by is not None:
            assert isinstance(given, Accept)
            assert given.member == after.accepted_by != after.member
        paged = [effect for effect in self.oncall.effects if isinstance(effect, Page)]
        if after.accepted_by is not None:
            assert all(effect.member == after.accepted_by and after.nudged for effect in paged)

    def check_time(self, before: ConsultRow, after: ConsultRow, given: Tick | Decline | Hold) -> None:
        """Nothing moves a step before its time while somebody else who can be reached may still answer."""
        world, now_ms = self.oncall.world, self.oncall.now.steady_ms
        ring = [t for t in before.targets if t.page is not None and t.state in PROGRESS]
        answers = None if isinstance(given, Tick) else given.member
        waits = any(world.person(t.member).reachable for t in ring if t.member != answers)
        if (
            before.state is S.PAGING
            and waits
            and now_ms < self.began_ms + before.steps[before.step].delay_s * 1000
        ):
            assert (after.state, after.step, after.turn) == (before.state, before.step, before.turn)
        overdue = before.deadline_steady_ms <= now_ms
        if before.state is S.PAGING and before.renewed and overdue and isinstance(given, Tick):
            there = (before.state, before.step, before.turn)
            assert (after.state, after.step, after.turn) != there, "an outage is forgiven once"
        gone = before.taken_by is not None and world.person(before.taken_by).ended
        again = gone and isinstance(given, Tick)
        if before.deadline_steady_ms > now_ms and before.state in {S.EXHAUSTED, S.REQUESTED}:
            assert after.alarms == before.alarms + again, "early, or nobody has it and it is silent"

    # ---- what always holds

    @invariant()
    def is_never_silent(self) -> None:
        """Whatever is not over is due, or waits for people who were told and can act."""
        row = self.oncall.row
        due = due_ms(row)
        if row.state in FINAL:
            assert due is None
            assert self.over
            return
        assert due is not None
        assert not self.over
        if due == NEVER_MS:
            assert row.state is S.IN_SESSION or row.taken_by is not None
        else:
            assert due <= self.oncall.now.steady_ms + SOON_MS
        if row.state is S.EXHAUSTED:
            assert row.alarms > 0

    @invariant()
    def rings_as_it_says(self) -> None:
        row = self.oncall.row
        claimed = {target.page for target in row.targets if target.page is not None} | set(row.dialled)
        assert claimed == self.open
        if row.state in {*FINAL, S.IN_SESSION, S.REQUESTED} or (row.taken_by and row.state is S.EXHAUSTED):
            assert self.open == set()
        if row.state is S.ACCEPTED:
            assert len(self.open) == int(row.nudged)

    @invariant()
    def somebody_is_paged_while_it_pages(self) -> None:
        row = self.oncall.row
        if row.state is S.PAGING:
            assert any(target.page is not None and target.state in PROGRESS for target in row.targets)

    @invariant()
    def refuses_with_its_own_codes(self) -> None:
        assert self.refusals <= {WireError.FORBIDDEN, WireError.CONFLICT, WireError.ALREADY_ACCEPTED}

    @invariant()
    def has_one_accepter(self) -> None:
        row = self.oncall.row
        if row.state not in FINAL:
            assert (row.accepted_by is not None) is (row.state in {S.ACCEPTED, S.IN_SESSION})

    @invariant()
    def stays_within_its_bounds(self) -> None:
        row = self.oncall.row
        assert len(row.tried) <= CONSULT_TRIED
        assert len(row.targets) <= CONSULT_TARGETS
        assert len({target.member for target in row.targets}) == len(row.targets)
        assert -1 <= row.step <= row.last
        assert msgspec.json.decode(msgspec.json.encode(row), type=ConsultRow) == row

    @invariant()
    def offers_something_to_someone(self) -> None:
        row, world = self.oncall.row, self.oncall.world
        offered = [may(row, who(name), world) for name in NAMES]
        assert any(offered) is (row.state not in FINAL)

    def teardown(self) -> None:
        """Nobody does anything any more: it ends in the alarm, and that repeats."""
        if not hasattr(self, "oncall"):
            return
        oncall = self.oncall
        # What is overdue is done first: an alarm that is late counts for itself.
        self.move(Tick())
        if oncall.row.state in FINAL or oncall.row.taken_by is not None:
            return
        if oncall.row.state is S.IN_SESSION and oncall.row.deadline_steady_ms == NEVER_MS:
            self.move(Leave(_accepter(oncall.row)))
        for _ in range(MOVES):
            if oncall.row.state in {S.EXHAUSTED, S.REQUESTED}:
                break
            self.tick_late()
        assert oncall.row.state in {S.EXHAUSTED, S.REQUESTED}
        alarms = oncall.row.alarms
        oncall.wait(3 * ALARM_S)
        assert oncall.row.alarms == alarms + 3

    def tick_late(self) -> None:
        """The next deadline, as a server does it that is always a little late."""
        due = due_ms(self.oncall.row)
        assert due is not None
        self.move(Tick(), max(due - self.oncall.now.steady_ms, 0) / 1000 + self.late_s)


def _accepter(row: ConsultRow) -> MemberId:
    assert row.accepted_by is not None
    return row.accepted_by


TestConsultStates = ConsultStates.TestCase
TestConsultStates.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
