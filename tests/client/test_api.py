"""The HTTP client against a transport that plays the server: every route, every refusal, what is tried again."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast, get_type_hints

import httpx
import msgspec
import pytest

from leeside.api import (
    ATTEMPTS,
    REPEATABLE_POSTS,
    Api,
    ApiError,
    Unreachable,
    check_base_url,
    every,
    tls_context,
)
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.routes import BY_NAME, ROUTES, Route
from leeside_protocol.words import ConsultState, PersonBy, Urgency

ID = "0123456789abcdef0123456789abcdef"
Handler = Callable[[httpx.Request], httpx.Response]


class Tokens:
    """A token source that counts what it is asked for."""

    def __init__(self) -> None:
        self.current = "t1"
        self.renewals: list[str] = []

    async def token(self) -> str:
        return self.current

    async def renew(self, stale: str) -> str:
        self.renewals.append(stale)
        self.current = f"t{len(self.renewals) + 1}"
        return self.current


class Server:
    """Answers from a script, and remembers the requests and how long the client waited."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits_s: list[float] = []
        self.tokens = Tokens()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)

    def api(self, *, jitter: float = 1.0, deadline_s: float = 30.0) -> Api:
        return Api(
            "https://server.test",
            self.tokens,
            transport=httpx.MockTransport(self),
            sleep=self.sleep,
            jitter=lambda: jitter,
            deadline_s=deadline_s,
        )


def refusal(code: WireError, **more: Any) -> httpx.Response:
    told = r.ErrorAnswer(code.label, int(code), code.may_retry, **more)
    return httpx.Response(code.http_status, content=msgspec.json.encode(told))


def sample(kind: Any) -> Any:
    """A value that the type's own decoder takes, made from the type: no field is forgotten."""
    made: dict[Any, Any] = {
        r.ServerInfo: r.ServerInfo("1", ("leeside.v1",), 1, 2),
        r.Agency: r.Agency(ID, "a", b"k" * 32, 1),
        r.Enrolled: r.Enrolled(ID, ID, ID, "1234", b"k" * 32),
        r.ChallengeAnswer: r.ChallengeAnswer(b"n" * 16, 1),
        r.SessionTokens: r.SessionTokens("t", 1, "r", 2, ID, ID, ID, ()),
        r.PersonOptions: r.PersonOptions(PersonBy.PASSKEY, "sign_in", "{}"),
        r.Passkeys: r.Passkeys((r.Passkey(ID, ID, True, 1, 2),)),
        r.Passkey: r.Passkey(ID, ID, True, 1, 2),
        r.PasskeyOptions: r.PasskeyOptions("{}"),
        r.PushKey: r.PushKey(b"k" * 65),
        r.Member: r.Member(ID, (), None, "", 1, 0, 1),
        r.Members: r.Members("", ()),
        r.EnrolmentCode: r.EnrolmentCode("code", 1),
        r.Devices: r.Devices("", ()),
        r.DeviceInfo: r.DeviceInfo(ID, ID, "active", "l", "1", b"p", b"d", 1, 0, 1),
        r.Units: r.Units("", ()),
        r.Unit: r.Unit(ID, (), None, 1, 0, 1),
        r.Incidents: r.Incidents("", ()),
        r.Incident: msgspec.convert(
            {"id": ID, "priority": 1, "state": "open", "units": [], "created_ms": 1, "closed_ms": 0, "revision": 1},
            r.Incident,
        ),
        r.RecordsStates: r.RecordsStates("", ()),
        r.RecordsState: msgspec.convert(
            {
                "incident": ID, "state": "closed", "closed_ms": 1, "kept_until_ms": 2, "emptied_ms": 0,
                "holds": [{"reason": "court_order", "since_ms": 1, "device": ID}], "shred_ordered_ms": 0,
                "shredded_ms": 0,
            },
            r.RecordsState,
        ),
        r.CommitAnswer: r.CommitAnswer(b"c" * 16, 1, b"h" * 32),
        r.Channels: r.Channels("", ()),
        r.ChannelInfo: msgspec.convert(
            {
                "id": ID, "purpose": "unit", "compartment": 0, "subject": None, "epoch": 0, "commit_hash": "",
                "devices": [], "archived": False, "generation": 1, "head": 0,
            },
            r.ChannelInfo,
        ),
        r.EpochBoxes: [r.EpochBoxes(1, None, (), b"")],
        r.Blob: r.Blob(ID, 1, 2, 1, (), False),
        r.SecurityEvents: r.SecurityEvents("", ()),
        o.OnCall: o.OnCall(1, (o.OnCallRota(ID, "line", None, 2),), (ID,), (o.Warning(ID, "gap", None, 1, 2),)),
        o.Rotas: o.Rotas("", ()),
        o.Rota: o.Rota(ID, "line", (), (), (), (), None, 1, 0, 1),
        o.Feed: o.Feed("/v1/feeds/x.ics"),
        o.Schedule: o.Schedule(ID, (o.Span(1, 2, None, "gap"),)),
        o.Ladders: o.Ladders("", ()),
        o.Ladder: o.Ladder(ID, "nights", (), (), 1, 0, 1),
        o.LadderRoster: o.LadderRoster(None, (ID,), (ID,), ()),
        o.Consults: o.Consults("", ()),
        o.Consult: o.Consult(
            id=ID, incident=ID, unit=None, member=ID, device=ID, urgency=Urgency.URGENT, language="", interpreter=False,
            specialty="", state=ConsultState.PAGING, channel=ID, side=None, ladder=None, step=0, steps=1, turn=0,
            requested_ms=1, step_ms=1, next_ms=2, accepted_by=None, accepted_device=None, accepted_ms=0, joined_ms=0,
            ended_ms=0, held_until_ms=0, alarms=0, taken_by=None, targets=(), tried=(),
            me=o.ConsultMine((), None, False), revision=1,
        ),
        o.Figures: o.Figures(1, 2, "UTC", 5, o.FigureCell("all", None), (), ()),
        o.GuestLink: o.GuestLink(ID, "abcd-efgh", 1),
        o.Guests: o.Guests(()),
        o.Guest: o.Guest(ID, ID, "interpreter", "open", ID, 1, 1, None, b"", b"", b""),
        o.GuestTaken: o.GuestTaken(ID, b"root", ID, ID, ID, ID, 1, "interpreter"),
        o.Duty: o.Duty(True, True, 1, 2, True, ()),
        o.TestPage: o.TestPage(ID),
        o.PageReceipts: o.PageReceipts(ID, ()),
        bytes: b"chunk",
    }  # fmt: skip
    if kind in made:
        return made[kind]
    batch = BY_NAME["log"].response
    assert kind is batch
    assert batch is not None
    return batch(b"c" * 17, 0, 0, ())


