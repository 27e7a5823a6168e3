"""Identity: codes, devices, challenges, session families; each rule, and the whole under random use."""

import hashlib
import random as randoms
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.limits import CHALLENGE_TTL_S, ENROLMENT_TTL_S, REFRESH_TTL_S
from leeside_protocol.words import Role
from leeside_server.core.identity import (
    CODE_BYTES,
    CODE_LETTERS,
    ENROLMENT_ATTEMPTS,
    DeviceRow,
    DeviceState,
    EnrolmentRow,
    MemberRow,
    Refreshed,
    Reused,
    SessionRow,
    certify,
    challenge_end_ms,
    challenge_nonce,
    check_challenge,
    check_device,
    check_enrolment,
    check_member,
    code_id,
    end_member,
    end_session,
    enrolment_code,
    failed_enrolment,
    issue_enrolment,
    open_session,
    read_refresh,
    redeem_enrolment,
    refresh,
    refresh_secret,
    revoke,
    session_id,
    with_device_key,
)

NOW = 1_800_000_000_000
KEY = bytes(range(32))
AGENCY = AgencyId(b"A" * 16)
MEMBER = MemberId(b"M" * 16)
DEVICE = DeviceId(b"D" * 16)
OTHER = DeviceId(b"E" * 16)
PERSON = MemberRow((Role.RESPONDER,), NOW)


def refused(code: WireError) -> Any:
    return pytest.raises(ProtocolError, match=rf"^{code.label}")


def pending() -> DeviceRow:
    return DeviceRow(MEMBER, b"p" * 32, DeviceState.PENDING, "phone", "1", NOW, (b"key",))


# ---- codes


def test_a_code_is_eighty_bits_in_letters_that_can_be_read_aloud() -> None:
    code = enrolment_code(bytes(range(CODE_BYTES)))
    assert len(code.replace("-", "")) == 16
    assert set(code) <= set(CODE_LETTERS) | {"-"}
    assert not set("ILOU") & set(CODE_LETTERS)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_different_bits_are_different_codes(one: bytes, other: bytes) -> None:
    assert (enrolment_code(one) == enrolment_code(other)) is (one == other)


@pytest.mark.parametrize("typed", ["7qk2-0001", "7QK2 0001", "7QK20001", "7QK2-OOOI", "7qk2-oool"])
def test_a_code_is_understood_as_people_type_it(typed: str) -> None:
    assert code_id(typed) == code_id("7QK2-0001")


# ---- enrolment


def code_row() -> EnrolmentRow:
    return issue_enrolment(AGENCY, PERSON, MEMBER, OTHER, "phone", NOW)


def test_a_code_serves_once_but_its_device_may_repeat_itself() -> None:
    spent, row = redeem_enrolment(code_row(), DEVICE, b"p" * 32, b"key", "1", NOW + 5)
    assert row.state is DeviceState.PENDING
    assert (row.member, row.label, row.created_ms) == (MEMBER, "phone", NOW + 5)
    check_enrolment(spent, DEVICE, NOW + 10**9)
    with refused(WireError.NOT_FOUND):
        check_enrolment(spent, OTHER, NOW)


def test_a_code_ends_after_fifteen_minutes() -> None:
    check_enrolment(code_row(), DEVICE, NOW + ENROLMENT_TTL_S * 1000 - 1)
    with refused(WireError.EXPIRED):
        check_enrolment(code_row(), DEVICE, NOW + ENROLMENT_TTL_S * 1000)


def test_a_code_ends_after_five_failed_proofs() -> None:
    row = code_row()
    for _ in range(ENROLMENT_ATTEMPTS):
        check_enrolment(row, DEVICE, NOW)
        row = failed_enrolment(row)
    with refused(WireError.EXPIRED):
        check_enrolment(row, DEVICE, NOW)


def test_no_code_for_a_membership_that_ended() -> None:
    with refused(WireError.REVOKED):
        issue_enrolment(AGENCY, end_member(PERSON, NOW), MEMBER, OTHER, "phone", NOW)


# ---- devices


def test_certification_admits_the_very_device_that_enrolled() -> None:
    row = certify(pending(), PERSON, b"p" * 32, MEMBER, "responder", NOW)
    assert row.state is DeviceState.ACTIVE
    check_device(row)


