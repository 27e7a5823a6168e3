"""The demo in another process, from the moment it says how to take part.

async with demo(tmp_path, "--no-web") as running:
    running.links["responder"]
    assert await running.end() == 0
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.support.shell import LEESIDE, RUN_S, Shell, line_with

PACE = ("--pace", "0.1")


@dataclass(frozen=True, slots=True)
class Running:
    """A demo in another process, from the moment it says how to take part."""

    process: asyncio.subprocess.Process
    lines: asyncio.StreamReader
    invitation: dict[str, Any]

    @property
    def links(self) -> dict[str, str]:
        """The first link of each part."""
        links: dict[str, str] = self.invitation["links"]
        return links

    def shell(self) -> Shell:
        """A terminal set up as the demo says."""
        home = Path(self.invitation["home"])
        variables = {
            "LEESIDE_HOME": str(home),
            "LEESIDE_PASSPHRASE_FILE": self.invitation["passphrase_file"],
        }
        plain = Shell.at(home / "terminal")
        return Shell(home, {**plain.environment, **variables})

    async def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), RUN_S)


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncGenerator[Running]:
    shell = Shell.at(folder / "outside", TMPDIR=str(folder))
    process = await asyncio.create_subprocess_exec(
        str(LEESIDE),
        "demo",
        "--json",
        *PACE,
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=shell.environment,
    )
    assert process.stdout is not None
    try:
        line = await line_with(process.stdout, "take_part")
        yield Running(process, process.stdout, msgspec.json.decode(line))
    finally:
        if process.returncode is None:
            # It ends its server and what that has started; killed, it would leave them.
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), RUN_S)
            except TimeoutError:
                process.kill()
                await process.wait()
