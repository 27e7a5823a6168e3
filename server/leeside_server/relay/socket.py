"""One signed-in socket: carries out what its session lets through, and writes what the hub has for it.

Theory of operation. Messages arrive by a plain call; nothing here awaits in it. What needs the store or the
bus goes to one of two short queues that a task of the node serves while there is work: requests (`Subscribe`,
`Who`) and publishes whose channel's row must be read first. Each queue keeps its order, but that an inbox is followed
before everything else that waits, and publishes never wait for subscriptions. Answers are joined and written at the end of
the tick.

Backpressure. Above `HIGH_WATER_BYTES` the socket leaves the live set of every log but its inbox, where pages come, and
keeps cursors; stream values are kept newest-wins, `STREAM_KEYS` at most. Above `HARD_WATER_BYTES` nothing more is read from it.
Without a byte drained for `STALL_S` it is closed with `slow`.

A socket that loses its right to a log is told by `Refused` with `req` 0 and `not_found` (spec 03).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, assert_never

from leeside_protocol.codec import encode
from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, ChannelKind, DeviceId, split_address
from leeside_protocol.limits import (
    BEAT_S,
    HIGH_WATER_BYTES,
    IN_FLIGHT_BYTES,
    IN_FLIGHT_MESSAGES,
    STALL_S,
    STREAM_KEYS,
    SUBSCRIPTIONS,
)
from leeside_protocol.messages import (
    Accepted,
    Beat,
    Challenge,
    ClientBeat,
    ClientMessage,
    Hello,
    Live,
    Online,
    Publish,
    Refused,
    Renew,
    Renewed,
    ServerMessage,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Video,
    VideoTold,
    Welcome,
    Who,
)
from leeside_protocol.session import Phase, ServerSession
from leeside_protocol.words import Lane
from leeside_server.core.channels import (
    NOT_FOUND,
    Ahead,
    ChannelRow,
    Refusal,
    StreamValue,
    accept,
    may_follow,
)
from leeside_server.core.writes import Item, NotStored, Outcome, Repeated, Stored
from leeside_server.log import get_logger
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.frames import frame
from leeside_server.relay.logs import CHANNEL_KINDS, Follow

if TYPE_CHECKING:
    from leeside_server.relay.node import Node
    from leeside_server.relay.tokens import Claims
    from leeside_server.relay.wire import Wire

HARD_WATER_BYTES: Final = 2 * HIGH_WATER_BYTES
DURABLE_LANES: Final = frozenset({Lane.LOG, Lane.STATE})
FOR_GOOD: Final = frozenset({WireError.NOT_FOUND, WireError.FORBIDDEN})
"""Refusals that follow from a roster and that nobody asks about twice: said only of the newest one."""
RETRY_MS: Final = 1_000
"""What a client is told to wait when the store is away or the queue full."""

_log = get_logger("leeside.relay")


class Socket:
    """A `WireUser`, an `Arrival` and a `Receiver`: between one connection and the hub."""

    __slots__ = (
        "_answers",
        "_bytes_while_congested",
        "_drained_bytes",
        "_nonce",
        "_parked",
        "_paused",
        "_progress_s",
        "_publishes",
        "_requests",
        "_shutting_down",
        "_unanswered_writes",
        "_wire",
        "beat_due_s",
        "claims",
        "congested",
        "deliver",
        "follows",
        "node",
        "session",
    )

    def __init__(self, node: Node, wire: Wire) -> None:
        self.node = node
        self._wire = wire
        # Nothing is delivered while congested, and nothing needs counting before: thousands of times a second this is
        # the connection's own `write`.
        self.deliver = wire.write
        self.session = ServerSession(node.clock.monotonic_s())
        self.claims: Claims | None = None
        self.follows: dict[ChannelAddress, Follow] = {}
        self.congested = False
        self.beat_due_s = 0.0
        self._nonce = b""
        self._answers: list[bytes] = []
        self._requests: deque[Subscribe | Unsubscribe | Who] | None = None
        self._publishes: deque[Publish] | None = None
        self._parked: dict[tuple[ChannelAddress, bytes], bytes] | None = None
        self._paused = False
        self._shutting_down = False
        self._unanswered_writes = 0
        self._bytes_while_congested = 0
        self._drained_bytes = 0
        self._progress_s = 0.0

    # ---- who it is

    @property
    def agency(self) -> AgencyId:
        assert self.claims is not None
        return self.claims.agency

    @property
    def device(self) -> DeviceId:
        assert self.claims is not None
        return self.claims.device

    @property
    def closed(self) -> bool:
        return self.session.phase is Phase.CLOSED

    @property
    def unsent_bytes(self) -> int:
        """What the connection holds for this socket."""
        return self._wire.buffered()

    def challenge(self, nonce: bytes) -> None:
        """Begin: the first frame."""
        if self.closed:
            return
        self._nonce = nonce
        self._write(frame(encode(Challenge(nonce, self.node.clock.now_ms()))))

    # ---- WireUser

    def on_message(self, data: bytes) -> None:
        result = self.session.receive(data, self.node.clock.monotonic_s())
        if result is None:
            return
        if isinstance(result, CloseCode):
            self._end(result)
            return
        self._dispatch(result)
        self._balance()

    def on_sign_of_life(self) -> None:
        self.session.heard(self.node.clock.monotonic_s())
        self._balance()

    def on_violation(self, code: CloseCode) -> None:
        self.close(code)

    def on_congested(self) -> None:
        if not self.congested:
            self.congested = True
            self._bytes_while_congested = 0
            self._drained_bytes = -self._wire.buffered()
            self._progress_s = self.node.clock.monotonic_s()
            self.node.sockets.congested[self] = None
            for follow in self.follows.values():
                # Notices are few and small, and one may be a page: it waits for what was written, and for no backlog.
                if follow.log.kind is not ChannelKind.INBOX:
                    self.node.hub.lag(follow)

    def on_writable(self) -> None:
        if not self.congested:
            return
        self.congested = False
        self.node.sockets.congested.pop(self, None)
        parked, self._parked = self._parked, None
        if parked:
            self._write(b"".join(parked.values()))
        for follow in self.follows.values():
            self.node.hub.settle(follow)
        self._balance()

    def on_shutdown(self) -> None:
        """Take nothing new; close once what was taken is answered."""
        self._shutting_down = True
        if self._unanswered_writes == 0 or self.closed:
            self.close(CloseCode.RESTART)

    def on_close(self) -> None:
        self.session.close(CloseCode.RESTART)
        self._forget()
        self.node.sockets.gone(self)

    # ---- Arrival

    def admitted(self, claims: Claims) -> None:
        if self.session.phase is not Phase.CHECKING:
            return
        self.claims = claims
        now_s, now_ms = self.node.clock.monotonic_s(), self.node.clock.now_ms()
        self.session.opened(now_s + (claims.until_ms - now_ms) / 1000)
        self._nonce = b""
        self.beat_due_s = now_s + BEAT_S
        self.node.sockets.signed_in(self)
        self._answer(
            Welcome(
                now_ms,
                claims.until_ms,
                int(BEAT_S),
                self.node.hub.generation,
                IN_FLIGHT_MESSAGES,
                IN_FLIGHT_BYTES,
            )
        )

    # ---- Receiver

    def deliver_value(self, channel: ChannelAddress, key: bytes, frames: bytes) -> None:
        if not self.congested:
            self._write(frames)
            return
        if self._parked is None:
            self._parked = {}
        if (channel, key) not in self._parked and len(self._parked) >= STREAM_KEYS:
            self.node.metrics.values_dropped.inc()
            return
        self._parked[channel, key] = frames

    def lost(self, follow: Follow) -> None:
        self.follows.pop(follow.log.address, None)
        self._unpark(follow.log.address)
        self._answer(Refused(0, WireError.NOT_FOUND))

    # ---- calls

    def hear_call(self, told: VideoTold) -> None:
        """What the bridge says about a call. A socket that takes nothing is told no more: its media go on, and whoever asks
        again is answered."""
        if not (self.congested and self._wire.buffered() > HARD_WATER_BYTES):
            self._answer(told)

    def refuse_call(self, refused: Refused) -> None:
        """A signal was not passed on."""
        self._answer(refused)

    # ---- closing and deadlines

    def close(self, code: CloseCode) -> None:
        """Close for a reason of ours; nothing is delivered from here on."""
        if not self.closed:
            self._end(self.session.close(code))

    def revoke(self, code: CloseCode) -> None:
        """Access was lost: not even what is buffered goes out."""
        if self.closed:
            return
        unsent = self._wire.unsent() > 0
        self._answers = []
        self.close(code)
        if unsent:
            self._wire.abort()

    def check(self, now_s: float, now_ms: int, degraded: bool) -> None:
        """Deadlines and heartbeats; call about once a second."""
        if self._paused:
            # It cannot be heard while we do not listen.
            self.session.heard(now_s)
        if self.congested and self._stalled(now_s):
            self.close(CloseCode.SLOW)
            self._wire.abort()
            return
        code = self.session.overdue(now_s)
        if code is not None:
            self._end(code)
        elif self.session.phase is Phase.OPEN and not self.congested and now_s >= self.beat_due_s:
            self.beat_due_s = now_s + BEAT_S
            heads = tuple((address, follow.log.head) for address, follow in self.follows.items())
            self._answer(Beat(now_ms, heads, degraded))

    def reset(self, generation: int) -> None:
        """The store's history is another one: every log begins anew."""
        for address, follow in self.follows.items():
            log = follow.log
            self._answer(Subscribed(0, address, 2, generation, log.head, log.floor))
            self.node.hub.follow(log, self, 0)
        self.follows = {address: f.log.follows[self] for address, f in self.follows.items()}

    def flush(self) -> None:
        """Write the tick's answers."""
        if self._answers:
            answers, self._answers = self._answers, []
            self._write(answers[0] if len(answers) == 1 else b"".join(answers))

    # ---- carrying out

    def _dispatch(self, message: ClientMessage) -> None:
        match message:
            case Publish():
                if self._shutting_down:
                    self._refuse(message, Refusal(WireError.UNAVAILABLE))
                elif self._publishes is not None or not self._publish_now(message):
                    self._queue_publish(message)
            case Subscribe() | Who():
                self._queue_request(message)
            case Unsubscribe():
                self._unsubscribe(message)
            case Renew():
                self._renew(message)
            case Hello():
                self.node.sign_ins.add(message, self._nonce, self)
            case Video():
                self.node.calls.speak(self, message)
            case ClientBeat():
                pass
            case _:
                assert_never(message)

    def _renew(self, renew: Renew) -> None:
        now_ms = self.node.clock.now_ms()
        try:
            claims = self.node.tokens.verify(renew.token, now_ms)
        except ProtocolError as error:
            self._answer(Refused(renew.req, error.code))
            return
        mine = self.claims
        assert mine is not None
        if (claims.agency, claims.device, claims.session) != (mine.agency, mine.device, mine.session):
            self._answer(Refused(renew.req, WireError.UNAUTHENTICATED))
            return
        if claims.until_ms >= mine.until_ms:
            self.claims = claims
            self.session.renewed(self.node.clock.monotonic_s() + (claims.until_ms - now_ms) / 1000)
        assert self.claims is not None
        self._answer(Renewed(renew.req, self.claims.until_ms))

    # publishing

    def _publish_now(self, publish: Publish) -> bool:
        """Carry a publish out if the channel's row is at hand; False when it must be read first."""
        try:
            kind, owner = split_address(publish.channel)
        except ProtocolError as error:
            self._refuse(publish, Refusal(error.code, error.detail))
            return True
        if kind is not ChannelKind.CONTENT:
            self._refuse(publish, NOT_FOUND)
            return True
        row = self.node.heads.peek(self.agency, ChannelId(owner))
        return row is not None and self._publish_under(publish, row, fresh=False)

    def _publish_under(self, publish: Publish, row: ChannelRow | None, *, fresh: bool) -> bool:
        now_ms = self.node.clock.now_ms()
        verdict = accept(publish, self.device, row, now_ms)
        if isinstance(verdict, Ahead):
            if not fresh:
                return False
            verdict = verdict.refusal
        if isinstance(verdict, Refusal):
            if verdict.code in FOR_GOOD and not fresh:
                # The sender gives the message up: a device that another node let in a moment ago must not.
                return False
            self._refuse(publish, verdict)
        elif isinstance(verdict, StreamValue):
            self.node.pass_on(self.agency, verdict)
        else:
            self._unanswered_writes += 1
            epoch = 0 if row is None else row.epoch

            def done(result: Outcome | WireError) -> None:
                self._published(publish, epoch, result)

            self.node.intake.submit(Item(self.agency, now_ms, (verdict,)), done)
        return True

    def _published(self, publish: Publish, epoch: int, result: Outcome | WireError) -> None:
        self._unanswered_writes -= 1
        if isinstance(result, Stored):
            self._done(publish, Accepted(publish.req, result.offsets[0], result.generation))
        elif isinstance(result, Repeated):
            repeat = 2 if result.differs else 1
            self._done(publish, Accepted(publish.req, result.offset, result.generation, repeat))
        elif isinstance(result, NotStored):
            head = max(epoch, result.head) if result.code is WireError.STALE else result.head
            self._refuse(publish, Refusal(result.code, head=head))
        else:
            self._refuse(publish, Refusal(result))
        if self._shutting_down and self._unanswered_writes == 0:
            self.flush()
            self.close(CloseCode.RESTART)

    def _queue_publish(self, publish: Publish) -> None:
        if self._publishes is None:
            self._publishes = deque((publish,))
            self.node.spawn(self._serve_publishes(self._publishes))
        elif publish.lane is Lane.STREAM and len(self._publishes) >= IN_FLIGHT_MESSAGES:
            # It is never answered, so nothing else bounds how many wait; a newer value will come.
            self.node.metrics.values_dropped.inc()
        else:
            self._publishes.append(publish)

    async def _serve_publishes(self, queue: deque[Publish]) -> None:
        while queue and not self.closed:
            publish = queue[0]
            if not self._publish_now(publish):
                try:
                    row = await self.node.heads.refresh(self.agency, ChannelId(publish.channel[1:]))
                except Exception as error:  # noqa: BLE001
                    self._refuse(publish, _unavailable(error))
                else:
                    if not self.closed:
                        self._publish_under(publish, row, fresh=True)
            queue.popleft()
        self._publishes = None

    # following

    def _unsubscribe(self, request: Unsubscribe) -> None:
        """End a subscription, also one that was asked for before and is not made yet."""
        self._leave(request.channel)
        last = next((r for r in reversed(self._requests or ()) if r.channel == request.channel), None)
        if self._requests is not None and isinstance(last, Subscribe):
            self._requests.append(request)

    def _leave(self, address: ChannelAddress) -> None:
        follow = self.follows.pop(address, None)
        if follow is not None:
            self.node.hub.unfollow(follow.log, self)
            self._unpark(address)

    def _queue_request(self, request: Subscribe | Who) -> None:
        if self._requests is None:
            self._requests = deque((request,))
            self.node.spawn(self._serve_requests(self._requests))
        elif _asks_for_inbox(request) and all(other.channel != request.channel for other in self._requests):
            # Behind the one that is being served: hundreds of logs asked for before must not hold up a page.
            self._requests.insert(1, request)
        else:
            self._requests.append(request)

    async def _serve_requests(self, queue: deque[Subscribe | Unsubscribe | Who]) -> None:
        while queue and not self.closed:
            request = queue[0]
            if isinstance(request, Unsubscribe):
                self._leave(request.channel)
                queue.popleft()
                continue
            try:
                if isinstance(request, Subscribe):
                    await self._subscribe(request)
                else:
                    await self._who(request)
            except ProtocolError as error:
                self._refuse(request, Refusal(error.code, error.detail))
            except Exception as error:  # noqa: BLE001
                self._refuse(request, _unavailable(error))
            queue.popleft()
        self._requests = None

    async def _subscribe(self, request: Subscribe) -> None:
        """Join, answer, catch up. Nothing falls between the answer's head and the first live batch, because
        the follow begins in the same breath as the head is read."""
        hub, heads, address = self.node.hub, self.node.heads, request.channel
        kind, owner = split_address(address)
        channel = ChannelId(owner) if kind in CHANNEL_KINDS else None
        if address not in self.follows and len(self.follows) >= SUBSCRIPTIONS:
            raise ProtocolError(WireError.RATE_LIMITED, "512 logs at most may be followed")
        await self._check_right(kind, owner)
        log = hub.pin(self.agency, address)
        try:
            if channel is not None:
                await heads.hold(self.agency, channel)
            await hub.opened(log)
            floor = await self.node.floor(log, request.offset)
            stands = await self.node.head(log, request.offset)
            values = await self.node.values(log)
            # All of it may have changed while we waited: the right, the head, the socket.
            row = None if channel is None else heads.held_row(self.agency, channel)
            if self.closed:
                return
            if not may_follow(kind, owner, self.agency, self.device, row):
                raise ProtocolError(WireError.NOT_FOUND)
            head = max(log.head, stands)
            status, cursor = resume(request, hub.generation, head, floor)
            self._done(request, Subscribed(request.req, address, status, hub.generation, head, floor))
            # Before any batch: what the follow writes does not wait for the tick.
            self.flush()
            # The log's own bytes, not the request's: thousands of sockets share them.
            self.follows[log.address] = hub.follow(log, self, cursor)
        finally:
            hub.unpin(log)
        for value in values:
            live = frame(encode(Live(address, value.key, value.device, value.at_ms, value.payload)))
            self.deliver_value(address, value.key, live)

    async def _check_right(self, kind: ChannelKind, owner: bytes) -> ChannelRow | None:
        """The row, if any, by which this device may follow such a log; else `not_found`, and that only by the store's
        own row: another node may have let the device in a moment ago."""
        row: ChannelRow | None = None
        if kind in CHANNEL_KINDS:
            channel = ChannelId(owner)
            row = self.node.heads.peek(self.agency, channel)
            if not may_follow(kind, owner, self.agency, self.device, row):
                row = await self.node.heads.refresh(self.agency, channel)
        if not may_follow(kind, owner, self.agency, self.device, row):
            raise ProtocolError(WireError.NOT_FOUND)
        return row

    async def _who(self, request: Who) -> None:
        kind, owner = split_address(request.channel)
        # Whoever may see the roster may see who of it is here.
        row = await self._check_right(ChannelKind.EPOCHS, owner) if kind in CHANNEL_KINDS else None
        if row is None:
            raise ProtocolError(WireError.NOT_FOUND)
        view = await self.node.presence.online(self.agency, tuple(row.masks), self.node.clock.now_ms())
        devices = tuple(sorted(view.devices))
        self._done(request, Online(request.req, request.channel, view.as_of_ms, view.stale, devices))

    # ---- writing

    def _answer(self, message: ServerMessage) -> None:
        if self.closed:
            return
        self._answers.append(frame(encode(message)))
        self.node.hub.answer(self)

    def _done(self, request: Publish | Subscribe | Who, answer: ServerMessage) -> None:
        self.session.answered(request)
        self._answer(answer)
        self._balance()

    def _refuse(self, request: Publish | Subscribe | Who, refusal: Refusal) -> None:
        self.node.metrics.refused.labels(refusal.code.label).inc()
        if isinstance(request, Publish) and request.lane not in DURABLE_LANES:
            return
        retry_ms = RETRY_MS if refusal.code.may_retry else 0
        self._done(request, Refused(request.req, refusal.code, refusal.head, retry_ms, refusal.detail))

    def _write(self, frames: bytes) -> None:
        if self.congested:
            self._bytes_while_congested += len(frames)
        self._wire.write(frames)

    def _unpark(self, log: ChannelAddress) -> None:
        """Forget the stream values kept of a log that is not followed any more."""
        if self._parked:
            self._parked = {name: frames for name, frames in self._parked.items() if name[0] != log}

    def _balance(self) -> None:
        """Read on, or not: by what is unanswered and by what is unsent."""
        if self.closed:
            return
        full = self.session.full or (self.congested and self._wire.buffered() > HARD_WATER_BYTES)
        if full and not self._paused:
            self._paused = True
            self._wire.pause()
        elif not full and self._paused:
            self._paused = False
            self.session.heard(self.node.clock.monotonic_s())
            self._wire.resume()

    def _stalled(self, now_s: float) -> bool:
        """Whether the peer took nothing for `STALL_S`."""
        drained = self._bytes_while_congested - self._wire.buffered()
        if drained > self._drained_bytes:
            self._drained_bytes = drained
            self._progress_s = now_s
        return now_s - self._progress_s >= STALL_S

    def _end(self, code: CloseCode) -> None:
        """The session is closed: say why, and leave every log before anything else is delivered."""
        self.node.metrics.closed.labels(code.label).inc()
        self.flush()
        self._forget()
        self._wire.close(code)

    def _forget(self) -> None:
        for follow in self.follows.values():
            self.node.hub.unfollow(follow.log, self)
        self.follows = {}
        self._parked = None
        self._answers = []
        self.node.sockets.congested.pop(self, None)


def _asks_for_inbox(request: Subscribe | Who) -> bool:
    return isinstance(request, Subscribe) and request.channel[:1] == ChannelKind.INBOX.value


def _unavailable(error: Exception) -> Refusal:
    """The answer to a request that could not be carried out. A fault of ours costs that one, and not what waits behind
    it. Its text could repeat content."""
    if not isinstance(error, StoreUnavailable):
        _log.error("request_failed", error=type(error).__name__)
    return Refusal(WireError.UNAVAILABLE)


def resume(request: Subscribe, generation: int, head: int, floor: int) -> tuple[int, int]:
    """What becomes of a position (spec 03, "Following a log"): `Subscribed.status`, and where batches begin.

    Behind a gap they begin at the position all the same: what was pruned comes as hashes, and the state values
    that still stand among it are needed.
    """
    if (request.generation, request.offset) != (0, 0) and (
        request.generation != generation or request.offset > head
    ):
        return 2, 0
    return int(request.offset < floor), request.offset
