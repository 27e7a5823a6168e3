"""`leeside device`: bring devices in, compare their short codes, certify and revoke them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from leeside import authority as a
from leeside.api import Api, ApiError
from leeside.cli.agency import AuthorityFiles, SecondFile
from leeside.cli.exits import CommandError, Exit, ending_of
from leeside.cli.invocation import Invocation, SignedIn, invocation, publish_device_key, wait
from leeside.cli.keyfiles import leave_half_signed, open_authorities
from leeside.cli.names import Names, all_channels, compartments_of, find_device, find_member, names_for
from leeside.cli.registry import all_devices, fetch_directory, post_entries
from leeside.cli.screen import interactive, moment, short
from leeside.errors import LeesideError
from leeside.keystore import Keystore
from leeside.profile import DEVICE_KEYS, Settings, load_keys, save_enrolment
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.directory import CLOCK_BOUND_MS, Directory
from leeside_protocol.sealing.public.enrolment import short_code
from leeside_protocol.sealing.public.entries import (
    DeviceAdded,
    Entry,
    RecordsAdded,
    SignedEntry,
    agency_id_of,
    parse_entry,
)
from leeside_protocol.words import ChannelPurpose, Role

app = typer.Typer(help="Devices: enrol, approve, revoke.", no_args_is_help=True)

DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="An id, its first digits, or its label.")
]
CODE_CHARS: Final = 12
_ROOT: Final = re.compile(r"[0-9a-f]{64}")


@app.command("enrol-code")
def enrol_code(
    context: typer.Context,
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Whose device it will be.")],
    label: Annotated[str, typer.Option(help="What the device is called in lists.")] = "device",
    shift_hours: Annotated[
        float,
        typer.Option(min=0, max=16, help="For a shared tablet: it ends after so many hours. 0: not shared."),
    ] = 0,
) -> None:
    """A one-time code for one new device: 15 minutes, single use. It admits a pending device, nothing more."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[r.EnrolmentCode, bytes]:
        found = await find_member(desk, member)
        until_ms = run.now_ms() + int(shift_hours * 3_600_000) if shift_hours else 0
        asked = r.NewEnrolment(label, bool(shift_hours), until_ms)
        return await desk.api.create_enrolment(found.id, asked), desk.identity.root_pub

    code, root_pub = run.run(work)
    run.screen.facts(
        [
            ("code", code.code),
            ("until", moment(code.expires_ms)),
            ("agency root", root_pub.hex()),
            ("on the device", "leeside device enrol CODE --root ROOT"),
        ],
        {"code": code.code, "expires_ms": code.expires_ms, "root_pub": root_pub},
    )


@app.command("enrol")
def enrol(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The one-time code.")],
    root: Annotated[
        str,
        typer.Option(
            "--root", help="The agency's root key, 64 digits, from the administrator and not the server."
        ),
    ] = "",
) -> None:
    """Make this profile a new device. Show the short code to an administrator, in person or on video."""
    run = invocation(context)
    if run.profile.exists:
        raise CommandError(
            f"Profile {run.profile.name} is in use. Choose another one with --profile.", Exit.CONFLICT
        )
    if not run.server:
        raise CommandError("Say which server: --server https://…", Exit.USAGE)
    enrolled, shown = wait(_enrol(run, code.strip(), _root_digits(root)))
    run.screen.facts(
        [
            ("device", enrolled.device),
            ("SHORT CODE", shown),
            ("next", "an administrator compares it: leeside device approve"),
            *(
                ()
                if root
                else (("agency root", f"{enrolled.root_pub.hex()} - compare it with the administrator's"),)
            ),
        ],
        {
            "device": enrolled.device,
            "member": enrolled.member,
            "short_code": shown,
            "root_pub": enrolled.root_pub,
        },
    )