@pytest.mark.parametrize(
    ("public", "member", "role", "person"),
    [
        (b"q" * 32, MEMBER, "responder", PERSON),
        (b"p" * 32, MemberId(b"N" * 16), "responder", PERSON),
        (b"p" * 32, MEMBER, "admin", PERSON),
        (b"p" * 32, MEMBER, "", PERSON),
        (b"p" * 32, MEMBER, "responder", None),
    ],
)
def test_certification_of_something_else_is_invalid(
    public: bytes, member: MemberId, role: str, person: MemberRow | None
) -> None:
    with refused(WireError.INVALID):
        certify(pending(), person, public, member, role, NOW)


def test_who_was_revoked_or_ended_is_not_certified() -> None:
    with refused(WireError.REVOKED):
        certify(revoke(pending(), NOW), PERSON, b"p" * 32, MEMBER, "responder", NOW)
    with refused(WireError.REVOKED):
        certify(pending(), end_member(PERSON, NOW), b"p" * 32, MEMBER, "responder", NOW)


def test_pending_and_revoked_devices_are_told_apart() -> None:
    with refused(WireError.PENDING):
        check_device(pending())
    with refused(WireError.REVOKED):
        check_device(revoke(pending(), NOW))


def test_revoking_and_ending_twice_keeps_the_first_time() -> None:
    assert revoke(revoke(pending(), NOW), NOW + 5).revoked_ms == NOW
    assert end_member(end_member(PERSON, NOW), NOW + 5).ended_ms == NOW
    with refused(WireError.REVOKED):
        check_member(end_member(PERSON, NOW))
    with refused(WireError.REVOKED):
        check_member(None)


def test_old_device_keys_are_dropped_the_newest_stays_last() -> None:
    row = pending()
    for n in range(9):
        row = with_device_key(row, b"%d" % n)
    assert row.device_keys == (b"5", b"6", b"7", b"8")


# ---- challenges


def test_a_challenge_is_for_its_device_for_a_minute() -> None:
    nonce = challenge_nonce(KEY, DEVICE, NOW, b"rand")
    assert len(nonce) == 16
    end_ms = challenge_end_ms(nonce)
    assert end_ms == NOW + CHALLENGE_TTL_S * 1000
    check_challenge(KEY, DEVICE, nonce, end_ms - 1)
    with refused(WireError.EXPIRED):
        check_challenge(KEY, DEVICE, nonce, end_ms)
    with refused(WireError.UNAUTHENTICATED):
        check_challenge(KEY, OTHER, nonce, NOW)


