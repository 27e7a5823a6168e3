"""Staying signed in: who asks for a token gets one, and no refresh secret is ever used twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from leeside.api import Api, ApiError, Unreachable
from leeside.session import FRESH_S, Session
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.encoding import pae
from leeside_protocol.sealing.public.signed import verify_raw

NOW = 1_800_000_000_000


class Memory:
    """A keystore in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    def put(self, name: str, value: bytes) -> None:
        self.values[name] = value

    def delete(self, name: str) -> None:
        self.values.pop(name, None)


class Server:
    """Signs in and refreshes as the real one does: a refresh secret serves once."""

    def __init__(self, public: bytes) -> None:
        self.public = public
        self.issued = 0
        self.live: set[str] = set()
        self.spent: set[str] = set()
        self.calls: list[str] = []
        self.fail: dict[str, ApiError | Exception] = {}
        self.nonce = b"n" * 16

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path}"
        self.calls.append(call)
        failure = self.fail.pop(call, None)
        if isinstance(failure, ApiError):
            told = r.ErrorAnswer(failure.code.label, int(failure.code), failure.code.may_retry)
            return httpx.Response(failure.code.http_status, content=msgspec.json.encode(told))
        if failure is not None:
            raise failure
        match call:
            case "POST /v1/challenges":
                return httpx.Response(201, content=msgspec.json.encode(r.ChallengeAnswer(self.nonce, 1)))
            case "POST /v1/sessions":
                asked = msgspec.json.decode(request.content, type=r.SessionRequest)
                device = bytes.fromhex(asked.device)
                verify_raw(self.public, asked.signature, pae(b"leeside1 session", self.nonce, device))
                return self.tokens()
            case "POST /v1/sessions/refresh":
                secret = msgspec.json.decode(request.content, type=r.RefreshRequest).refresh
                assert secret not in self.spent, "a refresh secret was used twice"
                self.spent.add(secret)
                return self.tokens()
            case _:
                assert call == "DELETE /v1/sessions/current"
                return httpx.Response(204)

    def tokens(self) -> httpx.Response:
        self.issued += 1
        made = r.SessionTokens(
            f"token{self.issued}", 0, f"refresh{self.issued}", NOW + 10**9, "0" * 32, "0" * 32, "0" * 32, ()
        )
        return httpx.Response(201, content=msgspec.json.encode(made))


class Device:
    """A device with its clock, its keystore and a server."""

    def __init__(self, tmp_path: Path) -> None:
        self.keys = DeviceKeys.create(lambda n: bytes(range(n)), NOW)
        self.server = Server(self.keys.identity.public)
        self.memory = Memory()
        self.lock = tmp_path / "session.lock"
        self.now_ms = NOW

    def session(self, url: str = "https://server.test") -> Session:
        api = Api(url, transport=httpx.MockTransport(self.server))
        return Session(
            api,
            self.keys.device_id,
            self.keys.identity.sign_raw,
            keystore=self.memory,
            lock_path=self.lock,
            now_ms=lambda: self.now_ms,
        )


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


async def test_it_signs_in_once_and_uses_the_token_while_it_is_fresh(device: Device) -> None:
    session = device.session()
    assert [await session.token() for _ in range(3)] == ["token1"] * 3
    assert device.server.calls == ["POST /v1/challenges", "POST /v1/sessions"]


async def test_it_refreshes_when_the_token_gets_old(device: Device) -> None:
    session = device.session()
    await session.token()
    device.now_ms += FRESH_S * 1000
    assert await session.token() == "token2"
    device.now_ms += FRESH_S * 1000
    assert await session.token() == "token3"
    assert device.server.spent == {"refresh1", "refresh2"}


async def test_many_who_ask_at_once_share_one_refresh(device: Device) -> None:
    session = device.session()
    await session.token()
    device.now_ms += FRESH_S * 1000
    assert set(await asyncio.gather(*(session.token() for _ in range(10)))) == {"token2"}
    assert len(device.server.spent) == 1


