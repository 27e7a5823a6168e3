"""Enrolled, approved, and then the person at the device: a passkey, with an authenticator that the browser makes up."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.words import Discipline, PersonBy, Role
from tests.support.browser import DESK, DevTools
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


async def test_a_persons_passkeys_are_listed_added_and_deleted(
    browser: Browser, one: Stage, town: Town
) -> None:
    url = f"http://localhost:{one.node(0).port}"
    async with Screen.opened(browser, url) as ana:
        await with_authenticator(ana)
        await ana.enrol(town, Role.RESPONDER)
        await ana.page.goto(f"{url}/#/me")
        await expect(ana.page.get_by_text(words("passkeys.none"))).to_be_visible()
        keys = ana.page.get_by_role("list", name=words("passkeys.title")).get_by_role("listitem")
        await ana.button("passkeys.add").click()
        await expect(ana.page.get_by_text(words("passkeys.added"))).to_be_visible()
        await expect(keys).to_have_count(1)
        await expect(keys).to_contain_text(words("passkeys.unused"))

        await keys.get_by_role("button", name=words("passkeys.delete")).click()
        sheet = ana.page.get_by_role("dialog", name=words("passkeys.delete_title"))
        await sheet.get_by_role("button", name=words("do.cancel")).click()
        await expect(keys).to_have_count(1)
        await keys.get_by_role("button", name=words("passkeys.delete")).click()
        await sheet.get_by_role("button", name=words("passkeys.delete")).click()
        await expect(ana.page.get_by_text(words("passkeys.deleted"))).to_be_visible()
        await expect(keys).to_have_count(0)
        await expect(ana.page.get_by_text(words("passkeys.none"))).to_be_visible()


async def test_an_administrator_asks_everybody_for_a_passkey_once_they_have_one(
    browser: Browser, one: Stage, town: Town
) -> None:
    url = f"http://localhost:{one.node(0).port}"
    async with Screen.opened(browser, url, viewport=DESK) as eva:
        eva.watch.expect(r"40[13]")
        await with_authenticator(eva)
        await eva.enrol(town, Role.ADMIN)
        page, change = eva.page, eva.button("rule.change")
        await page.goto(f"{url}/#/admin/rule")
        await expect(page.get_by_role("radio", name=words("rule.device"))).to_be_checked()
        await expect(change).to_be_disabled()
        await page.get_by_role("radio", name=words("rule.passkey")).check()
        await expect(page.get_by_text(words("rule.needs_passkey"))).to_be_visible()
        await expect(change).to_be_disabled()
        await page.get_by_role("radio", name=words("rule.oidc")).check()
        await expect(page.get_by_text(words("rule.needs_sign_in"))).to_be_visible()

        await page.goto(f"{url}/#/admin/me")
        await eva.button("passkeys.add").click()
        await expect(page.get_by_text(words("passkeys.added"))).to_be_visible()

        await page.goto(f"{url}/#/admin/rule")
        await page.get_by_role("radio", name=words("rule.passkey")).check()
        hours = page.get_by_role("spinbutton", name=words("rule.hours"))
        await hours.fill("169")
        await expect(page.get_by_text(words("rule.hours_wrong"))).to_be_visible()
        await expect(change).to_be_disabled()
        await hours.fill("8")
        await change.click()
        sheet = page.get_by_role("dialog", name=words("rule.sure"))
        await expect(sheet).to_contain_text("every 8 hours")
        assert (await town.office.agency()).person == PersonBy.DEVICE
        await sheet.get_by_role("button", name=words("rule.do")).click()
        await expect(page.get_by_text(words("rule.changed"))).to_be_visible()
        agency = await town.office.agency()
        assert (agency.person, agency.person_hours) == (PersonBy.PASSKEY, 8)

        # The last one stays: without it nobody of this membership could sign in.
        await page.goto(f"{url}/#/admin/me")
        await eva.button("passkeys.delete").click()
        dialog = page.get_by_role("dialog", name=words("passkeys.delete_title"))
        await dialog.get_by_role("button", name=words("passkeys.delete")).click()
        await expect(page.get_by_role("alert")).to_have_text(words("passkeys.last"))