def _root_digits(text: str) -> str:
    """A root key as it was typed or copied, maybe out of a narrow column. Half of one is no sign of deceit, and costs no code."""
    digits = "".join(text.split()).lower()
    if digits and not _ROOT.fullmatch(digits):
        raise CommandError(
            f"The agency's root key has 64 digits, 0 to 9 and a to f; this has {len(digits)} characters. Copy the whole "
            "of it. Nothing was sent: the code still counts.",
            Exit.USAGE,
            "root",
        )
    return digits


async def _enrol(run: Invocation, code: str, root: str) -> tuple[r.Enrolled, str]:
    settings = Settings(run.server, "keyring" if run.keyring else "passphrase", str(run.ca_file or ""))
    path = run.profile.keystore_path
    # A keystore of an enrolment that broke off: its keys go on, so that the same code may be tried again.
    store = (
        Keystore.open(path, run.unlock_for(f"profile {run.profile.name}"))
        if path.exists()
        else Keystore.create(path, run.unlock_for(f"profile {run.profile.name}", new=True))
    )
    with store as keystore:
        if keystore.get(DEVICE_KEYS) is None:
            keystore.put(DEVICE_KEYS, DeviceKeys.create(run.random, run.now_ms()).export())
        keys = load_keys(keystore)
        async with run.open_api(settings) as api:
            enrolled = await _redeem(api, code, keys)
        if bytes.fromhex(enrolled.device) != keys.device_id:
            raise CommandError(
                "The server answered for another device. Nothing was kept.", Exit.ALARM, "device"
            )
        _check_root(enrolled, root)
        save_enrolment(
            keystore,
            keys,
            AgencyId(bytes.fromhex(enrolled.agency)),
            MemberId(bytes.fromhex(enrolled.member)),
            enrolled.root_pub,
        )
        run.profile.save(settings)
        return enrolled, short_code(keys.identity.public, keys.newest.payload)


async def _redeem(api: Api, code: str, keys: DeviceKeys) -> r.Enrolled:
    proof = keys.enrolment_proof(code)
    try:
        return await api.redeem(r.Redeem(code, keys.identity.public, proof, keys.newest.encode()))
    except ApiError as error:
        if error.code is not WireError.NOT_FOUND:
            raise
        raise CommandError(
            "The server does not know this code: it was mistyped, used by another device, or its 15 minutes are over. Ask "
            "for a new one (leeside device enrol-code).",
            Exit.NOT_FOUND,
            "not_found",
        ) from None


def _check_root(enrolled: r.Enrolled, root: str) -> None:
    if root and root != enrolled.root_pub.hex():
        raise CommandError(
            "The server names another agency root than the one you were given. Do not use it; talk to the administrator.",
            Exit.ALARM,
            "E_AGENCY",
        )
    if agency_id_of(enrolled.root_pub).hex() != enrolled.agency:
        raise CommandError(
            "The server's agency and its root key do not belong together.", Exit.ALARM, "E_AGENCY"
        )


