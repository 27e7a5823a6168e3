"""Load clients: thin, many on one core, and correct where it counts.

A `Client` is one device's connection: it proves itself, follows its rooms by `leeside_protocol.follow`, keeps an
outbox whose messages it repeats with the same bytes until each is accepted, and connects again with full jitter. What
it sends, gets acknowledged and is shown goes into the run's `Diary`. A `Crowd` runs many of them in one task group.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from leeside.api import ApiError
from leeside_protocol.codec import decode_server, encode
from leeside_protocol.errors import Next, WireError, after_close
from leeside_protocol.follow import CaughtUp, Dropped, Follower, SubscribeAgain, Take, Trimmed
from leeside_protocol.ids import ChannelAddress
from leeside_protocol.limits import BEAT_S, SILENT_S
from leeside_protocol.messages import (
    Accepted,
    Batch,
    Beat,
    Challenge,
    ClientBeat,
    Entry,
    Hello,
    Live,
    Refused,
    Subscribe,
    Subscribed,
    Welcome,
)
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from tests.faults.agency import Device
from tests.faults.diary import Diary, Outbox
from tests.faults.history import Entry as FinalEntry
from tests.faults.wire import Wire, connect, masked
from tests.faults.world import Sealed, digest_of
from tests.support.services import HOST

WINDOW: Final = 32
"""Messages of a client in flight; the server stops reading at 64."""
DIAL_S: Final = 5.0
BACKOFF_BASE_S: Final = 0.05
BACKOFF_CAP_S: Final = 1.0
"""Shorter than a phone's: a run would otherwise mostly wait."""
RETRY_S: Final = 0.2
FIRST_FOLLOW_REQ: Final = 1 << 31
READERS: Final = 50
"""Clients that read their final logs at once."""
_BEAT: Final = masked(encode(ClientBeat()))
_connections = itertools.count(1)


class LoadFailed(AssertionError):
    """What the load waited for did not come in time, or a client was told to stop."""


Taker: TypeAlias = Callable[["Client", ChannelAddress, tuple[Entry, ...]], None]
"""Gets the entries that a client is shown, in order, each once."""


def _into_diary(client: Client, room: ChannelAddress, entries: tuple[Entry, ...]) -> None:
    now_s = asyncio.get_running_loop().time()
    client.diary.taken(room, client.device.id, client.connection, entries, now_s)


