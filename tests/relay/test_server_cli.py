"""The command `leeside-server`: sentences with the fix, exit codes, and never a traceback."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from leeside_protocol.ids import AgencyId
from leeside_protocol.words import PersonBy
from leeside_server import cli, places
from leeside_server.compose import open_store
from leeside_server.config import Config
from leeside_server.config_file import sample
from leeside_server.core.identity import AgencyRow, bootstrap_hash
from leeside_server.core.rows import create, read
from leeside_server.core.writes import NO_DEVICE, AuditRow, Item
from leeside_server.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable
from tests.support.patience import PATIENCE_S
from tests.support.services import free_port


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEESIDE_DEBUG", raising=False)

    def run(*words: str) -> Done:
        monkeypatch.setattr("sys.argv", ["leeside-server", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Done(int(ended.value.code or 0), out, err)

    return run


class TestConfiguration:
    def test_default_config_is_the_sample(self, command: Command) -> None:
        assert command("default-config") == Done(EXIT_OK, sample(), "")

    def test_check_config_says_that_all_is_well(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "leeside.toml").write_text(sample())
        assert command("check-config") == Done(EXIT_OK, "The configuration is in order.\n", "")
        assert command("check-config", "leeside.toml").code == EXIT_OK
        assert not (tmp_path / "leeside-data").exists()

    def test_check_config_says_all_that_is_wrong(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "leeside.toml").write_text("[server]\nprot = 1\nport = -1\n")
        done = command("check-config")
        assert done.code == EXIT_CONFIG
        assert done.out == ""
        assert done.err == (
            "leeside-server: [server] The setting `prot` is not known. Is `port` meant?\n"
            "leeside-server: [server] port is not valid. It must be a whole number from 0 to 65535.\n"
        )

    def test_check_config_looks_at_the_files_too(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "leeside.toml").write_text('[store]\nkind = "postgres"\ndsn_file = "dsn"\n')
        done = command("check-config")
        assert done.code == EXIT_CONFIG
        assert "which is not there" in done.err

    def test_check_config_warns_of_open_secrets(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "dsn").write_text("postgresql://h/d")
        (tmp_path / "dsn").chmod(0o644)
        (tmp_path / "leeside.toml").write_text('[store]\nkind = "postgres"\ndsn_file = "dsn"\n')
        done = command("check-config")
        assert done.code == EXIT_OK
        assert f"chmod o-rwx {tmp_path}/dsn" in done.err

    @pytest.mark.parametrize("name", ["serve", "migrate", "doctor", "bootstrap-code", "check-config"])
    def test_every_command_refuses_a_port_that_anyone_can_read(
        self, command: Command, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LEESIDE_HOST", "0.0.0.0")
        done = command(name)
        assert done.code == EXIT_CONFIG
        assert "can be reached from other machines" in done.err

    def test_a_named_file_that_is_not_there(self, command: Command) -> None:
        done = command("serve", "--config", "none.toml")
        assert done.code == EXIT_CONFIG
        assert done.err == (
            "leeside-server: There is no file none.toml. Make one: leeside-server default-config > leeside.toml\n"
        )


class TestMigrate:
    def test_sqlite(self, command: Command, tmp_path: Path) -> None:
        for _ in range(2):
            done = command("migrate")
            assert done.code == EXIT_OK
            assert done.out.startswith("The database is up to date (schema ")
        assert (tmp_path / "leeside-data/leeside.db").exists()

    def test_another_programs_database_is_refused_in_words(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "leeside-data").mkdir()
        connection = sqlite3.connect(tmp_path / "leeside-data/leeside.db")
        connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        done = command("migrate")
        assert done.code == EXIT_CONFIG
        assert "another program's database" in done.err

    def test_postgres(self, command: Command, tmp_path: Path, postgres_dsn: str) -> None:
        (tmp_path / "dsn").write_text(postgres_dsn)
        (tmp_path / "leeside.toml").write_text('[store]\nkind = "postgres"\ndsn_file = "dsn"\n')
        assert command("migrate").code == EXIT_OK
        assert command("migrate").code == EXIT_OK

    def test_a_postgres_that_is_not_there(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "dsn").write_text(f"postgresql://u:canary@127.0.0.1:{free_port()}/d")
        (tmp_path / "leeside.toml").write_text('[store]\nkind = "postgres"\ndsn_file = "dsn"\n')
        done = command("migrate")
        assert done.code == EXIT_UNAVAILABLE
        assert "canary" not in done.err


class TestBootstrapCode:
    def test_the_code_is_shown_once_and_its_hash_kept(self, command: Command, tmp_path: Path) -> None:
        first = command("bootstrap-code")
        assert first.code == EXIT_OK
        second = msgspec.json.decode(command("bootstrap-code", "--json").out)["code"]
        kept = tmp_path / "leeside-data/bootstrap-codes"
        assert kept.read_text().splitlines() == [
            bootstrap_hash(first.out.strip()).hex(),
            bootstrap_hash(second).hex(),
        ]
        assert kept.stat().st_mode & 0o777 == 0o600
        assert first.out.strip() != second

    def test_a_place_that_cannot_be_written(
        self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LEESIDE_BOOTSTRAP_CODE_FILE", str(tmp_path / "none/codes"))
        done = command("bootstrap-code")
        assert done.code == EXIT_CONFIG
        assert done.out == ""


class TestPersonReset:
    AGENCY = AgencyId(bytes(range(16)))

    def keep(self, config: Config, person: PersonBy) -> None:
        async def work() -> None:
            store = await open_store(config)
            row = AgencyRow("Harbour", b"r" * 32, 1, person, person_since_ms=1)
            await store.apply([Item(self.AGENCY, 1, (create(self.AGENCY, row),))])
            await store.close()

        places.make_data_dir(config)
        asyncio.run(work())

    def kept(self, config: Config) -> tuple[AgencyRow, list[AuditRow]]:
        async def work() -> tuple[AgencyRow, list[AuditRow]]:
            store = await open_store(config)
            found = await store.get(self.AGENCY, "agency", self.AGENCY)
            assert found is not None
            events = list(await store.audits(self.AGENCY, 0, 10))
            await store.close()
            return read(AgencyRow, found).row, events

        return asyncio.run(work())

    @pytest.mark.parametrize("person", [PersonBy.PASSKEY, PersonBy.OIDC])
    def test_an_agency_that_is_locked_out_is_let_in_and_sees_who_did_it(
        self, command: Command, tmp_path: Path, person: PersonBy
    ) -> None:
        config = cli.load(None, {})
        self.keep(config, person)
        done = command("person-reset", self.AGENCY.hex())
        assert done.code == EXIT_OK
        assert person.value in done.out
        row, events = self.kept(config)
        assert row.person is PersonBy.DEVICE
        assert row.person_since_ms > 1
        assert (row.label, row.root_pub, row.created_ms) == ("Harbour", b"r" * 32, 1)
        assert [(e.event, e.actor, e.subject, e.outcome) for e in events] == [
            ("agency_changed", NO_DEVICE, self.AGENCY, "person_device_by_operator")
        ]

    def test_one_that_is_not_is_left_as_it_is(self, command: Command) -> None:
        config = cli.load(None, {})
        self.keep(config, PersonBy.DEVICE)
        before = self.kept(config)
        done = command("person-reset", self.AGENCY.hex())
        assert done.code == EXIT_OK
        assert "Nothing was changed" in done.out
        assert self.kept(config) == before

    @pytest.mark.parametrize(
        ("named", "says"), [("ff" * 16, "no such agency"), ("harbour", "no agency's id")]
    )
    def test_an_agency_that_is_not_there(self, command: Command, named: str, says: str) -> None:
        self.keep(cli.load(None, {}), PersonBy.PASSKEY)
        done = command("person-reset", named)
        assert (done.code, done.out) == (EXIT_CONFIG, "")
        assert says in done.err

    def test_a_store_that_a_running_server_holds(self, command: Command) -> None:
        config = cli.load(None, {})
        self.keep(config, PersonBy.PASSKEY)
        with asyncio.Runner() as runner:
            store = runner.run(open_store(config))
            done = command("person-reset", self.AGENCY.hex())
            runner.run(store.close())
        assert done.code == EXIT_CONFIG
        assert self.kept(config)[0].person is PersonBy.PASSKEY


class TestDoctor:
    def test_sentences(self, command: Command) -> None:
        done = command("doctor")
        assert "disk_sync" in done.out
        assert done.code == (EXIT_FAILED if "BAD" in done.out else EXIT_OK)

    def test_json(self, command: Command) -> None:
        findings = msgspec.json.decode(command("doctor", "--json").out)["findings"]
        assert {"disk_sync", "store"} <= {finding["check"] for finding in findings}
        assert all(finding["verdict"] in {"well", "warning", "bad"} for finding in findings)

    def test_what_is_bad_fails(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "leeside-data").mkdir(mode=0o700)
        (tmp_path / "leeside-data/leeside.db").write_bytes(b"not a database" * 100)
        done = command("doctor")
        assert done.code == EXIT_FAILED
        assert "cannot be read as a database" in done.out
        assert "→ Check its owner" in done.out


class TestWords:
    def test_what_a_task_group_wrapped(self) -> None:
        wrapped = ExceptionGroup("", [ExceptionGroup("", [StoreUnavailable("57P01")])])
        told = cli.in_words(wrapped)
        assert told is not None
        assert told.exit_code == EXIT_UNAVAILABLE
        assert "57P01" in str(told)

    def test_a_bug_among_them_stays_one(self) -> None:
        assert cli.in_words(ExceptionGroup("", [StoreUnavailable("x"), ZeroDivisionError()])) is None
        assert cli.in_words(ZeroDivisionError()) is None

    def test_a_full_disk_and_a_refused_store(self) -> None:
        full, refused = cli.in_words(StoreFull()), cli.in_words(StoreRefused("fsync is off"))
        assert full is not None
        assert full.exit_code == EXIT_UNAVAILABLE
        assert refused is not None
        assert refused.exit_code == EXIT_CONFIG


class Server:
    """`leeside-server serve` as a process of its own, on a free port."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leeside_server.cli", "serve"],
            cwd=folder,
            env={**os.environ, "LEESIDE_PORT": "0", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def port(self) -> int:
        """Where it serves; fails with what it said when it does not."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("{") and msgspec.json.decode(line)["event"] == "serving":
                return int(msgspec.json.decode(line)["port"])
        raise AssertionError("".join(self.lines))

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        _, rest = self.process.communicate(timeout=30)
        self.lines.append(rest)
        assert "Traceback" not in "".join(self.lines)
        return self.process.returncode


@pytest.mark.slow
class TestServe:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_from_start_to_stop_and_again(self, tmp_path: Path, how: signal.Signals) -> None:
        for _ in range(2):
            server = Server(tmp_path)
            try:
                answer = httpx.get(f"http://127.0.0.1:{server.port()}/healthz", timeout=PATIENCE_S)
                assert answer.status_code == 200
                assert server.end(how) == EXIT_OK
            finally:
                server.process.kill()
                server.process.communicate()

    def test_systemd_is_told_when_it_serves(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(30)
            server = Server(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"))
            try:
                server.port()
                assert manager.recv(100) == b"READY=1"
            finally:
                server.process.kill()
                server.process.communicate()

    def test_a_port_that_is_taken_is_told_in_words(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server(tmp_path, LEESIDE_PORT=str(taken.getsockname()[1]))
            _, said = server.process.communicate(timeout=30)
        assert server.process.returncode == EXIT_CONFIG
        assert "cannot be listened on" in said
        assert "Traceback" not in said

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_before_it_serves_a_signal_ends_it_at_once(self, tmp_path: Path, how: signal.Signals) -> None:
        with socket.create_server(
            ("127.0.0.1", 0)
        ) as silent:  # a PostgreSQL that takes the call and says nothing
            silent.settimeout(30)
            (tmp_path / "dsn").write_text(f"postgresql://u:canary@127.0.0.1:{silent.getsockname()[1]}/d")
            server = Server(tmp_path, LEESIDE_STORE="postgres", LEESIDE_DSN_FILE=str(tmp_path / "dsn"))
            connection, _ = silent.accept()
            with connection:
                assert server.end(how) == 128 + how
        assert "canary" not in "".join(server.lines)

    def test_a_second_server_on_the_same_data_is_refused(self, tmp_path: Path) -> None:
        first = Server(tmp_path)
        try:
            first.port()
            second = Server(tmp_path)
            _, said = second.process.communicate(timeout=30)
            assert second.process.returncode == EXIT_CONFIG
            assert "in use by process" in said
            assert first.end(signal.SIGTERM) == EXIT_OK
        finally:
            first.process.kill()
            first.process.communicate()


class TestCommandLine:
    def test_a_command_that_is_not_there(self, command: Command) -> None:
        done = command("sevre")
        assert done.code == EXIT_USAGE
        assert "'serve'" in done.err

    def test_an_option_is_written_out(self, command: Command) -> None:
        assert command("serve", "--conf", "none.toml").code == EXIT_USAGE

    def test_nothing_asked_is_answered_with_what_can_be(self, command: Command) -> None:
        done = command()
        assert done.code == EXIT_USAGE
        assert done.out == ""
        assert "check-config" in done.err

    def test_a_reader_that_has_seen_enough(self, tmp_path: Path) -> None:
        gone, results = os.pipe()
        os.close(gone)
        words = [sys.executable, "-m", "leeside_server.cli", "default-config"]
        done = subprocess.run(
            words, cwd=tmp_path, stdout=results, stderr=subprocess.PIPE, check=False, timeout=30
        )
        os.close(results)
        assert (done.returncode, done.stderr) == (EXIT_FAILED, b"")

    def test_help_names_every_command(self, command: Command) -> None:
        done = command("--help")
        assert done.code == EXIT_OK
        for name in (
            "serve",
            "check-config",
            "default-config",
            "migrate",
            "doctor",
            "bootstrap-code",
            "person-reset",
        ):
            assert name in done.out

    def test_a_bug_is_one_sentence(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> str:
            raise ZeroDivisionError("canary")

        monkeypatch.setattr("leeside_server.config_file.sample", broken)
        done = command("default-config")
        assert done.code == EXIT_FAILED
        assert "canary" not in done.err
        assert "ZeroDivisionError" in done.err
        assert "LEESIDE_DEBUG=1" in done.err

    def test_unless_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> str:
            raise ZeroDivisionError

        monkeypatch.setattr("leeside_server.config_file.sample", broken)
        monkeypatch.setenv("LEESIDE_DEBUG", "1")
        monkeypatch.setattr("sys.argv", ["leeside-server", "default-config"])
        with pytest.raises(ZeroDivisionError):
            cli.main()
