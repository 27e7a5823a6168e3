"""`leeside incident`: open one with its sealed operations channel, assign units, close it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from leeside.api import every
from leeside.bodies import Incident
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn, invocation, wait
from leeside.cli.live import Live, accepted, live, settle
from leeside.cli.names import (
    Names,
    all_channels,
    all_incidents,
    channel_name,
    find_incident,
    find_unit,
    names_for,
)
from leeside.cli.registry import all_devices
from leeside.cli.rosters import channel_post, make_genesis
from leeside.cli.screen import age, moment, short
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, IncidentId, MemberId
from leeside_protocol.words import ChannelPurpose, Compartment, Disposition, IncidentState

SETTLE_S = 5.0

app = typer.Typer(help="Incidents.", no_args_is_help=True)

IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="An id, or its first digits.")]
UnitOptions = Annotated[list[str] | None, typer.Option("--unit", help="Once for each unit.")]


@app.command("open")
def open_incident(
    context: typer.Context,
    priority: Annotated[int, typer.Option(min=1, max=5, help="1 is the most urgent.")] = 3,
    units: UnitOptions = None,
) -> None:
    """Open an incident with its operations channel: the desk, and the devices of the units named."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[bytes, r.CommitAnswer]:
        found = [await find_unit(desk, unit) for unit in units or ()]
        incident = IncidentId(run.random(16))
        members = {MemberId(bytes.fromhex(m)) for unit in found for m in unit.members}
        made = await make_genesis(run, desk, ChannelPurpose.INCIDENT, members, incident=incident)
        post = r.IncidentPost(
            incident,
            priority,
            tuple(bytes.fromhex(unit.id) for unit in found),
            channel_post(ChannelPurpose.INCIDENT, incident, made),
        )
        return incident, await desk.api.open_incident(post)

    incident, answer = run.run(work)
    run.screen.say(
        f"Incident {incident.hex()} is open. Its channel: leeside chat {short(answer.channel)}",
        {"incident": incident, "channel": answer.channel, "epoch": answer.epoch},
    )


@app.command("list")
def list_incidents(
    context: typer.Context, closed: Annotated[bool, typer.Option(help="Those that are over, too.")] = False
) -> None:
    """Incidents, the most urgent first."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[r.Incident], Names]:
        incidents = await all_incidents(desk)
        return incidents, await names_for(desk, (u for i in incidents for u in i.units))

    incidents, names = run.run(work)
    over = {IncidentState.CLOSED, IncidentState.CANCELLED}
    shown = sorted(
        (i for i in incidents if closed or i.state not in over), key=lambda i: (i.priority, i.created_ms)
    )
    now_ms = run.now_ms()
    rows = [
        (
            short(i.id),
            str(i.priority),
            i.state.value,
            ", ".join(names.show(u) for u in i.units) or "-",
            age(i.created_ms, now_ms),
        )
        for i in shown
    ]
    run.screen.table("Incidents", ("id", "priority", "state", "units", "age"), rows, shown)


@app.command("show")
def show(context: typer.Context, incident: IncidentArgument) -> None:
    """One incident and those of its channels that this device is in."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[r.Incident, list[r.ChannelInfo], Names]:
        found = await find_incident(desk, incident)
        channels = [c for c in await all_channels(desk) if c.subject == found.id]
        return found, channels, await names_for(desk, found.units)

    found, channels, names = run.run(work)
    run.screen.facts(
        [
            ("incident", found.id),
            ("priority", str(found.priority)),
            ("state", found.state.value),
            ("units", ", ".join(names.show(u) for u in found.units) or "-"),
            ("opened", moment(found.created_ms)),
            ("closed", moment(found.closed_ms)),
            *(("channel", f"{short(c.id)} {channel_name(c, names)}") for c in channels),
        ],
        {"incident": found, "channels": channels},
    )


