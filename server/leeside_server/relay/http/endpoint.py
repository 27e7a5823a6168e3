"""From an HTTP request to a handler and back: limits, authentication, decoding, refusals, headers.

Nothing that came from outside is repeated in an answer or a log line, and no failure shows more than its number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.limits import BLOB_CHUNK_BYTES, COMMIT_BYTES, JSON_BODY_BYTES
from leeside_protocol.routes import Route
from leeside_server.core.identity import NO_AGENCY, DeviceRow, MemberRow, check_device, check_member
from leeside_server.core.rows import KINDS, read
from leeside_server.core.writes import Audit, Item
from leeside_server.log import get_logger
from leeside_server.ports import StoreFull, StoreUnavailable
from leeside_server.relay.http.call import Actor, Call
from leeside_server.relay.http.host import Host
from leeside_server.relay.http.limits import RequestLimits
from leeside_server.relay.http.refusals import UNEXPECTED, Refused, answer_of, encode, refusal
from leeside_server.relay.http.settings import HttpSettings
from leeside_server.relay.sources import source_of
from leeside_server.relay.tokens import Claims

Handler = Callable[[Call], Awaitable[object]]
OCTETS: Final = "application/octet-stream"
_log = get_logger("leeside.http")

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TLS_HEADERS: Final = {"Strict-Transport-Security": "max-age=31536000"}
_BODY_BYTES: Final = {r.JSON: JSON_BODY_BYTES, r.MSGPACK: COMMIT_BYTES, OCTETS: BLOB_CHUNK_BYTES}
_pack: Final = msgspec.msgpack.Encoder().encode


class Reply(msgspec.Struct, frozen=True):
    """A handler's answer with headers of its own."""

    content: Any
    headers: Mapping[str, str]


