"""The command line as a whole: global options anywhere, help everywhere, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from leeside.api import Api, TokenSource
from leeside.cli.exits import Exit
from leeside.cli.manual import PANELS
from leeside.cli.root import build, hoist
from leeside.keystore import Cost, Keystore, Passphrase
from leeside.profile import Settings, profile, save_enrolment
from leeside_protocol.ids import AgencyId, MemberId
from leeside_protocol.sealing.opening.keys import DeviceKeys

PASSPHRASE = "correct horse battery"
COMMANDS = [
    ["agency", "create"], ["agency", "show"], ["agency", "authority", "list"], ["agency", "authority", "new"], ["agency", "authority", "seed"],
    ["agency", "authority", "add"], ["agency", "authority", "remove"], ["agency", "records-key", "new"],
    ["agency", "records-key", "remove"], ["member", "add"], ["member", "list"], ["member", "show"], ["member", "end"],
    ["member", "roles"], ["member", "name"], ["device", "enrol-code"], ["device", "enrol"], ["device", "list"],
    ["device", "approve"], ["device", "cosign"], ["device", "revoke"], ["device", "show"], ["device", "renew-key"],
    ["unit", "add"], ["unit", "list"], ["unit", "change"], ["unit", "end"], ["channel", "list"], ["channel", "open"],
    ["channel", "who-can-read"], ["channel", "admit"], ["channel", "remove"], ["channel", "rekey"],
    ["channel", "grant"], ["channel", "archive"], ["incident", "open"], ["incident", "list"], ["incident", "show"],
    ["incident", "describe"], ["incident", "assign"], ["incident", "close"], ["consult", "request"], ["consult", "list"], ["consult", "show"], ["consult", "accept"], ["consult", "decline"], ["consult", "hold"], ["consult", "escalate"], ["consult", "cancel"], ["consult", "join"], ["consult", "leave"], ["consult", "end"], ["consult", "take"], ["consult", "release"], ["consult", "side"], ["consult", "watch"], ["consult", "video"], ["status", "set"], ["status", "show"], ["records", "open"],
    ["records", "log"], ["records", "list"], ["records", "hold"], ["records", "release"], ["records", "shred"],
    ["chat"], ["watch"], ["share"], ["oncall"],
    ["rota", "list"], ["rota", "show"], ["rota", "add"], ["rota", "change"], ["rota", "end"], ["rota", "cover"], ["rota", "swap"],
    ["rota", "absent"], ["rota", "import"], ["rota", "feed"], ["ladder", "list"], ["ladder", "show"], ["ladder", "add"],
    ["ladder", "change"], ["ladder", "end"], ["member", "skills"], ["doctor"], ["backup"], ["restore"], ["sign-out"], ["device", "confirm"], ["demo"],
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEESIDE_HOME", str(tmp_path / "home"))
    for name in ("LEESIDE_PROFILE", "LEESIDE_SERVER", "LEESIDE_PASSPHRASE_FILE", "LEESIDE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "pass"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    return path


def enrolled(home: Path) -> None:
    """A profile as after enrolment, with keys of its own and a server that is not there."""
    mine = profile("default", home)
    with Keystore.create(mine.keystore_path, Passphrase(PASSPHRASE, Cost(1, 8, 1))) as keystore:
        keys = DeviceKeys.create(lambda n: bytes(range(n)), 1_800_000_000_000)
        save_enrolment(keystore, keys, AgencyId(b"a" * 16), MemberId(b"m" * 16), b"r" * 32)
    mine.save(Settings("https://server.test"))


def run(*args: str, handler: httpx.MockTransport | None = None) -> Result:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def at_once(wait_s: float) -> None:
        """Instead of waiting between attempts."""

    def connecting(server: str, tokens: TokenSource | None, ca_file: Path | None) -> Api:
        return Api(server, tokens, transport=handler or httpx.MockTransport(unreachable), sleep=at_once)

    return CliRunner().invoke(build(connecting), list(args))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.slow
def test_help_shows_every_command_in_one_panel_and_no_names_of_types() -> None:
    named = [name for names in PANELS.values() for name in names]
    assert sorted(named) == sorted({command[0] for command in COMMANDS})
    for command in COMMANDS:
        shown = run(*command, "--help").output
        assert not [kind for kind in ("<str>", "<path>", "<int>", "<list[") if kind in shown], command


def test_the_list_of_commands_is_whole() -> None:
    from typer.main import get_command

    def leaves(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        inner: dict[str, object] = getattr(command, "commands", {})
        if not inner:
            yield path
        for name, sub in inner.items():
            yield from leaves(sub, (*path, name))

    assert {tuple(c) for c in COMMANDS} == set(leaves(get_command(build()), ()))


@pytest.mark.parametrize(
    ("given", "hoisted"),
    [
        (["member", "list", "--json"], ["--json", "member", "list"]),
        (["chat", "x", "--profile", "anna", "--follow"], ["--profile", "anna", "chat", "x", "--follow"]),
        (["a", "--server=https://x", "b"], ["--server=https://x", "a", "b"]),
        (["chat", "x", "--", "--json"], ["chat", "x", "--", "--json"]),
        (["a", "--profile"], ["--profile", "a"]),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], hoisted: list[str]) -> None:
    assert hoist(given) == hoisted


def test_a_profile_that_is_not_there_says_what_to_do() -> None:
    result = run("member", "list", "--json")
    assert result.exit_code == Exit.NOT_SIGNED_IN
    assert "enrol" in json.loads(result.stderr)["error"]["detail"]


def test_a_wrong_passphrase_says_so(home: Path, passphrase_file: Path) -> None:
    enrolled(home)
    passphrase_file.write_text("another passphrase\n")
    result = run("member", "list", "--passphrase-file", str(passphrase_file))
    assert result.exit_code == Exit.KEYSTORE
    assert "another passphrase" not in result.output


def test_nobody_at_the_keyboard_is_told_about_the_passphrase_file(home: Path) -> None:
    enrolled(home)
    result = run("member", "list")
    assert result.exit_code == Exit.KEYSTORE
    assert "--passphrase-file" in result.stderr


def test_a_passphrase_file_that_others_read_is_refused(home: Path, passphrase_file: Path) -> None:
    enrolled(home)
    passphrase_file.chmod(0o644)
    result = run("member", "list", "--passphrase-file", str(passphrase_file))
    assert result.exit_code == Exit.KEYSTORE
    assert "chmod 600" in result.stderr


def test_a_server_that_is_not_there_is_exit_4(home: Path, passphrase_file: Path) -> None:
    enrolled(home)
    result = run("member", "list", "--passphrase-file", str(passphrase_file))
    assert result.exit_code == Exit.TRY_AGAIN
    assert "(unreachable)" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_what_nobody_foresaw_ends_in_a_sentence(
    home: Path, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("secret-canary")

    enrolled(home)
    args = ("member", "list", "--passphrase-file", str(passphrase_file))
    result = run(*args, handler=httpx.MockTransport(broken))
    assert result.exit_code == Exit.FAILED
    assert "LEESIDE_DEBUG=1" in " ".join(result.stderr.split())
    assert "secret-canary" not in result.output
    assert "Traceback" not in result.output
    monkeypatch.setenv("LEESIDE_DEBUG", "1")
    assert isinstance(run(*args, handler=httpx.MockTransport(broken)).exception, ZeroDivisionError)


def test_doctor_tells_all_it_found_and_fails(home: Path, passphrase_file: Path) -> None:
    enrolled(home)
    result = run("doctor", "--json", "--passphrase-file", str(passphrase_file))
    assert result.exit_code == Exit.FAILED
    found = json.loads(result.stdout)
    assert [f["grade"] for f in found] == ["ok", "fail"]


def test_chat_without_a_keyboard_asks_for_send_or_follow(home: Path) -> None:
    enrolled(home)
    result = run("chat", "agency")
    assert result.exit_code == Exit.USAGE


def test_the_version() -> None:
    assert json.loads(run("--json", "--version").stdout)["version"]
