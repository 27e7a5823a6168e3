"""`leeside consult video`: be in a consult's call from a terminal, with a test pattern or a file, and say what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from leeside.cli.consult_named import ConsultArgument, find_consult
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, invocation, wait
from leeside.cli.live import ONLINE_S, Live, live, need_link, settle
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId

if TYPE_CHECKING:
    from leeside.media import Call, Phase, Seen, Source

PATTERN: Final = "pattern"
NOTHING: Final = "none"
SAY_S: Final = 2.0


def video(
    context: typer.Context,
    consult: ConsultArgument,
    source: Annotated[
        str,
        typer.Option(
            metavar="pattern|none|FILE", help="What is sent: stripes that move, nothing, or a video file."
        ),
    ] = PATTERN,
    seconds: Annotated[float, typer.Option("--for", min=0, help="End after so long; 0: at Ctrl-C.")] = 0.0,
) -> None:
    """Be in the call of an accepted consult, and say what comes. For trying out and drills: nobody sees you."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            await need_link(run, found)
            known = await find_consult(found.desk, consult)
            await settle(found.client, ChannelId(bytes.fromhex(known.channel)), ONLINE_S)
            await _call(run, found, ConsultId(bytes.fromhex(known.id)), _source(source), seconds)

    wait(work())


def _source(named: str) -> Source | None:
    try:
        from leeside.media import FilePlayer, Pattern
    except ImportError as error:
        raise CommandError(str(error), Exit.FAILED, "not_installed") from None
    if named == NOTHING:
        return None
    return Pattern() if named == PATTERN else FilePlayer(Path(named))


async def _call(
    run: Invocation, found: Live, consult: ConsultId, source: Source | None, seconds: float
) -> None:
    from leeside.media import Call, CallRefused, Phase

    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds if seconds else float("inf")
    async with Call.join(found.client, consult, source=source) as call:
        said: Phase | None = None
        while loop.time() < until_s and call.phase is not Phase.OVER:
            now = call.phase
            if now is not said:
                run.screen.say(_WORDS[now], {"phase": now.value})
            said = now
            for device, seen in call.seen.items():
                run.screen.say(_line(found, device, seen), _object(device, seen))
            left_s = max(0.0, until_s - loop.time())
            try:
                await call.wait_for(_moved_from(now), min(SAY_S, left_s))
            except TimeoutError:
                continue
            except CallRefused as refused:
                raise CommandError(f"{refused}.", Exit.FAILED, refused.code.label) from None
        run.screen.say(_ending(call), {"phase": call.phase.value, **_sent(call)})


def _moved_from(phase: Phase) -> Callable[[Call], bool]:
    return lambda call: call.phase is not phase


def _line(found: Live, device: DeviceId, seen: Seen) -> str:
    width, height = seen.size
    wrong = "".join(f", {count} {code.value}" for code, count in sorted(seen.dropped.items()))
    loud = f"   NOT AS IT SHOULD BE: {seen.alarm.value}" if seen.alarm is not None else ""
    return (
        f"{found.who(device, None)}: {seen.pictures_decoded} pictures ({width}x{height}) and "
        f"{seen.sounds_decoded} sounds{wrong}{loud}"
    )


def _object(device: DeviceId, seen: Seen) -> dict[str, object]:
    return {
        "device": device.hex(),
        "pictures": seen.pictures_decoded,
        "sounds": seen.sounds_decoded,
        "width": seen.size[0],
        "height": seen.size[1],
        "dropped": {code.value: count for code, count in seen.dropped.items()},
        "alarm": None if seen.alarm is None else seen.alarm.value,
    }


def _sent(call: Call) -> dict[str, object]:
    own = call.speaking
    return {} if own is None else {"pictures_sent": own.pictures, "sounds_sent": own.sounds}


def _ending(call: Call) -> str:
    own = call.speaking
    if own is None:
        return "You have left the call."
    said = f"You have left the call: {own.pictures} pictures and {own.sounds} sounds were sent."
    return said if own.pictures or own.sounds else f"{said} Nothing is sent before a consent was recorded."


_WORDS: Final = {
    "joining": "Coming into the call …",
    "waiting": "Waiting to be let in.",
    "live": "In the call.",
    "reconnecting": "The way to the bridge is lost; looking for another one …",
    "over": "The call is over.",
    "refused": "No seat in the call.",
}
