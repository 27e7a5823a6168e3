"""The drill: a call about a person in crisis, from the first word to the units being free again.

Everyone acts through a client of their own over real sockets. What is told is what the dispatcher's device received and
opened, and nothing else: if sealing or delivery broke, the drill would fall silent. Beside the story the units' people
move along their streets and share where they are, and whoever takes part from another terminal is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leeside import events as e
from leeside.bodies import Assignment, Fix, Incident
from leeside.client import Leeside, Sent
from leeside.demo.agency import CAST, UNITS, Agency
from leeside.errors import LeesideError
from leeside.events import Progress
from leeside_protocol.ids import ChannelId, IncidentId, MessageId
from leeside_protocol.words import Disposition, IncidentState, Mark, PrimaryStatus, SecondaryStatus, Urgency

LEADS: Final = ("ana", "eva")
"""Who speaks and shares for each unit."""
TRACKS: Final = (
    ((47.5621, 19.1234), (47.5627, 19.1242), (47.5634, 19.1251), (47.5640, 19.1263), (47.5644, 19.1278)),
    ((47.5702, 19.1101), (47.5697, 19.1109), (47.5690, 19.1114), (47.5684, 19.1122), (47.5677, 19.1127)),
)
"""Streets: latitude and longitude in degrees; walked to the end and back."""
PLACE: Final = (475_644_000, 191_278_000)
NARRATIVE: Final = "The sister called: he has not slept for days and speaks to nobody. No weapon seen by her."
PRIORITY: Final = 2
PACE_S: Final = 2.0
STAY_PAUSES: Final = 30
"""How many pauses long the unit stays on the scene."""
MOVE_S: Final = 2.0
WAIT_S: Final = 30.0
TOLD_MOVES: Final = 5
"""Every how manyth live position is told: all of them arrive."""


class DrillFailed(LeesideError):
    """Something that was said did not arrive; the text says what."""


Tell = Callable[[str, dict[str, object]], None]
"""Shows a line to a person, or the same as an object to a program."""


@dataclass(slots=True)
class Drill:
    """One cast, playing. `pace_s` is the pause between two lines of the story."""

    agency: Agency
    people: dict[str, Leeside]
    tell: Tell
    pace_s: float = PACE_S
    _own: set[MessageId] = field(default_factory=set[MessageId])
    _moves: int = 0

    async def play(self, *, once: bool) -> None:
        """Play the story, again and again unless `once`. Raises `DrillFailed` when something does not arrive."""
        background = [
            asyncio.ensure_future(work)
            for work in (self._show(), self._answer(), *(self._move(n) for n in range(len(UNITS))))
        ]
        try:
            story = asyncio.ensure_future(self._stories(once=once))
            background.append(story)
            done, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _stories(self, *, once: bool) -> None:
        while True:
            await self._story()
            if once:
                return
            await asyncio.sleep(5 * self.pace_s)

    # ---- the story

    async def _story(self) -> None:
        deniz, priya = self.people["deniz"], self.people["priya"]
        for number in range(len(UNITS)):
            await self._status(number, PrimaryStatus.AVAILABLE, SecondaryStatus.IN_SERVICE, Mark.NONE)
        await self._say("deniz", self.agency.unit_channel(1), "Crisis 9, please stay near the station.")
        devices = [self.people[name].device for name in ("ana", "ben", "priya", "sofia")]
        incident, channel = await deniz.openings.incident(
            devices,
            priority=PRIORITY,
            units=[self.agency.unit(0)],
            first="Person in crisis, Quay Street 4. The sister called.",
        )
        await self._known(channel, "ana", "ben", "priya", "sofia")
        await self._describe(incident, channel)
        await deniz.openings.move_incident(incident, IncidentState.ASSIGNED)
        await self._assign(channel)
        await self._urgent(channel)
        await self._ride(incident, channel)
        await self._say(
            "ana", channel, "He is calm and lets us in. Asks for someone who knows his medication."
        )
        await self._status(0, PrimaryStatus.NOT_AVAILABLE, SecondaryStatus.CONSULTING, Mark.NONE)
        question = await self._say(
            "ana", channel, "Sertraline stopped two weeks ago. Can he stay with the sister?"
        )
        priya.mark_read(channel, 2**40)
        await self._say(
            "priya", channel, "Yes, if she stays tonight. Restart tomorrow at the clinic, not by himself."
        )
        await self._reached(question, Progress.DELIVERED)
        await self._say(
            "ana", channel, "Read back: sister stays tonight, clinic tomorrow, no doses by himself."
        )
        # Long enough for a guest to look around, write, and see it all on the board and the map.
        await asyncio.sleep(STAY_PAUSES * self.pace_s)
        await self._say("ben", channel, "Scene is safe. Leaving with Ana.")
        await self._status(0, PrimaryStatus.AVAILABLE, SecondaryStatus.CLEARED, Mark.BACK_IN_SERVICE)
        await self._describe(incident, channel, Disposition.REMAINED_WITH_SUPPORT)
        await deniz.openings.move_incident(incident, IncidentState.CLOSED)
        self.tell(
            "   The incident is closed: its channel takes no more messages.", {"closed": incident.hex()}
        )

    async def _describe(
        self, incident: IncidentId, channel: ChannelId, disposition: Disposition = Disposition.NONE
    ) -> None:
        what = Incident(incident, "EDP", "Harbour", "Quay Street 4", PLACE, NARRATIVE, disposition)
        await self._reached(await self.people["deniz"].describe(channel, what), Progress.ACCEPTED)

    async def _assign(self, channel: ChannelId) -> None:
        deniz, unit = self.people["deniz"], self.agency.unit(0)
        await self._answered(channel, await deniz.assign(channel, unit, PRIORITY), "the assignment")
        await deniz.mark_timeline(channel, Mark.DISPATCHED, unit)

    async def _urgent(self, channel: ChannelId) -> None:
        sent = await self.people["deniz"].send(channel, "He may have a knife. Acknowledge.", Urgency.URGENT)
        await self._answered(channel, sent, "the urgent message")

    async def _answered(self, channel: ChannelId, sent: Sent, what: str) -> None:
        """What sounds at Ana's, until she acknowledges it."""
        self._own.add(sent.id)
        ana = self.people["ana"]
        await self._until(
            lambda: any(
                isinstance(x, e.Message | e.Report) and x.id == sent.id for x in ana.history(channel)
            ),
            what,
        )
        await self._pause()
        await ana.acknowledge(channel, sent.id)
        await self._reached(sent, Progress.ACKNOWLEDGED)

    async def _ride(self, incident: IncidentId, channel: ChannelId) -> None:
        for secondary, mark in (
            (SecondaryStatus.ACKNOWLEDGED_TRANSMISSION, Mark.ACKNOWLEDGED),
            (SecondaryStatus.EN_ROUTE, Mark.EN_ROUTE),
            (SecondaryStatus.ON_SCENE, Mark.ARRIVED),
        ):
            await self._status(0, PrimaryStatus.NOT_AVAILABLE, secondary, mark)
        await self.people["deniz"].openings.move_incident(incident, IncidentState.ON_SCENE)
        await self._say("ben", channel, "No knife seen. Two people in the kitchen.")

    # ---- its pieces

    async def _say(self, who: str, channel: ChannelId, text: str) -> Sent:
        """Say it, and wait until the dispatcher's device has it (the server, for the dispatcher's own)."""
        await self._pause()
        sent = await self.people[who].send(channel, text)
        self._own.add(sent.id)
        await self._reached(sent, Progress.ACCEPTED)
        deniz = self.people["deniz"]
        await self._until(
            lambda: any(isinstance(x, e.Message) and x.id == sent.id for x in deniz.history(channel)),
            f"what {who} said",
        )
        return sent

    async def _status(
        self, number: int, primary: PrimaryStatus, secondary: SecondaryStatus, mark: Mark
    ) -> None:
        await self._pause()
        channel, unit = self.agency.unit_channel(number), self.agency.unit(number)
        sent = await self.people[LEADS[number]].set_status(channel, unit, primary, secondary, mark=mark)
        await self._reached(sent, Progress.ACCEPTED)

    async def _reached(self, sent: Sent, progress: Progress) -> None:
        try:
            await sent.wait(progress, timeout_s=WAIT_S)
        except TimeoutError:
            raise DrillFailed(f"A message did not become {progress.value} within {WAIT_S:.0f} s.") from None

    async def _known(self, channel: ChannelId, *names: str) -> None:
        for name in names:
            client = self.people[name]
            await self._until(
                lambda c=client: (
                    any(i.id == channel.hex() for i in c.channels())  # type: ignore[misc]
                    and c.caught_up(channel)
                    and bool(c.readers(channel))
                ),
                f"the incident's channel at {name}",
            )

    async def _until(self, happened: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                # Clients tell their followers; this looks at several of them from outside.
                while not happened():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise DrillFailed(f"Not received within {WAIT_S:.0f} s: {what}.") from None

    async def _pause(self) -> None:
        await asyncio.sleep(self.pace_s)

    # ---- beside the story

    async def _move(self, number: int) -> None:
        client, channel = self.people[LEADS[number]], self.agency.unit_channel(number)
        track = TRACKS[number]
        client.start_sharing(channel, every_s=1)
        try:
            for lat, lon in itertools.cycle((*track, *track[-2:0:-1])):
                fix = Fix(round(lat * 1e7), round(lon * 1e7), 10, time.time_ns() // 1_000_000)
                await client.move(fix)
                await asyncio.sleep(MOVE_S)
        finally:
            client.stop_sharing(channel)

    async def _answer(self) -> None:
        """Whoever writes from another terminal is answered by the unit's lead."""
        feed = self.people["sofia"].follow()
        channels = [self.agency.unit_channel(n) for n in range(len(UNITS))]
        async for event in feed:
            if isinstance(event, e.Message) and event.channel in channels and event.id not in self._own:
                number = channels.index(event.channel)
                who = self.agency.shown(event.member).split()[
                    -2 if "Dr" in self.agency.shown(event.member) else 0
                ]
                sent = await self.people[LEADS[number]].send(
                    event.channel, f"Copy, {who}.", reply_to=event.id
                )
                self._own.add(sent.id)

    async def _show(self) -> None:
        """What the dispatcher's device received and opened."""
        async for event in self.people["deniz"].follow():
            line = self._line(event)
            if line:
                self.tell(line, {"event": type(event).__name__, "line": line})

    def _line(self, event: e.Event) -> str:
        match event:
            case e.Message():
                urgent = "URGENT " if event.urgency is Urgency.URGENT else ""
                return f"   {self._where(event.channel)}  {urgent}{self.agency.shown(event.member)}: {event.text}"
            case e.Report(content=Assignment()):
                return f"   {self._where(event.channel)}  assigned: {UNITS[0]}"
            case e.Acknowledgement():
                return f"   {self._where(event.channel)}  ✔ acknowledged by {self.agency.shown(event.member)}"
            case e.StatusChange():
                words = event.status.secondary or event.status.primary
                return f"   {self._where(event.channel)}  ◆ {words.value}"
            case e.PositionChange() if event.live and event.fix is not None:
                self._moves += 1
                if self._moves % TOLD_MOVES != 1:
                    return ""
                return f"   {self._where(event.channel)}  ◎ {event.fix.lat_e7 / 1e7:.4f}, {event.fix.lon_e7 / 1e7:.4f} (live)"
            case e.Alarm():
                return f"   ALARM {event.kind.value} ({event.code})"
            case _:
                return ""

    def _where(self, channel: ChannelId) -> str:
        for number, name in enumerate(UNITS):
            if channel == self.agency.unit_channel(number):
                return f"[{name}]"
        return "[incident]"


def taking_part(agency: Agency) -> list[str]:
    """What to type in another terminal."""
    home = f"LEESIDE_HOME={agency.root} LEESIDE_PASSPHRASE_FILE={agency.root / 'passphrase'}"
    # `./dev demo` runs this from a folder of its own that is on nobody's PATH.
    found = [] if shutil.which("leeside") else [f'export PATH="{Path(sys.executable).parent}:$PATH"']
    return [
        *found,
        f"export {home}",
        *(
            f'leeside chat "{UNITS[max(c.unit, 0)]}" --profile {c.name:6}  # {c.shown}, {c.role.value}'
            for c in CAST
            if c.name != "priya"
        ),
        "leeside watch --profile deniz              # the live board",
        "leeside chat agency --profile priya        # Dr Priya Nair, psychiatrist; also in each incident",
    ]
