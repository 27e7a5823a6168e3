"""A link that stays: dial, prove who this is, beat, renew, and come back after every loss.

Theory of operation. `Connection.run` is one loop. Each turn is a *session*: dial, `Challenge`, `Hello`,
`Welcome`, then three tasks in one group (read, beat, renew) until the first of them ends it. What ended it says
what comes next (`errors.after_close`): connect again with full jitter, sign in first, or stop.

Nothing here waits for the application: what arrives is handed to the `Sink` at once, which must not block, and
answers resolve the `request` that waits for them. So heartbeats are read however busy the application is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from leeside.api import ApiError, TokenSource
from leeside.errors import Offline, Stopped
from leeside.link import DIAL_TIMEOUT_S, Clock, Dialer, Link, LinkClosed
from leeside_protocol.codec import decode_server, encode
from leeside_protocol.errors import CloseCode, Next, ProtocolError, WireError, after_close
from leeside_protocol.ids import ConsultId
from leeside_protocol.limits import BEAT_S, HELLO_TIMEOUT_S, SILENT_S
from leeside_protocol.messages import (
    Accepted,
    Batch,
    Beat,
    Challenge,
    ClientBeat,
    ClientMessage,
    Hello,
    Live,
    Online,
    Refused,
    Renew,
    Renewed,
    ServerMessage,
    Subscribed,
    Video,
    VideoTold,
    Welcome,
)
from leeside_protocol.sealing.public.encoding import pae

BACKOFF_BASE_S: Final = 0.5
BACKOFF_CAP_S: Final = 30.0
RETRY_CAP_S: Final = 300.0
"""The longest pause that a server's word may bring about: a proxy that says "eleven days" must not silence a device."""
STEADY_S: Final = 30.0
"""A session that lasted this long ends a row of failures: the next delay is short again."""
RENEW_AHEAD_S: Final = 60.0
"""How long before its token ends a session renews it."""
RENEW_AGAIN_S: Final = 10.0
SEND_TIMEOUT_S: Final = 20.0
LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""
ANSWER_TIMEOUT_S: Final = 20.0
SIGNALS_KEPT: Final = 64
"""Signals of calls whose refusal is waited for: they are never answered otherwise."""
CLIENT_NAME: Final = "leeside-python"

Reply: TypeAlias = Accepted | Refused | Subscribed | Online | Renewed
Push: TypeAlias = Subscribed | Batch | Live | Beat | Refused
Sign: TypeAlias = Callable[[bytes], bytes]
Uniform: TypeAlias = Callable[[float, float], float]
OnVideo: TypeAlias = Callable[[VideoTold | Refused], None]
"""Receives what the bridge says of a call, or that a signal did not reach it. Must not block or raise."""


_First = TypeVar("_First", Challenge, Welcome)


class LinkState(StrEnum):
    """What a screen says about the link."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    ONLINE = "online"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The link as a person should see it: `since_ms` is when this began; `code` what closed the last one."""

    state: LinkState
    since_ms: int
    code: int = 0
    retry_in_s: float = 0.0
    degraded: bool = False


class Sink(Protocol):
    """Who receives what the server pushes. No method may block or raise."""

    def on_online(self, welcome: Welcome) -> None:
        """A session stands; nothing is subscribed on it yet."""
        ...

    def on_offline(self) -> None:
        """The session is over, and its subscriptions with it."""
        ...

    def on_push(self, push: Push) -> None:
        """One push, in the order of arrival. `Subscribed` answers come here too, before their batches."""
        ...

    def on_status(self, status: LinkStatus) -> None:
        """The link's state changed."""
        ...


def backoff_s(attempt: int, uniform: Uniform) -> float:
    """Full jitter: anything between 0 and a bound that doubles to 30 s, so that a crowd spreads out."""
    return uniform(0.0, min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(attempt, 16)))


def asked_s(retry_ms: int) -> float:
    """How long a server asked to wait, within reason."""
    return min(RETRY_CAP_S, retry_ms / 1000)


