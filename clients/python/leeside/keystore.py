"""Secrets at rest: one encrypted file of named values, opened by a passphrase or by the system's keyring.

Theory of operation. A random 32-byte file key encrypts all values together, as one AES-256-GCM ciphertext: a single
record cannot be changed, removed, swapped or brought back from an older copy without breaking the whole. The
file key is wrapped under a key-encryption key, which is argon2id of the passphrase (RFC 9106, second
recommendation: 64 MiB, 3 passes, 4 lanes) or a random key that the system's keyring holds. Every write makes a new file
beside the old one, syncs it and renames it, so that a crash leaves one of the two whole.

Layout: `magic 8 | u32 header length | header | SHA-256(all before) 32 | nonce 12 | ciphertext`. The header is a MessagePack array
`[version, file id, kind, salt, passes, memory_kib, lanes, nonce, wrapped key]`; everything before the nonce is the
associated data of the ciphertext. The bare digest only tells damage from a wrong passphrase; it protects nothing.

What is ugly: Python cannot wipe memory, so secrets stay in the process until it ends; and a whole older file put back
in place of a newer one cannot be noticed from the file alone.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
import secrets
import struct
import time
import unicodedata
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

import keyring
import keyring.errors
import msgspec
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside.errors import LeesideError

__all__ = [
    "Cost",
    "Keyring",
    "KeyringUnavailable",
    "Keystore",
    "KeystoreBusy",
    "KeystoreDamaged",
    "KeystoreError",
    "KeystoreExists",
    "KeystoreMissing",
    "Passphrase",
    "Unlock",
    "WrongPassphrase",
]

MAGIC: Final = b"LEESIDEK"
VERSION: Final = 1
KIND_PASSPHRASE: Final = 1
KIND_KEYRING: Final = 2
KEYRING_SERVICE: Final = "leeside"
PASSPHRASE_CHARS: Final = 12
"""Shortest passphrase for a new keystore."""
FILE_BYTES: Final = 64 * 1024 * 1024
NAME_BYTES: Final = 200
LOCK_WAIT_S: Final = 5.0

_NONCE: Final = 12
_DIGEST: Final = 32
_UNSAFE_KEYRINGS: Final = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


class KeystoreError(LeesideError):
    """A keystore cannot be used. The text is a sentence for people, with what to do.

    KeystoreError
    ├── KeystoreMissing      there is no such file
    ├── KeystoreExists       there is one already
    ├── WrongPassphrase      the file is whole, the passphrase is another
    ├── KeystoreDamaged      the file was changed or cut short
    ├── KeystoreBusy         another process holds it
    └── KeyringUnavailable   the system has no keyring, or it has lost our key
    """


class KeystoreMissing(KeystoreError): ...


class KeystoreExists(KeystoreError): ...


class WrongPassphrase(KeystoreError): ...


class KeystoreDamaged(KeystoreError): ...


class KeystoreBusy(KeystoreError): ...


class KeyringUnavailable(KeystoreError): ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What guessing one passphrase costs (argon2id). Bounds keep a changed file from eating the machine."""

    passes: int = 3
    memory_kib: int = 64 * 1024
    lanes: int = 4

    def check(self) -> None:
        if not (
            1 <= self.passes <= 16
            and 1 <= self.lanes <= 16
            and 8 * self.lanes <= self.memory_kib <= 1024 * 1024
        ):
            raise KeystoreDamaged("The keystore asks for an argon2id cost that is out of bounds.")


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Unlock by what a person knows. `cost` counts for new files; old ones carry their own."""

    text: str
    cost: Cost = Cost()

    def __repr__(self) -> str:
        return "Passphrase(...)"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Unlock by the system's keyring (Secret Service, KWallet, macOS Keychain): no passphrase is asked."""


Unlock: TypeAlias = Passphrase | Keyring


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    file_id: bytes
    kind: int
    salt: bytes
    passes: int
    memory_kib: int
    lanes: int
    nonce: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True, repr=False)
class _Contents:
    """An opened file: what stands before the ciphertext, its key, its values, and which file that was."""

    prefix: bytes
    key: bytes
    values: dict[str, bytes]
    stamp: tuple[int, int, int]


