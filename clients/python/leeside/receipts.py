"""How far this device's messages have come, at the server and at each other device. Pure.

`delivered` and `read` are marks: "all up to here". `acknowledged` is said of one message. A mark counts only within
the generation it was made in: after a restore the offsets are others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from leeside.bodies import Marks
from leeside.events import Progress, Receipt
from leeside_protocol.ids import ChannelId, DeviceId, MessageId

KEPT_MESSAGES: Final = 2_000
"""How many of one's own messages are watched; the oldest go first."""
_ORDER: Final = {progress: rank for rank, progress in enumerate(Progress)}


@dataclass(slots=True)
class _Sent:
    channel: ChannelId
    generation: int = 0
    offset: int = 0
    own: Progress = Progress.WAITING
    devices: dict[DeviceId, Progress] = field(default_factory=dict[DeviceId, Progress])


class Receipts:
    """The progress of one device's messages. Every method returns what is news."""

    def __init__(self, device: DeviceId) -> None:
        self._device = device
        self._sent: OrderedDict[MessageId, _Sent] = OrderedDict()
        self._marks: dict[tuple[ChannelId, DeviceId], Marks] = {}

    def composed(self, channel: ChannelId, message: MessageId) -> None:
        """A message went into the outbox."""
        self._sent.setdefault(message, _Sent(channel))
        while len(self._sent) > KEPT_MESSAGES:
            self._sent.popitem(last=False)

    def accepted(
        self, channel: ChannelId, message: MessageId, generation: int, offset: int
    ) -> tuple[Receipt, ...]:
        """It is durable at the server; marks that came before it may cover it already."""
        self.composed(channel, message)
        sent = self._sent[message]
        sent.generation, sent.offset = generation, offset
        news: list[Receipt] = []
        if sent.own is not Progress.ACCEPTED:
            sent.own = Progress.ACCEPTED
            news.append(Receipt(channel, message, Progress.ACCEPTED))
        for (where, device), marks in self._marks.items():
            if where == channel:
                news.extend(self._reach(message, sent, device, marks))
        return tuple(news)

    def refused(self, message: MessageId, code: int) -> tuple[Receipt, ...]:
        """The server will not have it."""
        sent = self._sent.get(message)
        if sent is None:
            return ()
        sent.own = Progress.REFUSED
        return (Receipt(sent.channel, message, Progress.REFUSED, None, code),)

    def marked(self, channel: ChannelId, device: DeviceId, marks: Marks) -> tuple[Receipt, ...]:
        """A device said how far it is."""
        if device == self._device:
            return ()
        self._marks[channel, device] = marks
        news: list[Receipt] = []
        for message, sent in self._sent.items():
            if sent.channel == channel and sent.own is Progress.ACCEPTED:
                news.extend(self._reach(message, sent, device, marks))
        return tuple(news)

    def acknowledged(self, channel: ChannelId, device: DeviceId, message: MessageId) -> tuple[Receipt, ...]:
        """A device acknowledged one message."""
        sent = self._sent.get(message)
        if sent is None or sent.channel != channel or device == self._device:
            return ()
        return self._move(message, sent, device, Progress.ACKNOWLEDGED)

    def forget_channel(self, channel: ChannelId) -> None:
        """The log began anew: its offsets and marks are others now."""
        for key in [k for k in self._marks if k[0] == channel]:
            del self._marks[key]
        for sent in self._sent.values():
            if sent.channel == channel:
                sent.offset, sent.generation, sent.own = 0, 0, Progress.WAITING

    def own(self, message: MessageId) -> Progress | None:
        """How far it has come at the server; None for a message that is not watched."""
        sent = self._sent.get(message)
        return None if sent is None else sent.own

    def progress(self, message: MessageId) -> Mapping[DeviceId, Progress]:
        """How far it has come at each other device that said so."""
        sent = self._sent.get(message)
        return {} if sent is None else dict(sent.devices)

    def _reach(self, message: MessageId, sent: _Sent, device: DeviceId, marks: Marks) -> tuple[Receipt, ...]:
        if sent.offset == 0 or marks.generation != sent.generation:
            return ()
        if marks.read >= sent.offset:
            return self._move(message, sent, device, Progress.READ)
        if marks.delivered >= sent.offset:
            return self._move(message, sent, device, Progress.DELIVERED)
        return ()

    @staticmethod
    def _move(message: MessageId, sent: _Sent, device: DeviceId, to: Progress) -> tuple[Receipt, ...]:
        now = sent.devices.get(device)
        if now is not None and _ORDER[now] >= _ORDER[to]:
            return ()
        sent.devices[device] = to
        return (Receipt(sent.channel, message, to, device),)
