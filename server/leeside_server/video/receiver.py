"""What one peer is sent, and how much of it: the estimate of its link, the pace, and which pictures fit.

Between the plane, which says what could be sent, and the peer, which sends. Sound always goes; a picture goes in the size
that the allocator gives it, and the room is told when that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from leeside_protocol.ids import DeviceId
from leeside_protocol.video.formats import DOWN_MIDS, MediaKind
from leeside_protocol.video.signalling import PausedWhy
from leeside_server.video import quality
from leeside_server.video.allocator import Allocation, Allocator, Demand
from leeside_server.video.allocator import Layer as Size
from leeside_server.video.bwe import Bandwidth
from leeside_server.video.forward import Downlink
from leeside_server.video.room import Member
from leeside_server.video.slot import ALL_LINES, Slot

SINGLE_LINES: Final = 360
"""What a picture that comes in one size only is reckoned as."""
PROBE_PACKETS: Final = 24
"""Packets of padding that leave at once, at most."""
REPEATED_PACKETS: Final = 64
"""What one tick sends again of one line, at most."""
_PICTURES: Final = DOWN_MIDS[1::2]


class Receiver:
    """The downward half of a peer's link. `told(publisher, why, lines)` hears what comes of each picture."""

    def __init__(
        self, bandwidth: Bandwidth, down: Downlink, told: Callable[[DeviceId, PausedWhy, int], None]
    ) -> None:
        self.bandwidth: Final = bandwidth
        self.audio_only = False
        self._down = down
        self._told = told
        self._allocator = Allocator()
        self._grader = quality.Grader()
        self._said: dict[str, tuple[PausedWhy, int]] = {}
        self._twice: dict[str, int] = {}
        """The lines of which all is sent twice, and up to which number that was done."""
        self._new: set[str] = set()
        """Lines behind which a picture may be that nothing was said of yet."""

    @property
    def awaits(self) -> bool:
        """Whether a picture is there that was given no size yet: `share` at once, somebody waits to see it."""
        slots = self._down.slots
        for mid in self._new:
            slot = slots[mid]
            if slot.track is None or slot.why is PausedWhy.MUTED:
                continue
            if any(layer.alive for layer in slot.track.layers.values()):
                return True
        return False

    @property
    def restless(self) -> bool:
        """Whether `probe` and `repeat` may have something to do with every tick. Else every 100 ms will do."""
        return bool(self._twice) or self.bandwidth.restless

    def probe(self, now_s: float) -> None:
        """Send the padding that is due."""
        owed = self.bandwidth.probe_due(now_s)
        left = PROBE_PACKETS
        while owed > 0 and left and (size := self._down.pad()):
            owed -= size
            left -= 1

    def repeat(self, now_s: float) -> None:
        """Send again what left since this was called last, where the link loses what cannot be repaired in time, and bears
        it. Call it with every tick: what is sent twice is apart by about one, so that a moment's loss takes one of both."""
        for mid, before in self._twice.items():
            slot = self._down.slots[mid]
            newest = slot.sent_to
            for number in range(max(before, newest - REPEATED_PACKETS) + 1, newest + 1):
                slot.resend(number & 0xFFFF, now_s, asked=False)
            self._twice[mid] = newest

    def share(self, member: Member, others: Mapping[DeviceId, Member], most_lines: int, now_s: float) -> None:
        """Give each picture the size that fits. `most_lines` bounds them all while the worker has too much to do."""
        demands: list[Demand] = []
        shown: list[tuple[Slot, Member]] = []
        heard: list[Slot] = []
        for device, pair in member.pairs.items():
            publisher = others.get(device)
            sound = self._down.slots[DOWN_MIDS[2 * pair]]
            picture = self._down.slots[DOWN_MIDS[2 * pair + 1]]
            if sound.track is not None and sound.why is PausedWhy.FLOWING:
                heard.append(sound)
            if publisher is None or picture.track is None or picture.why is PausedWhy.MUTED:
                continue
            shown.append((picture, publisher))
            demands.append(self._demand(picture, publisher, member.lines.get(device), most_lines))
        bandwidth = self.bandwidth
        if not bandwidth.told:
            bandwidth.reported(self._down.loss, now_s)
        repeats = bandwidth.repeats
        result = self._allocator.allocate(
            bandwidth.budget_bps,
            len(heard),
            demands,
            now_s,
            proven=bandwidth.proven,
            sound_twice=bandwidth.loses_much,
            repeats=repeats,
            repairs_late=bandwidth.repairs_late,
        )
        bandwidth.want(result.wanted_bps)
        self.audio_only = result.audio_only
        if repeats:
            self._choose_twice(result, [slot.mid for slot in heard])
        else:
            self._twice.clear()
        if bandwidth.returned():
            for picture, _ in shown:
                picture.begin_anew(now_s)
        for demand, (picture, publisher) in zip(demands, shown, strict=True):
            self._give(picture, publisher.device, demand, result.lines[demand.mid], now_s)

    def grade(self, now_s: float) -> int:
        """How good the link is downward, 3 to 0."""
        bandwidth = self.bandwidth
        link = quality.Link(
            loss=bandwidth.loss,
            queue_s=bandwidth.queue_s,
            rtt_s=self._down.rtt_s or bandwidth.rtt_s,
            bps=bandwidth.scarce_bps,
            silent_s=bandwidth.silent_s(now_s),
        )
        return self._grader.grade(link, now_s)

    def forget(self, mid: str) -> None:
        """Another picture, or none, is behind this line from now on."""
        self._said.pop(mid, None)
        self._allocator.forget(mid)
        if mid in _PICTURES and self._down.slots[mid].track is not None:
            self._new.add(mid)
        else:
            self._new.discard(mid)

    def retell(self) -> None:
        """What was told of the pictures may be lost."""
        self._said.clear()

    def _choose_twice(self, result: Allocation, sounds: Sequence[str]) -> None:
        chosen = [*(sounds if result.sound_twice else ()), *result.twice]
        slots, before = self._down.slots, self._twice
        self._twice = {mid: before.get(mid, slots[mid].sent_to) for mid in chosen}

    def _demand(self, picture: Slot, publisher: Member, wanted: int | None, most_lines: int) -> Demand:
        layers = () if picture.track is None else picture.track.layers.values()
        sizes = [(layer.lines or SINGLE_LINES, layer.bps) for layer in layers if layer.alive]
        sizes.sort()
        return Demand(
            picture.mid,
            publisher.ticket.part,
            tuple([Size(lines, bps) for lines, bps in sizes]),
            min(ALL_LINES if wanted is None else wanted, most_lines),
            publisher.person,
            publisher.signs,
        )

    def _give(self, picture: Slot, publisher: DeviceId, demand: Demand, lines: int, now_s: float) -> None:
        if lines:
            picture.resume(now_s)
            if picture.lines != lines and len(demand.layers) > 1:
                picture.want(lines, now_s)
            why = PausedWhy.FLOWING
        elif not demand.layers:
            # Nothing comes from there now: that is not the link's doing, and what comes first shall flow at once.
            return
        else:
            why = PausedWhy.BANDWIDTH if demand.wanted_lines else PausedWhy.UNWANTED
            if picture.why is not why:
                picture.pause(why)
        self._new.discard(picture.mid)
        if self._said.get(picture.mid) != (why, lines):
            self._said[picture.mid] = (why, lines)
            self._told(publisher, why, lines)


def mids_of(pair: int) -> tuple[tuple[MediaKind, str], tuple[MediaKind, str]]:
    """The two lines of a pair."""
    return (MediaKind.AUDIO, DOWN_MIDS[2 * pair]), (MediaKind.VIDEO, DOWN_MIDS[2 * pair + 1])
