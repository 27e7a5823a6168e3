"""The ways to people: a push service and a telephone gateway on loopback, which fail and hang as they are told.

    async with open_doors(1, push=Moods(failing=0.3, hanging=0.1)) as doors:
        endpoint, browser = doors.subscribe(device)      # for a push subscription
        doors.gateway_url                                # for the node's configuration
        doors.on_knock = lambda knock: ...               # every attempt

An attempt counts whatever becomes of it: failed, hung, or taken. A push is opened as the browser would, so that the page's
id in it is compared, too. Which node brought it, it says itself: each has a gateway's address and a contact of its own (`node`).
The doors themselves are a process of their own (`doorway`), so that when somebody knocked is right however busy the run is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import jwt
import msgspec

from tests.faults.consult_book import Way
from tests.faults.doorway import LENGTH, Brought, Moods, Order
from tests.faults.load import LoadFailed
from tests.faults.node import CONTACT
from tests.support.push_service import Browser
from tests.support.services import HOST

READY_S: Final = 30.0
PUSH_BYTES: Final = 64
PUSH, GATEWAY = "/push/", "/gateway"
_PUSH: Final = re.compile(rb"a consult is waiting ([0-9a-f]{32}) *")


class Spoken(msgspec.Struct, frozen=True):
    """What a gateway is told (docs/operators-guide.md, "Text messages and calls"). Other fields are not looked at here."""

    id: str
    kind: str
    to: str
    page: str
    text: str


@dataclass(frozen=True, slots=True)
class Knock:
    """One attempt. `door`: the device of a push, or the number that is called. `node`: its folder's name. `taken`: it was
    answered as delivered."""

    way: Way
    door: str
    page: bytes
    at_s: float
    node: str
    taken: bool


@dataclass(slots=True)
class Doors:
    """The stub as the run knows it."""

    port: int
    process: asyncio.subprocess.Process
    on_knock: Callable[[Knock], None] = lambda knock: None
    fates: Counter[str] = field(default_factory=Counter[str])
    """How many attempts were taken, failed, or hung."""
    strange: list[str] = field(default_factory=list[str])
    """What was brought that nobody should bring: of another size, unreadable, or with more in it than it may say."""
    keys: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """For each page and way the idempotency keys that the gateway was given."""
    _browsers: dict[str, Browser] = field(default_factory=dict[str, Browser])

    @property
    def gateway_url(self) -> str:
        """Where messages and calls go."""
        return f"http://{HOST}:{self.port}{GATEWAY}"

    def subscribe(self, name: str) -> tuple[str, Browser]:
        """The endpoint of a new subscription, and what its browser keeps."""
        browser = self._browsers[name] = Browser()
        return f"http://{HOST}:{self.port}{PUSH}{name}", browser

    async def listen(self) -> None:
        """Take what was brought, until the process ends or this is cancelled."""
        stream = self.process.stdout
        assert stream is not None
        with contextlib.suppress(EOFError):
            while True:
                size = int.from_bytes(await stream.readexactly(LENGTH), "big")
                self._take(msgspec.msgpack.decode(await stream.readexactly(size), type=Brought))

    def _take(self, brought: Brought) -> None:
        push = brought.path.startswith(PUSH)
        found = (
            self._read_push(brought.path[len(PUSH) :], brought.body)
            if push
            else self._read_call(brought.body)
        )
        if found is not None:
            self.fates[brought.fate] += 1
            way, door, page = found
            node = _contact(brought.authorization) if push else brought.path[len(GATEWAY) + 1 :]
            self.on_knock(Knock(way, door, page, brought.at_s, node, brought.fate == "taken"))

    def _read_push(self, name: str, body: bytes) -> tuple[Way, str, bytes] | None:
        browser = self._browsers.get(name)
        if browser is None:
            self.strange.append("a push to nobody")
            return None
        plain = browser.open(body)
        if len(plain) != PUSH_BYTES:
            self.strange.append(f"a push of {len(plain)} bytes")
            return None
        words = _PUSH.fullmatch(plain)
        # Something else may wait as well: a message, a probe. Nobody is searched for by that.
        return None if words is None else ("push", name, bytes.fromhex(words[1].decode("ascii")))

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


def _contact(authorization: str) -> str:
    """Whom a push service would write to about this push (RFC 8292, 2.1): a node, by name."""
    token = authorization.removeprefix("vapid t=").partition(",")[0]
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims["sub"]).removeprefix("https://").removesuffix(CONTACT)


@asynccontextmanager
async def open_doors(
    seed: int, *, push: Moods | None = None, gateway: Moods | None = None
) -> AsyncGenerator[Doors]:
    """Listen inside the block. Raises `LoadFailed` when the process does not start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.doorway",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        order = msgspec.msgpack.encode(Order(seed, {PUSH: push or Moods(), GATEWAY: gateway or Moods()}))
        process.stdin.write(len(order).to_bytes(LENGTH, "big") + order)
        try:
            async with asyncio.timeout(READY_S):
                port = int(await process.stdout.readline())
        except (TimeoutError, ValueError):
            raise LoadFailed("nobody stands at the doors") from None
        doors = Doors(port, process)
        async with asyncio.TaskGroup() as group:
            group.create_task(doors.listen())
            try:
                yield doors
            finally:
                # It ends with this, and says before what it was still brought.
                process.stdin.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
