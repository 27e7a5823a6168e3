"""An agency's own sign-in: to the provider and back, and what its ticket is good for (spec 02, "The person").

The two pages are no operations of the route table: a browser goes there by itself, without a token, and is led on. What they
find wrong stands in the fragment of our own page's address, as one word.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId, from_hex
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import (
    CODE_BYTES,
    NO_AGENCY,
    AgencyRow,
    DeviceRow,
    HomeRow,
    MemberRow,
    code_id,
    enrolment_code,
    issue_enrolment,
)
from leeside_server.core.person import TicketRow, knows, ticket_id
from leeside_server.core.rows import KINDS, R, create, read
from leeside_server.core.writes import NO_DEVICE, Audit, Item
from leeside_server.log import get_logger
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler, headers_of
from leeside_server.relay.http.host import Host
from leeside_server.relay.http.limits import RequestLimits
from leeside_server.relay.http.refusals import Refused, stored
from leeside_server.relay.http.settings import HttpSettings, OidcSettings
from leeside_server.relay.oidc import Identity, IdentityRefused, Provider, ProviderUnavailable
from leeside_server.relay.sources import source_of
from leeside_server.relay.tickets import TicketRefused, open_state, open_ticket, seal_state, seal_ticket

CALLBACK: Final = "/v1/oidc/callback"
START: Final = "/v1/oidc/start"
_log = get_logger("leeside.oidc")


def check_known(call: Call, agency: AgencyId) -> None:
    """`unsupported` unless this agency's own sign-in is known here."""
    oidc = call.settings.oidc
    if oidc is None or oidc.agency != agency or not call.settings.public_origins:
        raise ProtocolError(WireError.UNSUPPORTED, "no sign-in of this agency is known here")


async def oidc_enrolment(call: Call) -> r.EnrolmentCode:
    """POST /v1/oidc/enrolments: the ticket is spent first; the code is as good as one that an administrator made."""
    text = call.body(r.TicketPost).ticket
    try:
        ticket = open_ticket(call.host.tokens.ticket_key, text, call.now_ms)
    except TicketRefused:
        raise _again() from None
    oidc = call.settings.oidc
    if ticket.device or oidc is None:
        raise _again()
    agency = oidc.agency
    held = await call.find(agency, MemberRow, ticket.member)
    asked = await call.find(agency, AgencyRow, agency)
    if held is None or asked is None or asked.row.person is not PersonBy.OIDC:
        raise _again()
    row = issue_enrolment(agency, held.row, ticket.member, NO_DEVICE, "device", call.now_ms)
    spent = create(ticket_id(text), TicketRow(ticket.until_ms))
    audit = Audit("enrolment_created", NO_DEVICE, held.id, PersonBy.OIDC.value)
    try:
        await call.write(agency, spent, audit)
    except Refused as error:
        raise (_again() if error.code is WireError.CONFLICT else error) from None
    code = enrolment_code(call.random(CODE_BYTES))
    (outcome,) = await call.apply([Item(NO_AGENCY, call.now_ms, (create(code_id(code), row),))])
    stored(outcome)
    return r.EnrolmentCode(code, row.expires_ms)


def _again() -> ProtocolError:
    return ProtocolError(WireError.UNAUTHENTICATED, "sign in with your agency anew")


HANDLERS: Final[Mapping[str, Handler]] = {"oidc_enrolment": oidc_enrolment}


# ---- the two pages


def pages(host: Host, settings: HttpSettings, oidc: OidcSettings, limits: RequestLimits) -> list[BaseRoute]:
    """What is mounted beside the route table."""
    made = _Pages(host, settings, oidc, limits)
    return [
        Route(START, made.guarded(made.start, "oidc_start")),
        Route(CALLBACK, made.guarded(made.callback, "oidc_callback")),
    ]


