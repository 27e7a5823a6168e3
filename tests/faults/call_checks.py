"""What must be true of calls whose bridge is killed, judged by what people in them heard. Pure.

Everybody says numbered sounds that name their room and themselves, so that a sound which reaches the wrong room, comes
twice, or comes out of order is seen for what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

FOREIGN: Final = "nobody hears another room"
AGAIN: Final = "no sound is heard twice, or out of order"
LOST: Final = "everybody hears the others again after every kill"


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that somebody heard, over which of their transports. `room`, `speaker`, `number`: what the sound says of
    itself."""

    at_s: float
    listener: bytes
    transport: int
    room: bytes
    speaker: bytes
    number: int


@dataclass(slots=True)
class CallBook:
    """What was seen of all calls, in seconds of one clock. `rooms`: who is where."""

    rooms: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    heard: list[Sound] = field(default_factory=list[Sound])
    kills_s: list[float] = field(default_factory=list[float])
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A promise that did not hold, and how that was seen."""

    promise: str
    what: str


def check(book: CallBook) -> list[Fault]:
    """Every promise that was broken."""
    return [*_foreign(book), *_again(book), *_lost(book)]


def back_s(book: CallBook) -> list[float]:
    """For every kill and listener: how long until they heard somebody else of their room again. Who never did again has
    no figure here; `check` says who."""
    return [heard_s - kill_s for kill_s, _, heard_s in _returns(book) if heard_s is not None]


def _returns(book: CallBook) -> Iterable[tuple[float, bytes, float | None]]:
    """(kill, listener, when they heard somebody over a newer transport). It must be before the next kill. A sound that was on
    its way when the bridge was killed comes by the old one, and is no return."""
    for kill_s, next_s in pairwise((*book.kills_s, book.ended_s)):
        for listener in book.rooms:
            heard = [sound for sound in book.heard if sound.listener == listener]
            before = max((sound.transport for sound in heard if sound.at_s <= kill_s), default=0)
            later = (s.at_s for s in heard if kill_s < s.at_s <= next_s and s.transport > before)
            yield kill_s, listener, min(later, default=None)


def _foreign(book: CallBook) -> list[Fault]:
    return [
        Fault(
            FOREIGN, f"{sound.listener.hex()[:8]} heard sound {sound.number} of room {sound.room.hex()[:8]}"
        )
        for sound in book.heard
        if book.rooms.get(sound.listener) != sound.room or book.rooms.get(sound.speaker) != sound.room
    ]


def _again(book: CallBook) -> list[Fault]:
    newest: dict[tuple[bytes, bytes], int] = {}
    faults: list[Fault] = []
    for sound in book.heard:
        way = sound.listener, sound.speaker
        if sound.number <= newest.get(way, -1):
            faults.append(Fault(AGAIN, f"sound {sound.number} after {newest[way]}"))
        newest[way] = max(sound.number, newest.get(way, -1))
    return faults


def _lost(book: CallBook) -> list[Fault]:
    return [
        Fault(LOST, f"{listener.hex()[:8]} after the kill at {kill_s:.2f} s")
        for kill_s, listener, heard_s in _returns(book)
        if heard_s is None
    ]
