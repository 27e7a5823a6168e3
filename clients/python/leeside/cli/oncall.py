"""`leeside oncall`: who is on call now, and what will be missing."""

from __future__ import annotations

import typer

from leeside.cli.invocation import SignedIn, invocation
from leeside.cli.names import Names, names_for
from leeside.cli.screen import moment, short
from leeside_protocol import oncall as o


def register(app: typer.Typer) -> None:
    app.command("oncall")(oncall)


def oncall(context: typer.Context) -> None:
    """Who is on call now; gaps of the next 24 hours, and who could not be reached."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[o.OnCall, Names]:
        found = await desk.api.on_call()
        people = (*(one.member for one in found.rotas), *(one.member for one in found.warnings))
        return found, await names_for(desk, people)

    found, names = run.run(work)
    rows = [
        (short(one.rota), one.label, names.show(one.member) if one.member else "NOBODY", moment(one.until_ms))
        for one in found.rotas
    ]
    run.screen.table("On call", ("rota", "label", "on call", "until"), rows, found, "There is no rota yet.")
    labels = {one.rota: one.label for one in found.rotas}
    for warning in found.warnings:
        run.screen.warn(f"{labels.get(warning.rota, short(warning.rota))}: {_told(warning, names)}")


def _told(warning: o.Warning, names: Names) -> str:
    who = names.show(warning.member) if warning.member else "somebody"
    since = f"from {moment(warning.from_ms)} " if warning.from_ms else ""
    what = {
        "gap": "nobody is on call",
        "unreachable": f"nothing would reach {who}: no device with push, no telephone",
        "probe_failed": f"a device of {who} did not answer the daily probe",
    }[warning.kind]
    return f"{what}, {since}until {moment(warning.until_ms)}"
