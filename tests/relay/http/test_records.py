"""Legal hold and shredding over HTTP: who may, what stays, what goes for good, and what is left after a crash."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelKind, StateKind, address, state_key
from leeside_protocol.words import HoldReason, IncidentState, Role, ShredReason
from leeside_server.core.incidents import IncidentRow
from leeside_server.core.records import RecordsRow
from leeside_server.core.rows import KINDS, read
from leeside_server.core.writes import AuditRow, Item, LogPage, Outcome
from leeside_server.ports import StoreUnavailable
from leeside_server.relay.http import HttpSettings
from leeside_server.relay.retention import Retention, RetentionSettings
from tests.relay.http.test_archives import Ended, archive_post
from tests.relay.http.world import Agency, City, Person, Refusal
from tests.relay.http.world import city as open_city
from tests.relay.test_retention import put

DAYS = 30
DAY_S = 86_400
ORDER = r.HoldPost(HoldReason.COURT_ORDER)
SUIT = r.HoldPost(HoldReason.LITIGATION)
CALLS = 10
"""What shredding such an incident asks of the store and the blobs."""
SHRED = r.ShredPost(ShredReason.RETENTION_OVER)


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    """A server that keeps ended incidents for thirty days."""
    async with open_city(tmp_path, HttpSettings(incident_days=DAYS)) as opened:
        yield opened


@pytest_asyncio.fixture
async def agency(city: City) -> Agency:
    return await city.agency()


class Story(Ended):
    """An incident with a message, a status, a position, an attachment, two archives, and a records officer."""

    rolf: Person

    @property
    def number(self) -> str:
        return self.incident.hex()

    async def play(self, *, closed: bool = True) -> "Story":
        agency = self.agency
        await self.open()
        self.rolf = await agency.join(Role.RECORDS_OFFICER)
        await put(agency, self.id, self.ana, b"a message")
        await put(agency, self.id, self.ana, b"a place", state_key(StateKind.POSITION, self.ana.id))
        await put(agency, self.id, self.ana, b"a status", state_key(StateKind.STATUS, bytes(16)))
        self.blob = (await self.ana.ask("create_blob", r.NewBlob(4), id=self.id.hex())).id
        await self.ana.ask("put_chunk", b"blob", id=self.blob, index=0)
        if closed:
            await self.end()
        return self

    async def end(self) -> None:
        await self.close()
        for person in (self.deniz, self.ana):
            await person.ask("post_archive", archive_post(self.archive(person)), id=self.id.hex())

    def retention(self) -> Retention:
        return Retention(self.agency.city.node, RetentionSettings(incident_days=DAYS, standing_days=DAYS))

    async def days_pass(self, days: int) -> None:
        self.agency.city.clock.advance(days * DAY_S)
        for person in (self.rolf, self.ana, self.deniz):
            await person.sign_in()

    async def ask(self, route: str, body: object = None) -> r.RecordsState:
        answer: r.RecordsState = await self.rolf.ask(route, body, id=self.number)
        return answer

    async def refused(self, route: str, body: object, person: Person | None = None) -> r.ErrorAnswer:
        with pytest.raises(Refusal) as refused:
            await (person or self.rolf).ask(route, body, id=self.number)
        return refused.value.answer

    async def log(self, kind: ChannelKind) -> LogPage:
        return await self.agency.city.node.store.read(self.agency.id, address(kind, self.id), 0, 500, 1 << 20)

    async def content(self) -> list[bytes]:
        """What is left to read of the content log."""
        return [entry.payload for entry in (await self.log(ChannelKind.CONTENT)).entries if entry.payload]

    async def sealed_keys(self) -> list[bytes]:
        return [entry.payload for entry in (await self.log(ChannelKind.GRANTS)).entries if entry.payload]

    async def boxes(self) -> int:
        store = self.agency.city.node.store
        found = 0
        for recipient in (self.ana.id, self.deniz.id, self.key.records_id):
            found += sum(
                box is not None for _, box, _ in await store.boxes(self.agency.id, self.id, recipient, 0, 99)
            )
        return found

    async def events(self) -> list[AuditRow]:
        rows = await self.agency.city.node.store.audits(self.agency.id, 0, 500)
        return [row for row in rows if row.subject == self.incident and row.event.startswith("records_")]

    async def everything_stands(self) -> bool:
        return (
            {b"a message", b"a status"} <= set(await self.content())
            and len(await self.sealed_keys()) == 2
            and await self.boxes() == 3
            and bool(self.agency.city.blobs.chunks)
        )


@pytest.mark.parametrize(
    "role", [role for role in Role if role not in {Role.RECORDS_OFFICER, Role.ADMIN, Role.SUPERVISOR}]
)
async def test_nobody_else_holds_releases_shreds_or_reads(agency: Agency, role: Role) -> None:
    story = await Story(agency).play()
    other = await agency.join(role)
    for route, body in (("hold_records", ORDER), ("release_records", ORDER), ("shred_records", SHRED)):
        assert (await story.refused(route, body, other)).number == WireError.FORBIDDEN
    for route in ("incident_records", "records"):
        assert (await story.refused(route, None, other)).number == WireError.FORBIDDEN
    assert await story.events() == []


async def test_another_agencys_officer_finds_no_such_incident(agency: Agency) -> None:
    story = await Story(agency).play()
    other = await (await agency.city.agency()).join(Role.RECORDS_OFFICER)
    for route, body in (("hold_records", ORDER), ("release_records", ORDER), ("shred_records", SHRED)):
        assert (await story.refused(route, body, other)).number == WireError.NOT_FOUND
    assert (await other.ask("records")).items == ()


async def test_on_hold_nothing_goes_and_after_the_last_release_retention_takes_its_course(
    agency: Agency,
) -> None:
    story = await Story(agency).play()
    retention = story.retention()
    await retention.sweep()
    await story.ask("hold_records", ORDER)
    await story.ask("hold_records", SUIT)
    state = await story.ask("hold_records", ORDER)
    assert [hold.reason for hold in state.holds] == ["court_order", "litigation"]
    assert state.holds[0].device == story.rolf.id.hex()
    await story.days_pass(2 * DAYS)
    await retention.sweep()
    assert await story.everything_stands()
    assert (await story.refused("shred_records", SHRED)).detail == "this incident is on legal hold"
    await story.ask("release_records", ORDER)
    await retention.sweep()
    assert await story.everything_stands()
    state = await story.ask("release_records", SUIT)
    assert (state.holds, state.emptied_ms) == ((), 0)
    assert (await story.ask("release_records", SUIT)).holds == ()
    await retention.sweep()
    assert (await story.content(), await story.boxes(), agency.city.blobs.chunks) == ([], 0, {})
    assert len(await story.sealed_keys()) == 2
    assert (await story.ask("incident_records")).emptied_ms == agency.city.clock.now_ms()
    assert [(e.event, e.outcome, e.actor) for e in await story.events()] == [
        ("records_held", "court_order", story.rolf.id),
        ("records_held", "litigation", story.rolf.id),
        ("records_released", "court_order", story.rolf.id),
        ("records_released", "litigation", story.rolf.id),
    ]


async def test_a_hold_on_an_open_incident_keeps_its_last_positions_when_it_closes(agency: Agency) -> None:
    story = await Story(agency).play(closed=False)
    retention = story.retention()
    await story.ask("hold_records", ORDER)
    await story.end()
    await retention.sweep()
    await story.days_pass(2 * DAYS)
    await retention.sweep()
    assert b"a place" in await story.content()
    found = await agency.city.node.store.get(agency.id, KINDS[IncidentRow], story.incident)
    assert found is not None
    # A node of the version before takes what has a deadline.
    assert found.due_ms is None
    await story.ask("release_records", ORDER)
    await retention.sweep()
    assert b"a place" not in await story.content()


async def test_on_hold_an_upload_that_was_not_finished_stays(agency: Agency) -> None:
    story = await Story(agency).play(closed=False)
    half = await story.ana.ask("create_blob", r.NewBlob(70_000), id=story.id.hex())
    await story.ana.ask("put_chunk", bytes(65_552), id=half.id, index=0)
    await story.ask("hold_records", ORDER)
    await story.days_pass(1)
    await story.retention().sweep()
    assert half.id in {blob.hex() for _, blob, _ in agency.city.blobs.chunks}
    await story.ask("release_records", ORDER)
    await story.days_pass(1)
    await story.retention().sweep()
    assert half.id not in {blob.hex() for _, blob, _ in agency.city.blobs.chunks}


@pytest.mark.parametrize("ended", [False, True], ids=["positions", "content"])
async def test_a_hold_that_comes_between_retentions_reading_and_writing_wins(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """What was acknowledged to the officer holds, although retention had seen no hold yet."""
    story = await Story(agency).play()
    retention = story.retention()
    if ended:
        await retention.sweep()
        await story.days_pass(2 * DAYS)
    before = await story.content()
    write = agency.city.node.write
    waiting = [story]

    async def slow(items: Sequence[Item]) -> Sequence[Outcome]:
        while waiting:
            await waiting.pop().ask("hold_records", ORDER)
        return await write(items)

    monkeypatch.setattr(agency.city.node, "write", slow)
    await retention.sweep()
    assert not waiting
    assert await story.content() == before
    assert await story.everything_stands()
    await retention.sweep()
    assert await story.content() == before


async def test_shredding_takes_everything_that_opens_the_incident_and_leaves_what_proves_it(
    agency: Agency,
) -> None:
    story = await Story(agency).play()
    content = (await story.log(ChannelKind.CONTENT)).entries
    archived = [entry.hash for entry in (await story.log(ChannelKind.GRANTS)).entries]
    await story.days_pass(DAYS)
    # Retention did not come round yet: shredding takes its part over.
    before = await story.ask("incident_records")
    assert before.kept_until_ms <= agency.city.clock.now_ms()
    state = await story.ask("shred_records", SHRED)
    assert state.shredded_ms == state.shred_ordered_ms == agency.city.clock.now_ms()
    assert (await story.content(), await story.sealed_keys(), await story.boxes()) == ([], [], 0)
    assert not agency.city.blobs.chunks
    grants = (await story.log(ChannelKind.GRANTS)).entries
    assert [(entry.payload, entry.hash) for entry in grants] == [(None, h) for h in archived]
    log = [entry.hash for entry in (await story.log(ChannelKind.CONTENT)).entries if entry.lane == 1]
    assert log == [entry.hash for entry in content if entry.lane == 1]
    assert all(entry.payload for entry in (await story.log(ChannelKind.EPOCHS)).entries)
    assert await story.ask("shred_records", SHRED) == state
    await story.retention().sweep()
    assert await story.ask("incident_records") == state
    assert [(e.event, e.outcome, e.actor) for e in await story.events()] == [
        ("records_shred_ordered", "retention_over", story.rolf.id),
        ("records_shredded", "done", story.rolf.id),
    ]
    assert (await story.refused("hold_records", ORDER)).detail == "this incident's records were shredded"


async def test_another_incident_is_left_as_it_is(agency: Agency) -> None:
    one = await Story(agency).play()
    other = await Story(agency).play(closed=False)
    await one.days_pass(DAYS)
    await other.days_pass(0)
    await one.ask("shred_records", SHRED)
    assert {b"a message", b"a status", b"a place"} <= set(await other.content())
    assert await other.boxes() == 3
    assert {blob.hex() for _, blob, _ in agency.city.blobs.chunks} == {other.blob}


async def test_before_its_time_shredding_is_refused_and_nothing_is_noted(agency: Agency) -> None:
    story = await Story(agency).play(closed=False)
    assert (await story.refused("shred_records", SHRED)).detail == "this incident goes on"
    await story.end()
    await story.days_pass(DAYS - 1)
    assert (await story.refused("shred_records", SHRED)).number == WireError.FORBIDDEN
    assert await story.everything_stands()
    assert await story.events() == []


async def test_what_arrives_after_the_order_is_not_taken_or_goes_too(agency: Agency) -> None:
    story = await Story(agency).play(closed=False)
    await story.close()
    await story.ana.ask("post_archive", archive_post(story.archive(story.ana)), id=story.id.hex())
    late = story.archive(story.deniz)
    await story.days_pass(DAYS)
    await story.ask("shred_records", SHRED)
    with pytest.raises(Refusal) as refused:
        await story.deniz.ask("post_archive", archive_post(late), id=story.id.hex())
    assert refused.value.answer.number == WireError.FORBIDDEN
    # One that another node had checked before the order and stored after it.
    grants = address(ChannelKind.GRANTS, story.id)
    await put(agency, story.id, story.deniz, late.encode(), log=grants)
    assert len(await story.sealed_keys()) == 1
    agency.city.clock.advance(3_600)
    await story.retention().sweep()
    assert await story.sealed_keys() == []
    assert len([e for e in await story.events() if e.event == "records_shredded"]) == 1


@pytest.mark.parametrize("calls", range(CALLS))
async def test_a_node_that_dies_in_the_middle_leaves_the_rest_to_the_next_sweep(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Whatever call to the store or the blobs is the last: the order stands, and is carried out, once."""
    story = await Story(agency).play()
    await story.days_pass(DAYS)
    node = agency.city.node
    left = [calls]

    def dying(real: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*args: object) -> object:
            if not left[0]:
                raise StoreUnavailable
            left[0] -= 1
            return await real(*args)

        return call

    with monkeypatch.context() as broken:
        for name in ("prune", "forget_boxes", "apply"):
            broken.setattr(node.store, name, dying(getattr(node.store, name)))
        broken.setattr(node.blobs, "delete", dying(node.blobs.delete))
        with contextlib.suppress(Refusal):
            await story.ask("shred_records", SHRED)
    assert not left[0], "it was done before the node died"
    found = await node.store.get(agency.id, KINDS[RecordsRow], story.incident)
    if calls == 0:
        assert found is None
        return
    await story.retention().sweep()
    assert (await story.content(), await story.sealed_keys(), await story.boxes()) == ([], [], 0)
    assert not agency.city.blobs.chunks
    assert [e.event for e in await story.events()] == ["records_shred_ordered", "records_shredded"]
    assert found is not None
    assert read(RecordsRow, found).row.shred_by == story.rolf.id


