"""Where connections come from: who is counted, who is refused, and how many come in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import SUBPROTOCOL, Challenge
from leeside_server.core.rates import Rate
from leeside_server.relay.app import build_app
from leeside_server.relay.door import Door
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.sources import ProxiesOnly, source_of
from tests.relay.world import Client, dial, served, serving, world
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"A" * 16)
PROXIES: Sequence[IPv4Network | IPv6Network] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (None, ["203.0.113.1"], "local"),
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["made up"], "unknown"),
        ("10.0.0.1", ["203.0.113.1:50000"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, 10.0.0.2:50000"], "203.0.113.1"),
        ("10.0.0.1", ["[2001:db8:1:2::9]:50000"], "20010db800010002"),
        ("10.0.0.1", ["[2001:db8:1:2::9]"], "20010db800010002"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", [], "20010db800010002"),
        ("fd00::1", ["2001:db8:1:2::9"], "20010db800010002"),
    ],
)
def test_the_source_is_what_a_trusted_proxy_saw(
    peer: str | None, forwarded: list[str], expected: str
) -> None:
    assert source_of(peer, forwarded, PROXIES) == expected


@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=3))
def test_any_header_gives_some_source(peer: str, forwarded: list[str]) -> None:
    assert source_of(peer, forwarded, PROXIES)


# ---- a plain port is for its proxy alone


async def asked(app: ASGIApp, kind: str, peer: str | None) -> list[Message]:
    """What an app sends to a peer that asks for /healthz; whatever it tries to read fails."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing may be read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": kind, "path": "/healthz", "method": "GET", "headers": [], "query_string": b"",
        "client": None if peer is None else (peer, 50_000),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def heard(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "heard"})