@app.command("describe")
def describe(
    context: typer.Context,
    incident: IncidentArgument,
    type_code: Annotated[str, typer.Option("--type", help="A code after APCO 2.103.2, e.g. EDP.")] = "",
    district: Annotated[str, typer.Option()] = "",
    address: Annotated[str, typer.Option()] = "",
    narrative: Annotated[str, typer.Option(help="What is known.")] = "",
    disposition: Annotated[Disposition, typer.Option(help="How it ended.")] = Disposition.NONE,
) -> None:
    """Say what an incident is. All of it is sealed; what is left out stays as it was."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            ident = (await find_incident(found.desk, incident)).id
            channel = _operations(found, ident)
            await settle(found.client, channel, SETTLE_S)
            known = found.client.board(channel).incidents.get(IncidentId(bytes.fromhex(ident)))
            old = None if known is None else known.incident
            if old is None:
                old = Incident(IncidentId(bytes.fromhex(ident)), "", "", "")
            new = msgspec.structs.replace(
                old,
                type_code=type_code or old.type_code,
                district=district or old.district,
                address=address or old.address,
                narrative=narrative or old.narrative,
                disposition=disposition or old.disposition,
            )
            sent = await found.client.describe(channel, new)
            if not await accepted(sent, SETTLE_S):
                raise CommandError(
                    "Not sent yet: there is no link. It is kept and goes out later.",
                    Exit.TRY_AGAIN,
                    "waiting",
                )
            run.screen.say(f"Incident {short(ident)} is described.", {"incident": ident, "id": sent.id})

    wait(work())


def _operations(found: Live, incident: str) -> ChannelId:
    """The incident's operations channel, which this device must be in."""
    for info in found.client.channels():
        if info.subject == incident and info.compartment is Compartment.OPERATIONS and not info.archived:
            return ChannelId(bytes.fromhex(info.id))
    raise CommandError(
        f"This device is in no open channel of incident {short(incident)}: ask its dispatcher to admit it.",
        Exit.NOT_FOUND,
        "not_found",
    )


@app.command("assign")
def assign(
    context: typer.Context,
    incident: IncidentArgument,
    units: UnitOptions = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Take every unit off it.")] = False,
) -> None:
    """Assign units: all of them from now on. Admit their devices to the channel with leeside channel admit."""
    run = invocation(context)
    if bool(units) == nobody:
        raise CommandError(
            "Say which units: --unit, once for each. --nobody takes every unit off.", Exit.USAGE
        )

    async def work(desk: SignedIn) -> tuple[r.Incident, str]:
        found = await find_incident(desk, incident)
        chosen = [await find_unit(desk, unit) for unit in units or ()]
        ids = tuple(unit.id for unit in chosen)
        state = IncidentState.ASSIGNED if ids and found.state is IncidentState.OPEN else None
        change = r.IncidentChange(found.revision, None, state, ids)
        changed = await desk.api.change_incident(found.id, change)
        names = Names.of(desk.keystore)
        told = ", ".join(names.show(unit) for unit in ids) or "no unit"
        outside = await _outside(desk, found.id, chosen)
        if outside:
            run.screen.warn(outside)
        return changed, told

    changed, told = run.run(work)
    run.screen.say(f"Incident {short(changed.id)} is {changed.state.value}: {told}.", changed)


async def _outside(desk: SignedIn, incident: str, units: list[r.Unit]) -> str:
    """Who of these units has no device in the incident's operations channel, and what lets them in: a unit that was assigned and
    reads nothing must not look served."""
    channel = next(
        (
            c
            for c in await all_channels(desk)
            if c.subject == incident and c.compartment is Compartment.OPERATIONS and not c.archived
        ),
        None,
    )
    members = sorted({m for unit in units for m in unit.members})
    if channel is None or not members:
        return ""
    seated = {d.member for d in await all_devices(desk.api) if d.id in channel.devices}
    missing = [m for m in members if m not in seated]
    if not missing:
        return ""
    names = Names.of(desk.keystore)
    who = " ".join(f"--member {short(m)}" for m in missing)
    return (
        f"NOT IN ITS CHANNEL: {', '.join(names.show(m) for m in missing)}. "
        f"leeside channel admit {short(channel.id)} {who}"
    )


@app.command("close")
def close(
    context: typer.Context,
    incident: IncidentArgument,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="It was none, or came to nothing.")] = False,
) -> None:
    """Close an incident; its channels are archived and take no more messages."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.Incident:
        found = await find_incident(desk, incident)
        await _no_consult(desk, found.id)
        state = IncidentState.CANCELLED if cancelled else IncidentState.CLOSED
        return await desk.api.change_incident(found.id, r.IncidentChange(found.revision, None, state))

    closed = run.run(work)
    run.screen.say(f"Incident {short(closed.id)} is {closed.state.value}.", closed)


async def _no_consult(desk: SignedIn, incident: str) -> None:
    """An incident does not end under a consult: say which one it is that goes on."""
    consults: list[o.Consult] = await every(lambda after: desk.api.consults("active", after))
    for consult in consults:
        if consult.incident == incident:
            raise CommandError(
                f"Consult {short(consult.id)} of this incident goes on. Then: leeside consult end {short(consult.id)}, or cancel.",
                Exit.CONFLICT,
                "consult",
            )
