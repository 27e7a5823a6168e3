"""`leeside rota`: who is on call, by which turns, and who stands in."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Final

import typer

from leeside.api import every
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn, invocation
from leeside.cli.names import Names, find_member, names_for
from leeside.cli.registry import Choice, all_members, choose
from leeside.cli.screen import moment, short
from leeside.cli.times import HELP, interval, machine_zone, when, zone_named
from leeside.cli.weeks import draw, legend, midnight_ms
from leeside_protocol import oncall as o
from leeside_protocol.limits import CALENDAR_CHARS, ROTA_MEMBERS

app = typer.Typer(help="Rotas: who is on call, and when.", no_args_is_help=True)

RotaArgument = Annotated[str, typer.Argument(metavar="ROTA", help="A label, an id, or its first digits.")]
MemberArgument = Annotated[str, typer.Argument(metavar="MEMBER", help="A name, an id, or its first digits.")]
FromOption = Annotated[str, typer.Option("--from", help=HELP)]
UntilOption = Annotated[str, typer.Option("--until", help="When it ends; that instant is not included.")]
TurnOption = Annotated[
    list[str] | None, typer.Option("--member", help="Whose turn it is, once for each, in order.")
]
StartOption = Annotated[str, typer.Option(help="The first shift's begin, wall time: 2026-12-01T08:00.")]
RuleOption = Annotated[str, typer.Option(help="When the next one's turn begins (RRULE).")]
HoursOption = Annotated[float, typer.Option(help="How long a shift lasts, in hours of wall time.")]
ZoneOption = Annotated[str, typer.Option(help="The zone of its wall times, as America/New_York.")]
FallbackOption = Annotated[str, typer.Option(help="The rota that stands in where nobody is on call.")]
OwnerOption = Annotated[
    list[str] | None, typer.Option("--owner", help="Who may change its covers, once for each.")
]
_PAGE: Final = 500
_SWAP_MS: Final = 45 * 86_400_000


async def all_rotas(desk: SignedIn) -> list[o.Rota]:
    """Every rota, those that ended too."""
    return await every(lambda after: desk.api.rotas(after, _PAGE))


async def find_rota(desk: SignedIn, text: str) -> o.Rota:
    """The rota that a person means."""
    rotas = await all_rotas(desk)
    found = choose(
        "rota",
        text,
        [
            Choice(bytes.fromhex(one.id), one.label, "ended" if one.ended_ms else "", past=bool(one.ended_ms))
            for one in rotas
        ],
    )
    return next(one for one in rotas if one.id == found.id.hex())


@app.command("list")
def list_rotas(
    context: typer.Context, ended: Annotated[bool, typer.Option(help="Those that ended, too.")] = False
) -> None:
    """All rotas, and who turns in them."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[list[o.Rota], Names]:
        rotas = await all_rotas(desk)
        return rotas, await names_for(desk, {m for rota in rotas for m in _turning(rota)})

    rotas, names = run.run(work)
    shown = [rota for rota in rotas if ended or not rota.ended_ms]
    labels = {rota.id: rota.label for rota in rotas}
    rows = [
        (
            short(rota.id),
            rota.label,
            ", ".join(names.show(member) for member in _turning(rota)) or "-",
            labels.get(rota.fallback, "?") if rota.fallback else "-",
            f"ended {moment(rota.ended_ms)}" if rota.ended_ms else "in use",
        )
        for rota in shown
    ]
    run.screen.table("Rotas", ("id", "label", "turns", "fallback", "state"), rows, shown)


def _turning(rota: o.Rota) -> list[str]:
    return list(dict.fromkeys(member for rotation in rota.rotations for member in rotation.members))


@app.command("show")
def show(
    context: typer.Context,
    rota: RotaArgument,
    start: Annotated[str, typer.Option("--from", help=f"The first day. {HELP}")] = "now",
    weeks: Annotated[int, typer.Option(min=1, max=13, help="How many weeks.")] = 2,
    zone: Annotated[str, typer.Option(help="Drawn in this zone; else in the rota's own.")] = "",
) -> None:
    """The weeks as a picture: half an hour a letter, and where nobody is on call."""
    run = invocation(context)
    first_ms = when(start, run.now_ms())

    async def work(desk: SignedIn) -> tuple[o.Rota, o.Schedule, Names, str]:
        found = await find_rota(desk, rota)
        named = zone or next((one.zone for one in found.rotations), machine_zone() or "UTC")
        day = datetime.fromtimestamp(first_ms / 1000, zone_named(named)).date()
        from_ms = midnight_ms(day, zone_named(named))
        until_ms = midnight_ms(day + timedelta(weeks=weeks), zone_named(named))
        schedule = await desk.api.schedule(found.id, from_ms, until_ms)
        people = {*_named(found), *(span.member for span in schedule.spans)}
        return found, schedule, await names_for(desk, people), named

    found, schedule, names, named = run.run(work)
    if run.screen.json:
        run.screen.document({"rota": found, "zone": named, "spans": schedule.spans})
        return
    at = zone_named(named)
    run.screen.facts(_facts(found, names), None)
    run.screen.say("")
    day = datetime.fromtimestamp(schedule.spans[0].from_ms / 1000, at).date()
    for line in draw(schedule.spans, day, weeks * 7, at, named):
        run.screen.say(line)
    run.screen.say("")
    run.screen.say(legend(schedule.spans, names.show))
    for span in schedule.spans:
        if span.member is None:
            run.screen.warn(f"Nobody: {_shown(span.from_ms, at)} to {_shown(span.until_ms, at)}")


