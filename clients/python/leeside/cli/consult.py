"""`leeside consult`: ask for one, answer one, and `watch`, which rings in a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import typer

from leeside import events as e
from leeside.api import every
from leeside.cli.chat import show as show_line
from leeside.cli.consult_named import STATES, ConsultArgument, find_consult
from leeside.cli.invocation import SignedIn, invocation, wait
from leeside.cli.lines import Line, LinkNews, line_of, object_of
from leeside.cli.live import ONLINE_S, Live, live, need_link, settle
from leeside.cli.names import Names, find_incident, find_unit, names_for
from leeside.cli.registry import Choice, choose
from leeside.cli.screen import Screen, age, moment, short
from leeside.cli.video import video
from leeside.consult_tending import COMING, OVER, SEARCHING
from leeside.consults import Consults
from leeside_protocol import oncall as o
from leeside_protocol.ids import ChannelId, ConsultId, IncidentId, LadderId, UnitId
from leeside_protocol.sealing.public.commit import Authorisation
from leeside_protocol.words import ConsultEvent, ConsultState, Role, Urgency

PAGE: Final = 100
IN_ORDER_S: Final = 10.0
"""How long a command that accepted stays to take the others out of the channel; another device of theirs would else."""
URGENCIES: Final = {Urgency.URGENT: "URGENT", Urgency.IMPORTANT: "important", Urgency.ROUTINE: "routine"}
TRIED: Final = {
    ConsultEvent.PAGED: "asked",
    ConsultEvent.UNREACHABLE: "cannot be reached",
    ConsultEvent.NO_ONE_ON_CALL: "nobody is on call",
    ConsultEvent.DECLINED: "does not come",
    ConsultEvent.TIMED_OUT: "did not answer",
    ConsultEvent.HELD: "comes in five minutes",
    ConsultEvent.ESCALATED: "wants the next step",
    ConsultEvent.ACCEPTED: "comes",
    ConsultEvent.NOT_JOINED: "accepted, and is not there",
    ConsultEvent.JOINED: "is there",
    ConsultEvent.LEFT: "is gone",
    ConsultEvent.REJOINED: "is back",
    ConsultEvent.EXHAUSTED: "nobody is left to ask",
    ConsultEvent.ALARMED: "the supervisors are alarmed",
    ConsultEvent.TAKEN: "takes the alarm",
    ConsultEvent.CANCELLED: "cancelled it",
    ConsultEvent.ENDED: "ended it",
    ConsultEvent.RELEASED: "released it",
}


class Word(StrEnum):
    """Urgencies as people type them."""

    ROUTINE = "routine"
    IMPORTANT = "important"
    URGENT = "urgent"


class Ground(StrEnum):
    """What a clinical channel stands on."""

    CONSENT = "consent"
    BREAK_GLASS = "break-glass"


app = typer.Typer(help="Consults with whoever is on call.", no_args_is_help=True)


# ---- asking


@app.command("request")
def request(
    context: typer.Context,
    summary: Annotated[str, typer.Argument(help="One line, sealed: what it is about.")] = "",
    urgency: Annotated[Word, typer.Option(case_sensitive=False)] = Word.IMPORTANT,
    unit: Annotated[str, typer.Option(help="The unit that asks.")] = "",
    incident: Annotated[str, typer.Option(help="The incident that it is about.")] = "",
    language: Annotated[str, typer.Option(help="The person's language, as two or three letters: es.")] = "",
    interpreter: Annotated[bool, typer.Option("--interpreter", help="An interpreter is wanted.")] = False,
    specialty: Annotated[str, typer.Option(help="A specialty that is wished for.")] = "",
    ladder: Annotated[
        str, typer.Option(metavar="ID", help="Which ladder; the agency's first one else.")
    ] = "",
    no_context: Annotated[
        bool, typer.Option("--no-context", help="Do not give the incident's earlier messages to who comes.")
    ] = False,
) -> None:
    """Ask for a consult, and come back once the server has it: leeside consult show says who was tried."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            await need_link(run, found)
            desk = found.desk
            asking = UnitId(bytes.fromhex((await find_unit(desk, unit)).id)) if unit else None
            about = IncidentId(bytes.fromhex((await find_incident(desk, incident)).id)) if incident else None
            asked = await found.client.consults.request(
                summary,
                urgency=Urgency[urgency.name],
                language=language,
                interpreter=interpreter,
                specialty=specialty,
                incident=about,
                unit=asking,
                ladder=LadderId(bytes.fromhex(await _ladder(desk, ladder))) if ladder else None,
                grant_to=() if no_context else (Role.PSYCHIATRIST,),
                unconfirmed=lambda phones: _unconfirmed(run.screen, phones),
            )
            names = await names_for(desk, _people(asked))
            run.screen.say(f"Consult {short(asked.id)}: {_standing(asked, names)}.", asked)

    wait(work())


