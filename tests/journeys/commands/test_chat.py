"""Talking from a terminal: what a person sees on 80 columns, and what a program reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leeside_protocol.words import Discipline, Role
from tests.faults.node import Node
from tests.journeys.commands.conftest import new_code
from tests.support.prompt import Office, Prompt, found_office
from tests.support.terminal import COLUMNS, Piped, Terminal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unit(office: Office) -> str:
    """Unit 7, of Ana alone, with its channel."""
    deniz = office["deniz"]
    deniz.value("unit", "add", "--name", "Unit 7", "--member", "Ana")
    deniz.value("channel", "open", "unit", "--subject", "Unit 7")
    return "Unit 7"


def test_two_people_talk_on_the_screen_and_by_lines(office: Office, unit: str, tmp_path: Path) -> None:
    ana, deniz = office["ana"], office["deniz"]
    plan = tmp_path / "plan.txt"
    plan.write_text("two floors up")
    with Terminal.start(deniz, "chat", unit) as screen:
        screen.wait_for("Unit 7 | live", bar=True)
        with Piped.start(ana, "--json", "chat", unit, "--follow", "--history", 0) as phone:
            phone.line_with('"caught_up"')
            screen.type("are you there?")
            assert Prompt.read(phone.line_with("are you there?"))["event"] == "message"
            screen.wait_for("me: are you there?")
            screen.wait_for("last: accepted, 1 delivered", bar=True)

            screen.type("/who")
            screen.wait_for("Can read this channel")
            screen.wait_for("● Ana")
            screen.wait_for("○ Sofia")
            screen.type("/status NotAvailable OnScene two floors up")
            screen.wait_for("Unit 7: NotAvailable / OnScene two floors up")
            assert "two floors up" in phone.line_with('"status_change"')
            screen.type("/status Asleep")
            screen.wait_for("Asleep is none of")
            screen.type(f"/attach {plan}")
            assert "plan.txt" in phone.line_with('"attachment":{')
            screen.type("/files")
            screen.wait_for("me: plan.txt, 13 bytes")
            screen.type("/save 2")
            screen.wait_for("Say which: /files shows them")
            saved = tmp_path / "saved"
            screen.type(f"/save 1 {saved}")
            screen.wait_for("Nothing was saved.")
            saved.mkdir()
            screen.type(f"/save 1 {saved}")
            screen.wait_for("Saved, and no longer sealed")
            assert (saved / "plan.txt").read_text() == "two floors up"
            screen.type(f"/save 1 {saved}")
            screen.wait_for("is not replaced")
            screen.type(f"/attach {tmp_path / 'none.pdf'}")
            screen.wait_for("none.pdf was not sent")
            screen.type("/urgnt he has a knife")
            screen.wait_for("Not sent: there is no /urgnt.")
            screen.type("/help")
            screen.wait_for("/urgent TEXT")

        sent = ana.value("chat", unit, "--urgent", "--send", "we need help")
        screen.wait_for("Ana: we need help")
        screen.wait_for("1 URGENT: /ack", bar=True)
        screen.type("/ack")
        screen.wait_for("✔ Deniz acknowledged")
        assert "URGENT" not in screen.wait_for("Unit 7 | live", bar=True)
        screen.type("/ack")
        screen.wait_for("Nothing waits to be acknowledged.")
        screen.type("/waiting")
        screen.type("/history 1")
        screen.type("/quit")
        assert screen.end() == 0
        assert all(len(line) <= COLUMNS for line in screen.text.splitlines())
    lines = ana.run("--json", "chat", unit, "--once").out.splitlines()
    told = [Prompt.read(line) for line in lines]
    assert [t for t in told if t["event"] == "acknowledgement" and t["message"] == sent["id"]]


def test_the_screen_says_that_there_is_no_link_and_sends_when_it_is_back(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", tmp_path / "data")
    asyncio.run(node.start())
    try:
        office = found_office(tmp_path / "home", node.url, new_code(node))
        deniz = office.add("deniz", Role.DISPATCHER)
        office.admin.value("channel", "rekey", "agency")
        with Terminal.start(deniz, "chat", "agency") as screen:
            screen.wait_for("agency | live", bar=True)
            asyncio.run(node.kill())
            screen.wait_for("NO LIVE LINK since")
            screen.wait_for("agency | NO LIVE LINK for", bar=True)
            screen.type("can anyone hear me")
            screen.wait_for("1 not sent yet", bar=True)
            screen.type("/who")
            screen.wait_for("presence unknown: no live link")
            screen.type("/quit")
            assert screen.end() == 0
            assert "1 not sent yet: kept on this device, and sent with the next live" in screen.text

        kept = deniz.run("--json", "chat", "agency", "--send", "and now?", "--timeout", 1, code=4)
        assert kept.value["progress"] == "waiting"
        assert "waiting" in kept.err
        board = deniz.run("watch", "--once").text
        assert "NO LIVE LINK" in board

        asyncio.run(node.start())
        with Terminal.start(deniz, "chat", "agency") as screen:
            screen.wait_for("me: and now?")
            assert "can anyone hear me" in screen.text
            screen.press(b"\x04")
            assert screen.end() == 0
    finally:
        asyncio.run(node.kill())


def test_a_device_that_waits_for_approval_is_told_so_and_not_that_there_is_no_channel(
    office: Office, server: Node
) -> None:
    member = office.admin.value("member", "add", "--role", "dispatcher")
    early, shown = office.invite("early", member["id"])
    for command in (("chat", "agency", "--send", "hello"), ("watch", "--once"), ("status", "show")):
        assert early.refused(*command, code=3) == "pending"
    gone = ("--server", "http://127.0.0.1:9", "watch", "--once")
    told = early.run(*gone, code=4).text
    assert "Connecting to the server" in told
    assert "(unreachable)" in told
    office.admin.value("device", "approve", shown["device"], "--code", shown["short_code"])
    assert early.value("watch", "--once")["link"] == "online"


def test_the_board_redraws_until_interrupted(office: Office, unit: str) -> None:
    office["ana"].value("status", "set", unit, "Available")
    with Terminal.start(office["deniz"], "watch") as screen:
        screen.wait_for("Unit 7")
        assert "connected" in screen.text
        screen.press(b"\x03")
        assert screen.end() == 130
        assert "Traceback" not in screen.text


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["ctrl-c", "ctrl-d"])
def test_a_question_that_nobody_answers_ends_the_command_in_a_word(office: Office, key: bytes) -> None:
    for person, command, question in (
        (office["ana"], ("member", "list"), "Passphrase for profile ana:"),
        (office.admin, ("member", "end", "Ana"), "End the membership of Ana?"),
    ):
        secret: dict[str, str] = {"LEESIDE_PASSPHRASE_FILE": ""} if "Passphrase" in question else {}
        with Terminal.start(person, *command, **secret) as screen:
            screen.wait_for(question)
            screen.press(key)
            assert screen.end() == 130
            assert screen.text.splitlines()[-1] == "Interrupted. (interrupted)"
            assert question in screen.text
    assert office["ana"].value("channel", "list")


def test_a_new_passphrase_that_was_mistyped_is_asked_for_again(office: Office) -> None:
    keys = Prompt(office.home, office.url, "keys")
    asked = "New passphrase for this authority, 12 characters or more:"
    with Terminal.start(keys, "agency", "authority", "new", LEESIDE_PASSPHRASE_FILE="") as screen:
        screen.wait_for(asked)
        screen.type("too short")
        screen.wait_for(f"four random words do well.\n{asked}")
        screen.type("one two three four")
        screen.wait_for(f"{asked}\nThe same again:")
        screen.type("one two three five")
        screen.wait_for(f"The two differ. Once more.\n{asked}")
        screen.type("one two three four")
        screen.wait_for(f"Once more.\n{asked}\nThe same again:")
        screen.type("one two three four")
        assert screen.end() == 0
        assert "public key" in screen.text
        assert "two three" not in screen.text


def test_a_stack_trace_only_for_who_asks_for_it(office: Office) -> None:
    asking = ("member", "show", "Nobody")
    with Piped.start(office["ana"], *asking) as plain:
        assert plain.end() == 7
        assert "There is no member called Nobody" in plain.told
        assert "Traceback" not in plain.told
    with Piped.start(office["ana"], *asking, LEESIDE_DEBUG="1") as debug:
        assert debug.end() == 1
        assert "Traceback" in debug.told


def test_a_device_whose_keys_open_by_the_keyring(
    office: Office, server: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        """A keyring that a person has unlocked."""

        priority = 1  # pyright: ignore[reportAssignmentType]

        def __init__(self) -> None:
            """Nothing to set up."""

        secrets: dict[tuple[str, str], str] = {}  # noqa: RUF012 - the library's own class attribute style

        def get_password(self, service: str, username: str) -> str | None:
            return self.secrets.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.secrets[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.secrets[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    try:
        member = office.admin.value("member", "add", "--role", "dispatcher")
        code = office.admin.value("device", "enrol-code", member["id"])
        kai = Prompt(office.home, server.url, "kai")
        enrol = ("--keyring", "--server", server.url, "device", "enrol", code["code"])
        shown = kai.value(*enrol, "--root", code["root_pub"])
        office.admin.value("device", "approve", shown["device"], "--code", shown["short_code"])
        # Nothing but the keyring opens it: not even a passphrase file that is there.
        assert [c["purpose"] for c in kai.value("channel", "list")] == ["agency"]
        assert any("opens; by keyring" in f["text"] for f in kai.value("doctor"))
        Memory.secrets.clear()
        assert kai.refused("channel", "list", code=6) == "keystore"
    finally:
        keyring.set_keyring(before)


def test_roles_that_only_pass_by_have_commands_too(office: Office) -> None:
    ines = office.add("ines", Role.INTERPRETER)
    assert [c["purpose"] for c in ines.value("channel", "list")] == ["agency"]
    assert ines.refused("member", "list", code=1) == "forbidden"
    assert Discipline.EMT.value in ines.run("member", "add", "--help").text
