"""Secrets at rest: what is put comes back, only to whom may, and any changed byte is told."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leeside import keystore
from leeside.keystore import (
    Cost,
    Keyring,
    KeyringUnavailable,
    Keystore,
    KeystoreBusy,
    KeystoreDamaged,
    KeystoreError,
    KeystoreExists,
    KeystoreMissing,
    Passphrase,
    WrongPassphrase,
)

CHEAP = Cost(passes=1, memory_kib=8, lanes=1)
RIGHT = Passphrase("correct horse battery", CHEAP)
CANARY = b"canary-5f1d"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profiles" / "anna.keys"


class HeldKeyring(keyring.backend.KeyringBackend):
    """A keyring in memory, in place of the desktop's."""

    priority = 1  # pyright: ignore[reportAssignmentType]  # computed in the base, fixed here

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


@pytest.fixture
def system_keyring() -> Iterator[HeldKeyring]:
    before = keyring.get_keyring()
    held = HeldKeyring()
    keyring.set_keyring(held)
    yield held
    keyring.set_keyring(before)


def test_values_come_back_after_closing(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("device/keys", CANARY)
        store.put("session", b"")
    with Keystore.open(path, RIGHT) as store:
        assert store.get("device/keys") == CANARY
        assert store.get("session") == b""
        assert store.get("other") is None
        assert store.names() == ("device/keys", "session")
        assert store.names("device/") == ("device/keys",)
        store.delete("session")
        store.delete("never there")
    with Keystore.open(path, RIGHT) as store:
        assert store.names() == ("device/keys",)


def test_neither_values_nor_names_nor_the_passphrase_stand_in_the_file(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("name-canary-77", CANARY)
    data = path.read_bytes()
    assert CANARY not in data
    assert b"name-canary-77" not in data
    assert b"correct horse" not in data
    assert "correct horse" not in repr(RIGHT)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
            st.none() | st.binary(max_size=200),
        ),
        max_size=12,
    )
)
def test_any_sequence_of_writes_reads_back_as_a_dict_would(
    steps: list[tuple[str, bytes | None]], tmp_path: Path
) -> None:
    path = tmp_path / secrets.token_hex(8)
    model: dict[str, bytes] = {}
    with Keystore.create(path, RIGHT) as store:
        for name, value in steps:
            store.update({name: value})
            if value is None:
                model.pop(name, None)
            else:
                model[name] = value
            assert {n: store.get(n) for n in store.names()} == model
    with Keystore.open(path, RIGHT) as store:
        assert {n: store.get(n) for n in store.names()} == model


