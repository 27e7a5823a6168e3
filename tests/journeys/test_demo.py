"""The demo, run for real: it plays, people take part from other processes, and it ends cleanly."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import pytest

from leeside.api import Api
from leeside.bodies import Recommendation
from leeside.demo.call import PICTURES, agreed
from leeside.demo.lan import NoNetwork, own_address
from leeside.events import Report, Ring
from leeside.media import Call, Pattern
from leeside.profile import Identity
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, ConsultId, MemberId
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.words import Role, Urgency
from tests.support.demo import Running, demo
from tests.support.shell import RUN_S, Shell, line_with
from tests.support.town import Person, now_ms, until

QUIET = ("--pace", "60")
"""The drill says next to nothing meanwhile: for what is not about it, the sooner done and the easier read."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def gone(folder: str) -> bool:
    return not Path(folder).exists()


async def test_the_drill_plays_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as running:
        told = (await asyncio.wait_for(running.lines.read(), 2 * RUN_S)).decode()
        assert await asyncio.wait_for(running.process.wait(), RUN_S) == 0
    for expected in (
        "URGENT Deniz Aydin",
        "acknowledged by Ana Ruiz",
        "OnScene",
        "Dr Priya Nair: Yes",
        "(live)",
        '"closed"',
        '"ended"',
    ):
        assert expected in told
    assert gone(running.invitation["home"])


async def test_people_take_part_from_other_terminals_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    async with demo(tmp_path, "--data", str(data)) as running:
        terminal = running.shell()
        chat = ("--json", "chat", "Crisis 7", "--profile")
        async with terminal.following(*chat, "deniz", "--follow") as screen:
            await terminal.leeside(*chat, "sofia", "--send", "How are you two doing?")
            heard = msgspec.json.decode(await line_with(screen, "How are you two doing?"))
            assert heard["text"] == "How are you two doing?"
            await line_with(screen, "Copy, Sofia.")
        await line_with(running.lines, "Sofia Marin: How are you two doing?")
        board = (await terminal.leeside("--json", "watch", "--profile", "deniz")).value
        assert board["link"] == "online"
        assert {"status", "position"} <= {row["kind"] for row in board["rows"]}
        assert await running.end() == 0
        server_log = (data / "server.log").read_text()
    assert "Traceback" not in server_log
    assert '"level": "error"' not in server_log
    # The same folder again: the same agency, and what was said still stands.
    async with demo(tmp_path, "--data", str(data)) as again:
        assert again.invitation["units"] == running.invitation["units"]
        said = await again.shell().leeside(*chat, "ana", "--send", "Back again.")
        assert said.value["progress"] == "accepted"
        assert await again.end(signal.SIGTERM) == 0


async def come_in(running: Running, part: str, folder: Path) -> Person:
    """What a browser does with a link: keys of its own, the code, and no word with anybody."""
    link = urlsplit(running.links[part])
    fragment = dict(parse_qsl(link.fragment))
    url, root = f"{link.scheme}://{link.netloc}", bytes.fromhex(fragment["root"])
    keys = DeviceKeys.create(os.urandom, now_ms())
    code = fragment["enrol"]
    async with Api(url) as api:
        enrolled = await api.redeem(
            r.Redeem(code, keys.identity.public, keys.enrolment_proof(code), keys.newest.encode())
        )
    identity = Identity(Directory(root).agency_id, bytes.fromhex(enrolled.member), keys.device_id, root)
    return Person(part, MemberId(identity.member), Role(part), keys, identity, folder / part)


async def test_who_opens_a_link_is_let_in_and_the_next_one_is_shown(tmp_path: Path) -> None:
    async with demo(tmp_path, "--pace", "0.3") as running:
        url = running.invitation["url"]
        links = running.links
        assert set(links) == {"responder", "psychiatrist", "dispatcher", "supervisor", "admin"}
        assert {part for part in links if "authority=" in links[part]} == {"admin"}
        guest = await come_in(running, "dispatcher", tmp_path)
        renewed: str = msgspec.json.decode(await line_with(running.lines, '"links"'))["links"]["dispatcher"]
        assert renewed != links["dispatcher"]
        async with guest.open(url) as client:
            purposes = {"agency", "unit", "desk", "incident"}
            await until(lambda: {info.purpose for info in client.channels()} >= purposes, "all channels")
            agency = ChannelId(
                bytes.fromhex(next(info.id for info in client.channels() if info.purpose == "agency"))
            )
            await until(lambda: "Dario Weiss" in client.board(agency).names.values(), "their own name")
            units = [bytes.fromhex(channel) for channel in running.invitation["channels"]]
            await client.send(ChannelId(units[0]), "Who is on tonight?")
            await line_with(running.lines, "Dario Weiss: Who is on tonight?")
            await line_with(running.lines, "Copy, Dario.")
        # A second person by the next link is another one: nobody's devices are mixed up.
        running.links["dispatcher"] = renewed
        second = await come_in(running, "dispatcher", tmp_path / "second")
        assert second.member != guest.member
        await line_with(running.lines, second.device.hex())
        assert await running.end() == 0


