"""Requests of every shape: bounds, media types, methods, headers, rate limits. Nobody sees a stack trace."""

import asyncio
import os
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.limits import JSON_BODY_BYTES
from leeside_protocol.routes import BY_NAME, ROUTES
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.words import ChannelPurpose, Role
from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.rates import Rate
from leeside_server.ports import StoreFull, StoreUnavailable
from leeside_server.relay.app import build_app
from leeside_server.relay.http import HttpSettings, OidcSettings, routes
from leeside_server.relay.http.limits import DEVICE_KEYS
from tests.relay.http.world import Agency, City, Refusal
from tests.relay.http.world import city as open_city


def code(response: httpx.Response) -> WireError:
    body = response.json()
    error = WireError(body["number"])
    assert body["code"] == error.label
    assert body["may_retry"] is error.may_retry
    return error


async def test_the_server_says_what_it_is_to_everyone(city: City) -> None:
    info = await city.ask("server")
    assert info.subprotocols == ("leeside.v1",)
    assert info.generation == city.node.store.generation


@pytest.mark.parametrize("name", [route.name for route in ROUTES if route.access == "device"])
async def test_nothing_is_answered_before_signing_in(city: City, name: str) -> None:
    response = await city.raw(name, body=b"\x00" * 70_000, id="0" * 32, index="0", address="0" * 34)
    assert response.status_code == 401
    assert code(response) is WireError.UNAUTHENTICATED


@pytest.mark.parametrize("tls", [False, True])
async def test_every_answer_has_the_headers_that_keep_browsers_out(city: City, *, tls: bool) -> None:
    oidc = OidcSettings("http://127.0.0.1:9", "client", "", NO_AGENCY)
    settings = HttpSettings(tls=tls, oidc=oidc, public_origins=("https://relay.example",))
    app = build_app(city.node, routes(city.node, settings))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    city.client = httpx.AsyncClient(transport=transport, base_url="https://relay.example")
    for path in (
        "/v1/server",
        "/v1/me",
        "/v1/nothing",
        "/v1/challenges",
        "/v1/oidc/callback",
        "/openapi.json",
    ):
        response = await city.client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert ("strict-transport-security" in response.headers) is tls
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/me"), ("GET", "/v1/sessions"), ("TRACE", "/v1/me")]
)
async def test_a_method_that_is_not_there_is_405(city: City, method: str, path: str) -> None:
    response = await city.client.request(method, path)
    assert response.status_code == 405
    assert code(response) is WireError.UNSUPPORTED
    assert method not in response.headers["allow"]


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/members/x/y/z", "/v1/me/"])
async def test_a_path_that_is_not_there_is_not_found(city: City, path: str) -> None:
    response = await city.client.get(path)
    assert response.status_code == 404
    assert code(response) is WireError.NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"device":"x"}',
        b'{"device":"' + b"0" * 32 + b'","more":1}',
        b"\xff",
        b"[" * 5000,
    ],
)
async def test_a_body_of_another_shape_is_invalid_and_never_repeated(city: City, body: bytes) -> None:
    response = await city.raw("challenge", body=body)
    assert code(response) is WireError.INVALID
    assert len(body) < 5 or body not in response.content


async def test_a_body_of_another_media_type_is_unsupported(city: City) -> None:
    response = await city.raw("challenge", body=b"{}", headers={"Content-Type": "text/plain"})
    assert code(response) is WireError.UNSUPPORTED


async def test_a_body_is_bounded_while_it_is_read(city: City) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 16_384
            assert read < 4 * JSON_BODY_BYTES
            yield b" " * 16_384

    response = await city.client.post(
        "/v1/challenges", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert code(response) is WireError.TOO_LARGE


async def test_a_body_that_never_comes_is_given_up(tmp_path: Path) -> None:
    async with open_city(tmp_path, HttpSettings(body_deadline_s=0.05)) as city:

        async def stuck() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        response = await city.client.post(
            "/v1/challenges", content=stuck(), headers={"Content-Type": "application/json"}
        )
        assert code(response) is WireError.BUSY


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StoreUnavailable("the host db.internal refused"), WireError.UNAVAILABLE),
        (StoreFull("/var/lib is full"), WireError.STORAGE_FULL),
        (RuntimeError("secret words"), WireError.UNAVAILABLE),
    ],
)
async def test_failures_of_the_store_and_of_ours_are_told_without_their_words(
    agency: Agency,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    expected: WireError,
) -> None:
    async def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(agency.city.node.store, "apply", failing)
    assert agency.admin.tokens is not None
    response = await agency.city.raw(
        "create_member", body=r.NewMember((Role.RESPONDER,)), token=agency.admin.tokens.token
    )
    assert code(response) is expected
    assert str(error).encode() not in response.content
    assert int(response.headers["retry-after"]) >= 1
    assert not [record for record in caplog.records if str(error) in record.getMessage()]


