"""What must be true of calls whose bridge is killed, attacked or worn out, judged by what people in them heard and by what its
processes hold. Pure.

Everybody says numbered sounds that name their room and themselves, so that a sound which reaches the wrong room, comes
twice, or comes out of order is seen for what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

FOREIGN: Final = "nobody hears another room"
AGAIN: Final = "no sound is heard twice, or out of order"
LOST: Final = "everybody hears the others again after every kill"
DISTURBED: Final = "other calls are undisturbed"
GROWN: Final = "memory and open files are flat"
FLAT_BYTES: Final = 16_000_000
FLAT_FILES: Final = 8
"""Sockets of messages come and go meanwhile."""


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
    """What was seen of all calls, in seconds of one clock. `rooms`: who is where. `said`: when each speaker said each number."""

    rooms: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    heard: list[Sound] = field(default_factory=list[Sound])
    said: dict[tuple[bytes, int], float] = field(default_factory=dict[tuple[bytes, int], float])
    kills_s: list[float] = field(default_factory=list[float])
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the bridge's worker and its node have at one moment."""

    worker_bytes: int
    worker_files: int
    node_bytes: int
    node_files: int


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


# ---- under attack


def delays_s(book: CallBook, since_s: float, until_s: float, who: Collection[bytes]) -> list[float]:
    """Of every sound that was said in this time and reached one of these: how long it took."""
    heard = _heard_of(book, since_s, until_s)
    return [sound.at_s - said_s for sound, said_s in heard if sound.listener in who]


def shares(book: CallBook, since_s: float, until_s: float) -> dict[bytes, float]:
    """For everybody in a call: the share of what others of their room said in this time that they heard, once or more."""
    heard: dict[bytes, set[tuple[bytes, int]]] = {listener: set() for listener in book.rooms}
    for sound, _ in _heard_of(book, since_s, until_s):
        heard[sound.listener].add((sound.speaker, sound.number))
    said: dict[bytes, list[bytes]] = {}
    for (speaker, _), said_s in book.said.items():
        if since_s <= said_s <= until_s:
            said.setdefault(book.rooms[speaker], []).append(speaker)
    found: dict[bytes, float] = {}
    for listener, room in book.rooms.items():
        others = sum(speaker != listener for speaker in said.get(room, ()))
        found[listener] = len(heard[listener]) / others if others else 0.0
    return found


def disturbed(
    book: CallBook, since_s: float, until_s: float, who: Collection[bytes], least: float
) -> list[Fault]:
    """Who of these heard less than this share of their call in this time. Who was said nothing to was disturbed as well, and so was nobody
    at all: silence proves nothing."""
    found = shares(book, since_s, until_s)
    if not who:
        return [Fault(DISTURBED, "nobody was in a call")]
    return [
        Fault(DISTURBED, f"{listener.hex()[:8]} heard {found.get(listener, 0.0):.0%}")
        for listener in who
        if found.get(listener, 0.0) < least
    ]


def grown(before: Held, after: Held) -> list[Fault]:
    """What the two processes have more than before, beyond what may come and go."""
    found = [
        Fault(GROWN, f"{name} {more / 1e6:+.1f} MB")
        for name, more in (
            ("worker", after.worker_bytes - before.worker_bytes),
            ("node", after.node_bytes - before.node_bytes),
        )
        if more >= FLAT_BYTES
    ]
    return found + [
        Fault(GROWN, f"{name} {more:+d} files")
        for name, more in (
            ("worker", after.worker_files - before.worker_files),
            ("node", after.node_files - before.node_files),
        )
        if more > FLAT_FILES
    ]


def _heard_of(book: CallBook, since_s: float, until_s: float) -> Iterable[tuple[Sound, float]]:
    """Sounds of this time with when they were said."""
    for sound in book.heard:
        said_s = book.said.get((sound.speaker, sound.number))
        if said_s is not None and since_s <= said_s <= until_s and sound.listener in book.rooms:
            yield sound, said_s
