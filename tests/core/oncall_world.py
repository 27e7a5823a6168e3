"""A small agency on call: people by name, a ladder, a consult, and a clock that goes on when it is told to."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from leeside_protocol.ids import ChannelId, DeviceId, IncidentId, LadderId, MemberId, PageId, RotaId, UnitId
from leeside_protocol.words import ConsultEvent, TargetState, Urgency
from leeside_server.core import consult
from leeside_server.core.consult_moves import Alarm, Dial, Effect, Ended, Input, Now, Page, Tell, Tick, Unpage
from leeside_server.core.consult_row import ConsultRow, due_ms
from leeside_server.core.ladder import LadderRow, Person, PhoneRow, StepRow, World

WALL_MS: Final = 1_800_000_000_000
STEADY_MS: Final = 5_000_000
LADDER: Final = LadderId(b"L" * 16)


def who(name: str) -> MemberId:
    """A member's id that says who it is."""
    return MemberId(name.encode().ljust(16, b"."))


def device(name: str) -> DeviceId:
    """A member's device."""
    return DeviceId(f"{name} dev".encode().ljust(16, b"."))


def rota(name: str) -> RotaId:
    """A rota's id that says which it is."""
    return RotaId(f"{name} rota".encode().ljust(16, b"."))


def names(*members: str) -> tuple[MemberId, ...]:
    """Ids of several."""
    return tuple(who(name) for name in members)


HERE: Final = Person(live=True)
AWAY: Final = Person()
ENDED: Final = Person(live=True, ended=True)


class OnCall:
    """One consult and what moves it. `effects` are those of the last move, `log` those of all, with their instants."""

    def __init__(
        self,
        *steps: StepRow,
        phones: int = 0,
        urgency: Urgency = Urgency.IMPORTANT,
        language: str = "",
        held: bool = False,
        supervisors: tuple[str, ...] = ("sup",),
        away: tuple[str, ...] = (),
        holders: dict[str, str | None] | None = None,
        people: dict[str, Person] | None = None,
        implied: bool = False,
    ) -> None:
        self.now = Now(STEADY_MS, WALL_MS)
        everyone = dict.fromkeys(("ann", "bo", "cy", "sup", "sue", "req", "mate", "disp"), HERE)
        everyone |= dict.fromkeys(away, AWAY) | (people or {})
        self.world = World(
            {rota(name): who(holder) if holder else None for name, holder in (holders or {}).items()},
            {who(name): person for name, person in everyone.items()},
            names(*supervisors),
            unit=frozenset(names("req", "mate")),
            desk=frozenset(names("disp", *supervisors)),
        )
        self.made = 0
        numbers = tuple(PhoneRow(f"phone {n}", f"+1555000000{n}") for n in range(phones))
        ladder = None if implied else (LADDER, LadderRow("ladder", WALL_MS, steps, numbers))
        request = consult.Request(
            IncidentId(b"i" * 16), UnitId(b"u" * 16), who("req"), device("req"), urgency, language, False, "",
            ChannelId(b"c" * 16),
        )  # fmt: skip
        self.log: list[tuple[Now, Effect]] = []
        self.row, self.effects = consult.open(request, ladder, self.now, self.world, self.page, held=held)
        self._note()

    def page(self) -> PageId:
        """The next page id."""
        self.made += 1
        return PageId(f"page {self.made}".encode().ljust(16, b"."))

    def do(self, given: Input, after_s: float = 0) -> ConsultRow:
        """Move the consult, so many seconds later."""
        ms = round(after_s * 1000)
        self.now = Now(self.now.steady_ms + ms, self.now.wall_ms + ms)
        self.row, self.effects = consult.step(self.row, given, self.now, self.world, self.page)
        self._note()
        return self.row

    def wait(self, seconds: float) -> ConsultRow:
        """Let time pass, with a tick at each deadline on the way, and one at the end unless a deadline was there."""
        until = self.now.steady_ms + round(seconds * 1000)
        while True:
            due = due_ms(self.row)
            if due is None or due > until:
                break
            self.do(Tick(), max(due - self.now.steady_ms, 0) / 1000)
        return (
            self.row if self.now.steady_ms == until else self.do(Tick(), (until - self.now.steady_ms) / 1000)
        )

    def person(self, name: str, person: Person) -> None:
        """Someone comes, goes or leaves for good."""
        self.world = replace(self.world, people={**self.world.people, who(name): person})

    def holder(self, name: str, member: str | None) -> None:
        """A rota changes hands."""
        self.world = replace(
            self.world, holders={**self.world.holders, rota(name): who(member) if member else None}
        )

    # ---- what is seen

    def paged(self) -> list[str]:
        """Whom the last move paged, in order."""
        return [_name(effect.member) for effect in self.effects if isinstance(effect, Page)]

    def dialled(self) -> list[str]:
        """Which numbers the last move called."""
        return [effect.number for effect in self.effects if isinstance(effect, Dial)]

    def over(self) -> list[PageId]:
        """Which pages the last move ended."""
        return [page for effect in self.effects if isinstance(effect, Unpage) for page in effect.pages]

    def alarms(self) -> list[int]:
        """The alarms of the last move."""
        return [effect.number for effect in self.effects if isinstance(effect, Alarm)]

    def ended(self) -> bool:
        """The last move was the consult's last."""
        return any(isinstance(effect, Ended) for effect in self.effects)

    def told(self) -> set[str]:
        """Who was told by the last move."""
        return {
            _name(member) for effect in self.effects if isinstance(effect, Tell) for member in effect.members
        }

    def state(self, name: str) -> TargetState | None:
        """How far one target is."""
        target = self.row.target(who(name))
        return None if target is None else target.state

    def page_of(self, name: str) -> PageId:
        """The page that rings for somebody."""
        target = self.row.target(who(name))
        assert target is not None
        assert target.page is not None
        return target.page

    def lines(self, since: int = 0) -> list[str]:
        """What was done: `event`, `event:name` or `event@step:name` for steps other than the first."""
        return [_line(line.event, line.step, line.member) for line in self.row.tried[since:]]

    def _note(self) -> None:
        self.log += [(self.now, effect) for effect in self.effects]


def _name(member: MemberId) -> str:
    return member.decode().rstrip(".")


def _line(event: ConsultEvent, step: int, member: MemberId | None) -> str:
    at = f"@{step}" if step > 0 else ""
    return f"{event}{at}" + (f":{_name(member)}" if member else "")
