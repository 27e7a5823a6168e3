"""`leeside records hold`, `release`, `shred`, `list`: how long an incident's records stay, for records officers.

The server decides and keeps a security event of each (`server/leeside_server/core/records.py`). Shredding cannot be undone by
anybody, so it is asked for by typing the incident's number: a yes is given too easily.
"""

from __future__ import annotations

from typing import Annotated

import typer

from leeside.api import ApiError, every
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn, invocation
from leeside.cli.names import find_incident
from leeside.cli.screen import moment, short
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.words import ChannelPurpose, HoldReason, IncidentState, ShredReason

_PAGE = 500

IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="An id, or its first digits.")]
HoldOption = Annotated[HoldReason, typer.Option("--reason", help="Each reason is a hold of its own.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `leeside records`."""
    app.command("list")(list_records)
    app.command("hold")(hold)
    app.command("release")(release)
    app.command("shred")(shred)


async def refuse_shredded(desk: SignedIn, channels: list[r.ChannelInfo]) -> None:
    """Say of an incident among these channels that there is nothing to open any more, and since when."""
    of_incidents = {ChannelPurpose.INCIDENT, ChannelPurpose.CONSULT}
    for incident in sorted({c.subject for c in channels if c.subject and c.purpose in of_incidents}):
        try:
            state = await desk.api.incident_records(incident)
        except ApiError as error:
            if error.code is WireError.NOT_FOUND:
                continue  # a server of the version before, which shreds nothing
            raise
        if state.shred_ordered_ms:
            raise CommandError(
                f"The records of incident {short(incident)} were shredded on "
                f"{moment(state.shredded_ms or state.shred_ordered_ms)}. Nothing of them can be opened any more, "
                "with any key. Who ordered it stands in the security events.",
                Exit.FAILED,
                "shredded",
            )


def list_records(
    context: typer.Context,
    held: Annotated[bool, typer.Option("--held", help="Only those on legal hold.")] = False,
) -> None:
    """Ended incidents and those on hold: how long their records stay, and what became of them."""
    run = invocation(context)

    async def work(desk: SignedIn) -> list[r.RecordsState]:
        return await every(lambda after: desk.api.records(after, _PAGE))

    over = {IncidentState.CLOSED, IncidentState.CANCELLED}
    found = [s for s in run.run(work) if s.holds or (s.state in over and not held)]
    found.sort(key=lambda state: (state.closed_ms, state.incident))
    rows = [
        (short(s.incident), s.state.value, moment(s.closed_ms), _holds(s), _until(s), _fate(s)) for s in found
    ]
    columns = ("incident", "state", "closed", "on hold for", "kept until", "records")
    run.screen.table("Records", columns, rows, found)


def hold(context: typer.Context, incident: IncidentArgument, reason: HoldOption) -> None:
    """Legal hold: keep everything of an incident, whatever retention says, until it is released."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.RecordsState:
        return await desk.api.hold_records((await find_incident(desk, incident)).id, r.HoldPost(reason))

    state = run.run(work)
    gone = f" Retention began to take its content on {moment(state.emptied_ms)}." if state.emptied_ms else ""
    run.screen.say(f"Incident {short(state.incident)} is on hold: {_holds(state)}.{gone}", state)


def release(context: typer.Context, incident: IncidentArgument, reason: HoldOption) -> None:
    """End the hold for one reason. With the last one gone, retention takes its course at once."""
    run = invocation(context)

    async def work(desk: SignedIn) -> r.RecordsState:
        return await desk.api.release_records((await find_incident(desk, incident)).id, r.HoldPost(reason))

    state = run.run(work)
    left = f"is still on hold: {_holds(state)}" if state.holds else "is not on hold"
    run.screen.say(f"Incident {short(state.incident)} {left}.", state)


def shred(
    context: typer.Context,
    incident: IncidentArgument,
    reason: Annotated[ShredReason, typer.Option("--reason", help="Why: it stands in the security events.")],
    number: Annotated[
        str, typer.Option("--number", help="The incident's number again, instead of typing it when asked.")
    ] = "",
) -> None:
    """Destroy what is left of an ended incident: its keys for every reader, for good. After its retention time only."""
    run = invocation(context)

    async def look(desk: SignedIn) -> r.RecordsState:
        return await desk.api.incident_records((await find_incident(desk, incident)).id)

    seen = run.run(look)
    if not seen.shredded_ms:
        _confirm(run, seen, number)

    async def work(desk: SignedIn) -> r.RecordsState:
        return await desk.api.shred_records(seen.incident, r.ShredPost(reason))

    state = run.run(work)
    run.screen.say(
        f"The records of incident {short(state.incident)} were shredded on {moment(state.shredded_ms)}. "
        "Backups made before still hold them: delete those, too.",
        state,
    )


def _confirm(run: Invocation, state: r.RecordsState, given: str) -> None:
    expected = short(state.incident)
    if not given:
        given = run.screen.ask(
            f"This destroys the records of incident {expected} for every reader, for good. "
            "Type the incident's number to do it"
        )
    if given.strip().lower() not in {expected, state.incident}:
        raise CommandError("That is another number. Nothing was shredded.", Exit.FAILED, "not_confirmed")


def _holds(state: r.RecordsState) -> str:
    return ", ".join(f"{h.reason} since {moment(h.since_ms)}" for h in state.holds) or "-"


def _until(state: r.RecordsState) -> str:
    if state.holds:
        return "released"
    return moment(state.kept_until_ms) if state.kept_until_ms else "for good"


def _fate(state: r.RecordsState) -> str:
    if state.shredded_ms:
        return f"shredded {moment(state.shredded_ms)}"
    if state.shred_ordered_ms:
        return "being shredded"
    return f"archived keys only, since {moment(state.emptied_ms)}" if state.emptied_ms else "whole"
