"""What a run of consults wrote down, seen from outside: by clients, a push service and a telephone gateway.

Seconds of Unix time throughout: the lines that a server writes for people carry its own clock, which is this machine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from leeside_protocol.words import ConsultState

Way: TypeAlias = Literal["socket", "push", "sms", "voice"]

OVER: Final = frozenset(
    {ConsultState.ACCEPTED, ConsultState.IN_SESSION, ConsultState.ENDED, ConsultState.CANCELLED}
)
"""Where nobody is searched for any more."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the ladder that a consult climbs."""

    delay_s: float
    repeats: int = 0

    @property
    def lasts_s(self) -> float:
        """How long it waits before the next one."""
        return self.delay_s * (self.repeats + 1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A consult as its requester knows it: asked for the first time, and confirmed."""

    asked_s: float
    confirmed_s: float
    rungs: tuple[Rung, ...]
    """The whole ladder, the last step included."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A page came to somebody's door: as a notice, or as an attempt at the push service or the gateway, whatever became of
    it. `member`: whose door, where the way tells. `node`: who brought it, where that could be found out."""

    page: bytes
    way: Way
    at_s: float
    member: bytes | None = None
    consult: bytes | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Did:
    """What a person did to a consult, and when it was answered as done; infinite where that never became known."""

    consult: bytes
    member: bytes
    kind: Literal["accept", "decline", "escalate", "take", "cancel"]
    called_s: float
    answered_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of what the server says was done to reach somebody."""

    at_s: float
    event: str
    step: int
    member: bytes | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A consult as the server tells it at the end. `pages`: whose page is which."""

    state: ConsultState
    accepted_by: bytes | None
    lines: tuple[Line, ...]
    pages: tuple[tuple[bytes, bytes], ...] = ()
    """Member, page."""

    def begun_s(self, step: int) -> float | None:
        """When a step began; None if it did not."""
        times = [line.at_s for line in self.lines if line.step == step and line.event in _BEGINS]
        return min(times, default=None)

    def paged(self, step: int) -> frozenset[bytes]:
        """Whom a step paged."""
        return frozenset(
            line.member
            for line in self.lines
            if line.event == "paged" and line.step == step and line.member is not None
        )

    def first(self, event: str) -> float | None:
        """When something was first done."""
        return min((line.at_s for line in self.lines if line.event == event), default=None)


_BEGINS: Final = frozenset({"paged", "unreachable", "no_one_on_call"})


@dataclass(slots=True)
class Book:
    """One for a run."""

    asked: dict[bytes, Asked] = field(default_factory=dict[bytes, Asked])
    sights: list[Sight] = field(default_factory=list[Sight])
    notices: list[tuple[bytes, bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes, bytes]])
    """Page, consult, member: what stands in everybody's inbox at the end, whether or not a device was there to see it."""
    alarms: dict[bytes, list[float]] = field(default_factory=dict[bytes, list[float]])
    """When a supervisor's client was alarmed, by consult."""
    deeds: list[Did] = field(default_factory=list[Did])
    decided: dict[bytes, float] = field(default_factory=dict[bytes, float])
    """When somebody was first told that a consult is accepted, or over: its pages are over by then."""
    told: dict[bytes, Told] = field(default_factory=dict[bytes, Told])
    """Each consult at the end of the run."""
    ended_s: float = 0.0
    """When the run looked last."""

    def alarmed(self, consult: bytes, at_s: float) -> None:
        """A supervisor's client was alarmed."""
        self.alarms.setdefault(consult, []).append(at_s)

    def saw(self, consult: bytes, state: ConsultState, at_s: float) -> None:
        """Somebody was told where a consult stands."""
        if state in OVER:
            self.decided[consult] = min(at_s, self.decided.get(consult, at_s))

    def over_s(self, consult: bytes) -> float:
        """From when on nobody is to be paged; the end of the run if that never came."""
        return self.decided.get(consult, self.ended_s)

    def owners(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Every page of which somebody said whose it is and for what: page, consult, member."""
        yield from self.notices
        for sight in self.sights:
            if sight.consult is not None and sight.member is not None:
                yield sight.page, sight.consult, sight.member
        for consult, told in self.told.items():
            for member, page in told.pages:
                yield page, consult, member
