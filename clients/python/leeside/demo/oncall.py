"""Who is on call in the demo, and what happens to a consult there.

A rota that Dr Priya Nair holds, and a ladder of short steps: the rota, the backup (Dr Nair), and behind them, as everywhere,
the supervisors. Whoever comes by the psychiatrist's link takes the rota over: it rings in their browser, and climbs to Dr Nair
when they do not answer. She comes by herself, at once while nobody has come by that link, and goes into the call, so that a
responder alone sees a consult through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from leeside import events as e
from leeside.api import Api, ApiError, every
from leeside.client import Leeside
from leeside.demo import call
from leeside.errors import LeesideError
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ConsultId
from leeside_protocol.words import ConsultEvent, ConsultState

ROTA: Final = "Psychiatrist on call"
LADDER: Final = "Psychiatry"
STEP_S: Final = 20
"""Shorter than anybody should have at night: a demo is watched."""
ANSWER_S: Final = 6.0
LATE_S: Final = 12.0
"""How long she lets it ring when it was somebody else's before: long enough to see it climb."""
PHONE: Final = o.Phone("County crisis line (invented)", "+15555550100")
DAY_MS: Final = 86_400_000
ADVICE: Final = "Restart sertraline tomorrow at the clinic, not tonight. The sister stays until then."

Tell = Callable[[str, dict[str, object]], None]


async def stand(office: Api, priya: str) -> str:
    """The rota and the ladder, made where they are missing; gives the rota's id. `priya`: the member who holds it.

    `office` is signed in as the administrator. Raises `ApiError`.
    """
    rotas: list[o.Rota] = await every(office.rotas)
    rota = next((one for one in rotas if one.label == ROTA and not one.ended_ms), None)
    if rota is None:
        day = o.Rotation(
            id="1" * 32,
            zone="UTC",
            start="2026-01-01T00:00",
            rule="FREQ=DAILY",
            length_min=1_440,
            members=(priya,),
        )
        rota = await office.create_rota(o.NewRota(ROTA, (day,)))
    ladders: list[o.Ladder] = await every(office.ladders)
    if not any(one.label == LADDER and not one.ended_ms for one in ladders):
        steps = (
            o.LadderStep(rotas=(rota.id,), delay_s=STEP_S),
            o.LadderStep(members=(priya,), delay_s=STEP_S),
        )
        await office.create_ladder(o.NewLadder(LADDER, steps, (PHONE,)))
    return rota.id


async def take_over(office: Api, rota: str, member: str, now_ms: int) -> None:
    """From now on this member holds the rota, for a day. Raises `ApiError`."""
    found = await office.rota(rota)
    cover = o.RotaOverride(id=member, from_ms=now_ms - 60_000, until_ms=now_ms + DAY_MS, member=member)
    kept = tuple(one for one in found.overrides if one.member != member and one.until_ms > now_ms)
    await office.change_rota(rota, o.RotaChange(found.revision, overrides=(*kept, cover)))


@dataclass(slots=True)
class Colleague:
    """Dr Nair, who comes when it is her turn first; and who tells what becomes of every consult."""

    priya: Leeside
    supervisor: Leeside
    shown: Callable[[str], str]
    """The shown name of a member, by their id."""
    tell: Tell
    public: str
    """Where browsers find the server."""

    async def attend(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            group.create_task(self._answer())

    async def _tell(self) -> None:
        """Every line of what is tried, as the supervisor's device learns of it."""
        told: dict[str, int] = {}
        async for event in self.supervisor.follow():
            if isinstance(event, e.ConsultChange):
                consult = event.consult
                for line in consult.tried[told.get(consult.id, 0) :]:
                    self.tell(self._line(line), {"consult": consult.id, "tried": line.event})
                    if line.event == ConsultEvent.ACCEPTED and call.possible():
                        # The same page for both: whoever has the consult open goes there by a tap as well.
                        video = f"{self.public}/#/consult/{consult.id}/call"
                        self.tell(f"   [video]    {video}", {"consult": consult.id, "video_link": video})
                told[consult.id] = len(consult.tried)

    def _line(self, tried: o.Tried) -> str:
        who = "" if tried.member is None else f" {self.shown(tried.member)}"
        return f"   [consult]  {_WORDS.get(tried.event, tried.event)}{who}"

    async def _answer(self) -> None:
        begun: set[str] = set()
        async with asyncio.TaskGroup() as group:
            async for event in self.priya.follow():
                if isinstance(event, e.Ring) and event.consult.id not in begun:
                    begun.add(event.consult.id)
                    group.create_task(self._come(event.consult))

    async def _come(self, consult: o.Consult) -> None:
        """Accept, be there, recommend. Somebody else may have been first, or it was cancelled: then there is nothing to do.
        Whatever else keeps or drives her away is told: who watches would wait for her."""
        await asyncio.sleep(ANSWER_S if consult.step == 0 else LATE_S)
        key, channel = ConsultId(bytes.fromhex(consult.id)), ChannelId(bytes.fromhex(consult.channel))
        try:
            now = self.priya.consults.known.get(key)
            if now is None or now.state is not ConsultState.PAGING:
                return
            await self.priya.consults.accept(key)
            await self.priya.consults.join(key)
            calling = asyncio.ensure_future(call.sit(self.priya, key, self.tell))
            try:
                await self.priya.send(channel, "Priya Nair here. Tell me what you see.")
                await asyncio.sleep(ANSWER_S)
                await self.priya.recommend(channel, ADVICE)
                await calling
            finally:
                calling.cancel()
        except LeesideError as error:
            first = not (isinstance(error, ApiError) and error.code is WireError.ALREADY_ACCEPTED)
            now = self.priya.consults.known.get(key)
            if first and now is not None and now.state in _GOES_ON:
                self.tell(
                    f"   [consult]  Dr Nair could not come, or stay: {error}",
                    {"consult": consult.id, "kept_away": str(error)},
                )


_GOES_ON: Final = frozenset((ConsultState.PAGING, ConsultState.ACCEPTED, ConsultState.IN_SESSION))
_WORDS: Final[Mapping[str, str]] = {
    "paged": "paging",
    "unreachable": "cannot be reached:",
    "no_one_on_call": "nobody is on call for this step",
    "declined": "declined:",
    "timed_out": "no answer from",
    "held": "asked for five minutes:",
    "escalated": "escalated by",
    "accepted": "accepted by",
    "not_joined": "accepted and has not come:",
    "joined": "in the room:",
    "left": "left the room:",
    "rejoined": "back in the room:",
    "exhausted": "NOBODY ANSWERED",
    "alarmed": "alarm to the supervisors",
    "taken": "taken by",
    "cancelled": "cancelled by",
    "ended": "ended by",
    "released": "released by",
}
