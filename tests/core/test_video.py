"""Who may be in a call, the credentials of TURN, and words between nodes."""

import base64
import hashlib
import hmac

import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelId, ConsultId, DeviceId, IncidentId, MemberId
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.signalling import (
    Admit,
    ClientSignal,
    GoneWhy,
    Join,
    Leave,
    Mute,
    Part,
    Refuse,
    Restrict,
    encode_signal,
)
from leeside_protocol.words import ConsultState, Role, Urgency
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.guests import GuestRow
from leeside_server.core.ladder import World
from leeside_server.core.video import (
    TICKET_MS,
    WORD_AGE_MS,
    Caller,
    Closed,
    Expelled,
    Heard,
    Spoken,
    WordSeal,
    part_in,
    require,
    room_of,
    ticket_for,
    turn_server,
)

NOW_MS = 1_800_000_000_000
CONSULT, OTHER_CONSULT = ConsultId(bytes([1]) * 16), ConsultId(bytes([2]) * 16)
ASKER, TEAM, DOCTOR, CHIEF, STRANGER = (MemberId(bytes([n]) * 16) for n in range(11, 16))
PHONE, UNKNOWN = DeviceId(bytes([21]) * 16), DeviceId(bytes([22]) * 16)
ROSTER = frozenset({PHONE})
WORLD = World({}, {}, (CHIEF,), frozenset({TEAM}), frozenset({STRANGER}))
NODE = b"node-aaa"
ROOM = bytes([7]) * 16


def consult(state: ConsultState, accepted_by: MemberId | None = DOCTOR) -> ConsultRow:
    return ConsultRow(
        incident=IncidentId(bytes(16)), unit=None, member=ASKER, device=PHONE, urgency=Urgency.ROUTINE, language="",
        interpreter=False, specialty="", channel=ChannelId(bytes([3]) * 16), ladder=None, steps=(), phones=(),
        requested_ms=NOW_MS, asked_steady_ms=0, state=state, accepted_by=accepted_by,
    )  # fmt: skip


def guest(
    role: Role, of: ConsultId = CONSULT, until_ms: int = NOW_MS + 60_000, ended_ms: int = 0
) -> GuestRow:
    return GuestRow(
        of, ChannelId(bytes([3]) * 16), role, PHONE, NOW_MS, NOW_MS, until_ms, device=bytes(PHONE), ended_ms=ended_ms
    )  # fmt: skip


def part(caller: Caller, state: ConsultState = ConsultState.IN_SESSION) -> Part:
    return part_in(CONSULT, consult(state), caller, WORLD, ROSTER, NOW_MS)


def refused(caller: Caller, state: ConsultState = ConsultState.IN_SESSION) -> WireError:
    with pytest.raises(ProtocolError) as caught:
        part(caller, state)
    return caught.value.code


