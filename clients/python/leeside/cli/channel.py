"""`leeside channel`: open one, see who can read it, change its members."""

from __future__ import annotations

from typing import Annotated

import typer

from leeside.cli.chain import fetch_chain
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn, invocation
from leeside.cli.names import (
    Names,
    all_channels,
    channel_name,
    find_channel,
    find_device,
    find_incident,
    find_member,
    find_unit,
    names_for,
)
from leeside.cli.registry import all_devices, fetch_directory
from leeside.cli.rosters import channel_post, live_certificates, make_genesis
from leeside.cli.screen import moment, short
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, DeviceId, IncidentId, MemberId
from leeside_protocol.sealing.public.commit import NO_INCIDENT, Authorisation, AuthRecord
from leeside_protocol.words import ChannelPurpose, Compartment

app = typer.Typer(help="Sealed channels and who can read them.", no_args_is_help=True)

ChannelArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHANNEL", help="An id, its first digits, a unit's name, or agency, desk, on_call."
    ),
]
MemberOptions = Annotated[list[str] | None, typer.Option("--member", help="Once for each member.")]
DeviceOptions = Annotated[list[str] | None, typer.Option("--device", help="Once for each device.")]


@app.command("list")
def list_channels(
    context: typer.Context, archived: Annotated[bool, typer.Option(help="Those out of service, too.")] = False
) -> None:
    """Channels that this device is in."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[r.ChannelInfo], Names]:
        channels = await all_channels(desk)
        units = (c.subject for c in channels if c.purpose is ChannelPurpose.UNIT)
        return channels, await names_for(desk, units)

    channels, names = run.run(work)
    shown = [c for c in channels if archived or not c.archived]
    rows = [
        (
            short(c.id),
            channel_name(c, names),
            c.compartment.name.lower(),
            str(len(c.devices)),
            str(c.head),
            "archived" if c.archived else "open",
        )
        for c in shown
    ]
    run.screen.table("Channels", ("id", "name", "compartment", "devices", "head", "state"), rows, shown)


@app.command("open")
def open_channel(
    context: typer.Context,
    purpose: Annotated[ChannelPurpose, typer.Argument(help="Why the channel exists.")],
    subject: Annotated[str, typer.Option(help="The unit or incident that it belongs to.")] = "",
    members: MemberOptions = None,
    compartment: Annotated[
        str, typer.Option(help="operations, clinical, record, substance_use, criminal_justice.")
    ] = "operations",
    auth: Annotated[
        list[str] | None,
        typer.Option(
            help="consent:HASH or break_glass:HASH of the sealed record; compartments beyond operations need one."
        ),
    ] = None,
) -> None:
    """Open a channel. Its members: those named, the unit's own, and whom the purpose brings (desk, everyone)."""
    run = invocation(context)
    try:
        chosen = Compartment[compartment.upper()]
    except KeyError:
        raise CommandError(f"There is no compartment {compartment}.", Exit.USAGE) from None
    records = tuple(_auth(text) for text in auth or ())

    async def work(desk: SignedIn) -> r.CommitAnswer:
        who = {MemberId(bytes.fromhex((await find_member(desk, m)).id)) for m in members or ()}
        about, incident = b"", NO_INCIDENT
        if purpose is ChannelPurpose.UNIT:
            unit = await find_unit(desk, _needed(subject, "--subject UNIT"))
            about = bytes.fromhex(unit.id)
            who |= {MemberId(bytes.fromhex(m)) for m in unit.members}
        elif purpose in {ChannelPurpose.INCIDENT, ChannelPurpose.CONSULT}:
            found = await find_incident(desk, _needed(subject, "--subject INCIDENT"))
            about = bytes.fromhex(found.id)
            incident = IncidentId(about)
        made = await make_genesis(
            run, desk, purpose, who, compartment=chosen, incident=incident, auth=records
        )
        return await desk.api.create_channel(channel_post(purpose, about, made))

    answer = run.run(work)
    run.screen.say(
        f"Channel {answer.channel.hex()} is open: leeside chat {short(answer.channel)}",
        {"channel": answer.channel, "epoch": answer.epoch},
    )


def _needed(text: str, option: str) -> str:
    if not text:
        raise CommandError(f"This kind of channel belongs to something: {option}.", Exit.USAGE)
    return text


def _auth(text: str) -> AuthRecord:
    kind, _, digits = text.partition(":")
    try:
        record = AuthRecord(Authorisation[kind.upper()], bytes.fromhex(digits))
    except (KeyError, ValueError):
        record = None
    if record is None or len(record.record_hash) != 32:
        raise CommandError("--auth is consent:HASH or break_glass:HASH, the hash of 64 digits.", Exit.USAGE)
    return record