@given(st.integers(0, 127))
def test_no_bit_of_a_challenge_can_be_changed(bit: int) -> None:
    nonce = bytearray(challenge_nonce(KEY, DEVICE, NOW, b"rand"))
    nonce[bit // 8] ^= 1 << bit % 8
    with refused(WireError.UNAUTHENTICATED):
        check_challenge(KEY, DEVICE, bytes(nonce), NOW)


def test_a_session_is_named_after_its_challenge() -> None:
    one, other = (challenge_nonce(KEY, DEVICE, NOW, rand) for rand in (b"aaaa", b"bbbb"))
    assert session_id(DEVICE, one) == session_id(DEVICE, one)
    assert len({session_id(DEVICE, one), session_id(DEVICE, other), session_id(OTHER, one)}) == 3


# ---- refresh


def secret(count: int = 0, rand: bytes = b"r" * 16) -> bytes:
    return refresh_secret(KEY, AGENCY, b"S" * 16, count, rand)


def test_each_secret_serves_once_and_the_second_use_ends_the_family() -> None:
    row = open_session(DEVICE, MEMBER, secret(), NOW)
    step = refresh(row, read_refresh(KEY, secret()), secret(1), NOW + 1)
    assert isinstance(step, Refreshed)
    again = refresh(step.row, read_refresh(KEY, secret()), secret(1), NOW + 2)
    assert isinstance(again, Reused)
    assert (again.row.ended_ms, again.row.ended_for) == (NOW + 2, "refresh_reuse")
    with refused(WireError.UNAUTHENTICATED):
        refresh(again.row, read_refresh(KEY, secret(1)), secret(2), NOW + 3)


def test_another_secret_of_the_right_number_is_reuse_too() -> None:
    row = open_session(DEVICE, MEMBER, secret(), NOW)
    assert isinstance(refresh(row, read_refresh(KEY, secret(0, b"x" * 16)), secret(1), NOW), Reused)


def test_a_family_ends_thirty_days_after_its_last_refresh() -> None:
    row = open_session(DEVICE, MEMBER, secret(), NOW)
    with refused(WireError.UNAUTHENTICATED):
        refresh(row, read_refresh(KEY, secret()), secret(1), NOW + REFRESH_TTL_S * 1000)


@given(st.integers(0, 71), st.integers(1, 255))
def test_a_secret_that_was_changed_is_noise_and_ends_nothing(at: int, change: int) -> None:
    data = bytearray(secret())
    data[at] ^= change
    with refused(WireError.UNAUTHENTICATED):
        read_refresh(KEY, bytes(data))


@given(st.binary(max_size=100))
def test_noise_is_no_secret(data: bytes) -> None:
    with refused(WireError.UNAUTHENTICATED):
        read_refresh(KEY, data)


def test_what_is_kept_of_a_secret_is_its_hash() -> None:
    row = open_session(DEVICE, MEMBER, secret(), NOW)
    assert row.refresh_hash == hashlib.sha256(secret()).digest()
    assert secret() not in msgspec.json.encode(row)


class Sessions(RuleBasedStateMachine):
    """One device's families under any order of use, theft and time: at most one live secret a family, and no
    secret ever serves twice."""

    secrets: Bundle[tuple[int, int]] = Bundle("secrets")

    @initialize()
    def begin(self) -> None:
        self.rng = randoms.Random(7)
        self.now_ms = NOW
        self.rows: dict[int, SessionRow] = {}
        self.texts: dict[tuple[int, int], bytes] = {}
        self.served: set[tuple[int, int]] = set()

    def _secret(self, family: int, count: int) -> bytes:
        made = refresh_secret(KEY, AGENCY, family.to_bytes(16, "big"), count, self.rng.randbytes(16))
        self.texts[family, count] = made
        return made

    @rule(target=secrets)
    def sign_in(self) -> tuple[int, int]:
        family = len(self.rows)
        self.rows[family] = open_session(DEVICE, MEMBER, self._secret(family, 0), self.now_ms)
        return family, 0

    @rule(target=secrets, shown=secrets)
    def use(self, shown: tuple[int, int]) -> Any:
        family, count = shown
        row = self.rows[family]
        live = not row.ended_ms and self.now_ms < row.refresh_until_ms
        read = read_refresh(KEY, self.texts[shown])
        assert (int.from_bytes(read.session, "big"), read.count) == shown
        before = self.texts.get((family, count + 1))
        following = self._secret(family, count + 1)
        step: Refreshed | Reused | None = None
        if live:
            step = refresh(row, read, following, self.now_ms)
        else:
            with refused(WireError.UNAUTHENTICATED):
                refresh(row, read, following, self.now_ms)
        if isinstance(step, Refreshed):
            assert shown not in self.served
            assert count == row.count
            self.served.add(shown)
            self.rows[family] = step.row
            return family, count + 1
        if isinstance(step, Reused):
            assert shown in self.served
            assert step.row.ended_ms
            self.rows[family] = step.row
        if before is not None:
            self.texts[family, count + 1] = before
        return cast("Any", multiple())

    @rule(shown=consumes(secrets))
    def sign_out(self, shown: tuple[int, int]) -> None:
        self.rows[shown[0]] = end_session(self.rows[shown[0]], "sign_out", self.now_ms)

    @rule(days=st.integers(0, 40))
    def wait(self, days: int) -> None:
        self.now_ms += days * 86_400_000

    @invariant()
    def families_that_ended_stay_so(self) -> None:
        for row in self.rows.values():
            assert end_session(row, "again", self.now_ms + 1).ended_ms in {row.ended_ms, self.now_ms + 1}


TestSessions = Sessions.TestCase
