"""The command lines `leeside` and `leeside-server` as processes of their own, the way a person runs them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from tests.support.patience import PATIENCE_S
from tests.support.town import PASSPHRASE

LEESIDE = Path(sys.executable).with_name("leeside")
RUN_S = 2 * PATIENCE_S
"""A program of its own, which has all of the library to read before it does anything."""
SHOWN_LINES = 100
_came: WeakKeyDictionary[asyncio.StreamReader, deque[str]] = WeakKeyDictionary()
"""The last lines that were read of each command."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """Standard output, read as the one JSON document that `--json` promises."""
        return msgspec.json.decode(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """A person's shell: a home for profiles, and a passphrase file that only they may read."""

    home: Path
    environment: dict[str, str]

    @classmethod
    def at(cls, home: Path, **more: str) -> Shell:
        """A shell whose profiles live in `home`."""
        home.mkdir(parents=True, exist_ok=True)
        secret = home / "passphrase"
        if not secret.exists():
            secret.touch(0o600)
            secret.write_text(PASSPHRASE)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEESIDE_")}
        ours = {"LEESIDE_HOME": str(home), "LEESIDE_PASSPHRASE_FILE": str(secret)}
        return cls(home, {**kept, **ours, "COLUMNS": "200", **more})

    async def leeside(self, *arguments: str, code: int = 0) -> Done:
        """Run one command to its end; `AssertionError` with what it said when it ends otherwise than expected."""
        process = await self._start(arguments)
        try:
            async with asyncio.timeout(RUN_S):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            raise
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert done.code == code, f"leeside {' '.join(arguments)}: {done.code}\n{done.out}\n{done.err}"
        return done

    @asynccontextmanager
    async def following(self, *arguments: str) -> AsyncGenerator[asyncio.StreamReader]:
        """The lines of a command that goes on until Ctrl-C, which comes at the end of the block."""
        process = await self._start(arguments)
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), RUN_S)

    async def _start(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(LEESIDE),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )


async def line_with(lines: asyncio.StreamReader, text: str) -> str:
    """The next line that contains a text. Raises `TimeoutError`, or `AssertionError` where the command ended before; either
    says which text it was, and what came last: also before, for a line read in search of another is not read again.
    """
    came = _came.setdefault(lines, deque(maxlen=SHOWN_LINES))
    try:
        async with asyncio.timeout(RUN_S):
            while line := (await lines.readline()).decode():
                came.append(line)
                if text in line:
                    return line
    except TimeoutError:
        raise TimeoutError(f"no line with {text!r} within {RUN_S:g} s, after:\n{''.join(came)}") from None
    raise AssertionError(f"the command ended without a line with {text!r}, after:\n{''.join(came)}")
