"""A profile: one device of one member, with its server, its keys and its local copies, in a folder of its own.

    <home>/profiles/<name>/
        profile.json     the server's address, how the keystore is opened; nothing secret
        device.keys      the keystore: device keys, session, and who this device is
        session.lock     by which processes take turns at the session
        directory.log    the agency's signed directory as far as it was verified
        local/           the client library's databases, encrypted
        agency/          key files of an administrator: root, authority, records
        openings.log     what the records officer opened, append-only

`<home>` is `LEESIDE_HOME`, or the system's place for a program's data. The agency's root key is pinned in the keystore
at enrolment, where nobody without the passphrase can change it, and never taken from the server afterwards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
import platformdirs

from leeside.errors import LeesideError
from leeside.keystore import Keystore, replace_file
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.keys import DeviceKeys

DEVICE_KEYS: Final = "device/keys"
IDENTITY: Final = "device/identity"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")


class ProfileError(LeesideError):
    """A profile is missing, named wrongly, or not enrolled yet; the text says what to do."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`profile.json`: what must be known before the keystore is opened."""

    server: str
    unlock: Literal["passphrase", "keyring"] = "passphrase"
    ca_file: str = ""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Who this device is, and the agency's root, pinned at enrolment."""

    agency: bytes
    member: bytes
    device: bytes
    root_pub: bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile's folder; reading and writing what is not secret."""

    name: str
    path: Path

    @property
    def keystore_path(self) -> Path:
        return self.path / "device.keys"

    @property
    def session_lock(self) -> Path:
        return self.path / "session.lock"

    @property
    def directory_log(self) -> Path:
        return self.path / "directory.log"

    @property
    def local(self) -> Path:
        return self.path / "local"

    @property
    def agency(self) -> Path:
        return self.path / "agency"

    @property
    def openings(self) -> Path:
        return self.path / "openings.log"

    @property
    def exists(self) -> bool:
        return (self.path / "profile.json").is_file()

    def settings(self) -> Settings:
        """`ProfileError` when this profile was never set up."""
        try:
            return msgspec.json.decode((self.path / "profile.json").read_bytes(), type=Settings)
        except FileNotFoundError:
            raise ProfileError(
                f"There is no profile {self.name} yet. Enrol this device (leeside device enrol) or found an agency "
                "(leeside agency create)."
            ) from None
        except msgspec.MsgspecError:
            raise ProfileError(
                f"{self.path / 'profile.json'} cannot be read: correct it, or enrol anew."
            ) from None

    def save(self, settings: Settings) -> None:
        """Write `profile.json`, making the folder for the owner alone."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.path / "profile.json", msgspec.json.format(msgspec.json.encode(settings)) + b"\n")


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are kept."""
    given = environ.get("LEESIDE_HOME")
    return Path(given) if given else platformdirs.user_data_path("leeside")


def profile(name: str, root: Path | None = None) -> Profile:
    """The profile of that name; `ProfileError` for a name that is none."""
    if not NAME.match(name):
        raise ProfileError("A profile's name has lowercase letters, digits, - and _, 40 at most.")
    return Profile(name, (root or home()) / "profiles" / name)


def profiles(root: Path | None = None) -> tuple[str, ...]:
    """The names of all profiles that were set up."""
    folder = (root or home()) / "profiles"
    if not folder.is_dir():
        return ()
    return tuple(sorted(p.name for p in folder.iterdir() if (p / "profile.json").is_file()))


def load_keys(keystore: Keystore) -> DeviceKeys:
    """The device's keys; `ProfileError` when it has none."""
    data = keystore.get(DEVICE_KEYS)
    if data is None:
        raise ProfileError("This profile has no device keys: enrol this device first (leeside device enrol).")
    try:
        return DeviceKeys.restore(data)
    except SealingError:
        raise ProfileError("This profile's device keys cannot be read by this version of Leeside.") from None


def load_identity(keystore: Keystore) -> Identity:
    """Who this device is; `ProfileError` before enrolment."""
    data = keystore.get(IDENTITY)
    if data is None:
        raise ProfileError("This device is not enrolled yet (leeside device enrol).")
    return msgspec.msgpack.decode(data, type=Identity)


def save_enrolment(
    keystore: Keystore, keys: DeviceKeys, agency: AgencyId, member: MemberId, root_pub: bytes
) -> Identity:
    """Keep the device's keys and pin the agency's root, in one write."""
    identity = Identity(agency, member, DeviceId(keys.device_id), root_pub)
    keystore.update({DEVICE_KEYS: keys.export(), IDENTITY: msgspec.msgpack.encode(identity)})
    return identity