def _unconfirmed(screen: Screen, phones: tuple[o.Phone, ...]) -> None:
    screen.alarm("The server has not confirmed this yet. It is tried again. CALL SOMEBODY NOW:")
    for phone in phones:
        screen.alarm(f"{phone.label}: {phone.number}")


async def _ladder(desk: SignedIn, text: str) -> str:
    ladders = await every(lambda after: desk.api.ladders(after, PAGE))
    choices = [Choice(bytes.fromhex(item.id), item.label, past=bool(item.ended_ms)) for item in ladders]
    return choose("ladder", text, choices).id.hex()


# ---- looking


@app.command("list")
def list_consults(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Those that are over.")] = False,
) -> None:
    """Consults that concern you, the most urgent and the oldest first."""
    run = invocation(context)
    state = "ended" if ended else "active"

    async def work(desk: SignedIn) -> tuple[list[o.Consult], Names]:
        found: list[o.Consult] = await every(lambda after: desk.api.consults(state, after))
        return found, await names_for(desk, {who for consult in found for who in _people(consult)})

    consults, names = run.run(work)
    consults.sort(key=lambda c: (-c.urgency, c.requested_ms))
    now_ms = run.now_ms()
    rows = [
        (
            short(c.id),
            URGENCIES[c.urgency],
            names.show(c.unit or c.member),
            c.language or "-",
            _standing(c, names),
            age(c.requested_ms, now_ms),
        )
        for c in consults
    ]
    columns = ("id", "urgency", "asked by", "language", "stands", "age")
    run.screen.table("Consults", columns, rows, consults)


@app.command("show")
def show(context: typer.Context, consult: ConsultArgument) -> None:
    """One consult: who was tried, when, and what you may do. Read it with leeside chat CHANNEL."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[o.Consult, Names]:
        found = await find_consult(desk, consult)
        return found, await names_for(desk, _people(found))

    found, names = run.run(work)
    run.screen.facts(
        [
            ("consult", found.id),
            ("channel", f"leeside chat {short(found.channel)}"),
            *([("clinicians", f"leeside chat {short(found.side)}")] if found.side else []),
            ("incident", "none of its own" if found.incident == found.id else found.incident),
            ("asked by", names.show(found.unit or found.member)),
            ("asked", moment(found.requested_ms)),
            ("urgency", URGENCIES[found.urgency]),
            (
                "language",
                f"{found.language or 'any'}{', an interpreter is wanted' if found.interpreter else ''}",
            ),
            ("stands", _standing(found, names)),
            *(
                (moment(line.at_ms), f"{_who(line.member, names)}{TRIED[ConsultEvent(line.event)]}")
                for line in found.tried
            ),
            ("you may", ", ".join(kind.value for kind in found.me.may) or "only look"),
        ],
        found,
    )


# ---- answering


@dataclass(frozen=True, slots=True)
class Deed:
    """A command that moves a consult. `stays`: its client first does what follows from it."""

    name: str
    help: str
    carry_out: Callable[[Consults, ConsultId], Awaitable[o.Consult]]
    stays: bool = False


DEEDS: Final = (
    Deed("accept", "Come. Those who were asked with you leave the channel.", Consults.accept, stays=True),
    Deed("decline", "Do not come; the next one is asked.", Consults.decline),
    Deed("hold", "Come in five minutes: once, and never when it is urgent.", Consults.hold),
    Deed("escalate", "Ask the next step of the ladder now.", Consults.escalate),
    Deed("cancel", "It is not needed any more.", Consults.cancel),
    Deed("join", "You accepted, and are there.", Consults.join, stays=True),
    Deed("leave", "You are gone for a moment: after a minute somebody else is searched for.", Consults.leave),
    Deed("end", "The consult is over; its channel takes no more messages.", Consults.end),
    Deed("take", "Take the alarm of a consult that nobody came to.", Consults.take),
    Deed("release", "Let a request go on that waits for a supervisor.", Consults.release),
)


def _register(deed: Deed) -> None:
    def command(context: typer.Context, consult: ConsultArgument) -> None:
        run = invocation(context)

        async def work() -> None:
            async with live(run) as found:
                await need_link(run, found)
                key = ConsultId(bytes.fromhex((await find_consult(found.desk, consult)).id))
                answer = await deed.carry_out(found.client.consults, key)
                if deed.stays:
                    await _in_order(found, answer)
                names = await names_for(found.desk, _people(answer))
                run.screen.say(f"Consult {short(answer.id)}: {_standing(answer, names)}.", answer)

        wait(work())

    app.command(deed.name, help=deed.help)(command)


for _deed in DEEDS:
    _register(_deed)


async def _in_order(found: Live, consult: o.Consult) -> None:
    """Until the others are out of the channel, as who accepted must sign; what is not done now is done with the next link."""
    client, channel = found.client, ChannelId(bytes.fromhex(consult.channel))
    if consult.accepted_device != client.device.hex():
        return
    feed = client.follow()
    try:
        async with asyncio.timeout(IN_ORDER_S):
            while not client.consults.in_order(consult):
                await feed.next()
    except TimeoutError:
        return
    finally:
        feed.close()
    await settle(client, channel, ONLINE_S)


@app.command("side")
def side(
    context: typer.Context,
    consult: ConsultArgument,
    ground: Annotated[Ground, typer.Argument(case_sensitive=False)],
    record: Annotated[str, typer.Argument(help="Who agreed to what, or why nobody could be asked. Sealed.")],
) -> None:
    """Open the clinicians' own channel of a consult, without the desk; the record of its ground stands in the consult's."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            await need_link(run, found)
            known = await find_consult(found.desk, consult)
            await settle(found.client, ChannelId(bytes.fromhex(known.channel)), ONLINE_S)
            channel = await found.client.consults.open_side(
                ConsultId(bytes.fromhex(known.id)), Authorisation[ground.name], record
            )
            run.screen.say(f"The clinicians' channel: leeside chat {short(channel)}", {"channel": channel})

    wait(work())