class TestWhoMay:
    @pytest.mark.parametrize(
        ("member", "expected"),
        [
            (ASKER, Part.RESPONDER),
            (TEAM, Part.RESPONDER),
            (DOCTOR, Part.PSYCHIATRIST),
            (CHIEF, Part.SUPERVISOR),
        ],
    )
    def test_parts(self, member: MemberId, expected: Part) -> None:
        assert part(Caller(member, PHONE)) is expected
        assert part(Caller(member, PHONE), ConsultState.ACCEPTED) is expected

    def test_who_accepted_is_the_psychiatrist_whatever_else_they_are(self) -> None:
        row = consult(ConsultState.ACCEPTED, accepted_by=CHIEF)
        assert part_in(CONSULT, row, Caller(CHIEF, PHONE), WORLD, ROSTER, NOW_MS) is Part.PSYCHIATRIST

    def test_the_desk_sees_a_consult_and_is_not_in_its_call(self) -> None:
        assert refused(Caller(STRANGER, PHONE)) is WireError.NOT_FOUND

    @pytest.mark.parametrize(
        ("role", "expected"),
        [(Role.INTERPRETER, Part.INTERPRETER), (Role.RECEIVING_FACILITY, Part.RECEIVING_FACILITY)],
    )
    def test_guests(self, role: Role, expected: Part) -> None:
        assert part(Caller(STRANGER, PHONE, guest(role))) is expected

    def test_a_guest_of_another_consult_is_nobody_here(self) -> None:
        assert refused(Caller(STRANGER, PHONE, guest(Role.INTERPRETER, OTHER_CONSULT))) is WireError.NOT_FOUND

    def test_a_guest_who_ended_is_nobody(self) -> None:
        over = guest(Role.INTERPRETER, ended_ms=NOW_MS - 1)
        late = guest(Role.INTERPRETER, until_ms=NOW_MS)
        assert refused(Caller(STRANGER, PHONE, over)) is WireError.NOT_FOUND
        assert refused(Caller(STRANGER, PHONE, late)) is WireError.NOT_FOUND

    def test_a_guest_is_no_supervisor_by_the_member_that_the_world_names(self) -> None:
        assert refused(Caller(CHIEF, PHONE, guest(Role.INTERPRETER, OTHER_CONSULT))) is WireError.NOT_FOUND

    @pytest.mark.parametrize("state", ConsultState)
    def test_there_is_a_call_while_somebody_has_accepted(self, state: ConsultState) -> None:
        caller = Caller(ASKER, PHONE)
        if state in {ConsultState.ACCEPTED, ConsultState.IN_SESSION}:
            assert part(caller, state) is Part.RESPONDER
        elif state in {ConsultState.ENDED, ConsultState.CANCELLED}:
            assert refused(caller, state) is WireError.EXPIRED
        else:
            assert refused(caller, state) is WireError.CONFLICT

    def test_a_stranger_does_not_learn_how_it_stands(self) -> None:
        assert refused(Caller(STRANGER, PHONE), ConsultState.ENDED) is WireError.NOT_FOUND

    def test_a_device_outside_the_channel_must_be_let_in_first(self) -> None:
        assert refused(Caller(DOCTOR, UNKNOWN)) is WireError.FORBIDDEN


class TestWhoMaySay:
    @pytest.mark.parametrize("part", Part)
    @pytest.mark.parametrize(
        ("signal", "allowed"),
        [
            (Join(1, person=True), {Part.RESPONDER}),
            (Join(1, signs=True), {Part.INTERPRETER}),
            (Join(1, person=True, signs=True), {Part.RESPONDER}),
            (Admit(1, PHONE), {Part.RESPONDER, Part.PSYCHIATRIST}),
            (Refuse(1, PHONE), {Part.RESPONDER, Part.PSYCHIATRIST}),
            (Restrict(1, restricted=True), {Part.RESPONDER, Part.PSYCHIATRIST}),
            (Join(1), set(Part)),
            (Mute(1, MediaKind.AUDIO, muted=True), set(Part)),
            (Leave(1), set(Part)),
        ],
    )
    def test_table(self, part: Part, signal: ClientSignal, allowed: set[Part]) -> None:
        if part in allowed:
            require(part, signal)
        else:
            with pytest.raises(ProtocolError) as caught:
                require(part, signal)
            assert caught.value.code is WireError.FORBIDDEN