async def test_a_consult_is_answered_by_dr_nair_unless_a_psychiatrist_came(tmp_path: Path) -> None:
    async with demo(tmp_path, *QUIET) as running:
        url = running.invitation["url"]
        asking = await come_in(running, "responder", tmp_path)
        async with asking.open(url) as client:
            await until(lambda: any(i.purpose == "unit" for i in client.channels()), "the unit's channel")
            consult = await client.consults.request("Which dose can wait?", urgency=Urgency.URGENT)
            for tried in ("paged", "accepted", "joined"):
                await line_with(running.lines, f'"tried":"{tried}"')
            channel = ChannelId(bytes.fromhex(consult.channel))
            await until(
                lambda: any(
                    isinstance(x, Report) and isinstance(x.content, Recommendation)
                    for x in client.history(channel)
                ),
                "a recommendation",
            )
            await client.consults.end(ConsultId(bytes.fromhex(consult.id)))
            # Whoever comes by the psychiatrist's link holds the rota from then on: it rings there, and Dr Nair waits her turn.
            coming = await come_in(running, "psychiatrist", tmp_path)
            await line_with(running.lines, coming.device.hex())
            async with coming.open(url) as psychiatrist:
                rings = psychiatrist.follow()
                asked = await client.consults.request("And this one?")
                async with asyncio.timeout(RUN_S):
                    async for event in rings:
                        if isinstance(event, Ring):
                            assert event.consult.id == asked.id
                            break
                await psychiatrist.consults.accept(ConsultId(bytes.fromhex(asked.id)))
                await line_with(running.lines, '"tried":"accepted"')
        assert await running.end() == 0


async def test_dr_nair_comes_into_the_call_and_its_link_is_shown(tmp_path: Path) -> None:
    async with demo(tmp_path, *QUIET) as running:
        asking = await come_in(running, "responder", tmp_path)
        async with asking.open(running.invitation["url"]) as client:
            await until(lambda: any(i.purpose == "unit" for i in client.channels()), "the unit's channel")
            asked = await client.consults.request("Can you see him?", urgency=Urgency.URGENT)
            consult, channel = ConsultId(bytes.fromhex(asked.id)), ChannelId(bytes.fromhex(asked.channel))
            link = msgspec.json.decode(await line_with(running.lines, "video_link"))["video_link"]
            assert link == f"{running.invitation['url']}/#/consult/{asked.id}/call"
            await client.record_consent(channel, agreed())
            async with Call.join(client, consult, source=Pattern(), person=True) as call:
                await call.wait_for(
                    lambda one: any(seen.pictures_decoded > 5 for seen in one.seen.values()), RUN_S
                )
                await line_with(running.lines, '"video":"live"')
            await client.consults.end(consult)
        assert await running.end() == 0


async def test_the_check_of_the_call_shows_it_at_both_ends_and_nothing_at_the_bridge(tmp_path: Path) -> None:
    shell = Shell.at(tmp_path / "outside", TMPDIR=str(tmp_path))
    done = await shell.leeside("demo", "--json", "--no-web", "--video-check")
    (seen,) = [said for line in done.out.splitlines() if "bridge" in (said := msgspec.json.decode(line))]
    assert min(seen["responder"], seen["psychiatrist"]) >= PICTURES
    assert seen["passed"] > 0
    assert seen["bridge"] == 0


async def test_without_the_web_there_are_no_links(tmp_path: Path) -> None:
    async with demo(tmp_path, "--no-web") as running:
        assert running.links == {}
        assert await running.end() == 0


async def test_on_a_network_it_speaks_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    try:
        address = own_address()
    except NoNetwork:
        refused = await Shell.at(tmp_path / "outside").leeside("demo", "--json", "--lan", code=1)
        assert "on no network" in refused.err
        return
    async with demo(tmp_path, "--lan", "--data", str(data)) as running:
        assert running.invitation["url"].startswith("https://127.0.0.1:")
        authority = Path(running.invitation["authority"])
        assert all(link.startswith(f"https://{address}:") for link in running.links.values())
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=authority)) as browser:
            link = urlsplit(running.links["responder"])
            page = await browser.get(f"{link.scheme}://{link.netloc}/")
            assert page.status_code == 200
            assert "max-age" in page.headers["strict-transport-security"]
        said = await running.shell().leeside(
            "--json", "chat", "Crisis 7", "--profile", "ana", "--send", "Over TLS."
        )
        assert said.value["progress"] == "accepted"
        for name in ("authority.key", "server.key"):
            assert (data / "lan" / name).stat().st_mode & 0o077 == 0
        assert await running.end() == 0


async def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    shell = Shell.at(tmp_path / "outside")
    refused = await shell.leeside("demo", "--json", "--data", str(precious), code=8)
    assert "not_empty" in refused.err
    assert [p.name for p in precious.iterdir()] == ["thesis.txt"]
    shutil.rmtree(precious)
