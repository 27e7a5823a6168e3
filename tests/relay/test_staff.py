"""The people of an agency: read once for all who ask at a moment, and anew once somebody came or went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from leeside_protocol.ids import AgencyId, MemberId
from leeside_protocol.words import Role
from leeside_server.core.identity import MemberRow
from leeside_server.core.rows import KINDS, create
from leeside_server.core.writes import Object, Save
from leeside_server.ports import Store, StoreUnavailable
from leeside_server.relay import staff as staff_module
from leeside_server.relay.staff import KEPT_MOST_S, Staff
from tests.support.clock import FakeClock

AGENCY = AgencyId(b"a" * 16)
ANA, BEN = MemberId(b"ana............."), MemberId(b"ben.............")


class Rows:
    """A store that holds members alone, and answers when it is let."""

    def __init__(self) -> None:
        self.members: dict[bytes, Save] = {}
        self.readings = 0
        self.open = asyncio.Event()
        self.open.set()

    def add(self, member: MemberId) -> Save:
        save = create(member, MemberRow((Role.RESPONDER,), 1))
        self.members[member] = save
        return save

    async def objects(
        self, agency: AgencyId, kind: str, parent: bytes | None, after: bytes, limit: int
    ) -> Sequence[Object]:
        if kind != KINDS[MemberRow]:
            return ()
        self.readings += 1
        found = [Object(kind, s.id, 1, s.body, b"", None) for s in self.members.values()]
        await self.open.wait()
        return found


@pytest.fixture
def rows() -> Rows:
    made = Rows()
    made.add(ANA)
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def staff(rows: Rows, clock: FakeClock) -> Staff:
    return Staff(cast("Store", cast("Any", rows)), clock)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_who_ask_at_once_cost_one_reading(staff: Staff, rows: Rows) -> None:
    found = await asyncio.gather(*(staff.of(AGENCY) for _ in range(50)))
    assert rows.readings == 1
    assert all(people.members.keys() == {ANA} for people in found)


async def test_it_is_read_again_after_a_while(staff: Staff, rows: Rows, clock: FakeClock) -> None:
    await staff.of(AGENCY)
    clock.advance(KEPT_MOST_S)
    await staff.of(AGENCY)
    assert rows.readings == 2


async def test_what_this_node_writes_is_seen_at_once_also_while_it_reads(staff: Staff, rows: Rows) -> None:
    rows.open.clear()
    early = asyncio.ensure_future(staff.of(AGENCY))
    await settle()
    staff.saved(AGENCY, rows.add(BEN))
    late = asyncio.ensure_future(staff.of(AGENCY))
    await settle()
    rows.open.set()
    await early
    assert (await late).members.keys() == {ANA, BEN}
    assert rows.readings == 2


async def test_whoever_gives_up_leaves_the_next_to_read(staff: Staff, rows: Rows) -> None:
    rows.open.clear()
    first, second = asyncio.ensure_future(staff.of(AGENCY)), asyncio.ensure_future(staff.of(AGENCY))
    await settle()
    first.cancel()
    await settle()
    rows.open.set()
    assert (await second).members.keys() == {ANA}


async def test_a_store_that_does_not_answer_is_unavailable_to_all_who_wait(
    staff: Staff, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff_module, "READ_TIMEOUT_S", 0.01)
    rows.open.clear()
    told = await asyncio.gather(*(staff.of(AGENCY) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [StoreUnavailable] * 3
    rows.open.set()
    assert (await staff.of(AGENCY)).members.keys() == {ANA}