async def test_two_processes_of_a_profile_share_the_session(device: Device) -> None:
    one, two = device.session(), device.session()
    assert await one.token() == await two.token() == "token1"
    device.now_ms += FRESH_S * 1000
    assert set(await asyncio.gather(one.token(), two.token())) == {"token2"}


async def test_renewing_does_not_repeat_what_another_process_did(device: Device) -> None:
    one, two = device.session(), device.session()
    await one.token()
    await two.token()
    assert await one.renew("token1") == "token2"
    assert await two.renew("token1") == "token2"
    assert await two.renew("token2") == "token3"


@pytest.mark.parametrize("code", [WireError.UNAUTHENTICATED, WireError.EXPIRED, WireError.TOKEN_EXPIRED])
async def test_a_session_that_is_over_is_replaced_by_signing_in(device: Device, code: WireError) -> None:
    session = device.session()
    await session.token()
    device.now_ms += FRESH_S * 1000
    device.server.fail["POST /v1/sessions/refresh"] = ApiError(code)
    assert await session.token() == "token2"


@pytest.mark.parametrize("code", [WireError.REVOKED, WireError.PENDING])
async def test_a_device_that_is_refused_is_told(device: Device, code: WireError) -> None:
    device.server.fail["POST /v1/sessions"] = ApiError(code)
    with pytest.raises(ApiError) as caught:
        await device.session().token()
    assert caught.value.code is code


async def test_a_refresh_whose_answer_was_lost_is_not_used_again(device: Device) -> None:
    session = device.session()
    await session.token()
    device.now_ms += FRESH_S * 1000
    device.server.fail["POST /v1/sessions/refresh"] = httpx.ReadTimeout("lost")
    with pytest.raises(Unreachable):
        await session.token()
    assert await session.token() == "token2"
    assert device.server.calls[-1] == "POST /v1/sessions"


async def test_a_refresh_that_was_cancelled_under_way_is_not_used_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link broke while its token was renewed. A second use would end the session, and look like a thief's."""
    session = device.session()
    await session.token()
    device.now_ms += FRESH_S * 1000
    refresh, answered = Api.refresh, asyncio.Event()

    async def answered_to_nobody(api: Api, body: r.RefreshRequest) -> r.SessionTokens:
        await refresh(api, body)
        answered.set()
        await asyncio.Event().wait()
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(Api, "refresh", answered_to_nobody)
        asking = asyncio.ensure_future(session.token())
        await answered.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert device.server.spent == {"refresh1"}
    assert await device.session().token() == "token3"
    assert device.server.calls[-1] == "POST /v1/sessions"


async def test_a_refresh_secret_that_is_over_is_not_sent(device: Device) -> None:
    session = device.session()
    await session.token()
    device.now_ms = NOW + 10**9
    assert await session.token() == "token2"
    assert not device.server.spent


async def test_a_session_of_another_server_is_not_used(device: Device) -> None:
    await device.session().token()
    await device.session("https://other.test").token()
    assert device.server.calls.count("POST /v1/sessions") == 2


async def test_a_stored_session_that_cannot_be_read_is_replaced(device: Device) -> None:
    device.memory.put("session", b"\xc1")
    assert await device.session().token() == "token1"


async def test_signing_out_ends_it_here_and_there(device: Device) -> None:
    session = device.session()
    await session.token()
    await session.sign_out()
    assert device.server.calls[-1] == "DELETE /v1/sessions/current"
    assert device.memory.get("session") is None
    await session.sign_out()
    assert device.server.calls.count("DELETE /v1/sessions/current") == 1


async def test_signing_out_with_a_token_that_is_over_is_no_error(device: Device) -> None:
    session = device.session()
    await session.token()
    device.server.fail["DELETE /v1/sessions/current"] = ApiError(WireError.TOKEN_EXPIRED)
    await session.sign_out()
    assert device.memory.get("session") is None
