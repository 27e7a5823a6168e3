"""The `Latest` port on Redis: the newest stream value of each key, for two minutes.

| key | type | lifetime | who writes |
|---|---|---|---|
| `<prefix>latest:{<agency>/<channel>}:v<key>` | string: at_ms (8 bytes), device (16 bytes), payload (sealed) | `STREAM_TTL_S` from the put | any node |
| `<prefix>latest:{<agency>/<channel>}:index` | sorted set: key, by when its value ends (Redis time) | `STREAM_TTL_S` from the last put | any node |

The braces are a hash tag: all of a channel lies in one slot of a Redis Cluster. "Newest" is decided inside
Redis by a script, so that two nodes that put at the same time agree; a value with an equal `at_ms` replaces.
Ages are counted by Redis's own clock. What cannot be reached is empty: a stream value is never owed to anyone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from leeside_protocol.ids import ID_BYTES, AgencyId, ChannelAddress, DeviceId
from leeside_protocol.limits import STREAM_TTL_S
from leeside_server.adapters.redis_connection import RedisPipe, RedisPlace, RedisUnreachable, array
from leeside_server.ports import Clock, LatestValue

KEYS_A_CHANNEL: Final = 4_096
"""Values kept of one channel; the one that ends first makes room."""

_HEAD = struct.Struct(f">Q{ID_BYTES}s")

PUT: Final = f"""
local there = redis.call('GET', KEYS[1])
if there and struct.unpack('>I8', there) > struct.unpack('>I8', ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[1], 'PX', {STREAM_TTL_S * 1_000})
redis.call('ZADD', KEYS[2], now_ms + {STREAM_TTL_S * 1_000}, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
redis.call('PEXPIRE', KEYS[2], {STREAM_TTL_S * 1_000})
local over = redis.call('ZCARD', KEYS[2]) - {KEYS_A_CHANNEL}
if over > 0 then
    for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, over - 1)) do
        redis.call('DEL', ARGV[3] .. key)
        redis.call('ZREM', KEYS[2], key)
    end
end
return 1
"""
VALUES: Final = """
local found = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local value = redis.call('GET', ARGV[1] .. key)
    if value then
        found[#found + 1] = key
        found[#found + 1] = value
    end
end
return found
"""
DROP: Final = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('DEL', ARGV[1] .. key) end
return redis.call('DEL', KEYS[1])
"""


class RedisLatest:
    """Stream values that every node sees."""

    def __init__(self, place: RedisPlace, clock: Clock | None = None) -> None:
        self._prefix = place.prefix
        self._pipe = RedisPipe(place, clock)

    async def put(self, agency: AgencyId, channel: ChannelAddress, value: LatestValue) -> None:
        """Within a second in any case; at once while Redis rests after a failure."""
        values, index = self._names(agency, channel)
        packed = _HEAD.pack(value.at_ms, value.device) + value.payload
        try:
            await self._pipe.call([("EVAL", PUT, 2, values + value.key, index, packed, value.key, values)])
        except RedisUnreachable:
            return

    async def values(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[LatestValue]:
        values, index = self._names(agency, channel)
        try:
            (found,) = await self._pipe.call([("EVAL", VALUES, 1, index, values)])
        except RedisUnreachable:
            return ()
        flat: list[bytes] = array(found) or []
        read: list[LatestValue] = []
        for key, packed in sorted(zip(flat[::2], flat[1::2], strict=True)):
            at_ms, device = _HEAD.unpack_from(packed)
            read.append(LatestValue(key, DeviceId(device), at_ms, packed[_HEAD.size :]))
        return tuple(read)

    async def drop(self, agency: AgencyId, channel: ChannelAddress) -> None:
        """What Redis could not be told to forget ends by itself after `STREAM_TTL_S`."""
        values, index = self._names(agency, channel)
        try:
            await self._pipe.call([("EVAL", DROP, 1, index, values)])
        except RedisUnreachable:
            return

    async def close(self) -> None:
        await self._pipe.close()

    def _names(self, agency: AgencyId, channel: ChannelAddress) -> tuple[bytes, bytes]:
        tag = f"{self._prefix}latest:{{{agency.hex()}/{channel.hex()}}}:".encode()
        return tag + b"v", tag + b"index"
