"""`leeside unit`: teams."""

from __future__ import annotations

from typing import Annotated

import typer

from leeside.cli.invocation import SignedIn, invocation
from leeside.cli.names import Names, all_units, find_member, find_unit, given_name, names_for
from leeside.cli.screen import moment, short
from leeside_protocol import resources as r

app = typer.Typer(help="Units: teams that are sent out.", no_args_is_help=True)

UnitArgument = Annotated[str, typer.Argument(metavar="UNIT", help="A name, an id, or its first digits.")]
MemberOptions = Annotated[list[str] | None, typer.Option("--member", help="Once for each member.")]
LeadOption = Annotated[str, typer.Option("--lead", help="Who leads the unit.")]


async def _members(
    desk: SignedIn, members: list[str] | None, lead: str
) -> tuple[tuple[str, ...] | None, str | None]:
    found = None if members is None else tuple([(await find_member(desk, m)).id for m in members])
    return found, (await find_member(desk, lead)).id if lead else None


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="The shown name, sealed in the agency's channel.")] = "",
    members: MemberOptions = None,
    lead: LeadOption = "",
) -> None:
    """Add a unit. Its channel: leeside channel open unit --subject UNIT."""
    run = invocation(context)
    shown = given_name(name) if name else ""

    async def work(desk: SignedIn) -> r.Unit:
        ids, leader = await _members(desk, members or [], lead)
        unit = await desk.api.create_unit(r.NewUnit(ids or (), leader))
        if shown:
            from leeside.cli.live import name_added

            await name_added(run, desk, "unit", unit.id, shown)
        return unit

    unit = run.run(work)
    run.screen.say(f"Unit {unit.id} added. Next: leeside channel open unit --subject {short(unit.id)}", unit)


@app.command("list")
def list_units(
    context: typer.Context, ended: Annotated[bool, typer.Option(help="Those that ended, too.")] = False
) -> None:
    """All units."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[r.Unit], Names]:
        units = await all_units(desk)
        owners = (owner for unit in units for owner in (unit.id, unit.lead, *unit.members))
        return units, await names_for(desk, owners)

    units, names = run.run(work)
    shown = [u for u in units if ended or not u.ended_ms]
    rows = [
        (
            short(u.id),
            names.get(u.id) or "-",
            ", ".join(names.show(m) for m in u.members) or "-",
            names.show(u.lead) if u.lead else "-",
            f"ended {moment(u.ended_ms)}" if u.ended_ms else "active",
        )
        for u in shown
    ]
    run.screen.table("Units", ("id", "name", "members", "lead", "state"), rows, shown)


@app.command("change")
def change(
    context: typer.Context,
    unit: UnitArgument,
    members: MemberOptions = None,
    lead: LeadOption = "",
    name: Annotated[str, typer.Option(help="Another shown name.")] = "",
) -> None:
    """Change who is in a unit. Its channel is changed apart: leeside channel admit, leeside channel remove."""
    run = invocation(context)
    shown = given_name(name) if name else ""

    async def work(desk: SignedIn) -> r.Unit:
        found = await find_unit(desk, unit)
        ids, leader = await _members(desk, members, lead)
        if ids is not None or leader is not None:
            found = await desk.api.change_unit(found.id, r.UnitChange(found.revision, ids, leader))
        if shown:
            from leeside.cli.live import set_name

            await set_name(run, desk, "unit", bytes.fromhex(found.id), shown)
        return found

    changed = run.run(work)
    run.screen.say(f"Unit {short(changed.id)} changed.", changed)
    if members is not None:
        run.screen.note(
            "Who reads its channel has not changed: leeside channel admit, and leeside channel remove for who left it."
        )


@app.command("end")
def end(context: typer.Context, unit: UnitArgument) -> None:
    """Take a unit out of service."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.Unit:
        found = await find_unit(desk, unit)
        return await desk.api.change_unit(found.id, r.UnitChange(found.revision, ended=True))

    ended = run.run(work)
    run.screen.say(f"Unit {short(ended.id)} is out of service.", ended)
