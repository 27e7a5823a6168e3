"""An administrator's key files: where they are, and which passphrase each is asked for.

In a profile's `agency/` folder: `root.keys`, `authority.keys`, and `records-<id>.keys` for each records key. Root and
records files are there only while they are needed; any command takes another place by an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leeside.authority import SecondSignature, authority_key, load_key, root_key
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation
from leeside.profile import Profile
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.public.entries import SignedEntry


def root_path(profile: Profile) -> Path:
    return profile.agency / "root.keys"


def authority_path(profile: Profile, number: int = 1) -> Path:
    return profile.agency / ("authority.keys" if number == 1 else f"authority-{number}.keys")


def records_path(profile: Profile, records_id: bytes) -> Path:
    return profile.agency / f"records-{records_id.hex()[:12]}.keys"


def open_root(invocation: Invocation, path: Path | None) -> AuthorityKey:
    """The agency's root, from its file."""
    place = path or root_path(invocation.profile)
    return root_key(load_key(_there(place, "root"), invocation.unlock_for(f"the root key {place}"), "root"))


def open_authorities(invocation: Invocation, paths: Sequence[Path]) -> list[AuthorityKey]:
    """The authorities that sign: those of the files given, or the profile's own."""
    places = list(paths) or [authority_path(invocation.profile)]
    keys: list[AuthorityKey] = []
    for place in places:
        unlock = invocation.unlock_for(f"the authority {place}")
        keys.append(authority_key(load_key(_there(place, "authority"), unlock, "authority")))
    return keys


def open_records(invocation: Invocation, path: Path) -> bytes:
    """A records key's secret, from its file."""
    return load_key(_there(path, "records"), invocation.unlock_for(f"the records key {path}"), "records")


def leave_half_signed(invocation: Invocation, half: SecondSignature, second: Path | None) -> None:
    """Two authorities must sign: write the half-signed entry down for the other one, or say what is missing."""
    if second is None:
        raise CommandError(
            "This agency has two authorities, and both must sign this: give both key files (--authority twice), or "
            "--second FILE to take the half-signed entry to the other one.",
            Exit.FAILED,
            "second_signature",
        ) from None
    if not _free_for_entry(second):
        raise CommandError(
            f"{second} holds something else, and is not replaced. Name another file with --second. Nothing was signed.",
            Exit.CONFLICT,
            "exists",
        ) from None
    second.write_bytes(half.entry.encode())
    invocation.screen.say(
        f"Half signed: {second}. The other authority, within ten minutes and before anything else is certified: "
        f"leeside device cosign {second}",
        {"file": str(second), "done": False},
    )


def _free_for_entry(path: Path) -> bool:
    """Whether nothing is lost when an entry is written there: an older one, which counts for ten minutes, may go."""
    try:
        SignedEntry.decode(path.read_bytes())
    except FileNotFoundError:
        return True
    except SealingError:
        return False
    return True


def _there(path: Path, kind: str) -> Path:
    if not path.is_file():
        raise CommandError(
            f"The {kind} key is not at {path}. If it is kept offline, bring it and name its place.",
            Exit.KEYSTORE,
            "key_missing",
        )
    return path
