"""`leeside member`: the people of the agency."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn, invocation
from leeside.cli.names import Names, find_member, given_name, names_for
from leeside.cli.registry import all_devices, all_members
from leeside.cli.screen import moment, short
from leeside_protocol import resources as r
from leeside_protocol.words import Discipline, Role

app = typer.Typer(help="People of the agency.", no_args_is_help=True)

MemberArgument = Annotated[str, typer.Argument(metavar="MEMBER", help="A name, an id, or its first digits.")]


@app.command("add")
def add(
    context: typer.Context,
    roles: Annotated[list[Role], typer.Option("--role", help="Once for each role.")],
    discipline: Annotated[Discipline | None, typer.Option(help="A responder's profession.")] = None,
    login: Annotated[
        str, typer.Option(help="What an administrator signs in with; empty for everyone else.")
    ] = "",
    name: Annotated[str, typer.Option(help="The shown name, sealed in the agency's channel.")] = "",
) -> None:
    """Add a person. Devices follow by a code: leeside device enrol-code."""
    run = invocation(context)
    if Role.RESPONDER in roles and discipline is None:
        raise CommandError("A responder has a profession: --discipline.", Exit.USAGE)
    shown = given_name(name) if name else ""

    async def work(desk: SignedIn) -> r.Member:
        member = await desk.api.create_member(r.NewMember(tuple(dict.fromkeys(roles)), discipline, login))
        if shown:
            from leeside.cli.live import name_added

            await name_added(run, desk, "member", member.id, shown)
        return member

    member = run.run(work)
    run.screen.say(f"Member {member.id} added. Next: leeside device enrol-code {short(member.id)}", member)


@app.command("list")
def list_members(
    context: typer.Context, ended: Annotated[bool, typer.Option(help="Those who left, too.")] = False
) -> None:
    """Everyone in the agency."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[r.Member], Names]:
        members = await all_members(desk.api)
        return members, await names_for(desk, (m.id for m in members))

    members, names = run.run(work)
    shown = [m for m in members if ended or not m.ended_ms]
    rows = [
        (
            short(m.id),
            names.get(m.id) or "-",
            ", ".join(role.value for role in m.roles),
            m.discipline.value if m.discipline else "-",
            f"ended {moment(m.ended_ms)}" if m.ended_ms else "active",
        )
        for m in shown
    ]
    run.screen.table(
        "Members", ("id", "name", "roles", "discipline", "state"), rows, [_value(m, names) for m in shown]
    )


def _value(member: r.Member, names: Names) -> dict[str, object]:
    return {
        "id": member.id,
        "name": names.get(member.id),
        "roles": member.roles,
        "discipline": member.discipline,
        "login": member.login,
        "languages": member.languages,
        "specialties": member.specialties,
        "licences": member.licences,
        "phone": member.phone,
        "created_ms": member.created_ms,
        "ended_ms": member.ended_ms,
        "revision": member.revision,
    }


@app.command("show")
def show(context: typer.Context, member: MemberArgument) -> None:
    """One person and their devices."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[r.Member, list[r.DeviceInfo], Names]:
        found = await find_member(desk, member)
        devices = [d for d in await all_devices(desk.api) if d.member == found.id]
        return found, devices, await names_for(desk, (found.id,))

    found, devices, names = run.run(work)
    rows = [
        ("member", found.id),
        ("name", names.get(found.id) or "-"),
        ("roles", ", ".join(role.value for role in found.roles)),
        ("discipline", found.discipline.value if found.discipline else "-"),
        ("speaks", ", ".join(found.languages) or "-"),
        ("specialties", ", ".join(found.specialties) or "-"),
        ("licences", ", ".join(found.licences) or "-"),
        ("telephone", found.phone or "-"),
        ("since", moment(found.created_ms)),
        ("ended", moment(found.ended_ms)),
        *(("device", f"{short(d.id)} {d.label} ({d.state})") for d in devices),
    ]
    value = _value(found, names) | {
        "devices": [{"id": d.id, "label": d.label, "state": d.state} for d in devices]
    }
    run.screen.facts(rows, value)


@app.command("roles")
def roles_of(
    context: typer.Context,
    member: MemberArgument,
    roles: Annotated[list[Role], typer.Option("--role", help="All roles from now on, once for each.")],
    discipline: Annotated[Discipline | None, typer.Option(help="A responder's profession.")] = None,
) -> None:
    """Give a person other roles. Certificates keep their role: enrol a device anew for another one."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.Member:
        found = await find_member(desk, member)
        change = r.MemberChange(found.revision, tuple(dict.fromkeys(roles)), discipline)
        return await desk.api.change_member(found.id, change)

    changed = run.run(work)
    run.screen.say(f"Member {short(changed.id)}: {', '.join(role.value for role in changed.roles)}.", changed)


