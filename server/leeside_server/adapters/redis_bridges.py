"""The `Bridges` port on Redis: which workers live, who holds which room, and words between machines.

| key | type | lifetime | who writes |
|---|---|---|---|
| `<prefix>bridges:{bridges}:worker:<worker>` | string: the `Workplace` (MessagePack) | `WORKER_LEASE_S` | the process of that worker, every second |
| `<prefix>bridges:{bridges}:workers` | sorted set: worker, all with score 0 | `ROOM_LEASE_S` from the last announcement | every process with workers |
| `<prefix>bridges:{bridges}:room:<room>` | string: worker (8 bytes), epoch (8 bytes) | `ROOM_LEASE_S` | who places a room, then its holder every third of that |
| `<prefix>bridges:{bridges}:epoch` | string: the last epoch | none | who places a room |

Placing is a script: whoever comes second finds what the first one placed. An epoch is a time in milliseconds, or one more
than the last: it grows also when Redis has forgotten everything.

Words go by the bus of `redis_bus`, with a connection of its own and its heartbeats; inside one process they need no Redis.

**Without Redis** running rooms go on: their media never came this way. A new room is placed with a worker of this process, if
it has one, and never a room that was last seen with another's. When Redis answers again every worker's lease may have run
out there, so for `GRACE_S` nobody counts as dead who has not said so: a room stays with its holder. Should two nodes place one room each, the holder that finds
the other's lease first lets go, and its people join again. Whoever can write to this Redis can have calls join again, or end
their signalling; words are sealed, so they can neither read nor plant one.
"""

from __future__ import annotations

import contextlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from leeside_server.adapters.memory_bridges import Listeners, MemoryBridges, least_loaded
from leeside_server.adapters.redis_bus import RedisBus
from leeside_server.adapters.redis_connection import (
    Command,
    RedisPipe,
    RedisPlace,
    RedisUnreachable,
    Refusal,
    Reply,
    array,
)
from leeside_server.ports import (
    ROOM_LEASE_S,
    WORKER_LEASE_S,
    BridgesFull,
    BridgesUnavailable,
    BusUnavailable,
    Clock,
    NoBridge,
    Placement,
    Word,
    Workplace,
)

SEEN_KEPT: Final = 16_384
"""Rooms whose last holder is remembered, for when Redis cannot be asked."""
GRACE_S: Final = 2.0 * WORKER_LEASE_S
"""After an outage: by then every process that lives has announced its workers again."""
GONE: Final = "video/gone"

_HELD = struct.Struct(">8sQ")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Workplace]] = msgspec.msgpack.Decoder(Workplace)

