"""How long a proof counts, and who may register a passkey."""

from __future__ import annotations

import msgspec
import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import AgencyRow, DeviceRow, DeviceState, SessionRow
from leeside_server.core.person import (
    PASSKEYS,
    PasskeyRow,
    check_may_register,
    knows,
    may_register_first,
    person_until_ms,
    proof_is_over,
    used,
    with_person,
)

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
AGENCY = AgencyRow("Harbour", b"r" * 32, 0)
ASKS = with_person(AGENCY, PersonBy.PASSKEY, None, NOW_MS)
SESSION = SessionRow(DeviceId(b"D" * 16), MemberId(b"M" * 16), 0, 0, b"")
SHOWN = msgspec.structs.replace(
    SESSION, created_ms=NOW_MS + HOUR_MS, person=PersonBy.PASSKEY, person_ms=NOW_MS + HOUR_MS
)
BY_OIDC = msgspec.structs.replace(SHOWN, person=PersonBy.OIDC)
DEVICE = DeviceRow(MemberId(b"M" * 16), b"p" * 32, DeviceState.ACTIVE, "phone", "", 0, certified_ms=NOW_MS)
PASSKEY = PasskeyRow(MemberId(b"M" * 16), DeviceId(b"D" * 16), b"c", b"k", 7, False, False, 0, 0)


@pytest.mark.parametrize(
    ("agency", "session", "until_ms"),
    [
        (AGENCY, SESSION, 0),
        (AGENCY, SHOWN, 0),
        (ASKS, SHOWN, NOW_MS + 13 * HOUR_MS),
        (ASKS, SESSION, NOW_MS + 12 * HOUR_MS),
        (with_person(ASKS, PersonBy.OIDC, 2, NOW_MS + 3 * HOUR_MS), SHOWN, NOW_MS + 5 * HOUR_MS),
        (with_person(ASKS, PersonBy.DEVICE, None, NOW_MS), SHOWN, 0),
    ],
    ids=["nobody asks", "shown unasked", "shown", "opened before", "another way since", "no longer"],
)
def test_until_when_a_proof_counts(agency: AgencyRow, session: SessionRow, until_ms: int) -> None:
    assert person_until_ms(agency, session) == until_ms
    assert not proof_is_over(agency, session, NOW_MS)
    if until_ms:
        assert not proof_is_over(agency, session, until_ms + HOUR_MS - 1), "an hour more"
        assert proof_is_over(agency, session, until_ms + HOUR_MS)
    else:
        assert not proof_is_over(agency, session, NOW_MS + 10_000 * HOUR_MS)


def test_another_number_of_hours_begins_nothing_anew() -> None:
    changed = with_person(ASKS, PersonBy.PASSKEY, 8, NOW_MS + HOUR_MS)
    assert (changed.person_hours, changed.person_since_ms) == (8, NOW_MS)


@pytest.mark.parametrize(
    ("certified_ms", "passkeys", "may"),
    [
        (NOW_MS, 0, True),
        (NOW_MS - 900_000 + 1, 0, True),
        (NOW_MS - 900_000, 0, False),
        (NOW_MS, 1, False),
        (0, 0, False),
    ],
)
def test_the_first_passkey_comes_with_a_device_that_was_just_certified(
    certified_ms: int, passkeys: int, may: bool
) -> None:
    device = msgspec.structs.replace(DEVICE, certified_ms=certified_ms)
    assert may_register_first(device, passkeys, NOW_MS) is may


@pytest.mark.parametrize(
    ("agency", "session", "passkeys", "after_ms", "may"),
    [
        (AGENCY, SESSION, 3, HOUR_MS, True),
        (ASKS, SHOWN, 3, 900_000 - 1, True),
        (ASKS, SHOWN, 3, 900_000, False),
        (ASKS, SHOWN, 0, 900_000, False),
        (ASKS, SESSION, 0, 11 * HOUR_MS, True),
        (ASKS, SESSION, 1, 0, False),
        (ASKS, BY_OIDC, 1, 0, False),
        (AGENCY, SESSION, PASSKEYS, 0, False),
    ],
)
def test_who_registers_another(
    agency: AgencyRow, session: SessionRow, passkeys: int, after_ms: int, may: bool
) -> None:
    """Whoever finds a device unlocked, long after the proof, does not become the person; nor where all were forgotten."""
    now_ms = NOW_MS + HOUR_MS + after_ms
    if may:
        check_may_register(agency, session, passkeys, now_ms)
        return
    with pytest.raises(ProtocolError) as refused:
        check_may_register(agency, session, passkeys, now_ms)
    assert refused.value.code is WireError.FORBIDDEN


@pytest.mark.parametrize(
    ("before", "told", "holds"),
    [(7, 8, True), (0, 0, True), (0, 5, True), (7, 7, False), (7, 3, False), (7, 0, False)],
)
def test_a_counter_grows_or_there_is_none(before: int, told: int, holds: bool) -> None:
    row = msgspec.structs.replace(PASSKEY, sign_count=before)
    if holds:
        after = used(row, told, synced=True, now_ms=NOW_MS)
        assert (after.sign_count, after.synced, after.used_ms) == (told, True, NOW_MS)
        return
    with pytest.raises(ProtocolError):
        used(row, told, synced=True, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("login", "subject", "email", "known"),
    [
        ("u-1", "u-1", "", True),
        ("u-1", "U-1", "", False),
        ("Sam@Example.org", "u-1", "sam@eXample.org", True),
        ("", "", "", False),
        ("sam@example.org", "sam@example.org", "", False),
        ("sam@example.org", "sam@example.org", "eve@example.org", False),
        ("u-1", "u-2", "u-1", False),
        ("sam@strasse.example", "u-1", "sam@straße.example", False),
        ("mike@example.org", "u-1", "mi\u212ae@example.org", False),
        ("sam@example.org", "u-1", "sam@example.org\u0130", False),
    ],
)
def test_whom_a_login_means(login: str, subject: str, email: str, *, known: bool) -> None:
    """Two mailboxes are never one because Unicode folds a letter: theirs may be different owners."""
    assert knows(login, subject, email) is known
