"""`leeside agency`: found an agency, and look after its authorities and records keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from leeside import authority as a
from leeside.api import Api, ApiError
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn, invocation, wait
from leeside.cli.keyfiles import (
    authority_path,
    leave_half_signed,
    open_authorities,
    open_records,
    open_root,
    records_path,
    root_path,
)
from leeside.cli.registry import Choice, choose, fetch_directory, post_entries, write_entries
from leeside.cli.screen import moment, short, terminal
from leeside.keystore import Keystore
from leeside.profile import DEVICE_KEYS, IDENTITY, Settings, load_keys, save_enrolment
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import ALL_COMPARTMENTS, AuthorityId, Operation
from leeside_protocol.words import Compartment, Role

app = typer.Typer(help="Found an agency; its authorities and records keys.", no_args_is_help=True)
authority = typer.Typer(help="Who may certify devices.", no_args_is_help=True)
records = typer.Typer(help="Keys of the records custodian.", no_args_is_help=True)
app.add_typer(authority, name="authority")
app.add_typer(records, name="records-key")

AuthorityFiles = Annotated[
    list[Path] | None,
    typer.Option("--authority", help="Key file of a signing authority; twice where two must sign."),
]
RootFile = Annotated[
    Path | None, typer.Option("--root", help="The root's key file, if it is not in the profile.")
]

SecondFile = Annotated[
    Path | None,
    typer.Option("--second", help="Two authorities: write the half-signed entry here for the other."),
]

MAX_AUTHORITIES: Final = 2
RECOVERY_NAME: Final = "recovery.key"


@app.command("create")
def create(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The agency's name, seen by the server.")],
    recovery: Annotated[
        Path,
        typer.Option(
            help="Where to write the second copy of the root key: a stick that goes into a safe, or a file on it."
        ),
    ],
    code: Annotated[str, typer.Option(help="The operator's one-time code; asked for if left out.")] = "",
    authorities: Annotated[
        int, typer.Option(min=1, max=MAX_AUTHORITIES, help="2: two people sign what is sensitive.")
    ] = 1,
) -> None:
    """Found an agency: its root key, its authorities, and this device as the first administrator's.

    Keep the recovery copy somewhere else than this machine: without the root no new authority can ever be made.
    """
    run = invocation(context)
    if run.profile.exists:
        raise CommandError(
            f"Profile {run.profile.name} is in use. Choose another one with --profile.", Exit.CONFLICT
        )
    if not run.server:
        raise CommandError("Say which server: --server https://…", Exit.USAGE)
    place = _recovery_place(run, recovery)
    code = code or run.screen.ask("The operator's one-time code")
    agency = wait(_create(run, label, code.strip(), place, authorities))
    run.screen.facts(
        [
            ("agency", f"{agency.label} ({agency.id})"),
            ("root key", f"{root_path(run.profile)} - take it offline"),
            ("recovery copy", f"{place} - into a safe, elsewhere"),
            ("next", "leeside channel open agency, then leeside member add"),
        ],
        agency,
    )


async def _create(run: Invocation, label: str, code: str, recovery: Path, authorities: int) -> r.Agency:
    """Each key file that stands already is opened, not made: a founding that broke off goes on with its keys."""
    now_ms = run.now_ms()
    settings = Settings(run.server, "keyring" if run.keyring else "passphrase", str(run.ca_file or ""))
    with _own_keystore(run) as keystore:
        keys = _own_keys(run, keystore)
        before = await _founded_before(run, settings, keystore, keys)
        if before is not None:
            run.profile.save(settings)
            return before
        root = a.root_key(_key(run, root_path(run.profile), "root", "the root key"))
        _write_recovery(run, recovery, root)
        signers: list[AuthorityKey] = []
        for number in range(1, authorities + 1):
            place = authority_path(run.profile, number)
            signers.append(a.authority_key(_key(run, place, "authority", f"authority {number}")))
        member = MemberId(run.random(16))
        admin = a.device_added(keys.identity.public, member, Role.ADMIN, now_ms)
        founding = a.found(root, signers, admin, code, now_ms)
        # Keys stand on disk before the server knows of them: nothing can be founded whose keys are lost.
        save_enrolment(keystore, keys, AgencyId(founding.directory.agency_id), member, root.key.public)
        body = r.NewAgency(
            code, root.key.public, founding.proof, label, founding.entries, member.hex(), keys.newest.encode()
        )
        async with run.open_api(settings) as api:
            agency = await _post(api, body)
        run.profile.save(settings)
        write_entries(run.profile.directory_log, founding.entries)
        return agency


async def _founded_before(
    run: Invocation, settings: Settings, keystore: Keystore, keys: DeviceKeys
) -> r.Agency | None:
    """The agency, where an earlier attempt founded it and the answer was lost on its way: the server knows this device then."""
    if keystore.get(IDENTITY) is None:
        return None
    ca_file = Path(settings.ca_file) if settings.ca_file else None
    async with run.open_api(settings) as outside:
        session = run.session_of(outside, keystore, keys, DeviceId(keys.device_id))
        async with run.connect(settings.server, session, ca_file) as api:
            try:
                return await api.agency()
            except ApiError as error:
                if error.code in {WireError.UNAUTHENTICATED, WireError.NOT_FOUND}:
                    return None
                raise


async def _post(api: Api, body: r.NewAgency) -> r.Agency:
    try:
        return await api.create_agency(body)
    except ApiError as error:
        if error.code is not WireError.NOT_FOUND:
            raise
        raise CommandError(
            "The server does not know this code: it was mistyped, or has founded an agency already. A new one comes from its "
            "operator (leeside-server bootstrap-code). The keys made here stay: the same command goes on with them.",
            Exit.NOT_FOUND,
            "not_found",
        ) from None


def _recovery_place(run: Invocation, given: Path) -> Path:
    """Where the recovery copy goes: into a folder (a stick as it is mounted) under the usual name.

    Refused before anything is asked or made. A copy that was not written shows on the day on which the root is lost.
    """
    place = given / RECOVERY_NAME if given.is_dir() else given
    if not place.parent.is_dir():
        raise CommandError(
            f"There is no folder {place.parent} for the recovery copy: is the stick in? Nothing was made.",
            Exit.NOT_FOUND,
            "recovery",
        )
    if place.exists() and not root_path(run.profile).exists():
        raise CommandError(
            f"{place} is there already, and a recovery copy replaces nothing. Name another place with --recovery. "
            "Nothing was made.",
            Exit.CONFLICT,
            "recovery",
        )
    return place


def _write_recovery(run: Invocation, path: Path, root: AuthorityKey) -> None:
    """The second copy of the root; one that stands already must open, and be of this root."""
    if not path.exists():
        safe = run.unlock_for("the recovery copy of the root key", new=True, keyring=False)
        a.store_key(path, safe, "root", root.key.seed)
        return
    safe = run.unlock_for("the recovery copy of the root key", keyring=False)
    if a.load_key(path, safe, "root") != root.key.seed:
        raise CommandError(
            f"{path} holds another agency's root. Name another place with --recovery. Nothing was founded.",
            Exit.CONFLICT,
            "recovery",
        )


def _own_keystore(run: Invocation) -> Keystore:
    path = run.profile.keystore_path
    if path.exists():
        return Keystore.open(path, run.unlock_for(f"profile {run.profile.name}"))
    return Keystore.create(path, run.unlock_for(f"profile {run.profile.name}", new=True))


def _own_keys(run: Invocation, keystore: Keystore) -> DeviceKeys:
    if keystore.get(DEVICE_KEYS) is not None:
        return load_keys(keystore)
    return DeviceKeys.create(run.random, run.now_ms())


def _key(run: Invocation, path: Path, kind: a.KeyKind, what: str) -> bytes:
    if path.exists():
        return a.load_key(path, run.unlock_for(what), kind)
    return a.create_key(path, run.unlock_for(what, new=True), kind, run.random)


@app.command("show")
def show(context: typer.Context) -> None:
    """The agency, its root and its authorities, verified."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[r.Agency, Directory]:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        return await desk.api.agency(), directory

    agency, directory = run.run(work)
    two = directory.dual_control(run.now_ms())
    value = {
        "agency": agency,
        "directory": {"seq": directory.seq, "head": directory.head},
        "two_signatures": two,
        "authorities": [_authority_row(x) for x in directory.authorities()],
    }
    run.screen.facts(
        [
            ("agency", f"{agency.label} ({agency.id})"),
            ("founded", moment(agency.created_ms)),
            ("root", agency.root_pub.hex()),
            ("directory", f"{directory.seq} entries, head {short(directory.head)}"),
            ("devices", str(sum(d.revoked_seq is None for d in directory.devices()))),
            ("authorities", str(sum(x.revoked_seq is None for x in directory.authorities()))),
            (
                "sensitive certificates",
                "two signatures" if two else "ONE signature: this agency has one authority",
            ),
        ],
        value,
    )


