"""`leeside-server doctor`: whether this machine and its services can keep what the server promises.

Nothing here writes into the store, and a running server is not disturbed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from leeside_server import places
from leeside_server.adapters.postgres_connection import connect as connect_postgres
from leeside_server.adapters.postgres_connection import verify as verify_postgres
from leeside_server.adapters.redis_connection import (
    RedisConnection,
    RedisPlace,
    RedisUnreachable,
    Refusal,
    array,
)
from leeside_server.config import Config
from leeside_server.errors import ConfigInvalid
from leeside_server.findings import Finding, Report, Verdict
from leeside_server.machine import examine_machine
from leeside_server.ports import StoreRefused, StoreUnavailable
from leeside_server.video_checks import examine_call, examine_video
from leeside_server.web_files import examine_web

SLOW_REDIS_US: Final = 5_000.0
PINGS: Final = 20
SKEW_MOST_S: Final = 1.0
ASK_TIMEOUT_S: Final = 3.0
_PRIVATE: Final = """
SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)
    OR inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'
"""


async def examine(config: Config) -> Report:
    """Run every check that this configuration calls for. Takes some seconds, and with a bridge those of a call."""
    findings = [*await asyncio.to_thread(examine_machine, config)]
    findings += [finding async for finding in _store(config)]
    if config.bus.kind == "redis":
        findings += [finding async for finding in _redis(config)]
    findings += await asyncio.to_thread(examine_web, config)
    findings += await asyncio.to_thread(examine_video, config)
    findings += await examine_call(config)
    return Report(tuple(findings))


async def _store(config: Config) -> AsyncIterator[Finding]:
    if config.store.kind == "sqlite":
        yield await asyncio.to_thread(sqlite_file, config.store_path)
        return
    try:
        connection = await connect_postgres(places.read_dsn(config))
    except ConfigInvalid as error:
        yield Finding("store", Verdict.BAD, error.problems[0].wrong, error.problems[0].fix)
        return
    except (StoreRefused, StoreUnavailable) as error:
        yield Finding(
            "store", Verdict.BAD, f"PostgreSQL: {error}.", "Check [store] dsn_file, and that it runs."
        )
        return
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await verify_postgres(connection)
            private = bool(await connection.fetchval(_PRIVATE))
            began_s = time.time()
            theirs_s = float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
            took_s = time.time() - began_s
        yield Finding(
            "store",
            Verdict.WELL,
            "PostgreSQL answers, and its settings keep what it commits.",
            "",
            round(took_s * 1e6, 1),
            "µs",
        )
        yield way("PostgreSQL", private)
        yield skew("PostgreSQL", theirs_s - (began_s + took_s / 2))
    except StoreRefused as error:
        yield Finding(
            "store", Verdict.BAD, f"PostgreSQL: {error}.", "Change it in postgresql.conf and restart it."
        )
    except (StoreUnavailable, TimeoutError, OSError) as error:
        yield Finding(
            "store",
            Verdict.BAD,
            f"PostgreSQL: {error if isinstance(error, StoreUnavailable) else 'no answer'}.",
            "Look into its log.",
        )
    finally:
        connection.terminate()


def sqlite_file(path: Path) -> Finding:
    """Whether the database is whole, in write-ahead mode, and readable by this user; read only."""
    if not path.exists():
        return Finding(
            "store", Verdict.WELL, f"SQLite {sqlite3.sqlite_version}; {path} will be made at the first start."
        )
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=ASK_TIMEOUT_S)
        try:
            mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[
                0
            ]
        finally:
            connection.close()
    except sqlite3.Error:
        return Finding(
            "store",
            Verdict.BAD,
            f"{path} cannot be read as a database.",
            "Check its owner, or restore a backup.",
        )
    if mode != "wal" or not tables:
        return Finding(
            "store",
            Verdict.BAD,
            f"{path} is not a database of this server, or not in write-ahead mode.",
            "Set [store] path to the server's own file, or restore a backup.",
        )
    return Finding("store", Verdict.WELL, f"SQLite {sqlite3.sqlite_version}; {path} is in write-ahead mode.")


async def _redis(config: Config) -> AsyncIterator[Finding]:
    try:
        place = RedisPlace(places.read_redis_url(config), config.bus.prefix)
    except ConfigInvalid as error:
        yield Finding("bus", Verdict.BAD, error.problems[0].wrong, error.problems[0].fix)
        return
    connection = RedisConnection(place)
    try:
        await connection.open()
        async with asyncio.timeout(ASK_TIMEOUT_S):
            if await _refuses(connection, place.prefix):
                yield Finding(
                    "bus",
                    Verdict.BAD,
                    "Redis refuses what a node asks of it. Messages still arrive, more slowly, by polling the store.",
                    "Check user and password in [bus] url_file, and what that user may do: see deploy/redis/users.acl.",
                )
                return
            taken_us: list[float] = []
            for _ in range(PINGS):
                began_ns = time.perf_counter_ns()
                await connection.send([("PING",)])
                await connection.read()
                taken_us.append((time.perf_counter_ns() - began_ns) / 1_000)
            yield way("Redis", not places.crosses_in_the_open(place.url))
            yield round_trip(statistics.median(taken_us))
            began_s = time.time()
            await connection.send([("TIME",)])
            answer = array(await connection.read())
            middle_s = (began_s + time.time()) / 2
            if answer is not None:
                yield skew("Redis", int(answer[0]) + int(answer[1]) / 1e6 - middle_s)
    except (RedisUnreachable, TimeoutError) as error:
        yield Finding(
            "bus",
            Verdict.BAD,
            f"Redis: {str(error) or 'no answer'}. Messages still arrive, more slowly, by polling the store.",
            "Check [bus] url_file, and that Redis runs.",
        )
    finally:
        await connection.close()


async def _refuses(connection: RedisConnection, prefix: str) -> bool:
    """Whether Redis refuses to be asked, or to carry hints. Nobody hears what is published here."""
    topic = f"{prefix}hint:doctor"
    for command in (("PING",), ("PUBLISH", topic, ""), ("SUBSCRIBE", topic), ("UNSUBSCRIBE", topic)):
        await connection.send([command])
        if isinstance(await connection.read(), Refusal):
            return True
    return False


def round_trip(median_us: float) -> Finding:
    """Whether Redis is near."""
    figure = round(median_us, 1)
    if median_us > SLOW_REDIS_US:
        return Finding(
            "bus",
            Verdict.WARNING,
            f"Redis takes {figure / 1_000:.0f} ms to answer: every delivery to another node waits for it.",
            "Put it near the nodes.",
            figure,
            "µs",
        )
    return Finding("bus", Verdict.WELL, f"Redis answers within {figure:.0f} µs.", "", figure, "µs")


def way(who: str, private: bool) -> Finding:
    """Whether others could read on the way to a service."""
    check = f"tls_{who.lower()}"
    if private:
        return Finding(check, Verdict.WELL, f"The way to {who} is closed: TLS, or this machine.")
    return Finding(
        check,
        Verdict.WARNING,
        f"{who} is reached over the network without TLS: its password can be read on the way.",
        "Use rediss:// for Redis, sslmode=verify-full for PostgreSQL.",
    )


def skew(who: str, behind_s: float) -> Finding:
    """Whether another machine's clock says the same."""
    check, figure = f"clock_{who.lower()}", round(behind_s, 3)
    if abs(behind_s) > SKEW_MOST_S:
        return Finding(
            check,
            Verdict.WARNING,
            f"{who}'s clock and this machine's are {abs(figure):.1f} s apart.",
            "Run a time service (chrony or systemd-timesyncd) on both.",
            figure,
            "s",
        )
    return Finding(check, Verdict.WELL, f"{who}'s clock agrees with this machine's.", "", figure, "s")
