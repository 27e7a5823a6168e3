"""Enrolled, approved, and then the person at the device: a passkey, with an authenticator that the browser makes up."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.words import Discipline, PersonBy, Role
from tests.support.browser import DevTools
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow


async def with_authenticator(screen: Screen) -> DevTools:
    """A phone's own authenticator, which knows the person by a finger."""
    tools = await DevTools.of(screen.page)
    await tools.send("WebAuthn.enable")
    await tools.send(
        "WebAuthn.addVirtualAuthenticator",
        options={
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        },
    )
    return tools


_MAKE: Final = """\
async (options) => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(options));
    return JSON.stringify((await navigator.credentials.create({ publicKey })).toJSON());
}
"""


async def ask_for_passkeys(town: Town, screen: Screen) -> None:
    """The administrator, who must have a passkey before the agency asks everybody for one, makes it in this browser."""
    await screen.page.goto(screen.url)
    options = (await town.office.passkey_options()).options
    made: str = await screen.page.evaluate(_MAKE, options)
    await town.office.add_passkey(r.PasskeyPost(made))
    agency = await town.office.agency()
    await town.office.change_agency(r.AgencyChange(agency.revision, PersonBy.PASSKEY))


async def test_enrolled_approved_and_signed_in_with_a_passkey(
    browser: Browser, one: Stage, town: Town
) -> None:
    # A passkey belongs to a name: there is none for an address.
    url = f"http://localhost:{one.node(0).port}"
    async with Screen.opened(browser, url) as ana:
        ana.watch.expect(r"40[13]")
        await with_authenticator(ana)
        await ask_for_passkeys(town, ana)
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        await expect(ana.page.get_by_role("heading", name=words("person.title"))).to_be_visible()
        await ana.button("person.make").click()
        await expect(ana.page.get_by_text(words("person.title"))).to_have_count(0)
        await expect(ana.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()
