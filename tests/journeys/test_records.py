"""The records custodian: reads what was kept, with a key that no server has, and never unseen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leeside import authority as a
from leeside.keystore import Passphrase
from leeside_protocol.words import Discipline, Role
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.town import CHEAP, PASSPHRASE, WAIT_S, Town, settled

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
