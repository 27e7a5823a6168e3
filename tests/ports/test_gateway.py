"""The port `Gateway`: what every adapter keeps to, and what a gateway's author gets from the webhook."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from deploy.devtool.place import ROOT
from leeside_server.adapters import webhook
from leeside_server.adapters.memory import MemoryGateway
from leeside_server.adapters.webhook import Webhook, read_secret, signature
from leeside_server.ports import Calling, Gateway, GatewayRefused, GatewayUnavailable
from tests.relay.world import served
from tests.support.clock import FakeClock
from tests.support.gateway import GatewayStub

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PAGE = bytes(range(16)).hex()
ONE = Calling("msg_1", "voice", "+15550100", PAGE, "A consult is waiting.")


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[tuple[GatewayStub, str]]:
    gateway = GatewayStub(SECRET, FakeClock().now_ms() // 1000)
    async with served(gateway.app(), direct=False) as port:
        yield gateway, f"http://127.0.0.1:{port}/take"


@pytest_asyncio.fixture
async def hook(stub: tuple[GatewayStub, str]) -> AsyncIterator[Webhook]:
    made = Webhook(stub[1], read_secret(SECRET), FakeClock())
    yield made
    await made.close()


class TestEveryAdapter:
    @pytest.fixture(params=["memory", "webhook"])
    def gateway(self, request: pytest.FixtureRequest) -> Gateway:
        if request.param == "memory":
            return MemoryGateway(on=True)
        self.stub: GatewayStub = request.getfixturevalue("stub")[0]
        return request.getfixturevalue("hook")  # type: ignore[no-any-return]

    def answer(self, gateway: Gateway, status: int, error: Exception) -> None:
        if isinstance(gateway, MemoryGateway):
            gateway.answers.setdefault(ONE.to, []).append(error)
        else:
            self.stub.answers.append(status)

    def got(self, gateway: Gateway) -> int:
        return len(gateway.sent) if isinstance(gateway, MemoryGateway) else len(self.stub.taken)

    async def test_what_is_sent_arrives(self, gateway: Gateway) -> None:
        assert gateway.on
        await gateway.send(ONE)
        assert self.got(gateway) == 1

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (429, GatewayUnavailable()),
            (500, GatewayUnavailable()),
            (503, GatewayUnavailable()),
            (400, GatewayRefused(400)),
            (401, GatewayRefused(401)),
            (404, GatewayRefused(404)),
            (302, GatewayRefused(302)),
        ],
    )
    async def test_what_a_gateway_says_is_told(self, gateway: Gateway, status: int, error: Exception) -> None:
        self.answer(gateway, status, error)
        with pytest.raises(type(error)):
            await gateway.send(ONE)
        assert self.got(gateway) == 0
        await gateway.send(ONE)
        assert self.got(gateway) == 1


class TestWebhook:
    async def test_a_gateway_verifies_it_and_reads_no_more_than_it_needs(
        self, hook: Webhook, stub: tuple[GatewayStub, str]
    ) -> None:
        await hook.send(ONE)
        assert stub[0].taken == [
            {
                "id": "msg_1",
                "kind": "voice",
                "to": "+15550100",
                "page": PAGE,
                "text": "A consult is waiting.",
            }
        ]
        (headers,) = stub[0].headers
        assert headers["idempotency-key"] == headers["webhook-id"] == "msg_1"
        assert "cookie" not in headers

    async def test_a_retry_is_known_by_its_id(self, hook: Webhook, stub: tuple[GatewayStub, str]) -> None:
        await hook.send(ONE)
        await hook.send(ONE)
        assert (len(stub[0].taken), stub[0].repeats) == (1, 1)

    async def test_one_that_is_at_work_on_the_same_has_taken_it(
        self, hook: Webhook, stub: tuple[GatewayStub, str]
    ) -> None:
        stub[0].answers.append(409)
        await hook.send(ONE)

    async def test_with_another_secret_it_is_not_believed(self, stub: tuple[GatewayStub, str]) -> None:
        other = Webhook(stub[1], bytes(32), FakeClock())
        with pytest.raises(GatewayRefused) as refused:
            await other.send(ONE)
        assert refused.value.status == 401
        await other.close()

    async def test_nobody_there_and_nobody_who_answers_are_for_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhook, "SEND_S", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/take"
            hook = Webhook(url, bytes(32), FakeClock())
            with pytest.raises(GatewayUnavailable):
                await hook.send(ONE)
        with pytest.raises(GatewayUnavailable):
            await hook.send(ONE)
        await hook.close()

    @pytest.mark.parametrize("url", ["http://gateway.example/take", "https://user@gateway.example/take"])
    async def test_it_goes_nowhere_in_the_open(self, url: str) -> None:
        hook = Webhook(url, bytes(32), FakeClock())
        with pytest.raises(GatewayRefused):
            await hook.send(ONE)
        await hook.close()

    async def test_a_name_that_leads_into_our_own_network_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        hook = Webhook("https://gateway.example/take", bytes(32), FakeClock())
        with pytest.raises(GatewayRefused):
            await hook.send(ONE)
        await hook.close()

    def test_a_message_shows_nothing_of_itself(self) -> None:
        assert "555" not in repr(ONE)


class TestSecret:
    def test_it_is_read_as_standard_webhooks_writes_it(self) -> None:
        assert read_secret(SECRET) == bytes(range(32))

    @pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", SECRET[6:], "whsec_!!!!", SECRET + "é"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            read_secret(text)


@pytest.mark.parametrize("page", ["docs/operators-guide.md", "protocol/spec/08-consult.md"])
def test_the_example_that_authors_check_their_own_against_is_right(page: str) -> None:
    """Secret, id, time and body of the example give its signature."""
    text = (ROOT / page).read_text()
    found = {
        name: re.search(rf"^\s*{name}: (.+)$", text, re.MULTILINE)
        for name in ("secret", "webhook-id", "webhook-timestamp", "webhook-signature", "body")
    }
    missing = [name for name, match in found.items() if match is None]
    assert not missing
    value = {name: match[1].strip() for name, match in found.items() if match is not None}
    made = signature(
        read_secret(value["secret"]),
        value["webhook-id"],
        value["webhook-timestamp"],
        value["body"].encode(),
    )
    assert made == value["webhook-signature"]