@app.command("skills")
def skills(
    context: typer.Context,
    member: MemberArgument,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="As es; all of them, once for each.")
    ] = None,
    specialties: Annotated[list[str] | None, typer.Option("--specialty", help="As child.")] = None,
    licences: Annotated[list[str] | None, typer.Option("--licence", help="As NY.")] = None,
    phone: Annotated[
        str | None,
        typer.Option(help="Where to call when nothing else wakes them: +12125550100; '' for none."),
    ] = None,
) -> None:
    """Say what a consult may ask of somebody: languages, specialties, licences, and a telephone. Each list as a whole."""
    run = invocation(context)
    if any(not re.fullmatch(r"[a-z]{2,3}", one) for one in languages or []):
        raise CommandError("A language is two or three letters, as es.", Exit.USAGE, "language")
    if phone and not re.fullmatch(r"\+[1-9][0-9 ]{6,20}", phone):
        raise CommandError("A telephone is written as +1 212 555 0100.", Exit.USAGE, "phone")

    async def work(desk: SignedIn) -> r.Member:
        found = await find_member(desk, member)
        change = r.MemberChange(
            found.revision,
            languages=None if languages is None else tuple(languages),
            specialties=None if specialties is None else tuple(specialties),
            licences=None if licences is None else tuple(licences),
            phone=phone if phone is None else phone.replace(" ", ""),
        )
        return await desk.api.change_member(found.id, change)

    changed = run.run(work)
    said = [
        *changed.languages,
        *changed.specialties,
        *changed.licences,
        *([changed.phone] if changed.phone else []),
    ]
    run.screen.say(f"Member {short(changed.id)}: {', '.join(said) or 'nothing said'}.", changed)


@app.command("end")
def end(
    context: typer.Context,
    member: MemberArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a membership: all devices of this person are refused at once, on every node.

    Revoke their certificates next (leeside device revoke), so that channels drop them too.
    """
    run = invocation(context)

    async def look(desk: SignedIn) -> tuple[r.Member, str]:
        found = await find_member(desk, member)
        return found, (await names_for(desk, (found.id,))).show(found.id)

    found, shown = run.run(look)
    if not yes and not run.screen.confirm(f"End the membership of {shown}?"):
        raise CommandError("Nothing was changed.", Exit.FAILED, "not_confirmed")

    async def work(desk: SignedIn) -> tuple[r.Member, list[str]]:
        ended = await desk.api.change_member(found.id, r.MemberChange(found.revision, ended=True))
        return ended, [short(d.id) for d in await all_devices(desk.api) if d.member == found.id]

    ended, devices = run.run(work)
    run.screen.say(f"The membership of {shown} has ended. Their devices are refused.", ended)
    if devices:
        signing = "; ".join(f"leeside device revoke {device}" for device in devices)
        run.screen.note(f"Next, so that every channel drops them: {signing}")


@app.command("name")
def name_member(
    context: typer.Context,
    member: MemberArgument,
    name: Annotated[str, typer.Argument(help="The shown name.")],
) -> None:
    """Give a person a shown name, sealed in the agency's channel."""
    run = invocation(context)
    shown = given_name(name)

    async def work(desk: SignedIn) -> r.Member:
        from leeside.cli.live import set_name

        found = await find_member(desk, member)
        await set_name(run, desk, "member", bytes.fromhex(found.id), shown)
        return found

    found = run.run(work)
    run.screen.say(f"Member {short(found.id)} is shown as {shown}.", {"id": found.id, "name": shown})
