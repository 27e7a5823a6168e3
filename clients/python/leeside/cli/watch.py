"""`leeside watch`: the live board. Units with status and its age, positions with their age, who is connected.

Every figure carries its age, and a missing link is shown as such: an old board must look old.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live as Screenful
from rich.table import Table
from rich.text import Text

from leeside.board import Presence
from leeside.cli.invocation import Invocation, invocation, wait
from leeside.cli.lines import link_line
from leeside.cli.live import Live, live, settle
from leeside.cli.names import channel_name
from leeside.cli.screen import age, clean, short
from leeside.connection import LinkState
from leeside.errors import LeesideError
from leeside.events import Link
from leeside_protocol.ids import ChannelId

TICK_S: Final = 1.0
PRESENCE_EVERY: Final = 15
"""Ticks between two questions for who is connected."""
OLD_POSITION_MS: Final = 120_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the board."""

    kind: str
    who: str
    what: str
    age: str
    old: bool
    channel: str


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("watch")(watch)


def watch(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Show it once and come back; so does --json.")] = False,
) -> None:
    """The live board of every channel that this device is in. Ctrl-C ends it."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            if once or run.screen.json:
                for info in found.client.channels():
                    if found.client.link.state is LinkState.ONLINE and not info.archived:
                        await settle(found.client, ChannelId(bytes.fromhex(info.id)), 5.0)
                presence = await _presence(found)
                rows = board(found, run.now_ms())
                if run.screen.json:
                    run.screen.document(_value(found, rows, presence, run.now_ms()))
                else:
                    run.screen.out.print(_drawn(found, rows, presence, run.now_ms()))
                return
            await _watch(run, found)

    wait(work())


async def _watch(run: Invocation, found: Live) -> None:
    presence: dict[str, Presence] = {}
    tick = 0
    with Screenful(
        console=run.screen.out, auto_refresh=False, screen=run.screen.out.is_terminal
    ) as screenful:
        while True:
            if tick % PRESENCE_EVERY == 0:
                presence = await _presence(found) or presence
            now_ms = run.now_ms()
            screenful.update(_drawn(found, board(found, now_ms), presence, now_ms), refresh=True)
            tick += 1
            await asyncio.sleep(TICK_S)


async def _presence(found: Live) -> dict[str, Presence]:
    known: dict[str, Presence] = {}
    if found.client.link.state is not LinkState.ONLINE:
        return known
    for info in found.client.channels():
        if not info.archived:
            with suppress(LeesideError, TimeoutError):
                known[info.id] = await found.client.presence(ChannelId(bytes.fromhex(info.id)))
    return known


def board(found: Live, now_ms: int) -> list[Row]:
    """Every unit's status and every device's position, from all channels."""
    names = found.names()
    rows: list[Row] = []
    for info in found.client.channels():
        if info.archived:
            continue
        present = found.client.board(ChannelId(bytes.fromhex(info.id)))
        where = channel_name(info, names)
        for unit, change in present.statuses.items():
            status = change.status
            words = [
                status.primary.value,
                *([status.secondary.value] if status.secondary else []),
                status.note,
            ]
            text = " / ".join(w for w in words if w)
            rows.append(Row("status", names.show(unit), text, age(change.at_ms, now_ms), False, where))
        sharing = present.sharing(now_ms)
        for position in present.positions():
            if position.fix is None:
                continue
            fix = position.fix
            text = f"{fix.lat_e7 / 1e7:.5f}, {fix.lon_e7 / 1e7:.5f} ±{max(fix.accuracy_m, fix.coarse_m)} m"
            if position.device not in sharing:
                text += ", no longer shared"
            if position.duress:
                text = f"DURESS {text}"
            old = now_ms - fix.fix_ms > OLD_POSITION_MS
            rows.append(
                Row("position", found.who(position.device, None), text, age(fix.fix_ms, now_ms), old, where)
            )
    return rows


def _drawn(found: Live, rows: list[Row], presence: dict[str, Presence], now_ms: int) -> Group:
    link = found.client.link
    head = Text("live", style="bold green")
    if link.state is not LinkState.ONLINE:
        head = Text(link_line(Link(link)).text, style="bold black on yellow")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("unit or device", "", "age", "channel"):
        table.add_column(column, overflow="fold")
    for row in rows:
        style = "bold red" if row.what.startswith("DURESS") else "dim" if row.old else ""
        table.add_row(*(Text(clean(cell), style=style) for cell in (row.who, row.what, row.age, row.channel)))
    parts: list[Any] = [
        head,
        table
        if rows
        else Text(
            "No status or position was heard yet."
            if link.state is LinkState.ONLINE
            else "Nothing is known here."
        ),
    ]
    names = found.names()
    for info in found.client.channels():
        known = presence.get(info.id)
        if known is None:
            continue
        stale = ", absence proves nothing" if known.stale else ""
        line = f"{channel_name(info, names)}: {len(known.devices)} of {len(info.devices)} connected, {age(known.as_of_ms, now_ms)} ago{stale}"
        parts.append(Text(clean(line), style="dim"))
    parts += [
        Text(f"ALARM {alarm.kind.value} ({alarm.code}): talk by voice", style="bold white on red")
        for alarm in found.client.alarms
    ]
    return Group(*parts)


def _value(found: Live, rows: list[Row], presence: dict[str, Presence], now_ms: int) -> dict[str, Any]:
    return {
        "at_ms": now_ms,
        "link": found.client.link.state.value,
        "rows": rows,
        "presence": {
            channel: {
                "devices": [short(d) for d in known.devices],
                "as_of_ms": known.as_of_ms,
                "stale": known.stale,
            }
            for channel, known in presence.items()
        },
        "alarms": [{"kind": a.kind.value, "code": a.code} for a in found.client.alarms],
    }
