"""The port `Push`: what every adapter keeps to, and what a push service gets from the real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key, generate_private_key

from leeside_server.adapters import webpush
from leeside_server.adapters.memory import MemoryPush
from leeside_server.adapters.outward import is_public
from leeside_server.adapters.webpush import WebPush, encrypt
from leeside_server.ports import Push, PushGone, PushRefused, PushUnavailable, Subscription
from tests.relay.world import served
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S
from tests.support.push_service import Browser, PushService, browser_of, point, unpadded
from tests.support.services import free_port

KEY = generate_private_key(SECP256R1())
CONTACT = "mailto:duty@example.org"


@pytest_asyncio.fixture
async def service() -> AsyncIterator[PushService]:
    service = PushService()
    async with served(service.app(), direct=False) as port:
        service.audience = f"http://127.0.0.1:{port}"
        yield service


@pytest_asyncio.fixture
async def push() -> AsyncIterator[WebPush]:
    made = WebPush(KEY, ["127.0.0.1", "push.example", "*.notify.example"], CONTACT, FakeClock())
    yield made
    await made.close()


class TestEveryAdapter:
    @pytest.fixture(params=["memory", "webpush"])
    def place(self, request: pytest.FixtureRequest) -> tuple[Push, str]:
        """An adapter, and where it sends."""
        if request.param == "memory":
            self.memory = MemoryPush(b"\x04" + bytes(64))
            return self.memory, "https://push.test/"
        self.service: PushService = request.getfixturevalue("service")
        return request.getfixturevalue("push"), f"{self.service.audience}/push/"

    def answer(self, push: Push, place: str, name: str, status: int, error: Exception) -> None:
        if isinstance(push, MemoryPush):
            push.answers.setdefault(place + name, []).append(error)
        else:
            self.service.answers.setdefault(name, []).append(status)

    def got(self, push: Push) -> int:
        return len(push.sent) if isinstance(push, MemoryPush) else len(self.service.taken)

    async def test_what_is_sent_arrives(self, place: tuple[Push, str]) -> None:
        push, where = place
        assert len(push.key) == 65
        assert push.permits(where + "one")
        await push.send(Browser().subscription(where + "one"), b"words", 60)
        assert self.got(push) == 1

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (404, PushGone()),
            (410, PushGone()),
            (429, PushUnavailable()),
            (500, PushUnavailable()),
            (503, PushUnavailable()),
            (400, PushRefused(400)),
            (403, PushRefused(403)),
            (302, PushRefused(302)),
        ],
    )
    async def test_what_a_service_says_is_told(
        self, place: tuple[Push, str], status: int, error: Exception
    ) -> None:
        push, where = place
        self.answer(push, where, "one", status, error)
        with pytest.raises(type(error)):
            await push.send(Browser().subscription(where + "one"), b"words", 60)
        assert self.got(push) == 0
        await push.send(Browser().subscription(where + "one"), b"words", 60)
        assert self.got(push) == 1

    async def test_nothing_is_sent_where_it_may_not_go(self, place: tuple[Push, str]) -> None:
        push, _ = place
        elsewhere = "https://elsewhere.example/one"
        assert not push.permits(elsewhere)
        with pytest.raises(PushRefused):
            await push.send(Browser().subscription(elsewhere), b"words", 60)


async def test_a_browser_reads_it_and_the_service_knows_who_sent_it(
    push: WebPush, service: PushService
) -> None:
    browser = Browser()
    for _ in range(2):
        await push.send(browser.subscription(f"{service.audience}/push/one"), b"something is waiting", 60)
    one, two = service.taken
    assert [browser.open(taken.body) for taken in service.taken] == [b"something is waiting"] * 2
    assert one.body[:16] != two.body[:16], "a salt serves once"
    assert one.body[21:86] != two.body[21:86], "and so does a key"
    assert one.key == push.key == point(KEY.public_key())
    assert one.claims == {
        "aud": service.audience,
        "sub": CONTACT,
        "exp": FakeClock().now_ms() // 1000 + 12 * 3600,
    }
    sent = {name: one.headers[name] for name in ("ttl", "urgency", "topic", "content-encoding")}
    assert sent == {"ttl": "60", "urgency": "high", "topic": "leeside", "content-encoding": "aes128gcm"}
    assert "cookie" not in one.headers


def test_the_example_of_rfc_8291() -> None:
    """Section 5, every byte."""
    browser = browser_of("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "BTBZMqHH6r4Tts7J_aSIgg")
    own = derive_private_key(
        int.from_bytes(unpadded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), SECP256R1()
    )
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        browser.public,
        browser.auth,
        own,
        unpadded("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert body == unpadded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
        "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


class TestWhereItGoes:
    @pytest.mark.parametrize(
        ("endpoint", "permitted"),
        [
            ("https://push.example/abc", True),
            ("https://PUSH.example:443/abc?q=1", True),
            ("https://eu.notify.example/abc", True),
            ("http://127.0.0.1:9/abc", True),
            ("http://push.example/abc", False),
            ("https://push.example.evil.example/abc", False),
            ("https://evilpush.example/abc", False),
            ("https://notify.example/abc", False),
            ("https://evilnotify.example/abc", False),
            ("https://push.example@evil.example/abc", False),
            ("https://user@push.example/abc", False),
            ("https://push.example/abc#part", False),
            ("https://10.0.0.1/abc", False),
            ("https://[::1]/abc", False),
            ("https://push.example:port/abc", False),
            ("ftp://push.example/abc", False),
            ("https://push.example/a b", False),
            ("https://push.example/a\r\nHost: other", False),
            ("https://push.example\\@evil.example/", False),
            ("https:///abc", False),
            ("https://.notify.example/abc", False),
            ("https://eu..notify.example/abc", False),
            (f"https://{'a' * 64}.notify.example/abc", False),
            ("https://eu\\.notify.example/abc", False),
            ("https://eu%2f.notify.example/abc", False),
            ("", False),
        ],
    )
    def test_an_endpoint_is_not_believed(self, push: WebPush, endpoint: str, permitted: bool) -> None:
        assert push.permits(endpoint) is permitted

    def test_without_hosts_nothing_is_pushed(self) -> None:
        none = WebPush(KEY, (), "", FakeClock())
        assert none.key == b""
        assert not none.permits("https://push.example/abc")

    @pytest.mark.parametrize(
        ("address", "public"),
        [
            ("93.184.216.34", True),
            ("2606:2800:220:1:248:1893:25c8:1946", True),
            ("64:ff9b::5db8:d822", True),
            ("127.0.0.1", False),
            ("10.1.2.3", False),
            ("172.16.0.1", False),
            ("192.168.1.1", False),
            ("169.254.169.254", False),
            ("100.64.0.1", False),
            ("0.0.0.0", False),
            ("224.0.0.1", False),
            ("255.255.255.255", False),
            ("::1", False),
            ("fe80::1", False),
            ("fd00::1", False),
            ("::ffff:10.0.0.1", False),
            ("64:ff9b::a00:1", False),
            ("2002:0a00:0001::", False),
            ("ff02::1", False),
            ("fec0::1", False),
            ("::7f00:1", False),
            ("64:ff9b:1::a00:1", False),
            ("5f00::1", False),
            ("no address", False),
        ],
    )
    def test_only_public_addresses_are_connected_to(self, address: str, public: bool) -> None:
        assert is_public(address) is public

    async def test_a_name_that_leads_into_our_own_network_is_refused(
        self, push: WebPush, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The list permits the name; whoever answers for it says where it leads."""
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with pytest.raises(PushRefused):
            await push.send(Browser().subscription("https://push.example/one"), b"words", 60)
        assert asked == ["push.example"]

    async def test_names_that_nobody_answers_for_keep_nothing_else_waiting(
        self, push: WebPush, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread that looks up cannot be called back: the ones that all of the server shares must not be it."""
        monkeypatch.setattr(webpush, "SEND_S", 0.05)
        asked, answered = threading.Event(), threading.Event()

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            asked.set()
            answered.wait(2 * PATIENCE_S)
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        sent = [
            push.send(Browser().subscription(f"https://{n}.notify.example/one"), b"words", 60)
            for n in range(8)
        ]
        try:
            told = await asyncio.gather(*sent, return_exceptions=True)
            assert asked.is_set()
            assert all(isinstance(error, PushUnavailable) for error in told)
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.to_thread(lambda: "free") == "free"
        finally:
            answered.set()

    async def test_nobody_there_is_for_later(self, push: WebPush) -> None:
        with pytest.raises(PushUnavailable):
            await push.send(Browser().subscription(f"http://127.0.0.1:{free_port()}/one"), b"words", 60)

    async def test_a_service_that_says_nothing_is_given_up(
        self, push: WebPush, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webpush, "SEND_S", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(PushUnavailable):
                await push.send(Browser().subscription(f"http://127.0.0.1:{port}/one"), b"words", 60)

    async def test_an_answer_without_end_is_not_read(self, push: WebPush) -> None:
        """The status is all that is asked for."""

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()

        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        async with server, asyncio.timeout(PATIENCE_S):
            port = server.sockets[0].getsockname()[1]
            await push.send(Browser().subscription(f"http://127.0.0.1:{port}/one"), b"words", 60)
            server.close()


def test_a_subscription_shows_nothing_of_itself() -> None:
    assert "secret" not in repr(Subscription("https://push.example/secret", b"secret", b"secret"))


def test_a_record_is_as_long_as_it_says() -> None:
    body = encrypt(b"words", Browser().public, b"a" * 16, KEY, b"s" * 16)
    assert struct.unpack(">IB", body[16:21]) == (4096, 65)