class _Failed(Exception):
    """The sign-in ends; `word` says to the page why."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _Pages:
    def __init__(self, host: Host, settings: HttpSettings, oidc: OidcSettings, limits: RequestLimits) -> None:
        self._host = host
        self._settings = settings
        self._agency = oidc.agency
        self._issuer = oidc.issuer
        self._limits = limits
        self._origin = settings.public_origins[0]
        self._provider = Provider(oidc, self._origin + CALLBACK, host.clock)

    def guarded(
        self, page: Callable[[Request], Awaitable[str]], name: str
    ) -> Callable[[Request], Awaitable[Response]]:
        """A page that leads on, whatever happens: to where `page` says, or to ours with the word of what failed."""

        async def answer(request: Request) -> Response:
            try:
                self._check_source(request, name)
                where = await page(request)
            except _Failed as failed:
                where = f"{self._origin}/#oidc_error={failed.word}"
            except IdentityRefused:
                _log.warning("identity_refused")
                where = f"{self._origin}/#oidc_error=refused"
            except (ProviderUnavailable, StoreUnavailable) as error:
                _log.warning("sign_in_unavailable", error=type(error).__name__)
                where = f"{self._origin}/#oidc_error=unavailable"
            return RedirectResponse(where, 303, headers_of(self._settings))

        return answer

    def _check_source(self, request: Request, name: str) -> None:
        source = source_of(
            request.client.host if request.client else None,
            request.headers.getlist("x-forwarded-for"),
            self._settings.trusted_proxies,
        )
        try:
            self._limits.check_source(source, name, self._host.clock.monotonic_s())
        except Refused:
            raise _Failed("unavailable") from None

    async def start(self, request: Request) -> str:
        """Where the provider is, with what it gives back."""
        named = request.query_params.get("device")
        try:
            device = None if named is None else DeviceId(from_hex(named))
        except ProtocolError:
            raise _Failed("refused") from None
        verifier, nonce = self._host.random(32).hex(), self._host.random(16).hex()
        key, now_ms = self._host.tokens.ticket_key, self._host.clock.now_ms()
        state = seal_state(key, device, verifier, nonce, now_ms, self._host.random)
        return await self._provider.address(state, nonce, verifier)

    async def callback(self, request: Request) -> str:
        """Our page, with a ticket."""
        query = request.query_params
        key, now_ms = self._host.tokens.ticket_key, self._host.clock.now_ms()
        try:
            state = open_state(key, query.get("state", ""), now_ms)
        except TicketRefused:
            raise _Failed("expired") from None
        # RFC 9207: a provider that names itself must be ours.
        if query.get("iss", self._issuer) != self._issuer or not query.get("code"):
            raise _Failed("refused")
        who = await self._provider.identity(query["code"], state.verifier, state.nonce, state.begun_ms)
        member = await self._member(who, state.device)
        ticket = seal_ticket(key, member, state.device, self._host.clock.now_ms(), self._host.random)
        return f"{self._origin}/#oidc={ticket}"

    async def _member(self, who: Identity, device: bytes) -> MemberId:
        """The member whom this identity is: the device's, or the only one."""
        if device:
            home = await self._find(NO_AGENCY, HomeRow, device)
            held = (
                None
                if home is None or home.agency != self._agency
                else await self._find(self._agency, DeviceRow, device)
            )
            member = None if held is None else await self._find(self._agency, MemberRow, held.member)
            if held is None or member is None or not _is(member, who):
                raise _Failed("unknown")
            return held.member
        found = [member_id async for member_id, row in self._members() if _is(row, who)]
        if len(found) != 1:
            raise _Failed("unknown")
        return found[0]

    async def _find(self, agency: AgencyId, kind: type[R], key: bytes) -> R | None:
        found = await self._host.store.get(agency, KINDS[kind], key)
        return None if found is None else read(kind, found).row

    async def _members(self) -> AsyncIterator[tuple[MemberId, MemberRow]]:
        after = b""
        while True:
            page = await self._host.store.objects(self._agency, KINDS[MemberRow], None, after, PAGE_ENTRIES)
            for one in page:
                yield MemberId(one.id), read(MemberRow, one).row
            if len(page) < PAGE_ENTRIES:
                return
            after = page[-1].id


def _is(member: MemberRow, who: Identity) -> bool:
    return not member.ended_ms and knows(member.login, who.subject, who.email)
