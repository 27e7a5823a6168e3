"""Urgent messages repeat at the receiver until it acknowledges them. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from leeside.bodies import REPEAT_S
from leeside_protocol.ids import ChannelId, MessageId

SHORTEST_S: Final = 5


@dataclass(slots=True)
class _Pressing:
    channel: ChannelId
    every_s: float
    next_s: float
    times: int


class Repeats:
    """The urgent messages not yet acknowledged here, and when each sounds again."""

    def __init__(self) -> None:
        self._pressing: dict[MessageId, _Pressing] = {}

    def press(self, channel: ChannelId, message: MessageId, now_s: float, every_s: int = REPEAT_S) -> None:
        """An urgent message came: it sounds again after `every_s`. A second time changes nothing."""
        every = float(max(SHORTEST_S, every_s or REPEAT_S))
        self._pressing.setdefault(message, _Pressing(channel, every, now_s + every, 0))

    def relieve(self, message: MessageId) -> bool:
        """It was acknowledged. False when it was not pressing."""
        return self._pressing.pop(message, None) is not None

    def relieve_channel(self, channel: ChannelId) -> None:
        """Nothing of this channel presses any more: the device left it, or its log began anew."""
        for message in [m for m, p in self._pressing.items() if p.channel == channel]:
            del self._pressing[message]

    def due(self, now_s: float) -> tuple[tuple[ChannelId, MessageId, int], ...]:
        """What sounds now, with how often it has by then; missed times are not made up for."""
        sounding: list[tuple[ChannelId, MessageId, int]] = []
        for message, pressing in self._pressing.items():
            if pressing.next_s <= now_s:
                pressing.times += 1
                pressing.next_s = now_s + pressing.every_s
                sounding.append((pressing.channel, message, pressing.times))
        return tuple(sounding)

    def next_s(self) -> float | None:
        """When `due` is worth asking again; None when nothing presses."""
        return min((p.next_s for p in self._pressing.values()), default=None)

    def __contains__(self, message: object) -> bool:
        return message in self._pressing

    def __len__(self) -> int:
        return len(self._pressing)
