"""Who a Hello proves to be (spec 02, "Signing in"): token, device, session and the proof of possession.

Two signatures are verified for each Hello, a third of a millisecond of pure computation. When a thousand sockets
come back at once that must not stand between a page and its reader: `SignIns` takes them one after the other and
gives the event loop back after each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.messages import Hello
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.encoding import pae
from leeside_protocol.sealing.public.signed import verify_raw
from leeside_server.core.identity import DeviceRow, DeviceState
from leeside_server.core.rows import KINDS, read
from leeside_server.ports import StoreUnavailable

if TYPE_CHECKING:
    from leeside_server.relay.node import Node
    from leeside_server.relay.tokens import Claims

READ_TIMEOUT_S: Final = 5.0
PROOF_LABEL: Final = b"leeside1 socket"


SERVERS: Final = 3


class SignIns:
    """The queue of Hellos; as long as there are sockets at most. Run `serve_forever` in `SERVERS` tasks."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], Awaitable[None]]] = deque()
        self._waiting = asyncio.Semaphore(0)

    def add(self, work: Callable[[], Awaitable[None]]) -> None:
        """Verify a Hello when its turn comes; `work` must not raise."""
        self._queue.append(work)
        self._waiting.release()

    async def serve_forever(self) -> None:
        """Serve the queue until cancelled."""
        while True:
            await self._waiting.acquire()
            await self._queue.popleft()()
            await asyncio.sleep(0)


class SignInRefused(Exception):
    """The Hello does not open a session; close with `code`."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.label)
        self.code = code


def proof_input(nonce: bytes, token: str) -> bytes:
    """What the device signs: PAE("leeside1 socket", nonce, token)."""
    return pae(PROOF_LABEL, nonce, token.encode("utf-8"))


async def sign_in(node: Node, hello: Hello, nonce: bytes) -> Claims:
    """The claims of a Hello that holds in every respect, or `SignInRefused`.

    Only who proved to hold the device's key learns more than "no": that its device was revoked.
    """
    try:
        claims = node.tokens.verify(hello.token, node.clock.now_ms())
    except ProtocolError as error:
        expired = error.code is WireError.TOKEN_EXPIRED
        raise SignInRefused(CloseCode.TOKEN_EXPIRED if expired else CloseCode.TOKEN_INVALID) from None
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            await node.access.load(claims.agency)
            found = await node.store.get(claims.agency, KINDS[DeviceRow], claims.device)
    except (StoreUnavailable, TimeoutError):
        raise SignInRefused(CloseCode.INTERNAL) from None
    if found is None:
        raise SignInRefused(CloseCode.TOKEN_INVALID)
    row = read(DeviceRow, found).row
    try:
        verify_raw(row.public_key, hello.proof, proof_input(nonce, hello.token))
    except SealingError:
        raise SignInRefused(CloseCode.TOKEN_INVALID) from None
    if row.state is DeviceState.REVOKED or node.access.is_out(claims.agency, claims.device):
        raise SignInRefused(CloseCode.REVOKED)
    if row.state is not DeviceState.ACTIVE or node.access.is_session_out(claims.agency, claims.session):
        raise SignInRefused(CloseCode.TOKEN_INVALID)
    return claims