class Connection:
    """One device's link to one server. `run` it once, in a task group of the caller's.

    `sign` is the device's Ed25519 signature; `uniform` draws the jitter.
    """

    def __init__(
        self, dialer: Dialer, tokens: TokenSource, sign: Sign, sink: Sink, *, clock: Clock, uniform: Uniform
    ) -> None:
        self._dialer = dialer
        self._tokens = tokens
        self._sign = sign
        self._sink = sink
        self._clock = clock
        self._uniform = uniform
        self._link: Link | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._calls: dict[ConsultId, OnVideo] = {}
        self._signals: OrderedDict[int, ConsultId] = OrderedDict()
        self._req = 0
        self._heard_s = 0.0
        self._said_s = 0.0
        self._server_ahead_ms = 0
        self._token = ""
        self._token_until_ms = 0
        self._hurry = asyncio.Event()
        self.status = LinkStatus(LinkState.OFFLINE, clock.now_ms())

    @property
    def online(self) -> bool:
        """Whether a session stands."""
        return self._link is not None

    def server_now_ms(self) -> int:
        """The server's time, as far as the last heartbeat told: phone clocks are wrong. Always a time that calendars
        have: what is written down with it must be readable again, whatever a server says."""
        return max(0, min(self._clock.now_ms() + self._server_ahead_ms, LATEST_MS))

    def hurry(self) -> None:
        """Connect now rather than at the end of the delay: the network came back, or a person asks."""
        self._hurry.set()

    async def run(self) -> None:
        """Stay connected until cancelled. Raises `Stopped` when the server says not to come back."""
        try:
            await self._stay()
        finally:
            if self.status.state is not LinkState.STOPPED:
                # Whatever ended this: nothing says "online" when nobody is.
                self._tell(LinkState.OFFLINE, code=self.status.code)

    async def _stay(self) -> None:
        attempt = 0
        while True:
            self._tell(LinkState.CONNECTING)
            began_s = self._clock.monotonic_s()
            code = await self._session()
            await self._after(code)
            if self._clock.monotonic_s() - began_s >= STEADY_S:
                attempt = 0
            delay_s = backoff_s(attempt, self._uniform)
            attempt += 1
            self._tell(LinkState.OFFLINE, code=code, retry_in_s=delay_s)
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._hurry.wait()

    async def request(
        self, build: Callable[[int], ClientMessage], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Reply:
        """Send what `build` makes for a request number and wait for its answer, `Refused` included.

        Raises `Offline` when there is no session or it ended first: whether the server acted is then unknown.
        """
        req = self.number()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[req] = future
        try:
            await self.send(build(req))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise Offline("the server did not answer in time") from None
        finally:
            self._waiting.pop(req, None)

    def number(self) -> int:
        """The next request number."""
        self._req = self._req % 0xFFFFFFFF + 1
        return self._req

    async def send(self, message: ClientMessage) -> None:
        """Send what nobody answers. Raises `Offline` when there is no session."""
        link = self._link
        if link is None:
            raise Offline("there is no link to the server")
        try:
            await self._send(link, message)
        except (LinkClosed, TimeoutError):
            raise Offline("the link broke") from None

    def hear_call(self, consult: ConsultId, on_video: OnVideo | None) -> None:
        """From now on what the bridge says of this consult's call goes there, over every session; None: nowhere."""
        self._calls.pop(consult, None)
        if on_video is not None:
            self._calls[consult] = on_video

    async def signal(self, consult: ConsultId, body: bytes) -> None:
        """Say something to the bridge of this consult's call (`video.signalling`). Raises `Offline`; what comes of it comes
        to who hears the call."""
        req = self.number()
        self._signals[req] = consult
        if len(self._signals) > SIGNALS_KEPT:
            self._signals.popitem(last=False)
        await self.send(Video(req, consult, body))

    # ---- one session

    async def _session(self) -> int:
        """One link from dial to its end; returns the code that ended it."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S + HELLO_TIMEOUT_S):
                link = await self._dialer.dial()
        except (LinkClosed, TimeoutError) as error:
            return error.code if isinstance(error, LinkClosed) else CloseCode.SILENT
        try:
            return await self._welcomed(link)
        finally:
            self._end()
            await link.close()

    async def _welcomed(self, link: Link) -> int:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S + SEND_TIMEOUT_S):
                welcome = await self._hello(link)
        except LinkClosed as closed:
            return closed.code
        except (TimeoutError, ProtocolError):
            return CloseCode.SILENT
        except ApiError as error:
            return _code_of(error)
        self._link = link
        self._token_until_ms = welcome.token_until_ms
        self._hear(welcome.server_ms)
        self._tell(LinkState.ONLINE)
        self._sink.on_online(welcome)
        return await _first_end(self._read(link), self._beat(link), self._renew())

    async def _hello(self, link: Link) -> Welcome:
        challenge = await self._expect(link, Challenge)
        self._token = await self._tokens.token()
        proof = self._sign(pae(b"leeside1 socket", challenge.nonce, self._token.encode()))
        await self._send(link, Hello(self._token, proof, CLIENT_NAME))
        return await self._expect(link, Welcome)

    async def _expect(self, link: Link, kind: type[_First]) -> _First:
        while True:
            message = decode_server(await link.receive())
            if isinstance(message, kind):
                return message
            if message is not None:
                raise ProtocolError(WireError.INVALID, "another message was due")

    async def _read(self, link: Link) -> None:
        while True:
            data = await link.receive()
            self._heard_s = self._clock.monotonic_s()
            try:
                message = decode_server(data)
            except ProtocolError:
                # A server that speaks something else is not understood by trying harder; another node may be.
                raise LinkClosed(CloseCode.INTERNAL) from None
            if message is not None:
                self._receive(message)

    def _receive(self, message: ServerMessage) -> None:
        match message:
            case Refused(req=0):
                # Nobody asked: a log that was followed is no longer ours.
                self._sink.on_push(message)
            case Refused() if message.req in self._signals:
                self._told(self._signals.pop(message.req), message)
            case Accepted() | Refused() | Online() | Renewed():
                self._answer(message)
            case Subscribed():
                self._sink.on_push(message)
                self._answer(message)
            case Beat():
                self._hear(message.server_ms)
                if message.degraded != self.status.degraded:
                    self._tell(LinkState.ONLINE, degraded=message.degraded)
                self._sink.on_push(message)
            case Batch() | Live():
                self._sink.on_push(message)
            case VideoTold():
                self._told(message.consult, message)
            case Challenge() | Welcome():
                raise LinkClosed(CloseCode.INTERNAL)

    def _told(self, consult: ConsultId, said: VideoTold | Refused) -> None:
        on_video = self._calls.get(consult)
        if on_video is not None:
            on_video(said)

    def _answer(self, reply: Reply) -> None:
        future = self._waiting.get(reply.req)
        if future is not None and not future.done():
            future.set_result(reply)

    async def _beat(self, link: Link) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            if now_s - self._heard_s >= SILENT_S:
                raise LinkClosed(CloseCode.SILENT)
            due_s = self._said_s + BEAT_S
            if now_s >= due_s:
                await self._urgent_send(link, ClientBeat(self._clock.now_ms()))
                due_s = self._said_s + BEAT_S
            await asyncio.sleep(max(0.05, min(due_s, self._heard_s + SILENT_S) - now_s))

    async def _renew(self) -> None:
        while True:
            left_s = (self._token_until_ms - self.server_now_ms()) / 1000
            await asyncio.sleep(max(1.0, left_s - RENEW_AHEAD_S))
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    token = await self._tokens.renew(self._token)
                reply = await self.request(partial(_renewal, token))
            except (ApiError, Offline, TimeoutError):
                await asyncio.sleep(RENEW_AGAIN_S)
                continue
            if isinstance(reply, Renewed):
                self._token, self._token_until_ms = token, reply.token_until_ms
            else:
                await asyncio.sleep(RENEW_AGAIN_S)

    async def _urgent_send(self, link: Link, message: ClientMessage) -> None:
        try:
            await self._send(link, message)
        except TimeoutError:
            raise LinkClosed(CloseCode.SILENT) from None

    async def _send(self, link: Link, message: ClientMessage) -> None:
        self._said_s = self._clock.monotonic_s()
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await link.send(encode(message))

    def _end(self) -> None:
        was_online = self._link is not None
        self._link = None
        self._signals.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Offline("the link broke before the answer came"))
                # Marked as seen: whoever waited may be gone.
                future.exception()
        if was_online:
            self._sink.on_offline()

    # ---- after it

    async def _after(self, code: int) -> None:
        match after_close(code):
            case Next.STOP:
                self._tell(LinkState.STOPPED, code=code)
                raise Stopped(code, _label(code))
            case Next.SIGN_IN:
                with suppress(ApiError, TimeoutError):
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._tokens.renew(self._token)
            case Next.RECONNECT:
                pass

    def _hear(self, server_ms: int) -> None:
        self._heard_s = self._clock.monotonic_s()
        self._server_ahead_ms = server_ms - self._clock.now_ms()

    def _tell(
        self, state: LinkState, *, code: int = 0, retry_in_s: float = 0.0, degraded: bool = False
    ) -> None:
        self.status = LinkStatus(state, self._clock.now_ms(), code, retry_in_s, degraded)
        self._sink.on_status(self.status)


async def _first_end(*works: Coroutine[None, None, None]) -> int:
    """Run these until the first of them ends; the close code that it ended with. The others are ended too.

    Not a `TaskGroup`: before Python 3.13 one whose task fails in the moment in which it is cancelled from outside
    swallows that cancellation, and this is awaited in a loop that would go on for ever.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, LinkClosed):
            return end.code
        if end is not None and not isinstance(end, asyncio.CancelledError):
            raise end
    return CloseCode.INTERNAL


def _renewal(token: str, req: int) -> Renew:
    return Renew(req, token)


def _code_of(error: ApiError) -> int:
    """What a refusal to sign in means for the link. Only the server itself ends it for good."""
    if not error.told:
        return CloseCode.INTERNAL
    match error.code:
        case WireError.REVOKED | WireError.NOT_FOUND | WireError.FORBIDDEN:
            return CloseCode.REVOKED
        case WireError.UNSUPPORTED:
            return CloseCode.UNSUPPORTED
        case WireError.TOKEN_EXPIRED | WireError.UNAUTHENTICATED:
            return CloseCode.TOKEN_INVALID
        case _:
            return CloseCode.INTERNAL


def _label(code: int) -> str:
    try:
        return CloseCode(code).label
    except ValueError:
        return "stopped"
