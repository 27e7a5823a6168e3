"""`leeside demo`: a server, a small agency and a drill, on this machine."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import invocation, wait
from leeside.cli.screen import Screen
from leeside.demo.agency import CAST, PASSPHRASE, Agency, kept, make, passphrase_file
from leeside.demo.drill import PACE_S, Drill, taking_part
from leeside.demo.server import Place, bootstrap_code, server_running


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
) -> None:
    """Start a server with a small agency and play a drill in it. Other terminals can take part."""
    run = invocation(context)
    with _folder(data) as root:
        wait(_demo(run.screen, root, once=once, seconds=seconds, pace_s=pace_s, port=port))
    run.screen.say("The demo has ended.", {"ended": True})


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


async def _demo(screen: Screen, root: Path, *, once: bool, seconds: float, pace_s: float, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.ensure_future(_play(screen, root, once=once, pace_s=pace_s, port=port))
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((work, stopping), timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        # A second Ctrl-C while the server ends does what it always does.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        work.cancel()
        stopping.cancel()
        await asyncio.gather(work, stopping, return_exceptions=True)


async def _play(screen: Screen, root: Path, *, once: bool, pace_s: float, port: int) -> None:
    passphrase_file(root)
    async with _standing(screen, root, port) as agency, agency.people() as people:
        _introduce(screen, agency)
        await Drill(agency, people, screen.say, pace_s).play(once=once)


@asynccontextmanager
async def _standing(screen: Screen, root: Path, port: int) -> AsyncGenerator[Agency]:
    """The server with its agency: an earlier run's, or a new one."""
    before = kept(root)
    place = Place(root / "server", root / "server.log", port if before is None else before.port)
    if not screen.json:
        screen.note("Starting a server on this machine …")
    async with server_running(place) as url:
        if before is not None:
            yield Agency(root, url, before)
            return
        if not screen.json:
            screen.note(f"Founding an agency and enrolling {len(CAST)} people …")
        actual = int(url.rpartition(":")[2])
        yield await make(root, url, actual, await bootstrap_code(place))


def _introduce(screen: Screen, agency: Agency) -> None:
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
                "take_part": lines,
            }
        )
        return
    screen.warn(
        f'For the demo only: every key here opens with "{PASSPHRASE}". Never use them for real people.'
    )
    screen.say(f"The server is {agency.url}. To take part, type in another terminal:")
    for line in lines:
        # Never broken by us: these are there to be copied.
        screen.out.print(Text(f"   {line}"), soft_wrap=True)
    screen.say("What the dispatcher's device receives and opens (Ctrl-C ends it):")
