"""People who type `leeside` commands: run in this process, against a real server, each with a profile of their own.

    ana = Prompt(home, node.url, "ana")
    ana.run("chat", "Unit 4", "--send", "on scene")
    ana.value("unit", "list")          # the document that --json promises
    ana.refused("unit", "end", "x")    # the code of the error, and that nothing came on standard output

What only a process of its own can show (Ctrl-C, a terminal, a stack trace) is in tests/support/shell.py and terminal.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from typer.testing import CliRunner

from leeside.cli import invocation
from leeside.cli.root import build
from leeside.keystore import Passphrase
from leeside.profile import profile
from leeside_protocol.words import Discipline, Role
from tests.support.town import CHEAP, PASSPHRASE


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """Standard output, read as the one document that `--json` promises."""
        return msgspec.json.decode(self.out)

    @property
    def text(self) -> str:
        """Everything that was written, its lines joined: what a person reads, however wide the terminal is."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True, slots=True)
class Prompt:
    """One profile on this machine. `home` holds all profiles; `more` stands before every command."""

    home: Path
    url: str
    name: str
    more: tuple[str, ...] = field(default_factory=tuple)

    @property
    def folder(self) -> Path:
        """Where the profile lies."""
        return profile(self.name, self.home).path

    def run(self, *args: object, code: int = 0, keys: str | None = None, columns: int = 200) -> Answer:
        """Run one command; `AssertionError` with what it said when it ends otherwise than expected.

        `keys` is what the person types when asked.
        """
        secret = self.home / "passphrase"
        line = ["--profile", self.name, *self.more, *(str(arg) for arg in args)]
        environment = {
            "LEESIDE_HOME": str(self.home),
            "LEESIDE_PASSPHRASE_FILE": str(secret) if secret.exists() else None,
            "LEESIDE_PROFILE": None,
            "LEESIDE_SERVER": None,
            "LEESIDE_DEBUG": None,
            "COLUMNS": str(columns),
        }
        with pytest.MonkeyPatch.context() as patch:
            # New key files cost little here; that they cost enough elsewhere is held by tests/client/test_keystore.py.
            patch.setattr(invocation, "Passphrase", partial(Passphrase, cost=CHEAP))
            result = CliRunner().invoke(build(), line, input=keys, env=environment)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        foreseen = result.exception is None or isinstance(result.exception, SystemExit)
        told = f"leeside {' '.join(line)}: {answer.code}\n{answer.out}\n{answer.err}\n{result.exception!r}"
        assert answer.code == code, told
        assert foreseen, told
        return answer

    @staticmethod
    def read(line: str) -> Any:
        """One line of a command that follows something."""
        return msgspec.json.decode(line)

    def value(self, *args: object, code: int = 0) -> Any:
        """The document of a command with `--json`; all of standard output is that one document."""
        return self.run("--json", *args, code=code).value

    def refused(self, *args: object, code: int) -> str:
        """The error's code of a command that must fail, which leaves standard output empty."""
        answer = self.run("--json", *args, code=code)
        assert answer.out == ""
        error = msgspec.json.decode(answer.err.splitlines()[-1], type=dict[str, dict[str, Any]])["error"]
        assert error["exit"] == code
        assert error["detail"]
        return str(error["code"])


@dataclass(slots=True)
class Office:
    """An agency that was founded and is looked after by commands alone: its administrator, and everyone by name."""

    home: Path
    url: str
    admin: Prompt
    members: dict[str, str] = field(default_factory=dict[str, str])
    """Members' ids by name."""

    @property
    def admin_member(self) -> str:
        """The administrator's id as a member."""
        return str(self.admin.value("device", "show")["member"])

    def __getitem__(self, name: str) -> Prompt:
        """The prompt of someone enrolled."""
        return Prompt(self.home, self.url, name)

    def add(self, name: str, role: Role, discipline: Discipline | None = None) -> Prompt:
        """A member with a name, and their device: invited, enrolled, compared, certified."""
        more = () if discipline is None else ("--discipline", discipline.value)
        member = self.admin.value("member", "add", "--role", role.value, *more, "--name", name.capitalize())
        self.members[name] = member["id"]
        return self.enrol(name, member["id"])

    def invite(self, name: str, member: str) -> tuple[Prompt, dict[str, Any]]:
        """A new device that waits for approval, as a profile called `name`; what enrolling showed."""
        code = self.admin.value("device", "enrol-code", member, "--label", f"{name}'s phone")
        person = Prompt(self.home, self.url, name)
        shown = person.value(
            "--server", self.url, "device", "enrol", code["code"], "--root", code["root_pub"]
        )
        return person, shown

    def enrol(self, name: str, member: str, *approving: object) -> Prompt:
        """A certified device of a member."""
        person, shown = self.invite(name, member)
        self.admin.value("device", "approve", shown["device"], "--code", shown["short_code"], *approving)
        return person


FOUNDED: Final = ("agency", "create", "Harbour County")


def found_office(home: Path, url: str, code: str, *options: str, channel: bool = True) -> Office:
    """Found an agency with the operator's one-time code, and open its channel."""
    home.mkdir(parents=True, exist_ok=True)
    secret = home / "passphrase"
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(PASSPHRASE + "\n")
    admin = Prompt(home, url, "admin")
    stick = home / "stick" / "root.keys"
    stick.parent.mkdir(exist_ok=True)
    admin.value("--server", url, *FOUNDED, "--code", code, "--recovery", stick, *options)
    if channel:
        admin.value("channel", "open", "agency")
    return Office(home, url, admin)
