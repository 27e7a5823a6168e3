"""Calls on this node: what clients say to the video bridge goes to the worker that has the room, and what it says comes
back (spec 09, "Who may").

Theory of operation. A *seat* is a device that speaks in a call over this node. Who it is and what it may say is looked up in
the store when it first speaks and whenever it joins, and kept with the seat; after that a signal costs no reading. Whatever
may end that right is looked at all the time: what this node writes at once (`saved`), what others write twice a second
(`look`: the rows of all calls in one reading), revoked devices and ended sessions as sockets are (`out`). Who lost it is
expelled by a word to the worker, and told; a seat is kept for this also while its device has no socket, because media go on
without.

A room's worker is asked for at each `Join`, and kept with the seat until it is gone: then the seat is told to `Migrate`, and
its next `Join` finds another. That one may be on another machine, and know nothing of the room: so what the bridge says of
whom media may reach, and who was admitted, is kept here as it passes, and goes with each `Join`. While a worker lets its calls go, a device has two: it joins the new one, and leaves the old one
by the old generation once it sees the new one's pictures.

Nothing here waits for a worker, and media wait for nothing here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelId, ConsultId, DeviceId
from leeside_protocol.messages import Refused, Video, VideoTold
from leeside_protocol.video.signalling import (
    ClientSignal,
    Denied,
    Gone,
    GoneWhy,
    Join,
    Leave,
    Migrate,
    RestartIce,
    Restrict,
    Restricted,
    TurnServer,
    Welcome,
    decode_bridge_signal,
    decode_client_signal,
    encode_signal,
)
from leeside_server.core.notices import Access
from leeside_server.core.rates import Buckets, Rate
from leeside_server.core.video import (
    Closed,
    Expelled,
    Heard,
    Spoken,
    ToWorker,
    WordSeal,
    require,
    room_of,
    ticket_for,
    turn_server,
)
from leeside_server.core.writes import Save
from leeside_server.log import get_logger
from leeside_server.ports import (
    Bridges,
    BridgesFull,
    BridgesUnavailable,
    NoBridge,
    Placement,
    StoreUnavailable,
)
from leeside_server.relay.video_rights import WATCHED, Name, Right, Rights, Rows, guest_in, names

if TYPE_CHECKING:
    from leeside_server.relay.node import Node
    from leeside_server.relay.socket import Socket

SIGNALS: Final = Rate(20.0, 60)
"""Signals of one device. A join with its answer is five; a screen that is turned and resized says `Want` a few times."""
QUEUE: Final = 64
LOOK_S: Final = 0.5
JUDGE_S: Final = 5.0
"""How often a right is judged anew although none of its rows changed: by a unit or a role, which are not watched."""
MISSED: Final = 4
"""Looks in a row that must not find a worker before its calls are moved: a registry that forgot is not a dead worker."""
SEATS_KEPT: Final = 32
CALLS_KEPT: Final = 4_096
BUSY_MS: Final = 5_000
RETRY_MS: Final = 1_000
NO_BRIDGE_MS: Final = 250
"""A worker that died has a successor in less, nearly always."""

_log: Final = get_logger("leeside.video")


class _Seat:
    """A device that speaks in a call over this node; `socket` is the newest that did. `out`: it lost all access; `told`: it heard
    that it has no right to be there any more. `admitted`: it waited, and was let in.

    `placement` is where it joined by `generation`; `before`, where by an earlier one, until it left there.
    """

    __slots__ = (
        "admitted",
        "before",
        "before_generation",
        "generation",
        "out",
        "placement",
        "right",
        "session",
        "socket",
        "told",
    )

    def __init__(self, socket: Socket, right: Right) -> None:
        self.socket = socket
        self.right = right
        self.session = b""
        self.generation = 1
        self.placement: Placement | None = None
        self.before: Placement | None = None
        self.before_generation = 0
        self.admitted = False
        self.out = False
        self.told = False

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where this device may be."""
        return tuple(placed for placed in (self.placement, self.before) if placed is not None)

    def place(self, placed: Placement, generation: int) -> None:
        """It joins there, and may be where it was until it says that it left. A join that is repeated elsewhere was not heard
        where it was said first: it is not there."""
        if self.placement is not None and self.placement != placed and generation > self.generation:
            self.before, self.before_generation = self.placement, self.generation
        self.placement, self.generation = placed, max(self.generation, generation)

    def lose(self, worker: bytes) -> bool:
        """That worker is no more. Whether the device has to join again."""
        if self.before is not None and self.before.worker == worker:
            self.before = None
        if self.placement is None or self.placement.worker != worker:
            return False
        self.placement = None
        return True


