"""`leeside demo`: a server, a small agency and a drill, on this machine."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import invocation, wait
from leeside.cli.screen import Screen
from leeside.client import Leeside
from leeside.demo import call, oncall
from leeside.demo.agency import CAST, PASSPHRASE, Agency, kept, make, moved, passphrase_file, trusted
from leeside.demo.drill import PACE_S, Drill, taking_part
from leeside.demo.guests import Guests
from leeside.demo.lan import Lan, own_address, prepared
from leeside.demo.oncall import Colleague
from leeside.demo.server import Place, bootstrap_code, page_served, server_running
from leeside_protocol.ids import MemberId


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Keep everything here, and go on with it next time; else it is deleted."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Play the drill once and end.")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0: at Ctrl-C.")] = 0.0,
    pace_s: Annotated[
        float, typer.Option("--pace", min=0.0, max=60.0, help="Seconds between two lines of the drill.")
    ] = PACE_S,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The server's port; 0: any free one.")] = 0,
    lan: Annotated[
        bool, typer.Option("--lan", help="Over HTTPS for phones and others on this network.")
    ] = False,
    web: Annotated[bool, typer.Option("--web/--no-web", help="Links for browsers.")] = True,
    video_check: Annotated[
        bool,
        typer.Option(
            "--video-check", help="No drill: a call of two, and what of it each end sees, and the bridge."
        ),
    ] = False,
) -> None:
    """Start a server with a small agency and play a drill in it. Browsers and other terminals can take part."""
    run = invocation(context)
    with _folder(data) as root:
        # Before anything is started: without a network there is nothing to offer it to.
        reached = prepared(root, own_address()) if lan else None
        place = Place(root / "server", root / "server.log", port, reached)
        wait(_demo(run.screen, root, place, Play(once, seconds, pace_s, web, video_check)))
    run.screen.say("The demo has ended.", {"ended": True})


@dataclass(frozen=True, slots=True)
class Play:
    """How the drill is played."""

    once: bool
    seconds: float
    pace_s: float
    web: bool
    video_check: bool


@contextmanager
def _folder(data: Path | None) -> Generator[Path]:
    if data is not None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = data.resolve()
        if kept(root) is None and any(root.iterdir()):
            raise CommandError(
                f"{root} holds something else than a demo. Name an empty folder.", Exit.CONFLICT, "not_empty"
            )
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="leeside-demo-") as name:
        yield Path(name)


async def _demo(screen: Screen, root: Path, place: Place, how: Play) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.ensure_future(_play(screen, root, place, how))
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((work, stopping), timeout=how.seconds or None, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        # A second Ctrl-C while the server ends does what it always does.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        work.cancel()
        stopping.cancel()
        await asyncio.gather(work, stopping, return_exceptions=True)


async def _play(screen: Screen, root: Path, place: Place, how: Play) -> None:
    passphrase_file(root)
    async with _standing(screen, root, place) as agency, agency.people() as people:
        if how.video_check:
            await _check_video(screen, agency, people)
            return
        drill = Drill(agency, people, screen.say, how.pace_s)
        if not how.web or not await page_served(agency.url, trusted(agency.url, root)):
            if how.web:
                screen.warn("No page is served: the web client is not part of this installation.")
            _introduce(screen, agency, {}, place)
            await drill.play(once=how.once)
            return

        def told(line: str, value: dict[str, object]) -> None:
            if screen.json:
                screen.say(line, value)
            else:
                screen.out.print(Text(line), soft_wrap=True)  # a broken link would be no link

        async with Guests.invited(agency, people, told) as guests:
            _introduce(screen, agency, guests.links, place)
            colleague = Colleague(
                people["priya"],
                people["sofia"],
                lambda m: agency.shown(MemberId(bytes.fromhex(m))),
                told,
                agency.public or agency.url,
            )
            works = [
                asyncio.ensure_future(work)
                for work in (guests.attend(), colleague.attend(), drill.play(once=how.once))
            ]
            try:
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for task in works:
                    if task.done():
                        task.result()
            finally:
                for task in works:
                    task.cancel()
                await asyncio.gather(*works, return_exceptions=True)


async def _check_video(screen: Screen, agency: Agency, people: dict[str, Leeside]) -> None:
    if not call.possible():
        raise CommandError("Calls need more: pip install 'leeside[video]'.", Exit.FAILED, "not_installed")
    async with agency.office() as office:
        await oncall.stand(office, agency.made.members["priya"])
    try:
        seen = await call.check(agency, people, screen.say)
    except TimeoutError:
        raise CommandError("No call came about in time.", Exit.TRY_AGAIN, "no_call") from None
    screen.say(
        f"Pictures decoded: {seen.responder} at the responder's, {seen.psychiatrist} at the psychiatrist's, and "
        f"{seen.bridge} of the {seen.passed} that passed the bridge.",
        {
            "responder": seen.responder,
            "psychiatrist": seen.psychiatrist,
            "passed": seen.passed,
            "bridge": seen.bridge,
        },
    )
    if not seen.holds:
        raise CommandError("That is not as it should be.", Exit.ALARM, "video_check")


@asynccontextmanager
async def _standing(screen: Screen, root: Path, place: Place) -> AsyncGenerator[Agency]:
    """The server with its agency: an earlier run's, or a new one."""
    before = kept(root)
    if before is not None and not place.port:
        place = replace(place, port=before.port)
    if not screen.json:
        screen.note("Starting a server on this machine …")
    async with server_running(place) as port:
        url = place.url(port)
        if before is not None:
            moved(root, url)
            yield Agency(root, url, before, place.public(port))
            return
        if not screen.json:
            screen.note(f"Founding an agency and enrolling {len(CAST)} people …")
        made = await make(root, url, port, await bootstrap_code(place))
        yield replace(made, public=place.public(port))


