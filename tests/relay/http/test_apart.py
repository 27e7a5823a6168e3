"""Agencies apart: what is another's and what is nowhere get the same answer, byte for byte."""

import os
from typing import Any

import pytest

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelKind, address
from leeside_protocol.routes import BY_NAME, ROUTES
from leeside_protocol.words import (
    ChannelPurpose,
    ConsultActionKind,
    HoldReason,
    IncidentState,
    Role,
    ShredReason,
)
from tests.relay.http.world import Agency, City, channel_post, commit_post

BODIES: dict[str, Any] = {
    "change_member": r.MemberChange(1, roles=(Role.RESPONDER,)),
    "create_enrolment": r.NewEnrolment(),
    "change_unit": r.UnitChange(1),
    "change_incident": r.IncidentChange(1, state=IncidentState.CLOSED),
    "hold_records": r.HoldPost(HoldReason.COURT_ORDER),
    "release_records": r.HoldPost(HoldReason.COURT_ORDER),
    "shred_records": r.ShredPost(ShredReason.RETENTION_OVER),
    "create_blob": r.NewBlob(10),
    "put_chunk": bytes(10),
    "consult_action": o.ConsultAction(ConsultActionKind.ACCEPT),
    "create_guest": o.NewGuest("interpreter"),
    "change_rota": o.RotaChange(1, label="nights"),
    "import_calendar": o.CalendarImport(1, "x", {}),
    "create_feed": o.NewFeed(),
    "change_ladder": o.LadderChange(1, label="nights"),
}
BY_ID = [route.name for route in ROUTES if "{id}" in route.path and route.access == "device"]


@pytest.mark.parametrize("name", [*BY_ID, "log"])
async def test_foreign_and_missing_are_the_same(city: City, name: str) -> None:
    mine, theirs = await city.agency(), await city.agency()
    foreign = await ids_of(theirs)
    every_work = (Role.SUPERVISOR, Role.DISPATCHER, Role.RESPONDER, Role.PSYCHIATRIST)
    asking = await mine.join(*((Role.RECORDS_OFFICER,) if "records" in name else every_work))
    admin = mine.admin
    admins = {"change_member", "create_enrolment", "change_unit", "forget_passkeys"}
    person = admin if name in admins else asking
    assert person.tokens is not None
    body = BODIES.get(name)
    if name == "post_commit":
        body = commit_post(mine.genesis(person))
    elif name == "post_grant":
        body = r.GrantPost(r.SignedObject(b"", bytes(16), bytes(64)), 1, b"")
    elif name == "post_archive":
        body = r.ArchivePost(r.SignedObject(b"", bytes(16), bytes(64)), 1, b"", b"")
    answers: list[tuple[int, bytes, list[tuple[str, str]]]] = []
    for key in (foreign.get(BY_NAME[name].path.split("/")[2], os.urandom(16)), os.urandom(16)):
        params: dict[str, Any] = {"id": key.hex(), "index": "0"}
        if name == "log":
            params = {
                "address": address(ChannelKind.CONTENT, foreign["channels"] if not answers else key).hex()
            }
        response = await city.raw(name, body=body, token=person.tokens.token, **params)
        answers.append((response.status_code, response.content, sorted(response.headers.items())))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert answers[0][1] == (
        b'{"code":"not_found","number":301,"may_retry":false,"detail":"","retry_ms":0,"sealing_code":"","head":0,"person":""}'
    )


async def ids_of(agency: Agency) -> dict[str, bytes]:
    """One object of each kind, by the first word of its path."""
    dispatcher = await agency.join(Role.DISPATCHER)
    unit = await agency.unit(dispatcher)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    post = channel_post(ChannelPurpose.INCIDENT, made, incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    rota = await agency.admin.ask("create_rota", o.NewRota("line"))
    ladder = await agency.admin.ask("create_ladder", o.NewLadder("nights"))
    blob = await dispatcher.ask("create_blob", r.NewBlob(10), id=made.commit.channel_id.hex())
    return {
        "members": bytes.fromhex(dispatcher.member),
        "devices": dispatcher.id,
        "units": unit,
        "incidents": incident,
        "channels": made.commit.channel_id,
        "blobs": bytes.fromhex(blob.id),
        "rotas": bytes.fromhex(rota.id),
        "ladders": bytes.fromhex(ladder.id),
    }


async def test_lists_hold_ones_own(city: City) -> None:
    mine, theirs = await city.agency(), await city.agency()
    await ids_of(theirs)
    for name in ("members", "devices", "units", "channels"):
        items = (await mine.admin.ask(name)).items
        assert {item.id for item in items} <= {mine.admin.member, mine.admin.id.hex()}
    supervisor = await mine.join(Role.SUPERVISOR)
    for name in ("incidents", "rotas", "ladders"):
        assert (await supervisor.ask(name)).items == ()
    events = (await supervisor.ask("security_events", query={"limit": 500})).items
    assert not {e.actor for e in events} & {theirs.admin.id.hex()}
    assert len(await mine.admin.ask("directory")) == mine.directory.seq


async def test_an_entry_of_another_agency_is_refused(city: City) -> None:
    mine, theirs = await city.agency(), await city.agency()
    entry = theirs.sign(theirs.certificate(mine.admin.keys, mine.admin.member, Role.ADMIN))
    response = await city.raw(
        "post_directory",
        body=r.DirectoryPost((entry.encode(),)),
        token=mine.admin.tokens.token if mine.admin.tokens else "",
    )
    assert response.json()["sealing_code"] == "E_DIR"
