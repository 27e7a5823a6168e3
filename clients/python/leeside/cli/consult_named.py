"""The consult that a person means by an id or its first digits."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from leeside.api import ApiError, every
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn
from leeside.cli.registry import Choice, choose
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.words import ConsultState

STATES: Final = {
    ConsultState.REQUESTED: "waits for a supervisor",
    ConsultState.PAGING: "somebody is being asked",
    ConsultState.ACCEPTED: "accepted",
    ConsultState.IN_SESSION: "in session",
    ConsultState.ENDED: "ended",
    ConsultState.CANCELLED: "cancelled",
    ConsultState.EXHAUSTED: "NOBODY CAME",
}

ConsultArgument = Annotated[str, typer.Argument(metavar="CONSULT", help="An id, or its first digits.")]


async def find_consult(desk: SignedIn, text: str) -> o.Consult:
    """The consult that a person means: one that goes on, or a whole id of any."""
    if len(text) == 2 * len(bytes(16)):
        try:
            return await desk.api.consult(text.lower())
        except ApiError as error:
            if error.code is not WireError.NOT_FOUND:
                raise
    active: list[o.Consult] = await every(lambda after: desk.api.consults("active", after))
    found: list[o.Consult] = [*active, *(await every(lambda after: desk.api.consults("ended", after)))]
    if not found:
        raise CommandError("No consult concerns you.", Exit.NOT_FOUND, "not_found")
    going_on = {consult.id for consult in active}
    choices = [Choice(bytes.fromhex(c.id), "", STATES[c.state], past=c.id not in going_on) for c in found]
    chosen = choose("consult", text, choices).id.hex()
    return next(consult for consult in found if consult.id == chosen)
