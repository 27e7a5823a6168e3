"""The `Presence` port on Redis: one lease a node.

| key | type | lifetime | who writes |
|---|---|---|---|
| `<prefix>presence:{presence}:node:<node>` | hash: `at` to the time of the report in ms, and a field of 32 bytes (agency, device) for each device | `NODE_LEASE_S` | that node, every `NODE_BEAT_S` |
| `<prefix>presence:{presence}:nodes` | sorted set: node, by the time of its last report in ms | `NODE_FORGOTTEN_S` from the last report | every node |
| `<prefix>presence:{presence}:since` | string: when the set of nodes began, in ms | `NODE_FORGOTTEN_S` from the last report | the first node to report |

The set says who *should* have reported: a node that stands in it without a living lease has vanished without
leaving, and makes every view stale until it reports, leaves or is forgotten. `since` catches the other case: after
FLUSHALL or a restart nobody stands in the set, and until a lease has passed since its first report a node may
be alive that had no turn yet; views are stale so long. Times come from the nodes' own clocks, as reported;
the lifetime of keys is Redis's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from leeside_protocol.ids import AgencyId, DeviceId
from leeside_protocol.limits import NODE_LEASE_S
from leeside_server.adapters.memory import NODE_FORGOTTEN_S
from leeside_server.adapters.redis_connection import (
    Command,
    RedisPipe,
    RedisPlace,
    RedisUnreachable,
    array,
)
from leeside_server.ports import Clock, OnlineView

FIELDS_A_COMMAND: Final = 1_000

Own: TypeAlias = tuple[int, frozenset[tuple[AgencyId, DeviceId]]]


class RedisPresence:
    """Leases that every node sees. `as_of_ms` is 0 when no report could be used: then nothing is known.

    While Redis cannot be reached a view holds what this process itself reported last, and is stale.
    """

    def __init__(self, place: RedisPlace, clock: Clock | None = None) -> None:
        names = f"{place.prefix}presence:{{presence}}:"
        self._node_names = f"{names}node:"
        self._nodes = f"{names}nodes"
        self._since = f"{names}since"
        self._pipe = RedisPipe(place, clock)
        self._own: dict[str, Own] = {}

    async def renew(self, node: str, devices: Sequence[tuple[AgencyId, DeviceId]], now_ms: int) -> None:
        held = frozenset(devices)
        self._own[node] = (now_ms, held)
        lease = self._node_names + node
        fields = [agency + device for agency, device in held]
        # One transaction: nobody sees a node between its old report and its new one.
        commands: list[Command] = [("MULTI",), ("DEL", lease), ("HSET", lease, "at", now_ms)]
        for start in range(0, len(fields), FIELDS_A_COMMAND):
            some = fields[start : start + FIELDS_A_COMMAND]
            commands.append(("HSET", lease, *(word for name in some for word in (name, b""))))
        commands += [
            ("EXPIRE", lease, NODE_LEASE_S),
            ("ZADD", self._nodes, now_ms, node),
            ("ZREMRANGEBYSCORE", self._nodes, "-inf", now_ms - NODE_FORGOTTEN_S * 1_000),
            ("EXPIRE", self._nodes, NODE_FORGOTTEN_S),
            ("SET", self._since, now_ms, "NX"),
            ("EXPIRE", self._since, NODE_FORGOTTEN_S),
            ("EXEC",),
        ]
        try:
            await self._pipe.call(commands)
        except RedisUnreachable:
            return

    async def online(self, agency: AgencyId, devices: Sequence[DeviceId], now_ms: int) -> OnlineView:
        oldest_ms = now_ms - NODE_LEASE_S * 1_000
        try:
            since, known = await self._pipe.call(
                [
                    ("GET", self._since),
                    ("ZRANGEBYSCORE", self._nodes, f"({now_ms - NODE_FORGOTTEN_S * 1_000}", "+inf"),
                ]
            )
            nodes: list[bytes] = array(known) or []
            if not isinstance(since, bytes) or not nodes:
                return self._own_view(agency, devices, oldest_ms)
            fields = [agency + device for device in devices]
            answers = await self._pipe.call(
                [("HMGET", self._node_names.encode() + node, "at", *fields) for node in nodes]
            )
        except RedisUnreachable:
            return self._own_view(agency, devices, oldest_ms)
        found: set[DeviceId] = set()
        used: list[int] = []
        for answer in answers:
            report: list[bytes | None] = array(answer) or [None]
            at, *held = report
            if at is not None and int(at) > oldest_ms:
                used.append(int(at))
                found.update(device for device, field in zip(devices, held, strict=True) if field is not None)
        if not used:
            return self._own_view(agency, devices, oldest_ms)
        stale = len(used) < len(nodes) or int(since) > oldest_ms
        return OnlineView(frozenset(found), min(used), stale)

    async def leave(self, node: str) -> None:
        self._own.pop(node, None)
        try:
            await self._pipe.call([("DEL", self._node_names + node), ("ZREM", self._nodes, node)])
        except RedisUnreachable:
            return

    async def close(self) -> None:
        await self._pipe.close()

    def _own_view(self, agency: AgencyId, devices: Sequence[DeviceId], oldest_ms: int) -> OnlineView:
        used = [own for own in self._own.values() if own[0] > oldest_ms]
        return OnlineView(
            frozenset(device for device in devices for _, held in used if (agency, device) in held),
            min((at_ms for at_ms, _ in used), default=0),
            stale=True,
        )
