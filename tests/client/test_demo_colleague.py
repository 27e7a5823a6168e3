"""Dr Nair of the demo: who watches it is told when something keeps her away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from leeside.api import ApiError
from leeside.client import Leeside
from leeside.demo.oncall import Colleague
from leeside.errors import Offline
from leeside.events import Event, Ring
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ConsultId
from leeside_protocol.words import ConsultState
from tests.client.consult_double import consult
from tests.client.virtual_time import play

TOLD = "   [consult]  Dr Nair could not come, or stay:"
CONSULT = consult("07" * 16, "07" * 17, state=ConsultState.PAGING)


class Psychiatrist:
    """One who is rung for a consult, and whom something keeps from accepting it."""

    def __init__(self, hinders: Exception, then: ConsultState) -> None:
        self.known: dict[ConsultId, o.Consult] = {ConsultId(bytes.fromhex(CONSULT.id)): CONSULT}
        self.consults = self
        self._hinders = hinders
        self._then = then

    async def accept(self, key: ConsultId) -> None:
        self.known[key] = consult(CONSULT.id, CONSULT.channel, state=self._then)
        raise self._hinders

    async def follow(self) -> AsyncIterator[Event]:
        yield Ring(CONSULT, 1)


@pytest.mark.parametrize(
    ("hinders", "then", "told"),
    [
        (Offline("no link"), ConsultState.PAGING, [f"{TOLD} no link"]),
        (Offline("no link"), ConsultState.ACCEPTED, [f"{TOLD} no link"]),
        (ApiError(WireError.ALREADY_ACCEPTED, "", 0), ConsultState.PAGING, []),
        (ApiError(WireError.CONFLICT, "", 0), ConsultState.CANCELLED, []),
    ],
    ids=["she cannot accept", "it breaks off", "somebody else was first", "it was cancelled"],
)
def test_what_keeps_her_away_is_told(hinders: Exception, then: ConsultState, told: list[str]) -> None:
    said: list[str] = []

    def tell(line: str, _fields: dict[str, object]) -> None:
        said.append(line)

    priya = cast("Leeside", Psychiatrist(hinders, then))
    colleague = Colleague(priya, cast("Leeside", SimpleNamespace()), str, tell, "http://127.0.0.1")

    async def story() -> None:
        async with asyncio.timeout(60):
            await colleague._answer()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    play(story())
    assert said == told
