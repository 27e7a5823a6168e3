"""The server of the demo: `leeside-server` as a process of its own, on embedded defaults.

The client library and the server share no code but the protocol, so this knows the server by its command line only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

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
    """Where the demo's server keeps things. `port` 0 takes any free one."""

    data: Path
    log: Path
    port: int = 0


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
    return {
        **kept,
        "LEESIDE_HOST": HOST,
        "LEESIDE_PORT": str(place.port),
        "LEESIDE_DATA_DIR": str(place.data),
        "LEESIDE_LOG_FORMAT": "json",
    }


@asynccontextmanager
async def server_running(place: Place) -> AsyncGenerator[str]:
    """The server for as long as the block runs; yields its address. Raises `ServerMissing` when it does not start."""
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
        yield f"http://{HOST}:{await _port(process, place)}"
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