class Keystore:
    """Named secrets of one profile, encrypted at rest.

    Any number of processes may read. A write takes the file's lock, reads what others wrote meanwhile, changes the
    one value and replaces the file, so that writers of different names never lose each other's. Who needs the
    profile alone (a live client) opens it `exclusive`; a second one then gets `KeystoreBusy`.

    Calls block for a few milliseconds (an fsync). Use it as a context manager, or call `close`.
    """

    def __init__(self, path: Path, contents: _Contents, lock: int | None) -> None:
        self.path: Final = path
        self._contents = contents
        self._lock = lock
        self._closed = False

    @classmethod
    def create(cls, path: Path, unlock: Unlock, *, exclusive: bool = False) -> Self:
        """A new, empty keystore; `KeystoreExists` when there is one.

        A passphrase has at least 12 characters. The folder is made for the owner alone.
        """
        if isinstance(unlock, Passphrase) and len(unlock.text) < PASSPHRASE_CHARS:
            raise KeystoreError(
                f"A passphrase has at least {PASSPHRASE_CHARS} characters; four random words do well."
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(path)
        kept = False
        try:
            if path.exists():
                raise KeystoreExists(f"There is a keystore already: {path}")
            key = secrets.token_bytes(32)
            prefix = _new_prefix(unlock, key)
            contents = _write(path, _Contents(prefix, key, {}, (0, 0, 0)))
            kept = exclusive
            return cls(path, contents, lock if exclusive else None)
        finally:
            if not kept:
                os.close(lock)

    @classmethod
    def open(cls, path: Path, unlock: Unlock, *, exclusive: bool = False) -> Self:
        """Open what `create` made.

        Raises `KeystoreMissing`, `WrongPassphrase`, `KeystoreDamaged`, `KeystoreBusy` (only when `exclusive`),
        `KeyringUnavailable`; `KeystoreError` when others may read the file.
        """
        lock = _lock(path) if exclusive else None
        try:
            data, stamp = _read(path)
            prefix, header, rest = _split(data)
            key = _unwrap(header, unlock)
            return cls(path, _Contents(prefix, key, _decrypt(key, prefix, rest), stamp), lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back and forget the values."""
        self._closed = True
        self._contents = replace(self._contents, key=b"", values={})
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def get(self, name: str) -> bytes | None:
        """The newest value of that name, or None."""
        self._refresh()
        return self._contents.values.get(name)

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """All names with that prefix, sorted."""
        self._refresh()
        return tuple(sorted(n for n in self._contents.values if n.startswith(prefix)))

    def put(self, name: str, value: bytes) -> None:
        """Replace the value; durable when this returns. When it raises, the old value stands."""
        self.update({name: value})

    def delete(self, name: str) -> None:
        """Forget the value; nothing happens when there is none."""
        self.update({name: None})

    def update(self, changes: dict[str, bytes | None]) -> None:
        """Several changes in one write, all or none; None deletes."""
        for name in changes:
            if not 0 < len(name.encode()) <= NAME_BYTES:
                raise ValueError("a name has 1 to 200 bytes")
        with self._writing():
            values = dict(self._contents.values)
            for name, value in changes.items():
                if value is None:
                    values.pop(name, None)
                else:
                    values[name] = bytes(value)
            if values != self._contents.values:
                self._contents = _write(self.path, replace(self._contents, values=values))

    def change_unlock(self, unlock: Unlock) -> None:
        """Open by another passphrase, or by the keyring, from now on. Copies of the old file keep the old one."""
        if isinstance(unlock, Passphrase) and len(unlock.text) < PASSPHRASE_CHARS:
            raise KeystoreError(
                f"A passphrase has at least {PASSPHRASE_CHARS} characters; four random words do well."
            )
        with self._writing():
            # A new file key too: whoever knew the old passphrase may hold the old one.
            key = secrets.token_bytes(32)
            prefix = _new_prefix(unlock, key)
            self._contents = _write(self.path, replace(self._contents, prefix=prefix, key=key))

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        if self._lock is not None:
            self._refresh()
            yield
            return
        lock = _lock(self.path)
        try:
            self._refresh(surely=True)
            yield
        finally:
            os.close(lock)

    def _refresh(self, *, surely: bool = False) -> None:
        """Take over what another process wrote since; `surely` reads the file even if it looks the same."""
        if self._closed:
            raise KeystoreError("The keystore is closed.")
        try:
            if _stamp(self.path.stat()) == self._contents.stamp and not surely:
                return
        except FileNotFoundError:
            raise KeystoreMissing(f"The keystore is gone: {self.path}") from None
        data, stamp = _read(self.path)
        prefix, _header, rest = _split(data)
        if prefix != self._contents.prefix:
            raise KeystoreError(
                "The keystore was replaced or its passphrase was changed: start this command again."
            )
        values = _decrypt(self._contents.key, prefix, rest)
        self._contents = replace(self._contents, values=values, stamp=stamp)


# ---- the file


def _stamp(stat: os.stat_result) -> tuple[int, int, int]:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _read(path: Path) -> tuple[bytes, tuple[int, int, int]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise KeystoreMissing(f"There is no keystore at {path}.") from None
    except OSError as error:
        raise KeystoreError(f"The keystore cannot be read: {path} ({error.strerror}).") from None
    with os.fdopen(descriptor, "rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_mode & 0o077:
            raise KeystoreError(f"Others may read the keystore. Take that away first: chmod 600 {path}")
        if stat.st_size > FILE_BYTES:
            raise KeystoreDamaged(f"The keystore is larger than any that was written here: {path}")
        return file.read(FILE_BYTES + 1), _stamp(stat)


def _split(data: bytes) -> tuple[bytes, _Header, bytes]:
    """Everything before the nonce, the header in it, and the rest; `KeystoreDamaged` unless it is whole."""
    damaged = KeystoreDamaged(
        "The keystore was changed or cut short. Nothing was opened; bring it back from a copy, or enrol anew."
    )
    start = len(MAGIC) + 4
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise damaged
    (length,) = struct.unpack_from(">I", data, len(MAGIC))
    end = start + length
    if length > 4096 or len(data) < end + _DIGEST + _NONCE:
        raise damaged
    if hashlib.sha256(data[:end]).digest() != data[end : end + _DIGEST]:
        raise damaged
    try:
        header = msgspec.msgpack.decode(data[start:end], type=_Header)
    except msgspec.MsgspecError:
        raise damaged from None
    if header.version != VERSION:
        raise KeystoreError("The keystore was written by a newer version of Leeside: update this one.")
    return data[: end + _DIGEST], header, data[end + _DIGEST :]


def _decrypt(key: bytes, prefix: bytes, rest: bytes) -> dict[str, bytes]:
    try:
        plain = AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], prefix)
        return msgspec.msgpack.decode(plain, type=dict[str, bytes])
    except (InvalidTag, ValueError, msgspec.MsgspecError):
        raise KeystoreDamaged(
            "The keystore was changed or cut short. Nothing was opened; bring it back from a copy, or enrol anew."
        ) from None


def _write(path: Path, contents: _Contents) -> _Contents:
    nonce = secrets.token_bytes(_NONCE)
    plain = msgspec.msgpack.encode(contents.values)
    data = contents.prefix + nonce + AESGCM(contents.key).encrypt(nonce, plain, contents.prefix)
    if len(data) > FILE_BYTES:
        raise KeystoreError("The keystore would grow beyond 64 MiB; nothing was changed.")
    try:
        return replace(contents, stamp=replace_file(path, data))
    except OSError as error:
        raise KeystoreError(
            f"The keystore cannot be written: {path} ({error.strerror}). The old one stands."
        ) from None


def replace_file(path: Path, data: bytes) -> tuple[int, int, int]:
    """Replace a file by another, durably: a crash leaves the old one or the new one, whole. Mode 0600."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            stamp = _stamp(os.fstat(file.fileno()))
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return stamp


def _lock(path: Path) -> int:
    """The lock's descriptor; closing it gives the lock back, and so does the end of the process."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise KeystoreMissing(f"There is no keystore at {path}.") from None
    except OSError as error:
        raise KeystoreError(f"The keystore cannot be locked: {lock_path} ({error.strerror}).") from None
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(descriptor)
            raise KeystoreBusy(
                "Another leeside command uses this profile. End it, or choose another one with --profile."
            ) from None
        else:
            # What a crash left behind; under the lock nobody else is writing.
            for unfinished in path.parent.glob(f".{path.name}.*"):
                unfinished.unlink(missing_ok=True)
            return descriptor


# ---- the key-encryption key


def _new_prefix(unlock: Unlock, key: bytes) -> bytes:
    file_id, salt, nonce = secrets.token_bytes(16), secrets.token_bytes(16), secrets.token_bytes(_NONCE)
    if isinstance(unlock, Passphrase):
        cost = unlock.cost
        cost.check()
        kind, kek = KIND_PASSPHRASE, _argon2id(unlock.text, salt, cost)
    else:
        cost, kind, kek = Cost(), KIND_KEYRING, secrets.token_bytes(32)
        _keyring_put(file_id, kek)
    known = _Header(VERSION, file_id, kind, salt, cost.passes, cost.memory_kib, cost.lanes, nonce, b"")
    wrapped = AESGCM(kek).encrypt(nonce, key, msgspec.msgpack.encode(known))
    header = msgspec.msgpack.encode(msgspec.structs.replace(known, wrapped=wrapped))
    clear = MAGIC + struct.pack(">I", len(header)) + header
    return clear + hashlib.sha256(clear).digest()


def _unwrap(header: _Header, unlock: Unlock) -> bytes:
    known = msgspec.msgpack.encode(msgspec.structs.replace(header, wrapped=b""))
    match unlock, header.kind:
        case Passphrase(text), 1:
            cost = Cost(header.passes, header.memory_kib, header.lanes)
            cost.check()
            kek = _argon2id(text, header.salt, cost)
            wrong: KeystoreError = WrongPassphrase("The passphrase does not open this keystore.")
        case Keyring(), 2:
            kek = _keyring_get(header.file_id)
            wrong = KeyringUnavailable("The system's keyring holds another key than this keystore's.")
        case Passphrase(), 2:
            raise KeystoreError("This keystore is opened by the system's keyring: use --keyring.")
        case _:
            raise KeystoreError("This keystore is opened by a passphrase, not by the system's keyring.")
    try:
        return AESGCM(kek).decrypt(header.nonce, header.wrapped, known)
    except (InvalidTag, ValueError):
        raise wrong from None


def _argon2id(text: str, salt: bytes, cost: Cost) -> bytes:
    # NFC: the same passphrase typed on another keyboard gives the same bytes.
    secret = unicodedata.normalize("NFC", text).encode()
    try:
        return hash_secret_raw(secret, salt, cost.passes, cost.memory_kib, cost.lanes, 32, Type.ID)
    except HashingError:
        # A header that was made up, with a salt of three bytes say.
        raise KeystoreDamaged("The keystore was changed: nothing was opened.") from None


def _check_keyring() -> None:
    backend = type(keyring.get_keyring()).__module__
    if backend.startswith(_UNSAFE_KEYRINGS):
        raise KeyringUnavailable("This system has no keyring that keeps secrets. Use a passphrase instead.")


def _keyring_put(file_id: bytes, kek: bytes) -> None:
    _check_keyring()
    try:
        keyring.set_password(KEYRING_SERVICE, file_id.hex(), base64.b64encode(kek).decode())
    except keyring.errors.KeyringError:
        raise KeyringUnavailable(
            "The system's keyring did not take the key. Use a passphrase instead."
        ) from None


def _keyring_get(file_id: bytes) -> bytes:
    _check_keyring()
    lost = KeyringUnavailable(
        "The system's keyring does not give this keystore's key: unlock it, or enrol anew."
    )
    try:
        text = keyring.get_password(KEYRING_SERVICE, file_id.hex())
        kek = base64.b64decode(text or "", validate=True)
    except (keyring.errors.KeyringError, binascii.Error, ValueError):
        raise lost from None
    if len(kek) != 32:
        raise lost
    return kek