def body_for(kind: Any) -> Any:
    """A request body of a route; its content does not matter here."""
    if kind is bytes:
        return b"data"
    fields = inspect.signature(kind).parameters
    fixed: dict[str, Any] = {"first": None, "commit": None}
    return kind(**{name: fixed.get(name, "x") for name in fields})


def answer_of(route: Route) -> Any:
    """What a route's method is to give back."""
    if route.response is None:
        return None
    if route.name == "directory":
        return (b"entry 1", b"entry 2")
    value = sample(route.response)
    return tuple(value) if route.listing else value


def encoded(route: Route) -> bytes:
    value = answer_of(route)
    if isinstance(value, bytes):
        return value
    return msgspec.msgpack.encode(value) if route.media == r.MSGPACK else msgspec.json.encode(value)


def arguments(route: Route, method: Callable[..., Any]) -> list[Any]:
    given: list[Any] = []
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name == "body":
            given.append(body_for(route.request))
        elif parameter.name == "data":
            given.append(b"data")
        elif parameter.name == "index":
            given.append(3)
        elif parameter.default is inspect.Parameter.empty:
            given.append(bytes.fromhex(ID))
    return given


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_every_route_has_a_method_of_its_name_and_type(route: Route) -> None:
    answer = httpx.Response(route.status, content=encoded(route) if route.response is not None else b"")
    server = Server(answer)
    async with server.api() as api:
        method = getattr(api, route.name)
        result = await method(*arguments(route, method))
    (request,) = server.requests
    assert request.method == route.method
    shape = route.path.replace("{id}", ID).replace("{index}", "3").replace("{address}", ID)
    assert request.url.path == shape
    assert ("authorization" in request.headers) is (route.access == "device")
    if route.request is not None:
        assert request.headers["content-type"] == route.media
        decode = msgspec.msgpack.decode if route.media == r.MSGPACK else msgspec.json.decode
        assert route.request is bytes or decode(request.content)
    assert result == answer_of(route)
    told: Any = get_type_hints(method)["return"]
    wanted: Any = type(None) if route.response is None else route.response
    assert told == (tuple[wanted, ...] if route.listing else wanted)


