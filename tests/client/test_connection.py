"""A link that stays: proof, heartbeats, renewal, close codes, full jitter. On virtual time, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leeside.api import ApiError
from leeside.connection import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    LATEST_MS,
    Connection,
    LinkState,
    LinkStatus,
    Push,
    backoff_s,
)
from leeside.errors import Offline, Stopped
from leeside.link import LinkClosed
from leeside_protocol import messages as m
from leeside_protocol.codec import decode_client, encode
from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import ChannelAddress, ConsultId
from leeside_protocol.messages import ClientMessage, ServerMessage
from leeside_protocol.sealing.public.encoding import pae
from tests.client.relay_double import Tokens
from tests.client.virtual_time import VirtualClock, eventually, play

CHANNEL = ChannelAddress(b"c" + bytes(16))
CONSULT, OTHER_CONSULT = ConsultId(bytes([3]) * 16), ConsultId(bytes([4]) * 16)
NONCE = bytes(range(16))
JITTER = Random(3).uniform
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Server:
    """The other end of one link, scripted by the test."""

    def __init__(self, clock: VirtualClock, token_s: int = 300) -> None:
        self.clock = clock
        self.token_s = token_s
        self.out: asyncio.Queue[bytes | int] = asyncio.Queue()
        self.heard: list[ClientMessage] = []
        self.quiet = False
        self.stuck = False

    def push(self, message: ServerMessage) -> None:
        self.out.put_nowait(encode(message))

    async def send(self, data: bytes) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        message = decode_client(data)
        assert message is not None
        self.heard.append(message)
        now_ms = self.clock.now_ms()
        if isinstance(message, m.Hello):
            self.push(m.Welcome(now_ms, now_ms + self.token_s * 1000, 10, 1, 64, 1))
        elif isinstance(message, m.Renew):
            self.push(m.Renewed(message.req, now_ms + self.token_s * 1000))
        elif isinstance(message, m.ClientBeat) and not self.quiet:
            self.push(m.Beat(now_ms, ()))

    async def receive(self) -> bytes:
        item = await self.out.get()
        if isinstance(item, int):
            raise LinkClosed(item)
        return item

    async def close(self) -> None:
        return


class Dialer:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.servers: list[Server] = []
        self.dialled_s: list[float] = []
        self.up = True
        self.token_s = 300

    async def dial(self) -> Server:
        self.dialled_s.append(self.clock.monotonic_s())
        if not self.up:
            raise LinkClosed
        server = Server(self.clock, self.token_s)
        server.push(m.Challenge(NONCE, self.clock.now_ms()))
        self.servers.append(server)
        return server


class Sink:
    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.states: list[LinkState] = []

    def on_online(self, welcome: m.Welcome) -> None:
        pass

    def on_offline(self) -> None:
        pass

    def on_push(self, push: Push) -> None:
        self.pushes.append(push)

    def on_status(self, status: LinkStatus) -> None:
        self.states.append(status.state)


class Stage:
    def __init__(self, uniform: Callable[[float, float], float] = JITTER, ahead_ms: int = 0) -> None:
        self.dialer, self.sink, self.tokens = Dialer(), Sink(), Tokens()
        self.clock = VirtualClock(ahead_ms)
        self.connection = Connection(
            self.dialer, self.tokens, KEY.sign, self.sink, clock=self.clock, uniform=uniform
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Server]:
        task = asyncio.ensure_future(self.connection.run())
        await eventually(lambda: self.connection.online)
        yield self.dialer.servers[-1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_the_hello_proves_the_device_over_nonce_and_token() -> None:
    async def story() -> None:
        async with Stage().running() as server:
            hello = server.heard[0]
            assert isinstance(hello, m.Hello)
            KEY.public_key().verify(hello.proof, pae(b"leeside1 socket", NONCE, hello.token.encode()))

    play(story())


def test_a_beat_goes_out_every_ten_quiet_seconds() -> None:
    async def story() -> None:
        async with Stage().running() as server:
            await asyncio.sleep(95)
            assert sum(isinstance(message, m.ClientBeat) for message in server.heard) == 9

    play(story())


def test_a_silent_link_is_given_up_and_dialled_again() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            began = stage.dialer.clock.monotonic_s()
            server.quiet = True
            await eventually(lambda: len(stage.dialer.servers) == 2)
            assert 30 <= stage.dialer.clock.monotonic_s() - began <= 32

    play(story())


def test_a_peer_that_does_not_read_is_given_up() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            server.stuck = True
            await eventually(lambda: len(stage.dialer.servers) == 2)

    play(story())


def test_the_token_is_renewed_a_minute_before_it_ends() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            await asyncio.sleep(1_000)
            renewals = [x for x in server.heard if isinstance(x, m.Renew)]
            assert [x.token for x in renewals] == ["token 1", "token 2", "token 3", "token 4"]
            assert len(stage.dialer.servers) == 1

    play(story())


def test_a_session_that_ended_signs_in_before_it_connects_again() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            server.out.put_nowait(CloseCode.TOKEN_EXPIRED)
            await eventually(lambda: len(stage.dialer.servers) == 2)
            assert stage.tokens.renewed == 1

    play(story())


@pytest.mark.parametrize("code", [CloseCode.REVOKED, CloseCode.UNSUPPORTED, CloseCode.PROTOCOL])
def test_a_code_that_says_stop_ends_the_link_for_good(code: CloseCode) -> None:
    async def story() -> None:
        stage = Stage()
        task = asyncio.ensure_future(stage.connection.run())
        await eventually(lambda: stage.connection.online)
        stage.dialer.servers[0].out.put_nowait(code)
        with pytest.raises(Stopped) as stopped:
            await task
        assert stopped.value.code == code
        assert stage.sink.states[-1] is LinkState.STOPPED
        assert len(stage.dialer.servers) == 1

    play(story())


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("code", [WireError.NOT_FOUND, WireError.FORBIDDEN, WireError.UNSUPPORTED])
def test_only_the_server_itself_ends_the_link_for_good(code: WireError, told: bool) -> None:
    """A proxy says 404 or shows a page of its own in the middle of a deployment: nobody is revoked by that."""

    async def story() -> None:
        stage = Stage()

        async def refused() -> str:
            raise ApiError(code, told=told)

        signing_in = stage.tokens.token
        stage.tokens.token = refused  # type: ignore[method-assign]
        task = asyncio.ensure_future(stage.connection.run())
        await eventually(lambda: len(stage.dialer.servers) == (1 if told else 5))
        if told:
            with pytest.raises(Stopped):
                await task
            return
        stage.tokens.token = signing_in  # type: ignore[method-assign]
        await eventually(lambda: stage.connection.online)
        task.cancel()
        await asyncio.wait([task])

    play(story())


def test_delays_double_to_thirty_seconds_with_full_jitter() -> None:
    async def story() -> None:
        stage = Stage(uniform=lambda _low, high: high)
        stage.dialer.up = False
        task = asyncio.ensure_future(stage.connection.run())
        await asyncio.sleep(200)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        times = stage.dialer.dialled_s
        delays = [round(b - a, 3) for a, b in pairwise(times)]
        assert delays[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]

    play(story())


def test_jitter_spreads_over_the_whole_delay() -> None:
    drawn = [backoff_s(20, Random(seed).uniform) for seed in range(200)]
    assert min(drawn) < 1
    assert 29 < max(drawn) <= BACKOFF_CAP_S
    assert backoff_s(0, lambda _low, high: high) == BACKOFF_BASE_S


def test_hurry_ends_the_delay() -> None:
    async def story() -> None:
        stage = Stage(uniform=lambda _low, high: high)
        stage.dialer.up = False
        task = asyncio.ensure_future(stage.connection.run())
        await asyncio.sleep(100)
        stage.dialer.up = True
        before = stage.dialer.clock.monotonic_s()
        stage.connection.hurry()
        await eventually(lambda: stage.connection.online)
        assert stage.dialer.clock.monotonic_s() - before < 0.1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(story())


def test_a_request_ends_with_its_own_answer() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            asked = [
                asyncio.ensure_future(stage.connection.request(lambda req: m.Who(req, CHANNEL)))
                for _ in range(3)
            ]
            await eventually(lambda: sum(isinstance(x, m.Who) for x in server.heard) == 3)
            for who in reversed([x for x in server.heard if isinstance(x, m.Who)]):
                server.push(m.Refused(who.req, WireError.NOT_FOUND))
            replies = await asyncio.gather(*asked)
            assert len({reply.req for reply in replies}) == 3

    play(story())


def test_a_request_whose_link_breaks_or_that_nobody_answers_is_offline() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            asked = asyncio.ensure_future(stage.connection.request(lambda req: m.Who(req, CHANNEL)))
            await asyncio.sleep(0)
            server.out.put_nowait(CloseCode.RESTART)
            with pytest.raises(Offline):
                await asked
            await eventually(lambda: stage.connection.online)
            with pytest.raises(Offline):
                await stage.connection.request(lambda req: m.Who(req, CHANNEL), 5)

    play(story())


def test_a_server_that_talks_nonsense_is_left_and_an_unknown_optional_message_ignored() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            server.out.put_nowait(b"\x92\x7b\x01")
            await asyncio.sleep(1)
            assert len(stage.dialer.servers) == 1
            server.out.put_nowait(b"\xc1")
            await eventually(lambda: len(stage.dialer.servers) == 2)

    play(story())


@pytest.mark.parametrize(("said_ms", "step_ms"), [(2**53 - 1, 5_000), (0, -5_000)])
def test_a_time_that_no_calendar_has_is_not_taken_over(said_ms: int, step_ms: int) -> None:
    """Beyond an integer's bounds it would stand in kept state that nobody can read back."""

    async def story() -> None:
        stage = Stage()
        async with stage.running() as server:
            server.push(m.Beat(said_ms, ()))
            await eventually(lambda: abs(stage.connection.server_now_ms() - stage.clock.now_ms()) > 10**9)
            stage.clock.ahead_ms += step_ms
            assert stage.connection.server_now_ms() == (LATEST_MS if said_ms else 0)

    play(story())


