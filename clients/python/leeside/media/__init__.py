"""Calls by Python: a device of this library takes part in a consult's call, sealed end to end (spec 09).

    async with Call.join(client, consult, source=Pattern()) as call:
        await call.wait_for(lambda seen: seen.pictures_decoded >= 30, timeout_s=20)

For drills, tests, and machines that show or record what they are let in to. `pip install 'leeside[video]'` brings what it
needs: nothing else in this library imports it.
"""

from __future__ import annotations

import importlib.util

if any(importlib.util.find_spec(name) is None for name in ("aioice", "aiortc", "av", "numpy")):
    raise ImportError("calls need more than the library itself: pip install 'leeside[video]'")

from leeside.media.call import Call, CallRefused, Phase
from leeside.media.outsider import Outsider
from leeside.media.seen import Seen
from leeside.media.showing import Sink
from leeside.media.sources import FilePlayer, Pattern, Source, SourceError

__all__ = [
    "Call",
    "CallRefused",
    "FilePlayer",
    "Outsider",
    "Pattern",
    "Phase",
    "Seen",
    "Sink",
    "Source",
    "SourceError",
]