async def test_listing_queries_carry_cursor_and_limit() -> None:
    server = Server(httpx.Response(200, content=msgspec.json.encode(r.Devices("", ()))))
    async with server.api() as api:
        await api.devices(after="abc", limit=7, state="pending")
    assert dict(server.requests[0].url.params) == {"after": "abc", "limit": "7", "state": "pending"}


@pytest.mark.parametrize("code", [code for code in WireError if code is not WireError.TOKEN_EXPIRED])
async def test_every_refusal_becomes_an_api_error(code: WireError) -> None:
    server = Server(refusal(code, detail="why", retry_ms=20_000, sealing_code="E_SIG", head=9))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    error = caught.value
    assert error.told
    assert (error.code, error.detail, error.retry_ms, error.sealing_code, error.head) == (
        code,
        "why",
        20_000,
        "E_SIG",
        9,
    )


@pytest.mark.parametrize(
    ("number", "code"), [(177, WireError.UNAVAILABLE), (277, WireError.CONFLICT), (377, WireError.INVALID)]
)
async def test_an_unknown_number_is_judged_by_its_range(number: int, code: WireError) -> None:
    told = r.ErrorAnswer("newer", number, False, retry_ms=60_000)
    server = Server(httpx.Response(400, content=msgspec.json.encode(told)))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, WireError.UNAUTHENTICATED),
        (404, WireError.NOT_FOUND),
        (413, WireError.TOO_LARGE),
        (429, WireError.RATE_LIMITED),
        (502, WireError.UNAVAILABLE),
        (302, WireError.UNSUPPORTED),
        (204, WireError.UNSUPPORTED),
    ],
)
async def test_a_proxys_own_page_is_judged_by_its_status(status: int, code: WireError) -> None:
    server = Server(httpx.Response(status, content=b"<html>secret", headers={"retry-after": "3600"}))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is code
    assert "secret" not in str(caught.value)
    assert caught.value.retry_ms == 3_600_000
    assert not caught.value.told


async def test_an_answer_in_a_broken_encoding_is_as_good_as_none() -> None:
    async def garbled() -> AsyncIterator[bytes]:
        yield b"not gzip"

    server = Server(httpx.Response(200, headers={"content-encoding": "gzip"}, content=garbled()))
    async with server.api() as api:
        with pytest.raises(Unreachable) as caught:
            await api.agency()
    assert caught.value.sent


async def test_an_answer_that_cannot_be_read_says_so_without_repeating_it() -> None:
    server = Server(httpx.Response(200, content=b'{"id": "canary"}'))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is WireError.UNSUPPORTED
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_an_idempotent_request_is_tried_again_with_growing_full_jitter() -> None:
    server = Server(
        refusal(WireError.BUSY),
        refusal(WireError.UNAVAILABLE),
        httpx.ReadTimeout("slow"),
        httpx.Response(200, content=msgspec.json.encode(sample(r.Agency))),
    )
    async with server.api() as api:
        assert await api.agency() == sample(r.Agency)
    assert server.waits_s == [1.0, 2.0, 4.0]


async def test_jitter_goes_down_to_nothing_but_never_below_what_the_server_asks() -> None:
    server = Server(
        refusal(WireError.BUSY),
        refusal(WireError.BUSY, retry_ms=1_500),
        httpx.Response(200, content=msgspec.json.encode(sample(r.Agency))),
    )
    async with server.api(jitter=0.0) as api:
        await api.agency()
    assert server.waits_s == [0.0, 1.5]


async def test_it_gives_up_after_a_few_attempts() -> None:
    server = Server(refusal(WireError.BUSY))
    async with server.api() as api:
        with pytest.raises(ApiError):
            await api.agency()
    assert len(server.requests) == ATTEMPTS


async def test_a_long_pause_is_left_to_the_caller() -> None:
    server = Server(refusal(WireError.RATE_LIMITED, retry_ms=60_000))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert len(server.requests) == 1
    assert caught.value.retry_ms == 60_000


