"""Figures over HTTP: for supervisors, of one agency, from what its consults' rows say."""

from __future__ import annotations

import csv
import io
import os

import pytest
from msgspec.structs import replace

from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.words import ConsultState, Role
from leeside_server.core.rows import create
from leeside_server.core.writes import Item, Part, Stored
from leeside_server.relay.http import figures
from tests.core.oncall_world import OnCall
from tests.relay.http.world import Agency, Person, Refusal

ROW = OnCall().row
DAY_MS = 86_400_000


async def keep(agency: Agency, count: int, asked_ms: int, accept_s: int = 20) -> None:
    """So many consults that were accepted and are over."""
    row = replace(
        ROW,
        requested_ms=asked_ms,
        paged_ms=asked_ms,
        answered_ms=asked_ms + accept_s * 1000,
        state=ConsultState.ENDED,
        deepest=0,
    )
    parts: tuple[Part, ...] = tuple(create(os.urandom(16), row) for _ in range(count))
    (outcome,) = await agency.city.node.write([Item(agency.id, agency.city.clock.now_ms(), parts)])
    assert isinstance(outcome, Stored)


def window(agency: Agency) -> dict[str, str]:
    now_ms = agency.city.clock.now_ms()
    return {"from_ms": str(now_ms - DAY_MS), "until_ms": str(now_ms), "zone": "America/New_York"}


async def refusal(who: Person, query: dict[str, str], name: str = "figures") -> WireError:
    with pytest.raises(Refusal) as refused:
        await who.ask(name, query=query)
    return refused.value.code


async def test_a_supervisor_reads_how_long_consults_of_a_window_waited(agency: Agency) -> None:
    sofia = await agency.join(Role.SUPERVISOR)
    now_ms = agency.city.clock.now_ms()
    await keep(agency, 7, now_ms - 1_000)
    await keep(agency, 9, now_ms - 2 * DAY_MS, accept_s=90)
    found: o.Figures = await sofia.ask("figures", query=window(agency))
    assert (found.all.consults, found.all.to_accept_p50_ms, found.all.unanswered) == (7, 20_000, 0.0)
    assert sum(cell.consults or 0 for cell in found.by_hour) == 7
    everything: o.Figures = await sofia.ask("figures", query={})
    assert (everything.all.consults, everything.zone) == (16, "UTC")


async def test_the_same_as_csv(agency: Agency) -> None:
    sofia = await agency.join(Role.SUPERVISOR)
    await keep(agency, 6, agency.city.clock.now_ms() - 1_000)
    data = await sofia.ask("figures_csv", query=window(agency))
    lines = list(csv.DictReader(io.StringIO(data.decode())))
    assert len(lines) == 1 + 24 + 7
    assert (lines[0]["cut"], lines[0]["consults"], lines[0]["to_accept_p50_ms"]) == ("all", "6", "20000")


async def test_more_than_one_page_of_consults_is_counted_and_too_many_are_refused(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    sofia = await agency.join(Role.SUPERVISOR)
    now_ms = agency.city.clock.now_ms()
    await keep(agency, PAGE_ENTRIES, now_ms - 1_000)
    await keep(agency, 1, now_ms - 1_000)
    found: o.Figures = await sofia.ask("figures", query=window(agency))
    assert found.all.consults == PAGE_ENTRIES + 1
    monkeypatch.setattr(figures, "SCANNED", PAGE_ENTRIES)
    assert await refusal(sofia, window(agency)) is WireError.TOO_LARGE


@pytest.mark.parametrize("name", ["figures", "figures_csv"])
async def test_nobody_else_reads_them(agency: Agency, name: str) -> None:
    for role in (Role.RESPONDER, Role.DISPATCHER, Role.PSYCHIATRIST, Role.RECORDS_OFFICER):
        assert await refusal(await agency.join(role), window(agency), name) is WireError.FORBIDDEN
    assert await refusal(agency.admin, window(agency), name) is WireError.FORBIDDEN


@pytest.mark.parametrize(
    "wrong", [{"zone": "Mars/Olympus"}, {"from_ms": "5"}, {"until_ms": "946684800000"}, {"from_ms": "now"}]
)
async def test_a_window_or_a_zone_that_is_none_is_invalid(agency: Agency, wrong: dict[str, str]) -> None:
    sofia = await agency.join(Role.SUPERVISOR)
    assert await refusal(sofia, window(agency) | wrong) is WireError.INVALID