class _Call:
    """A consult's call as this node knows it. `revisions` are those of the rows that its seats were judged by. `restricted`: what
    the bridge said last of whom media may reach."""

    __slots__ = ("agency", "channel", "consult", "judged_s", "restricted", "revisions", "room", "seats")

    def __init__(self, agency: AgencyId, consult: ConsultId, channel: ChannelId) -> None:
        self.agency = agency
        self.consult = consult
        self.channel = channel
        self.room = room_of(agency, consult)
        self.seats: dict[DeviceId, _Seat] = {}
        self.restricted = False
        self.revisions: dict[Name, int] = {}
        self.judged_s = float("-inf")

    @property
    def names(self) -> tuple[Name, ...]:
        """The rows that say who may be here."""
        callers = (seat.right.caller for seat in self.seats.values())
        guests = {caller.member for caller in callers if caller.guest is not None}
        return names(self.agency, self.consult, self.channel, sorted(guests))

    def tell(self, seat: _Seat, body: bytes) -> None:
        """Hand on what the bridge says to this seat."""
        seat.socket.hear_call(VideoTold(self.consult, body))

    def tell_gone(self, device: DeviceId, why: GoneWhy) -> None:
        """This device is out: it hears it from here at once, whatever keeps the worker from hearing or saying so."""
        seat = self.seats[device]
        if not seat.told:
            seat.told = True
            self.tell(seat, encode_signal(Gone(seat.generation, device, why)))

    def heed(self, device: DeviceId, seat: _Seat, body: bytes) -> None:
        """Keep what a worker on another machine must be told."""
        try:
            signal = decode_bridge_signal(body)
        except ProtocolError:
            # Of a newer bridge; it is the client's to understand.
            return
        match signal:
            case Welcome():
                self.restricted = signal.restricted
                seat.admitted = not signal.waiting
            case Restricted():
                self.restricted = signal.restricted
            case Gone(device=gone, why=GoneWhy.REMOVED) if gone == device:
                seat.admitted = False
            case _:
                pass


