"""An agency's own sign-in: to a provider and back, what is not believed, and what a ticket is good for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.words import PersonBy, Role
from leeside_server.core.rates import Rate
from leeside_server.relay.app import build_app
from leeside_server.relay.http import HttpSettings, OidcSettings, routes
from leeside_server.relay.oidc import AWAY_S, EXCHANGES
from leeside_server.relay.retention import Retention, RetentionSettings
from leeside_server.relay.tickets import TicketRefused, open_state, open_ticket, seal_state, seal_ticket
from tests.relay.http.test_person import ask_for, events, request
from tests.relay.http.world import Agency, City, Person, Refusal, redeem
from tests.relay.http.world import city as open_city
from tests.relay.world import served
from tests.support.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.support.patience import PATIENCE_S

ORIGIN = "https://relay.example"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    from tests.support.clock import FakeClock

    made = OidcProvider(FakeClock().now_ms() // 1000)
    async with served(made.app(), direct=False) as port:
        made.issuer = f"http://127.0.0.1:{port}"
        yield made


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with open_city(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def agency(city: City, provider: OidcProvider) -> AsyncIterator[Agency]:
    """An agency whose people the provider knows; its administrator is `ada@example.org`."""
    made = await city.agency()
    with_provider(city, provider, made.id)
    await give_login(made, made.admin, "ada@example.org")
    await ask_for(made, PersonBy.OIDC)
    yield made
    await city.client.aclose()


def with_provider(
    city: City, provider: OidcProvider, agency: AgencyId, *, auth_time_required: bool = True, **more: Any
) -> None:
    """The same node, served anew with a provider."""
    oidc = OidcSettings(provider.issuer, CLIENT, SECRET, agency, auth_time_required)
    settings = HttpSettings(public_origins=(ORIGIN,), oidc=oidc, bootstrap_codes=city.codes, **more)
    city.app = build_app(city.node, routes(city.node, settings))
    transport = httpx.ASGITransport(city.app, client=("127.0.0.1", 50_000))
    city.client = httpx.AsyncClient(transport=transport, base_url=ORIGIN)


async def give_login(agency: Agency, person: Person, login: str) -> None:
    member = person.member
    held = await agency.admin.ask("member", id=member)
    await agency.admin.ask("change_member", r.MemberChange(held.revision, login=login), id=member)


async def sam(agency: Agency, login: str = "Sam@Example.org") -> Person:
    """A certified device, not signed in, of the member that the provider knows."""
    person = await agency.join(Role.RESPONDER, sign_in=False)
    await give_login(agency, person, login)
    return person


async def to_provider(city: City, device: str | None) -> str:
    """Where `start` leads: the provider's address."""
    answer = await city.client.get("/v1/oidc/start", params={} if device is None else {"device": device})
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    return answer.headers["location"]