@app.command("who-can-read")
def who_can_read(context: typer.Context, channel: ChannelArgument) -> None:
    """Everyone who can read a channel, records keys included, from its verified signed roster and not from the server."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[tuple[str, ...]], dict[str, object]]:
        info = await find_channel(desk, channel)
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        line = await fetch_chain(desk.api, ChannelId(bytes.fromhex(info.id)), directory)
        head = line.head
        assert head is not None
        certificates = [directory.device(entry.device_id) for entry in head.roster]
        names = await names_for(desk, (c.member_id.hex() for c in certificates if c is not None))
        labels = {d.id: d.label for d in await all_devices(desk.api)}
        live = {c.device_id for c in live_certificates(directory, run.now_ms())}
        rows: list[tuple[str, ...]] = []
        for entry, certificate in zip(head.roster, certificates, strict=True):
            who = "guest" if certificate is None else names.show(certificate.member_id)
            role = "-" if certificate is None else certificate.role
            state = "reads" if entry.device_id in live or entry.guest else "drops at the next message"
            rows.append((short(entry.device_id), who, role, labels.get(entry.device_id.hex(), "-"), state))
        rows += [
            (short(x.records_id), "records key", "records", "-", "reads, cannot send") for x in head.records
        ]
        value: dict[str, object] = {
            "channel": info.id,
            "epoch": head.epoch,
            "since_ms": head.ts_ms,
            "one_signature": not directory.dual_control(run.now_ms()),
            "readers": [dict(zip(("id", "who", "role", "label", "state"), row, strict=True)) for row in rows],
        }
        return rows, value

    rows, value = run.run(work)
    title = f"Who can read {channel}, since {moment(int(str(value['since_ms'])))}"
    run.screen.table(title, ("device", "who", "role", "label", "state"), rows, value)
    if value["one_signature"]:
        run.screen.note("Sensitive certificates of this agency carry one signature: it has one authority.")


@app.command("admit")
def admit(
    context: typer.Context,
    channel: ChannelArgument,
    members: MemberOptions = None,
    devices: DeviceOptions = None,
    earlier: Annotated[
        bool | None,
        typer.Option(
            "--context/--no-context",
            help="Give them earlier messages too; the agency's channel does, for names.",
        ),
    ] = None,
) -> None:
    """Let people or devices in. They read from the next message on; `--context` gives them what was before."""
    _change(context, channel, members, devices, "admit", earlier)


@app.command("grant")
def grant(
    context: typer.Context,
    channel: ChannelArgument,
    members: MemberOptions = None,
    devices: DeviceOptions = None,
) -> None:
    """Give members of a channel its earlier messages, as far as this device can read them. Kept, and seen by all."""
    _change(context, channel, members, devices, "grant")


@app.command("remove")
def remove(
    context: typer.Context,
    channel: ChannelArgument,
    members: MemberOptions = None,
    devices: DeviceOptions = None,
) -> None:
    """Take people or devices out. They keep what they have read, and read nothing from now on."""
    _change(context, channel, members, devices, "remove")


@app.command("rekey")
def rekey(context: typer.Context, channel: ChannelArgument) -> None:
    """New keys for the same members, less those that were revoked or have expired."""
    _change(context, channel, None, None, "rekey")


def _change(
    context: typer.Context,
    channel: str,
    members: list[str] | None,
    devices: list[str] | None,
    what: str,
    earlier: bool | None = None,
) -> None:
    from leeside.cli.live import change_members

    run = invocation(context)
    if what != "rekey" and not members and not devices:
        raise CommandError("Say who: --member or --device.", Exit.USAGE)

    async def work(desk: SignedIn) -> tuple[r.ChannelInfo, int]:
        info = await find_channel(desk, channel)
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        chosen: set[DeviceId] = {
            DeviceId(bytes.fromhex((await find_device(desk, d)).id)) for d in devices or ()
        }
        for text in members or ():
            member = MemberId(bytes.fromhex((await find_member(desk, text)).id))
            chosen |= {
                c.device_id for c in live_certificates(directory, run.now_ms()) if c.member_id == member
            }
        names = info.purpose is ChannelPurpose.AGENCY and what == "admit"
        epoch = await change_members(
            run,
            desk,
            ChannelId(bytes.fromhex(info.id)),
            what,
            frozenset(chosen),
            context=names if earlier is None else earlier,
        )
        return info, epoch

    info, epoch = run.run(work)
    told = (
        "Earlier messages were granted."
        if what == "grant"
        else f"Channel {short(info.id)} is at change {epoch}."
    )
    run.screen.say(told, {"channel": info.id, "epoch": epoch})


@app.command("archive")
def archive(context: typer.Context, channel: ChannelArgument) -> None:
    """Take a channel out of service. Its log stays."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.ChannelInfo:
        return await desk.api.archive_channel((await find_channel(desk, channel)).id)

    info = run.run(work)
    run.screen.say(f"Channel {short(info.id)} is out of service.", info)
