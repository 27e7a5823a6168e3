"""`leeside status`: what a unit does, sealed into its channel."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import invocation, wait
from leeside.cli.live import accepted, live, settle
from leeside.cli.screen import age, short
from leeside.connection import LinkState
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import ChannelPurpose, Mark, PrimaryStatus, SecondaryStatus

SENT_S: Final = 15.0
UNSENT_S: Final = 1.0
"""Without a link nobody waits: the status is kept, and goes out later."""

app = typer.Typer(help="Unit status.", no_args_is_help=True)


@app.command("set")
def set_status(
    context: typer.Context,
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="A name, an id, or its first digits.")],
    primary: Annotated[PrimaryStatus, typer.Argument(case_sensitive=False)],
    secondary: Annotated[SecondaryStatus | None, typer.Argument(case_sensitive=False)] = None,
    note: Annotated[str, typer.Option(help="Sealed.")] = "",
    destination: Annotated[str, typer.Option(help="Sealed.")] = "",
    mark: Annotated[
        str, typer.Option(help="A timeline mark that the server may see, e.g. arrived.")
    ] = "none",
) -> None:
    """Say what a unit does. Kept and sent later when there is no link."""
    run = invocation(context)
    try:
        chosen = Mark[mark.upper()]
    except KeyError:
        raise CommandError(
            f"{mark} is none of: {', '.join(m.name.lower() for m in Mark)}.", Exit.USAGE
        ) from None

    async def work() -> None:
        async with live(run) as found:
            identifier, channel = await found.unit_channel(unit)
            sent = await found.client.set_status(
                channel, identifier, primary, secondary, note=note, destination=destination, mark=chosen
            )
            online = found.client.link.state is LinkState.ONLINE
            if not await accepted(sent, SENT_S if online else UNSENT_S):
                raise CommandError(
                    "Not sent yet: there is no link. It is kept and goes out later.",
                    Exit.TRY_AGAIN,
                    "waiting",
                )
            run.screen.say(
                f"{found.names().show(identifier)}: {primary.value}",
                {"unit": identifier, "id": sent.id, "progress": sent.progress.value},
            )

    wait(work())


@app.command("show")
def show(context: typer.Context) -> None:
    """Every unit's status, with its age."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            rows: list[tuple[str, ...]] = []
            values: list[object] = []
            for info in found.client.channels():
                if info.purpose is not ChannelPurpose.UNIT or info.archived:
                    continue
                channel = ChannelId(bytes.fromhex(info.id))
                if found.client.link.state is LinkState.ONLINE:
                    await settle(found.client, channel, 5.0)
                board = found.client.board(channel)
                for unit, change in board.statuses.items():
                    status = change.status
                    second = status.secondary.value if status.secondary else "-"
                    name = found.names().get(unit)
                    rows.append(
                        (
                            name or short(unit),
                            status.primary.value,
                            second,
                            age(change.at_ms, run.now_ms()),
                            status.note,
                        )
                    )
                    values.append({"unit": unit, "name": name, "status": status, "at_ms": change.at_ms})
            run.screen.table("Units", ("unit", "status", "", "age", "note"), rows, values)

    wait(work())
