"""One device in one consult's call.

Theory of operation. The bridge speaks over the device's own socket (`Connection.hear_call`); what it says goes through one
queue and is taken in order (`_hear`). Media go straight to the bridge (`Leg`): `Speaking` sends, `Showing` takes what comes.
`_tend` sees to what is due and watches the path; `_watch` to the consent and to the link; `Keeper` to the keys.

Nothing is sent before a consent in force was read in the consult's channel, and nothing at all unsealed (spec 09).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Any, Final

from leeside.api import ApiError
from leeside.client import Leeside
from leeside.connection import LinkState
from leeside.errors import LeesideError, Offline
from leeside.events import Link
from leeside.media import consents
from leeside.media.keeping import Keeper
from leeside.media.keys import CallKeys
from leeside.media.leg import Leg
from leeside.media.path import NoPath
from leeside.media.receiving import Frame
from leeside.media.seen import Seen
from leeside.media.showing import Showing, Sink
from leeside.media.sources import Source
from leeside.media.speaking import Speaking
from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId
from leeside_protocol.messages import Refused, VideoTold
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import MediaKind

TICK_S: Final = 0.02
REPEAT_S: Final = 2.0
"""A join that nobody answered is said again."""
RETRY_S: Final = 1.0
"""After a refusal that does not say how long to wait."""
SILENT_S: Final = 2.0
"""Of a path over which something should come: then ICE is restarted, and after twice as long again all is begun anew."""
CONSENT_S: Final = 0.5
SURE_S: Final = 10.0
"""Whatever the channel says is here by then."""
COMMITS_S: Final = 1.0
_QUEUE: Final = 256

Tap = Callable[[DeviceId, Frame], None]


class Phase(StrEnum):
    """Where a call is."""

    JOINING = "joining"
    WAITING = "waiting"
    """Somebody of the team, or the psychiatrist, must admit this device."""
    LIVE = "live"
    RECONNECTING = "reconnecting"
    OVER = "over"
    REFUSED = "refused"


class CallRefused(LeesideError):
    """This device may not be in this call, or there is none; `code` says why (spec 90)."""

    def __init__(self, code: WireError) -> None:
        super().__init__(f"no seat in this call: {code.label}")
        self.code = code


class Call:
    """A call that this device is in. Made by `join`."""

    def __init__(
        self,
        client: Leeside,
        consult: o.Consult,
        source: Source | None,
        sink: Sink | None,
        *,
        join: s.Join,
        relay_only: bool,
        tap: Tap | None,
    ) -> None:
        self.phase = Phase.JOINING
        self.refused: WireError | None = None
        self.gone: s.GoneWhy | None = None
        """Why this device is not in the call any more, when it is over."""
        self.restricted = False
        self.quality: s.Quality | None = None
        self.waiting: dict[DeviceId, s.Participant] = {}
        """Who waits to be admitted; see `admit`."""
        self._inside = client.inside
        self._consult = ConsultId(bytes.fromhex(consult.id))
        self._channel = self._inside.channel(ChannelId(bytes.fromhex(consult.channel)))
        self._team = client.member.hex() in (consult.member, consult.accepted_by)
        self._join = join
        self._relay_only = relay_only
        self._tap = tap
        self._told: asyncio.Queue[VideoTold | Refused] = asyncio.Queue(_QUEUE)
        self._leg: Leg | None = None
        self._next: Leg | None = None
        """A leg that is to take the place of the other."""
        self._generation = join.generation
        self._present: frozenset[DeviceId] = frozenset()
        self._said_s = self._again_s = self._restrict_s = 0.0
        self._unavailable = 0
        """Joins on end that found no bridge."""
        self._differs_s = _now_s()
        """When channel and bridge last agreed on whom media may reach."""
        self._lifts = False
        """A withdrawal was read here: a consent in force is newer than it."""
        self._behind = 0
        """Frames of an epoch that is not here yet, as they were when its commit was last fetched."""
        self._restarted = False
        self._moving = False
        """The leg that stands leads nowhere any more."""
        self._consented = self._ever_consented = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self._fetching: asyncio.Task[None] | None = None
        device, home = self._inside.device, self._inside.home
        self._keys = CallKeys(lambda: self._channel.sealed, device, self._consult, home.random)
        self._showing = Showing(self._keys, sink, self._now_ms)
        self._keeper = Keeper(self._channel, device, lambda: self.participants)
        self.speaking: Final = (
            None
            if source is None
            else Speaking(source, self._keys, lambda: self._leg, self._may_send, self._now_ms)
        )
        """What this device sends; None: it only watches."""

    @classmethod
    @asynccontextmanager
    async def join(
        cls,
        client: Leeside,
        consult: ConsultId,
        *,
        source: Source | None = None,
        sink: Sink | None = None,
        person: bool = False,
        signs: bool = False,
        relay_only: bool = False,
        tap: Tap | None = None,
    ) -> AsyncGenerator[Call]:
        """Be in the call of an accepted consult until the block ends. It goes on by itself through lost links, a moved room
        and the death of a worker; `wait_for` tells when it is live.

        `source` None: nothing is sent. `person`: the picture is of the person in crisis. `relay_only`: media take a TURN
        relay even where there is a shorter way. `tap` sees every frame as it came, sealed. Raises `ApiError`, `ChannelUnknown`; a refusal stands in `phase` and
        `refused`, and is raised by `wait_for`.
        """
        inside = client.inside
        found = await inside.api.consult(consult)
        # Higher than that of any attempt before, of this program or another run of it.
        first = s.Join(inside.connection.server_now_ms(), person, signs)
        call = cls(client, found, source, sink, join=first, relay_only=relay_only, tap=tap)
        inside.connection.hear_call(consult, call._on_told)
        try:
            for work in (call._hear(), call._tend(), call._watch(), call._keeper.run(), call._showing.run()):
                call._begin(work)
            if call.speaking is not None:
                call._begin(call.speaking.run())
            yield call
        finally:
            inside.connection.hear_call(consult, None)
            await call._close()

    # ---- what can be asked and said

    @property
    def participants(self) -> dict[DeviceId, s.Participant]:
        """The others who are there."""
        leg = self._leg or self._next
        return {} if leg is None else dict(leg.participants)

    @property
    def seen(self) -> dict[DeviceId, Seen]:
        """What came of each of them; those who went stay counted."""
        return self._showing.seen

    @property
    def epoch(self) -> int:
        """The epoch of the channel whose keys are used; -1 before the first."""
        return self._keys.epoch

    async def wait_for(self, holds: Callable[[Call], bool], timeout_s: float) -> None:
        """Wait until something is so. Raises `TimeoutError`, `CallRefused`, and what broke the call itself."""
        async with asyncio.timeout(timeout_s), self._changed:
            while not holds(self):
                if self._fault is not None:
                    raise self._fault
                if self.refused is not None:
                    raise CallRefused(self.refused)
                await self._changed.wait()

    async def admit(self, device: DeviceId) -> None:
        """Let somebody in who waits. Raises `Offline`."""
        await self._say(s.Admit(self._spoken, device))

    async def refuse(self, device: DeviceId) -> None:
        """Tell somebody who waits that they are not let in. Raises `Offline`."""
        await self._say(s.Refuse(self._spoken, device))

    async def mute(self, media: MediaKind, *, muted: bool = True) -> None:
        """Send no sound or picture, or send it again; the others are told. Raises `Offline`."""
        if self.speaking is not None:
            (self.speaking.muted.add if muted else self.speaking.muted.discard)(media)
        await self._say(s.Mute(self._spoken, media, muted))

    # ---- tasks

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()

    async def _close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._keeper.finish()
        if self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=COMMITS_S)
        for leg in (self._leg, self._next):
            if leg is not None:
                with suppress(Offline):
                    await self._say(s.Leave(leg.generation))
                await leg.close()

    def _on_told(self, told: VideoTold | Refused) -> None:
        # Called where the socket is read. Who speaks faster than it is taken in loses, and says it again.
        if not self._told.full():
            self._told.put_nowait(told)

    async def _hear(self) -> None:
        while True:
            told = await self._told.get()
            with suppress(ProtocolError, Offline):
                if isinstance(told, Refused):
                    self._refuse(told.error, told.retry_ms)
                else:
                    await self._take(s.decode_bridge_signal(told.body))
            await self._notify()

    async def _tend(self) -> None:
        while True:
            now_s = _now_s()
            for leg in (self._leg, self._next):
                if leg is not None:
                    leg.want_keys(self._showing.broken)
                    leg.tick(now_s)
            with suppress(Offline):
                await self._look_after(now_s)
            await self._notify()
            await asyncio.sleep(TICK_S)

    async def _watch(self) -> None:
        feed = self._inside.feeds.open(None)
        try:
            while True:
                with suppress(Offline):
                    await self._look_at_consent()
                with suppress(TimeoutError):
                    async with asyncio.timeout(CONSENT_S):
                        event = await feed.next()
                    if isinstance(event, Link) and event.status.state is LinkState.ONLINE:
                        with suppress(Offline):
                            await self._linked()
        finally:
            feed.close()

    async def _linked(self) -> None:
        """There is another socket: what the bridge said without one is lost, and is said again to who joins again."""
        for leg in (self._leg, self._next):
            if leg is not None and self.phase not in (Phase.OVER, Phase.REFUSED):
                await self._say(s.Join(leg.generation, self._join.person, self._join.signs))
        if self._leg is not None and self.speaking is not None:
            for media in MediaKind:
                await self._say(s.Mute(self._leg.generation, media, media in self.speaking.muted))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ---- coming, and coming back

    async def _look_after(self, now_s: float) -> None:
        """What the time asks for."""
        if self.phase in (Phase.OVER, Phase.REFUSED):
            return
        if self._next is not None:
            if self._said_s and now_s - self._said_s >= REPEAT_S:
                await self._ask(self._next, now_s)
        elif self._leg is None or not self._leg.live or self._moving:
            if now_s >= self._again_s:
                await self._come(now_s)
        elif self._sending and now_s - self._leg.heard_s >= SILENT_S:
            # The bridge reports several times a second on what it is sent.
            await self._find_another_way(self._leg, now_s)

    async def _find_another_way(self, leg: Leg, now_s: float) -> None:
        """The path is silent: another one to the same worker, and if that does not help, another worker."""
        self.phase = Phase.RECONNECTING
        if not self._restarted:
            self._restarted = True
            await self._say(s.RestartIce(leg.generation))
        elif now_s - leg.heard_s >= 3 * SILENT_S:
            await self._come(now_s)

    async def _come(self, now_s: float) -> None:
        """Ask for a seat, with a higher generation than ever before."""
        self._generation += 1
        self.phase = Phase.JOINING if self._leg is None else Phase.RECONNECTING
        self._next = Leg(
            self._generation, self._on_frame, sends=self.speaking is not None, relay_only=self._relay_only
        )
        await self._ask(self._next, now_s)

    async def _ask(self, leg: Leg, now_s: float) -> None:
        self._said_s = now_s
        await self._say(s.Join(leg.generation, self._join.person, self._join.signs))

    def _refuse(self, error: int, retry_ms: int) -> None:
        """No seat, or no answer to something else that was said."""
        try:
            code = WireError(error)
        except ValueError:  # Of a later version: its range says what it means (spec 90).
            code = WireError.UNAVAILABLE if error < 200 else WireError.UNSUPPORTED
        if self._next is None:
            if code is WireError.EXPIRED:
                self._over(s.GoneWhy.ENDED)
            return
        refused, self._next = self._next, None
        self._begin(refused.close())
        if code.may_retry:
            self._again_s = _now_s() + wait_s(code, retry_ms, self._unavailable)
            if code is WireError.UNAVAILABLE:
                self._unavailable += 1
        elif self._leg is None:
            self.phase, self.refused = Phase.REFUSED, code
        else:
            self._over(s.GoneWhy.ENDED)

    def _over(self, why: s.GoneWhy) -> None:
        self.phase, self.gone = Phase.OVER, why
        for leg in (self._leg, self._next):
            if leg is not None:
                self._begin(leg.close())
        self._leg = self._next = None

    async def _connect(self, leg: Leg, offer: s.Offer) -> None:
        """Answer an offer; a leg that stands takes the place of the one before."""
        try:
            await leg.take(offer, self._say)
        except (NoPath, Offline, ProtocolError):
            if leg is self._next:
                self._next = None
                self._again_s = _now_s() + RETRY_S
                await leg.close()
            return
        if leg is self._next:
            before, self._leg, self._next = self._leg, leg, None
            self._moving = False
            for device in self.seen:
                self._showing.restart(device)
            if before is not None:
                await before.close()
        if leg is self._leg:
            self.phase, self._restarted = Phase.LIVE, False
            self._look_who_is_there()
            for media in () if self.speaking is None else tuple(self.speaking.muted):
                with suppress(Offline):
                    await self._say(s.Mute(leg.generation, media, muted=True))
        await self._notify()

    # ---- what the bridge says

    async def _take(self, signal: s.BridgeSignal) -> None:
        leg = next(
            (
                one
                for one in (self._leg, self._next)
                if one is not None and one.generation == signal.generation
            ),
            None,
        )
        if leg is None:
            return
        match signal:
            case s.Welcome():
                self._unavailable = 0
                leg.welcome(signal.participants, signal.turn)
                self.restricted = signal.restricted
                if signal.waiting:
                    self.phase, self._said_s = Phase.WAITING, 0.0
                elif self.phase is Phase.WAITING:
                    # Admitted: should the offer be lost, it is asked for by another join.
                    self.phase, self._said_s = Phase.JOINING, _now_s()
            case s.Offer():
                self._said_s = 0.0
                self._begin(self._connect(leg, signal))
            case s.Slot():
                leg.show(signal)
                self._showing.restart(signal.participant.device)
            case s.Gone():
                self._go(leg, signal)
            case s.Quality():
                self.quality = signal
            case s.Waiting():
                self.waiting[signal.participant.device] = signal.participant
            case s.Restricted():
                self.restricted = signal.restricted
            case s.Migrate():
                self._moving = True
                if self._next is None:
                    await self._come(_now_s())
            case s.Denied():
                self._refuse(signal.error, signal.retry_ms)
            case s.Muted() | s.Paused() | s.Violation():
                # Counted by what does not come. Nothing here is ever sent unsealed.
                pass
        self._look_who_is_there()

    def _go(self, leg: Leg, gone: s.Gone) -> None:
        self.waiting.pop(gone.device, None)
        if gone.device == self._inside.device:
            if gone.why is s.GoneWhy.LOST:
                self._lose(leg)
            else:
                self._over(gone.why)
        elif leg.gone(gone.device):
            self._showing.restart(gone.device)

    def _lose(self, leg: Leg) -> None:
        """The bridge gave this leg up; the seat is asked for again."""
        if leg is self._next:
            self._next = None
            self._again_s = _now_s() + RETRY_S
            self._begin(leg.close())
        else:
            self._moving = True

    def _look_who_is_there(self) -> None:
        for device in self.participants:
            self.waiting.pop(device, None)
        there = frozenset(self.participants)
        if self._leg is not None and there != self._present:
            self._present = there
            self._keeper.changed()

    def _on_frame(self, leg: Leg, frame: Frame) -> None:
        device = leg.places.get(frame.mid)
        if leg is not self._leg or device is None:
            return
        if self._tap is not None:
            self._tap(device, frame)
        self._showing.take(device, frame, _now_s())
        behind = sum(seen.dropped[SealingCode.E_UNKNOWN_EPOCH] for seen in self.seen.values())
        if behind > self._behind and (self._fetching is None or self._fetching.done()):
            self._behind = behind
            self._fetching = asyncio.ensure_future(self._fetch_commits())

    async def _fetch_commits(self) -> None:
        with suppress(ApiError, LeesideError):
            await self._channel.sync()

    # ---- consent

    async def _look_at_consent(self) -> None:
        """Whether media may be sent; and that the bridge restricts to whom, as long as a consent is withdrawn: a room that moved
        to another machine may not know it any more."""
        standing = consents.standing(self._inside.history, self._channel.content, self._now_ms())
        agreed = standing.in_force is not None
        if self._consented and not agreed:
            self._keeper.changed()
        self._consented = agreed
        self._ever_consented |= agreed
        self._lifts |= standing.withdrawn
        now_s = _now_s()
        if self.restricted == standing.withdrawn or not (agreed or standing.withdrawn):
            self._lifts = standing.withdrawn
            self._differs_s = now_s
        # Others may have read a withdrawal that is not here yet: who did not see the newer consent come is not sure at once.
        sure = self._lifts or now_s - self._differs_s >= SURE_S
        differs = self.restricted != standing.withdrawn and (agreed or standing.withdrawn)
        if self._team and differs and sure and self._leg is not None and now_s >= self._restrict_s:
            self._restrict_s = now_s + REPEAT_S
            await self._say(s.Restrict(self._leg.generation, standing.withdrawn))

    def _may_send(self) -> bool:
        return self._consented or (self._team and self._ever_consented)

    @property
    def _sending(self) -> bool:
        return self.speaking is not None and self._may_send()

    # ----

    @property
    def _spoken(self) -> int:
        """The generation of the leg that signals speak of."""
        leg = self._leg or self._next
        return self._generation if leg is None else leg.generation

    async def _say(self, signal: s.ClientSignal) -> None:
        await self._inside.connection.signal(self._consult, s.encode_signal(signal))

    def _now_ms(self) -> int:
        return self._inside.connection.server_now_ms()


def wait_s(code: WireError, retry_ms: int, before: int) -> float:
    """How long to wait after a refusal that may be tried again; `before`: how many joins on end found no bridge before it. One that
    died has a successor in a moment, so it is looked for soon, and then less and less often (spec 09, "Signalling")."""
    asked_s = retry_ms / 1000 or RETRY_S
    return min(REPEAT_S, asked_s * 2**before) if code is WireError.UNAVAILABLE else asked_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()
