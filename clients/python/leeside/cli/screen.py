"""What a command shows: tables and sentences for people, or one JSON document for programs.

With `--json`, standard output holds exactly one JSON document (or, for commands that follow something, one
per line); everything else goes to standard error. Text from other people is shown without control characters, so that
a name or message cannot repaint the terminal.
"""

from __future__ import annotations

import dataclasses
import sys
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from leeside.cli.exits import Ending, Exit

SHORT_ID: Final = 12


class Step(Protocol):
    """Says how far a long piece of work is."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


class Screen:
    """Where a command writes. `json` decides for whom."""

    def __init__(self, *, json: bool = False, out: Console | None = None, err: Console | None = None) -> None:
        self.json: Final = json
        self.out = out or Console(highlight=False)
        self.err = err or Console(stderr=True, highlight=False)

    def document(self, value: Any) -> None:
        """One JSON document; ids and keys are hexadecimal."""
        text = msgspec.json.encode(plain(value)).decode()
        self.out.file.write(text + "\n")
        self.out.file.flush()

    def say(self, text: str, value: Any = None) -> None:
        """A sentence; for programs the value instead."""
        if self.json:
            if value is not None:
                self.document(value)
            return
        self.out.print(Text(clean(text)))

    def note(self, text: str) -> None:
        """A remark that is not the result: on standard error, so that results can be piped."""
        self.err.print(Text(clean(text)), style="dim")

    def warn(self, text: str) -> None:
        self.err.print(Text(clean(text)), style="bold yellow")

    def alarm(self, text: str) -> None:
        """Red, the full width: somebody may be deceiving this agency."""
        width = self.err.width
        self.err.print(Text(" " * width, style="white on red"))
        for line in Text(clean(text)).wrap(self.err, max(20, width - 4)):
            shown = Text("  ") + line
            shown.pad_right(max(0, width - shown.cell_len))
            shown.stylize("bold white on red")
            self.err.print(shown)
        self.err.print(Text(" " * width, style="white on red"))

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        value: Any,
        empty: str = "None.",
    ) -> None:
        """A table; for programs the value."""
        if self.json:
            self.document(value)
            return
        lines = [[clean(cell) for cell in row] for row in rows]
        if not lines:
            self.out.print(empty)
            return
        # Apart from the table, which is often narrower than its title and would fold it.
        self.out.print(Text(clean(title), style="italic"))
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for line in lines:
            table.add_row(*(Text(cell) for cell in line))
        self.out.print(table)

    def facts(self, rows: Sequence[tuple[str, str]], value: Any) -> None:
        """Names and values, one a line; for programs the value."""
        if self.json:
            self.document(value)
            return
        width = max((len(name) for name, _ in rows), default=0) + 2
        room = max(20, self.out.width - width)
        for name, text in rows:
            head, shown = Text(name.ljust(width), style="bold"), Text(clean(text))
            if max((cell_len(word) for word in shown.plain.split()), default=0) > room:
                # A key or a path is there to be copied: the terminal may break it, we never do.
                self.out.print(head.append_text(shown), soft_wrap=True)
                continue
            for line in shown.wrap(self.out, room):
                self.out.print(head.append_text(line))
                head = Text(" " * width)

    def ask(self, question: str) -> str:
        """What a person types; asked on standard error, and as clean as anything shown."""
        return str(typer.prompt(clean(question), err=True))

    def confirm(self, question: str) -> bool:
        """Whether a person says yes; no unless they do."""
        return bool(typer.confirm(clean(question), err=True))

    def end(self, ending: Ending) -> None:
        """Say why the command ended."""
        if ending.exit_code is Exit.INTERRUPTED and self.err.is_terminal:
            # The cursor stands behind a question, or in the middle of a line.
            self.err.print()
        if self.json:
            error = {"error": {"code": ending.code, "exit": int(ending.exit_code), "detail": ending.sentence}}
            self.err.file.write(msgspec.json.encode(error).decode() + "\n")
            return
        shown = f"{ending.sentence} ({ending.code})" if ending.code else ending.sentence
        if ending.exit_code is Exit.ALARM:
            self.alarm(shown)
        else:
            self.err.print(Text(clean(shown)), style="red")

    @contextmanager
    def progress(self, what: str) -> Generator[Step]:
        """A bar on standard error while something long runs; nothing where nobody looks."""
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
            disable=self.json or not self.err.is_terminal,
        ) as bar:
            task = bar.add_task(what, total=None)

            def step(done: int, total: int | None = None) -> None:
                bar.update(task, completed=done, total=total)

            yield step


def plain(value: Any) -> Any:
    """What JSON can hold: structs become objects, bytes hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def clean(text: str) -> str:
    """The text without what could steer a terminal: control characters, and marks that reverse writing."""
    return "".join(_shown(char) for char in text)


_STEERING: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Harmless, and needed by Persian and by composed emoji."""


def _shown(char: str) -> str:
    if char == "\n" or char in _JOINERS:
        return char
    if char == "\t":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _STEERING else char


def short(identifier: bytes | str) -> str:
    """The first digits of an id: enough to tell apart, and to type."""
    text = identifier.hex() if isinstance(identifier, bytes) else identifier
    return text[:SHORT_ID]


def moment(at_ms: int) -> str:
    """A time as people here read it: local, to the second; a dash for none."""
    if not at_ms:
        return "-"
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "?"


def age(at_ms: int, now_ms: int) -> str:
    """How long ago: `12 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(0, now_ms - at_ms) // 1000
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} d"


def terminal() -> bool:
    """Whether what is said goes before a person's eyes, and into no pipe or file."""
    return sys.stdout.isatty()


def interactive() -> bool:
    """Whether a person sits at the keyboard."""
    return sys.stdin.isatty()
