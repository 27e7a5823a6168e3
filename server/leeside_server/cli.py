"""`leeside-server`: what an operator types.

Exit codes: 0 done; 1 a check failed, or the server did (the log says where); 2 the command line is not
understood; 69 a disk, store or bus does not answer now, and the same command may succeed later; 78 something must
be changed first, and the message says what. Results go to standard output, everything else to standard error.
People never see a traceback, unless LEESIDE_DEBUG=1 asks for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from leeside_server import config_file, log, places
from leeside_server.config import Config
from leeside_server.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    NotReachable,
    Problem,
    ServerError,
    StartRefused,
)

if TYPE_CHECKING:
    from leeside_protocol.ids import AgencyId

T = TypeVar("T")

_ABOUT: Final = "The Leeside server: carries what it cannot read, and loses nothing that it acknowledged."
_EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a check or the server failed; 2 wrong command line; 69 a disk, store or bus does "
    "not answer now, try again; 78 something must be changed first."
)


def command_line() -> argparse.ArgumentParser:
    """Reads what was typed: `command` is the function to call with all the rest, None when nothing was asked.

    With argparse and not with Typer, as `leeside` is: that brings pydantic, and the two are a quarter of the time until a
    killed server listens again.
    """
    parser = argparse.ArgumentParser(
        "leeside-server", description=_ABOUT, epilog=_EXIT_CODES, allow_abbrev=False
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, work: Callable[..., None], *, configured: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=work.__doc__, description=work.__doc__, allow_abbrev=False)
        added.set_defaults(command=work)
        if configured:
            says = "The configuration; LEESIDE_CONFIG or ./leeside.toml when not given."
            added.add_argument("-c", "--config", type=Path, metavar="FILE", help=says)
        return added

    serving = command("serve", serve)
    serving.add_argument("--roles", metavar="ROLES", help="What this process does, separated by commas.")
    checking = command("check-config", check_config)
    checking.add_argument("file", nargs="?", type=Path, metavar="FILE", help="The file to check.")
    command("default-config", default_config, configured=False)
    command("migrate", migrate)
    resetting = command("person-reset", person_reset)
    resetting.add_argument("agency", metavar="AGENCY", help="The agency's id: 32 hexadecimal digits.")
    for spoken in (command("doctor", doctor), command("bootstrap-code", bootstrap_code)):
        spoken.add_argument("--json", action="store_true", help="Print one JSON object instead of sentences.")
    return parser


def serve(config: Path | None, roles: str | None) -> None:
    """Run the server until it is told to stop (SIGTERM or Ctrl-C)."""
    settings = load(config, {} if roles is None else {"LEESIDE_ROLES": roles})
    if problems := tuple(places.problems(settings)):
        raise StartRefused(*problems)
    log.set_up(settings.log.level, settings.log.format)
    signals = Signals()
    # Next to nothing that a start makes is garbage: the collector would look at all of it again and again, with clients
    # waiting.
    gc.disable()
    try:
        from leeside_server.machine import raise_open_files

        if "relay" in settings.server.roles:
            from leeside_server.compose import serve as run_server
        else:
            from leeside_server.bridging import serve_bridge as run_server

        raise_open_files()
        run(run_server(settings, signals.serving))
    finally:
        gc.enable()


def check_config(config: Path | None, file: Path | None) -> None:
    """Say everything that is wrong with a configuration; nothing is started."""
    settings = load(file or config, {})
    if problems := tuple(places.problems(settings)):
        raise StartRefused(*problems)
    for path in places.open_to_others(settings):
        tell(f"{path} may be read by other users of this machine. Close it: chmod o-rwx {path}")
    print("The configuration is in order.")


def default_config() -> None:
    """Print a configuration with every setting, what it is for, and its default."""
    print(config_file.sample(), end="")


def migrate(config: Path | None) -> None:
    """Bring the database up to date. `serve` does so by itself; several nodes may want it done before."""
    settings = load(config, {})
    places.make_data_dir(settings)
    schema = run(_migrate(settings))
    print(f"The database is up to date (schema {schema}).")


def doctor(config: Path | None, json: bool) -> None:
    """Measure whether this machine can keep what the server promises."""
    settings = load(config, {})
    from leeside_server.doctor import examine
    from leeside_server.findings import Verdict

    report = run(examine(settings))
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        signs = {Verdict.WELL: "ok     ", Verdict.WARNING: "warning", Verdict.BAD: "BAD    "}
        for finding in report.findings:
            print(f"{signs[finding.verdict]}  {finding.check:17} {finding.says}")
            if finding.fix:
                print(f"{'':28}→ {finding.fix}")
    if report.bad:
        sys.exit(EXIT_FAILED)


def bootstrap_code(config: Path | None, json: bool) -> None:
    """Make a one-time code with which one agency can be created. It is shown once: only its hash is kept."""
    settings = load(config, {})
    from leeside_server.core.identity import CODE_BYTES, bootstrap_hash, enrolment_code

    if settings.bootstrap.code_file is None:
        places.make_data_dir(settings)
    code = enrolment_code(secrets.token_bytes(CODE_BYTES))
    keep_code(settings.code_path, bootstrap_hash(code))
    if json:
        print(msgspec.json.encode({"code": code}).decode())
        return
    print(code)
    tell("Give it to whoever creates the agency (leeside agency create). It works once.")


def person_reset(config: Path | None, agency: str) -> None:
    """Let an agency's people in by their device alone again, when nobody can show the person that it asks for."""
    from leeside_protocol.errors import ProtocolError
    from leeside_protocol.ids import AgencyId, from_hex

    settings = load(config, {})
    try:
        named = AgencyId(from_hex(agency))
    except ProtocolError:
        raise StartRefused(
            Problem("This is no agency's id.", "It has 32 hexadecimal digits: leeside device show.")
        ) from None
    before = run(_person_reset(settings, named))
    if before == "device":
        print("The agency asks for its devices alone. Nothing was changed.")
        return
    print(f"The agency asked for {before}, and asks for its devices alone from now on.")
    tell("Its security events say so. An administrator can set it again, once all can show it.")