def _introduce(screen: Screen, agency: Agency, links: dict[str, str], place: Place) -> None:
    lines = taking_part(agency)
    if screen.json:
        screen.document(
            {
                "url": agency.url,
                "home": str(agency.root),
                "passphrase_file": str(agency.root / "passphrase"),
                "profiles": [c.name for c in CAST],
                "units": list(agency.made.units),
                "channels": list(agency.made.channels),
                "links": links,
                "authority": "" if place.lan is None else str(place.lan.authority),
                "take_part": lines,
            }
        )
        return
    screen.warn(
        f'For the demo only: every key here opens with "{PASSPHRASE}". Never use them for real people.'
    )
    if links:
        where = "on this machine" if place.lan is None else "on this network"
        screen.say(f"Open these in browsers {where}, each in a profile or private window of its own:")
        for part, link in links.items():
            screen.out.print(Text(f"   {part:13}{link}"), soft_wrap=True)
        screen.say("A link works once and for 15 minutes; the next one is shown here.")
        screen.say(
            "Ask for a consult as the responder: it rings at the psychiatrist's, and climbs to Dr Nair, who comes by herself."
        )
        screen.say(
            "Once it is accepted, the link of its call is shown here. A call begins when consent was recorded."
            if call.possible()
            else "No calls here: they need more (pip install 'leeside[video]')."
        )
    if place.lan is not None:
        _explain_lan(screen, place.lan, agency.public)
    screen.say(f"The server is {agency.url}. To take part from another terminal, type there:")
    for line in lines:
        # Never broken by us: these are there to be copied.
        screen.out.print(Text(f"   {line}"), soft_wrap=True)
    screen.say("What the dispatcher's device receives and opens (Ctrl-C ends it):")


def _explain_lan(screen: Screen, lan: Lan, public: str) -> None:
    """How a phone comes to trust this machine, and what works by name only."""
    screen.say(f"A phone must trust this demo first. Send it {lan.authority}, open it there and install it:")
    screen.say(
        "   iPhone:  Settings > General > VPN & Device Management; then About > Certificate Trust Settings"
    )
    screen.say(
        "   Android: Settings > Security > Encryption & credentials > Install a certificate > CA certificate"
    )
    screen.say(f"   Compare its SHA-256: {lan.fingerprint}")
    screen.say("   Remove it from the phone after the demo.")
    named = public.replace(lan.address, lan.names[0]) if lan.names else ""
    instead = f"; where the network knows this machine's name, use {named}" if named else ""
    screen.say(f"   Passkeys need a name and do not work on an address{instead}.")