def test_a_change_of_any_byte_is_told(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("a", CANARY)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(KeystoreDamaged):
            Keystore.open(path, RIGHT)
    path.write_bytes(whole)
    Keystore.open(path, RIGHT).close()


def test_a_file_cut_short_or_grown_is_told(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("a", CANARY)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(KeystoreDamaged):
            Keystore.open(path, RIGHT)
    path.write_bytes(whole + b"\0")
    with pytest.raises(KeystoreDamaged):
        Keystore.open(path, RIGHT)


def test_an_older_ciphertext_under_a_newer_header_does_not_open(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("a", b"old")
        old = path.read_bytes()
        store.change_unlock(Passphrase("another passphrase", CHEAP))
    new = path.read_bytes()
    split = 8 + 4 + int.from_bytes(new[8:12]) + 32
    assert split == 8 + 4 + int.from_bytes(old[8:12]) + 32
    path.write_bytes(new[:split] + old[split:])
    with pytest.raises(KeystoreDamaged):
        Keystore.open(path, Passphrase("another passphrase", CHEAP))


def unchecked(cost: Cost) -> None:
    """In place of the bounds, so that a file beyond them can be made."""


def test_a_cost_out_of_bounds_is_refused_before_it_is_paid(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Keystore.create(path, RIGHT).close()
    with pytest.raises(KeystoreDamaged):
        Cost(memory_kib=2**30).check()
    monkeypatch.setattr(keystore.Cost, "check", unchecked)
    huge = path.with_name("huge.keys")
    Keystore.create(huge, Passphrase("correct horse battery", Cost(17, 8, 1))).close()
    monkeypatch.undo()
    with pytest.raises(KeystoreDamaged):
        Keystore.open(huge, RIGHT)


def test_a_header_that_was_made_up_is_told_as_damage(path: Path) -> None:
    """Its digest proves nothing: anyone may compute another."""
    Keystore.create(path, RIGHT).close()
    data = path.read_bytes()
    (length,) = struct.unpack_from(">I", data, 8)
    header = msgspec.msgpack.decode(data[12 : 12 + length])
    header[3] = b"abc"  # the salt
    changed = msgspec.msgpack.encode(header)
    clear = data[:8] + struct.pack(">I", len(changed)) + changed
    path.write_bytes(clear + hashlib.sha256(clear).digest() + data[12 + length + 32 :])
    with pytest.raises(KeystoreDamaged):
        Keystore.open(path, RIGHT)


def test_a_wrong_passphrase_says_so_and_opens_nothing(path: Path) -> None:
    Keystore.create(path, RIGHT).close()
    with pytest.raises(WrongPassphrase) as caught:
        Keystore.open(path, Passphrase("correct horse batterz", CHEAP))
    assert "batterz" not in str(caught.value)


def test_the_same_passphrase_in_another_unicode_form_opens(path: Path) -> None:
    Keystore.create(path, Passphrase("Schlu\u0308ssel im Garten", CHEAP)).close()
    Keystore.open(path, Passphrase("Schl\u00fcssel im Garten", CHEAP)).close()


def test_a_short_passphrase_is_refused(path: Path) -> None:
    with pytest.raises(KeystoreError):
        Keystore.create(path, Passphrase("short", CHEAP))
    assert not path.exists()


def test_the_passphrase_can_be_changed(path: Path) -> None:
    other = Passphrase("another passphrase", CHEAP)
    with Keystore.create(path, RIGHT) as store:
        store.put("a", CANARY)
        store.change_unlock(other)
        assert store.get("a") == CANARY
    with pytest.raises(WrongPassphrase):
        Keystore.open(path, RIGHT)
    with Keystore.open(path, other) as store:
        assert store.get("a") == CANARY


def test_only_the_owner_may_read_it(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        store.put("a", b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(KeystoreError, match="chmod 600"):
        Keystore.open(path, RIGHT)


def test_missing_and_existing_are_told_apart(path: Path) -> None:
    with pytest.raises(KeystoreMissing):
        Keystore.open(path, RIGHT)
    with pytest.raises(KeystoreMissing):
        Keystore.open(path, RIGHT, exclusive=True)
    Keystore.create(path, RIGHT).close()
    with pytest.raises(KeystoreExists):
        Keystore.create(path, RIGHT)


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    Keystore.create(path, RIGHT).close()
    path.rename(tmp_path / "real.keys")
    path.symlink_to(tmp_path / "real.keys")
    with pytest.raises(KeystoreError):
        Keystore.open(path, RIGHT)


def test_writers_of_different_names_never_lose_each_others(path: Path) -> None:
    with Keystore.create(path, RIGHT) as one, Keystore.open(path, RIGHT) as two:
        one.put("one", b"1")
        two.put("two", b"2")
        one.put("three", b"3")
        assert one.names() == two.names() == ("one", "three", "two")
        two.delete("one")
        assert one.get("one") is None


def test_who_needs_the_profile_alone_has_it_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "LOCK_WAIT_S", 0.0)
    with Keystore.create(path, RIGHT, exclusive=True) as first:
        first.put("a", b"1")
        with pytest.raises(KeystoreBusy):
            Keystore.open(path, RIGHT, exclusive=True)
        with Keystore.open(path, RIGHT) as reader:
            assert reader.get("a") == b"1"
            with pytest.raises(KeystoreBusy):
                reader.put("a", b"2")
        assert first.get("a") == b"1"
    with Keystore.open(path, RIGHT, exclusive=True) as second:
        second.put("a", b"2")


def test_another_process_meets_the_lock_too(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom leeside import keystore\n"
        "from leeside.keystore import *\nkeystore.LOCK_WAIT_S = 0.0\n"
        "try:\n    Keystore.open(Path(sys.argv[1]), Passphrase('correct horse battery'), exclusive=True)\n"
        "except KeystoreBusy:\n    sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with Keystore.create(path, RIGHT, exclusive=True):
        assert subprocess.run(command, check=False, timeout=60).returncode == 7
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Keystore.create(path, RIGHT) as store:
        store.put("a", b"old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(KeystoreError, match="No space left"):
            store.put("a", b"new")
        monkeypatch.undo()
        assert store.get("a") == b"old"
    assert sorted(p.name for p in path.parent.iterdir()) == ["anna.keys", "anna.keys.lock"]
    with Keystore.open(path, RIGHT) as store:
        assert store.get("a") == b"old"


def test_what_a_crash_left_behind_is_removed_at_the_next_write(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        unfinished = path.with_name(f".{path.name}.0123456789abcdef")
        unfinished.write_bytes(b"half")
        store.put("a", b"1")
        assert not unfinished.exists()


def test_a_replaced_keystore_is_noticed(path: Path) -> None:
    with Keystore.create(path, RIGHT) as store:
        path.unlink()
        with pytest.raises(KeystoreMissing):
            store.get("a")
        Keystore.create(path, RIGHT).close()
        with pytest.raises(KeystoreError, match="replaced"):
            store.get("a")


def test_a_closed_keystore_gives_nothing(path: Path) -> None:
    store = Keystore.create(path, RIGHT)
    store.put("a", CANARY)
    store.close()
    with pytest.raises(KeystoreError):
        store.get("a")


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_names_are_bounded(path: Path, name: str) -> None:
    with Keystore.create(path, RIGHT) as store, pytest.raises(ValueError, match="1 to 200"):
        store.put(name, b"")


def test_the_systems_keyring_opens_without_a_passphrase(path: Path, system_keyring: HeldKeyring) -> None:
    with Keystore.create(path, Keyring()) as store:
        store.put("a", CANARY)
    with Keystore.open(path, Keyring()) as store:
        assert store.get("a") == CANARY
    with pytest.raises(KeystoreError, match="keyring"):
        Keystore.open(path, RIGHT)
    (account,) = system_keyring.held
    system_keyring.held[account] = "bm90IHRoZSBrZXk="
    with pytest.raises(KeyringUnavailable):
        Keystore.open(path, Keyring())
    system_keyring.held[account] = "!!"
    with pytest.raises(KeyringUnavailable):
        Keystore.open(path, Keyring())
    system_keyring.held.clear()
    with pytest.raises(KeyringUnavailable):
        Keystore.open(path, Keyring())


def test_a_passphrase_keystore_is_not_opened_by_the_keyring(path: Path) -> None:
    Keystore.create(path, RIGHT).close()
    with pytest.raises(KeystoreError, match="passphrase"):
        Keystore.open(path, Keyring())


def test_a_system_without_a_keyring_says_so(path: Path, system_keyring: HeldKeyring) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(KeyringUnavailable, match="passphrase"):
        Keystore.create(path, Keyring())
    assert not path.exists()
