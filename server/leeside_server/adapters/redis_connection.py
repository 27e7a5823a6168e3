"""One connection to Redis, and a pipe that joins what many callers ask into pipelines.

redis-py opens the connection (TLS, AUTH, database) and hiredis reads it. Its own retries and reconnects are
off: they would hide from the bus that hints were lost. Every wait has a deadline, and after a failure the pipe
refuses at once until a moment of full jitter has passed, so that a dead Redis costs its callers nothing.

Errors of the library are translated here and lose their texts, which may hold addresses and keys.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, cast

from redis.asyncio import ConnectionPool
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from leeside_server.adapters.clock import SystemClock
from leeside_server.ports import Clock

Command: TypeAlias = tuple[str | bytes | int, ...]
Reply: TypeAlias = Any
"""What Redis answered: bytes, int, None or a list of them; a `Refusal` for an error."""

CONNECT_TIMEOUT_S: Final = 2.0
CALL_TIMEOUT_S: Final = 0.8
"""How long one pipeline may take, connecting included."""
WAITING_COMMANDS: Final = 4_096
WAITING_BYTES: Final = 8 * 1024 * 1024
"""What may wait for the pipeline under way; more is refused at once."""
PIPELINE_COMMANDS: Final = 512
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0


class RedisUnreachable(Exception):
    """Redis did not answer in time, or the connection broke. What was asked may or may not have happened.

    The text is one of a few sentences of ours, for the operator.
    """


@dataclass(frozen=True, slots=True)
class Refusal:
    """Redis refused one command; `word` is the first word of its error (`NOPERM`, `OOM`, `READONLY`)."""

    word: str


def is_array(reply: Reply) -> TypeGuard[list[Reply]]:
    """True for an array reply."""
    return isinstance(reply, list)


def array(reply: Reply) -> list[Reply] | None:
    """The elements of an array reply; None when it is something else."""
    return reply if is_array(reply) else None


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """Where Redis is: `redis://`, `rediss://` (TLS) or `unix://`, and the prefix of every key and topic.

    The URL holds the password: it is never shown, logged or put into an error.
    """

    url: str = field(repr=False)
    prefix: str = "leeside:"


def full_jitter_s(failures: int) -> float:
    """How long to wait before the next attempt: anything up to a limit that doubles with each failure."""
    return random.uniform(0, min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(failures, 10)))


class _Wire(Protocol):
    """What is used of redis-py's `AbstractConnection`, typed."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    def pack_commands(self, commands: Iterable[Command]) -> list[bytes]: ...
    async def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False, timeout: float | None = None) -> Reply: ...


