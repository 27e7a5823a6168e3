"""The agency's own sign-in (OpenID Connect): left for, come back from, with a ticket or with the reason why there is none."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import MemberId
from leeside_protocol.words import Discipline, PersonBy, Role
from tests.faults.node import SignInBy
from tests.relay.world import served
from tests.support.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.support.stage import Stage, one_node
from tests.support.town import Town, open_town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class City:
    """An agency that asks for its own sign-in, and the provider that has it."""

    town: Town
    provider: OidcProvider
    url: str

    async def sam(self) -> MemberId:
        """A member of their own, whom the provider signs in from now on: two with one login are nobody."""
        login = f"sam-{secrets.token_hex(4)}@example.org"
        self.provider.person = {"sub": login, "email": login, "email_verified": True}
        new = r.NewMember((Role.RESPONDER,), Discipline.CLINICIAN, login)
        return MemberId(bytes.fromhex((await self.town.office.create_member(new)).id))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """A node of their own: a provider serves one agency."""
    with one_node(tmp_path_factory.mktemp("sign-in")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def city(own: Stage) -> AsyncGenerator[City]:
    node, provider = own.node(0), OidcProvider(int(time.time()))
    async with (
        served(provider.app(), direct=False) as port,
        open_town(node.url, node.codes, own.folder / "people") as town,
    ):
        provider.issuer = f"http://127.0.0.1:{port}"
        agency = await town.office.agency()
        by = SignInBy(provider.issuer, CLIENT, SECRET, agency.id)
        # The node is told of the provider once the agency stands.
        await node.stop()
        node.settings = replace(node.settings, sign_in_by=by)
        await node.start()
        me = await town.office.me()
        await town.office.change_member(town.admin.member, r.MemberChange(me.revision, login="ada"))
        await town.office.change_agency(r.AgencyChange(agency.revision, PersonBy.OIDC))
        # People come back to the first public origin, which has a name.
        yield City(town, provider, f"http://localhost:{node.port}")
        assert own.complaints() == []


@pytest.fixture(autouse=True)
def at_its_best(city: City) -> None:
    """The provider, as it is on a good day."""
    city.provider.wrong = {}
    city.provider.down = False


async def wants_the_person(city: City, screen: Screen) -> None:
    """Enrolled and approved: now the agency asks who is at the device."""
    screen.watch.visited.add(city.provider.issuer)
    screen.watch.expect(r"40[13]")
    await screen.enrol(city.town, Role.RESPONDER, Discipline.CLINICIAN, member=await city.sam())
    await expect(screen.page.get_by_role("heading", name=words("person.title"))).to_be_visible()


async def is_in(screen: Screen) -> None:
    await expect(screen.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()


async def says(screen: Screen, key: str) -> None:
    """One sentence, and nothing of it in the address any more."""
    await expect(screen.page.get_by_text(words(key))).to_be_visible()
    assert "oidc" not in screen.page.url


async def test_to_the_sign_in_and_back_with_a_ticket(browser: Browser, city: City) -> None:
    async with Screen.opened(browser, city.url) as sam:
        await wants_the_person(city, sam)
        await sam.button("person.agency").click()
        await is_in(sam)
        assert sam.page.url == f"{city.url}/"
        start = next(url for url in sam.watch.requests if "/v1/oidc/start" in url)
        assert start.endswith(f"?device={sam.device.hex()}")
        # The proof counts on, whatever becomes of the page.
        await sam.page.reload()
        await is_in(sam)


async def test_each_reason_for_no_ticket_is_a_sentence(browser: Browser, city: City) -> None:
    provider = city.provider
    async with Screen.opened(browser, city.url) as sam:
        await wants_the_person(city, sam)

        provider.person = {"sub": "u-2", "email": "ben@example.org", "email_verified": True}
        await sam.button("person.agency").click()
        await says(sam, "sign_in.unknown")

        provider.wrong = {"nonce": "of another start"}
        await sam.button("person.agency").click()
        await says(sam, "sign_in.refused")

        provider.wrong, provider.down = {}, True
        await sam.button("person.agency").click()
        await says(sam, "sign_in.unavailable")

        await sam.page.goto(f"{city.url}/v1/oidc/callback?state=old&code=x")
        await says(sam, "sign_in.expired")

        await sam.page.goto(f"{city.url}/?again#oidc=no-ticket-at-all")
        await says(sam, "sign_in.over")


async def test_a_browser_that_is_no_device_gets_a_code_and_waits_for_a_person(
    browser: Browser, city: City
) -> None:
    town = city.town
    async with Screen.opened(browser, city.url) as sam:
        sam.watch.visited.add(city.provider.issuer)
        sam.watch.expect(r"40[13]")
        sam.member = await city.sam()
        await sam.page.goto(city.url)
        await sam.button("person.agency").click()
        await says(sam, "enrol.signed_in")
        await sam.page.get_by_label(words("enrol.root")).fill(town.directory.root_public.hex())
        await sam.button("enrol.do").click()
        # Whom the agency knows is no device yet: its short code is compared as ever.
        await sam.short_code()
        await sam.approved(town, Role.RESPONDER, Discipline.CLINICIAN)
        await sam.button("person.agency").click()
        await is_in(sam)


async def test_a_server_without_an_agencys_sign_in_offers_none(browser: Browser, one: Stage) -> None:
    async with Screen.opened(browser, one.url(0)) as somebody:
        async with somebody.page.expect_response("**/v1/server"):
            await somebody.page.goto(somebody.url)
        await expect(somebody.page.get_by_label(words("enrol.link"))).to_be_visible()
        await expect(somebody.button("person.agency")).to_have_count(0)
