"""The stub push service and gateway: they note every attempt, know who brought it, and fail as often as they are told."""

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import cast

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.webpush import WebPush, encrypt
from leeside_server.ports import Subscription
from tests.faults import doorway
from tests.faults.doors import Doors, Knock, open_doors
from tests.faults.doorway import Brought, Doorway, Moods, Order
from tests.support.services import HOST
from tests.support.town import until

PAGE = bytes(range(16))


def _call(**changes: str) -> bytes:
    told = {
        "id": "msg_1",
        "kind": "voice",
        "to": "+15550100",
        "page": PAGE.hex(),
        "text": "A consult is waiting.",
    }
    return json.dumps(told | changes).encode()


def _push(doors: Doors, name: str, plain: bytes) -> tuple[str, bytes]:
    url, browser = doors.subscribe(name)
    return url, encrypt(plain, browser.public, browser.auth, generate_private_key(SECP256R1()), bytes(16))


def _noting(doors: Doors) -> list[Knock]:
    knocks: list[Knock] = []
    doors.on_knock = knocks.append
    return knocks


async def test_a_push_is_opened_and_its_sender_known() -> None:
    private = generate_private_key(SECP256R1())
    sender = WebPush(private, (HOST,), "https://node7.leeside.example", SystemClock())
    async with open_doors(1) as doors:
        knocks = _noting(doors)
        url, browser = doors.subscribe("ada")
        to = Subscription(url, browser.public, browser.auth)
        await sender.send(to, f"a consult is waiting {PAGE.hex()}".ljust(64).encode(), 60)
        await sender.close()
    (knock,) = knocks
    assert (knock.way, knock.door, knock.page, knock.node, knock.taken) == (
        "push",
        "ada",
        PAGE,
        "node7",
        True,
    )
    assert not doors.strange


async def test_an_attempt_began_when_its_connection_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind others that came with it, it is read late; one that follows on the same connection begins when it is read."""
    told: list[bytes] = []
    monkeypatch.setattr(doorway, "_tell", told.append)
    clock = SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(doorway, "time", SimpleNamespace(time=lambda: clock.now_s))
    reader = asyncio.StreamReader()
    Doorway(Order(1, {}), random.Random(1)).accept(reader, cast("asyncio.StreamWriter", _Deaf()))
    request = b"POST /gateway/node1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
    clock.now_s = 104.0
    reader.feed_data(request)
    await until(lambda: len(told) == 1, "the first is read")
    clock.now_s = 105.0
    reader.feed_data(request)
    await until(lambda: len(told) == 2, "the second is read")
    reader.feed_eof()
    assert [msgspec.msgpack.decode(one, type=Brought).at_s for one in told] == [100.0, 105.0]


class _Deaf:
    """The other side of a connection, which hears nothing."""

    def write(self, data: bytes) -> None:
        """Its answer."""

    def close(self) -> None:
        """Its end."""


async def test_a_push_of_another_size_is_strange() -> None:
    async with open_doors(1) as doors, httpx.AsyncClient() as client:
        knocks = _noting(doors)
        url, body = _push(doors, "ada", f"a consult is waiting {PAGE.hex()}".encode())
        await client.post(url, content=body)
    assert not knocks
    assert doors.strange


async def test_a_call_is_read_with_its_key() -> None:
    async with open_doors(1) as doors, httpx.AsyncClient() as client:
        knocks = _noting(doors)
        for key in ("msg_1", "msg_1", "msg_2"):
            call = await client.post(f"{doors.gateway_url}/node1", content=_call(id=key))
            assert call.status_code == 202
        text = await client.post(f"{doors.gateway_url}/node2", content=_call(kind="sms"))
        assert text.status_code == 202
    assert [(knock.way, knock.door, knock.node) for knock in knocks] == [
        ("voice", "+15550100", "node1")
    ] * 3 + [("sms", "+15550100", "node2")]
    assert doors.keys == {f"voice {PAGE.hex()}": {"msg_1", "msg_2"}, f"sms {PAGE.hex()}": {"msg_1"}}
    assert not doors.strange


@pytest.mark.parametrize(
    "body", [b"{}", b"no json", _call(page="xyz"), _call(text="Ada Lovelace is waiting.")]
)
async def test_a_call_that_says_too_much_or_nothing_is_strange(body: bytes) -> None:
    async with open_doors(1) as doors, httpx.AsyncClient() as client:
        await client.post(doors.gateway_url, content=body)
    assert doors.strange


async def test_they_fail_and_hang_as_often_as_they_are_told() -> None:
    count = 200
    async with (
        open_doors(7, gateway=Moods(failing=0.3, hanging=0.1)) as doors,
        httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=count)) as client,
    ):
        knocks = _noting(doors)
        asked = [asyncio.ensure_future(_taken(client, doors.gateway_url)) for _ in range(count)]
        await until(
            lambda: (
                doors.fates.total() == count
                and sum(one.done() for one in asked) == count - doors.fates["hung"]
            ),
            "all are answered but what hangs",
        )
        for one in asked:
            one.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert len(knocks) == count
    assert answers.count(True) == doors.fates["taken"] == sum(knock.taken for knock in knocks)
    assert doors.fates.total() == count
    assert 0.2 < doors.fates["failed"] / count < 0.4
    assert 0.04 < doors.fates["hung"] / count < 0.17


async def _taken(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.post(url, content=_call())).status_code == 202
    except httpx.TransportError:
        return False
