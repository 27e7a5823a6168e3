"""Ladders: whom each step of an escalation reaches at one instant (spec 08, "The ladder").

Pure. What the server knows of people at that instant comes in as a `World`; nothing here looks anything up. A step is
resolved when it begins, with the holders of that very instant: a shift that ends then reaches the next holder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from leeside_protocol.ids import MemberId, RotaId
from leeside_protocol.limits import CONSULT_TARGETS, STEP_DELAY_S


class StepRow(msgspec.Struct, frozen=True, array_like=True):
    """A step as it is kept: whom it pages, and how long it waits before the next one begins.

    `language`: only who speaks the consult's, when it names one. `specialty`, `licence`: only who has it; empty: anybody.
    """

    rotas: tuple[RotaId, ...] = ()
    members: tuple[MemberId, ...] = ()
    delay_s: int = STEP_DELAY_S
    repeats: int = 0
    language: bool = False
    specialty: str = ""
    licence: str = ""


class PhoneRow(msgspec.Struct, frozen=True, array_like=True):
    """A number of the phone tree (E.164)."""

    label: str
    number: str


class LadderRow(msgspec.Struct, frozen=True):
    """An escalation policy, kind `ladder`. The last step is not written: see `with_last`. `ended_ms` 0: it is in use."""

    label: str
    created_ms: int
    steps: tuple[StepRow, ...] = ()
    phones: tuple[PhoneRow, ...] = ()
    ended_ms: int = 0


class Person(msgspec.Struct, frozen=True):
    """What the server knows of a member at one instant.

    `live`: a socket of an active device, or one that was lost so lately that it is still expected back (a socket that
    changes cells must not cost a step). `pushed`: a push subscription whose probe came back within a day. `phone`: a number.
    `ended`: the membership is over. `languages` are primary subtags of BCP 47.
    """

    languages: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    live: bool = False
    pushed: bool = False
    phone: bool = False
    ended: bool = False

    @property
    def reachable(self) -> bool:
        """A way leads to this person."""
        return not self.ended and (self.live or self.pushed or self.phone)


NOBODY: Final = Person(ended=True)
"""A member whom the agency does not have (any more)."""


class World(msgspec.Struct, frozen=True):
    """What a decision about one consult may look at, all of one instant.

    `holders`: who holds each rota that the consult's ladder names. `people`: every member named here, in the ladder and in
    the consult; whoever is missing counts as gone. `unit`: the members of the requester's unit; `desk`: dispatchers;
    `roster`: further members who may accept, that is psychiatrists with a device in the consult's channel.
    """

    holders: Mapping[RotaId, MemberId | None]
    people: Mapping[MemberId, Person]
    supervisors: tuple[MemberId, ...]
    unit: frozenset[MemberId] = frozenset()
    desk: frozenset[MemberId] = frozenset()
    roster: frozenset[MemberId] = frozenset()

    def person(self, member: MemberId) -> Person:
        """What is known of a member; `NOBODY` when nothing is."""
        return self.people.get(member, NOBODY)


LAST_STEP: Final = StepRow()
"""The step that every ladder ends with: all supervisors, whatever they speak, and the phone tree."""
STEP_MEMBERS: Final = CONSULT_TARGETS // 2
"""Members that one step pages at most, in the order that the ladder names them."""


def with_last(steps: tuple[StepRow, ...]) -> tuple[StepRow, ...]:
    """The steps that are climbed: those written, and the last one."""
    return (*steps, LAST_STEP)


def called(step: StepRow, language: str, world: World, *, last: bool) -> tuple[MemberId, ...]:
    """Whom a step means at this instant, each once: holders in the order of its rotas, then its members.

    They need not be reachable. `last`: the step is the ladder's last one, all supervisors.
    """
    if last:
        return world.supervisors[:STEP_MEMBERS]
    holders = (world.holders.get(rota) for rota in step.rotas)
    named = dict.fromkeys([*(holder for holder in holders if holder is not None), *step.members])
    fit = [member for member in named if fits(step, language, world.person(member))]
    return tuple(fit[:STEP_MEMBERS])


def fits(step: StepRow, language: str, person: Person) -> bool:
    """Whether a step takes this person for a consult in this language."""
    return (
        (not step.language or not language or language in person.languages)
        and (not step.specialty or step.specialty in person.specialties)
        and (not step.licence or step.licence in person.licences)
    )
