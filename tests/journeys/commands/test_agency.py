"""The administrator's commands: an agency's founding, its authorities, its records keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from leeside.authority import load_key, store_key
from leeside.keystore import Passphrase
from leeside_protocol.words import Discipline, Role
from tests.faults.node import Node
from tests.journeys.commands.conftest import new_code
from tests.support.prompt import Office, Prompt
from tests.support.town import CHEAP, PASSPHRASE

pytestmark = pytest.mark.slow

Found = Callable[..., Office]


def new_authority(person: Prompt) -> str:
    """A second authority's key on that person's machine; its public half."""
    return str(person.value("agency", "authority", "new")["public"])


def authorities(office: Office) -> dict[str, dict[str, object]]:
    return {a["id"]: a for a in office.admin.value("agency", "authority", "list")}


def test_what_the_agency_is_is_shown_verified(office: Office) -> None:
    shown = office.admin.value("agency", "show")
    assert shown["agency"]["label"] == "Harbour County"
    assert shown["two_signatures"] is False
    assert len(shown["authorities"]) == 1
    assert "ONE signature" in office.admin.run("agency", "show").text


def test_an_agency_is_founded_once_per_profile_and_code(office: Office, server: Node) -> None:
    again = ("agency", "create", "Other", "--code", "X" * 32, "--recovery", office.home / "no")
    assert office.admin.refused("--server", server.url, *again, code=8) == ""
    fresh = Prompt(office.home, server.url, "nobody")
    assert fresh.refused(*again, code=2) == ""
    assert fresh.refused("--server", server.url, *again, code=7) == "not_found"


def test_the_recovery_copy_is_written_or_nothing_is_founded(
    office: Office, server: Node, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    code = new_code(server)
    rosa = Prompt(office.home, server.url, "rosa")
    create = ("--server", server.url, "agency", "create", "Hill", "--code", code, "--recovery")

    taken = stick / "holiday.jpg"
    taken.write_bytes(b"not a key")
    assert rosa.refused(*create, taken, code=8) == "recovery"
    assert rosa.refused(*create, tmp_path / "unplugged" / "recovery.key", code=7) == "recovery"
    assert not rosa.folder.exists(), "nothing was asked or made before"
    # A stick as it is mounted, without a file's name.
    rosa.value(*create, stick)
    copy = load_key(stick / "recovery.key", Passphrase(PASSPHRASE), "root")
    assert copy == load_key(rosa.folder / "agency/root.keys", Passphrase(PASSPHRASE), "root")


def test_a_founding_that_goes_on_looks_into_the_recovery_copy(
    office: Office, server: Node, tmp_path: Path
) -> None:
    vera = Prompt(office.home, server.url, "vera")
    create = ("--server", server.url, "agency", "create", "Vale", "--code")
    mine, other = tmp_path / "mine.key", tmp_path / "other.key"
    assert vera.refused(*create, "X" * 32, "--recovery", mine, code=7) == "not_found"
    store_key(other, Passphrase(PASSPHRASE, CHEAP), "root", bytes(32))
    assert vera.refused(*create, new_code(server), "--recovery", other, code=8) == "recovery"
    code = new_code(server)
    made = vera.value(*create, code, "--recovery", mine)
    # The server's answer was lost, or the power went: the code is used up, and what it founded is found again.
    (vera.folder / "profile.json").unlink()
    assert vera.value(*create, code, "--recovery", mine)["id"] == made["id"]
    vera.value("channel", "open", "agency")


def test_a_second_authority_makes_two_signatures_needed(found: Found, tmp_path: Path) -> None:
    office = found()
    sofia = office.add("sofia", Role.SUPERVISOR)
    second = office.admin.value("agency", "authority", "add", new_authority(sofia), "--days", 30)
    assert len(authorities(office)) == 2
    assert office.admin.value("agency", "show")["two_signatures"] is True

    member = office.admin.value("member", "add", "--role", "responder", "--discipline", "clinician")
    ana, shown = office.invite("ana", member["id"])
    approve = ("device", "approve", shown["device"], "--code", shown["short_code"])
    assert office.admin.refused(*approve, code=1) == "second_signature"
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert office.admin.refused(*approve, "--second", notes, code=8) == "exists"
    assert notes.read_text() == "mine"
    half = tmp_path / "half.entry"
    assert office.admin.value(*approve, "--second", half)["file"] == str(half)
    assert ana.refused("channel", "list", code=3) == "pending"

    read = sofia.run("device", "cosign", half, code=1, keys="n\n").text
    assert "as responder" in read
    assert "not_confirmed" in read
    sofia.value("device", "cosign", half, "--yes")
    assert ana.value("channel", "list") == []
    assert sofia.refused("device", "cosign", half, "--yes", code=8) == "stale"

    # Where both key files are at one desk, both sign at once.
    officer = office.admin.value("member", "add", "--role", "responder", "--discipline", "emt")
    both = ("--authority", office.admin.folder / "agency/authority.keys",
            "--authority", sofia.folder / "agency/authority.keys")  # fmt: skip
    office.enrol("emil", officer["id"], *both)

    # A full authority does not end another; the root does.
    remove = ("agency", "authority", "remove", second["id"])
    own = ("--authority", office.admin.folder / "agency/authority.keys")
    assert office.admin.refused(*remove, *own, code=1) == "E_DIR_SIGNER"
    office.admin.value(*remove, "--reason", "left")
    assert authorities(office)[second["id"]]["ended"] is True
    assert office.admin.value("agency", "show")["two_signatures"] is False


def test_an_agency_may_begin_with_two_authorities(found: Found) -> None:
    office = found("--authorities", "2")
    folder = office.admin.folder / "agency"
    both = ("--authority", folder / "authority.keys", "--authority", folder / "authority-2.keys")
    assert office.admin.value("agency", "show")["two_signatures"] is True
    member = office.admin.value("member", "add", "--role", "psychiatrist")
    office.enrol("priya", member["id"], *both)
    assert office.admin.refused("agency", "records-key", "new", code=1) == "second_signature"
    assert not list(folder.glob("records-*.keys")), "a key that counts nowhere is not left behind"
    office.admin.value("agency", "records-key", "new", *both)
    half = office.home / "half.entry"
    office.admin.value("agency", "records-key", "new", "--second", half)
    second = ("--authority", folder / "authority-2.keys")
    assert "records key" in office.admin.run("device", "cosign", half, "--yes", *second).text


def test_a_delegated_authority_certifies_few_devices_for_a_day(office: Office, found: Found) -> None:
    office = found()
    sofia = office.add("sofia", Role.SUPERVISOR)
    made = office.admin.value(
        "agency", "authority", "add", new_authority(sofia), "--delegated", "--devices", 1
    )
    assert authorities(office)[made["id"]]["delegated"] is True
    assert office.admin.value("agency", "show")["two_signatures"] is False

    member = sofia.value("member", "add", "--role", "dispatcher")
    night, shown = office.invite("night", member["id"])
    sofia.value("device", "approve", shown["device"], "--code", shown["short_code"], "--no-admit")
    assert night.value("channel", "list") == []
    listed = {d["id"]: d for d in sofia.value("device", "list")}
    assert listed[shown["device"]]["state"] == "active"

    _, more = office.invite("second", member["id"])
    again = ("device", "approve", more["device"], "--code", more["short_code"])
    assert sofia.refused(*again, code=1) == "E_DIR_SIGNER"
    clinical = office.admin.value("member", "add", "--role", "responder", "--discipline", "clinician")
    _, third = office.invite("third", clinical["id"])
    assert sofia.refused("device", "approve", third["device"], "--code", third["short_code"], code=1)

    own = office.admin.folder / "agency/authority.keys"
    office.admin.value("agency", "authority", "remove", made["id"], "--authority", own)
    assert authorities(office)[made["id"]]["ended"] is True


def test_records_keys_come_and_go(office: Office, tmp_path: Path) -> None:
    stick = tmp_path / "records.keys"
    made = office.admin.value("agency", "records-key", "new", "--file", stick, "--compartment", 0)
    assert stick.stat().st_mode & 0o077 == 0
    assert made["file"] == str(stick)
    gone = office.admin.value("agency", "records-key", "remove", stick, "--reason", "custodian left")
    assert gone["id"] == made["id"]
    assert office.admin.refused("agency", "records-key", "remove", tmp_path / "none", code=6) == "key_missing"


def test_only_a_code_that_was_compared_certifies(office: Office) -> None:
    member = office.admin.value("member", "add", "--role", "dispatcher")
    person, shown = office.invite("stranger", member["id"])
    approve = ("device", "approve", shown["device"], "--code")
    assert office.admin.refused(*approve, shown["short_code"][:-1], code=2) == "short_code"
    assert office.admin.refused(*approve, "AAAA-BBBB-CCCC", code=5) == "short_code"
    assert person.refused("channel", "list", code=3) == "pending"
    assert person.value("device", "show")["short_code"] == shown["short_code"]
    assert person.run("device", "show").text.count(shown["short_code"]) == 1


def test_a_code_for_a_device_counts_once_and_only_with_the_right_root(office: Office, server: Node) -> None:
    member = office.admin.value("member", "add", "--role", "dispatcher")
    code = office.admin.value("device", "enrol-code", member["id"])
    thief = Prompt(office.home, server.url, "thief")
    enrol = ("--server", server.url, "device", "enrol", code["code"])
    assert thief.refused(*enrol, "--root", code["root_pub"][:40], code=2) == "root", (
        "half a copy is no deceit"
    )
    assert thief.refused(*enrol, "--root", "00" * 32, code=5) == "E_AGENCY"
    other = Prompt(office.home, server.url, "late")
    assert other.refused(*enrol, "--root", code["root_pub"], code=7) == "not_found"
    # A root key out of a narrow column, and a code that was misheard.
    narrow = f" {code['root_pub'][:40]}\n {code['root_pub'][40:]}"
    assert "its 15 minutes are over" in other.run(*enrol, "--root", narrow, code=7).text


def test_a_supervisor_cannot_lift_anyone(office: Office) -> None:
    assert office["sofia"].refused("member", "add", "--role", "admin", code=1) == "forbidden"
    assert office["ana"].refused("member", "add", "--role", "dispatcher", code=1) == "forbidden"
    assert office.admin.refused("member", "add", "--role", "responder", code=2) == ""
    assert office["ana"].refused("agency", "authority", "add", "00", code=2) == ""
    assert Discipline.CLINICIAN.value in office.admin.run("member", "list").text
