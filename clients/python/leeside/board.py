"""What a dispatcher's board shows of one channel: units, positions with their age, who shares, who types. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from leeside.events import Event, IncidentChange, NameChange, PositionChange, StatusChange, TypingChange
from leeside_protocol.ids import DeviceId, IncidentId, StateKind, UnitId
from leeside_protocol.limits import STREAM_TTL_S

TYPING_S: Final = 10
LIVE_MS: Final = STREAM_TTL_S * 1000
"""A live position older than this is the last one, not a live one."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Which devices were connected at `as_of_ms`. `stale`: absence proves nothing."""

    devices: frozenset[DeviceId]
    as_of_ms: int
    stale: bool


class Board:
    """The present of one channel, fed with its events."""

    def __init__(self) -> None:
        self.statuses: Final[dict[UnitId, StatusChange]] = {}
        self.incidents: Final[dict[IncidentId, IncidentChange]] = {}
        self.names: Final[dict[bytes, str]] = {}
        self._positions: dict[DeviceId, PositionChange] = {}
        self._sharing: dict[DeviceId, bool] = {}
        self._typing: dict[DeviceId, int] = {}

    def take(self, event: Event, now_ms: int) -> None:
        """Let an event change the board; events of other kinds change nothing."""
        match event:
            case StatusChange():
                self.statuses[event.unit] = event
            case IncidentChange():
                self.incidents[event.incident.incident] = event
            case NameChange():
                self.names[event.owner] = event.name
            case PositionChange():
                self._place(event)
            case TypingChange(device=device, on=on):
                if on:
                    self._typing[device] = now_ms
                else:
                    self._typing.pop(device, None)
            case _:
                pass

    def _place(self, event: PositionChange) -> None:
        if not event.live:
            self._sharing[event.device] = event.sharing
        known = self._positions.get(event.device)
        if event.fix is None:
            if known is None:
                self._positions[event.device] = event
            return
        newer_ms = 1 if known is None or known.fix is None else event.fix.fix_ms - known.fix.fix_ms
        if newer_ms > 0 or (newer_ms == 0 and not _same_kept(event, known)):
            self._positions[event.device] = event

    def forget(self, key: bytes) -> None:
        """The server deleted a kept value, e.g. the last positions when an incident ends."""
        kind, owner = key[:1], key[1:]
        if kind == StateKind.POSITION.value:
            self._positions.pop(DeviceId(owner), None)
            self._sharing.pop(DeviceId(owner), None)
        elif kind == StateKind.STATUS.value:
            self.statuses.pop(UnitId(owner), None)
        elif kind == StateKind.NAME.value:
            self.names.pop(owner, None)
        elif kind == StateKind.INCIDENT.value:
            self.incidents.pop(IncidentId(owner), None)

    def position(self, device: DeviceId) -> PositionChange | None:
        """A device's newest position, live or last; show its age."""
        return self._positions.get(device)

    def positions(self) -> tuple[PositionChange, ...]:
        """Every device's newest position."""
        return tuple(self._positions.values())

    def sharing(self, now_ms: int) -> frozenset[DeviceId]:
        """Who shares their position now: who said so, and who was heard within two minutes."""
        heard = {d for d, p in self._positions.items() if p.live and now_ms - p.at_ms < LIVE_MS}
        stopped = {d for d, sharing in self._sharing.items() if not sharing}
        return frozenset(self._sharing.keys() - stopped | heard - stopped)

    def typing(self, now_ms: int) -> frozenset[DeviceId]:
        """Who is typing."""
        return frozenset(d for d, at_ms in self._typing.items() if now_ms - at_ms < TYPING_S * 1000)

    def clear(self) -> None:
        """The log began anew."""
        self.statuses.clear()
        self.names.clear()
        self.incidents.clear()
        self._positions.clear()
        self._sharing.clear()
        self._typing.clear()


def _same_kept(event: PositionChange, known: PositionChange | None) -> bool:
    """Whether an event only says that a place which came live was also kept: both travel, in any order."""
    return known is not None and known.live and not event.live and event.sharing and not event.duress