@app.command("list")
def list_devices(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="pending, active or revoked only.")] = "",
) -> None:
    """Devices of the agency: what the server says, and what the signed directory says."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[r.DeviceInfo], Directory, Names]:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        devices = await all_devices(desk.api, state)
        return devices, directory, await names_for(desk, (d.member for d in devices))

    devices, directory, names = run.run(work)
    rows: list[tuple[str, ...]] = []
    for info in devices:
        certificate = directory.device(DeviceId(bytes.fromhex(info.id)))
        until = "-" if certificate is None else f"{certificate.role} until {moment(certificate.not_after_ms)}"
        rows.append((short(info.id), info.label, names.show(info.member), info.state, until))
    run.screen.table("Devices", ("id", "label", "member", "state", "certificate"), rows, devices)


@app.command("show")
def show(
    context: typer.Context,
    device: Annotated[str, typer.Argument(metavar="[DEVICE]", help="Which one; this one if left out.")] = "",
) -> None:
    """A device: its short code and its certificate. Without an argument: this one, also while it waits for approval."""
    run = invocation(context)
    if not device:
        with run.opened() as (_store, keys, identity):
            shown = short_code(keys.identity.public, keys.newest.payload)
            run.screen.facts(
                [
                    ("device", identity.device.hex()),
                    ("member", identity.member.hex()),
                    ("agency", identity.agency.hex()),
                    ("short code", shown),
                    ("agency root", identity.root_pub.hex()),
                ],
                {
                    "id": identity.device,
                    "member": identity.member,
                    "agency": identity.agency,
                    "short_code": shown,
                    "root_pub": identity.root_pub,
                },
            )
        return

    async def work(desk: SignedIn) -> tuple[r.DeviceInfo, Directory, Names]:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        found = await find_device(desk, device)
        return found, directory, await names_for(desk, (found.member,))

    info, directory, names = run.run(work)
    certificate = directory.device(DeviceId(bytes.fromhex(info.id)))
    rows = [
        ("device", info.id),
        ("label", info.label),
        ("member", names.show(info.member)),
        ("state", info.state),
        ("since", moment(info.created_ms)),
        ("revoked", moment(info.revoked_ms)),
        *([("shift ends", moment(info.shift_until_ms))] if info.shift_until_ms else []),
    ]
    if certificate is not None:
        rows += [
            ("certified as", certificate.role),
            ("compartments", compartments_of(certificate.compartments)),
            ("valid until", moment(certificate.not_after_ms)),
            ("certificate revoked", "yes" if certificate.revoked_seq is not None else "no"),
        ]
    run.screen.facts(rows, info)


@app.command("approve")
def approve(
    context: typer.Context,
    device: DeviceArgument,
    code: Annotated[
        str, typer.Option("--code", help="The short code as the person reads it from their own screen.")
    ] = "",
    role: Annotated[
        Role | None, typer.Option(help="The certificate's role, if the member has several.")
    ] = None,
    compartments: Annotated[
        list[int] | None,
        typer.Option("--compartment", min=0, max=4, help="Instead of the role's usual ones."),
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="How long the certificate holds.")] = 365,
    signers: AuthorityFiles = None,
    admit: Annotated[
        bool,
        typer.Option("--admit/--no-admit", help="Let it into the agency's channel, with the names in it."),
    ] = True,
    second: SecondFile = None,
) -> None:
    """Certify a waiting device, after comparing its short code with the person, face to face or on video.

    The code is computed from the device's own keys: a server that shows another device's keys shows another code.
    """
    run = invocation(context)

    async def look(desk: SignedIn) -> tuple[r.DeviceInfo, r.Member, Names]:
        info = await find_device(desk, device, waiting=True)
        return info, await desk.api.member(info.member), await names_for(desk, (info.member,))

    info, member, names = run.run(look)
    if info.state != "pending":
        raise CommandError(
            f"Device {short(info.id)} of {names.show(member.id)} does not wait for approval: it is {info.state}. For another "
            "role or more days let the person enrol anew.",
            Exit.CONFLICT,
            info.state,
        )
    seen = a.applicant(info.public_key, info.device_key)
    if seen.device_id.hex() != info.id:
        raise CommandError("The device's keys do not belong to its id.", Exit.ALARM, "E_DEVKEY")
    _compare(run, seen.short_code, code, names.show(member.id))
    keys = open_authorities(run, signers or ())

    async def work(desk: SignedIn) -> SignedEntry:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        now_ms = run.now_ms()
        limits = [x.limits for x in directory.authorities() if x.authority_id == keys[0].signer_id]
        lifetime_ms = int(days * a.DAY_MS)
        if limits and limits[0] is not None:
            lifetime_ms = min(lifetime_ms, limits[0].max_lifetime_ms)
        added = a.device_added(
            seen.public,
            MemberId(bytes.fromhex(member.id)),
            role or a.certified_role(member.roles),
            now_ms,
            discipline=member.discipline,
            compartments=sum(1 << c for c in set(compartments)) if compartments else None,
            lifetime_ms=lifetime_ms,
            shift_until_ms=info.shift_until_ms,
        )
        entry = a.sign(directory, added, keys, now_ms)
        await post_entries(desk.api, [entry])
        if admit:
            await _admit(run, desk, seen.device_id)
        return entry

    try:
        run.run(work)
    except a.SecondSignature as half:
        leave_half_signed(run, half, second)
        return
    run.screen.say(
        f"Device {short(info.id)} of {names.show(member.id)} is certified.",
        {"id": info.id, "state": "active"},
    )


async def _admit(run: Invocation, desk: SignedIn, device: DeviceId) -> None:
    """Let a new device into the agency's channel, where names are. Certified it is in any case."""
    from leeside.cli.live import change_members

    channels = [c for c in await all_channels(desk) if c.purpose is ChannelPurpose.AGENCY and not c.archived]
    for info in channels[:1]:
        channel = ChannelId(bytes.fromhex(info.id))
        try:
            await change_members(run, desk, channel, "admit", frozenset({device}), context=True)
        except (LeesideError, SealingError) as error:
            ending = ending_of(error)
            why = "" if ending is None else f" ({ending.code})"
            run.screen.warn(
                f"It is certified, and not yet in the agency's channel{why}: leeside channel admit agency"
            )