app.command("video")(video)


# ---- ringing


@app.command("watch")
def watch(context: typer.Context) -> None:
    """Ring here when you are asked to come, and tell how your consults go on. Ctrl-C ends it."""
    run = invocation(context)

    async def work() -> None:
        async with live(run) as found:
            feed, news = found.client.follow(), LinkNews()
            for consult in found.client.consults.known.values():
                _print(run.screen, e.ConsultChange(consult), found)
            start = e.Link(found.client.link)
            news.fresh(start)
            _print(run.screen, start, found)
            try:
                async for event in feed:
                    if not isinstance(event, e.Link) or news.fresh(event):
                        _print(run.screen, event, found)
            finally:
                feed.close()

    wait(work())


def _print(screen: Screen, event: e.Event, found: Live) -> None:
    if not isinstance(event, e.ConsultChange | e.Ring | e.ConsultAlarm | e.Link | e.Alarm):
        return
    if screen.json:
        screen.document(object_of(event))
        return
    line = line_of(event, found) or consult_line(event, found)
    if line is not None:
        show_line(screen, line)


def consult_line(event: e.Event, found: Live) -> Line | None:
    """What a terminal says of a consult."""
    names = found.names()
    match event:
        case e.Ring(consult=consult, times=times):
            who, urgency = names.show(consult.unit or consult.member), URGENCIES[consult.urgency]
            how = f"leeside consult accept {short(consult.id)}   (or decline, hold)"
            return Line(f"A CONSULT IS WAITING ({times}): {urgency}, asked by {who}. {how}", "loud")
        case e.ConsultAlarm(consult=key):
            return Line(
                f"NOBODY CAME to consult {short(key)}. leeside consult show {short(key)}   (take, release, accept)",
                "loud",
            )
        case e.ConsultChange(consult=consult):
            tone = "warn" if consult.state in SEARCHING else "plain" if consult.state in COMING else "quiet"
            over = "" if consult.state in OVER else f" leeside chat {short(consult.channel)}"
            return Line(f"Consult {short(consult.id)}: {_standing(consult, names)}.{over}", tone)
        case _:
            return None


# ---- inside


def _people(consult: o.Consult) -> set[str]:
    named = {consult.member, consult.unit, consult.accepted_by, consult.taken_by}
    named |= {target.member for target in consult.targets} | {line.member for line in consult.tried}
    return {who for who in named if who is not None}


def _standing(consult: o.Consult, names: Names) -> str:
    """Where it stands, and with whom."""
    state = STATES[consult.state]
    if consult.state in COMING:
        return f"{state} by {_who(consult.accepted_by, names).strip()}"
    if consult.state is ConsultState.PAGING:
        asked = [names.show(t.member) for t in consult.targets if t.rings]
        return f"{state}, step {consult.step + 1} of {consult.steps}: {', '.join(asked) or 'nobody'}"
    if consult.state is ConsultState.EXHAUSTED and consult.taken_by is not None:
        return f"{state}; {names.show(consult.taken_by)} took the alarm"
    return state


def _who(member: str | None, names: Names) -> str:
    return "" if member is None else f"{names.show(member)} "
