"""Files in `leeside chat`: sent and saved beside the talk, one at a time, with how far it is in the bar.

A file needs the server while it is carried, and unlike a message it is not kept for later: whoever sends it is told. A
second try goes on where the first broke off.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from leeside import events as e
from leeside.bodies import BodyError
from leeside.cli.exits import ending_of
from leeside.cli.lines import Line, clock
from leeside.cli.live import Live
from leeside.cli.screen import clean
from leeside.client import Sent
from leeside.errors import LeesideError
from leeside_protocol.ids import ChannelId
from leeside_protocol.sealing.errors import SealingError

LOOKED_THROUGH: Final = 1_000
"""Messages of a channel, the newest, in which files are looked for."""
FILE_NAME_BYTES: Final = 200

Work = Callable[[], Coroutine[Any, Any, None]]


class Files:
    """What `/attach`, `/files` and `/save` do in one channel. `group` is the conversation's, which ends with `stop`."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        live: Live,
        channel: ChannelId,
        tell: Callable[[Line], None],
        sent: Callable[[Sent], None],
    ) -> None:
        self._group = group
        self._live = live
        self._channel = channel
        self._tell = tell
        self._sent = sent
        self._carried: asyncio.Task[None] | None = None
        self.bar = ""
        """How far the file is that is on its way; empty when none is."""

    def carry_out(self, command: str, rest: str) -> None:
        """One line of the conversation."""
        match command:
            case "/attach" if rest:
                self.send(typed_path(rest))
            case "/attach":
                self._tell(Line("Say which: /attach FILE", "warn"))
            case "/save":
                self.save(rest)
            case _:
                self.show()

    def send(self, path: Path) -> None:
        """Send a file; `sent` is called with its message."""

        async def work() -> None:
            progressed = self._progress(f"sending {path.name}")
            self._sent(await self._live.client.attach(self._channel, path, progressed=progressed))

        self._begin(work, f"{path.name} was not sent", f"Later: /attach {path}")

    def save(self, text: str) -> None:
        """Save a file of the list (`NUMBER [FOLDER]`). Nothing is ever replaced."""
        digits, _, folder = text.partition(" ")
        listed = self._listed()
        number = int(digits) if digits.isdecimal() and len(digits) < 5 else 0
        if not 0 < number <= len(listed):
            self._tell(Line("Say which: /files shows them, /save NUMBER [FOLDER] saves one.", "warn"))
            return
        attachment = listed[number - 1].attachment
        assert attachment is not None
        place = _at_home(folder.strip() or ".") / file_name(attachment.name)
        if not place.parent.is_dir():
            self._tell(Line(f"There is no folder {place.parent}. Nothing was saved.", "warn"))
            return
        if place.exists():
            self._tell(
                Line(
                    f"{place} is there already, and is not replaced. Name a folder: /save {number} FOLDER",
                    "warn",
                )
            )
            return

        async def work() -> None:
            await self._live.client.fetch(
                attachment, place, progressed=self._progress(f"saving {place.name}")
            )
            self._tell(Line(f"Saved, and no longer sealed: {place.resolve()}", "quiet"))

        self._begin(work, f"{place.name} was not saved", "Later: /save again")

    def show(self) -> None:
        """The files of this channel with the numbers that `save` takes."""
        listed = self._listed()
        if not listed:
            self._tell(Line("No file was sent here.", "quiet"))
        for number, message in enumerate(listed, 1):
            assert message.attachment is not None
            who = "me" if message.mine else self._live.who(message.device, message.member)
            name, size = message.attachment.name, message.attachment.size_bytes
            self._tell(Line(f"{number:3}  {clock(message.at_ms)} {who}: {name}, {size:,} bytes", "quiet"))

    def stop(self) -> None:
        """End what is on its way; that it did not arrive is said."""
        if self._carried is not None:
            self._carried.cancel()

    def _listed(self) -> list[e.Message]:
        events = self._live.client.history(self._channel, limit=LOOKED_THROUGH)
        return [m for m in events if isinstance(m, e.Message) and m.attachment is not None]

    def _progress(self, what: str) -> Callable[[int, int], None]:
        self.bar = what

        def step(done: int, total: int) -> None:
            self.bar = f"{what} {100 * done // max(1, total)} %"

        return step

    def _begin(self, work: Work, failed: str, later: str) -> None:
        if self._carried is not None:
            self._tell(Line("Another file is on its way: wait for it.", "warn"))
            return
        self._carried = self._group.create_task(self._carry(work, failed, later))

    async def _carry(self, work: Work, failed: str, later: str) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            self._tell(Line(f"{failed}: this ended first. {later}", "loud"))
            raise
        except (LeesideError, SealingError, BodyError, OSError, ValueError, sqlite3.Error) as error:
            ending = ending_of(error)
            why = str(error) if ending is None else f"{ending.sentence} ({ending.code})"
            self._tell(Line(f"{failed}: {why} {later}", "loud"))
        finally:
            self._carried, self.bar = None, ""


def file_name(name: str) -> str:
    """A name that another person gave, as one in a folder: no way out of it, nothing hidden, nothing that steers a terminal."""
    bare = re.sub(r"[/\\\n]", "_", clean(name))
    bare = re.sub(r"^[\s.]+", "", bare)
    return bare.encode()[:FILE_NAME_BYTES].decode(errors="ignore").rstrip() or "file"


def typed_path(text: str) -> Path:
    """A path as it was typed, or as a terminal writes a file that was dropped on it: quoted, or its spaces escaped."""
    path = _at_home(text)
    if path.exists():
        return path
    with suppress(ValueError):
        parts = shlex.split(text)
        if len(parts) == 1:
            return _at_home(parts[0])
    return path


def _at_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        # `~nobody`: a name that only begins like a home.
        return Path(text)
