"""Every HTTP operation of a Leeside server, typed: one method per route of `leeside_protocol.routes`.

An `Api` owns one connection pool; use it as an async context manager. Requests carry a session token from a
`TokenSource` where the route wants one. What goes wrong is always an `ApiError` with the error's number from
spec 90; a server that cannot be reached is `Unreachable`, which is one too.

Trying again: a request that never left this machine is tried again whatever it is. One that may have arrived
is tried again only when it is idempotent *and* the error says that the same request may succeed later, with
full jitter, and never sooner than the server asked. `refresh` is never repeated: a refresh secret used
twice ends the session, so a lost answer is healed by signing in again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from leeside.errors import LeesideError
from leeside.oncall import Id, OnCallCalls
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.messages import Batch
from leeside_protocol.routes import BY_NAME, Route

__all__ = ["Api", "ApiError", "Id", "TokenSource", "Unreachable", "every"]

DEADLINE_S: Final = 30.0
"""How long one attempt may take, from the first byte sent to the last one received."""
ATTEMPTS: Final = 4
BACKOFF_BASE_S: Final = 0.5
BACKOFF_CAP_S: Final = 8.0
ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Largest answer that is read: 500 epochs with their box hashes for 200 devices stay well below."""
PAGES: Final = 2_000
"""Pages that `every` follows before it gives a server up that never ends a listing."""

REPEATABLE_POSTS: Final = frozenset(
    {
        "challenge",
        "create_agency",
        "create_channel",
        "open_incident",
        "create_consult",
        "post_commit",
        "revoke_device",
        "archive_channel",
        "passkey_options",
        "person_options",
        "hold_records",
        "release_records",
        "shred_records",
        "take_guest_link",
        "page_receipt",
    }
)
"""POSTs that a server recognises when they come twice: they carry their own ids or hashes, or change nothing."""

_T = TypeVar("_T")


class ApiError(LeesideError):
    """A request was refused, or could not be carried out.

    `code` is a number of spec 90 (its `label` is the name); `detail` a sentence for people; `retry_ms` how long
    the server asks to wait; `sealing_code` the broken sealing rule for `sealing_refused`; `head` the current
    head for `conflict` and `stale`. `told` is false when no Leeside server said so: a proxy's own page was judged by its
    status. Nothing that cannot be undone follows from that, for a proxy says 404 in the middle of a deployment.
    """

    def __init__(
        self,
        code: WireError,
        detail: str = "",
        retry_ms: int = 0,
        sealing_code: str = "",
        head: int = 0,
        *,
        told: bool = True,
    ) -> None:
        super().__init__(f"{code.label}: {detail}" if detail else code.label)
        self.code = code
        self.detail = detail
        self.retry_ms = retry_ms
        self.sealing_code = sealing_code
        self.head = head
        self.told = told