class RedisConnection:
    """One connection, with a deadline on everything but `read`. Broken once, it stays broken: open another."""

    def __init__(self, place: RedisPlace) -> None:
        try:
            pool: Any = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
                place.url,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                health_check_interval=0,
                driver_info=None,
            )
        except ValueError:
            # The library's text may repeat a part of the URL, and with it of the password.
            raise ValueError("the address of Redis is not a redis://, rediss:// or unix:// URL") from None
        self._wire = cast("_Wire", pool.make_connection())

    async def open(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect and sign in. Raises `RedisUnreachable`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wire.connect()
        except AuthenticationError:
            await self.close()
            raise RedisUnreachable("Redis refused the user name or password") from None
        except (RedisTimeout, TimeoutError):
            await self.close()
            raise RedisUnreachable("Redis did not answer in time") from None
        except (RedisError, OSError):
            await self.close()
            raise RedisUnreachable("no connection to Redis could be made") from None
        except BaseException:
            await self.close()
            raise

    async def send(self, commands: Sequence[Command], timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Write commands; their replies are read with `read`, in order. Raises `RedisUnreachable`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wire.send_packed_command(self._wire.pack_commands(commands), check_health=False)
        except (RedisError, OSError, TimeoutError):
            raise RedisUnreachable("the connection to Redis broke") from None

    async def read(self) -> Reply:
        """The next reply or hint, however long it takes: the caller sets the deadline. Raises
        `RedisUnreachable`."""
        try:
            return await self._wire.read_response(timeout=math.inf)
        except ResponseError as error:
            return Refusal(str(error).partition(" ")[0][:20])
        except (RedisError, OSError):
            raise RedisUnreachable("the connection to Redis broke") from None

    async def close(self) -> None:
        """Drop the connection without a farewell; a peer that does not answer cannot delay it."""
        try:
            await self._wire.disconnect(nowait=True)
        except (RedisError, OSError):
            return


@dataclass(slots=True)
class _Call:
    commands: Sequence[Command]
    size_bytes: int
    answer: asyncio.Future[list[Reply]]


class RedisPipe:
    """Asks Redis over one connection, opened when it is first needed and again after it broke.

    What is asked while a pipeline is under way goes together with the next one. Calls are carried out in the
    order in which they were made; a caller that is cancelled leaves its commands to be carried out.
    """

    def __init__(self, place: RedisPlace, clock: Clock | None = None) -> None:
        self._place = place
        self._clock = clock or SystemClock()
        self._connection: RedisConnection | None = None
        self._waiting: deque[_Call] = deque()
        self._waiting_commands = 0
        self._waiting_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at_s = -math.inf
        self._closed = False

    @property
    def failing(self) -> bool:
        """True from a failure to the next success."""
        return self._failures > 0

    async def call(self, commands: Sequence[Command], timeout_s: float = CALL_TIMEOUT_S) -> list[Reply]:
        """The replies to these commands, in order.

        Raises `RedisUnreachable`: at once while closed, resting after a failure or when too much waits; after
        `timeout_s` at the latest otherwise.
        """
        size_bytes = sum(
            len(word) for command in commands for word in command if isinstance(word, (str, bytes))
        )
        if (
            self._closed
            or self._clock.monotonic_s() < self._retry_at_s
            or self._waiting_commands + len(commands) > WAITING_COMMANDS
            or self._waiting_bytes + size_bytes > WAITING_BYTES
        ):
            raise RedisUnreachable("Redis is resting after a failure, or too much waits for it")
        call = _Call(commands, size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._waiting_commands += len(commands)
        self._waiting_bytes += size_bytes
        if self._worker is None or self._worker.done():
            # One task at most, which ends when nothing waits; `close` awaits it.
            self._worker = asyncio.create_task(self._work(), name="redis pipe")
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer
        except TimeoutError:
            raise RedisUnreachable("Redis did not answer in time") from None

    async def close(self) -> None:
        """Stop: what waits is refused, the connection dropped."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait((self._worker,))
        self._refuse(self._take(math.inf))
        await self._disconnect()

    def _take(self, most_commands: float) -> list[_Call]:
        taken: list[_Call] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0].commands) <= most_commands):
            call = self._waiting.popleft()
            count += len(call.commands)
            self._waiting_commands -= len(call.commands)
            self._waiting_bytes -= call.size_bytes
            taken.append(call)
        return taken

    async def _work(self) -> None:
        while self._waiting:
            calls = self._take(PIPELINE_COMMANDS)
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    replies = await self._exchange([command for call in calls for command in call.commands])
            except (RedisUnreachable, TimeoutError) as error:
                self._failures += 1
                self._retry_at_s = self._clock.monotonic_s() + full_jitter_s(self._failures)
                await self._disconnect()
                # Nothing is awaited behind this: what is asked from now on starts a new task.
                why = str(error) or "Redis did not answer in time"
                self._refuse([*calls, *self._take(math.inf)], why)
                return
            except BaseException:
                self._refuse(calls)
                await self._disconnect()
                raise
            self._failures = 0
            rest = iter(replies)
            for call in calls:
                answer = [next(rest) for _ in call.commands]
                if not call.answer.done():
                    call.answer.set_result(answer)

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        if self._connection is None:
            connection = RedisConnection(self._place)
            await connection.open(CALL_TIMEOUT_S)
            self._connection = connection
        await self._connection.send(commands)
        return [await self._connection.read() for _ in commands]

    def _refuse(self, calls: Sequence[_Call], why: str = "the connection to Redis was closed") -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(RedisUnreachable(why))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
