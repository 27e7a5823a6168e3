"""One attempt to be in a room: a path to one worker of the bridge, what goes over it, and who is shown where.

A call has one leg; while it moves to another worker it has two, and lets go of the old one when the new one stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from leeside.media.description import Sent, read_offer, write_answer
from leeside.media.path import IceRoute, SecurePath
from leeside.media.receiving import Downlink, Frame
from leeside.media.sending import Uplink
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.signalling import Answer, Offer, Participant, Slot, TurnServer

Say = Callable[[Answer], Awaitable[None]]


class Leg:
    """`generation`: the number of the join that it belongs to."""

    def __init__(
        self, generation: int, on_frame: Callable[[Leg, Frame], None], *, sends: bool, relay_only: bool
    ) -> None:
        self.generation: Final = generation
        self.participants: dict[DeviceId, Participant] = {}
        self.places: dict[str, DeviceId] = {}
        """Whose media come on each m-line."""
        self.heard_s = 0.0
        """When anything came last."""
        self.up: Uplink | None = None
        self.down: Downlink | None = None
        self.turn: tuple[TurnServer, ...] = ()
        self._on_frame = on_frame
        self._sent = Sent.draw() if sends else None
        self._relay_only = relay_only
        self._route: IceRoute | None = None
        self._path: SecurePath | None = None
        self._connecting = asyncio.Lock()

    @property
    def live(self) -> bool:
        """Whether media pass."""
        return (
            self._path is not None and self._path.connected and self._route is not None and self._route.alive
        )

    # ---- the path

    async def take(self, offer: Offer, say: Say) -> None:
        """Answer an offer and be there; a second one of the same leg is a new way to the same worker. Raises `NoPath`,
        `ProtocolError` (an offer that is none), and what `say` raises."""
        async with self._connecting:
            remote = read_offer(offer.sdp)
            route = self._route or IceRoute(relay_only=self._relay_only)
            self._route, route.turn = route, self.turn
            ufrag, password = await route.gather()
            path = self._path or SecurePath(route, on_rtp=self._on_rtp, on_rtcp=self._on_rtcp)
            self._path = path
            if self.down is None:
                self.down = Downlink(remote.streams, remote.repairs, self._framed, _now_s())
            answer = write_answer(
                ufrag=ufrag, password=password, fingerprint=path.fingerprint, sent=self._sent
            )
            await say(Answer(self.generation, offer.version, answer))
            await route.connect(remote)
            if not path.connected:
                await path.open(remote)
                if self._sent is not None:
                    self.up = Uplink(self._sent, path.send, _now_s)
            self.heard_s = _now_s()

    async def close(self) -> None:
        """Give everything back."""
        if self._path is not None:
            await self._path.close()
        if self._route is not None:
            await self._route.close()

    def want_keys(self, broken: Callable[[DeviceId], bool]) -> None:
        """Ask for a key frame of each whose pictures cannot go on, and of nobody else."""
        for mid, device in self.places.items():
            if self.down is not None:
                self.down.want_key(mid, wanted=broken(device))

    def tick(self, now_s: float) -> None:
        """Tell the bridge what is due; every 20 ms or so."""
        if self.down is not None and self._path is not None and self.live:
            for packet in self.down.due(now_s):
                self._path.send(packet)

    def _on_rtp(self, packet: bytes) -> None:
        self.heard_s = _now_s()
        if self.down is not None:
            self.down.receive(packet, self.heard_s)

    def _on_rtcp(self, data: bytes) -> None:
        self.heard_s = _now_s()
        if self.up is not None:
            self.up.take(data, self.heard_s)
        if self.down is not None:
            self.down.take(data, self.heard_s)

    def _framed(self, frame: Frame) -> None:
        self._on_frame(self, frame)

    # ---- who is there

    def welcome(self, participants: Iterable[Participant], turn: tuple[TurnServer, ...]) -> None:
        """Who is in the room, and nobody else."""
        self.participants = {each.device: each for each in participants}
        self.places = {mid: device for mid, device in self.places.items() if device in self.participants}
        self.turn = turn

    def show(self, slot: Slot) -> None:
        """Somebody is there, and comes on these m-lines."""
        device = slot.participant.device
        self.gone(device)
        self.participants[device] = slot.participant
        for mid in (slot.audio_mid, slot.video_mid):
            self.places[mid] = device

    def gone(self, device: DeviceId) -> bool:
        """Somebody is not there any more. False: they were not."""
        for mid in [m for m, d in self.places.items() if d == device]:
            del self.places[mid]
        return self.participants.pop(device, None) is not None


def _now_s() -> float:
    return asyncio.get_running_loop().time()
