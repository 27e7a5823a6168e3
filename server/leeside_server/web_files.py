"""What `doctor` says of the web client: whether it is here, whole, and may open a socket."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from leeside_server.config import Config
from leeside_server.findings import Finding, Verdict
from leeside_server.relay.web import DIST, INDEX, MAP

_OURS: Final = "<title>Leeside</title>"
_NAMED: Final = re.compile(r'(?:src|href)="/([^"?#]+)')
_PMTILES: Final = b"PMTiles\x03"
"""How a PMTiles file of version 3 begins."""


def examine_web(config: Config, dist: Path = DIST) -> Sequence[Finding]:
    """The page, the origins that it may be served from, and the map."""
    page = web_client(dist)
    if page.verdict is not Verdict.WELL:
        return (page,)
    return (page, origins(config.server.public_origins), town_map(config.web.map_file or dist / MAP))


def web_client(dist: Path) -> Finding:
    """Whether the built client is there, ours, and with all the files that its page names."""
    again = "Install the wheel again, or build it in a checkout: ./dev demo"
    try:
        text = (dist / INDEX).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Finding(
            "web",
            Verdict.WARNING,
            "The web client is not here: browsers get a page that says so. Everything else works.",
            again,
        )
    if _OURS not in text:
        return Finding("web", Verdict.BAD, f"{dist / INDEX} is not the page of this web client.", again)
    missing = [name for name in _NAMED.findall(text) if not (dist / name).is_file()]
    if missing:
        return Finding(
            "web",
            Verdict.BAD,
            f"The web client lacks {len(missing)} of the files that its page names.",
            again,
            len(missing),
            "files",
        )
    return Finding("web", Verdict.WELL, "The web client is here, with all the files that its page names.")


def origins(served: Sequence[str]) -> Finding:
    """Whether any page may open a socket."""
    if not served:
        return Finding(
            "web_origins",
            Verdict.WARNING,
            "The web client is served, and no page may open a socket: [server] public_origins is empty.",
            'Write the address that browsers reach it by, such as "https://relay.example.org".',
        )
    return Finding("web_origins", Verdict.WELL, f"Pages of {', '.join(served)} may open a socket.")


def town_map(path: Path) -> Finding:
    """Whether the map can be read, and is one."""
    readable = path.is_file() and os.access(path, os.R_OK)
    if readable:
        with path.open("rb") as file:
            begins = file.read(len(_PMTILES))
        if begins == _PMTILES:
            return Finding("map", Verdict.WELL, f"The map is {path}.")
    return Finding(
        "map",
        Verdict.WARNING,
        f"The map {path} {'is not a PMTiles file' if readable else 'cannot be read'}: the board works without one.",
        "Set [web] map_file to a PMTiles file (version 3) that this user may read.",
    )