async def test_the_list_tells_of_every_incident(agency: Agency) -> None:
    story = await Story(agency).play()
    other = await Story(agency).play(closed=False)
    await story.ask("hold_records", ORDER)
    await other.rolf.sign_in()
    page = await other.rolf.ask("records", query={"limit": 1})
    rest = await other.rolf.ask("records", query={"after": page.next})
    states = {item.incident: item for item in (*page.items, *rest.items)}
    assert {story.number, other.number} == set(states)
    assert [hold.reason for hold in states[story.number].holds] == ["court_order"]
    assert states[story.number].kept_until_ms == states[story.number].closed_ms + DAYS * DAY_S * 1000
    assert (states[other.number].state, states[other.number].kept_until_ms) == (IncidentState.OPEN, 0)


async def test_a_reason_that_is_not_of_the_list_is_refused(agency: Agency) -> None:
    """No free text: what stands in a security event is read by more people than the officer."""
    story = await Story(agency).play()
    assert story.rolf.tokens is not None
    for route, reason in (("hold_records", "Tom asked"), ("shred_records", "his mother called")):
        response = await agency.city.raw(
            route,
            body=msgspec.json.encode({"reason": reason}),
            token=story.rolf.tokens.token,
            id=story.number,
        )
        assert response.status_code == 400
        assert reason not in response.text
