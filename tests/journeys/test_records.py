"""The records custodian: reads what was kept, with a key that no server has, and never unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from leeside import authority as a
from leeside.client import Leeside
from leeside.keystore import Passphrase
from leeside_protocol.ids import AgencyId, ChannelId
from leeside_protocol.words import Discipline, IncidentState, Role
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.core.incidents import IncidentRow
from leeside_server.core.records import DAY_MS
from leeside_server.core.rows import KINDS, change, read
from leeside_server.core.writes import Item, Stored
from leeside_server.ports import Store
from tests.support.shell import Done, Shell
from tests.support.stage import Stage
from tests.support.town import CHEAP, PASSPHRASE, WAIT_S, Town, now_ms, open_town, settled, until

pytestmark = pytest.mark.slow


async def test_records_open_exports_an_incident_and_leaves_two_traces(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    key = tmp_path / "records.keys"
    a.store_key(key, Passphrase(PASSPHRASE, CHEAP), "records", await town.records_key())
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    rolf = await town.enrol("rolf", Role.RECORDS_OFFICER)
    async with deniz.open(stage.url(0)) as desk, ana.open(stage.url(1)) as phone:
        incident, channel = await desk.openings.incident([ana.device], first="person in crisis, Quay 4")
        await settled(phone, channel)
        await (await phone.send(channel, "he agreed to come along")).wait(timeout_s=WAIT_S)
        await desk.openings.rekey(channel)
        await (await phone.send(channel, "handed over at the clinic")).wait(timeout_s=WAIT_S)

    shell = Shell.at(tmp_path / "office")
    rolf.save_profile(shell.home, stage.url(1))
    out = tmp_path / "export.jsonl"
    opened = ("records", "open", incident.hex(), "--key", str(key), "--out", str(out))
    done = await shell.leeside("--profile", "rolf", *opened, "--reason", "court order 4711", "--json")
    assert [(d["opened"] >= 3, d["unreadable"]) for d in done.value] == [(True, 0)]
    lines = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    said = [line["content"]["text"] for line in lines if line.get("type") == "text"]
    assert said == ["person in crisis, Quay 4", "he agreed to come along", "handed over at the clinic"]

    log = await shell.leeside("--profile", "rolf", "records", "log", "--json")
    (entry,) = log.value
    assert entry["whole"]
    assert (entry["opening"]["reason"], entry["opening"]["channel"]) == ("court order 4711", channel.hex())
    events = await town.office.security_events(limit=200)
    read = [e for e in events.items if e.event == "records_read" and e.actor == rolf.device.hex()]
    assert read, "the server kept a trace of its own"
    # Without the key the officer's role opens nothing.
    wrong = tmp_path / "wrong.keys"
    a.create_key(wrong, Passphrase(PASSPHRASE, CHEAP), "records")
    again = ("records", "open", incident.hex(), "--key", str(wrong), "--out", str(tmp_path / "no.jsonl"))
    refused = await shell.leeside("--profile", "rolf", *again, "--reason", "curiosity", "--json", code=1)
    assert "E_RECORDS" in refused.out + refused.err


async def months_later(stage: Stage, agency: AgencyId, incident: bytes) -> None:
    """Stop the servers, let the incident have closed two months ago, and start them with a month's retention."""
    await stage.kill()
    if stage.postgres is None:
        store: Store = await SqliteStore.open(stage.node(0).data / "leeside.db")
    else:
        store = await PostgresStore.open(stage.dsn)
    try:
        found = await store.get(agency, KINDS[IncidentRow], incident)
        assert found is not None
        held = read(IncidentRow, found)
        past = msgspec.structs.replace(held.row, closed_ms=held.row.closed_ms - 60 * DAY_MS)
        (outcome,) = await store.apply([Item(agency, now_ms(), (change(held, past, now_ms()),))])
        assert isinstance(outcome, Stored)
    finally:
        await store.close()
    for node in stage.nodes:
        node.settings = replace(node.settings, incident_days=30)
    await stage.start()


def ended(client: Leeside, channel: ChannelId) -> bool:
    return any(info.archived for info in client.channels() if info.id == channel.hex())


async def test_an_incident_on_hold_outlives_its_retention_time_and_is_shredded_when_it_is_released(
    own_stage: Stage, tmp_path: Path
) -> None:
    stage = own_stage
    async with open_town(stage.url(0), stage.node(0).codes, tmp_path / "people") as town:
        key = tmp_path / "records.keys"
        a.store_key(key, Passphrase(PASSPHRASE, CHEAP), "records", await town.records_key())
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        deniz = await town.enrol("deniz", Role.DISPATCHER)
        rolf = await town.enrol("rolf", Role.RECORDS_OFFICER)
        shell = Shell.at(tmp_path / "office")
        rolf.save_profile(shell.home, stage.url(1))

        async def records(*arguments: str, code: int = 0) -> Done:
            return await shell.leeside("--profile", "rolf", "--json", "records", *arguments, code=code)

        async with deniz.open(stage.url(0)) as desk, ana.open(stage.url(1)) as phone:
            incident, channel = await desk.openings.incident([ana.device], first="person in crisis, Quay 4")
            await settled(phone, channel)
            number = incident.hex()
            held = await records("hold", number[:8], "--reason", "court_order")
            assert [hold["reason"] for hold in held.value["holds"]] == ["court_order"]
            await desk.openings.move_incident(incident, IncidentState.CLOSED)
            await until(lambda: ended(desk, channel), "the end is known")
        await months_later(stage, town.directory.agency_id, incident)

        def opening(number: int) -> tuple[str, ...]:
            out = str(tmp_path / f"export{number}.jsonl")
            return ("open", incident.hex(), "--key", str(key), "--out", out, "--reason", "order 4711")

        refused = await records("shred", number, "--reason", "retention_over", "--number", number, code=1)
        assert "forbidden" in refused.err
        assert (await records(*opening(1))).value[0]["opened"] >= 1
        await records("release", number, "--reason", "court_order")
        wrong = await records("shred", number, "--reason", "retention_over", "--number", "1234", code=1)
        assert "not_confirmed" in wrong.err
        for _ in range(2):
            done = await records("shred", number, "--reason", "retention_over", "--number", number[:12])
            assert done.value["shredded_ms"] > 0
        told = await records(*opening(2), code=1)
        assert "shredded" in told.err
        assert not (tmp_path / "export2.jsonl").exists()
        (listed,) = (await records("list")).value
        assert (listed["incident"], listed["holds"], bool(listed["shredded_ms"])) == (number, [], True)
        events = (await town.office.security_events(limit=500)).items
        assert [(e.event, e.outcome) for e in events if e.subject == number and "records_" in e.event] == [
            ("records_held", "court_order"),
            ("records_released", "court_order"),
            ("records_shred_ordered", "retention_over"),
            ("records_shredded", "done"),
        ]