def _facts(rota: o.Rota, names: Names) -> list[tuple[str, str]]:
    def people(members: tuple[str, ...]) -> str:
        return ", ".join(names.show(member) for member in members)

    return [
        ("rota", rota.id),
        ("label", rota.label),
        *(
            (
                "rotation",
                f"{short(one.id)} {people(one.members)}: {one.rule} from {one.start} {one.zone}, {one.length_min / 60:g} h",
            )
            for one in rota.rotations
        ),
        *(
            (
                one.why,
                f"{short(one.id)} {names.show(one.member)}: {moment(one.from_ms)} to {moment(one.until_ms)}",
            )
            for one in rota.overrides
            if one.why != "shift"
        ),
        *(
            [("shifts", f"{count} of a calendar")]
            if (count := sum(e.why == "shift" for e in rota.overrides))
            else []
        ),
        *(
            (
                "absent",
                f"{short(one.id)} {names.show(one.member)}: {moment(one.from_ms)} to {moment(one.until_ms)}",
            )
            for one in rota.absences
        ),
        ("owners", people(rota.owners) or "-"),
        ("fallback", rota.fallback or "-"),
        *([("ended", moment(rota.ended_ms))] if rota.ended_ms else []),
    ]


def _named(rota: o.Rota) -> set[str]:
    return {
        *_turning(rota),
        *rota.owners,
        *(e.member for e in rota.overrides),
        *(a.member for a in rota.absences),
    }


def _shown(at_ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, zone):%a %d %b %H:%M}"


# ---- what supervisors write


@app.command("add")
def add(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="What it is called, as crisis line.")],
    members: TurnOption = None,
    start: StartOption = "",
    rule: RuleOption = "FREQ=WEEKLY",
    hours: HoursOption = 168.0,
    zone: ZoneOption = "",
    fallback: FallbackOption = "",
    owners: OwnerOption = None,
) -> None:
    """Add a rota, with its first rotation where --member says whose turns it has."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Rota:
        rotation = await _rotation(desk, members, start, rule, hours, zone)
        body = o.NewRota(
            label,
            () if rotation is None else (rotation,),
            owners=await _members(desk, owners or []),
            fallback=(await find_rota(desk, fallback)).id if fallback else None,
        )
        return await desk.api.create_rota(body)

    made = run.run(work)
    run.screen.say(f"Rota {made.label} added. Next: leeside rota show {short(made.id)}", made)


@app.command("change")
def change(
    context: typer.Context,
    rota: RotaArgument,
    label: Annotated[str, typer.Option(help="Another label.")] = "",
    members: TurnOption = None,
    start: StartOption = "",
    rule: RuleOption = "FREQ=WEEKLY",
    hours: HoursOption = 168.0,
    zone: ZoneOption = "",
    drop: Annotated[
        list[str] | None,
        typer.Option(help="The digits of a rotation, cover, swap or absence that ends; once for each."),
    ] = None,
    fallback: FallbackOption = "",
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Nothing stands in any more.")] = False,
    owners: OwnerOption = None,
) -> None:
    """Change a rota. With --member another rotation comes behind those that it has; --drop takes away."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Rota:
        found = await find_rota(desk, rota)
        rotation = await _rotation(desk, members, start, rule, hours, zone)
        gone = _dropped(found, drop or [])
        rotations = tuple(one for one in found.rotations if one.id not in gone)
        body = o.RotaChange(
            found.revision,
            label or None,
            None
            if rotation is None and not gone
            else (*rotations, *([] if rotation is None else [rotation])),
            None if not gone else tuple(one for one in found.overrides if one.id not in gone),
            None if not gone else tuple(one for one in found.absences if one.id not in gone),
            None if owners is None else await _members(desk, owners),
            (await find_rota(desk, fallback)).id if fallback else None,
            no_fallback,
        )
        return await desk.api.change_rota(found.id, body)

    changed = run.run(work)
    run.screen.say(f"Rota {changed.label} changed. leeside rota show {short(changed.id)}", changed)