def test_the_servers_clock_is_believed() -> None:
    async def story() -> None:
        stage = Stage(ahead_ms=-3_600_000)
        async with stage.running():
            assert abs(stage.connection.server_now_ms() - stage.dialer.clock.now_ms()) < 200

    play(story())


def test_cancelling_in_the_very_moment_the_link_breaks_ends_it() -> None:
    """Before Python 3.13 a task group swallows a cancellation that meets a failing task; this must not."""

    async def story() -> None:
        stage = Stage()
        task = asyncio.ensure_future(stage.connection.run())
        await eventually(lambda: stage.connection.online)
        stage.dialer.servers[0].out.put_nowait(1006)
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await task

    play(story())


class TestCalls:
    def test_who_hears_a_call_hears_the_bridge_over_every_session(self) -> None:
        async def story() -> None:
            stage = Stage()
            heard: list[m.VideoTold | m.Refused] = []
            stage.connection.hear_call(CONSULT, heard.append)
            async with stage.running() as server:
                await stage.connection.signal(CONSULT, b"join")
                assert [(s.consult, s.body) for s in server.heard if isinstance(s, m.Video)] == [
                    (CONSULT, b"join")
                ]
                server.push(m.VideoTold(OTHER_CONSULT, b"of no call here"))
                server.push(m.VideoTold(CONSULT, b"welcome"))
                await eventually(lambda: bool(heard))
                server.out.put_nowait(CloseCode.RESTART)
                await eventually(lambda: len(stage.dialer.servers) == 2 and stage.connection.online)
                stage.dialer.servers[-1].push(m.VideoTold(CONSULT, b"offer"))
                await eventually(lambda: len(heard) == 2)
                stage.connection.hear_call(CONSULT, None)
                stage.dialer.servers[-1].push(m.VideoTold(CONSULT, b"to nobody"))
                await asyncio.sleep(1)
                assert heard == [m.VideoTold(CONSULT, b"welcome"), m.VideoTold(CONSULT, b"offer")]
                assert stage.sink.pushes == [push for push in stage.sink.pushes if isinstance(push, m.Beat)]

        play(story())

    def test_a_refused_signal_is_told_to_who_hears_the_call(self) -> None:
        async def story() -> None:
            stage = Stage()
            heard: list[m.VideoTold | m.Refused] = []
            stage.connection.hear_call(CONSULT, heard.append)
            async with stage.running() as server:
                await stage.connection.signal(CONSULT, b"join")
                (signal,) = (said for said in server.heard if isinstance(said, m.Video))
                refusal = m.Refused(signal.req, WireError.UNAVAILABLE, 0, 700)
                server.push(refusal)
                server.push(refusal)
                await asyncio.sleep(1)
                assert heard == [refusal]

        play(story())

    def test_no_link_is_said_at_once(self) -> None:
        async def story() -> None:
            with pytest.raises(Offline):
                await Stage().connection.signal(CONSULT, b"join")

        play(story())
