"""A room of a call as a pure machine: who is in it, who waits, whose media reach whom; time is an argument.

Every method returns what is to be done, in order; `worker` does it. What a room says to a client carries the generation of
that client's newest join, and what a client says with another one is dropped: it is out of date.

A seat is a pair of media lines of every other member, kept for as long as its holder is in the room. Whoever joins anew,
with a higher generation, takes their own seat again: for the others nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import DOWN_MIDS, SEATS, MediaKind
from leeside_protocol.video.signalling import GoneWhy, Part, Participant, PausedWhy
from leeside_server.core.video import Ticket

WAITING: Final = 12
"""Who may wait to be admitted at once."""
ADMITTED: Final = 32
"""Who was admitted, and need not wait again. The oldest are forgotten."""
EMPTY_S: Final = 60.0
"""How long an empty room remembers what was decided in it."""
FULL_RETRY_MS: Final = 5_000
VIOLATION_S: Final = 2.0
"""How often one sender's unsealed media are told."""


# ---- what is to be done


class Tell(msgspec.Struct, frozen=True):
    """Say this to the device, by this node."""

    node: bytes
    device: DeviceId
    signal: s.BridgeSignal


class Open(msgspec.Struct, frozen=True):
    """Make a transport for this member, and offer it. One that it had is closed first."""

    device: DeviceId
    generation: int


class Reoffer(msgspec.Struct, frozen=True):
    """Offer this member's transport again: by a new path when `anew`, else the very offer that stands."""

    device: DeviceId
    anew: bool


class Accept(msgspec.Struct, frozen=True):
    """The answer to the offer of this version."""

    device: DeviceId
    version: int
    sdp: str


class Shut(msgspec.Struct, frozen=True):
    """Close this member's transport, if it has one; its media stop everywhere."""

    device: DeviceId


class Link(msgspec.Struct, frozen=True):
    """The subscriber's pair of lines (0-4) shows the publisher from now on."""

    subscriber: DeviceId
    publisher: DeviceId
    pair: int


class Unlink(msgspec.Struct, frozen=True):
    """That pair shows nobody."""

    subscriber: DeviceId
    pair: int


class Hush(msgspec.Struct, frozen=True):
    """The publisher's sound or picture is passed on to nobody while `muted`."""

    publisher: DeviceId
    media: MediaKind
    muted: bool


class Retell(msgspec.Struct, frozen=True):
    """Say anew to this member how their link is and what comes of each picture: what was said may be lost."""

    device: DeviceId


class Keep(msgspec.Struct, frozen=True):
    """What the room must not forget has changed (`Room.kept`)."""


class Forget(msgspec.Struct, frozen=True):
    """The room has been empty for long enough."""


Effect: TypeAlias = Tell | Open | Reoffer | Accept | Shut | Link | Unlink | Hush | Retell | Keep | Forget


# ---- who is there


class Member:
    """Somebody in the room, or waiting to be."""

    def __init__(self, ticket: Ticket, join: s.Join, now_ms: int) -> None:
        self.device: Final = DeviceId(ticket.device)
        self.since_ms = now_ms
        self.audio_muted = False
        self.video_muted = False
        self.violated_s: dict[MediaKind, float] = {}
        self.pairs: dict[DeviceId, int] = {}
        """Whom each pair of its lines shows."""
        self.lines: dict[DeviceId, int] = {}
        """How large it shows whom; who is not named is wanted as large as the link allows."""
        self.take(ticket, join)

    def take(self, ticket: Ticket, join: s.Join) -> None:
        """Its newest join. Mutes are the new client's to say."""
        self.describe(ticket, join)
        self.generation = join.generation
        self.audio_muted = self.video_muted = False
        self.lines.clear()

    def describe(self, ticket: Ticket, join: s.Join) -> None:
        """Who it is, and what its camera shows."""
        self.ticket = ticket
        self.person = join.person and ticket.part is Part.RESPONDER
        self.signs = join.signs and ticket.part is Part.INTERPRETER

    @property
    def told(self) -> Participant:
        """What others hear of it."""
        return Participant(
            self.device,
            self.ticket.part,
            self.since_ms,
            self.person,
            self.signs,
            self.audio_muted,
            self.video_muted,
        )

    def pair_for(self, other: DeviceId) -> int:
        """The pair that shows this other member; the lowest that is free from now on."""
        pair = self.pairs.get(other)
        if pair is None:
            taken = set(self.pairs.values())
            pair = self.pairs[other] = next(number for number in range(SEATS - 1) if number not in taken)
        return pair


