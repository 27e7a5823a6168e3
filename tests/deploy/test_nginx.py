"""The shipped nginx.conf, run by a real nginx before two real nodes: sealed messages, sources, reloads."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from leeside.client import Leeside
from leeside.events import Message, Progress
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import Discipline, Role
from tests.deploy.site import ENROLMENTS, Site, site
from tests.support.patience import PATIENCE_S
from tests.support.services import HOST
from tests.support.town import Person, Town, open_town, until

MESSAGES = 120
ATTEMPTS = 10


@pytest.fixture
async def place(
    tmp_path: Path,
    nginx_program: Path,
    postgres_dsn: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Site]:
    """Two nodes behind nginx, whose certificate this process trusts as it would trust the system's."""
    async with site(tmp_path, nginx_program, postgres_dsn, redis_url) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(running.proxy.ca_file))
        yield running


@pytest.fixture
async def town(place: Site, tmp_path: Path) -> AsyncGenerator[Town]:
    """An agency founded through nginx."""
    async with open_town(place.url, place.nodes[0].codes, tmp_path / "people") as founded:
        yield founded


def said(client: Leeside, channel: ChannelId) -> list[str]:
    """What a device has received, in order."""
    return [event.text for event in client.history(channel, limit=1000) if isinstance(event, Message)]


async def sockets(place: Site) -> tuple[int, ...]:
    """How many sockets each node holds, by its own count."""
    counts: list[int] = []
    for node in place.nodes:
        answer = await node.ask("/metrics")
        assert answer is not None
        (line,) = (row for row in answer[1].decode().splitlines() if row.startswith("leeside_sockets "))
        counts.append(int(float(line.split()[1])))
    return tuple(counts)


async def apart(place: Site, town: Town, stack: AsyncExitStack) -> tuple[Leeside, Leeside, Person, Person]:
    """Two clients that nginx led to two nodes."""
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    phone = await stack.enter_async_context(ana.open(place.url))
    for _ in range(ATTEMPTS):
        own = AsyncExitStack()
        desk = await own.enter_async_context(deniz.open(place.url))
        if await sockets(place) == (1, 1):
            stack.push_async_callback(own.aclose)
            return phone, desk, ana, deniz
        await own.aclose()
    raise AssertionError("nginx leads every socket to the same node")


async def test_a_sealed_message_crosses_two_nodes_behind_the_proxy(place: Site, town: Town) -> None:
    async with AsyncExitStack() as stack:
        phone, desk, _, deniz = await apart(place, town, stack)
        channel = await town.unit_channel(desk, phone)
        sent = await phone.send(channel, "on scene")
        await sent.wait(Progress.DELIVERED, timeout_s=PATIENCE_S)
        assert said(desk, channel) == ["on scene"]
        assert set(sent.devices) == {deniz.device}
        assert "on scene" not in place.proxy.log


async def test_a_reload_in_mid_stream_loses_nothing(place: Site, town: Town) -> None:
    """Old workers are given one second here: both sockets are cut, and both clients come back by themselves."""
    async with AsyncExitStack() as stack:
        phone, desk, _, _ = await apart(place, town, stack)
        channel = await town.unit_channel(desk, phone)
        before = place.proxy.workers()
        texts = [f"{number} of {MESSAGES}" for number in range(MESSAGES)]
        for number, text in enumerate(texts):
            await (phone if number % 2 else desk).send(channel, text)
            if number == MESSAGES // 3:
                place.proxy.reload()
            await asyncio.sleep(0.02)
        # Cut: the old workers are gone, so every socket of theirs is, and what was in it.
        await until(lambda: not before & place.proxy.workers(), "the old workers end")
        last = await phone.send(channel, "all done")
        await last.wait(Progress.DELIVERED, timeout_s=PATIENCE_S)
        await until(lambda: len(said(desk, channel)) > MESSAGES, "everything has come")
        heard = said(desk, channel)
        assert sorted(heard) == sorted([*texts, "all done"])
        # Each sender's own order, and one order for both.
        assert [t for t in heard if t in texts[1::2]] == texts[1::2]
        assert [t for t in heard if t in texts[::2]] == texts[::2]
        await until(lambda: said(phone, channel) == heard, "both have the same log")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address only")
async def test_sources_are_told_apart_by_the_proxy_and_by_nobody_else(place: Site) -> None:
    async def attempt(url: str, source: str, claims: str = "") -> int:
        transport = httpx.AsyncHTTPTransport(local_address=source, verify=trusting(place))
        async with httpx.AsyncClient(base_url=url, transport=transport) as client:
            headers = {"X-Forwarded-For": claims} if claims else {}
            answer = await client.post("/v1/enrolments", json={}, headers=headers)
            return int(answer.json()["number"])

    direct = [node.url for node in place.nodes]
    limited = WireError.RATE_LIMITED.value

    async def until_limited(url: str, source: str, claims: str = "") -> int:
        """How many attempts a source had until it was told to wait."""
        for number in range(4 * ENROLMENTS):
            if await attempt(url, source, claims.format(number)) == limited:
                return number
        return 4 * ENROLMENTS

    # Through the proxy, each source has its own share, of each of the two nodes that it is led to.
    assert ENROLMENTS <= await until_limited(place.url, "127.0.0.5") <= 2 * ENROLMENTS
    while await attempt(place.url, "127.0.0.5") != limited:
        pass
    # What a client claims about itself gives it no other.
    claimed = [await attempt(place.url, "127.0.0.5", f"203.0.113.{n}") for n in range(4 * ENROLMENTS)]
    assert claimed.count(limited) >= len(claimed) - ENROLMENTS
    assert await until_limited(place.url, "127.0.0.5", "203.0.113.{}") < ENROLMENTS
    # Another source is not affected.
    assert await attempt(place.url, "127.0.0.6") != limited
    # Past the proxy, from an address that is not trusted, nothing that it forwards is believed.
    for url in direct:
        assert await until_limited(url, "127.0.0.7", "203.0.113.{}") == ENROLMENTS
    # From the proxy's own address it is.
    assert await until_limited(direct[0], HOST, "198.51.100.{}") == 4 * ENROLMENTS


async def test_only_what_is_meant_for_clients_is_reached_from_outside(place: Site) -> None:
    async with httpx.AsyncClient(base_url=place.url, verify=trusting(place)) as client:
        assert (await client.get("/v1/server")).status_code == 200
        assert (await client.get("/readyz")).json()["status"] == "ok"
        for path in ("/metrics", "/healthz", "/v2/server", "/v1/../metrics", "/assets/../metrics"):
            answer = await client.get(path)
            assert (answer.status_code, "leeside_" in answer.text) == (404, False), path
        # The page, or the sentence that it was not built: of the node's in both cases.
        for path in ("/", "/assets/none.js", "/map/none", "/service-worker.js", "/manifest.webmanifest"):
            assert "script-src 'self'" in (await client.get(path)).headers["content-security-policy"], path
        kept = (await client.get("/v1/server")).headers
        assert kept["strict-transport-security"] == "max-age=31536000"
        too_large = await client.post("/v1/enrolments", content=bytes(300_000))
        assert too_large.status_code == 413


def trusting(place: Site) -> ssl.SSLContext:
    """nginx's certificate is checked, as a client does."""
    return ssl.create_default_context(cafile=str(place.proxy.ca_file))
