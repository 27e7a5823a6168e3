"""Signing in, and staying signed in: a `TokenSource` over a device's key.

A session's refresh secret serves once, and a second use ends the session, so several processes of one profile share
it through the keystore and take turns by a lock file. Whatever happens to a session, the device's key opens
another one; only a revoked or pending device is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

import msgspec

from leeside.api import Api, ApiError, Unreachable
from leeside.lockbox import Keystore
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.limits import TOKEN_TTL_S
from leeside_protocol.sealing.public.encoding import PREFIX, pae

RECORD: Final = "session"
FRESH_S: Final = TOKEN_TTL_S - 45
"""How long a token is used without asking: by this machine's clock since it came, so that clocks may differ."""
LOCK_WAIT_S: Final = 30.0
_FINAL: Final = frozenset({WireError.REVOKED, WireError.PENDING, WireError.RATE_LIMITED})
"""Refusals that signing in anew cannot help."""

Sign = Callable[[bytes], bytes]


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    server: str
    token: str
    fresh_until_ms: int
    refresh: str
    refresh_until_ms: int

    def __repr__(self) -> str:
        return "_Stored(...)"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Session:
    """One device's session with one server; the `TokenSource` of its `Api` and of its connection.

    `open_api` is an `Api` without tokens. `sign` is the device's Ed25519 signature. With a `keystore` the session outlives
    the process; `lock_path` then names the file by which processes take turns.
    """

    def __init__(
        self,
        open_api: Api,
        device: DeviceId,
        sign: Sign,
        *,
        keystore: Keystore | None = None,
        lock_path: Path | None = None,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self._api = open_api
        self._device = device
        self._sign = sign
        self._keystore = keystore
        self._lock_path = lock_path
        self._now_ms = now_ms
        self._stored: _Stored | None = None
        self._one_at_a_time = asyncio.Lock()

    async def token(self) -> str:
        """A token that should be good for some seconds more; raises `ApiError`."""
        fresh = self._fresh(self._stored)
        if fresh is not None:
            return fresh.token
        async with self._one_at_a_time, self._turn():
            return (await self._obtain(stale="")).token

    async def renew(self, stale: str) -> str:
        """Another token than `stale`, which the server refused."""
        async with self._one_at_a_time, self._turn():
            return (await self._obtain(stale)).token

    async def sign_out(self) -> None:
        """End the session here and on the server; quietly when there is none."""
        async with self._one_at_a_time, self._turn():
            stored = self._load()
            self._keep(None)
        if stored is None:
            return
        api = Api(
            self._api.base_url, _Fixed(stored.token), transport=self._api.transport, verify=self._api.verify
        )
        async with api:
            try:
                await api.sign_out()
            except ApiError as error:
                # A token that is over cannot end its session; the session itself ends with its refresh secret.
                if error.code not in {WireError.TOKEN_EXPIRED, WireError.UNAUTHENTICATED}:
                    raise

    def _fresh(self, stored: _Stored | None) -> _Stored | None:
        return stored if stored is not None and self._now_ms() < stored.fresh_until_ms else None

    async def _obtain(self, stale: str) -> _Stored:
        stored = self._load()
        fresh = self._fresh(stored)
        if fresh is not None and fresh.token != stale:
            self._stored = fresh
            return fresh
        if stored is not None and self._now_ms() < stored.refresh_until_ms:
            renewed = await self._refresh(stored)
            if renewed is not None:
                return renewed
        return await self._sign_in()

    async def _refresh(self, stored: _Stored) -> _Stored | None:
        try:
            return self._take(await self._api.refresh(r.RefreshRequest(stored.refresh)))
        except asyncio.CancelledError:
            # As if the answer were lost: whoever cancelled (a link that broke, a time-out) did not unsay the request.
            self._keep(None)
            raise
        except Unreachable as error:
            if error.sent:
                # The secret may be spent, and a second use would look like a thief's: it is not used again.
                self._keep(None)
            raise
        except ApiError as error:
            self._keep(None)
            if error.code in _FINAL or error.code.may_retry:
                raise
            return None

    async def _sign_in(self) -> _Stored:
        device = self._device.hex()
        challenge = await self._api.challenge(r.ChallengeRequest(device))
        signature = self._sign(pae(PREFIX + b"session", challenge.nonce, self._device))
        return self._take(await self._api.sign_in(r.SessionRequest(device, challenge.nonce, signature)))

    def _take(self, tokens: r.SessionTokens) -> _Stored:
        stored = _Stored(
            self._api.base_url,
            tokens.token,
            self._now_ms() + FRESH_S * 1000,
            tokens.refresh,
            tokens.refresh_until_ms,
        )
        self._keep(stored)
        return stored

    def _load(self) -> _Stored | None:
        if self._keystore is None:
            return self._stored
        data = self._keystore.get(RECORD)
        if data is None:
            return None
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
        except msgspec.MsgspecError:
            return None
        return stored if stored.server == self._api.base_url else None

    def _keep(self, stored: _Stored | None) -> None:
        self._stored = stored
        if self._keystore is None:
            return
        if stored is None:
            self._keystore.delete(RECORD)
        else:
            self._keystore.put(RECORD, msgspec.msgpack.encode(stored))

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        if self._lock_path is None:
            yield
            return
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                async with asyncio.timeout(LOCK_WAIT_S):
                    # Another process holds it: there is nothing to wait on but time.
                    while not _try_lock(descriptor):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            except TimeoutError:
                raise ApiError(WireError.BUSY, "another command is signing in for this profile") from None
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Fixed:
    """One token and no other: for the last request of a session."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    async def renew(self, stale: str) -> str:
        del stale
        raise ApiError(WireError.TOKEN_EXPIRED, "the session is over")