class Client:
    """One device's connection to one node, made again whenever it ends."""

    def __init__(
        self,
        device: Device,
        port: int,
        rooms: Iterable[ChannelAddress],
        diary: Diary,
        take: Taker | None = None,
        receive_bytes: int = 0,
    ) -> None:
        """`take` gets the entries that this client is shown; by default they go into the diary. `receive_bytes` is the
        room in the kernel for what this client does not read."""
        self.device: Final = device
        self.port = port
        self.diary: Final = diary
        self.followers: Final = {room: Follower(room) for room in rooms}
        self.outbox: Final = Outbox()
        self.welcome = False
        self.connection = 0
        self.stopped = ""
        """Why this client gave up, or nothing."""
        self.on_live: Callable[[Live], None] | None = None
        self._take: Final = take or _into_diary
        self._token = ""
        self._receive_bytes: Final = receive_bytes
        self._stalled = False
        self._wire: Wire | None = None
        self._rooms: Final = tuple(self.followers)

    # ---- what the run asks of it

    @property
    def live(self) -> bool:
        """Signed in, and every room followed up to its head."""
        return self.welcome and all(f.live for f in self.followers.values())

    @property
    def idle(self) -> bool:
        """Nothing unanswered, nothing waiting to be sent."""
        return not self.outbox.flying and not self.outbox.ready

    def send_next(self) -> bool:
        """Begin the next sealed message, if there is one and room for it."""
        outbox = self.outbox
        if not self.welcome or not outbox.ready or len(outbox.flying) >= WINDOW:
            return False
        sealed = outbox.ready.popleft()
        outbox.flying[sealed.req] = sealed
        self.diary.sending(sealed, self._now())
        self._wire_write(sealed.frame)
        return True

    def send(self, sealed: Sealed) -> None:
        """Send once and expect no answer: the stream lane."""
        self._wire_write(sealed.frame)

    def stall(self) -> None:
        """Read nothing more until `recover`; what is due to be written is written all the same."""
        self._stalled = True
        if self._wire is not None:
            self._wire.stop_reading()

    def recover(self) -> None:
        """Read again: also what a close left in the kernel."""
        self._stalled = False
        if self._wire is not None:
            self._wire.read_again()

    def hang_up(self) -> None:
        """Break the connection; it is made again."""
        if self._wire is not None:
            self._wire.abort()

    # ---- its life

    async def run(self) -> None:
        """Stay connected until cancelled, or told to stop."""
        failures = 0
        while not self.stopped:
            began_s = self._now()
            code = await self._once()
            self.diary.closed[code] += 1
            if after_close(code) is Next.STOP:
                self.stopped = f"closed with {code}"
                return
            if after_close(code) is Next.SIGN_IN:
                await self._renew()
            failures = 0 if self._now() - began_s > 1.0 else failures + 1
            await asyncio.sleep(random.uniform(0, min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0**failures)))

    async def _renew(self) -> None:
        try:
            await self.device.session.renew(self._token)
        except ApiError as error:
            self.diary.was_refused(error.code)

    async def _once(self) -> int:
        """One connection from beginning to end; its close code."""
        try:
            self._token = await self.device.session.token()
        except ApiError:
            return 0
        # Before it is open: the first message may come before `connect` returns.
        wire = self._wire = Wire(self._on_message)
        self.connection = next(_connections)
        try:
            await connect(wire, HOST, self.port, DIAL_S, self._receive_bytes)
        except (OSError, TimeoutError):
            wire.abort()
            self._wire = None
            return 0
        try:
            while not wire.ended.done():
                await asyncio.wait((wire.ended,), timeout=BEAT_S / 2)
                if self._now() - wire.heard_s > SILENT_S and not self._stalled:
                    wire.abort()
                elif self.welcome:
                    wire.write(_BEAT)
            return wire.ended.result()
        finally:
            wire.abort()
            self._wire = None
            self.welcome = False
            for follower in self.followers.values():
                follower.on_disconnected()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # ---- what the server says

    def _on_message(self, data: bytes) -> None:
        message = decode_server(data)
        match message:
            case Batch(channel=channel):
                self._steps(channel, self.followers[channel].on_batch(message))
            case Accepted(req=req):
                sealed = self.outbox.flying.pop(req, None)
                if sealed is not None:
                    self.diary.accepted(sealed, message.offset, message.repeat, self._now())
            case Refused():
                self._refused(message)
            case Subscribed(channel=channel):
                self._steps(channel, self.followers[channel].on_subscribed(message))
            case Challenge(nonce=nonce):
                proof = self.device.keys.identity.sign_raw(
                    pae(PREFIX + b"socket", nonce, self._token.encode())
                )
                self._write(encode(Hello(self._token, proof, "faults")))
            case Welcome():
                self.welcome = True
                for room in self._rooms:
                    self._subscribe(room)
                for sealed in self.outbox.flying.values():
                    self._wire_write(sealed.frame)
            case Beat(heads=heads):
                for channel, head in heads:
                    self._steps(channel, self.followers[channel].on_head(head))
            case Live():
                if self.on_live is not None:
                    self.on_live(message)
            case _:
                pass

    def _refused(self, refused: Refused) -> None:
        self.diary.was_refused(refused.error)
        again: Callable[[], None]
        if refused.req >= FIRST_FOLLOW_REQ:
            room = self._rooms[refused.req - FIRST_FOLLOW_REQ]
            self.followers[room].on_refused()
            connection = self.connection

            def again() -> None:
                if self.welcome and self.connection == connection:
                    self._subscribe(room)
        else:
            sealed = self.outbox.flying.get(refused.req)
            if sealed is None:
                return

            def again() -> None:
                if self.welcome and sealed.req in self.outbox.flying:
                    self._wire_write(sealed.frame)

        if WireError(refused.error).may_retry:
            delay_s = max(refused.retry_ms / 1000, RETRY_S) * random.uniform(0.5, 1.0)
            asyncio.get_running_loop().call_later(delay_s, again)
        else:
            self.stopped = f"refused with {refused.error} for good"
            self.hang_up()

    def _subscribe(self, room: ChannelAddress) -> None:
        position = self.followers[room].subscribe()
        req = FIRST_FOLLOW_REQ + self._rooms.index(room)
        self._write(encode(Subscribe(req, room, position.generation, position.offset)))

    def _steps(self, room: ChannelAddress, steps: Sequence[object]) -> None:
        for step in steps:
            match step:
                case Take(entries=entries):
                    self._take(self, room, entries)
                case SubscribeAgain():
                    self._subscribe(room)
                case Dropped():
                    self.diary.resets += 1
                case Trimmed():
                    self.diary.trims += 1
                case CaughtUp():
                    pass
                case _:
                    raise AssertionError(step)

    def _write(self, payload: bytes) -> None:
        self._wire_write(masked(payload))

    def _wire_write(self, frame: bytes) -> None:
        if self._wire is not None:
            self._wire.write(frame)


