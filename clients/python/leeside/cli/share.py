"""`leeside share`: share a position, played from a GPX track. Off by default, and said aloud while it is on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast

import gpxpy
import gpxpy.gpx
import typer

from leeside.bodies import Fix
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import invocation, wait
from leeside.cli.live import live
from leeside.position import EVERY_S
from leeside_protocol.ids import ChannelId

MAX_GPX_BYTES: Final = 32 * 1024 * 1024
STEP_S: Final = 5.0
"""Time between two points of a track that carries no times."""
ACCURACY_M: Final = 10


@dataclass(frozen=True, slots=True)
class Point:
    """A place of the track, and when it was reached, in seconds from its start."""

    lat_e7: int
    lon_e7: int
    at_s: float


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("share")(share)


def read_track(path: Path) -> list[Point]:
    """The points of a GPX file in order. Times that are missing or go back count five seconds a point."""
    try:
        if path.stat().st_size > MAX_GPX_BYTES:
            raise CommandError(f"{path} is larger than any track.", Exit.FAILED, "gpx")
        track = gpxpy.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"The track cannot be read: {path} ({error.strerror}).", Exit.FAILED, "gpx"
        ) from None
    except (gpxpy.gpx.GPXException, UnicodeDecodeError, ValueError):
        raise CommandError(f"{path} is no GPX track.", Exit.FAILED, "gpx") from None
    points = list(_points(track))
    if not points:
        raise CommandError(f"{path} holds no points.", Exit.FAILED, "gpx")
    return points


def _points(track: gpxpy.gpx.GPX) -> Iterator[Point]:
    at_s = 0.0
    before: datetime | None = None
    first = True
    # gpxpy's types say little: what is taken from it is checked here.
    for data in cast("Iterable[Any]", track.walk(only_points=True)):
        point = cast("Any", data[0] if isinstance(data, tuple) else data)
        lat, lon = float(point.latitude), float(point.longitude)
        time = point.time if isinstance(point.time, datetime) else None
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):
            raise CommandError("A point of the track is not on earth.", Exit.FAILED, "gpx")
        if not first:
            gone_s = STEP_S if time is None or before is None else (time - before).total_seconds()
            at_s += gone_s if gone_s > 0 else STEP_S
        before, first = time, False
        yield Point(round(lat * 1e7), round(lon * 1e7), at_s)


def share(
    context: typer.Context,
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="Where: everyone in it sees the position.")
    ],
    gpx: Annotated[Path, typer.Option("--gpx", help="The track to play.")],
    every_s: Annotated[
        int, typer.Option("--every", min=1, max=3600, help="Seconds between two positions, at least.")
    ] = EVERY_S,
    coarse_m: Annotated[
        int, typer.Option("--coarse", min=0, max=100_000, help="Coarsen to so many metres, on this device.")
    ] = 0,
    speed: Annotated[float, typer.Option(min=0.1, max=1000, help="How much faster than recorded.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
) -> None:
    """Share this device's position along a track, until its end or Ctrl-C. The last position stays, marked as no longer shared."""
    run = invocation(context)
    points = read_track(gpx)

    async def work() -> int:
        sent = 0
        async with live(run) as found:
            info = await found.channel(channel)
            identifier = ChannelId(bytes.fromhex(info.id))
            found.client.start_sharing(identifier, every_s=every_s, coarse_m=coarse_m)
            run.screen.warn(
                f"SHARING this device's position in {channel}: everyone in it sees it. Ctrl-C stops."
            )
            try:
                with run.screen.progress("positions") as step:
                    while True:
                        at_s = points[0].at_s
                        for number, point in enumerate(points):
                            await asyncio.sleep(max(0.0, point.at_s - at_s) / speed)
                            at_s = point.at_s
                            sent += await found.client.move(
                                Fix(point.lat_e7, point.lon_e7, ACCURACY_M, run.now_ms(), coarse_m)
                            )
                            step(number + 1, len(points))
                        if not loop:
                            return sent
            except asyncio.CancelledError:
                # Ctrl-C, which is how people stop: that it has stopped must not be left to be guessed.
                run.screen.warn("No longer sharing.")
                raise
            finally:
                found.client.stop_sharing(identifier)

    sent = wait(work())
    run.screen.say(f"No longer sharing. {sent} positions were sent.", {"sent": sent})