def _compare(run: Invocation, expected: str, given: str, who: str) -> None:
    def bare(text: str) -> str:
        return "".join(c for c in text.upper() if c.isalnum())

    if not given:
        if not interactive():
            raise CommandError(
                "Give the short code that the person reads out: --code.", Exit.USAGE, "short_code"
            )
        given = run.screen.ask(f"Short code that {who} reads from their own screen")
    if len(bare(given)) != CODE_CHARS:
        raise CommandError(
            f"A short code has {CODE_CHARS} letters and digits, and this has {len(bare(given))}. Let the person read it out "
            "again. Nothing was certified.",
            Exit.USAGE,
            "short_code",
        )
    if bare(given) != bare(expected):
        raise CommandError(
            "The short codes differ: this may be somebody else's device. Nothing was certified. Was it misheard? Read it "
            "once more. If it differs again, certify nothing, and let the person enrol anew.",
            Exit.ALARM,
            "short_code",
        )


@app.command("cosign")
def cosign(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The half-signed entry of the other authority.")],
    signers: AuthorityFiles = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Add the second authority's signature to a certificate or records key, after reading what it says."""
    run = invocation(context)
    half = SignedEntry.decode(file.read_bytes())
    entry = parse_entry(half.signed.payload)
    match entry.operation:
        case DeviceAdded() as added:
            what = (
                f"device {short(added.device_id)} of member {short(added.member_id)} as {added.role}, "
                f"{compartments_of(added.compartments)}, until {moment(added.not_after_ms)}"
            )
        case RecordsAdded() as added:
            what = (
                f"records key {short(added.records_id)}, which reads {compartments_of(added.compartments)} "
                f"until {moment(added.not_after_ms)}"
            )
        case other:
            what = type(other).__name__
    run.screen.note(what)
    if not yes and not run.screen.confirm("Sign this?"):
        raise CommandError("Nothing was signed.", Exit.FAILED, "not_confirmed")
    (key,) = open_authorities(run, signers or ())[:1]

    async def work(desk: SignedIn) -> None:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        _check_next(directory, entry, run.now_ms())
        await post_entries(desk.api, [a.cosign(directory, half, key, run.now_ms())])

    run.run(work)
    run.screen.say("Signed by both, and published.", {"done": True})


def _check_next(directory: Directory, entry: Entry, now_ms: int) -> None:
    """Two signatures on two entries for one place would look like deceit to every member: this never makes the second."""
    if directory.hash_at(entry.seq) is not None:
        raise CommandError(
            "The directory has grown since this was half signed, maybe by this very entry: leeside device list. "
            "If it is not there, let the first authority sign anew.",
            Exit.CONFLICT,
            "stale",
        )
    if abs(entry.ts_ms - now_ms) >= CLOCK_BOUND_MS:
        raise CommandError(
            "This was half signed more than ten minutes ago, by the two clocks. Let the first authority sign anew.",
            Exit.CONFLICT,
            "stale",
        )


@app.command("confirm")
def confirm(context: typer.Context, device: DeviceArgument) -> None:
    """Say that a device that was certified under your own name is yours.

    Until then this device warns of it and seals nothing where it would read along: somebody could have certified it
    behind your back. Not yours? Tell an administrator by voice: leeside device revoke.
    """
    from leeside.cli.live import live

    run = invocation(context)

    async def work() -> r.DeviceInfo:
        async with live(run) as found:
            info = await find_device(found.desk, device)
            if info.member != found.desk.member.hex():
                raise CommandError(
                    "That device belongs to somebody else: only its own person can say so.",
                    Exit.FAILED,
                    "not_yours",
                )
            await found.client.refresh()
            found.client.confirm_device(DeviceId(bytes.fromhex(info.id)))
            return info

    info = wait(work())
    run.screen.say(f"Device {short(info.id)} is yours.", {"id": info.id, "confirmed": True})


@app.command("revoke")
def revoke(
    context: typer.Context,
    device: DeviceArgument,
    reason: Annotated[str, typer.Option(help="Kept in the directory, seen by every member.")] = "revoked",
    signers: AuthorityFiles = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Only refuse it on the server now; sign the revocation later.")
    ] = False,
) -> None:
    """Refuse a device at once on every node, then sign its revocation so that every channel drops it."""
    run = invocation(context)

    async def refuse(desk: SignedIn) -> r.DeviceInfo:
        info = await find_device(desk, device)
        # The server first: it takes no passphrase, and a lost phone does not wait for one.
        return await desk.api.revoke_device(info.id)

    info = run.run(refuse)
    if at_once:
        run.screen.say(
            f"Device {short(info.id)} is refused. Channels drop it once its revocation is signed: leeside device revoke.",
            {"id": info.id, "state": info.state, "signed": False},
        )
        return
    # Whatever comes of the signature: that the device is refused stands, and is said before anything is asked.
    run.screen.note(
        f"Device {short(info.id)} is refused on every node from now on. Its revocation is signed next."
    )
    keys = open_authorities(run, signers or ())

    async def work(desk: SignedIn) -> bool:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        certificate = directory.device(DeviceId(bytes.fromhex(info.id)))
        if certificate is None or certificate.revoked_seq is not None:
            return False
        removed = a.device_removed(certificate.device_id, reason, run.now_ms())
        await post_entries(desk.api, [a.sign(directory, removed, keys, run.now_ms())])
        return True

    signed = run.run(work)
    told = "its certificate is revoked" if signed else "it holds no certificate that counts"
    run.screen.say(
        f"Device {short(info.id)} is refused, and {told}.",
        {"id": info.id, "state": info.state, "signed": signed},
    )


def sign_out(context: typer.Context) -> None:
    """End this profile's session on every node. The device's keys stay: the next command signs in again."""
    run = invocation(context)

    async def work(desk: SignedIn) -> None:
        await desk.session.sign_out()

    run.run(work)
    run.screen.say("Signed out.", {"signed_out": True})


@app.command("renew-key")
def renew_key(context: typer.Context) -> None:
    """Publish a new DeviceKey if the last one is a day old. The live commands do it by themselves."""
    run = invocation(context)

    async def work(desk: SignedIn) -> None:
        await publish_device_key(desk, run)

    run.run(work)
    run.screen.say("The DeviceKey is up to date.", {"done": True})
