"""The `Bus` port on Redis pub/sub, for several nodes.

| channel | who publishes | who subscribes |
|---|---|---|
| `<prefix>hint:<topic>` | every node, after its store has committed | nodes with someone who follows the topic |
| `<prefix>beat:<node>` | that node, every second | that node alone |

Nothing is kept in Redis. Redis pub/sub loses in silence: a reset or a black hole takes messages away and no
error tells. So the bus does not believe in a connection because it is open. Each node sends a beat through the
same pipe that carries its hints, to a topic that it follows over the same connection that brings it hints.
The bus is healthy while a beat that *was sent* less than `BEAT_MISSED_S` ago has come round; when none does, the
subscribing connection is dropped and made anew with everything that is subscribed, at intervals of full jitter.
Whoever uses the bus polls the store while it is unhealthy, and more slowly all the time.

Two halves work apart: a `RedisPipe` that publishes, and one task that follows (`_run`). In a session of the
follower three tasks live and fall together: `_read` (all replies), `_write` (changes of what is followed) and
`_beats_round`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.redis_connection import (
    Command,
    RedisConnection,
    RedisPipe,
    RedisPlace,
    RedisUnreachable,
    Refusal,
    array,
    full_jitter_s,
)
from leeside_server.log import get_logger
from leeside_server.ports import BusUnavailable, Clock, Hint

BEAT_EVERY_S: Final = 1.0
BEAT_MISSED_S: Final = 3.0
SUBSCRIBE_TIMEOUT_S: Final = 1.0
"""A subscription that Redis has not confirmed by then counts as a broken connection: the bus turns unhealthy."""
FIRST_BEATS_EVERY_S: Final = 0.05
TOPICS_A_COMMAND: Final = 500
READS_A_TURN: Final = 64
"""Hints handed on before other tasks get their turn."""

_log = get_logger("leeside.bus")


class RedisBus:
    """Hints over Redis. `node` names this process and is the same in no two of them.

    Hints of one node on one topic arrive in the order published, unless a connection broke between them.
    """

    def __init__(self, place: RedisPlace, node: str, clock: Clock | None = None) -> None:
        self._place = place
        self._clock = clock or SystemClock()
        self._pipe = RedisPipe(place, self._clock)
        self._hints = f"{place.prefix}hint:".encode()
        self._beats = f"{place.prefix}beat:{node}".encode()
        self._wanted: set[bytes] = set()
        self._follower: _Follower | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def shared(self) -> bool:
        """True: which nodes are there, Redis does not say."""
        return True

    async def start(self, on_hint: Hint) -> None:
        """Begin in the background; an absent Redis is waited for, and `healthy` says so."""
        if self._task is not None:
            raise RuntimeError("a bus starts once")
        # Made here and not in the task: whoever subscribes next waits for this session.
        first = self._follower = self._session(on_hint, awaited=True)
        self._task = asyncio.create_task(self._run(first, on_hint), name="redis bus")

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """One PUBLISH each, in one pipeline with what else waits. When it raises, hints may have gone out."""
        if not batch:
            return
        commands: list[Command] = [("PUBLISH", self._hints + topic.encode(), data) for topic, data in batch]
        try:
            replies = await self._pipe.call(commands)
        except RedisUnreachable:
            raise BusUnavailable("Redis cannot be reached") from None
        if any(isinstance(reply, Refusal) for reply in replies):
            raise BusUnavailable("Redis refused to publish")

    async def subscribe(self, topics: Sequence[str]) -> None:
        channels = [self._hints + topic.encode() for topic in topics]
        self._wanted.update(channels)
        if self._follower is not None:
            await self._follower.follow(channels)

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        channels = [self._hints + topic.encode() for topic in topics]
        self._wanted.difference_update(channels)
        if self._follower is not None:
            self._follower.changed(channels)

    def healthy(self) -> bool:
        return self._follower is not None and not self._pipe.failing and self._follower.fresh()

    async def close(self) -> None:
        """Stop at once. Hints under way are dropped; waiting publishers get `BusUnavailable`."""
        self._closing = True
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.result()
        finally:
            await self._pipe.close()

    def _session(self, on_hint: Hint, *, awaited: bool) -> _Follower:
        return _Follower(
            RedisConnection(self._place),
            self._pipe,
            self._clock,
            on_hint,
            wanted=self._wanted,
            hints=self._hints,
            beats=self._beats,
            awaited=awaited,
        )

    async def _run(self, follower: _Follower, on_hint: Hint) -> None:
        failures = 0
        while True:
            try:
                await follower.run()
            except* RedisUnreachable:
                failures = 1 if follower.was_whole else failures + 1
            except* Exception as group:  # noqa: BLE001
                # A fault of ours must cost a session and not the bus: nobody would start this task again.
                failures = 1 if follower.was_whole else failures + 1
                _log.error("bus_failed", exc_info=group)
            finally:
                self._follower = None
                follower.release()
            if self._closing:
                # Before Python 3.13 a task group whose child fails in the moment of a cancellation forgets it.
                return
            if failures == 1:
                _log.warning("bus_lost")
            await asyncio.sleep(full_jitter_s(failures))
            follower = self._follower = self._session(on_hint, awaited=False)


class _Follower:
    """One session of the subscribing connection: from connecting to the first sign that it broke."""

    def __init__(
        self,
        connection: RedisConnection,
        pipe: RedisPipe,
        clock: Clock,
        on_hint: Hint,
        *,
        wanted: set[bytes],
        hints: bytes,
        beats: bytes,
        awaited: bool,
    ) -> None:
        self._connection = connection
        self._pipe = pipe
        self._wanted = wanted  # shared with the bus, which alone changes it
        self._hints = hints
        self._beats = beats
        self._clock = clock
        self._on_hint = on_hint
        # False after a failure: then nobody waits for this session before it is whole.
        self._awaited = awaited
        self._asked: set[bytes] = set()
        self._unanswered: Counter[bytes] = Counter()
        self._changes: dict[bytes, None] = {}
        self._change = asyncio.Event()
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        self._sent_s: dict[int, float] = {}
        self._beat = 0
        self._fresh_s: float | None = None
        self._broken = asyncio.Event()
        self.was_whole = False
        """True once a beat has come round: the next failure is a new one."""

    async def run(self) -> None:
        """Follow until it breaks. Raises `RedisUnreachable`, in a group."""
        try:
            await self._connection.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(), name="redis bus reads")
                tasks.create_task(self._write(), name="redis bus subscribes")
                tasks.create_task(self._beats_round(), name="redis bus beats")
        finally:
            await self._connection.close()

    def fresh(self) -> bool:
        """True while a beat that was sent less than `BEAT_MISSED_S` ago has come round."""
        return (
            self._fresh_s is not None
            and not self._broken.is_set()
            and self._clock.monotonic_s() - self._fresh_s < BEAT_MISSED_S
        )

    def changed(self, channels: Iterable[bytes]) -> None:
        """These came into or left what is wanted."""
        self._changes.update(dict.fromkeys(channels))
        self._change.set()

    async def follow(self, channels: Sequence[bytes]) -> None:
        """Return when Redis has confirmed them, or this session is over or not to be relied on."""
        self.changed(channels)
        if not channels or not (self._awaited or self.was_whole):
            return
        loop = asyncio.get_running_loop()
        waits = {self._confirmed.setdefault(channel, loop.create_future()) for channel in channels}
        _, late = await asyncio.wait(waits, timeout=SUBSCRIBE_TIMEOUT_S)
        if late:
            self._broken.set()

    def release(self) -> None:
        """Let everyone who waits in `follow` go: polling covers what the bus does not bring."""
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_result(None)
        self._confirmed.clear()

    async def _read(self) -> None:
        while True:
            for _ in range(READS_A_TURN):
                reply = await self._connection.read()
                parts = array(reply)
                if parts is None:
                    # A refused SUBSCRIBE (an ACL without this prefix) must not look like a quiet topic.
                    raise RedisUnreachable("Redis refused a subscription")
                kind, channel, rest = parts
                if kind == b"message":
                    self._hand_on(channel, rest)
                else:
                    self._answered(channel)
            await asyncio.sleep(0)

    def _hand_on(self, channel: bytes, data: bytes) -> None:
        if channel == self._beats:
            sent_s = self._sent_s.get(int.from_bytes(data, "big"))
            if sent_s is not None and (self._fresh_s is None or sent_s > self._fresh_s):
                self._fresh_s = sent_s
                if not self.was_whole:
                    self.was_whole = True
                    _log.info("bus_whole", topics=len(self._asked) - 1)
        elif channel in self._wanted:
            try:
                self._on_hint(channel[len(self._hints) :].decode(), data)
            except Exception as error:  # noqa: BLE001 - one hint that its reader cannot take must not end the bus
                _log.error("hint_handler_failed", error=type(error).__name__)

    def _answered(self, channel: bytes) -> None:
        self._unanswered[channel] -= 1
        if self._unanswered[channel] > 0:
            return  # Asked for again since: only the last answer says how it stands.
        del self._unanswered[channel]
        self._settle(channel)

    def _settle(self, channel: bytes) -> None:
        if channel in self._asked or channel not in self._wanted:
            confirmed = self._confirmed.pop(channel, None)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)

    async def _write(self) -> None:
        # The beat's topic last: Redis answers in order, so once it is confirmed everything is.
        self.changed([*self._wanted, self._beats])
        while True:
            await self._change.wait()
            self._change.clear()
            changes, self._changes = self._changes, {}
            join = [c for c in changes if c not in self._asked and (c in self._wanted or c == self._beats)]
            part = [c for c in changes if c in self._asked and c not in self._wanted and c != self._beats]
            self._asked.difference_update(part)
            self._asked.update(join)
            for word, channels in (("UNSUBSCRIBE", part), ("SUBSCRIBE", join)):
                for start in range(0, len(channels), TOPICS_A_COMMAND):
                    some = channels[start : start + TOPICS_A_COMMAND]
                    self._unanswered.update(some)
                    await self._connection.send([(word, *some)])
            for channel in changes:
                if not self._unanswered[channel]:
                    self._settle(channel)

    async def _beats_round(self) -> None:
        """Send beats, and end the session when they do not come round."""
        began_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            if self._beats in self._asked and not self._unanswered[self._beats]:
                self._beat += 1
                self._sent_s = {n: s for n, s in self._sent_s.items() if now_s - s < BEAT_MISSED_S}
                self._sent_s[self._beat] = now_s
                try:
                    await self._pipe.call([("PUBLISH", self._beats, self._beat.to_bytes(8, "big"))])
                except RedisUnreachable:
                    # The publishing half mends itself; whether this half lives, the next lines decide.
                    _log.debug("bus_beat_unsent")
            if now_s - (began_s if self._fresh_s is None else self._fresh_s) >= BEAT_MISSED_S:
                raise RedisUnreachable("beats do not come round")
            try:
                async with asyncio.timeout(BEAT_EVERY_S if self.was_whole else FIRST_BEATS_EVERY_S):
                    await self._broken.wait()
            except TimeoutError:
                continue
            raise RedisUnreachable("a subscription was not confirmed")