WORKPLACES: Final = """
local found = {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local workplace = redis.call('GET', ARGV[1] .. worker)
    if workplace then found[#found + 1] = workplace else redis.call('ZREM', KEYS[1], worker) end
end
return found
"""
PLACE: Final = f"""
local held = redis.call('GET', KEYS[1])
if held and (ARGV[4] == '1' or redis.call('GET', ARGV[1] .. string.sub(held, 1, 8))) then return held end
if ARGV[2] == '' then return '' end
local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, tonumber(ARGV[3]))
redis.call('SET', KEYS[2], string.format('%.0f', epoch))
held = ARGV[2] .. struct.pack('>I8', epoch)
redis.call('SET', KEYS[1], held, 'PX', {ROOM_LEASE_S * 1_000})
return held
"""
KEEP: Final = f"""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', {ROOM_LEASE_S * 1_000})
return 1
"""
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisBridges:
    """Rooms and words that every node sees. `name` names this process and is the same in no two of them."""

    def __init__(self, place: RedisPlace, name: str, clock: Clock) -> None:
        names = f"{place.prefix}bridges:{{bridges}}:".encode()
        self._worker_keys = names + b"worker:"
        self._workers = names + b"workers"
        self._room_keys = names + b"room:"
        self._epoch = names + b"epoch"
        self._clock = clock
        self._pipe = RedisPipe(place)
        self._bus = RedisBus(place, name)
        self._own = MemoryBridges(clock)
        """The workers of this process, and their rooms: what there is without Redis."""
        self._listeners = Listeners()
        self._on_gone: Callable[[bytes], None] = lambda _worker: None
        self._seen: OrderedDict[bytes, tuple[float, Placement]] = OrderedDict()
        """Until when rooms of other processes' workers count as theirs, unless Redis says otherwise."""
        self._failing = False
        self._grace_until_s = float("-inf")

    @property
    def shared(self) -> bool:
        """True: which processes are there, Redis does not say."""
        return True

    async def start(self, on_gone: Callable[[bytes], None]) -> None:
        self._on_gone = on_gone
        await self._own.start(on_gone)
        await self._bus.start(self._hear)
        await self._bus.subscribe([GONE])

    async def listen(self, address: bytes, on_word: Word) -> None:
        self._listeners.set(address, on_word)
        await self._bus.subscribe([_topic(address)])

    async def unlisten(self, address: bytes) -> None:
        self._listeners.forget(address)
        await self._bus.unsubscribe([_topic(address)])

    async def say(self, address: bytes, word: bytes) -> None:
        if address in self._listeners:
            self._listeners.hand_on(address, word)
            return
        try:
            await self._bus.publish([(_topic(address), word)])
        except BusUnavailable:
            raise BridgesUnavailable from None

    async def announce(self, workplace: Workplace) -> None:
        await self._own.announce(workplace)
        key = self._worker_keys + workplace.worker
        await self._try(
            ("SET", key, _encoder.encode(workplace), "PX", WORKER_LEASE_S * 1_000),
            ("ZADD", self._workers, 0, workplace.worker),
            ("EXPIRE", self._workers, ROOM_LEASE_S),
        )

    async def withdraw(self, worker: bytes) -> None:
        await self._own.withdraw(worker)
        # The keys first: whoever hears of it asks at once who is left.
        await self._try(("DEL", self._worker_keys + worker), ("ZREM", self._workers, worker))
        try:
            await self._bus.publish([(GONE, worker)])
        except BusUnavailable:
            return

    async def workplaces(self) -> Sequence[Workplace]:
        found = await self._found()
        if self._in_grace:
            raise BridgesUnavailable
        return found

    async def _found(self) -> Sequence[Workplace]:
        own = await self._own.workplaces()
        (found,) = await self._ask(("EVAL", WORKPLACES, 1, self._workers, self._worker_keys))
        named = {place.worker for place in own}
        others = [place for place in map(_workplace, array(found) or []) if place is not None]
        return (*own, *sorted((p for p in others if p.worker not in named), key=lambda p: p.worker))

    async def place(self, room: bytes) -> Placement:
        try:
            workplaces = await self._found()
            refused: NoBridge | BridgesFull | None = None
            chosen = b""
            try:
                chosen = least_loaded(workplaces).worker
            except (NoBridge, BridgesFull) as error:
                refused = error
            keys = (self._room_keys + room, self._epoch)
            trusted = int(self._in_grace)
            asked = ("EVAL", PLACE, 2, *keys, self._worker_keys, chosen, self._clock.now_ms(), trusted)
            (held,) = await self._ask(asked)
        except BridgesUnavailable:
            return await self._place_alone(room)
        if not isinstance(held, bytes) or len(held) != _HELD.size:
            raise refused or NoBridge
        placement = Placement(*_HELD.unpack(held))
        await self._remember(room, placement)
        return placement

    async def keep(self, worker: bytes, rooms: Mapping[bytes, int]) -> frozenset[bytes]:
        await self._own.keep(worker, rooms)
        if not rooms:
            return frozenset()
        commands: list[Command] = [
            ("EVAL", KEEP, 1, self._room_keys + room, _HELD.pack(worker, epoch))
            for room, epoch in rooms.items()
        ]
        try:
            kept = await self._ask(*commands)
        except BridgesUnavailable:
            return frozenset()
        lost = [
            (room, epoch) for (room, epoch), answer in zip(rooms.items(), kept, strict=True) if answer == 0
        ]
        for room, epoch in lost:
            await self._own.release(worker, room, epoch)
        return frozenset(room for room, _ in lost)

    async def release(self, worker: bytes, room: bytes, epoch: int) -> None:
        await self._own.release(worker, room, epoch)
        await self._try(("EVAL", RELEASE, 1, self._room_keys + room, _HELD.pack(worker, epoch)))

    async def close(self) -> None:
        try:
            await self._bus.close()
        finally:
            await self._pipe.close()

    # ---- inside

    def _hear(self, topic: str, data: bytes) -> None:
        if topic == GONE:
            self._on_gone(data)
        else:
            self._listeners.hand_on(bytes.fromhex(topic.rpartition("/")[2]), data)

    async def _place_alone(self, room: bytes) -> Placement:
        """Without Redis: with a worker of this process, unless another's had the room a moment ago."""
        until_s, _ = self._seen.get(room, (float("-inf"), None))
        if until_s > self._clock.monotonic_s():
            raise BridgesUnavailable
        try:
            return await self._own.place(room)
        except NoBridge:
            raise BridgesUnavailable from None

    async def _remember(self, room: bytes, placement: Placement) -> None:
        self._seen.pop(room, None)
        if placement.worker in {place.worker for place in await self._own.workplaces()}:
            await self._own.keep(placement.worker, {room: placement.epoch})
            return
        self._seen[room] = (self._clock.monotonic_s() + ROOM_LEASE_S, placement)
        if len(self._seen) > SEEN_KEPT:
            self._seen.popitem(last=False)

    @property
    def _in_grace(self) -> bool:
        return self._clock.monotonic_s() < self._grace_until_s

    async def _try(self, *commands: Command) -> None:
        """What is repeated, or ends by itself."""
        with contextlib.suppress(BridgesUnavailable):
            await self._ask(*commands)

    async def _ask(self, *commands: Command) -> list[Reply]:
        try:
            replies = await self._pipe.call(commands)
        except RedisUnreachable:
            self._failing = True
            raise BridgesUnavailable from None
        if self._failing:
            self._failing = False
            self._grace_until_s = self._clock.monotonic_s() + GRACE_S
        if any(isinstance(reply, Refusal) for reply in replies):
            raise BridgesUnavailable
        return replies


def _topic(address: bytes) -> str:
    return f"video/{address.hex()}"


def _workplace(data: Reply) -> Workplace | None:
    """What another process announced; None for what is none (of another version, or nobody's of ours)."""
    try:
        found = _decoder.decode(data)
    except (msgspec.MsgspecError, TypeError):
        return None
    return found if len(found.worker) == 8 else None
