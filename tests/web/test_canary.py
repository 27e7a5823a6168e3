"""What a person says in a browser is found neither on its disk nor on the wire; what was not sealed is found in both."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser

from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.line import open_line
from tests.support.stage import Stage
from tests.support.town import Town, settled, texts, until
from tests.support.traces import Canary, files_below, found
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

_OPENLY: Final = """\
async ([kept, sent]) => {
    await new Promise((done, fail) => {
        const opening = indexedDB.open('unsealed', 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore('rows');
        opening.onerror = fail;
        opening.onsuccess = () => {
            const write = opening.result.transaction('rows', 'readwrite', { durability: 'strict' });
            write.objectStore('rows').put(kept, 1);
            write.oncomplete = done;
        };
    });
    await fetch('/healthz', { headers: { 'X-Canary': sent } });
}
"""
"""What a client without sealing would leave: a row on the disk, and a word on the wire."""


def word() -> str:
    """A text that exists nowhere else."""
    return f"canary{secrets.token_hex(16)}"


async def test_what_is_said_in_a_browser_is_found_nowhere_and_what_was_not_sealed_is(
    browser: Browser, one: Stage, town: Town, spare_port: int, tmp_path: Path
) -> None:
    said, heard, name = word(), word(), word()
    kept_openly, sent_openly = word(), word()
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    profile = tmp_path / "profile"
    async with (
        open_line(one.node(0).port, spare_port) as line,
        deniz.open(one.url(0)) as desk,
    ):
        async with Screen.opened(browser, line.url, folder=profile) as ana:
            await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
            channel = await desk.openings.channel(
                ChannelPurpose.UNIT, [ana.device], subject=await town.unit()
            )
            await settled(desk, channel)
            await ana.open_channel(channel)
            await ana.say(said)
            await until(lambda: said in texts(desk, channel), "it arrived")
            await desk.name_member(channel, deniz.member, name)
            await desk.send(channel, heard)
            await ana.sees(heard)
            # What is written and not sent yet is kept as well.
            line.cut()
            ana.watch.expect("ERR_|WebSocket|Failed to load")
            waiting = word()
            await ana.say(waiting)
            await ana.sees(waiting)
            line.mend()
            await until(lambda: waiting in texts(desk, channel), "it is sent later")
            await ana.page.evaluate(_OPENLY, [kept_openly, sent_openly])
        wire = line.heard()
    # The browser has ended: all that it keeps is in these files.
    places = {f"profile/{path}": data for path, data in files_below(profile).items()} | {"wire": wire}
    sealed = [
        Canary(what, text.encode())
        for what, text in {"said": said, "heard": heard, "name": name, "waiting": waiting}.items()
    ]
    in_utf16 = [Canary(f"{canary.name}, as a browser keeps text", _utf16(canary.plain)) for canary in sealed]
    assert found([*sealed, *in_utf16], places) == {}
    traces = found([Canary("kept", kept_openly.encode()), Canary("sent", sent_openly.encode())], places)
    assert any(place.startswith("profile/") for place in traces["kept"]), "the search is blind on the disk"
    assert "wire" in traces["sent"], "the search is blind on the wire"


def _utf16(plain: bytes) -> bytes:
    return plain.decode().encode("utf-16-le")
