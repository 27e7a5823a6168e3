"""One run of the command line: which profile, how it is opened, whom it talks to, where it writes."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import typer

from leeside.api import Api, TokenSource, tls_context
from leeside.cli.exits import CommandError, Exit
from leeside.cli.screen import Screen, interactive
from leeside.keystore import PASSPHRASE_CHARS, Keyring, Keystore, Passphrase, Unlock
from leeside.link import Dialer, WebSocketDialer
from leeside.profile import DEVICE_KEYS, Identity, Profile, Settings, load_identity, load_keys
from leeside.session import Session
from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.opening.keys import DeviceKeys

PASSPHRASE_FILE_BYTES: Final = 4096
NEW_PASSPHRASE_TRIES: Final = 3

_T = TypeVar("_T")

Connect = Callable[[str, TokenSource | None, Path | None], Api]


Dial = Callable[[Settings], Dialer]


def dial(settings: Settings) -> Dialer:
    """How the live commands reach a server's socket; tests put another in its place."""
    return WebSocketDialer(settings.server, tls_context(Path(settings.ca_file) if settings.ca_file else None))


def connect(server: str, tokens: TokenSource | None, ca_file: Path | None) -> Api:
    """An `Api` of a server; tests put another in its place."""
    return Api(server, tokens, verify=ca_file)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a command that talks to the server works with."""

    api: Api
    session: Session
    keystore: Keystore
    keys: DeviceKeys
    identity: Identity
    settings: Settings
    learn: Callable[[SignedIn, float], Awaitable[bool]]
    """Fetches shown names, when one is missing here; whether all of them came."""

    @property
    def agency(self) -> AgencyId:
        return AgencyId(self.identity.agency)

    @property
    def member(self) -> MemberId:
        return MemberId(self.identity.member)

    @property
    def device(self) -> DeviceId:
        return DeviceId(self.identity.device)


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options, and what follows from them."""

    profile: Profile
    screen: Screen
    server: str = ""
    ca_file: Path | None = None
    passphrase_file: Path | None = None
    keyring: bool = False
    connect: Connect = connect
    dial: Dial = dial
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    random: Callable[[int], bytes] = os.urandom
    _asked: list[Unlock] = field(default_factory=list[Unlock], repr=False)
    """What opened this profile before: a command that goes to the server twice asks a person once."""

    # ---- the keystore

    def unlock_for(self, what: str, *, new: bool = False, keyring: bool | None = None) -> Unlock:
        """How to open a key file: the keyring, a passphrase from a file, or from the person at the keyboard.

        A passphrase is never taken from the command line or an environment variable: both are seen by others.
        """
        if self.keyring if keyring is None else keyring:
            return Keyring()
        if self.passphrase_file is not None:
            return Passphrase(read_passphrase(self.passphrase_file))
        if not interactive():
            raise CommandError(
                f"A passphrase is needed for {what}, and nobody is at the keyboard. Use --passphrase-file or --keyring.",
                Exit.KEYSTORE,
                "passphrase",
            )
        if new:
            return self._new_passphrase(what)
        return Passphrase(ask_secret(f"Passphrase for {what}: "))

    def _new_passphrase(self, what: str) -> Passphrase:
        """A passphrase that a person chose and typed twice. Who mistypes it is asked again: several are asked for in a row, and
        what the ones before opened stands already."""
        for _ in range(NEW_PASSPHRASE_TRIES):
            first = ask_secret(f"New passphrase for {what}, {PASSPHRASE_CHARS} characters or more: ")
            if len(first) < PASSPHRASE_CHARS:
                self.screen.note(
                    f"That is shorter than {PASSPHRASE_CHARS} characters; four random words do well."
                )
            elif ask_secret("The same again: ") != first:
                self.screen.note("The two differ. Once more.")
            else:
                return Passphrase(first)
        raise CommandError(
            f"No passphrase was set for {what}. Run the command again: it goes on with what was made before.",
            Exit.KEYSTORE,
            "passphrase",
        )

    def open_keystore(self, *, exclusive: bool = False) -> Keystore:
        """This profile's keystore."""
        by_keyring = self.profile.settings().unlock == "keyring"
        unlock = self._asked[0] if self._asked else None
        if unlock is None:
            unlock = self.unlock_for(f"profile {self.profile.name}", keyring=by_keyring)
        keystore = Keystore.open(self.profile.keystore_path, unlock, exclusive=exclusive)
        if not self._asked:
            self._asked.append(unlock)
        return keystore

    # ---- the server

    def settings(self) -> Settings:
        """The profile's settings, with what the command line says instead."""
        saved = self.profile.settings()
        return Settings(
            self.server or saved.server,
            saved.unlock,
            str(self.ca_file) if self.ca_file is not None else saved.ca_file,
        )

    def open_api(self, settings: Settings) -> Api:
        """The server without signing in."""
        return self.connect(settings.server, None, Path(settings.ca_file) if settings.ca_file else None)

    def session_of(self, open_api: Api, keystore: Keystore, keys: DeviceKeys, device: DeviceId) -> Session:
        return Session(
            open_api,
            device,
            keys.identity.sign_raw,
            keystore=keystore,
            lock_path=self.profile.session_lock,
            now_ms=self.now_ms,
        )

    @contextmanager
    def opened(self, *, exclusive: bool = False) -> Generator[tuple[Keystore, DeviceKeys, Identity]]:
        """The keystore with who this device is."""
        with self.open_keystore(exclusive=exclusive) as keystore:
            yield keystore, load_keys(keystore), load_identity(keystore)

    @asynccontextmanager
    async def signed_in(self) -> AsyncGenerator[SignedIn]:
        """The server with this profile's session; the DeviceKey is renewed when it is due."""
        settings = self.settings()
        with self.opened() as (keystore, keys, identity):
            async with self.open_api(settings) as open_api:
                session = self.session_of(open_api, keystore, keys, DeviceId(identity.device))
                ca_file = Path(settings.ca_file) if settings.ca_file else None
                async with self.connect(settings.server, session, ca_file) as api:
                    yield SignedIn(api, session, keystore, keys, identity, settings, self._learn_names)

    async def _learn_names(self, desk: SignedIn, wait_s: float) -> bool:
        # The client stands on this module, not the other way; most commands never need it.
        from leeside.cli.live import learn_names

        return await learn_names(self, desk, wait_s)

    def run(self, work: Callable[[SignedIn], Awaitable[_T]]) -> _T:
        """Sign in, do the work, and come back; the usual body of a command."""

        async def signed_in() -> _T:
            async with self.signed_in() as desk:
                return await work(desk)

        return wait(signed_in())