def _authority_row(found: object) -> dict[str, object]:
    from leeside_protocol.sealing.public.directory import Authority

    assert isinstance(found, Authority)
    return {
        "id": found.authority_id,
        "not_after_ms": found.not_after_ms,
        "delegated": found.limits is not None,
        "ended": found.revoked_seq is not None,
        "devices": found.devices_certified,
    }


@authority.command("list")
def authority_list(context: typer.Context) -> None:
    """All authorities, those that ended too."""
    run = invocation(context)

    async def work(desk: SignedIn) -> Directory:
        return await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)

    found = run.run(work).authorities()
    now_ms = run.now_ms()
    rows: list[tuple[str, ...]] = []
    for item in found:
        state = (
            "ended" if item.revoked_seq is not None else "expired" if item.not_after_ms < now_ms else "active"
        )
        kind = "full" if item.limits is None else f"delegated, {item.limits.max_devices} devices of 24 h"
        rows.append(
            (short(item.authority_id), state, kind, moment(item.not_after_ms), str(item.devices_certified))
        )
    run.screen.table(
        "Authorities",
        ("id", "state", "kind", "until", "devices"),
        rows,
        [_authority_row(item) for item in found],
    )


@authority.command("new")
def authority_new(context: typer.Context) -> None:
    """Make an authority's key on this machine. It counts once the root has signed it (authority add)."""
    run = invocation(context)
    place = authority_path(run.profile)
    key = a.authority_key(
        a.create_key(place, run.unlock_for("this authority", new=True), "authority", run.random)
    )
    run.screen.facts(
        [
            ("public key", key.key.public.hex()),
            ("kept in", str(place)),
            ("next", "whoever holds the root: authority add"),
        ],
        {"public": key.key.public, "id": key.signer_id},
    )


