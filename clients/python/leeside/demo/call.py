"""The demo's call: Dr Nair comes into it by herself, with moving stripes for a picture; and a check of what passes, and what the
bridge can make of it.

Needs the extra `video`; a demo without it has no calls and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from leeside.bodies import Consent, ConsentBy, ConsentMethod
from leeside.client import Leeside
from leeside.demo.agency import Agency
from leeside.errors import LeesideError
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId
from leeside_protocol.video.signalling import Part

if TYPE_CHECKING:
    from leeside.media import Call

CHECKED_S: Final = 90.0
"""How long the check waits for what it wants to see, on a slow machine."""
PICTURES: Final = 30
_HOUR_MS: Final = 3_600_000
_SHIFT_S: Final = 8 * 3_600.0

Tell = Callable[[str, dict[str, object]], None]


def possible() -> bool:
    """Whether the packages of the extra `video` are here."""
    return all(importlib.util.find_spec(name) is not None for name in ("aioice", "aiortc", "av"))


async def sit(client: Leeside, consult: ConsultId, tell: Tell) -> None:
    """Be in a consult's call with a test pattern until it is over. What goes wrong is told, and the demo goes on."""
    if not possible():
        return
    from leeside.media import Call, Pattern, Phase

    try:
        async with Call.join(client, consult, source=Pattern()) as call:
            await call.wait_for(lambda one: one.phase is Phase.LIVE, CHECKED_S)
            tell("   [video]    Dr Priya Nair is in the call", {"consult": consult, "video": "live"})
            await call.wait_for(lambda one: one.phase is Phase.OVER, _SHIFT_S)
    except Exception as error:  # noqa: BLE001
        # Whatever broke in it, who tries the demo goes on; `--video-check` is there to judge.
        match error:
            case LeesideError():
                why = str(error)
            case TimeoutError():
                why = "the bridge did not answer in time"
            case _:
                why = f"it broke ({type(error).__name__})"
        tell(f"   [video]    no call: {why}", {"consult": consult, "video": "none"})


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check saw: pictures decoded at both ends, and how many of those that passed it somebody at the bridge
    could see."""

    responder: int
    psychiatrist: int
    passed: int
    bridge: int

    @property
    def holds(self) -> bool:
        """Whether a call goes through, and the bridge sees nothing."""
        return min(self.responder, self.psychiatrist) >= PICTURES and self.passed > 0 and self.bridge == 0


async def check(agency: Agency, people: dict[str, Leeside], tell: Tell) -> Checked:
    """Once there is a ladder: ask for a consult as Ana, come as Dr Nair, agree to a call, and call. Raises `LeesideError`, `TimeoutError`."""
    from leeside.media import Call, Outsider, Pattern

    ana, priya, outsider = people["ana"], people["priya"], Outsider()
    rings = priya.follow()
    asked = await ana.consults.request("A check of the call.", unit=agency.unit(0))
    consult, channel = ConsultId(bytes.fromhex(asked.id)), ChannelId(bytes.fromhex(asked.channel))
    try:
        async with asyncio.timeout(CHECKED_S):
            while consult not in priya.consults.known:
                await rings.next()
        await priya.consults.accept(consult)
        await priya.consults.join(consult)
        await (await ana.record_consent(channel, agreed())).wait(timeout_s=CHECKED_S)
        tell("   [video]    a consult is accepted, and consent recorded", {"consult": asked.id})
        async with (
            Call.join(ana, consult, source=Pattern(), person=True) as near,
            Call.join(priya, consult, source=Pattern(), sink=outsider, tap=outsider) as far,
        ):
            for call, other in ((near, priya), (far, ana)):
                await call.wait_for(_sees(other.device), CHECKED_S)
            return Checked(
                near.seen[priya.device].pictures_decoded,
                far.seen[ana.device].pictures_decoded,
                outsider.frames,
                outsider.recognised,
            )
    finally:
        rings.close()
        with contextlib.suppress(LeesideError):
            await ana.consults.end(consult)


def _sees(device: DeviceId) -> Callable[[Call], bool]:
    return lambda call: device in call.seen and call.seen[device].pictures_decoded >= PICTURES


def agreed() -> Consent:
    """What an invented person agreed to, for an hour."""
    return Consent(
        ConsentBy.PERSON,
        "picture and sound",
        "a demonstration",
        tuple(Part),
        time.time_ns() // 1_000_000 + _HOUR_MS,
        ConsentMethod.SPOKEN,
    )
