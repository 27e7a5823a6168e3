"""Members, devices and units by command: what an administrator or dispatcher does in a day."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leeside_protocol.words import Discipline, Role
from tests.faults.node import Node
from tests.journeys.commands.conftest import new_code
from tests.support.prompt import Office, Prompt, found_office
from tests.support.terminal import Piped

pytestmark = pytest.mark.slow


def test_members_are_listed_shown_and_renamed(office: Office) -> None:
    admin = office.admin
    listed = {m["name"]: m for m in admin.value("member", "list")}
    assert {"Ana", "Ben", "Deniz", "Sofia", "Priya"} <= listed.keys()
    assert listed["Ana"]["discipline"] == Discipline.CLINICIAN.value
    shown = admin.value("member", "show", "ana")
    assert shown["id"] == office.members["ana"]
    assert [d["label"] for d in shown["devices"]] == ["ana's phone"]
    admin.value("member", "name", "priya", "Dr. Priya")
    assert office["deniz"].value("member", "show", "Dr. Priya")["id"] == office.members["priya"]
    admin.value("member", "name", "dr. priya", "Priya")
    assert admin.refused("member", "show", "Nobody", code=7) == "not_found"


def test_a_name_is_one_line_that_can_be_typed_again(office: Office) -> None:
    admin = office.admin
    before = len(admin.value("member", "list"))
    for name in ("\x1b[2JRosa", "Ro\u202esa", " \n", "x" * 81):
        assert admin.refused("member", "add", "--role", "dispatcher", "--name", name, code=2) == "name"
    assert admin.refused("unit", "add", "--name", "Unit\x07", code=2) == "name"
    assert len(admin.value("member", "list")) == before, "nobody was added"
    added = admin.value("member", "add", "--role", "dispatcher", "--name", ' Jose\u0301  "O\'Neil" \n')
    assert admin.value("member", "show", 'jos\u00e9 "o\'neil"')["id"] == added["id"]
    assert admin.value("member", "name", added["id"], "\N{ARABIC LETTER ALEF}\N{FIRE ENGINE}")["name"]
    admin.value("member", "end", "\N{ARABIC LETTER ALEF}\N{FIRE ENGINE}", "--yes")


def test_what_was_added_and_could_not_be_named_is_not_added_again(server: Node, tmp_path: Path) -> None:
    office = found_office(tmp_path / "profiles", server.url, new_code(server), channel=False)
    for kind, more, later in (
        ("member", ("--role", "dispatcher"), "leeside member name"),
        ("unit", (), "leeside unit change"),
    ):
        told = office.admin.run(kind, "add", *more, "--name", "Dana", code=7).text
        assert "was added, and is without a name" in told
        assert later in told
        assert "(no_agency_channel)" in told


def test_roles_change_and_the_revision_decides(office: Office) -> None:
    member = office.admin.value("member", "add", "--role", "dispatcher", "--name", "Rufus")
    changed = office.admin.value("member", "roles", "Rufus", "--role", "supervisor", "--role", "dispatcher")
    assert changed["roles"] == ["supervisor", "dispatcher"]
    assert changed["revision"] > member["revision"]
    assert office["sofia"].refused("member", "roles", "Rufus", "--role", "admin", code=1) == "forbidden"
    assert office.admin.value("member", "show", "Rufus")["roles"] == ["supervisor", "dispatcher"]


def test_an_ended_membership_closes_sockets_that_are_open(office: Office) -> None:
    lena = office.add("lena", Role.DISPATCHER)
    office.admin.value("channel", "admit", "agency", "--member", "Lena")
    with Piped.start(lena, "--json", "chat", "agency", "--follow") as following:
        following.line_with('"caught_up"')
        assert "not_confirmed" in office.admin.run("member", "end", "Lena", code=1, keys="n\n").text
        said = office.admin.run("member", "end", "Lena", "--yes").text
        assert "so that every channel drops them: leeside device revoke" in said
        assert '"code":4200' in following.line_with('"stopped"')
        assert following.end() == 3
        assert '"revoked"' in following.told
    assert lena.refused("channel", "list", code=3) == "revoked"
    assert "Lena" not in [m["name"] for m in office.admin.value("member", "list")]
    ended = {m["name"]: m for m in office.admin.value("member", "list", "--ended")}
    assert ended["Lena"]["ended_ms"] > 0


def test_a_lost_device_is_refused_at_once_and_signed_off_later(office: Office) -> None:
    max_ = office.add("max", Role.DISPATCHER)
    device = office.admin.value("member", "show", "Max")["devices"][0]["id"]
    first = office["sofia"].value("device", "revoke", device, "--at-once")
    assert first == {"id": device, "state": "revoked", "signed": False}
    # Who then cannot sign must not think that the lost device is still let in.
    unsigned = office.admin.run("device", "revoke", device, "--authority", office.home / "none", code=6).text
    assert "is refused on every node from now on" in unsigned
    assert max_.refused("channel", "list", code=3) == "revoked"
    second = office.admin.value("device", "revoke", device, "--reason", "lost")
    assert second["signed"] is True
    assert office.admin.value("device", "revoke", device)["signed"] is False, "it is signed already"
    shown = office.admin.run("device", "show", device).text
    assert "certificate revoked yes" in shown
    assert device in {d["id"] for d in office.admin.value("device", "list", "--state", "revoked")}


def test_the_next_one_of_a_name_is_not_taken_for_the_last(office: Office) -> None:
    admin = office.admin
    first = admin.value("member", "add", "--role", "dispatcher", "--name", "Noor")
    admin.value("member", "end", "Noor", "--yes")
    assert admin.value("member", "show", "Noor")["id"] == first["id"]
    second = admin.value("member", "add", "--role", "dispatcher", "--name", "Noor")
    # Sofia's device has not heard of the second one yet.
    assert office["sofia"].value("member", "show", "Noor")["id"] == second["id"]

    old, shown = office.invite("noor", second["id"])
    approve = ("device", "approve", "noor's phone", "--code")
    admin.value(*approve, shown["short_code"])
    assert admin.refused("device", "approve", shown["device"], "--code", "x", code=8) == "active"
    admin.value("device", "revoke", shown["device"], "--at-once")
    again = Prompt(office.home, office.url, "noor2")
    code = admin.value("device", "enrol-code", "Noor", "--label", "noor's phone")
    enrol = ("--server", office.url, "device", "enrol", code["code"], "--root", code["root_pub"])
    fresh = again.value(*enrol)
    assert admin.value(*approve, fresh["short_code"])["id"] == fresh["device"]
    # The lost one is still to be signed off: its label must not revoke the new one.
    told = admin.run("device", "revoke", "noor's phone", code=2).text
    assert "of Noor (revoked)" in told
    assert "of Noor (active)" in told
    assert again.value("channel", "list")
    assert old.refused("channel", "list", code=3) == "revoked"


def test_a_person_may_have_two_devices(office: Office) -> None:
    second = office.enrol("ana-tablet", office.members["ana"], "--no-admit")
    assert len(office.admin.value("member", "show", "Ana")["devices"]) == 2
    assert second.value("channel", "list") == []
    found = {f["what"]: f for f in second.value("doctor")}
    assert found["my devices"]["grade"] == "warn"
    device = second.value("device", "show")["id"]
    assert office["ana"].value("device", "confirm", device) == {"id": device, "confirmed": True}
    assert office["ben"].refused("device", "confirm", device, code=1) == "not_yours"
    office.admin.value("device", "revoke", device)


def test_units_change_and_end(office: Office) -> None:
    deniz = office["deniz"]
    unit = deniz.value("unit", "add", "--name", "Unit 9", "--member", "Ana", "--lead", "Ana")
    assert unit["members"] == [office.members["ana"]]
    changed = deniz.value(
        "unit", "change", "Unit 9", "--member", "ana", "--member", "ben", "--lead", "ben", "--name", "Night 9"
    )
    assert changed["lead"] == office.members["ben"]
    assert set(changed["members"]) == {office.members["ana"], office.members["ben"]}
    told = deniz.run("unit", "change", "Night 9", "--member", "ana", "--member", "ben").text
    assert "Who reads its channel has not changed" in told
    row = deniz.run("unit", "list").text
    assert "Night 9" in row
    assert "Ana" in row
    assert office["ana"].refused("unit", "end", "Night 9", code=1) == "forbidden"
    deniz.value("unit", "end", "Night 9")
    assert unit["id"] not in [u["id"] for u in deniz.value("unit", "list")]
    assert unit["id"] in [u["id"] for u in deniz.value("unit", "list", "--ended")]


def test_the_doctor_finds_a_healthy_device_healthy(office: Office) -> None:
    found = {f["what"]: f["grade"] for f in office["deniz"].value("doctor")}
    assert found["certificate"] == found["clock"] == found["directory"] == found["server"] == "ok"
    assert "fail" not in found.values()


def test_signing_out_ends_the_session_and_the_next_command_signs_in_again(office: Office) -> None:
    ben = office["ben"]
    ben.value("channel", "list")
    assert ben.value("sign-out") == {"signed_out": True}
    assert ben.value("device", "renew-key") == {"done": True}
    assert ben.value("sign-out") == {"signed_out": True}


def test_a_shared_tablet_is_certified_for_its_shift(office: Office) -> None:
    tablet = Prompt(office.home, office.url, "tablet")
    code = office.admin.value("device", "enrol-code", "Ana", "--label", "tablet 3", "--shift-hours", "8")
    enrol = ("--server", office.url, "device", "enrol", code["code"], "--root", code["root_pub"])
    shown = tablet.value(*enrol)
    office.admin.value("device", "approve", "tablet 3", "--code", shown["short_code"])
    info = office.admin.value("device", "show", shown["device"])
    hours = (info["shift_until_ms"] - info["created_ms"]) / 3_600_000
    assert 7.9 < hours <= 8
    text = office.admin.run("device", "show", shown["device"]).text
    ends = re.findall(r"(?:shift ends|valid until) (\S+ \S+)", text)
    assert len(ends) == 2
    assert ends[0] == ends[1], "the certificate ends with the shift"
