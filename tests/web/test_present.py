"""Status and place: said on one node, seen on the other, and ended by the one who is seen."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import UnitId
from leeside_protocol.words import ChannelPurpose, Discipline, PrimaryStatus, Role, SecondaryStatus
from tests.support.stage import Stage
from tests.support.town import Town, settled, until
from tests.support.web_words import pattern, words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

QUAY_STREET = {"latitude": 47.5644, "longitude": 19.1278, "accuracy": 12.0}


async def test_status_and_position_reach_the_dispatcher_on_the_other_node(
    browser: Browser, two: Stage, city: Town
) -> None:
    deniz = await city.enrol("deniz", Role.DISPATCHER)
    async with (
        deniz.open(two.url(1)) as desk,
        Screen.opened(browser, two.url(0), geolocation=QUAY_STREET, permissions=["geolocation"]) as ana,
    ):
        await ana.enrol(city, Role.RESPONDER, Discipline.CLINICIAN)
        made = await city.office.create_unit(r.NewUnit((ana.member.hex(),)))
        unit = UnitId(bytes.fromhex(made.id))
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=unit)
        await settled(desk, channel)
        await ana.page.evaluate("() => { location.hash = '#/' }")
        # One tap: the row of statuses is on the first screen.
        await ana.page.get_by_role("button", name=words("status.EnRoute")).first.click()
        await until(lambda: desk.board(channel).statuses.get(unit) is not None, "the status")
        status = desk.board(channel).statuses.get(unit)
        assert status is not None
        assert (status.status.primary, status.status.secondary) == (
            PrimaryStatus.NOT_AVAILABLE,
            SecondaryStatus.EN_ROUTE,
        )
        await ana.open_channel(channel)
        await ana.page.get_by_label(words("place.open_off")).click()
        await ana.button("place.begin").click()
        await until(
            lambda: (p := desk.board(channel).position(ana.device)) is not None and p.fix is not None,
            "the place",
        )
        found = desk.board(channel).position(ana.device)
        assert found is not None
        assert found.fix is not None
        assert abs(found.fix.lat_e7 - 475_644_000) < 10
        await expect(ana.page.get_by_text(pattern("place.bar"))).to_be_visible()
