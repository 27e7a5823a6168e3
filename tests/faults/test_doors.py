"""The stub push service and gateway: they note every attempt, know who brought it, and fail as often as they are told."""

from __future__ import annotations

import asyncio
import json
import os

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from leeside_server.adapters.webpush import encrypt
from tests.faults.doors import Doors, Knock, open_doors
from tests.faults.doorway import Moods
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
    async with open_doors(1, pids=(os.getpid(),)) as doors, httpx.AsyncClient() as client:
        knocks = _noting(doors)
        url, body = _push(doors, "ada", f"a consult is waiting {PAGE.hex()}".ljust(64).encode())
        assert (await client.post(url, content=body)).status_code == 202
    (knock,) = knocks
    assert (knock.way, knock.door, knock.page, knock.pid, knock.taken) == (
        "push",
        "ada",
        PAGE,
        os.getpid(),
        True,
    )
    assert not doors.strange


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
            assert (await client.post(doors.gateway_url, content=_call(id=key))).status_code == 202
        assert (await client.post(doors.gateway_url, content=_call(kind="sms"))).status_code == 202
    assert [(knock.way, knock.door) for knock in knocks] == [("voice", "+15550100")] * 3 + [
        ("sms", "+15550100")
    ]
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
