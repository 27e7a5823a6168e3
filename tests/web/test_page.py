"""The page as it is served: under the strict policy, from one origin, without an error."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESK, PHONE, watched
from tests.support.stage import Stage
from tests.support.town import until


async def test_the_page_loads_under_the_strict_policy_and_asks_nobody_else(
    browser: Browser, one: Stage
) -> None:
    for viewport in (PHONE, DESK):
        async with watched(browser, one.url(0), viewport=viewport) as (context, watch):
            page = await context.new_page()
            response = await page.goto(one.url(0), wait_until="networkidle")
            assert response is not None
            assert "'unsafe" not in response.headers["content-security-policy"]
            assert len(watch.requests) > 1
            assert await page.title() == "Leeside"


async def misbehave(browser: Browser, url: str, what: str) -> None:
    """A page that does something which it may not."""
    async with watched(browser, url) as (context, watch):
        page = await context.new_page()
        await page.goto(url)
        await page.evaluate(f"() => {{ {what} }}")
        await until(watch.unexpected, "it barks")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("new Image().src = 'https://example.org/x.png'", "left the origin|content policy: img-src"),
        ("void import('data:text/javascript,1').catch(() => 0)", "script-src"),
        ("setTimeout(() => { document.createElement('script').text = '1' })", "TrustedScript"),
        ("setTimeout(() => { document.body.innerHTML = '<b>' })", "TrustedHTML"),
        ("console.error('oh')", "oh"),
        ("setTimeout(() => { throw new Error('thrown') })", "thrown"),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
    ],
)
async def test_the_watch_sees_what_it_is_there_for(
    browser: Browser, one: Stage, what: str, told: str
) -> None:
    """A guard that never barks proves nothing."""
    with pytest.raises(AssertionError, match=told):
        await misbehave(browser, one.url(0), what)