@authority.command("seed")
def authority_seed(
    context: typer.Context,
    key_file: Annotated[
        Path | None,
        typer.Option("--authority", help="The authority's key file, if it is not in the profile."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Write it to this new file, for its owner's eyes only.")
    ] = None,
) -> None:
    """Show an authority's seed, to take the authority into the administrator's browser. Whoever has it certifies devices."""
    run = invocation(context)
    if file is None and (run.screen.json or not terminal()):
        # A pipe, a log or a recording keeps what it is given.
        raise CommandError(
            "A seed is shown on a terminal alone. Or write it to a file: --file FILE.", Exit.USAGE
        )
    [key] = open_authorities(run, [key_file] if key_file else ())
    run.screen.warn(
        "Whoever has this seed can certify devices for this agency. Give it to nobody, send it nowhere, and leave no copy."
    )
    seed = key.key.seed.hex()
    if file is None:
        run.screen.say(seed)
        return
    _write_private(file, f"{seed}\n")
    run.screen.say(f"Written to {file}. Remove it once the browser has it.", {"file": str(file)})


@authority.command("add")
def authority_add(
    context: typer.Context,
    public: Annotated[str, typer.Argument(help="The public key that `authority new` showed, 64 digits.")],
    root: RootFile = None,
    delegated: Annotated[
        bool, typer.Option(help="For a supervisor at night: certificates of 24 h at most, operations only.")
    ] = False,
    devices: Annotated[
        int, typer.Option(min=1, max=1000, help="Delegated: how many devices it may certify.")
    ] = a.DELEGATED_DEVICES,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it may sign.")] = 730,
) -> None:
    """Make someone an authority. The root signs."""
    run = invocation(context)
    key = _public(public)
    signer = open_root(run, root)
    added = a.authority_added(
        key, run.now_ms(), lifetime_ms=days * a.DAY_MS, delegated=delegated, devices=devices
    )
    _sign_and_post(run, added, [signer])
    run.screen.say(f"Authority {short(added.authority_id)} may sign now.", {"id": added.authority_id})


@authority.command("remove")
def authority_remove(
    context: typer.Context,
    authority_id: Annotated[str, typer.Argument(metavar="AUTHORITY")],
    reason: Annotated[str, typer.Option(help="Kept in the directory, seen by every member.")] = "ended",
    root: RootFile = None,
    signers: AuthorityFiles = None,
) -> None:
    """End an authority. A full one may end a delegated one; all else is for the root."""
    run = invocation(context)
    by_root = root is not None or not signers
    keys = [open_root(run, root)] if by_root else open_authorities(run, signers or ())

    async def work(desk: SignedIn) -> bytes:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        chosen = choose("authority", authority_id, [Choice(x.authority_id) for x in directory.authorities()])
        removed = a.authority_removed(AuthorityId(chosen.id), reason, run.now_ms())
        await post_entries(desk.api, [a.sign(directory, removed, keys, run.now_ms())])
        return chosen.id

    ended = run.run(work)
    run.screen.say(f"Authority {short(ended)} signs nothing from now on.", {"id": ended})


@records.command("new")
def records_new(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Option("--file", help="Where to keep the private key: best a stick.")
    ] = None,
    compartment: Annotated[
        list[int] | None,
        typer.Option(min=0, max=max(Compartment), help="Compartments it may read; all by default."),
    ] = None,
    signers: AuthorityFiles = None,
    second: SecondFile = None,
) -> None:
    """Make a records key and publish it. Its private half goes into a file of its own and to no server."""
    run = invocation(context)
    keys = open_authorities(run, signers or ())
    secret = run.random(32)
    place = path or records_path(run.profile, a.records_id(secret))
    a.store_key(place, run.unlock_for("the records key", new=True), "records", secret)
    mask = sum(1 << c for c in set(compartment)) if compartment else ALL_COMPARTMENTS
    added = a.records_added(secret, run.now_ms(), compartments=mask)
    try:
        _sign_and_post(run, added, keys)
    except a.SecondSignature as half:
        if second is None:
            place.unlink()
        leave_half_signed(run, half, second)
        return
    run.screen.facts(
        [("records key", added.records_id.hex()), ("private half", f"{place} - take it offline")],
        {"id": added.records_id, "file": str(place)},
    )


@records.command("remove")
def records_remove(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The records key's file.")],
    reason: Annotated[str, typer.Option(help="Kept in the directory.")] = "ended",
    signers: AuthorityFiles = None,
) -> None:
    """Withdraw a records key: nothing more is sealed to it; what was, it still opens."""
    run = invocation(context)
    found = a.records_id(open_records(run, file))
    _sign_and_post(run, a.records_removed(found, reason, run.now_ms()), open_authorities(run, signers or ()))
    run.screen.say(f"Nothing more is sealed to records key {short(found)}.", {"id": found})


def _sign_and_post(run: Invocation, operation: Operation, keys: list[AuthorityKey]) -> None:
    async def work(desk: SignedIn) -> None:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        await post_entries(desk.api, [a.sign(directory, operation, keys, run.now_ms())])

    run.run(work)


def _write_private(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandError(f"{path} exists, and is not replaced.", Exit.CONFLICT, "exists") from None
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


def _public(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise CommandError("A public key has 64 hexadecimal digits.", Exit.USAGE)
    return key