POSTS = [route for route in ROUTES if route.method in {"POST", "PATCH"}]


@pytest.mark.parametrize("route", POSTS, ids=lambda route: route.name)
async def test_a_request_that_may_have_been_done_is_repeated_only_when_that_is_harmless(route: Route) -> None:
    server = Server(httpx.ReadTimeout("lost"))
    async with server.api() as api:
        method = getattr(api, route.name)
        with pytest.raises(Unreachable) as caught:
            await method(*arguments(route, method))
    assert caught.value.sent
    assert len(server.requests) == (ATTEMPTS if route.name in REPEATABLE_POSTS else 1)


def test_what_serves_once_is_never_repeated() -> None:
    assert not REPEATABLE_POSTS & {
        "refresh",
        "redeem",
        "sign_in",
        "post_directory",
        "create_member",
    }


async def test_a_request_that_never_left_is_tried_again_whatever_it_is() -> None:
    server = Server(
        httpx.ConnectError("refused"),
        httpx.Response(201, content=msgspec.json.encode(sample(r.Member))),
    )
    async with server.api() as api:
        await api.create_member(r.NewMember(()))
    assert len(server.requests) == 2


async def test_an_expired_token_is_renewed_once_and_the_request_goes_again() -> None:
    server = Server(
        refusal(WireError.TOKEN_EXPIRED),
        httpx.Response(201, content=msgspec.json.encode(sample(r.Member))),
    )
    async with server.api() as api:
        await api.create_member(r.NewMember(()))
    assert server.tokens.renewals == ["t1"]
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer t1", "Bearer t2"]


async def test_a_token_refused_twice_is_an_error() -> None:
    server = Server(refusal(WireError.TOKEN_EXPIRED))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is WireError.TOKEN_EXPIRED
    assert len(server.requests) == 2


async def test_without_a_token_source_nothing_is_sent() -> None:
    server = Server(refusal(WireError.BUSY))
    async with Api("https://server.test", transport=httpx.MockTransport(server)) as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is WireError.UNAUTHENTICATED
    assert not server.requests


async def test_an_answer_without_end_is_refused() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    server = Server(httpx.Response(200, content=endless()))
    async with server.api() as api:
        with pytest.raises(ApiError) as caught:
            await api.agency()
    assert caught.value.code is WireError.TOO_LARGE


async def test_a_silent_server_meets_the_deadline_and_cancelling_is_not_swallowed() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with Api(
        "https://server.test", Tokens(), transport=httpx.MockTransport(never), deadline_s=0.001
    ) as api:
        with pytest.raises(Unreachable):
            await api.create_member(r.NewMember(()))
    async with Api("https://server.test", Tokens(), transport=httpx.MockTransport(never)) as api:
        task = asyncio.ensure_future(api.agency())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_redirects_are_not_followed_so_that_no_token_goes_elsewhere() -> None:
    server = Server(httpx.Response(307, headers={"location": "https://elsewhere.test/"}))
    async with server.api() as api:
        with pytest.raises(ApiError):
            await api.agency()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url", ["https://a.test", "https://a.test:8443/", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_addresses_that_are_taken(url: str) -> None:
    assert check_base_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://a.test", "http://10.0.0.1", "ftp://a.test", "a.test", "", "http://127.0.0.1.a.test"]
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_base_url(url)
    assert caught.value.code is WireError.INVALID


def test_tls_is_always_verified(tmp_path: Path) -> None:
    assert tls_context(None).verify_mode is ssl.CERT_REQUIRED
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with pytest.raises(ApiError):
        tls_context(careless)
    not_pem = tmp_path / "ca.pem"
    not_pem.write_text("nothing")
    for path in (not_pem, tmp_path / "missing.pem"):
        with pytest.raises(ApiError):
            tls_context(path)


async def test_every_follows_the_cursor_to_the_end_and_not_beyond() -> None:
    member = cast("r.Member", sample(r.Member))
    pages = {"": r.Members("a", (member,)), "a": r.Members("", (member, member))}

    async def fetch(after: str) -> r.Members:
        return pages[after]

    assert len(await every(fetch)) == 3
    count = 0

    async def endless(after: str) -> r.Members:
        nonlocal count
        count += 1
        return r.Members(str(count), ())

    with pytest.raises(ApiError) as caught:
        await every(endless)
    assert caught.value.code is WireError.TOO_LARGE
