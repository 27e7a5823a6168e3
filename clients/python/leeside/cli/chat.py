"""`leeside chat CHANNEL`: a terminal client; and for programs `--send`, `--follow`, `--once`, `--json`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Final, TypeVar

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout
from rich.text import Text

from leeside import events as e
from leeside.bodies import BodyError, CheckIn, ConsultAsked, Recommendation, TimelineMark
from leeside.cli.exits import CommandError, Exit, ending_of
from leeside.cli.files import Files
from leeside.cli.invocation import Invocation, invocation, wait
from leeside.cli.lines import MARKS, Line, LinkNews, line_of, object_of
from leeside.cli.live import Live, accepted, live, settle
from leeside.cli.names import channel_name
from leeside.cli.screen import Screen, age, clean, interactive, short
from leeside.client import Sent
from leeside.connection import LinkState
from leeside.errors import LeesideError
from leeside.feeds import Feed
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, MessageId, UnitId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.words import PrimaryStatus, SecondaryStatus, Urgency

_Word = TypeVar("_Word", PrimaryStatus, SecondaryStatus)

HISTORY: Final = 30
SETTLE_S: Final = 5.0
HELP: Final = (
    "/urgent TEXT   repeats at every receiver until acknowledged\n"
    "/important TEXT\n"
    "/ack           acknowledge what is urgent\n"
    "/check-in      all is well: sounds at the others until one acknowledges\n"
    "/duress        you are in danger: nothing shows here\n"
    "/recommend TEXT   what the people on scene should do: sounds until their unit read it back\n"
    "/read-back TEXT   say the newest recommendation again, in your own words\n"
    "/who           who can read, and who is connected\n"
    "/status PRIMARY [SECONDARY] [NOTE]   this unit's status\n"
    "/attach FILE   send a file\n"
    "/files         the files of this channel\n"
    "/save NUMBER [FOLDER]   save one of them\n"
    "/history [N]   earlier messages\n"
    "/waiting       what was not sent yet\n"
    "/quit"
)
_COMMANDS: Final = frozenset({line.split()[0] for line in HELP.splitlines()} | {"/exit", "/help"})
HANGING: Final = "         | "
"""What stands before each further row of one line."""


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("chat")(chat)


def chat(
    context: typer.Context,
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="An id, a unit's name, or agency, desk, on_call.")
    ],
    send: Annotated[
        str | None, typer.Option("--send", help="Send this and come back once the server has it.")
    ] = None,
    urgent: Annotated[
        bool, typer.Option("--urgent", help="With --send: repeats until acknowledged.")
    ] = False,
    important: Annotated[bool, typer.Option("--important", help="With --send.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print what happens, line by line, until interrupted.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Print earlier messages, line by line, and come back.")
    ] = False,
    history: Annotated[
        int, typer.Option(min=0, max=1000, help="How many earlier messages to show.")
    ] = HISTORY,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="With --send: seconds to wait for the server.")
    ] = 15.0,
) -> None:
    """Talk in a channel. Without a link everything is kept and sent later."""
    run = invocation(context)
    if send is None and not (follow or once or interactive()):
        raise CommandError("Nobody is at the keyboard: use --send, --follow or --once.", Exit.USAGE)
    urgency = Urgency.URGENT if urgent else Urgency.IMPORTANT if important else Urgency.ROUTINE

    async def work() -> None:
        async with live(run) as found:
            info = await found.channel(channel)
            identifier = ChannelId(bytes.fromhex(info.id))
            if send is not None:
                await _send(run, found, identifier, send, urgency, timeout_s)
                if not (follow or once):
                    return
            if found.client.link.state is LinkState.ONLINE:
                await settle(found.client, identifier, SETTLE_S)
            if once:
                _tell_history(run, found, identifier, history)
            elif follow:
                await _follow(run, found, identifier, history)
            else:
                await Conversation(run.screen, found, info, run.now_ms).run(history)

    wait(work())


async def _send(
    run: Invocation, found: Live, channel: ChannelId, text: str, urgency: Urgency, timeout_s: float
) -> None:
    sent = await found.client.send(channel, text, urgency)
    stands = await accepted(sent, timeout_s)
    value = {"id": sent.id, "channel": channel, "progress": sent.progress.value}
    if not stands:
        if run.screen.json:
            run.screen.document(value)
        online = found.client.link.state is LinkState.ONLINE
        why = "the server has not answered" if online else "there is no link"
        raise CommandError(
            f"Not sent yet: {why}. It is kept, and goes out with the next live command: do not send it again.",
            Exit.TRY_AGAIN,
            "waiting",
        )
    run.screen.say(f"{MARKS[sent.progress]} {short(sent.id)}", value)


async def _follow(run: Invocation, found: Live, channel: ChannelId, history: int) -> None:
    feed = found.client.follow(channel)
    news = LinkNews()
    try:
        _tell_history(run, found, channel, history)
        # Whoever reads along learns where things stand, and need not wait for something to happen.
        start = e.Link(found.client.link)
        news.fresh(start)
        _print(run.screen, start, found)
        if found.client.caught_up(channel):
            _print(run.screen, e.CaughtUp(channel), found)
        async for event in feed:
            if run.screen.json or not isinstance(event, e.Link) or news.fresh(event):
                _print(run.screen, event, found)
    finally:
        feed.close()


def _tell_history(run: Invocation, found: Live, channel: ChannelId, count: int) -> None:
    for event in found.client.history(channel, limit=count) if count else ():
        _print(run.screen, event, found)


def _print(screen: Screen, event: e.Event, found: Live) -> None:
    if screen.json:
        screen.document(object_of(event))
        return
    line = line_of(event, found)
    if line is not None:
        show(screen, line)


def show(screen: Screen, line: Line) -> None:
    """A line in its tone: what presses is red and as wide as the terminal.

    Only its beginning stands at the left: whoever writes a line break, or so much that it wraps, writes into their own
    message and can never begin what looks like another person's.
    """
    width = screen.out.width
    rows = Text(clean(line.text)).wrap(screen.out, max(20, width - len(HANGING)))
    shown = [f"{HANGING if number else ''}{row.plain.rstrip()}" for number, row in enumerate(rows)]
    if line.tone == "loud":
        screen.out.bell()
    for text in shown:
        match line.tone:
            case "loud":
                screen.out.print(Text(text.ljust(width)), style="bold white on red")
            case "warn":
                screen.out.print(Text(text.ljust(width)), style="black on yellow")
            case "quiet":
                screen.out.print(Text(text), style="dim")
            case _:
                screen.out.print(Text(text))


class Conversation:
    """One channel on a terminal: what happens above, what is written below, the state in the bar."""

    def __init__(self, screen: Screen, found: Live, info: r.ChannelInfo, now_ms: Callable[[], int]) -> None:
        self._screen = screen
        self._live = found
        self._info = info
        self._channel = ChannelId(bytes.fromhex(info.id))
        self._now_ms = now_ms
        self._pressing: dict[MessageId, e.Message | e.Report] = {}
        self._reports: dict[MessageId, e.Report] = {}
        """What presses once it sounds: an assignment sounds at the unit's people alone."""
        self._last: Sent | None = None
        self._news = LinkNews()
        self._files: Files | None = None

    async def run(self, history: int) -> None:
        """Until `/quit`, Ctrl-D, or the server says not to come back."""
        session: PromptSession[str] = PromptSession()
        client = self._live.client
        feed = client.follow(self._channel)
        with patch_stdout(raw=True):
            for event in client.history(self._channel, limit=history) if history else ():
                self.take(event)
            if client.link.state is not LinkState.ONLINE:
                self.take(e.Link(client.link))
            try:
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self._read(feed))
                    self._files = Files(
                        group, self._live, self._channel, partial(show, self._screen), self._sent
                    )
                    try:
                        await self._write(session)
                    finally:
                        reading.cancel()
                        self._files.stop()
            finally:
                feed.close()
        waiting = len(client.waiting(self._channel))
        if waiting:
            told = f"{waiting} not sent yet: kept on this device, and sent with the next live command."
            show(self._screen, Line(told, "warn"))

    async def _read(self, feed: Feed) -> None:
        async for event in feed:
            self.take(event)

    def take(self, event: e.Event) -> None:
        """Show one event, and remember what has to be acknowledged and what was read."""
        match event:
            case e.Message() if event.urgency is Urgency.URGENT and not event.mine:
                self._pressing[event.id] = event
            case e.Report() if not event.mine and not isinstance(event.content, TimelineMark | ConsultAsked):
                self._reports[event.id] = event
            case e.Acknowledgement():
                self._answered(event)
            case e.Link() if not self._news.fresh(event):
                return
            case e.Receipt() if event.progress is not e.Progress.REFUSED:
                return  # the bar shows how far it came
            case _:
                pass
        if isinstance(event, e.Repeat) and self._sounds(event):
            return
        line = line_of(event, self._live)
        if line is not None:
            show(self._screen, line)
        if isinstance(event, e.Message):
            self._live.client.mark_read(self._channel, event.offset)

    def _answered(self, event: e.Acknowledgement) -> None:
        """Stop asking for what this person answered; for a check-in that anybody but its sender did; for a recommendation
        once it was read back."""
        answered = event.member == self._live.client.member
        match self._reports.get(event.message):
            case e.Report(content=CheckIn(), member=sender) if event.member != sender:
                answered = True
            case e.Report(content=Recommendation()):
                if event.read_back:
                    self._pressing.pop(event.message, None)
                # Whether those count who read it back, the client knows: otherwise it sounds again.
                return
            case _:
                pass
        if answered:
            self._pressing.pop(event.message, None)
            self._reports.pop(event.message, None)

    def _sounds(self, event: e.Repeat) -> bool:
        """Say again what nobody acknowledged here; false for a message from before this program began."""
        report = self._reports.get(event.id)
        if report is not None:
            self._pressing.setdefault(event.id, report)
        message = self._pressing.get(event.id)
        if message is None:
            return False
        line = line_of(message, self._live)
        text = message.text if isinstance(message, e.Message) else "" if line is None else line.text
        how = "/read-back TEXT" if _is_recommendation(message) else "/ack"
        show(self._screen, Line(f"NOT ACKNOWLEDGED ({event.times}): {text}  {how}", "loud"))
        return True

    def _sent(self, sent: Sent) -> None:
        self._last = sent

    def bar(self) -> str:
        """The state below the line: link, last message, what waits."""
        client = self._live.client
        link = client.link
        parts = [channel_name(self._info, self._live.names())]
        if link.state is LinkState.ONLINE:
            parts.append("live" if client.caught_up(self._channel) else "loading")
        else:
            parts.append(f"NO LIVE LINK for {age(link.since_ms, self._now_ms())}")
        waiting = len(client.waiting(self._channel))
        if waiting:
            parts.append(f"{waiting} not sent yet")
        if self._files is not None and self._files.bar:
            parts.append(self._files.bar)
        if self._last is not None:
            devices = list(self._last.devices.values())
            told = [f"{sum(p is x for p in devices)} {x.value}" for x in e.Progress if x in devices]
            parts.append(f"last: {', '.join([self._last.progress.value, *told])}")
        if self._pressing:
            parts.append(f"{len(self._pressing)} URGENT: /ack")
        return clean(" | ".join(parts))

    async def _write(self, session: PromptSession[str]) -> None:
        while True:
            try:
                text = await session.prompt_async("> ", bottom_toolbar=self.bar, refresh_interval=1.0)
            except (EOFError, KeyboardInterrupt):
                return
            if not text.strip():
                continue
            try:
                if not await self.say(text.strip()):
                    return
            except (LeesideError, SealingError, BodyError, OSError, sqlite3.Error) as error:
                ending = ending_of(error)
                told = str(error) if ending is None else f"{ending.sentence} ({ending.code})"
                show(self._screen, Line(f"Not sent: {told}", "loud"))

    async def say(self, text: str) -> bool:
        """Carry out one line; false for `/quit`."""
        command, _, rest = text.partition(" ")
        rest = rest.strip()
        client = self._live.client
        match command:
            case "/quit" | "/exit":
                return False
            case "/urgent" | "/important" if rest:
                urgency = Urgency.URGENT if command == "/urgent" else Urgency.IMPORTANT
                self._last = await client.send(self._channel, rest, urgency)
            case "/ack":
                await self._acknowledge()
            case "/recommend" | "/read-back" if rest:
                await self._advise(command, rest)
            case "/check-in" | "/duress":
                send = client.check_in if command == "/check-in" else client.duress
                self._last = await send(self._channel)
            case "/who":
                await self._who()
            case "/status" if rest:
                await self._status(rest)
            case "/attach" | "/files" | "/save" if self._files is not None:
                self._files.carry_out(command, rest)
            case "/history":
                count = int(rest) if rest.isdecimal() and len(rest) < 5 else HISTORY
                for event in client.history(self._channel, limit=count):
                    line = line_of(event, self._live)
                    if line is not None:
                        show(self._screen, Line(line.text, "quiet"))
            case "/waiting":
                for item in client.waiting(self._channel):
                    show(self._screen, Line(f"{short(item.draft.id)} not sent yet", "quiet"))
            case _ if command.startswith("/"):
                self._help(command)
            case _:
                self._last = await client.send(self._channel, text)
        return True

    def _help(self, command: str) -> None:
        """The commands; a mistyped one was meant for somebody, who did not get it."""
        if command not in _COMMANDS:
            told = f"Not sent: there is no {command}. Arrow up brings the line back."
            show(self._screen, Line(told, "loud"))
        for line in HELP.splitlines():
            show(self._screen, Line(line, "quiet"))

    async def _acknowledge(self) -> None:
        if not self._pressing:
            show(self._screen, Line("Nothing waits to be acknowledged.", "quiet"))
        for message, event in list(self._pressing.items()):
            if _is_recommendation(event):
                show(self._screen, Line("A recommendation is read back: /read-back TEXT", "warn"))
                continue
            await self._live.client.acknowledge(self._channel, message)
            self._pressing.pop(message, None)

    async def _advise(self, command: str, text: str) -> None:
        if command == "/recommend":
            self._last = await self._live.client.recommend(self._channel, text)
            return
        given = [r_ for r_ in self._reports.values() if _is_recommendation(r_)]
        if not given:
            show(self._screen, Line("Nothing was recommended here.", "warn"))
            return
        newest = max(given, key=lambda event: event.offset)
        self._pressing.pop(newest.id, None)
        self._last = await self._live.client.read_back(self._channel, newest.id, text)

    async def _who(self) -> None:
        client = self._live.client
        online: frozenset[bytes] = frozenset()
        as_of = "presence unknown: no live link"
        with suppress(LeesideError, TimeoutError):
            presence = await client.presence(self._channel)
            online = frozenset(presence.devices)
            as_of = f"{age(presence.as_of_ms, self._now_ms())} ago" + (
                ", absence proves nothing" if presence.stale else ""
            )
        show(self._screen, Line(f"Can read this channel ({as_of}):", "quiet"))
        shown = [
            (device not in online, self._live.who(device, None)) for device in client.readers(self._channel)
        ]
        for away, who in sorted(shown):
            show(self._screen, Line(f"  {'○' if away else '●'} {who}"))

    async def _status(self, text: str) -> None:
        if self._info.subject is None or self._info.purpose.value != "unit":
            show(self._screen, Line("Status belongs to a unit's channel: leeside status set", "warn"))
            return
        words = text.split(" ", 2)
        primary = word(words[0], PrimaryStatus)
        secondary = word(words[1], SecondaryStatus) if len(words) > 1 else None
        note = words[2] if len(words) > 2 else ""
        unit = UnitId(bytes.fromhex(self._info.subject))
        self._last = await self._live.client.set_status(self._channel, unit, primary, secondary, note=note)


def _is_recommendation(event: e.Message | e.Report) -> bool:
    return isinstance(event, e.Report) and isinstance(event.content, Recommendation)


def word(text: str, kind: type[_Word]) -> _Word:
    """A status by its name, in any case."""
    for item in kind:
        if item.value.casefold() == text.casefold():
            return item
    raise CommandError(f"{text} is none of: {', '.join(item.value for item in kind)}.", Exit.USAGE)