@pytest.mark.parametrize("peer", ["10.9.8.7", "::ffff:10.9.8.7", "fd00::5", "127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_proxies_and_this_machine_are_heard(kind: str, peer: str) -> None:
    assert await asked(ProxiesOnly(heard, PROXIES), kind, peer) == [{"type": "heard"}]


@pytest.mark.parametrize("peer", ["203.0.113.9", "192.168.1.7", "2001:db8::1", "::ffff:192.168.1.7", None])
@pytest.mark.parametrize(
    ("kind", "start"), [("http", "http.response.start"), ("websocket", "websocket.http.response.start")]
)
async def test_anyone_else_is_refused_unread_and_told_why(kind: str, start: str, peer: str | None) -> None:
    first, second = await asked(ProxiesOnly(heard, PROXIES), kind, peer)
    assert (first["type"], first["status"]) == (start, 403)
    assert b"https://" in second["body"]


async def test_refused_peers_are_logged_once_a_minute_without_their_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = ProxiesOnly(heard, PROXIES)
    for number in range(5):
        await asked(app, "http", f"203.0.113.{number}")
    (line,) = (record.getMessage() for record in caplog.records)
    assert "plain_peer_refused" in line
    assert "203.0.113" not in line


def seen_from(app: ASGIApp, peer: str) -> ASGIApp:
    """The app as if everything came from this address."""

    async def moved(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": (peer, 50_000)}, receive, send)

    return moved


async def test_a_real_handshake_past_the_proxy_gets_403(tmp_path: Path) -> None:
    settings = RelaySettings(trusted_proxies=(ip_network("10.0.0.0/8"),), proxies_only=True)
    async with (
        world(tmp_path, settings=settings) as w,
        served(seen_from(build_app(w.node), "203.0.113.9")) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        for method, path in (("GET", "/healthz"), ("POST", "/v1/sessions"), ("GET", "/metrics")):
            answer = await http.request(method, path, content=b"x" * 100)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{port}/v1/socket", subprotocols=[SUBPROTOCOL]):  # type: ignore[list-item]
                raise AssertionError
        assert refused.value.response.status_code == 403
        assert len(w.node.sockets) == 0
        assert b"https://" in refused.value.response.body


# ---- how many come in


def test_one_source_cannot_shut_the_others_out() -> None:
    door = Door(Rate(10.0, 50), Rate(100.0, 200))
    assert sum(door.let_in("flood", 0.0) for _ in range(10_000)) == 50
    assert door.let_in("someone", 0.0)
    for second in range(1, 60):
        assert sum(door.let_in("flood", float(second)) for _ in range(1_000)) == 10
        assert door.let_in("someone", float(second))


def test_many_sources_together_are_let_in_at_the_nodes_rate() -> None:
    door = Door(Rate(10.0, 50), Rate(100.0, 200))
    assert sum(door.let_in(f"{number}", 0.0) for number in range(1_000)) == 200
    assert sum(door.let_in(f"{number}", 1.0) for number in range(1_000)) == 100


def test_a_city_behind_one_address_comes_back_at_once() -> None:
    settings = RelaySettings()
    door = Door(settings.handshakes_per_source, settings.handshakes)
    assert all(door.let_in("198.51.100.1", 0.0) for _ in range(5_000))
    assert door.let_in("203.0.113.1", 0.0)


def test_sources_are_remembered_in_bounds() -> None:
    door = Door(Rate(1.0, 1), Rate(1e6, 1_000_000), sources_kept=3)
    assert all(door.let_in(source, 0.0) for source in "abc")
    assert not door.let_in("a", 0.0)
    assert door.let_in("d", 0.0)
    assert door.let_in("b", 0.0), "the source that came longest ago was forgotten, and begins anew"


async def test_behind_a_proxy_each_client_is_a_source_of_its_own(tmp_path: Path) -> None:
    settings = RelaySettings(handshakes_per_source=Rate(0.001, 1), trusted_proxies=LOOPBACK)
    async with world(tmp_path, settings=settings) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        for number in range(4):
            async with dial(port, forwarded=f"6.6.6.6, 203.0.113.{number}") as socket:
                await Client(socket, anna).expect(Challenge)
        async with dial(port, forwarded="7.7.7.7, 203.0.113.0") as socket:
            assert await Client(socket, anna).closed() == CloseCode.CROWDED


async def test_without_a_trusted_proxy_nobody_names_its_own_source(tmp_path: Path) -> None:
    settings = RelaySettings(handshakes_per_source=Rate(0.001, 1))
    async with world(tmp_path, settings=settings) as w, serving(w) as port:
        anna = await w.phone(AGENCY)
        async with dial(port, forwarded="203.0.113.1") as socket:
            await Client(socket, anna).expect(Challenge)
        async with dial(port, forwarded="203.0.113.2") as socket:
            assert await Client(socket, anna).closed() == CloseCode.CROWDED


async def test_a_storm_is_let_in_at_a_rate_and_goes_on_later(tmp_path: Path) -> None:
    async with (
        world(tmp_path, settings=RelaySettings(handshakes_per_source=Rate(1.0, 2))) as w,
        serving(w) as port,
    ):
        anna = await w.phone(AGENCY)
        for _ in range(2):
            async with dial(port) as socket:
                await Client(socket, anna).expect(Challenge)
        async with dial(port) as socket:
            assert await Client(socket, anna).closed() == CloseCode.CROWDED
        assert isinstance(w.clock, FakeClock)
        w.clock.advance(1)
        async with dial(port) as socket:
            await Client(socket, anna).expect(Challenge)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "asgi"])
async def test_no_more_sockets_than_set_are_open_even_when_all_come_at_once(
    tmp_path: Path, direct: bool
) -> None:
    async with world(tmp_path, settings=RelaySettings(sockets=5)) as w, serving(w, direct=direct) as port:
        anna = await w.phone(AGENCY)
        async with contextlib.AsyncExitStack() as stack:
            came = [stack.enter_async_context(dial(port)) for _ in range(20)]
            clients = [Client(socket, anna) for socket in await asyncio.gather(*came)]
            codes = await asyncio.gather(*(first_word(client) for client in clients))
            assert sorted(codes) == [0] * 5 + [int(CloseCode.CROWDED)] * 15


async def first_word(client: Client) -> int:
    """0 for a challenge, else the close code."""
    try:
        await client.expect(Challenge)
    except ConnectionClosed:
        return await client.closed()
    return 0
