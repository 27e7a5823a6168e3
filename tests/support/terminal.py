"""`leeside` as a process of its own: on a terminal that a test reads and types on, or with its output in a pipe.

    with Terminal.start(ana, "chat", "Unit 4") as screen:
        screen.wait_for("live")
        screen.type("/who")

The terminal is emulated (pyte), so that a test sees what a person sees: 80 columns, redrawn lines and all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyte

from tests.support.patience import PATIENCE_S
from tests.support.prompt import Prompt
from tests.support.shell import LEESIDE

COLUMNS: Final = 80
ROWS: Final = 40
WAIT_S: Final = PATIENCE_S
_READ_BYTES: Final = 65_536


def environment(person: Prompt, **more: str) -> dict[str, str]:
    """What the process sees: this person's profiles, and nothing that the machine says about Leeside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LEESIDE_") and k != "COLUMNS"}
    ours = {"LEESIDE_HOME": str(person.home), "LEESIDE_PASSPHRASE_FILE": str(person.home / "passphrase")}
    return {**kept, **ours, "TERM": "xterm-256color", **more}


def command(person: Prompt, *args: object) -> list[str]:
    """The command line of that person's profile."""
    return [str(LEESIDE), "--profile", person.name, *person.more, *(str(arg) for arg in args)]


class Answering(pyte.HistoryScreen):
    """A screen that answers when it is asked where its cursor is, as terminals do."""

    def __init__(self, master: int) -> None:
        super().__init__(COLUMNS, ROWS, history=1_000)
        self._master = master

    def write_process_input(self, data: str) -> None:
        os.write(self._master, data.encode())


@dataclass(slots=True)
class Terminal:
    """A command on a terminal of 80 columns. `end` and leaving the block see it out."""

    process: subprocess.Popen[bytes]
    master: int
    screen: Answering
    stream: pyte.ByteStream

    @classmethod
    @contextlib.contextmanager
    def start(cls, person: Prompt, *args: object, **more: str) -> Generator[Terminal]:
        """Run a command on a terminal; whatever still runs at the end of the block is killed."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(
            command(person, *args),
            env=environment(person, **more),
            # Its own terminal, so that Ctrl-C reaches it and nobody else.
            preexec_fn=lambda: os.login_tty(slave),  # noqa: PLW1509 - these tests have one thread
        )
        os.close(slave)
        screen = Answering(master)
        terminal = cls(process, master, screen, pyte.ByteStream(screen))
        try:
            yield terminal
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(master)

    def read(self, timeout_s: float = 0.05) -> bool:
        """Take in what was written; false once the command has ended and all was read."""
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.master, _READ_BYTES)
        except OSError:
            return False
        self.stream.feed(data)
        return bool(data)

    @property
    def text(self) -> str:
        """The whole screen, with what has scrolled out above."""
        above = ["".join(line[x].data for x in range(COLUMNS)).rstrip() for line in self.screen.history.top]
        return "\n".join([*above, *(line.rstrip() for line in self.screen.display)]).rstrip()

    @property
    def bottom(self) -> str:
        """The last line that is not empty: the bar."""
        lines = [line.rstrip() for line in self.screen.display if line.strip()]
        return lines[-1] if lines else ""

    def wait_for(self, text: str, *, bar: bool = False) -> str:
        """Until the screen (or its bar) shows a text; what it shows then. Raises `AssertionError`."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            shown = self.bottom if bar else self.text
            if text in shown:
                return shown
            if time.monotonic() > deadline_s or not self.read():
                raise AssertionError(f"{text!r} was not shown:\n{self.text}")

    def type(self, text: str) -> None:
        """Type a line and press enter."""
        os.write(self.master, text.encode() + b"\r")

    def press(self, keys: bytes) -> None:
        """Press keys as the terminal sends them."""
        os.write(self.master, keys)

    def end(self) -> int:
        """Wait for the command to end; its exit code."""
        deadline_s = time.monotonic() + WAIT_S
        while self.read():
            if time.monotonic() > deadline_s:
                raise AssertionError(f"the command goes on:\n{self.text}")
        return self.process.wait(WAIT_S)


@dataclass(slots=True)
class Piped:
    """A command whose output a program reads, line by line."""

    process: subprocess.Popen[bytes]
    output: int
    errors: Path
    _buffer: bytearray = field(default_factory=bytearray)

    @classmethod
    @contextlib.contextmanager
    def start(cls, person: Prompt, *args: object, **more: str) -> Generator[Piped]:
        """Run a command with its output in a pipe; whatever still runs at the end of the block is killed."""
        errors = person.home / f"errors-{time.monotonic_ns()}"
        output, theirs = os.pipe()
        with errors.open("wb") as file:
            process = subprocess.Popen(
                command(person, *args),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=file,
                env=environment(person, **more),
            )
        os.close(theirs)
        try:
            yield cls(process, output, errors)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(output)

    @property
    def told(self) -> str:
        """What came on standard error."""
        return self.errors.read_text()

    def line_with(self, text: str) -> str:
        """The next line of output that contains a text; those before it are passed over."""
        deadline_s = time.monotonic() + WAIT_S
        seen: list[str] = []
        while time.monotonic() < deadline_s:
            line, end, rest = self._buffer.partition(b"\n")
            if end:
                self._buffer = rest
                if text in line.decode():
                    return line.decode()
                seen.append(line.decode())
            elif select.select([self.output], [], [], 0.5)[0]:
                data = os.read(self.output, _READ_BYTES)
                if not data:
                    break
                self._buffer += data
        raise AssertionError(f"{text!r} did not come, but:\n{seen}\n{self.told}")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while data := os.read(self.output, _READ_BYTES):
            self._buffer += data
        return self.process.wait(WAIT_S)
