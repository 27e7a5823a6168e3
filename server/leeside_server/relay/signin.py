"""Who a Hello proves to be (spec 02, "Signing in"): token, device, session and the proof of possession.

Theory of operation. Two signatures are verified for each Hello, a third of a millisecond of pure computation, and a
device's row is read. When thousands of sockets come back at once, that must neither stand between a page and its
reader nor cost a way to the store each: `SignIns` takes what waits in batches, reads their rows together, then
verifies one after the other and gives the event loop back after each.

A row may have changed since it was read. Only a revocation takes anything away, and what this node knows of those
(`Access`) is asked last, in the same breath as the socket is let in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId
from leeside_protocol.messages import Hello
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.encoding import pae
from leeside_protocol.sealing.public.signed import verify_raw
from leeside_server.core.identity import DeviceRow, DeviceState
from leeside_server.core.rows import KINDS, read
from leeside_server.core.writes import Object
from leeside_server.log import get_logger
from leeside_server.ports import StoreUnavailable

if TYPE_CHECKING:
    from leeside_server.relay.node import Node
    from leeside_server.relay.tokens import Claims

READ_TIMEOUT_S: Final = 5.0
PROOF_LABEL: Final = b"leeside1 socket"
SERVERS: Final = 3
BATCH: Final = 64
"""Hellos whose rows are read together: the store's way is short beside verifying so many."""

_log = get_logger("leeside.relay")
_Rows = Mapping[tuple[AgencyId, DeviceId], Object]


class Arrival(Protocol):
    """A socket whose Hello is being verified."""

    @property
    def closed(self) -> bool:
        """It has gone meanwhile; nothing is verified for it any more."""
        ...

    def admitted(self, claims: Claims) -> None:
        """The Hello holds in every respect."""
        ...

    def close(self, code: CloseCode) -> None:
        """It does not, and `code` says what the client may do."""
        ...


class _Attempt(NamedTuple):
    hello: Hello
    nonce: bytes
    arrival: Arrival


class SignIns:
    """The queue of Hellos; as long as there are sockets at most. Run `serve_forever` in `SERVERS` tasks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._queue: deque[_Attempt] = deque()
        self._waiting = asyncio.Event()

    def add(self, hello: Hello, nonce: bytes, arrival: Arrival) -> None:
        """Verify a Hello when its turn comes; `nonce` is what the socket was challenged with."""
        self._queue.append(_Attempt(hello, nonce, arrival))
        self._waiting.set()

    async def serve_forever(self) -> None:
        """Serve the queue until cancelled."""
        while True:
            await self._waiting.wait()
            if not self._queue:
                self._waiting.clear()
                continue
            await self._serve([self._queue.popleft() for _ in range(min(len(self._queue), BATCH))])

    async def _serve(self, batch: Sequence[_Attempt]) -> None:
        known: list[tuple[_Attempt, Claims]] = []
        for attempt in batch:
            claims = None if attempt.arrival.closed else self._claims(attempt)
            if claims is not None:
                known.append((attempt, claims))
                await asyncio.sleep(0)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                rows = await self._rows([claims for _, claims in known])
        except (StoreUnavailable, TimeoutError):
            for attempt, _ in known:
                attempt.arrival.close(CloseCode.INTERNAL)
            return
        for attempt, claims in known:
            if not attempt.arrival.closed:
                self._let_in(attempt, claims, rows)
                await asyncio.sleep(0)

    def _claims(self, attempt: _Attempt) -> Claims | None:
        """What the token says; None when the socket was closed for it."""
        try:
            return self._node.tokens.verify(attempt.hello.token, self._node.clock.now_ms())
        except ProtocolError as error:
            expired = error.code is WireError.TOKEN_EXPIRED
            attempt.arrival.close(CloseCode.TOKEN_EXPIRED if expired else CloseCode.TOKEN_INVALID)
            return None

    async def _rows(self, wanted: Sequence[Claims]) -> _Rows:
        """The devices' rows; those of a device that does not exist are not there."""
        names = list(dict.fromkeys((claims.agency, claims.device) for claims in wanted))
        for agency in dict.fromkeys(agency for agency, _ in names):
            await self._node.access.load(agency)
        kind = KINDS[DeviceRow]
        found = await self._node.store.get_many([(agency, kind, device) for agency, device in names])
        return {name: row for name, row in zip(names, found, strict=True) if row is not None}

    def _let_in(self, attempt: _Attempt, claims: Claims, rows: _Rows) -> None:
        try:
            code = self._refusal(attempt, claims, rows)
            if code is None:
                attempt.arrival.admitted(claims)
            else:
                attempt.arrival.close(code)
        except Exception as error:  # noqa: BLE001
            # A fault of ours must cost this socket, not those that wait behind it. Its text could repeat input.
            _log.error("task_failed", error=type(error).__name__)
            attempt.arrival.close(CloseCode.INTERNAL)

    def _refusal(self, attempt: _Attempt, claims: Claims, rows: _Rows) -> CloseCode | None:
        """Why this Hello opens nothing; None when it does.

        Only who proved to hold the device's key learns more than "no": that its device was revoked.
        """
        found = rows.get((claims.agency, claims.device))
        if found is None:
            return CloseCode.TOKEN_INVALID
        row = read(DeviceRow, found).row
        try:
            verify_raw(row.public_key, attempt.hello.proof, proof_input(attempt.nonce, attempt.hello.token))
        except SealingError:
            return CloseCode.TOKEN_INVALID
        access = self._node.access
        if row.state is DeviceState.REVOKED or access.is_out(claims.agency, claims.device):
            return CloseCode.REVOKED
        if row.state is not DeviceState.ACTIVE or access.is_session_out(claims.agency, claims.session):
            return CloseCode.TOKEN_INVALID
        return None


def proof_input(nonce: bytes, token: str) -> bytes:
    """What the device signs: PAE("leeside1 socket", nonce, token)."""
    return pae(PROOF_LABEL, nonce, token.encode("utf-8"))