def keep_code(path: Path, code_hash: bytes) -> None:
    """Append a code's hash to the operator's file, on the disk before the code is shown. Raises `StartRefused`."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, code_hash.hex().encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        raise StartRefused(
            Problem(
                f"The code cannot be kept in {path}.", "Run this as the server's user, or check the folder."
            )
        ) from None


async def _migrate(config: Config) -> int:
    from leeside_server.adapters.migrations import SCHEMA
    from leeside_server.adapters.postgres import PostgresStore
    from leeside_server.adapters.sqlite import SqliteStore

    if config.store.kind == "sqlite":
        await (await SqliteStore.open(config.store_path, synchronous=config.store.synchronous)).close()
    else:
        await (await PostgresStore.open(places.read_dsn(config), may_migrate=True)).close()
    return SCHEMA


async def _person_reset(config: Config, agency: AgencyId) -> str:
    from leeside_server.adapters.clock import SystemClock
    from leeside_server.compose import open_store
    from leeside_server.lockout import ask_for_devices_alone

    store = await open_store(config)
    try:
        return (await ask_for_devices_alone(store, agency, SystemClock())).value
    finally:
        await store.close()


class Signals:
    """SIGTERM and SIGINT around a server that handles them itself.

    Until it serves, they end the process at once: nothing was taken yet. Then they are uvicorn's, which begins
    to drain, and raises them again when its part is done; by then the node is finishing its writes and must not
    be killed in the middle of it.
    """

    def __init__(self) -> None:
        self._serving = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def serving(self, port: int) -> None:
        """Connections are taken from now on: tell systemd, where it asked (Type=notify), and the person."""
        self._serving = True
        gc.enable()
        notify_systemd("READY=1")
        tell(f"Serving on port {port}. Ctrl-C stops it.")

    def _received(self, number: int, _frame: object) -> None:
        if not self._serving:
            raise SystemExit(128 + number)


def notify_systemd(state: str) -> None:
    """Tell the service manager (sd_notify(3)); nothing happens where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def load(path: Path | None, above: dict[str, str]) -> Config:
    """The configuration that a command works with; `above` stands over the environment."""
    environment = {**os.environ, **above}
    return config_file.read(config_file.find(path, environment), environment)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on the fastest loop there is; what a person can mend becomes a `ServerError`."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except Exception as error:
        told = in_words(error)
        if told is None:
            raise
        raise told from error


def in_words(error: BaseException) -> ServerError | None:
    """The sentence for a failure, also for one that a task group wrapped; None for a bug."""
    from leeside_server.ports import StoreFull, StoreRefused, StoreUnavailable

    match error:
        case ServerError():
            return error
        case StoreRefused():
            return StartRefused(
                Problem(f"The store is refused: {str(error).rstrip('.')}.", "Nothing was changed.")
            )
        case StoreFull():
            return NotReachable(Problem("The disk is full.", "Make room, then try again."))
        case StoreUnavailable():
            return NotReachable(
                Problem(
                    f"The store does not answer: {str(error).rstrip('.')}.",
                    "Try again; `leeside-server doctor` tells more.",
                )
            )
        case BaseExceptionGroup():
            told = [in_words(inner) for inner in error.exceptions]
            return told[0] if all(told) else None
        case _:
            return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None  # not made for this system: the standard loop does
    return uvloop.new_event_loop


def tell(text: str) -> None:
    """Say something to the person; standard output stays free for results."""
    print(f"leeside-server: {text}", file=sys.stderr)


def main() -> NoReturn:
    """The entry point of the command."""
    parser = command_line()
    given = vars(parser.parse_args())
    command = given.pop("command")
    if command is None:
        parser.print_help(sys.stderr)
        sys.exit(EXIT_USAGE)
    try:
        command(**given)
        sys.stdout.flush()
    except ServerError as error:
        for problem in error.problems:
            tell(str(problem))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the results has seen enough, as `head` does. What is left must not fail at the very end again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except Exception as error:
        if os.environ.get("LEESIDE_DEBUG") == "1":
            raise
        log.get_logger("leeside.cli").error("command_failed", exc_info=True)
        tell(f"Something failed that should not ({type(error).__name__}). LEESIDE_DEBUG=1 shows where.")
        sys.exit(EXIT_FAILED)
    sys.exit(EXIT_OK)


if __name__ == "__main__":
    main()