class Endpoint:
    """One operation of the route table."""

    def __init__(
        self, route: Route, handler: Handler, host: Host, settings: HttpSettings, limits: RequestLimits
    ) -> None:
        self.route: Final = route
        self._handler = handler
        self._host = host
        self._settings = settings
        self._limits = limits
        self._decode = _decoder(route)

    async def answer(self, request: Request) -> Response:
        """The answer to a request; never raises but when it is cancelled or the client is gone."""
        try:
            reply = await self._carry_out(request)
        except (asyncio.CancelledError, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - every failure becomes an answer; ours are logged by class alone
            return self._refusal(error)
        return self._success(reply)

    async def _carry_out(self, request: Request) -> object:
        now_s = self._host.clock.monotonic_s()
        source = source_of(
            request.client.host if request.client else None,
            request.headers.getlist("x-forwarded-for"),
            self._settings.trusted_proxies,
        )
        claims: Claims | None = None
        try:
            self._limits.check_source(source, self.route.name, now_s)
            if self.route.access == "device":
                claims = await self._authenticate(request)
                self._limits.check_device(claims.device, now_s)
        except Refused as error:
            await self._record_limit(error, now_s)
            raise
        data = b"" if self.route.request is None else await self._read(request)
        # Not before the body is whole: who sends it slowly must not be what it was when it began.
        actor = None if claims is None else await self._actor(claims)
        content = None if self.route.request is None else self._decode(data)
        call = Call(
            host=self._host,
            settings=self._settings,
            limits=self._limits,
            route=self.route,
            params=request.path_params,
            query=dict(request.query_params),
            content=content,
            source=source,
            now_ms=self._host.clock.now_ms(),
            known=actor,
        )
        return await self._handler(call)

    async def _authenticate(self, request: Request) -> Claims:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProtocolError(WireError.UNAUTHENTICATED, "sign in first")
        claims = self._host.tokens.verify(token, self._host.clock.now_ms())
        await self._host.access.load(claims.agency)
        self._check_access(claims)
        return claims

    def _check_access(self, claims: Claims) -> None:
        if self._host.access.is_out(claims.agency, claims.device):
            raise ProtocolError(WireError.REVOKED, "this device was revoked")
        if self._host.access.is_session_out(claims.agency, claims.session):
            raise ProtocolError(WireError.UNAUTHENTICATED, "this session has ended")

    async def _actor(self, claims: Claims) -> Actor:
        """Who asks. A change is decided on the store's newest rows, not on what the token said minutes ago."""
        self._check_access(claims)
        roles = claims.roles
        if self.route.method != "GET":
            store = self._host.store
            device = await store.get(claims.agency, KINDS[DeviceRow], claims.device)
            member = await store.get(claims.agency, KINDS[MemberRow], claims.member)
            if device is None or member is None:
                raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
            check_device(read(DeviceRow, device).row)
            roles = check_member(read(MemberRow, member).row).roles
        return Actor(claims.agency, claims.member, claims.device, claims.session, roles)

    async def _record_limit(self, error: Refused, now_s: float) -> None:
        if error.code is not WireError.RATE_LIMITED or not self._limits.report(self.route.name, now_s):
            return
        audit = Audit("rate_limited", b"", b"", self.route.name)
        # Where the store is away or full, it is still the rate that is the answer.
        with contextlib.suppress(StoreUnavailable, StoreFull):
            await self._host.write([Item(NO_AGENCY, self._host.clock.now_ms(), (audit,))])

    async def _read(self, request: Request) -> bytes:
        """The whole body, bounded while it is read and in time."""
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != self.route.media:
            raise ProtocolError(WireError.UNSUPPORTED, f"send {self.route.media}")
        most = _BODY_BYTES[self.route.media]
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_deadline_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most:
                        raise ProtocolError(WireError.TOO_LARGE, f"a body has {most} bytes at most")
        except TimeoutError:
            raise Refused(WireError.BUSY, "the body came too slowly", retry_ms=1) from None
        return bytes(body)

    def _success(self, reply: object) -> Response:
        headers: Mapping[str, str] = {}
        if isinstance(reply, Reply):
            headers = reply.headers
            reply = reply.content
        if self.route.response is None:
            return self._respond(b"", None, self.route.status, headers)
        if self.route.media == r.JSON:
            data = encode(reply)
        elif self.route.media == r.MSGPACK:
            data = _pack(reply)
        else:
            assert isinstance(reply, bytes)
            data = reply
        return self._respond(data, self.route.media, self.route.status, headers)

    def _refusal(self, error: Exception) -> Response:
        answer = answer_of(error)
        if answer is None:
            _log.error("request_failed", route=self.route.name, error=type(error).__name__, exc_info=error)
            answer = UNEXPECTED
        headers: dict[str, str] = {}
        if answer.retry_ms:
            headers["Retry-After"] = str(-(-answer.retry_ms // 1000))
        status = WireError(answer.number).http_status
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return self._respond(encode(answer), r.JSON, status, headers)

    def _respond(self, data: bytes, media: str | None, status: int, headers: Mapping[str, str]) -> Response:
        return Response(data, status, {**headers_of(self._settings), **headers}, media_type=media)


def headers_of(settings: HttpSettings) -> Mapping[str, str]:
    """What stands on every answer of the HTTP half, whatever it is."""
    return {**_HEADERS, **_TLS_HEADERS} if settings.tls else _HEADERS


class Resource:
    """All operations of one path, as an ASGI application: the method chooses, others get 405."""

    def __init__(self, endpoints: Mapping[str, Endpoint], settings: HttpSettings) -> None:
        self._endpoints: Final = endpoints
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        endpoint = self._endpoints.get(request.method)
        if endpoint is None:
            response = refuse_method(tuple(self._endpoints), self._settings)
        else:
            try:
                response = await endpoint.answer(request)
            except ClientDisconnect:
                # Gone in the middle of its request: nobody is left to be answered, and nothing of ours failed.
                return
        await response(scope, receive, send)


def refuse_method(allowed: tuple[str, ...], settings: HttpSettings) -> Response:
    """405 in the shape of every refusal."""
    answer = refusal(WireError.UNSUPPORTED, "this path has no such method")
    headers = {**headers_of(settings), "Allow": ", ".join(sorted(allowed))}
    return Response(encode(answer), 405, headers, media_type=r.JSON)


def nothing_here(settings: HttpSettings) -> Response:
    """404 in the shape of every refusal."""
    return Response(encode(refusal(WireError.NOT_FOUND)), 404, headers_of(settings), media_type=r.JSON)


def _decoder(route: Route) -> Callable[[bytes], object]:
    kind: Any = route.request
    if route.media == OCTETS:
        return lambda data: data
    decode: Callable[[bytes], object] = (
        msgspec.json.Decoder(kind).decode if route.media == r.JSON else msgspec.msgpack.Decoder(kind).decode
    )

    def typed(data: bytes) -> object:
        try:
            return decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            # The decoder's text repeats input.
            raise ProtocolError(
                WireError.INVALID, "the body does not have the shape of this request"
            ) from None

    return typed
