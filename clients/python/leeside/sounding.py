"""What sounds at this device until somebody acknowledges it: urgent texts, assignments, check-ins, duress, recommendations
(spec 05, 08 and 10).

What presses is written down together with the messages themselves, so that it sounds again after a crash; the times of the
repeats are kept in memory (`leeside.urgent`).

Notes written: `units`: this person's units; `teams`: who is in a unit with whom; `asked <channel>`: who asked for the
consult of this channel, 16 bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import msgspec

from leeside.bodies import REPEAT_S, Assignment, CheckIn, ConsultAsked, Duress, Recommendation, Text
from leeside.directories import Directories
from leeside.history import History, Row
from leeside.link import Clock
from leeside.reading import Reading
from leeside.telling import reading_of
from leeside.urgent import Repeats
from leeside_protocol import resources as r
from leeside_protocol.ids import (
    ChannelId,
    ChannelKind,
    DeviceId,
    MemberId,
    MessageId,
    UnitId,
    address,
    split_address,
)
from leeside_protocol.words import Urgency

OLD_MS: Final = 86_400_000
"""What is received later than this after it was said no longer sounds: it is shown, and stands in the history."""
_UNITS_NOTE: Final = "units"
_TEAMS_NOTE: Final = "teams"

Sounded = Callable[[ChannelId, MessageId, int], None]
"""Told when a message sounds again, with how often it has by then."""


class Sounding:
    """Everything that presses at one device. `run` it in a task group."""

    def __init__(
        self,
        history: History,
        directories: Directories,
        clock: Clock,
        server_now_ms: Callable[[], int],
        sounded: Sounded,
    ) -> None:
        self.repeats: Final = Repeats()
        self._history = history
        self._directories = directories
        self._clock = clock
        self._server_now_ms = server_now_ms
        self._sounded = sounded
        self._pressed = asyncio.Event()
        self._units: frozenset[UnitId] | None = None
        """The units of this person; None while nobody told: an assignment sounds rather than not."""
        self._teams: tuple[frozenset[MemberId], ...] = ()

    def restore(self, channels: Collection[ChannelId]) -> None:
        """Before `run`: take up what pressed in an earlier run. Nobody could acknowledge what stands in a channel that this
        device has left."""
        note = self._history.note(_UNITS_NOTE)
        if note is not None:
            self._units = frozenset(UnitId(u) for u in msgspec.msgpack.decode(note, type=list[bytes]))
        note = self._history.note(_TEAMS_NOTE)
        if note is not None:
            teams = msgspec.msgpack.decode(note, type=list[list[bytes]])
            self._teams = tuple(frozenset(MemberId(m) for m in team) for team in teams)
        now_s = self._clock.monotonic_s()
        for log, message, _ in self._history.pressing():
            channel = ChannelId(split_address(log)[1])
            if channel in channels:
                self.repeats.press(channel, message, now_s)

    def learn_units(self, units: Collection[r.Unit]) -> None:
        """The server's list of units: whose assignments sound here, and who may read back for whom."""
        teams = sorted(sorted(bytes.fromhex(m) for m in u.members) for u in units if not u.ended_ms)
        known = tuple(frozenset(MemberId(m) for m in team) for team in teams)
        if known != self._teams:
            self._teams = known
            self._history.keep_note(_TEAMS_NOTE, msgspec.msgpack.encode(teams))
        me = self._directories.member.hex()
        mine = frozenset(UnitId(bytes.fromhex(u.id)) for u in units if me in u.members and not u.ended_ms)
        if mine != self._units:
            self._units = mine
            self._history.keep_note(_UNITS_NOTE, msgspec.msgpack.encode(sorted(mine)))

    def pressing(self, readings: Collection[Reading]) -> tuple[tuple[MessageId, int], ...]:
        """Those of new entries that press here, and since when."""
        return tuple((n.row.id, n.row.at_ms) for n in readings if self._presses(n.row, n.content))

    def take(self, channel: ChannelId, row: Row, content: object) -> None:
        """An entry was read: it sounds from now on, if it presses."""
        if isinstance(content, ConsultAsked):
            self._learn_asker(channel, row.device)
        if self._presses(row, content):
            every_s = getattr(content, "repeat_s", REPEAT_S)
            self._history.press(address(ChannelKind.CONTENT, channel), row.id, row.at_ms)
            self.repeats.press(channel, row.id, self._clock.monotonic_s(), every_s)
            self._pressed.set()

    def _presses(self, row: Row, content: object) -> bool:
        if self._server_now_ms() - row.at_ms > OLD_MS:
            return False
        if self._directories.member_of(row.device) == self._directories.member:
            return False
        match content:
            case Text(urgency=urgency):
                return urgency is Urgency.URGENT
            case Assignment(unit=unit):
                return self._units is None or unit in self._units
            case CheckIn() | Duress() | Recommendation():
                return True
            case _:
                return False

    def acknowledged(
        self, channel: ChannelId, member: MemberId | None, message: MessageId, read_back: str = ""
    ) -> None:
        """A member acknowledged a message. One person, several devices: what they answered on one stops sounding on all. A
        check-in is answered by anybody but its sender, a recommendation by a read-back of the requester's unit alone."""
        row = self._history.message(address(ChannelKind.CONTENT, channel), message)
        content = None if row is None else reading_of(row).content
        sender = None if row is None else self._directories.member_of(row.device)
        match content:
            case Recommendation():
                answered = bool(read_back) and member != sender and self._acts(channel, member)
            case CheckIn():
                answered = member == self._directories.member or member != sender
            case _:
                answered = member == self._directories.member
        if answered:
            self.relieve(channel, message)

    def _learn_asker(self, channel: ChannelId, device: DeviceId) -> None:
        """The first word of a consult's channel says who asked; a later one changes nothing."""
        asker, note = self._directories.member_of(device), _asked_note(channel)
        if asker is not None and self._history.note(note) is None:
            self._history.keep_note(note, asker)

    def _acts(self, channel: ChannelId, member: MemberId | None) -> bool:
        """Whether a member is of the unit that asked for this channel's consult, and so reads back. Where the request cannot
        be read here, anybody's read-back counts: better quiet too soon at one who only listens than a sound without end."""
        note = self._history.note(_asked_note(channel))
        if note is None or member is None:
            return note is None and member is not None
        return member == note or any(member in team and note in team for team in self._teams)

    def relieve(self, channel: ChannelId, message: MessageId) -> None:
        """It sounds here no more."""
        self.repeats.relieve(message)
        self._history.relieve(address(ChannelKind.CONTENT, channel), message)

    def ended(self, channel: ChannelId) -> None:
        """The channel was taken out of service: nobody can read a recommendation back there any more."""
        log = address(ChannelKind.CONTENT, channel)
        for where, message, _ in self._history.pressing():
            row = self._history.message(log, message) if where == log else None
            if row is not None and isinstance(reading_of(row).content, Recommendation):
                self.relieve(channel, message)

    def leave(self, channel: ChannelId) -> None:
        """Nothing of this channel sounds any more: the device left it, or its log began anew."""
        self.repeats.relieve_channel(channel)

    async def run(self) -> None:
        """Tell each time something sounds again, until cancelled."""
        while True:
            next_s = self.repeats.next_s()
            delay_s = None if next_s is None else max(0.0, next_s - self._clock.monotonic_s())
            self._pressed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._pressed.wait()
            for channel, message, times in self.repeats.due(self._clock.monotonic_s()):
                self._sounded(channel, message, times)


def _asked_note(channel: ChannelId) -> str:
    return f"asked {channel.hex()}"
