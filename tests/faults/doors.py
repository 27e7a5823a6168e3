"""The ways to people: a push service and a telephone gateway on loopback, which fail and hang as they are told.

    async with open_doors(random.Random(1), Moods(failing=0.3, hanging=0.1)) as doors:
        endpoint, browser = doors.subscribe(device)      # for a push subscription
        doors.gateway_url                                # for the node's configuration
        doors.on_knock = lambda knock: ...               # every attempt, at the moment when its request is here

An attempt counts whatever becomes of it: failed, hung, or taken. A push is opened as the browser would, so that the page's
id in it is compared, too. Which process brought it is found out by the connection's other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.consult_book import Way
from tests.support.push_service import Browser
from tests.support.services import HOST

HANGS: Final = HTTPStatus.PROCESSING
"""Stands for no answer at all."""
PUSH_BYTES: Final = 64
BODY_BYTES: Final = 8_192
_PUSH: Final = re.compile(rb"a consult is waiting ([0-9a-f]{32}) *")


class Spoken(msgspec.Struct, frozen=True):
    """What a gateway is told (docs/operators-guide.md, "Text messages and calls"). Other fields are not looked at here."""

    id: str
    kind: str
    to: str
    page: str
    text: str


@dataclass(frozen=True, slots=True)
class Moods:
    """Which share of attempts fails, by a refusal that may be retried or a connection cut, and which one hangs."""

    failing: float = 0.0
    hanging: float = 0.0


@dataclass(frozen=True, slots=True)
class Knock:
    """One attempt. `door`: the device of a push, or the number that is called. `taken`: it was answered as delivered."""

    way: Way
    door: str
    page: bytes
    at_s: float
    pid: int
    taken: bool


@dataclass(slots=True)
class Doors:
    """The running stub. `watched`: processes among which an attempt's sender is looked for."""

    port: int
    chance: random.Random
    push_moods: Moods
    gateway_moods: Moods
    on_knock: Callable[[Knock], None] = lambda knock: None
    watched: Callable[[], tuple[int, ...]] = tuple
    failed: int = 0
    hung: int = 0
    taken: int = 0
    strange: list[str] = field(default_factory=list[str])
    """What was brought that nobody should bring: of another size, unreadable, or with more in it than it may say."""
    keys: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """For each page and way the idempotency keys that the gateway was given."""
    _browsers: dict[str, Browser] = field(default_factory=dict[str, Browser])

    @property
    def gateway_url(self) -> str:
        """Where messages and calls go."""
        return f"http://{HOST}:{self.port}/gateway"

    def subscribe(self, name: str) -> tuple[str, Browser]:
        """The endpoint of a new subscription, and what its browser keeps."""
        browser = self._browsers[name] = Browser()
        return f"http://{HOST}:{self.port}/push/{name}", browser

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests until it ends."""
        pid = _sender(writer.get_extra_info("peername")[1], self.port, self.watched())
        try:
            while await self._serve_one(reader, writer, pid):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int) -> bool:
        """One request; False: the connection is to be cut."""
        first = await reader.readuntil(b"\r\n")
        at_s = time.time()
        size = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        if size > BODY_BYTES:
            self.strange.append(f"a body of {size} bytes")
            return False
        status = self._answer(first.split(b" ")[1].decode("ascii"), await reader.readexactly(size), at_s, pid)
        if status is None:
            return False
        if status is HANGS:
            # Until the other side gives it up.
            await reader.read(1)
            return False
        words = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: 0\r\n\r\n"
        writer.write(words.encode("ascii"))
        return True

    def _answer(self, path: str, body: bytes, at_s: float, pid: int) -> HTTPStatus | None:
        """Note the attempt, then do as chance will have it; None: the connection is cut."""
        push = path.startswith("/push/")
        found = self._read_push(path[len("/push/") :], body) if push else self._read_call(body)
        if found is None:
            return HTTPStatus.BAD_REQUEST
        way, door, page = found
        moods = self.push_moods if push else self.gateway_moods
        luck = self.chance.random()
        taken = luck >= moods.failing + moods.hanging
        self.on_knock(Knock(way, door, page, at_s, pid, taken))
        if taken:
            self.taken += 1
            return HTTPStatus.CREATED if push else HTTPStatus.ACCEPTED
        if luck < moods.failing:
            self.failed += 1
            return HTTPStatus.SERVICE_UNAVAILABLE if luck < moods.failing / 2 else None
        self.hung += 1
        return HANGS

    def _read_push(self, name: str, body: bytes) -> tuple[Way, str, bytes] | None:
        browser = self._browsers.get(name)
        if browser is None:
            return None
        plain = browser.open(body)
        words = _PUSH.fullmatch(plain)
        if words is None or len(plain) != PUSH_BYTES:
            # Something else waits as well: a message, a probe. Nobody is searched for by that.
            if len(plain) != PUSH_BYTES:
                self.strange.append(f"a push of {len(plain)} bytes")
            return None
        return "push", name, bytes.fromhex(words[1].decode("ascii"))

    def _read_call(self, body: bytes) -> tuple[Way, str, bytes] | None:
        try:
            spoken = msgspec.json.decode(body, type=Spoken)
            page = bytes.fromhex(spoken.page)
        except (msgspec.MsgspecError, ValueError):
            self.strange.append("a call that cannot be read")
            return None
        if spoken.text != "A consult is waiting.":
            self.strange.append("a call that says something else")
        way: Way = "voice" if spoken.kind == "voice" else "sms"
        self.keys.setdefault(f"{way} {spoken.page}", set()).add(spoken.id)
        return way, spoken.to, page


@asynccontextmanager
async def open_doors(
    chance: random.Random, push: Moods, gateway: Moods | None = None
) -> AsyncGenerator[Doors]:
    """Listen inside the block."""
    doors = Doors(0, chance, push, gateway or Moods())
    async with asyncio.TaskGroup() as group:
        serving: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = group.create_task(doors.serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(begin, HOST, 0)
        doors.port = server.sockets[0].getsockname()[1]
        try:
            yield doors
        finally:
            server.close()
            for task in serving:
                task.cancel()


def _sender(port: int, to_port: int, among: tuple[int, ...]) -> int:
    """Which of these processes holds the local end of a loopback connection; 0 when none does (any more)."""
    inode = _inode(port, to_port)
    for pid in among if inode else ():
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) == f"socket:[{inode}]":
                        return pid
    return 0


def _inode(port: int, to_port: int) -> str:
    """The socket from a local port to another one, as the kernel numbers it (proc_net_tcp(5)); empty when there is none."""
    wanted = (f":{port:04X}", f":{to_port:04X}")
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[1].endswith(wanted[0]) and words[2].endswith(wanted[1]):
                return words[9]
    return ""