class Room:
    """One call. `members` are in it and have a transport; `waiting` have none."""

    def __init__(self, now_s: float) -> None:
        self.members: dict[DeviceId, Member] = {}
        self.waiting: dict[DeviceId, Member] = {}
        self.restricted = False
        self.by = DeviceId(b"")
        """Who said so last, or brought it from another worker."""
        self.decided = False
        """It was said here, or to a worker before that we know of: what comes with tickets is older."""
        self.admitted: dict[DeviceId, None] = {}
        self._empty_since_s: float | None = now_s

    def restore(self, restricted: bool, by: bytes, admitted: Iterable[bytes]) -> None:
        """Remember what was decided in this room before its worker died."""
        self.restricted = restricted
        self.by = DeviceId(by)
        self.decided = bool(by)
        self.admitted = dict.fromkeys(DeviceId(device) for device in admitted)

    # ---- what clients say

    def hear(self, ticket: Ticket, signal: s.ClientSignal, now_s: float, now_ms: int) -> list[Effect]:
        """A client's signal."""
        device = DeviceId(ticket.device)
        if isinstance(signal, s.Join):
            return [*self._learn(ticket), *self._join(ticket, signal, now_ms)]
        member = self.members.get(device) or self.waiting.get(device)
        if member is None or member.generation != signal.generation:
            return []
        # Whoever connects again speaks by another node.
        member.ticket = ticket
        if isinstance(signal, s.Leave):
            return self.remove(device, GoneWhy.LEFT, now_s)
        if device in self.waiting:
            return []
        match signal:
            case s.Answer():
                return [Accept(device, signal.version, signal.sdp)]
            case s.Mute():
                return self._mute(member, signal)
            case s.Want():
                return self._want(member, signal)
            case s.RestartIce():
                # Credentials of a TURN server last for minutes: a new path may need new ones, and then the node gave some.
                fresh = [self._welcome(member, now_ms), *self._queue_for(member)] if ticket.turn else []
                return [*fresh, Reoffer(device, anew=True)]
            case s.Admit():
                return self._admit(member, signal, now_ms)
            case s.Refuse():
                return self._turn_away(member, signal, now_s)
            case s.Restrict():
                return self._restrict(member, signal)

    def _learn(self, ticket: Ticket) -> list[Effect]:
        """A room that came from another machine is told what was decided there by who comes."""
        if not ticket.restricted or self.restricted or self.decided:
            return []
        return self._be_restricted(DeviceId(ticket.device), restricted=True)

    def _join(self, ticket: Ticket, join: s.Join, now_ms: int) -> list[Effect]:
        device = DeviceId(ticket.device)
        if ticket.until_ms <= now_ms:
            return [Tell(ticket.node, device, s.Denied(join.generation, WireError.EXPIRED))]
        member = self.members.get(device)
        if member is not None:
            if join.generation < member.generation:
                return []
            if join.generation == member.generation:
                return self._repeat(member, ticket, join, now_ms)
            return self._come_back(member, ticket, join, now_ms)
        waiter = self.waiting.get(device)
        if waiter is not None and join.generation < waiter.generation:
            return []
        if ticket.admits or device in self.admitted:
            return self._enter(Member(ticket, join, now_ms), now_ms)
        if ticket.admitted:
            self.waiting.pop(device, None)
            self._remember(device)
            return [Keep(), *self._enter(Member(ticket, join, now_ms), now_ms)]
        return self._wait(waiter, ticket, join, now_ms)

    def _repeat(self, member: Member, ticket: Ticket, join: s.Join, now_ms: int) -> list[Effect]:
        """The same join again: its answers may be lost, or its socket was, and all that was said meanwhile. What its camera shows
        may have changed, and the others hear that."""
        before = member.told
        member.describe(ticket, join)
        others = self._others(member.device)
        effects: list[Effect] = [self._welcome(member, now_ms), Reoffer(member.device, anew=False)]
        effects += [self._slot(member, other) for other in others]
        effects += [*self._queue_for(member), Retell(member.device)]
        if member.told != before:
            effects += [self._slot(other, member) for other in others]
        return effects

    def _wait(self, waiter: Member | None, ticket: Ticket, join: s.Join, now_ms: int) -> list[Effect]:
        if waiter is not None:
            waiter.take(ticket, join)
        elif len(self.waiting) < WAITING:
            waiter = Member(ticket, join, now_ms)
            self.waiting[waiter.device] = waiter
        else:
            busy = s.Denied(join.generation, WireError.BUSY, FULL_RETRY_MS)
            return [Tell(ticket.node, DeviceId(ticket.device), busy)]
        self._empty_since_s = None
        told = waiter.told
        effects: list[Effect] = [self._welcome(waiter, now_ms, waiting=True)]
        return effects + [self._tell(who, s.Waiting(who.generation, told)) for who in self._admitters()]

    def _enter(self, member: Member, now_ms: int) -> list[Effect]:
        if len(self.members) >= SEATS:
            return [self._tell(member, s.Denied(member.generation, WireError.BUSY, FULL_RETRY_MS))]
        self._empty_since_s = None
        effects: list[Effect] = [self._welcome(member, now_ms), Open(member.device, member.generation)]
        self.members[member.device] = member
        return effects + self._placed(member) + self._queue_for(member)

    def _come_back(self, member: Member, ticket: Ticket, join: s.Join, now_ms: int) -> list[Effect]:
        member.take(ticket, join)
        effects: list[Effect] = [self._welcome(member, now_ms), Open(member.device, member.generation)]
        return effects + self._placed(member) + self._queue_for(member)

    def _queue_for(self, member: Member) -> list[Effect]:
        """Tell somebody who may admit who waits."""
        if not member.ticket.admits:
            return []
        return [self._tell(member, s.Waiting(member.generation, each.told)) for each in self.waiting.values()]

    def _placed(self, member: Member) -> list[Effect]:
        """Tell and link a member and all others, both ways."""
        effects: list[Effect] = []
        for other in self._others(member.device):
            effects += [self._slot(member, other), self._slot(other, member)]
            effects += self._links(member, other)
            effects += self._links(other, member)
        return effects

    def _links(self, subscriber: Member, publisher: Member) -> list[Effect]:
        if not self._reaches(subscriber):
            return []
        pair = subscriber.pair_for(publisher.device)
        effects: list[Effect] = [Link(subscriber.device, publisher.device, pair)]
        muted = ((MediaKind.AUDIO, publisher.audio_muted), (MediaKind.VIDEO, publisher.video_muted))
        effects += [Hush(publisher.device, media, muted=True) for media, yes in muted if yes]
        return effects

    def _reaches(self, subscriber: Member) -> bool:
        return subscriber.ticket.team or not self.restricted

    def _mute(self, member: Member, signal: s.Mute) -> list[Effect]:
        if signal.media is MediaKind.AUDIO:
            member.audio_muted = signal.muted
        else:
            member.video_muted = signal.muted
        effects: list[Effect] = [Hush(member.device, signal.media, signal.muted)]
        for other in self._others(member.device):
            muted = s.Muted(other.generation, member.device, signal.media, signal.muted)
            effects.append(self._tell(other, muted))
        return effects

    def _want(self, member: Member, signal: s.Want) -> list[Effect]:
        """What it shows decides what its link is shared out for, the next time that is done. A wish holds also for who comes
        later, or again: it is not said a second time."""
        member.lines = dict(signal.pictures)
        return []

    def _admit(self, member: Member, signal: s.Admit, now_ms: int) -> list[Effect]:
        waiter = self.waiting.get(signal.device)
        if waiter is None or not member.ticket.admits:
            return []
        if len(self.members) >= SEATS:
            busy = s.Denied(waiter.generation, WireError.BUSY, FULL_RETRY_MS)
            return [self._tell(waiter, busy)]
        del self.waiting[signal.device]
        self._remember(signal.device)
        waiter.since_ms = now_ms
        return [Keep(), *self._enter(waiter, now_ms)]

    def _turn_away(self, member: Member, signal: s.Refuse, now_s: float) -> list[Effect]:
        """Who was let in meanwhile stays: what two people decided at once is never taken from somebody in the call."""
        if signal.device not in self.waiting or not member.ticket.admits:
            return []
        return self.remove(signal.device, GoneWhy.REMOVED, now_s)

    def _restrict(self, member: Member, signal: s.Restrict) -> list[Effect]:
        if not member.ticket.admits:
            return []
        self.decided = True
        return self._be_restricted(member.device, restricted=signal.restricted)

    def _be_restricted(self, by: DeviceId, *, restricted: bool) -> list[Effect]:
        changed = restricted != self.restricted
        self.restricted = restricted
        self.by = by
        effects: list[Effect] = []
        for subscriber in self.members.values() if changed else ():
            if subscriber.ticket.team:
                continue
            if self.restricted:
                effects += [Unlink(subscriber.device, pair) for pair in subscriber.pairs.values()]
            else:
                for publisher in self._others(subscriber.device):
                    effects += self._links(subscriber, publisher)
        if changed:
            effects.append(Keep())
        for each in self.members.values():
            told = s.Restricted(each.generation, self.restricted, self.by)
            effects.append(self._tell(each, told))
        return effects

    # ---- what becomes of members

    def remove(self, device: DeviceId, why: GoneWhy, now_s: float) -> list[Effect]:
        """Somebody is not in the room any more, nor waits to be. Who was put out hears it too, and waits the next time."""
        member = self.members.pop(device, None)
        effects: list[Effect] = []
        if member is None:
            member = self.waiting.pop(device, None)
            hearers = list(self._admitters())
        else:
            effects += [Shut(device)]
            hearers = list(self.members.values())
        if why is GoneWhy.REMOVED and device in self.admitted:
            del self.admitted[device]
            effects.append(Keep())
        if member is None:
            return []
        for other in hearers:
            pair = other.pairs.pop(device, None)
            if pair is not None:
                effects.append(Unlink(other.device, pair))
            effects.append(self._tell(other, s.Gone(other.generation, device, why)))
        if why is not GoneWhy.LEFT:
            effects.append(self._tell(member, s.Gone(member.generation, device, why)))
        if not self.members and not self.waiting:
            self._empty_since_s = now_s
        return effects

    def end(self, why: GoneWhy) -> list[Effect]:
        """The call is over for all, and so is the room."""
        effects: list[Effect] = []
        for member in (*self.members.values(), *self.waiting.values()):
            effects.append(self._tell(member, s.Gone(member.generation, member.device, why)))
            effects.append(Shut(member.device))
        self.members.clear()
        self.waiting.clear()
        return [*effects, Forget()]

    def migrate(self) -> list[Effect]:
        """Everybody is to join again elsewhere."""
        return [
            self._tell(member, s.Migrate(member.generation))
            for member in (*self.members.values(), *self.waiting.values())
        ]

    def due(self, now_s: float, now_ms: int) -> list[Effect]:
        """Who waits beyond their stay goes; a room that has been empty is forgotten."""
        effects: list[Effect] = []
        for device, member in [*self.waiting.items(), *self.members.items()]:
            if member.ticket.until_ms <= now_ms:
                effects += self.remove(device, GoneWhy.REMOVED, now_s)
        if self._empty_since_s is not None and now_s - self._empty_since_s >= EMPTY_S:
            effects.append(Forget())
        return effects

    # ---- what the plane says

    def offered(self, device: DeviceId, version: int, sdp: str) -> list[Effect]:
        """This member's transport is described so."""
        member = self.members.get(device)
        return [] if member is None else [self._tell(member, s.Offer(member.generation, version, sdp))]

    def linked(self, device: DeviceId) -> list[Effect]:
        """Media may flow to this member from now on: to be linked to all that it may see."""
        member = self.members.get(device)
        if member is None:
            return []
        return [effect for other in self._others(device) for effect in self._links(member, other)]

    def refuse(self, device: DeviceId, error: WireError, now_s: float) -> list[Effect]:
        """What this member sent cannot be taken: it has no seat any more."""
        member = self.members.get(device)
        if member is None:
            return []
        denied = self._tell(member, s.Denied(member.generation, error))
        return [*self.remove(device, GoneWhy.LOST, now_s), denied]

    def violated(self, device: DeviceId, media: MediaKind, now_s: float) -> list[Effect]:
        """This member's frames were not sealed, and were dropped."""
        member = self.members.get(device)
        if member is None or now_s - member.violated_s.get(media, -VIOLATION_S) < VIOLATION_S:
            return []
        member.violated_s[media] = now_s
        return [
            self._tell(each, s.Violation(each.generation, device, media)) for each in self.members.values()
        ]

    def paused(
        self, subscriber: DeviceId, publisher: DeviceId, why: PausedWhy, lines: int = 0
    ) -> list[Effect]:
        """What comes of this publisher's picture to this subscriber."""
        member = self.members.get(subscriber)
        if member is None or publisher not in self.members:
            return []
        return [self._tell(member, s.Paused(member.generation, publisher, why, lines))]

    def quality(self, device: DeviceId, up: int, down: int, audio_only: bool) -> list[Effect]:
        """How this member's link is."""
        member = self.members.get(device)
        if member is None:
            return []
        return [self._tell(member, s.Quality(member.generation, up, down, audio_only))]

    # ---- small change

    def _remember(self, device: DeviceId) -> None:
        """It was admitted."""
        self.admitted.pop(device, None)
        self.admitted[device] = None
        while len(self.admitted) > ADMITTED:
            del self.admitted[next(iter(self.admitted))]

    def _others(self, device: DeviceId) -> list[Member]:
        return [member for member in self.members.values() if member.device != device]

    def _admitters(self) -> Iterable[Member]:
        return (member for member in self.members.values() if member.ticket.admits)

    def _welcome(self, member: Member, now_ms: int, *, waiting: bool = False) -> Tell:
        others = tuple(other.told for other in self._others(member.device))
        turn = member.ticket.turn
        return self._tell(
            member, s.Welcome(member.generation, now_ms, waiting, self.restricted, others, turn)
        )

    def _slot(self, subscriber: Member, publisher: Member) -> Tell:
        pair = subscriber.pair_for(publisher.device)
        audio, video = DOWN_MIDS[2 * pair], DOWN_MIDS[2 * pair + 1]
        return self._tell(subscriber, s.Slot(subscriber.generation, publisher.told, audio, video))

    def _tell(self, member: Member, signal: s.BridgeSignal) -> Tell:
        return Tell(member.ticket.node, member.device, signal)