def ask_secret(question: str) -> str:
    """What a person types unseen; Ctrl-C ends the question at once.

    While a loop runs, the first Ctrl-C only asks it to stop, and it would go on waiting for this answer.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass.getpass(question)
    finally:
        signal.signal(signal.SIGINT, before)


def wait(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end. Of several errors that came together, the first counts."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        raise first_of(group) from group


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single error of a group."""
    flat = list(group.exceptions)
    while isinstance(flat[0], BaseExceptionGroup):
        flat = list(cast("BaseExceptionGroup[BaseException]", flat[0]).exceptions)
    return flat[0]


def invocation(context: typer.Context) -> Invocation:
    """The invocation that the root command made."""
    found = context.find_object(Invocation)
    if found is None:
        raise CommandError("The command was started without its root.")
    return found


def read_passphrase(path: Path) -> str:
    """The first line of a passphrase file, which only its owner may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(PASSPHRASE_FILE_BYTES)
    except OSError as error:
        raise CommandError(
            f"The passphrase file cannot be read: {path} ({error.strerror}).", Exit.KEYSTORE
        ) from None
    # Pipes and secrets handed over by systemd or a container are not ours to judge.
    if mode & 0o170000 == 0o100000 and mode & 0o077:
        raise CommandError(
            f"Others may read the passphrase file. Take that away first: chmod 600 {path}", Exit.KEYSTORE
        )
    try:
        text = data.decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise CommandError(f"The passphrase file is not text: {path}", Exit.KEYSTORE) from None
    if not text:
        raise CommandError(f"The passphrase file is empty: {path}", Exit.KEYSTORE)
    return text


async def publish_device_key(desk: SignedIn, invocation: Invocation) -> None:
    """Renew this device's DeviceKey when it is a day old, so that others can seal to it. Keys first, then the server."""
    now_ms = invocation.now_ms()
    if not desk.keys.rotation_due(now_ms):
        return
    desk.keys.rotate(invocation.random, now_ms)
    desk.keystore.put(DEVICE_KEYS, desk.keys.export())
    await desk.api.put_device_key(r.PutDeviceKey(desk.keys.newest.encode()))