async def back(city: City, where: str) -> str:
    """What the browser brings back from the provider: the address of the callback, without its origin."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(where)
    location: str = answer.headers["location"]
    assert location.startswith(f"{ORIGIN}/v1/oidc/callback?")
    return location.removeprefix(ORIGIN)


async def fragment(city: City, callback: str) -> str:
    answer = await city.client.get(callback)
    assert answer.status_code == 303
    return answer.headers["location"].removeprefix(f"{ORIGIN}/#")


async def through(city: City, device: str | None) -> str:
    """The whole way; the fragment of our page."""
    return await fragment(city, await back(city, await to_provider(city, device)))


async def ticket_for(city: City, device: str | None) -> str:
    told = await through(city, device)
    assert told.startswith("oidc="), told
    return told.removeprefix("oidc=")


async def sign_in(person: Person, ticket: str) -> r.SessionTokens:
    body = await request(person)
    shown = r.SessionRequest(body.device, body.nonce, body.signature, r.PersonProof(ticket=ticket))
    person.tokens = await person.city.ask("sign_in", body=shown)
    assert person.tokens is not None
    return person.tokens


async def refused(person: Person, ticket: str) -> r.ErrorAnswer:
    with pytest.raises(Refusal) as caught:
        await sign_in(person, ticket)
    return caught.value.answer


def others(ticket: str) -> list[str]:
    """Other texts that a lenient reader takes for the same bytes."""
    padding = "=" * (-len(ticket) % 4)
    raw = base64.urlsafe_b64decode(ticket + padding)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    ends = [ticket[:-1] + letter for letter in last if letter != ticket[-1]]
    same = [text for text in ends if base64.urlsafe_b64decode(text + padding) == raw]
    standard = ticket.replace("-", "+").replace("_", "/")
    return [*same, *([standard] if standard != ticket else [])]


class TestSignIn:
    async def test_the_way_to_the_provider_and_back(self, agency: Agency, provider: OidcProvider) -> None:
        city, person = agency.city, await sam(agency)
        with pytest.raises(Refusal) as caught:
            await city.ask("sign_in", body=await request(person))
        assert caught.value.answer.person == "oidc"
        assert await city.ask("person_options", body=await request(person)) == r.PersonOptions(
            PersonBy.OIDC, "", ""
        )
        tokens = await sign_in(person, await ticket_for(city, person.id.hex()))
        assert tokens.person_until_ms == city.clock.now_ms() + 12 * 3_600_000
        assert tokens.member == person.member

    async def test_a_subject_is_a_login_too(self, agency: Agency, provider: OidcProvider) -> None:
        person = await sam(agency, "u-1")
        provider.person = {"sub": "u-1"}
        await sign_in(person, await ticket_for(agency.city, person.id.hex()))

    async def test_a_ticket_serves_once(self, agency: Agency) -> None:
        person = await sam(agency)
        ticket = await ticket_for(agency.city, person.id.hex())
        await sign_in(person, ticket)
        answer = await refused(person, ticket)
        assert (answer.code, answer.detail, answer.person) == ("unauthenticated", "person", "oidc")

    async def test_a_ticket_serves_for_a_minute(self, agency: Agency) -> None:
        person = await sam(agency)
        ticket = await ticket_for(agency.city, person.id.hex())
        agency.city.clock.advance(60)
        assert (await refused(person, ticket)).person == "oidc"

    async def test_a_ticket_serves_for_the_device_that_began(self, agency: Agency) -> None:
        """Also of the same member: whoever had a ticket come to them must hold the device that asked for it."""
        person = await sam(agency)
        second = await agency.enrol(person.member)
        await agency.post(agency.certificate(second.keys, person.member, Role.RESPONDER))
        ticket = await ticket_for(agency.city, second.id.hex())
        assert (await refused(person, ticket)).person == "oidc"
        await sign_in(second, ticket)
        bare = await ticket_for(agency.city, None)
        assert (await refused(person, bare)).person == "oidc"

    @pytest.mark.parametrize("ticket", ["", "x", "AAAA" * 40, "ü", "=" * 500])
    async def test_what_is_no_ticket(self, agency: Agency, ticket: str) -> None:
        assert (await refused(await sam(agency), ticket)).person == "oidc"

    async def test_what_was_used_is_forgotten_in_the_end(self, agency: Agency) -> None:
        city, person = agency.city, await sam(agency)
        await sign_in(person, await ticket_for(city, person.id.hex()))
        for days, kept in ((0, 1), (2, 0)):
            city.clock.advance(days * 86_400)
            await Retention(city.node, RetentionSettings()).sweep()
            assert len(await city.node.store.objects(agency.id, "ticket", None, b"", 9)) == kept


class TestWhoTheyAre:
    @pytest.mark.parametrize(
        "changes",
        [
            {"email": "other@example.org"},
            {"email_verified": False},
            {"email_verified": "true"},
            {"email_verified": None},
            {"email": None},
            {"email": ["sam@example.org"]},
        ],
    )
    async def test_somebody_else_is_unknown(
        self, agency: Agency, provider: OidcProvider, changes: dict[str, Any]
    ) -> None:
        person = await sam(agency)
        provider.wrong = changes
        assert await through(agency.city, person.id.hex()) == "oidc_error=unknown"

    async def test_a_member_without_a_login_is_nobody(self, agency: Agency, provider: OidcProvider) -> None:
        person = await sam(agency, "")
        provider.person = {"sub": "u-1", "email": "", "email_verified": True}
        assert await through(agency.city, person.id.hex()) == "oidc_error=unknown"

    async def test_a_device_of_another_agency_is_unknown(self, agency: Agency) -> None:
        other = await agency.city.agency()
        await give_login(other, other.admin, "sam@example.org")
        assert await through(agency.city, other.admin.id.hex()) == "oidc_error=unknown"
        assert await through(agency.city, bytes(16).hex()) == "oidc_error=unknown"

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://login.evil.example"},
            {"aud": "another client"},
            {"aud": [CLIENT, "another client"]},
            {"aud": [CLIENT], "azp": "another client"},
            {"nonce": "another nonce"},
            {"nonce": None},
            {"exp": 1_800_000_000 - 61},
            {"exp": None},
            {"exp": "soon"},
            {"iat": 1_800_000_000 + 3_600},
            {"nbf": 1_800_000_000 + 3_600},
            {"auth_time": 1_800_000_000 - 61},
            {"auth_time": "long ago"},
            {"auth_time": float("inf")},
            {"auth_time": None},
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
        ],
        ids=str,
    )
    async def test_an_identity_that_does_not_hold_is_refused(
        self, agency: Agency, provider: OidcProvider, changes: dict[str, Any]
    ) -> None:
        person = await sam(agency)
        provider.wrong = changes
        assert await through(agency.city, person.id.hex()) == "oidc_error=refused"

    async def test_who_signed_in_before_they_began_here_is_refused(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        """Somebody who finds a phone takes the wish to sign in anew out of the address: the provider knows the browser."""
        city, person = agency.city, await sam(agency)
        city.clock.advance(300)
        provider.wrong = {"auth_time": provider.now_s}
        provider.now_s += 300
        assert await through(city, person.id.hex()) == "oidc_error=refused"
        provider.wrong = {}
        await sign_in(person, await ticket_for(city, person.id.hex()))

    async def test_a_provider_that_cannot_say_when_is_believed_where_the_operator_says_so(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        person = await sam(agency)
        provider.wrong = {"auth_time": None}
        with_provider(agency.city, provider, agency.id, auth_time_required=False)
        await sign_in(person, await ticket_for(agency.city, person.id.hex()))
        provider.wrong = {"auth_time": provider.now_s - 61}
        assert await through(agency.city, person.id.hex()) == "oidc_error=refused"

    @pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "RS256"])
    async def test_a_signature_of_somebody_else_is_refused(
        self, agency: Agency, provider: OidcProvider, algorithm: str
    ) -> None:
        person = await sam(agency)
        provider.algorithm = algorithm
        secret = SECRET.encode() * 2
        provider.signer = secret if algorithm == "HS256" else rsa.generate_private_key(65_537, 2_048)
        assert await through(agency.city, person.id.hex()) == "oidc_error=refused"

    async def test_several_audiences_with_us_as_the_party(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        person = await sam(agency)
        provider.wrong = {"aud": [CLIENT, "another client"], "azp": CLIENT}
        await sign_in(person, await ticket_for(agency.city, person.id.hex()))


class TestTheWay:
    async def test_it_begins_with_a_challenge_that_only_we_can_meet(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        query = parse_qs(urlsplit(await to_provider(agency.city, None)).query)
        again = parse_qs(urlsplit(await to_provider(agency.city, None)).query)
        assert query["redirect_uri"] == [f"{ORIGIN}/v1/oidc/callback"]
        assert query["code_challenge_method"] == ["S256"]
        assert query["code_challenge"] != query["state"]
        for name in ("state", "nonce", "code_challenge"):
            assert query[name] != again[name]

    async def test_a_code_of_another_start_is_refused(self, agency: Agency) -> None:
        """PKCE and the nonce: a code that was stolen, or slipped in, fits no other state."""
        city, person = agency.city, await sam(agency)
        one, two = [await back(city, await to_provider(city, person.id.hex())) for _ in range(2)]
        mixed = parse_qs(urlsplit(one).query)
        code = parse_qs(urlsplit(two).query)["code"][0]
        callback = f"/v1/oidc/callback?state={mixed['state'][0]}&code={code}"
        assert await fragment(city, callback) == "oidc_error=refused"

    async def test_a_code_serves_once(self, agency: Agency) -> None:
        city, person = agency.city, await sam(agency)
        callback = await back(city, await to_provider(city, person.id.hex()))
        assert (await fragment(city, callback)).startswith("oidc=")
        assert await fragment(city, callback) == "oidc_error=refused"

    async def test_ten_minutes_at_the_provider_are_enough(self, agency: Agency) -> None:
        city = agency.city
        callback = await back(city, await to_provider(city, None))
        city.clock.advance(600)
        assert await fragment(city, callback) == "oidc_error=expired"

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            ("", "expired"),
            ("state=x&code=y", "expired"),
            ("state={state}", "refused"),
            ("state={state}&error=access_denied", "refused"),
            ("state={state}&code=y&iss=https://login.evil.example", "refused"),
            ("state={state}&code=y", "refused"),
        ],
    )
    async def test_a_callback_that_nobody_sent(self, agency: Agency, query: str, word: str) -> None:
        city = agency.city
        state = parse_qs(urlsplit(await to_provider(city, None)).query)["state"][0]
        assert await fragment(city, f"/v1/oidc/callback?{query.format(state=state)}") == f"oidc_error={word}"

    async def test_a_start_with_what_is_no_device(self, agency: Agency) -> None:
        answer = await agency.city.client.get("/v1/oidc/start?device=zz")
        assert answer.headers["location"] == f"{ORIGIN}/#oidc_error=refused"

    async def test_a_provider_that_is_down_is_said_to_be(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        provider.down = True
        assert await to_provider(agency.city, None) == f"{ORIGIN}/#oidc_error=unavailable"

    async def test_a_provider_that_is_down_is_left_in_peace_for_a_moment(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        """Nobody waits behind those who ask it in vain: each question may take ten seconds."""
        city = agency.city
        provider.down = True
        for _ in range(3):
            assert await to_provider(city, None) == f"{ORIGIN}/#oidc_error=unavailable"
        assert len(provider.asked) == 1
        provider.down = False
        city.clock.advance(AWAY_S)
        assert (await to_provider(city, None)).startswith(provider.issuer)

    async def test_what_is_sent_folded_is_not_unfolded(self, agency: Agency, provider: OidcProvider) -> None:
        provider.folded = True
        assert await to_provider(agency.city, None) == f"{ORIGIN}/#oidc_error=unavailable"

    async def test_made_up_codes_are_carried_to_it_a_few_at_once(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        city = agency.city
        state = parse_qs(urlsplit(await to_provider(city, None)).query)["state"][0]
        callback = f"/v1/oidc/callback?state={state}&code=y"
        provider.gate = asyncio.Event()
        waiting = [asyncio.create_task(fragment(city, callback)) for _ in range(EXCHANGES)]
        async with asyncio.timeout(PATIENCE_S):
            while provider.asked.count("/token") < EXCHANGES:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert await fragment(city, callback) == "oidc_error=unavailable"
        provider.gate.set()
        assert set(await asyncio.gather(*waiting)) == {"oidc_error=refused"}

    async def test_its_description_and_keys_are_kept_and_a_new_key_is_found(
        self, agency: Agency, provider: OidcProvider
    ) -> None:
        city, person = agency.city, await sam(agency)
        for _ in range(2):
            await ticket_for(city, person.id.hex())
        assert provider.asked.count("/.well-known/openid-configuration") == 1
        assert provider.asked.count("/keys") == 1
        provider.turn_over()
        assert await through(city, person.id.hex()) == "oidc_error=refused", "once a minute at most"
        assert provider.asked.count("/keys") == 1
        city.clock.advance(60)
        provider.now_s += 60
        await ticket_for(city, person.id.hex())
        assert provider.asked.count("/keys") == 2

    async def test_who_begins_all_the_time_is_held_up(self, agency: Agency, provider: OidcProvider) -> None:
        with_provider(agency.city, provider, agency.id, sign_ins_per_source=Rate(0.001, 3))
        told = [await to_provider(agency.city, None) for _ in range(4)]
        assert told[-1] == f"{ORIGIN}/#oidc_error=unavailable"
        assert told[0].startswith(provider.issuer)

    async def test_without_a_provider_there_is_no_such_page(self, city: City) -> None:
        assert (await city.client.get("/v1/oidc/start")).status_code == 404
        assert (await city.ask("server")).agency_sign_in is False

    async def test_whoever_asks_is_told_that_there_is_one(self, agency: Agency) -> None:
        assert (await agency.city.ask("server")).agency_sign_in is True


class TestEnrolment:
    async def test_whom_the_provider_knows_gets_a_code_and_still_waits_for_approval(
        self, agency: Agency
    ) -> None:
        city, person = agency.city, await sam(agency)
        code = await city.ask("oidc_enrolment", body=r.TicketPost(await ticket_for(city, None)))
        assert code.expires_ms == city.clock.now_ms() + 900_000
        keys = DeviceKeys.create(city.node.random, city.clock.now_ms())
        enrolled = await city.ask("redeem", body=redeem(keys, code.code))
        assert enrolled.member == person.member
        second = Person(city, keys, person.member)
        with pytest.raises(Refusal) as caught:
            await city.ask("sign_in", body=await request(second))
        assert caught.value.code is WireError.PENDING
        assert ("enrolment_created", "oidc") in await events(agency, "enrolment_created")

    async def test_a_ticket_serves_once_and_not_for_what_it_was_not_made_for(self, agency: Agency) -> None:
        city, person = agency.city, await sam(agency)
        ticket = await ticket_for(city, None)
        await city.ask("oidc_enrolment", body=r.TicketPost(ticket))
        for text in (ticket, await ticket_for(city, person.id.hex()), "x"):
            with pytest.raises(Refusal) as caught:
                await city.ask("oidc_enrolment", body=r.TicketPost(text))
            assert caught.value.code is WireError.UNAUTHENTICATED

    async def test_a_ticket_that_is_spelled_otherwise_serves_no_second_time(self, agency: Agency) -> None:
        """Base64 has several texts for the same bytes; what was used is known by its text."""
        city = agency.city
        await sam(agency)
        ticket = await ticket_for(city, None)
        await city.ask("oidc_enrolment", body=r.TicketPost(ticket))
        for text in (*others(ticket), ticket + "=", ticket + "=="):
            with pytest.raises(Refusal) as caught:
                await city.ask("oidc_enrolment", body=r.TicketPost(text))
            assert caught.value.code is WireError.UNAUTHENTICATED

    async def test_two_members_with_one_login_are_nobody(self, agency: Agency) -> None:
        await sam(agency)
        await sam(agency)
        assert await through(agency.city, None) == "oidc_error=unknown"

    async def test_an_agency_that_asks_for_something_else_gives_none(self, agency: Agency) -> None:
        city = agency.city
        await sam(agency)
        ticket = await ticket_for(city, None)
        await ask_for(agency, PersonBy.DEVICE)
        with pytest.raises(Refusal) as caught:
            await city.ask("oidc_enrolment", body=r.TicketPost(ticket))
        assert caught.value.code is WireError.UNAUTHENTICATED


class TestSetting:
    async def test_only_the_agency_that_the_provider_knows(self, agency: Agency) -> None:
        other = await agency.city.agency()
        await give_login(other, other.admin, "ada@example.org")
        with pytest.raises(Refusal) as caught:
            await ask_for(other, PersonBy.OIDC)
        assert caught.value.code is WireError.UNSUPPORTED

    async def test_only_an_administrator_whom_it_may_know(self, city: City, provider: OidcProvider) -> None:
        made = await city.agency()
        with_provider(city, provider, made.id)
        with pytest.raises(Refusal) as caught:
            await ask_for(made, PersonBy.OIDC)
        assert caught.value.code is WireError.FORBIDDEN


class TestTickets:
    def test_a_state_is_no_ticket_and_no_key_but_ours_makes_one(self, city: City) -> None:
        key, now_ms, random = bytes(range(32)), 1_800_000_000_000, city.node.random
        member = msgspec.convert(b"M" * 16, bytes)
        state = seal_state(key, None, "v", "n", now_ms, random)
        ticket = seal_ticket(key, member, b"", now_ms, random)  # type: ignore[arg-type]
        assert open_state(key, state, now_ms).verifier == "v"
        assert open_ticket(key, ticket, now_ms + 59_999).member == member
        for opened in (
            lambda: open_ticket(key, state, now_ms),
            lambda: open_state(key, ticket, now_ms),
            lambda: open_ticket(bytes(32), ticket, now_ms),
            lambda: open_ticket(key, ticket[:-2] + "AA", now_ms),
            lambda: open_ticket(key, ticket, now_ms + 60_000),
        ):
            with pytest.raises(TicketRefused):
                opened()


def test_the_secret_shows_nowhere() -> None:
    assert SECRET not in repr(OidcSettings("https://login.example", CLIENT, SECRET, AgencyId(bytes(16))))
    assert SECRET not in repr(
        HttpSettings(oidc=OidcSettings("https://login.example", CLIENT, SECRET, AgencyId(bytes(16))))
    )