class Unreachable(ApiError):
    """No answer came: whether the request was carried out is not known, unless `sent` is false."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(WireError.UNAVAILABLE, detail)
        self.sent = sent


class TokenSource(Protocol):
    """Where session tokens come from."""

    async def token(self) -> str:
        """A token that should still be good; signs in or refreshes when there is none."""
        ...

    async def renew(self, stale: str) -> str:
        """A newer token, because the server refused `stale` as expired."""
        ...


Sleep = Callable[[float], Awaitable[None]]


class Api(OnCallCalls):
    """A server's HTTP half.

    `base_url` is https, or http on this machine only: a token never travels in the clear. `tokens` may be None
    for the open routes. `verify` is a CA file, or a TLS context of the caller's; by default the system's
    authorities. Verification cannot be switched off. `transport`, `sleep` and `jitter` are for tests.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: Path | ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.base_url: Final = check_base_url(base_url, anywhere=transport is not None)
        self.tokens = tokens
        self.transport: Final = transport
        self.verify: Final = verify
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._jitter = jitter
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            transport=transport,
            verify=tls_context(verify) if transport is None else True,
            timeout=httpx.Timeout(deadline_s, connect=min(10.0, deadline_s)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            follow_redirects=False,
            headers={"User-Agent": "leeside-python"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool. Requests under way fail with `Unreachable`."""
        await self._client.aclose()

    # ---- the server, agencies, enrolment, sessions

    async def server(self) -> r.ServerInfo:
        return await self._one("server", r.ServerInfo)

    async def create_agency(self, body: r.NewAgency) -> r.Agency:
        return await self._one("create_agency", r.Agency, body=body)

    async def redeem(self, body: r.Redeem) -> r.Enrolled:
        return await self._one("redeem", r.Enrolled, body=body)

    async def oidc_enrolment(self, body: r.TicketPost) -> r.EnrolmentCode:
        return await self._one("oidc_enrolment", r.EnrolmentCode, body=body)

    async def challenge(self, body: r.ChallengeRequest) -> r.ChallengeAnswer:
        return await self._one("challenge", r.ChallengeAnswer, body=body)

    async def sign_in(self, body: r.SessionRequest) -> r.SessionTokens:
        return await self._one("sign_in", r.SessionTokens, body=body)

    async def person_options(self, body: r.SessionRequest) -> r.PersonOptions:
        return await self._one("person_options", r.PersonOptions, body=body)

    async def refresh(self, body: r.RefreshRequest) -> r.SessionTokens:
        return await self._one("refresh", r.SessionTokens, body=body)

    async def sign_out(self) -> None:
        await self._nothing("sign_out")

    async def agency(self) -> r.Agency:
        return await self._one("agency", r.Agency)

    async def change_agency(self, body: r.AgencyChange) -> r.Agency:
        return await self._one("change_agency", r.Agency, body=body)

    async def me(self) -> r.Member:
        return await self._one("me", r.Member)

    # ---- members and devices

    async def members(self, after: str = "", limit: int = 100) -> r.Members:
        return await self._one("members", r.Members, query=_page(after, limit))

    async def create_member(self, body: r.NewMember) -> r.Member:
        return await self._one("create_member", r.Member, body=body)

    async def member(self, member: Id) -> r.Member:
        return await self._one("member", r.Member, path={"id": member})

    async def change_member(self, member: Id, body: r.MemberChange) -> r.Member:
        return await self._one("change_member", r.Member, path={"id": member}, body=body)

    async def create_enrolment(self, member: Id, body: r.NewEnrolment) -> r.EnrolmentCode:
        return await self._one("create_enrolment", r.EnrolmentCode, path={"id": member}, body=body)

    async def devices(self, after: str = "", limit: int = 100, state: str = "") -> r.Devices:
        query = _page(after, limit) | ({"state": state} if state else {})
        return await self._one("devices", r.Devices, query=query)

    async def device(self, device: Id) -> r.DeviceInfo:
        return await self._one("device", r.DeviceInfo, path={"id": device})

    async def revoke_device(self, device: Id) -> r.DeviceInfo:
        return await self._one("revoke_device", r.DeviceInfo, path={"id": device})

    async def put_device_key(self, body: r.PutDeviceKey) -> r.DeviceInfo:
        return await self._one("put_device_key", r.DeviceInfo, body=body)

    # ---- the person at this device, and how it is told something

    async def passkeys(self) -> r.Passkeys:
        return await self._one("passkeys", r.Passkeys)

    async def passkey_options(self) -> r.PasskeyOptions:
        return await self._one("passkey_options", r.PasskeyOptions)

    async def add_passkey(self, body: r.PasskeyPost) -> r.Passkey:
        return await self._one("add_passkey", r.Passkey, body=body)

    async def delete_passkey(self, passkey: Id) -> None:
        await self._nothing("delete_passkey", path={"id": passkey})

    async def forget_passkeys(self, member: Id) -> None:
        await self._nothing("forget_passkeys", path={"id": member})

    async def push_key(self) -> r.PushKey:
        return await self._one("push_key", r.PushKey)

    async def put_push(self, body: r.PushSubscription) -> None:
        await self._nothing("put_push", body=body)

    async def delete_push(self) -> None:
        await self._nothing("delete_push")

    # ---- the directory

    async def directory(self, after: int = 0, limit: int = 500) -> tuple[bytes, ...]:
        """Signed entries with a seq above `after`, in order, byte for byte; empty when there are none."""
        return await self._many("directory", bytes, query=_page(str(after), limit))

    async def post_directory(self, body: r.DirectoryPost) -> None:
        await self._nothing("post_directory", body=body)

    # ---- units and incidents

    async def units(self, after: str = "", limit: int = 100) -> r.Units:
        return await self._one("units", r.Units, query=_page(after, limit))

    async def create_unit(self, body: r.NewUnit) -> r.Unit:
        return await self._one("create_unit", r.Unit, body=body)

    async def unit(self, unit: Id) -> r.Unit:
        return await self._one("unit", r.Unit, path={"id": unit})

    async def change_unit(self, unit: Id, body: r.UnitChange) -> r.Unit:
        return await self._one("change_unit", r.Unit, path={"id": unit}, body=body)

    async def incidents(self, after: str = "", limit: int = 100) -> r.Incidents:
        return await self._one("incidents", r.Incidents, query=_page(after, limit))

    async def open_incident(self, body: r.IncidentPost) -> r.CommitAnswer:
        return await self._one("open_incident", r.CommitAnswer, body=body)

    async def incident(self, incident: Id) -> r.Incident:
        return await self._one("incident", r.Incident, path={"id": incident})

    async def change_incident(self, incident: Id, body: r.IncidentChange) -> r.Incident:
        return await self._one("change_incident", r.Incident, path={"id": incident}, body=body)

    # ---- records

    async def records(self, after: str = "", limit: int = 100) -> r.RecordsStates:
        """How long each incident's records stay; for records officers, as all of these."""
        return await self._one("records", r.RecordsStates, query=_page(after, limit))

    async def incident_records(self, incident: Id) -> r.RecordsState:
        return await self._one("incident_records", r.RecordsState, path={"id": incident})

    async def hold_records(self, incident: Id, body: r.HoldPost) -> r.RecordsState:
        """Keep everything of an incident. `forbidden` once it was shredded."""
        return await self._one("hold_records", r.RecordsState, path={"id": incident}, body=body)

    async def release_records(self, incident: Id, body: r.HoldPost) -> r.RecordsState:
        """End the hold for this reason. Others stand as they are."""
        return await self._one("release_records", r.RecordsState, path={"id": incident}, body=body)

    async def shred_records(self, incident: Id, body: r.ShredPost) -> r.RecordsState:
        """Destroy what is left of an ended incident, for good; ask the person before. `forbidden` before its retention
        time is over and on hold. When this fails half-way, the server goes on by itself."""
        return await self._one("shred_records", r.RecordsState, path={"id": incident}, body=body)

    # ---- channels and logs

    async def channels(self, after: str = "", limit: int = 100) -> r.Channels:
        return await self._one("channels", r.Channels, query=_page(after, limit))

    async def create_channel(self, body: r.ChannelPost) -> r.CommitAnswer:
        return await self._one("create_channel", r.CommitAnswer, body=body)

    async def channel(self, channel: Id) -> r.ChannelInfo:
        return await self._one("channel", r.ChannelInfo, path={"id": channel})

    async def archive_channel(self, channel: Id) -> r.ChannelInfo:
        return await self._one("archive_channel", r.ChannelInfo, path={"id": channel})

    async def post_commit(self, channel: Id, body: r.CommitPost) -> r.CommitAnswer:
        """`conflict` (with the head epoch) when another commit won; `sealing_refused` when a rule is broken."""
        return await self._one("post_commit", r.CommitAnswer, path={"id": channel}, body=body)

    async def boxes(
        self, channel: Id, from_epoch: int = 0, limit: int = 500, recipient: Id = ""
    ) -> tuple[r.EpochBoxes, ...]:
        """This device's boxes; a records officer's of the records key `recipient`."""
        query = {"from_epoch": str(from_epoch), "limit": str(limit)}
        if recipient:
            query["recipient"] = recipient.hex() if isinstance(recipient, bytes) else recipient
        return await self._many("boxes", r.EpochBoxes, path={"id": channel}, query=query)

    async def post_grant(self, channel: Id, body: r.GrantPost) -> None:
        await self._nothing("post_grant", path={"id": channel}, body=body)

    async def post_archive(self, channel: Id, body: r.ArchivePost) -> None:
        await self._nothing("post_archive", path={"id": channel}, body=body)

    async def log(self, address: Id, after: int = 0, limit: int = 500) -> Batch:
        """A page of a log behind offset `after`; `to` of the batch is where the next page starts."""
        return await self._one("log", Batch, path={"address": address}, query=_page(str(after), limit))

    # ---- attachments

    async def create_blob(self, channel: Id, body: r.NewBlob) -> r.Blob:
        return await self._one("create_blob", r.Blob, path={"id": channel}, body=body)

    async def blob(self, blob: Id) -> r.Blob:
        return await self._one("blob", r.Blob, path={"id": blob})

    async def put_chunk(self, blob: Id, index: int, data: bytes) -> None:
        await self._nothing("put_chunk", path={"id": blob, "index": str(index)}, body=data)

    async def chunk(self, blob: Id, index: int) -> bytes:
        return await self._one("chunk", bytes, path={"id": blob, "index": str(index)})

    # ---- what happened to access

    async def security_events(self, after: str = "", limit: int = 100) -> r.SecurityEvents:
        return await self._one("security_events", r.SecurityEvents, query=_page(after, limit))

    # ---- how a call is made

    async def _one(
        self,
        name: str,
        kind: type[_T],
        *,
        path: Mapping[str, Id] | None = None,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
    ) -> _T:
        route = BY_NAME[name]
        return _decode(route, await self._call(route, path or {}, query or {}, body), kind)

    async def _many(
        self,
        name: str,
        kind: type[_T],
        *,
        path: Mapping[str, Id] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[_T, ...]:
        route = BY_NAME[name]
        data = await self._call(route, path or {}, query or {}, None)
        return tuple(_decode(route, data, list[kind]))  # type: ignore[valid-type]

    async def _nothing(
        self, name: str, *, path: Mapping[str, Id] | None = None, body: object | None = None
    ) -> None:
        await self._call(BY_NAME[name], path or {}, {}, body)

    async def _call(
        self, route: Route, path: Mapping[str, Id], query: Mapping[str, str], body: object | None
    ) -> bytes:
        url = _url(route, path)
        content = _encode(route, body)
        repeatable = route.method in {"GET", "PUT", "DELETE"} or route.name in REPEATABLE_POSTS
        renewed = False
        token = await self._token(route)
        attempt = 1
        while True:
            try:
                return await self._attempt(route, url, query, content, token)
            except ApiError as error:
                if error.code is WireError.TOKEN_EXPIRED and self.tokens is not None and not renewed:
                    # Refused before anything was done, so that even a POST may go again.
                    renewed = True
                    token = await self.tokens.renew(token)
                    continue
                never_sent = isinstance(error, Unreachable) and not error.sent
                may = never_sent or (repeatable and error.code.may_retry)
                if not may or attempt >= ATTEMPTS:
                    raise
                wait_s = self._jitter() * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**attempt)
                if error.retry_ms / 1000 > BACKOFF_CAP_S:
                    raise
                await self._sleep(max(wait_s, error.retry_ms / 1000))
                attempt += 1

    async def _token(self, route: Route) -> str:
        if route.access != "device":
            return ""
        if self.tokens is None:
            raise ApiError(WireError.UNAUTHENTICATED, "sign in first")
        return await self.tokens.token()

    async def _attempt(
        self, route: Route, url: str, query: Mapping[str, str], content: bytes | None, token: str
    ) -> bytes:
        headers = {"Accept": route.media if route.response is not None else r.JSON}
        if content is not None:
            headers["Content-Type"] = route.media
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(
                    route.method, url, params=dict(query), content=content, headers=headers
                ) as answer,
            ):
                data = await _bounded(answer)
                if answer.status_code != route.status:
                    raise _refusal(answer, data)
                return data
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise Unreachable("the server cannot be reached", sent=False) from None
        except (httpx.RequestError, httpx.StreamError, TimeoutError):
            # A broken encoding of the answer (`DecodingError`) included.
            raise Unreachable("the server did not answer in time", sent=True) from None


async def every(fetch: Callable[[str], Awaitable[Any]]) -> list[Any]:
    """All items of a listing: `await every(lambda after: api.members(after))`, page after page."""
    items: list[Any] = []
    after = ""
    for _ in range(PAGES):
        page = await fetch(after)
        items.extend(page.items)
        if not page.next or page.next == after:
            return items
        after = page.next
    raise ApiError(WireError.TOO_LARGE, "the listing does not end")


def check_base_url(base_url: str, *, anywhere: bool = False) -> str:
    """The server's address without a slash at its end.

    `invalid` unless it is https, or http to this very machine (`anywhere`: a transport of the caller's is used,
    and nothing leaves the process).
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, ValueError):
        raise ApiError(WireError.INVALID, "the server's address cannot be read") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ApiError(
            WireError.INVALID, "the server's address starts with https:// (or http:// on this machine)"
        )
    if url.scheme == "http" and not anywhere and not is_loopback(url.host):
        raise ApiError(WireError.INVALID, "a server on another machine is reached by https:// only")
    return base_url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tls_context(verify: Path | ssl.SSLContext | None) -> ssl.SSLContext:
    """A verifying TLS context; with a CA file, that authority is trusted and no other."""
    if isinstance(verify, ssl.SSLContext):
        if verify.verify_mode is not ssl.CERT_REQUIRED or not verify.check_hostname:
            raise ApiError(WireError.INVALID, "TLS certificates are always verified")
        return verify
    try:
        context = ssl.create_default_context(cafile=None if verify is None else str(verify))
    except (OSError, ssl.SSLError):
        raise ApiError(
            WireError.INVALID, "the CA file cannot be read: it is to hold PEM certificates"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _page(after: str, limit: int) -> dict[str, str]:
    return {"limit": str(limit)} | ({"after": after} if after else {})


def _url(route: Route, path: Mapping[str, Id]) -> str:
    url = route.path
    for name, value in path.items():
        text = value.hex() if isinstance(value, bytes) else value
        url = url.replace("{" + name + "}", quote(text, safe=""))
    return url


def _encode(route: Route, body: object | None) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, bytes):
        return body
    return msgspec.msgpack.encode(body) if route.media == r.MSGPACK else msgspec.json.encode(body)


def _decode(route: Route, data: bytes, kind: type[_T]) -> _T:
    if kind is bytes:
        return data  # type: ignore[return-value]
    try:
        if route.media == r.MSGPACK:
            return msgspec.msgpack.decode(data, type=kind)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ApiError(
            WireError.UNSUPPORTED, "the server's answer cannot be read by this version", told=False
        ) from None


async def _bounded(answer: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > ANSWER_BYTES:
            raise ApiError(WireError.TOO_LARGE, "the server's answer is too large")
        parts.append(part)
    return b"".join(parts)


def _refusal(answer: httpx.Response, data: bytes) -> ApiError:
    """The error that an answer tells of. A proxy's own page is judged by its status alone."""
    try:
        told = msgspec.json.decode(data, type=r.ErrorAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        code = _code_of_status(answer.status_code)
        return ApiError(code, "", _retry_after_ms(answer.headers), told=False)
    return ApiError(_code_of(told.number), told.detail, told.retry_ms, told.sealing_code, told.head)


def _code_of(number: int) -> WireError:
    try:
        return WireError(number)
    except ValueError:
        # A newer server's error: the range still says what to do.
        ranges: Iterable[tuple[int, WireError]] = ((200, WireError.UNAVAILABLE), (300, WireError.CONFLICT))
        return next((code for below, code in ranges if number < below), WireError.INVALID)


def _code_of_status(status: int) -> WireError:
    by_status = {
        401: WireError.UNAUTHENTICATED,
        403: WireError.FORBIDDEN,
        404: WireError.NOT_FOUND,
        413: WireError.TOO_LARGE,
        415: WireError.UNSUPPORTED,
        429: WireError.RATE_LIMITED,
        507: WireError.STORAGE_FULL,
    }
    return by_status.get(status, WireError.UNAVAILABLE if status >= 500 else WireError.UNSUPPORTED)


def _retry_after_ms(headers: Mapping[str, str]) -> int:
    text = headers.get("retry-after", "")
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 7 else 0