# ---- rates


async def test_a_source_that_asks_too_often_waits_and_others_do_not(tmp_path: Path) -> None:
    rates = HttpSettings(sign_ins_per_source=Rate(0.5, 3), trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with open_city(tmp_path, rates) as city:
        body = r.ChallengeRequest("0" * 32)
        first = {"X-Forwarded-For": "203.0.113.7"}
        for _ in range(3):
            assert (await city.raw("challenge", body=body, headers=first)).status_code == 201
        refused = await city.raw("challenge", body=body, headers=first)
        assert code(refused) is WireError.RATE_LIMITED
        assert refused.json()["retry_ms"] == 2000
        assert refused.headers["retry-after"] == "2"
        other = await city.raw("challenge", body=body, headers={"X-Forwarded-For": "203.0.113.8"})
        assert other.status_code == 201
        city.clock.advance(2)
        assert (await city.raw("challenge", body=body, headers=first)).status_code == 201
        for _ in range(5):
            await city.raw("challenge", body=body, headers=first)
        rows = await city.node.store.audits(NO_AGENCY, 0, 100)
        assert [row.event for row in rows] == ["rate_limited"]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full")])
async def test_who_asks_too_often_waits_also_while_the_store_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def failing(*_: Any) -> Any:
        raise error

    async with open_city(tmp_path, HttpSettings(sign_ins_per_source=Rate(0.5, 1))) as city:
        monkeypatch.setattr(city.node.store, "apply", failing)
        body = r.ChallengeRequest("0" * 32)
        answers = [await city.raw("challenge", body=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 429, 429]


async def test_a_device_that_asks_too_often_waits(tmp_path: Path) -> None:
    async with open_city(tmp_path, HttpSettings(requests_per_device=Rate(1.0, 5))) as city:
        agency = await city.agency()
        assert agency.admin.tokens is not None
        answers = [await city.raw("me", token=agency.admin.tokens.token) for _ in range(6)]
        assert [a.status_code for a in answers] == [200] * 5 + [429]


async def test_a_device_that_publishes_keys_all_the_time_waits_and_commits_stand(agency: Agency) -> None:
    supervisor, member = await agency.join(Role.SUPERVISOR), await agency.join(Role.DISPATCHER)
    room = await agency.open(ChannelPurpose.DESK, supervisor, member)
    now_ms = agency.city.clock.now_ms()

    async def publish() -> None:
        """A key that claims to be out for two hours: whoever names the one before names an old one."""
        key = member.keys.rotate(os.urandom, now_ms - 2 * 3_600_000)
        await member.ask("put_device_key", r.PutDeviceKey(key.encode()))

    for _ in range(DEVICE_KEYS.burst):
        made = room.make(Change(CommitReason.PERIODIC))
        await publish()
        agency.learn(member.keys)
        with pytest.raises(Refusal) as refused:
            await room.post(made)
        assert refused.value.answer.sealing_code == "E_DEVKEY"
    made = room.make(Change(CommitReason.PERIODIC))
    with pytest.raises(Refusal) as refused:
        await publish()
    assert refused.value.code is WireError.RATE_LIMITED
    await room.post(made)


async def test_who_is_gone_in_the_middle_of_a_request_is_no_failure_of_ours(city: City) -> None:
    sent: list[object] = []
    parts: list[dict[str, object]] = [
        {"type": "http.request", "body": b'{"dev', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return parts.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    path = BY_NAME["challenge"].path
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("leeside.test", 80),
        "scheme": "http",
    }
    await city.app(scope, receive, send)
    assert parts == []
    assert sent == []