class Calls:
    """Every call that a socket of this node speaks in. Without `bridges` this server has no video."""

    def __init__(self, node: Node, bridges: Bridges | None, seal: WordSeal) -> None:
        self._node = node
        self._bridges = bridges
        self._seal = seal
        self._rights = Rights(node)
        self._rates = Buckets(SIGNALS)
        self._queues: dict[tuple[AgencyId, DeviceId], deque[tuple[Socket, Video, ClientSignal]]] = {}
        self._calls: dict[tuple[AgencyId, ConsultId], _Call] = {}
        self._rooms: dict[bytes, _Call] = {}
        self._missed: dict[bytes, int] = {}
        """Looks in a row that did not find a worker whose calls are here."""

        node.metrics.video_offered.set(bridges is not None)
        self.workers = 0
        """Workers that were found at the last look."""
        self.failing: Callable[[], int] = lambda: 0
        """How many workers of this process end as soon as they start, where it holds a bridge."""

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def offered(self) -> bool:
        """Whether this server has video at all."""
        return self._bridges is not None

    @property
    def state(self) -> str:
        """In one word, for who asks for readiness: `failing` when some worker of this process ends again and again."""
        if not self.workers:
            return "down"
        return "failing" if self.failing() else "ok"

    async def start(self) -> None:
        """Begin to hear workers."""
        if self._bridges is not None:
            await self._bridges.start(self._worker_gone)
            await self._bridges.listen(self._node.id, self._word)

    async def close(self) -> None:
        """Hear nothing any more."""
        if self._bridges is not None:
            await self._bridges.unlisten(self._node.id)

    # ---- what clients say

    def speak(self, socket: Socket, message: Video) -> None:
        """A socket's signal; whatever becomes of it is told to the socket."""
        if self._bridges is None:
            self._refuse(socket, message, WireError.UNSUPPORTED)
            return
        key = (socket.agency, socket.device)
        wait_s = self._rates.take(b"".join(key), self._node.clock.monotonic_s())
        if wait_s > 0:
            self._refuse(socket, message, WireError.RATE_LIMITED, round(wait_s * 1000) + 1)
            return
        try:
            signal = decode_client_signal(message.body)
        except ProtocolError as error:
            self._refuse(socket, message, error.code)
            return
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque(((socket, message, signal),))
            self._node.spawn(self._serve(key, queue, self._bridges))
        elif len(queue) >= QUEUE:
            self._refuse(socket, message, WireError.RATE_LIMITED, RETRY_MS)
        else:
            queue.append((socket, message, signal))

    async def _serve(
        self,
        key: tuple[AgencyId, DeviceId],
        queue: deque[tuple[Socket, Video, ClientSignal]],
        bridges: Bridges,
    ) -> None:
        """The signals of one device, in their order."""
        try:
            while queue:
                socket, message, signal = queue.popleft()
                # Who closes the program says goodbye and is gone before it is passed on.
                if not socket.closed or isinstance(signal, Leave):
                    await self._carry(socket, message, signal, bridges)
        finally:
            del self._queues[key]

    async def _carry(self, socket: Socket, message: Video, signal: ClientSignal, bridges: Bridges) -> None:
        try:
            await self._pass_on(socket, message, signal, bridges)
        except ProtocolError as error:
            self._refuse(socket, message, error.code, detail=error.detail)
        except BridgesFull:
            self._node.metrics.video_signals.labels(WireError.BUSY.label).inc()
            denied = Denied(signal.generation, WireError.BUSY, BUSY_MS)
            socket.hear_call(VideoTold(message.consult, encode_signal(denied)))
        except NoBridge:
            self._refuse(socket, message, WireError.UNAVAILABLE, NO_BRIDGE_MS)
        except (BridgesUnavailable, StoreUnavailable):
            self._refuse(socket, message, WireError.UNAVAILABLE, RETRY_MS)
        except Exception as error:  # noqa: BLE001
            # A fault of ours costs this signal, and not what waits behind it. Its text could repeat content.
            _log.error("video_signal_failed", error=type(error).__name__)
            self._refuse(socket, message, WireError.UNAVAILABLE, RETRY_MS)
        else:
            self._node.metrics.video_signals.labels("passed_on").inc()

    async def _pass_on(self, socket: Socket, message: Video, signal: ClientSignal, bridges: Bridges) -> None:
        agency, consult, device = socket.agency, message.consult, socket.device
        joins = isinstance(signal, Join)
        call = self._calls.get((agency, consult))
        seat = None if call is None else call.seats.get(device)
        if call is None or seat is None or joins:
            assert socket.claims is not None
            right = await self._rights.of(agency, consult, socket.claims)
            if socket.closed:
                # It may have been closed because its device lost access meanwhile.
                return
            call, seat = self._take_seat(agency, consult, right, socket)
        seat.socket = socket
        seat.session = b"" if socket.claims is None else socket.claims.session
        require(seat.right.part, signal)
        to_before = seat.before is not None and signal.generation <= seat.before_generation
        if not to_before and (seat.placement is None or joins):
            seat.place(await bridges.place(call.room), signal.generation)
        placed = seat.before if to_before else seat.placement
        if placed is None or call.seats.get(device) is not seat:
            # Expelled while a place was looked for; or its worker ended, and the device was told to join again.
            return
        now_ms = self._node.clock.now_ms()
        # Who wants a new path may need new credentials for it: those before last for ten minutes.
        turn = self._turn(call.room, device, now_ms) if joins or isinstance(signal, RestartIce) else ()
        ticket = ticket_for(call.room, seat.right.caller, seat.right.part, self._node.id, now_ms, turn)
        if joins:
            ticket = msgspec.structs.replace(ticket, restricted=call.restricted, admitted=seat.admitted)
        await self._say(placed, Spoken(placed.epoch, ticket, message.body))
        if isinstance(signal, Restrict) and seat.before is not None and not to_before:
            # Where it was before, media go on until all have left: the same is to hold there.
            body = encode_signal(msgspec.structs.replace(signal, generation=seat.before_generation))
            await self._say(seat.before, Spoken(seat.before.epoch, ticket, body))
        if isinstance(signal, Leave):
            if to_before:
                seat.before = None
            elif signal.generation >= seat.generation:
                self._leave(call, device)

    def _take_seat(
        self, agency: AgencyId, consult: ConsultId, right: Right, socket: Socket
    ) -> tuple[_Call, _Seat]:
        call = self._calls.get((agency, consult))
        if call is None:
            call = self._calls[agency, consult] = _Call(agency, consult, right.channel)
            self._rooms[call.room] = call
            if len(self._calls) > CALLS_KEPT:
                self._forget(next(iter(self._calls.values())))
        seat = call.seats.get(right.caller.device)
        if seat is None or seat.out or seat.told:
            seat = call.seats[right.caller.device] = _Seat(socket, right)
            # The rows it was judged by may have changed since they were read: the next look sees.
            call.revisions = {}
            if len(call.seats) > SEATS_KEPT:
                idle = (device for device, other in call.seats.items() if other.socket.closed)
                del call.seats[next(idle, next(iter(call.seats)))]
        seat.right = right
        return call, seat

    async def _say(self, placed: Placement, word: ToWorker) -> None:
        """To the worker that has the room. Raises `BridgesUnavailable`."""
        assert self._bridges is not None
        sealed = self._seal.seal(placed.worker, word, self._node.clock.now_ms())
        await self._bridges.say(placed.worker, sealed)

    def _turn(self, room: bytes, device: DeviceId, now_ms: int) -> tuple[TurnServer, ...]:
        turn = self._node.config.turn
        return () if turn is None else (turn_server(turn.urls, turn.secret, room, device, now_ms),)

    def _refuse(
        self, socket: Socket, message: Video, code: WireError, retry_ms: int = 0, detail: str = ""
    ) -> None:
        self._node.metrics.video_signals.labels(code.label).inc()
        socket.refuse_call(Refused(message.req, code, 0, retry_ms, detail))

    # ---- what the bridge says

    def _word(self, data: bytes) -> None:
        word = self._seal.open(self._node.id, data, self._node.clock.now_ms())
        if not isinstance(word, Heard):
            self._node.metrics.video_words_refused.inc()
            return
        call = self._rooms.get(word.room)
        seat = None if call is None else call.seats.get(word.device)
        # From any other worker it is of a room that was placed anew since, which that one does not know yet.
        if call is not None and seat is not None and word.epoch in {p.epoch for p in seat.placements}:
            call.heed(word.device, seat, word.body)
            call.tell(seat, word.body)

    def _worker_gone(self, worker: bytes) -> None:
        """Who is in its rooms comes back to another."""
        self._missed.pop(worker, None)
        for call in self._calls.values():
            for seat in call.seats.values():
                if seat.lose(worker):
                    call.tell(seat, encode_signal(Migrate(seat.generation)))

    # ---- who may not be there any more

    def saved(self, agency: AgencyId, part: Save) -> None:
        """This node wrote a row: whose right hangs on it is judged at once."""
        if self._calls and part.kind in WATCHED:
            name = (agency, part.kind, part.id)
            calls = [call for call in self._calls.values() if name in call.names]
            if calls:
                self._node.spawn(self._judge(calls))

    def out(self, agency: AgencyId, kind: Access, subject: bytes) -> None:
        """A device was revoked or a session has ended, on any node."""
        found: list[_Call] = []
        for call in self._calls.values():
            for device, seat in call.seats.items():
                lost = subject == (device if kind is Access.DEVICE_OUT else seat.session)
                if lost and call.agency == agency:
                    seat.out = True
                    found.append(call)
        if found:
            self._node.spawn(self._judge(found))

    async def look_forever(self) -> None:
        """Look every `LOOK_S`, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Judge the calls whose rows changed, or that were not judged for `JUDGE_S`; move those whose worker is gone. What
        cannot be asked now is asked at the next look: media go on meanwhile."""
        self._node.metrics.video_calls.set(len(self._calls))
        if self._bridges is None:
            return
        await self._judge(tuple(self._calls.values()), changed_only=True)
        try:
            places = await self._bridges.workplaces()
        except BridgesUnavailable:
            # Who is not found now may not have been able to say that it lives.
            self._missed.clear()
            return
        living = {place.worker for place in places}
        self.workers = len(living)
        metrics = self._node.metrics
        metrics.video_workers.set(len(living))
        metrics.video_rooms.set(sum(place.rooms for place in places))
        metrics.video_open.set(sum(place.open and place.load < 1.0 for place in places))
        seats = [seat for call in self._calls.values() for seat in call.seats.values()]
        missing = {placed.worker for seat in seats for placed in seat.placements} - living
        self._missed = {worker: self._missed.get(worker, 0) + 1 for worker in missing}
        for worker in [worker for worker, times in self._missed.items() if times >= MISSED]:
            self._worker_gone(worker)

    async def _judge(self, calls: Sequence[_Call], *, changed_only: bool = False) -> None:
        """Expel who may not be there any more."""
        if not calls:
            return
        try:
            rows = await self._rights.read([name for call in calls for name in call.names])
        except StoreUnavailable:
            return
        now_s = self._node.clock.monotonic_s()
        for call in calls:
            revisions = {name: rows[name].revision for name in call.names if name in rows}
            fresh = revisions == call.revisions and now_s - call.judged_s < JUDGE_S
            if changed_only and fresh and not any(seat.out for seat in call.seats.values()):
                continue
            try:
                await self._judge_call(call, rows)
            except (StoreUnavailable, BridgesUnavailable):
                # Not marked as judged: the next look says it again.
                continue
            call.revisions, call.judged_s = revisions, now_s

    async def _judge_call(self, call: _Call, rows: Rows) -> None:
        standing = await self._rights.standing(rows, call.agency, call.consult)
        if standing is None or standing.over:
            for device in call.seats:
                call.tell_gone(device, GoneWhy.ENDED)
            for placed in {placed for seat in call.seats.values() for placed in seat.placements}:
                await self._say(placed, Closed(placed.epoch, call.room, GoneWhy.ENDED))
            self._forget(call)
            return
        for device, seat in tuple(call.seats.items()):
            caller, lost = seat.right.caller, seat.out
            if caller.guest is not None:
                guest = guest_in(rows, call.agency, caller.member)
                lost = lost or guest is None
                caller = msgspec.structs.replace(caller, guest=guest or caller.guest)
            try:
                seat.right = standing.right(caller)
            except ProtocolError as error:
                # When nobody has accepted any more, who comes next finds the team where it is.
                lost = lost or error.code is not WireError.CONFLICT
            if lost:
                call.tell_gone(device, GoneWhy.REMOVED)
                for placed in seat.placements:
                    await self._say(placed, Expelled(placed.epoch, call.room, device, GoneWhy.REMOVED))
                self._leave(call, device)

    def _leave(self, call: _Call, device: DeviceId) -> None:
        call.seats.pop(device, None)
        if not call.seats:
            self._forget(call)

    def _forget(self, call: _Call) -> None:
        if self._calls.get((call.agency, call.consult)) is call:
            del self._calls[call.agency, call.consult]
            del self._rooms[call.room]
