"""The demo, run for real: it plays, people take part from other processes, and it ends cleanly."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.shell import LEESIDE, RUN_S, Shell, line_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PACE = ("--pace", "0.1")


@dataclass(frozen=True, slots=True)
class Running:
    """A demo in another process, from the moment it says how to take part."""

    process: asyncio.subprocess.Process
    lines: asyncio.StreamReader
    invitation: dict[str, Any]

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
            process.kill()
            await process.wait()


def gone(folder: str) -> bool:
    return not Path(folder).exists()


async def test_the_drill_plays_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as running:
        told = (await asyncio.wait_for(running.lines.read(), RUN_S)).decode()
        assert await asyncio.wait_for(running.process.wait(), RUN_S) == 0
    for expected in (
        "URGENT Deniz Aydin",
        "acknowledged by Ana Ruiz",
        "OnScene",
        "Dr Priya Nair: Yes",
        "(live)",
        '"closed"',
        '"ended"',
    ):
        assert expected in told
    assert gone(running.invitation["home"])


async def test_people_take_part_from_other_terminals_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    async with demo(tmp_path, "--data", str(data)) as running:
        terminal = running.shell()
        chat = ("--json", "chat", "Crisis 7", "--profile")
        async with terminal.following(*chat, "deniz", "--follow") as screen:
            await terminal.leeside(*chat, "sofia", "--send", "How are you two doing?")
            heard = msgspec.json.decode(await line_with(screen, "How are you two doing?"))
            assert heard["text"] == "How are you two doing?"
            await line_with(screen, "Copy, Sofia.")
        await line_with(running.lines, "Sofia Marin: How are you two doing?")
        board = (await terminal.leeside("--json", "watch", "--profile", "deniz")).value
        assert board["link"] == "online"
        assert {"status", "position"} <= {row["kind"] for row in board["rows"]}
        assert await running.end() == 0
        server_log = (data / "server.log").read_text()
    assert "Traceback" not in server_log
    assert '"level": "error"' not in server_log
    # The same folder again: the same agency, and what was said still stands.
    async with demo(tmp_path, "--data", str(data)) as again:
        assert again.invitation["units"] == running.invitation["units"]
        said = await again.shell().leeside(*chat, "ana", "--send", "Back again.")
        assert said.value["progress"] == "accepted"
        assert await again.end(signal.SIGTERM) == 0


async def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    shell = Shell.at(tmp_path / "outside")
    refused = await shell.leeside("demo", "--json", "--data", str(precious), code=8)
    assert "not_empty" in refused.err
    assert [p.name for p in precious.iterdir()] == ["thesis.txt"]
    shutil.rmtree(precious)