@app.command("end")
def end(context: typer.Context, rota: RotaArgument) -> None:
    """Take a rota out of service, for good. Ladders and rotas that name it are changed first."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Rota:
        found = await find_rota(desk, rota)
        return await desk.api.change_rota(found.id, o.RotaChange(found.revision, ended=True))

    ended = run.run(work)
    run.screen.say(f"Rota {ended.label} has ended.", ended)


async def _rotation(
    desk: SignedIn, members: list[str] | None, start: str, rule: str, hours: float, zone: str
) -> o.Rotation | None:
    if not members:
        return None
    named = zone or machine_zone()
    if not start or not named:
        missing = "--start" if not start else "--zone"
        raise CommandError(f"Turns begin somewhere: {missing}.", Exit.USAGE, "rotation")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", start):
        raise CommandError("--start is a wall time as 2026-12-01T08:00.", Exit.USAGE, "rotation")
    ids = await _members(desk, members)
    return o.Rotation(secrets.token_hex(16), named, start, rule, round(hours * 60), ids)


async def _members(desk: SignedIn, members: list[str]) -> tuple[str, ...]:
    return tuple([(await find_member(desk, one)).id for one in members])


def _dropped(rota: o.Rota, texts: list[str]) -> set[str]:
    entries = (
        *((one.id, "rotation") for one in rota.rotations),
        *((one.id, one.why) for one in rota.overrides),
        *((one.id, "absence") for one in rota.absences),
    )
    choices = [Choice(bytes.fromhex(key), note=what) for key, what in entries]
    return {choose("entry of this rota", text, choices).id.hex() for text in texts}


# ---- standing in


@app.command("cover")
def cover(
    context: typer.Context, rota: RotaArgument, member: MemberArgument, start: FromOption, end_: UntilOption
) -> None:
    """Somebody is on call for a while, whoever's turn it is."""
    run = invocation(context)
    from_ms, until_ms = interval(start, end_, run.now_ms())

    async def work(desk: SignedIn) -> tuple[o.Rota, o.Schedule, Names]:
        found, who = await find_rota(desk, rota), await find_member(desk, member)
        entry = o.RotaOverride(secrets.token_hex(16), from_ms, until_ms, who.id)
        body = o.RotaChange(found.revision, overrides=(*found.overrides, entry))
        return await _outcome(desk, await desk.api.change_rota(found.id, body), from_ms, until_ms)

    _tell(run, *run.run(work))


@app.command("swap")
def swap(
    context: typer.Context,
    rota: RotaArgument,
    first: Annotated[str, typer.Argument(help=f"A time within one shift. {HELP}")],
    second: Annotated[str, typer.Argument(help="A time within the other.")],
) -> None:
    """Two members swap the shifts that they hold at these two times."""
    run = invocation(context)
    now_ms = run.now_ms()
    times = (when(first, now_ms), when(second, now_ms))

    async def work(desk: SignedIn) -> tuple[o.Rota, o.Schedule, Names]:
        found = await find_rota(desk, rota)
        one, other = [await _held(desk, found, at_ms, now_ms) for at_ms in times]
        if one.member == other.member:
            raise CommandError("One and the same member holds both.", Exit.USAGE, "swap")
        assert one.member is not None
        assert other.member is not None
        entries = (
            o.RotaOverride(secrets.token_hex(16), one.from_ms, one.until_ms, other.member, "swap"),
            o.RotaOverride(secrets.token_hex(16), other.from_ms, other.until_ms, one.member, "swap"),
        )
        body = o.RotaChange(found.revision, overrides=(*found.overrides, *entries))
        changed = await desk.api.change_rota(found.id, body)
        spans = (one, other)
        return await _outcome(desk, changed, min(s.from_ms for s in spans), max(s.until_ms for s in spans))

    _tell(run, *run.run(work))


async def _held(desk: SignedIn, rota: o.Rota, at_ms: int, now_ms: int) -> o.Span:
    """The shift at an instant, as far as it is not over."""
    schedule = await desk.api.schedule(rota.id, max(at_ms - _SWAP_MS, min(now_ms, at_ms)), at_ms + _SWAP_MS)
    span = next(span for span in schedule.spans if span.from_ms <= at_ms < span.until_ms)
    if span.member is None:
        raise CommandError(f"Nobody is on call at {moment(at_ms)}.", Exit.USAGE, "swap")
    return span


