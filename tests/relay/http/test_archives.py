"""Archives of ended incidents over HTTP: taken from members, once, and read by the custodian."""

import os
import random

import msgspec
import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.records import RecordsPrivateKey, make_archive, open_archive
from leeside_protocol.sealing.public.archive import Archive
from leeside_protocol.words import ChannelPurpose, IncidentState, Role
from tests.relay.http.world import Agency, Person, Refusal, channel_post, signed_object


class Ended:
    """An incident of two people with a records key; `close` ends it."""

    def __init__(self, agency: Agency) -> None:
        self.agency = agency
        self.key = RecordsPrivateKey.create(os.urandom)
        self.sealed: dict[bytes, SealedChannel] = {}

    async def open(self) -> None:
        agency = self.agency
        now_ms = agency.city.clock.now_ms()
        entry = self.key.entry(
            compartments=0b11111, class_mask=0b0010, not_before_ms=now_ms - 1, not_after_ms=now_ms + 10**9
        )
        await agency.post(entry, agency.authority)
        self.deniz = await agency.join(Role.DISPATCHER)
        self.ana = await agency.join(Role.RESPONDER)
        self.incident = os.urandom(16)
        made = agency.genesis(self.deniz, self.ana, incident=self.incident, records=(self.key.records_id,))
        post = channel_post(ChannelPurpose.INCIDENT, made, self.incident)
        await self.deniz.ask("open_incident", r.IncidentPost(self.incident, 2, (), post))
        self.id: ChannelId = made.commit.channel_id
        for person in (self.deniz, self.ana):
            sealed = SealedChannel(self.id, person.id)
            delivery = Delivery(made.box_for(person.id), made.box_list)
            sealed.process_commit(
                made.commit.signed, delivery, person.keys, {agency.id: agency.directory}, now_ms=now_ms
            )
            self.sealed[person.id] = sealed

    async def close(self) -> None:
        row = await self.deniz.ask("incident", id=self.incident.hex())
        change = r.IncidentChange(row.revision, state=IncidentState.CLOSED)
        await self.deniz.ask("change_incident", change, id=self.incident.hex())

    def archive(self, person: Person) -> Archive:
        made = make_archive(
            self.sealed[person.id],
            person.keys,
            self.key.records_id,
            {self.agency.id: self.agency.directory},
            now_ms=self.agency.city.clock.now_ms(),
            random=os.urandom,
        )
        assert made is not None
        return made

    async def refusal(self, person: Person, archive: Archive) -> r.ErrorAnswer:
        with pytest.raises(Refusal) as refused:
            await person.ask("post_archive", archive_post(archive), id=self.id.hex())
        return refused.value.answer


def archive_post(archive: Archive) -> r.ArchivePost:
    return r.ArchivePost(signed_object(archive.signed), archive.suite, archive.key_box, archive.wrapped)


async def test_each_member_archives_once_and_the_custodian_reads_it(agency: Agency) -> None:
    ended = Ended(agency)
    await ended.open()
    await ended.close()
    first = ended.archive(ended.deniz)
    for archive in (first, first, ended.archive(ended.deniz)):
        await ended.deniz.ask("post_archive", archive_post(archive), id=ended.id.hex())
    await ended.ana.ask("post_archive", archive_post(ended.archive(ended.ana)), id=ended.id.hex())
    officer = await agency.join(Role.RECORDS_OFFICER)
    page = await officer.ask("log", address=address(ChannelKind.GRANTS, ended.id).hex())
    assert [entry.device for entry in page.entries] == [ended.deniz.id, ended.ana.id]
    assert page.entries[0].payload == first.encode()
    line = ended.sealed[ended.ana.id].line
    opened = open_archive(ended.key, first, line, {agency.id: agency.directory})
    assert set(opened) == {0}
    supervisor = await agency.join(Role.SUPERVISOR)
    events = (await supervisor.ask("security_events", query={"limit": 500})).items
    assert [(e.actor, e.subject) for e in events if e.event == "archived"] == [
        (person.id.hex(), ended.id.hex()) for person in (ended.deniz, ended.ana)
    ]


async def test_what_is_in_service_is_not_archived(agency: Agency) -> None:
    ended = Ended(agency)
    await ended.open()
    assert (await ended.refusal(ended.deniz, ended.archive(ended.deniz))).number == WireError.FORBIDDEN


async def test_an_archive_by_another_or_changed_is_refused(agency: Agency) -> None:
    ended = Ended(agency)
    await ended.open()
    await ended.close()
    archive = ended.archive(ended.deniz)
    outsider = await agency.join(Role.DISPATCHER)
    assert (await ended.refusal(outsider, archive)).number == WireError.NOT_FOUND
    assert (await ended.refusal(ended.ana, archive)).number == WireError.FORBIDDEN
    changed = msgspec.msgpack.encode(archive_post(archive))
    assert ended.deniz.tokens is not None
    rng = random.Random(7)
    for _ in range(60):
        data = bytearray(changed)
        at = rng.randrange(len(data) - 1)
        # Nobody but the custodian can tell whether the sealed key is right.
        if archive.key_box in bytes(data[:at] + data[at + 1 :]):
            data[at] ^= rng.randrange(1, 256)
            response = await agency.city.raw(
                "post_archive", body=bytes(data), token=ended.deniz.tokens.token, id=ended.id.hex()
            )
            assert 400 <= response.status_code < 500, (at, response.content)