@dataclass(slots=True)
class Crowd:
    """The clients of one run."""

    clients: tuple[Client, ...]
    diary: Diary
    unsent: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])

    def check(self) -> None:
        """Raises `LoadFailed` when a client was told to stop: the load itself would be wrong."""
        stopped = [client.stopped for client in self.clients if client.stopped]
        if stopped:
            raise LoadFailed(f"{len(stopped)} clients gave up: {stopped[0]}")

    async def until(self, what: str, holds: Callable[[], bool], deadline_s: float) -> float:
        """Wait for a condition; the seconds that took. Raises `LoadFailed` at the deadline."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not holds():
            self.check()
            if loop.time() - began_s > deadline_s:
                raise LoadFailed(f"{what}: not within {deadline_s:.0f} s")
            await asyncio.sleep(0.005)
        return loop.time() - began_s

    async def all_live(self, deadline_s: float = 30.0) -> float:
        """Wait until every client is signed in and has caught up."""
        return await self.until(
            "all clients connected", lambda: all(c.live for c in self.clients), deadline_s
        )

    async def settled(self, deadline_s: float = 30.0) -> float:
        """Wait until all that was begun is answered and shown to every reader."""
        return await self.until("all answered and delivered", self._is_settled, deadline_s)

    def _is_settled(self) -> bool:
        if any(client.outbox.flying or not client.live for client in self.clients):
            return False
        heads: dict[bytes, int] = {}
        for ack in self.diary.history.acked[-len(self.clients) * WINDOW :]:
            heads[ack.channel] = max(heads.get(ack.channel, 0), ack.offset)
        return all(
            follower.position.offset >= max(heads.get(room, 0), follower.head)
            for client in self.clients
            for room, follower in client.followers.items()
        )

    async def publish(self, rate_per_s: float, until: Callable[[], bool]) -> None:
        """Let clients publish in turn, at that rate together, until told to end. What cannot be sent now is tried later."""
        loop = asyncio.get_running_loop()
        began_s, begun, turn = loop.time(), 0, 0
        while not until():
            due = int((loop.time() - began_s) * rate_per_s) - begun
            for _ in range(min(due, 4 * len(self.clients))):
                for _ in range(len(self.clients)):
                    turn = (turn + 1) % len(self.clients)
                    if self.clients[turn].send_next():
                        break
                begun += 1
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(clients: Sequence[Client], diary: Diary) -> AsyncGenerator[Crowd]:
    """Run the clients for as long as the block does."""
    crowd = Crowd(tuple(clients), diary)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        try:
            yield crowd
        finally:
            for task in tasks:
                task.cancel()


def load_outboxes(clients: Sequence[Client], messages: Callable[[Client], Sequence[Sealed]]) -> int:
    """Give every client its sealed messages; how many that are in all."""
    total = 0
    for client in clients:
        sealed = messages(client)
        client.outbox.ready.extend(sealed)
        total += len(sealed)
    return total


async def final_logs(
    clients: Sequence[Client], port: int | None = None, deadline_s: float = 60.0
) -> dict[bytes, dict[bytes, list[FinalEntry]]]:
    """Every client's log of every room it follows, read from offset 0 over a new connection of its own.

    Read from each client's own node, or from `port`. Shape: channel -> device -> entries, as `History.final`.
    """
    final: dict[bytes, dict[bytes, list[FinalEntry]]] = {}

    def take(client: Client, room: ChannelAddress, entries: tuple[Entry, ...]) -> None:
        log = final.setdefault(room, {}).setdefault(client.device.id, [])
        log.extend(FinalEntry(e.offset, e.device, e.id, digest_of(e.payload)) for e in entries)

    for start in range(0, len(clients), READERS):
        diary = Diary()
        readers = [
            Client(c.device, c.port if port is None else port, tuple(c.followers), diary, take)
            for c in clients[start : start + READERS]
        ]
        for reader in readers:
            for room in reader.followers:
                final.setdefault(room, {}).setdefault(reader.device.id, [])
        async with running(readers, diary) as crowd:
            await crowd.all_live(deadline_s)
    return final