@app.command("absent")
def absent(
    context: typer.Context, rota: RotaArgument, member: MemberArgument, start: FromOption, end_: UntilOption
) -> None:
    """Somebody's turns pass to the next rotation or the fallback. Covers and swaps of theirs still count."""
    run = invocation(context)
    from_ms, until_ms = interval(start, end_, run.now_ms())

    async def work(desk: SignedIn) -> tuple[o.Rota, o.Schedule, Names, str]:
        found, who = await find_rota(desk, rota), await find_member(desk, member)
        entry = o.RotaAbsence(secrets.token_hex(16), who.id, from_ms, until_ms)
        body = o.RotaChange(found.revision, absences=(*found.absences, entry))
        changed, schedule, names = await _outcome(
            desk, await desk.api.change_rota(found.id, body), from_ms, until_ms
        )
        still = any(span.member == who.id for span in schedule.spans)
        return changed, schedule, names, names.show(who.id) if still else ""

    changed, schedule, names, still = run.run(work)
    _tell(run, changed, schedule, names)
    if still:
        run.screen.warn(f"{still} still covers some of that time: leeside rota show, and change --drop.")


async def _outcome(
    desk: SignedIn, changed: o.Rota, from_ms: int, until_ms: int
) -> tuple[o.Rota, o.Schedule, Names]:
    until_ms = min(until_ms, from_ms + 100 * 86_400_000)
    schedule = await desk.api.schedule(changed.id, from_ms, until_ms)
    return changed, schedule, await names_for(desk, (span.member for span in schedule.spans))


def _tell(run: Invocation, changed: o.Rota, schedule: o.Schedule, names: Names) -> None:
    """Who is on call now in the time that was changed."""
    rows = [
        (
            moment(span.from_ms),
            moment(span.until_ms),
            names.show(span.member) if span.member else "NOBODY",
            span.why,
        )
        for span in schedule.spans
    ]
    value = {"rota": changed, "spans": schedule.spans}
    run.screen.table(changed.label, ("from", "until", "on call", "why"), rows, value)
    if any(span.member is None for span in schedule.spans):
        run.screen.warn("There is a gap: nobody is on call.")


# ---- calendars


@app.command("import")
def import_calendar(
    context: typer.Context,
    rota: RotaArgument,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An iCalendar file.")],
    name: Annotated[
        list[str] | None, typer.Option(help="Who is meant by a name or address in it: ana@example.org=Ana.")
    ] = None,
    zone: Annotated[str, typer.Option(help="The zone of times that name none.")] = "",
) -> None:
    """Take the shifts of a calendar over, for a year, in the place of those of the calendar before.

    Whoever is called in it as they are shown here is known; for others say --name.
    """
    run = invocation(context)
    text = _calendar_text(file)

    async def work(desk: SignedIn) -> o.Rota:
        found = await find_rota(desk, rota)
        body = o.CalendarImport(found.revision, text, await _meant(desk, text, name or []), zone)
        return await desk.api.import_calendar(found.id, body)

    changed = run.run(work)
    count = sum(entry.why == "shift" for entry in changed.overrides)
    run.screen.say(
        f"{changed.label} has {count} shifts of the calendar. leeside rota show {short(changed.id)}", changed
    )


def _calendar_text(file: Path) -> str:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{file} cannot be read as text.", Exit.FAILED, "calendar") from None
    if not 0 < len(text) <= CALENDAR_CHARS:
        raise CommandError(
            f"A calendar has {CALENDAR_CHARS} characters at most: export less of it.", Exit.USAGE, "calendar"
        )
    return text


async def _meant(desk: SignedIn, text: str, given: list[str]) -> dict[str, str]:
    """Names in the calendar, and whom they mean: those said, and the shown names that stand in it."""
    meant: dict[str, str] = {}
    for pair in given:
        called, equals, member = pair.rpartition("=")
        if not equals or not called:
            raise CommandError("--name is NAME=MEMBER.", Exit.USAGE, "name")
        meant[called] = (await find_member(desk, member)).id
    members = [member.id for member in await all_members(desk.api) if not member.ended_ms]
    names = await names_for(desk, members)
    plain = " ".join(text.split()).casefold()
    for member in members:
        shown = names.get(member)
        if shown and shown.casefold() in plain and len(meant) < ROTA_MEMBERS:
            meant.setdefault(shown, member)
    return meant


@app.command("feed")
def feed(
    context: typer.Context,
    rota: RotaArgument,
    mine: Annotated[bool, typer.Option("--mine", help="My own shifts alone.")] = False,
    end_: Annotated[
        bool, typer.Option("--end", help="End the addresses: all of a supervisor's, else mine.")
    ] = False,
) -> None:
    """The address of a live calendar, for a calendar program. Whoever has it reads when somebody is on call, not who."""
    run = invocation(context)

    async def work(desk: SignedIn) -> str:
        found = await find_rota(desk, rota)
        if end_:
            await desk.api.end_feeds(found.id)
            return ""
        made = await desk.api.create_feed(found.id, o.NewFeed(mine))
        return desk.settings.server.rstrip("/") + made.path

    address = run.run(work)
    if end_:
        run.screen.say("The addresses have ended.", {"ended": True})
        return
    run.screen.say(address, {"address": address})
    run.screen.note("Shown once. leeside rota feed --end ends it.")
