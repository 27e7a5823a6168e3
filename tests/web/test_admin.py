"""An administrator at a browser: makes a member and a link, types the code that is read aloud, and lets nobody else in."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol.words import ChannelPurpose, Role
from tests.support.browser import DESK, comes_true
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, settled
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEYS: Final = """\
async () => {
    const names = (await indexedDB.databases()).map(({ name }) => name);
    const found = [];
    const look = (value) => {
        if (value instanceof CryptoKey) found.push([value.type, value.extractable]);
        else if (value !== null && typeof value === 'object') Object.values(value).forEach(look);
    };
    for (const name of names) {
        const base = await new Promise((done, fail) => {
            const opening = indexedDB.open(name);
            opening.onsuccess = () => done(opening.result);
            opening.onerror = () => fail(opening.error);
        });
        for (const table of base.objectStoreNames) {
            const all = base.transaction(table).objectStore(table).getAll();
            await new Promise((done, fail) => { all.onsuccess = done; all.onerror = fail; });
            all.result.forEach(look);
        }
        base.close();
    }
    return found;
}
"""
"""Every key that this browser keeps: its type, and whether a script could read it out."""


async def test_whoever_approves_types_the_code_and_who_signs_out_keeps_nothing(
    browser: Browser, one: Stage, town: Town
) -> None:
    async with (
        town.admin.open(one.url(0)) as office,
        Screen.opened(browser, one.url(0), viewport=DESK) as eva,
        Screen.opened(browser, one.url(0)) as ana,
    ):
        # The authority's key lives in Eva's browser: nothing else signs here.
        await eva.enrol(town, Role.ADMIN, authority=True)
        names = await office.openings.channel(ChannelPurpose.AGENCY, [eva.device])
        await settled(office, names)
        await (await office.name_member(names, eva.member, "Eva Lindt")).wait(timeout_s=WAIT_S)

        # Somebody new, and a link for their telephone.
        page = eva.page
        await page.goto(f"{eva.url}/#/admin/members")
        await expect(page.get_by_text("Eva Lindt", exact=True)).to_be_visible()
        await eva.button("members.new").click()
        await page.get_by_label(words("members.name"), exact=True).fill("Ana Ruiz")
        await page.get_by_label(words("members.discipline"), exact=True).select_option("clinician")
        await eva.button("members.create").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.get_by_role("button", name=words("members.link_for", name="Ana Ruiz")).click()
        await page.get_by_label(words("link.label"), exact=True).fill("Ana's phone")
        await eva.button("link.make").click()
        await expect(page.get_by_role("img", name=words("link.picture"))).to_be_visible()
        link = await page.get_by_label(words("link.url"), exact=True).input_value()

        await ana.page.goto(link)
        await ana.button("enrol.do").click()
        code = await ana.short_code()

        # A code that was misheard lets nobody in; the one that is read aloud does, however it is typed.
        await page.keyboard.press("Escape")
        await page.goto(f"{eva.url}/#/admin/approve")
        waiting = page.get_by_role("listitem").filter(has_text="Ana Ruiz")
        await waiting.get_by_role("button", name=words("approve.compare")).click()
        typed = page.get_by_label(words("approve.code"), exact=True)
        await typed.fill(("0" if code[0] != "0" else "1") + code[1:])
        await eva.button("approve.approve").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
            words("failure.wrong_code")
        )
        await expect(ana.page.get_by_text(words("pending.title"))).to_be_visible()
        await typed.fill(code.replace("-", " ").lower())
        await eva.button("approve.approve").click()
        told = words("approve.approved", name="Ana Ruiz", device="Ana's phone")
        await expect(page.get_by_text(told, exact=True)).to_be_visible()
        await expect(ana.page.get_by_role("navigation", name=words("nav.label"))).to_be_visible()
        await expect(ana.page.get_by_text(words("channel.agency"), exact=True)).to_be_visible()

        # A unit of hers, with a name that is sealed as well.
        await page.goto(f"{eva.url}/#/admin/units")
        await eva.button("units.new").click()
        await page.get_by_label(words("units.name"), exact=True).fill("Crisis 7")
        await page.get_by_role("checkbox", name="Ana Ruiz").check()
        await eva.button("units.create").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_role("listitem").filter(has_text="Crisis 7")).to_contain_text("Ana Ruiz")
        await ana.page.reload()  # her phone asks for the lists once a minute, and when it is opened
        await expect(ana.page.get_by_role("heading", name="Crisis 7")).to_be_visible()

        # What both keep can be used, and read out by nobody.
        for screen in (eva, ana):
            keys: list[tuple[str, bool]] = await screen.page.evaluate(KEYS)
            assert any(kind == "private" for kind, _ in keys)
            assert [kind for kind, extractable in keys if extractable and kind != "public"] == []

        # Who signs out leaves nothing behind, and needs a new link.
        await ana.page.goto(f"{ana.url}/#/me")
        await ana.page.get_by_text(words("me.sign_out"), exact=True).click()
        await ana.button("do.erase").click()
        await expect(ana.page.get_by_role("heading", name=words("ended.signed_out"))).to_be_visible()
        await comes_true(ana.page, "async () => (await indexedDB.databases()).length === 0")
        await ana.page.reload()
        await expect(ana.page.get_by_role("heading", name=words("enrol.title"))).to_be_visible()
