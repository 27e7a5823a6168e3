"""The server's session, without sockets: phases, deadlines, bounds; then any sequence of inputs at all."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from leeside_protocol.codec import encode
from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.limits import (
    FRAME_BYTES,
    HELLO_TIMEOUT_S,
    IN_FLIGHT_BYTES,
    IN_FLIGHT_MESSAGES,
    SILENT_S,
    TOKEN_TTL_S,
)
from leeside_protocol.messages import (
    ClientBeat,
    ClientMessage,
    Hello,
    Publish,
    Renew,
    Subscribe,
    Unsubscribe,
    Who,
)
from leeside_protocol.session import Phase, ServerSession
from leeside_protocol.words import Lane

NOW_S = 100.0
LOG = ChannelAddress(b"c" + bytes(16))
HELLO = Hello("token", bytes(64))
BEAT = ClientBeat(1)
SUBSCRIBE = Subscribe(1, LOG)


def publish(size: int = 10, lane: Lane = Lane.LOG) -> Publish:
    return Publish(1, LOG, lane, b"", MessageId(bytes(16)), bytes(size))


def opened() -> ServerSession:
    session = ServerSession(NOW_S)
    assert session.receive(encode(HELLO), NOW_S) == HELLO
    session.opened(NOW_S + TOKEN_TTL_S)
    return session


def test_the_first_message_is_hello() -> None:
    session = ServerSession(NOW_S)
    assert session.receive(encode(BEAT), NOW_S) is None
    assert session.receive(encode(HELLO), NOW_S) == HELLO
    assert session.phase is Phase.CHECKING


@pytest.mark.parametrize("message", [SUBSCRIBE, publish(), Renew(1, "t"), Who(1, LOG), Unsubscribe(1, LOG)])
@pytest.mark.parametrize("checking", [False, True])
def test_nothing_else_is_taken_before_welcome(message: ClientMessage, checking: bool) -> None:
    session = ServerSession(NOW_S)
    if checking:
        session.receive(encode(HELLO), NOW_S)
    assert session.receive(encode(message), NOW_S) is CloseCode.PROTOCOL
    assert session.phase is Phase.CLOSED


def test_a_second_hello_is_a_violation() -> None:
    assert opened().receive(encode(HELLO), NOW_S) is CloseCode.PROTOCOL


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", CloseCode.PROTOCOL),
        (b"\xc1", CloseCode.PROTOCOL),
        (b"\x92\x62\x01", CloseCode.PROTOCOL),
        (encode(SUBSCRIBE)[:-1], CloseCode.PROTOCOL),
        (bytes(FRAME_BYTES + 1), CloseCode.TOO_LARGE),
        (b"\x91" * 10_000, CloseCode.PROTOCOL),
    ],
    ids=["empty", "reserved byte", "unknown even tag", "truncated", "too large", "deep"],
)
def test_garbage_closes(data: bytes, code: CloseCode) -> None:
    assert opened().receive(data, NOW_S) is code


def test_an_unknown_optional_message_is_ignored() -> None:
    session = opened()
    assert session.receive(b"\x92\x63\x01", NOW_S) is None
    assert session.phase is Phase.OPEN


def test_hello_must_come_in_time() -> None:
    session = ServerSession(NOW_S)
    session.receive(encode(BEAT), NOW_S + HELLO_TIMEOUT_S - 1)
    assert session.overdue(NOW_S + HELLO_TIMEOUT_S - 0.01) is None
    assert session.overdue(NOW_S + HELLO_TIMEOUT_S) is CloseCode.HELLO_TIMEOUT


def test_a_hello_that_is_never_verified_is_overdue_too() -> None:
    session = ServerSession(NOW_S)
    session.receive(encode(HELLO), NOW_S)
    assert session.overdue(NOW_S + HELLO_TIMEOUT_S) is CloseCode.HELLO_TIMEOUT


def test_verifying_a_hello_has_a_time_of_its_own() -> None:
    session = ServerSession(NOW_S)
    came_s = NOW_S + HELLO_TIMEOUT_S - 1
    session.receive(encode(HELLO), came_s)
    assert session.overdue(came_s + HELLO_TIMEOUT_S - 0.01) is None
    assert session.overdue(came_s + HELLO_TIMEOUT_S) is CloseCode.HELLO_TIMEOUT


def test_the_session_ends_with_its_token() -> None:
    session = opened()
    session.heard(NOW_S + TOKEN_TTL_S - 1)
    assert session.overdue(NOW_S + TOKEN_TTL_S - 0.01) is None
    assert session.overdue(NOW_S + TOKEN_TTL_S) is CloseCode.TOKEN_EXPIRED


def test_a_renewed_token_carries_on() -> None:
    session = opened()
    session.renewed(NOW_S + 2 * TOKEN_TTL_S)
    session.heard(NOW_S + TOKEN_TTL_S)
    assert session.overdue(NOW_S + TOKEN_TTL_S) is None


def test_silence_ends_it_and_any_sign_of_life_does_not() -> None:
    session = opened()
    assert session.overdue(NOW_S + SILENT_S - 0.01) is None
    session.heard(NOW_S + SILENT_S - 0.01)
    assert session.overdue(NOW_S + SILENT_S) is None
    assert session.overdue(NOW_S + 2 * SILENT_S) is CloseCode.SILENT


def test_reading_stops_at_so_many_unanswered_messages() -> None:
    session = opened()
    for _ in range(IN_FLIGHT_MESSAGES):
        assert not session.full
        session.receive(encode(publish()), NOW_S)
    assert session.full
    session.answered(publish())
    assert not session.full


def test_reading_stops_at_so_many_unanswered_bytes() -> None:
    session = opened()
    large = publish(60_000)
    for _ in range(IN_FLIGHT_BYTES // 60_000 + 1):
        session.receive(encode(large), NOW_S)
    assert session.full


def test_a_stream_value_is_not_in_flight() -> None:
    session = opened()
    for _ in range(IN_FLIGHT_MESSAGES + 1):
        session.receive(encode(publish(lane=Lane.STREAM)), NOW_S)
    assert not session.full


class Sessions(RuleBasedStateMachine):
    """A peer that sends anything, a server that answers whenever it likes, and time that passes."""

    unanswered = Bundle("unanswered")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = NOW_S
        self.session = ServerSession(self.now_s)
        self.was_open = False
        self.closed_with: CloseCode | None = None
        self.messages = 0

    def feed(self, data: bytes) -> ClientMessage | None:
        before = self.session.phase
        result = self.session.receive(data, self.now_s)
        if before is Phase.CLOSED:
            assert result is None
        if isinstance(result, CloseCode):
            assert self.closed_with is None
            self.closed_with = result
            return None
        return result

    @rule(data=st.binary(max_size=64))
    def garbage(self, data: bytes) -> None:
        self.feed(data)

    @rule(
        message=st.sampled_from([HELLO, BEAT, Renew(1, "t"), Unsubscribe(1, LOG), publish(9, Lane.STREAM)]),
    )
    def unanswered_message(self, message: ClientMessage) -> None:
        was = self.session.phase
        result = self.feed(encode(message))
        if isinstance(result, Hello):
            assert was is Phase.HELLO
        elif result is not None:
            assert was is Phase.OPEN

    @rule(target=unanswered, message=st.sampled_from([SUBSCRIBE, Who(1, LOG), publish(9), publish(50_000)]))
    def request(self, message: ClientMessage) -> object:
        result = self.feed(encode(message))
        if result is None:
            return cast("object", multiple())
        assert self.session.phase is Phase.OPEN
        self.messages += 1
        return result

    @rule(request=consumes(unanswered))
    def answer(self, request: ClientMessage) -> None:
        self.session.answered(request)
        self.messages -= 1

    @rule()
    def proves_true(self) -> None:
        if self.session.phase is Phase.CHECKING:
            self.was_open = True
        self.session.opened(self.now_s + TOKEN_TTL_S)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        code = self.session.overdue(self.now_s)
        if code is not None:
            assert self.closed_with is None
            self.closed_with = code

    @invariant()
    def closed_once_and_for_good(self) -> None:
        assert (self.session.phase is Phase.CLOSED) == (self.closed_with is not None)

    @invariant()
    def open_only_after_a_proof(self) -> None:
        assert self.was_open or self.session.phase is not Phase.OPEN

    @invariant()
    def every_request_is_counted_once(self) -> None:
        assert self.session.in_flight_messages == self.messages
        assert self.session.in_flight_bytes >= 0
        assert (self.session.in_flight_bytes == 0) == (self.messages == 0)


TestSessions = Sessions.TestCase