class TestTicket:
    @pytest.mark.parametrize(
        ("part", "admits", "team"),
        [
            (Part.RESPONDER, True, True),
            (Part.PSYCHIATRIST, True, True),
            (Part.INTERPRETER, False, True),
            (Part.SUPERVISOR, False, False),
            (Part.RECEIVING_FACILITY, False, False),
        ],
    )
    def test_who_waits_and_whom_consent_stops(self, part: Part, admits: bool, team: bool) -> None:
        ticket = ticket_for(ROOM, Caller(ASKER, PHONE), part, NODE, NOW_MS)
        assert (ticket.admits, ticket.team, ticket.until_ms) == (admits, team, NOW_MS + TICKET_MS)

    def test_a_guest_stays_no_longer_than_invited(self) -> None:
        caller = Caller(STRANGER, PHONE, guest(Role.INTERPRETER, until_ms=NOW_MS + 5))
        assert ticket_for(ROOM, caller, Part.INTERPRETER, NODE, NOW_MS).until_ms == NOW_MS + 5

    def test_agencies_with_the_same_consult_id_have_two_rooms(self) -> None:
        ours, theirs = AgencyId(bytes([1]) * 16), AgencyId(bytes([2]) * 16)
        assert room_of(ours, CONSULT) != room_of(theirs, CONSULT)
        assert len(room_of(ours, CONSULT)) == 16


class TestTurn:
    def test_the_credential_is_what_coturn_computes(self) -> None:
        server = turn_server(("turn:turn.example.org:3478",), "a" * 40, ROOM, PHONE, NOW_MS)
        until, _, name = server.username.partition(":")
        assert int(until) == NOW_MS // 1000 + 600
        expected = hmac.new(b"a" * 40, server.username.encode(), hashlib.sha1).digest()
        assert base64.b64decode(server.credential) == expected
        assert PHONE.hex() not in name

    def test_calls_cannot_be_put_together_by_its_name(self) -> None:
        one = turn_server((), "a" * 40, ROOM, PHONE, NOW_MS)
        other = turn_server((), "a" * 40, bytes([8]) * 16, PHONE, NOW_MS)
        assert one.username != other.username


class TestWords:
    def seal(self, secret: bytes = bytes(32)) -> WordSeal:
        return WordSeal(secret, bytes)

    def test_every_word_comes_back(self) -> None:
        ticket = ticket_for(ROOM, Caller(ASKER, PHONE), Part.RESPONDER, NODE, NOW_MS)
        turned = ticket_for(
            ROOM, Caller(ASKER, PHONE), Part.RESPONDER, NODE, NOW_MS,
            (turn_server(("turn:a.example.org",), "s" * 32, ROOM, PHONE, NOW_MS),),
        )  # fmt: skip
        for word in (
            Spoken(3, ticket, encode_signal(Join(1))),
            Spoken(3, turned, encode_signal(Join(1))),
            Expelled(3, ROOM, PHONE, GoneWhy.REMOVED),
            Closed(3, ROOM, GoneWhy.ENDED),
            Heard(3, ROOM, PHONE, b"body"),
        ):
            assert self.seal().open(NODE, self.seal().seal(NODE, word, NOW_MS), NOW_MS + 5) == word

    def test_a_word_is_for_one_address_and_of_our_nodes(self) -> None:
        data = self.seal().seal(NODE, Closed(3, ROOM, GoneWhy.ENDED), NOW_MS)
        assert self.seal().open(b"worker-1", data, NOW_MS) is None
        assert self.seal(b"x" * 32).open(NODE, data, NOW_MS) is None
        assert self.seal().open(NODE, data[:-1] + bytes([data[-1] ^ 1]), NOW_MS) is None
        for short in (b"", data[:11], data[:12], data[:27]):
            assert self.seal().open(NODE, short, NOW_MS) is None

    def test_a_word_that_somebody_kept_is_none(self) -> None:
        data = self.seal().seal(NODE, Closed(3, ROOM, GoneWhy.ENDED), NOW_MS)
        assert self.seal().open(NODE, data, NOW_MS + WORD_AGE_MS) is not None
        assert self.seal().open(NODE, data, NOW_MS + WORD_AGE_MS + 1) is None
        assert self.seal().open(NODE, data, NOW_MS - WORD_AGE_MS - 1) is None

    def test_what_it_holds_cannot_be_read(self) -> None:
        data = self.seal().seal(NODE, Heard(3, ROOM, PHONE, b"ice-password"), NOW_MS)
        assert b"ice-password" not in data
