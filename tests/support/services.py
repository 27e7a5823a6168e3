"""Real Redis and PostgreSQL servers, each in a folder of its own on a port of its own, for tests, faults and benchmarks.

    with redis_running() as redis, postgres_running() as postgres:
        redis.url                        # redis://127.0.0.1:…/0
        dsn = postgres.create_database() # postgresql://leeside:…@127.0.0.1:…/…
        redis.kill(); redis.start()      # the port stays; Redis comes back empty
        postgres.restart()

The programs are those that `./dev` names (see deploy/devtool/services.py). PostgreSQL runs with the durability that the
store demands (fsync and synchronous_commit on). It refuses to run as root, so under root it runs as `postgres` or `nobody`.
"""

import contextlib
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.devtool.services import POSTGRES, REDIS, Program
from tests.support.patience import PATIENCE_S

START_S = PATIENCE_S
STOP_S = PATIENCE_S
POLL_S = 0.02
HOST = "127.0.0.1"
ATTEMPTS = 5
"""A free port can be taken by somebody else before the server has it: then another one is tried."""
LISTENING = range(20_000, 32_000)
"""Where servers of tests listen: below what systems give to connections by themselves (Linux from 32,768 on, others from
49,152). One of those may be anybody's before the server has it, or while it is down; and whoever dials a server that is
not there yet may be given its very port, and hold it."""
_GIVEN: deque[int] = deque(maxlen=1_000)
"""What `free_ports` gave last: until its server listens such a port looks free, and who asks twice for one server (nginx
listens on two) must not be given it twice."""
_CHANCE = random.SystemRandom()


class ServerFailed(RuntimeError):
    """A server did not start or stop; the text holds the end of its log."""


def program_path(program: Program) -> Path:
    """Where the program is. Raises `ServerFailed` with the fix when it is nowhere."""
    path = program.locate()
    if path is None:
        raise ServerFailed(f"{program.name} is missing. Run ./dev test, which installs it, or: {program.fix}")
    return path


def free_port() -> int:
    """A TCP port of the loopback that nobody has, and that nobody is given by chance before the server has it."""
    return free_ports(1)


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """The first of so many ports in a row that nobody has; see `free_port`."""
    ours = _share(os.environ)
    for _ in range(ATTEMPTS * 20):
        first = _CHANCE.randrange(ours.start, ours.stop - count + 1)
        row = range(first, first + count)
        if not set(row).isdisjoint(_GIVEN):
            continue
        with contextlib.ExitStack() as taken:
            try:
                for port in row:
                    taken.enter_context(socket.socket(socket.AF_INET, kind)).bind((HOST, port))
            except OSError:
                continue
        _GIVEN.extend(row)
        return first
    raise ServerFailed(f"no {count} free ports in a row between {ours.start} and {ours.stop}")


def _share(environment: Mapping[str, str]) -> range:
    """The part of `LISTENING` that is this process's where pytest-xdist runs several beside each other."""
    number = int(environment.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(LISTENING) // int(environment.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return LISTENING[number * size : (number + 1) * size]


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that a server runs as; None of each: the one who runs the tests."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def harmless(cls) -> Self:
        """Ourselves, or under root somebody who may do little."""
        if os.geteuid() != 0:
            return cls()
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise ServerFailed(
            "PostgreSQL refuses to run as root, and neither `postgres` nor `nobody` exists: use another user."
        )

    def own(self, path: Path) -> None:
        """Give the file or folder to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


@dataclass(slots=True)
class ServerProcess:
    """One server program: started, asked whether it answers, stopped or killed. Not safe to share between threads."""

    command: Sequence[str | Path]
    folder: Path
    account: Account = field(default_factory=Account)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> int:
        """The process id. Raises `ServerFailed` when it does not run."""
        if self._running is None:
            raise ServerFailed(f"{self.command[0]} does not run")
        return self._running.pid

    def failed(self, problem: str) -> ServerFailed:
        """An error with the end of the log in it."""
        log = self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else "(no log)"
        return ServerFailed(f"{Path(self.command[0]).name}: {problem}\n{log}")

    def start(self, port: int, greeting: bytes, answer: bytes) -> None:
        """Start and wait until a greeting sent to the port gets the answer. Raises `ServerFailed`."""
        self.start_until(lambda: answers(port, greeting, answer))

    def start_until(self, ready: Callable[[], bool]) -> None:
        """Start and wait until it says that it is ready. Raises `ServerFailed`."""
        if self._running is not None:
            raise ServerFailed(f"{self.command[0]} runs already")
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [str(word) for word in self.command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.account.uid,
                group=self.account.gid,
                extra_groups=None if self.account.uid is None else [],
                start_new_session=True,  # Ctrl-C goes to the tests, which then stop their servers in order
            )
        deadline_s = time.monotonic() + START_S
        while not ready():
            if self._running.poll() is not None:
                code, self._running = self._running.returncode, None
                raise self.failed(f"ended with {code} while starting")
            if time.monotonic() > deadline_s:
                self.end(signal.SIGKILL)
                raise self.failed(f"did not answer within {START_S:.0f} s")
            time.sleep(POLL_S)

    def end(self, how: signal.Signals) -> None:
        """Send the signal and wait for the end; after `STOP_S` it is killed and `ServerFailed` raised. Idempotent."""
        running, self._running = self._running, None
        if running is None:
            return
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(how)
        try:
            running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise self.failed(f"did not end within {STOP_S:.0f} s of {how.name}") from None


def answers(port: int, greeting: bytes, answer: bytes) -> bool:
    """Whether a server on the port answers the greeting with what begins like `answer`."""
    try:
        with socket.create_connection((HOST, port), timeout=20) as connection:
            connection.sendall(greeting)
            return connection.recv(64).startswith(answer)
    except OSError:
        return False


@dataclass(slots=True)
class RedisServer:
    """A Redis without persistence, as the cluster runs it: a restart forgets everything."""

    process: ServerProcess
    port: int

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start on the same port. Raises `ServerFailed`."""
        self.process.start(self.port, b"PING\r\n", b"+PONG")

    def stop(self) -> None:
        """Stop in order."""
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """End without a goodbye, as a crash would."""
        self.process.end(signal.SIGKILL)

    def flush(self) -> None:
        """Forget everything. Raises `ServerFailed` when it does not answer."""
        if not answers(self.port, b"FLUSHALL\r\n", b"+OK"):
            raise self.process.failed("FLUSHALL got no answer")


@contextlib.contextmanager
def redis_running() -> Generator[RedisServer]:
    """A Redis for as long as the block runs. Raises `ServerFailed`."""
    program = program_path(REDIS)
    folder = Path(tempfile.mkdtemp(prefix="leeside-redis-"))
    try:
        server = start_redis(program, folder)
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_redis(program: Path, folder: Path) -> RedisServer:
    """Start on some free port."""
    for attempt in range(ATTEMPTS):
        port = free_port()
        options = {
            "bind": HOST,
            "port": str(port),
            "save": "",
            "appendonly": "no",
            "dir": str(folder),
            "daemonize": "no",
        }
        command = [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]
        server = RedisServer(ServerProcess(command, folder), port)
        try:
            server.start()
        except ServerFailed:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")


POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "logging_collector": "off",
    "log_min_messages": "warning",
}

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a client asks before anything else (PostgreSQL protocol, SSLRequest); a server that is up answers S or N."""


@dataclass(slots=True)
class PostgresServer:
    """A PostgreSQL of its own, with one role that may do everything and a password that nobody else knows."""

    process: ServerProcess
    programs: Path
    """The folder with initdb, postgres and psql."""
    port: int
    password: str = field(repr=False)

    def dsn(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://leeside:{self.password}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start on the same port, and wait until it takes queries. Raises `ServerFailed`."""
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                self.process.start(self.port, SSL_REQUEST, b"N")
                break
            except ServerFailed as failure:
                # After a kill the children notice on their own; until the last one has gone, a start is refused.
                if "shared memory" not in str(failure) or time.monotonic() > deadline_s:
                    raise
            time.sleep(POLL_S)
        while self._psql("SELECT 1").returncode:
            if time.monotonic() > deadline_s:
                raise self.process.failed(f"took no query within {START_S:.0f} s")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop in order, closing connections (fast shutdown)."""
        self.process.end(signal.SIGINT)

    def kill(self) -> None:
        """End without a goodbye, as a crash would: the next start replays the log."""
        self.process.end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order and start again."""
        self.stop()
        self.start()

    def run_sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement by psql; returns what it printed, unaligned. Raises `ServerFailed` with the server's reason."""
        done = self._psql(statement, database)
        if done.returncode:
            raise self.process.failed(done.stderr.strip())
        return done.stdout.strip()

    def create_database(self) -> str:
        """Make an empty database with a name of its own; returns its DSN."""
        name = f"leeside_{secrets.token_hex(6)}"
        self.run_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Drop what `create_database` made, with whoever is still connected."""
        self.run_sql(f"DROP DATABASE IF EXISTS {dsn.rpartition('/')[2]} WITH (FORCE)")

    def _psql(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                str(self.programs / "psql"),
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                self.dsn(database),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
            cwd=self.process.folder,
        )


def initialise(programs: Path, folder: Path, account: Account, password: str) -> None:
    """Make the data folder. Raises `ServerFailed` with initdb's reason."""
    secret = folder / "password"
    secret.touch(0o600)
    secret.write_text(password)
    account.own(secret)
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "leeside", "-A", "scram-sha-256"]
    try:
        done = subprocess.run(
            [*command, "--pwfile", str(secret), "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else [],
        )
    except PermissionError:
        raise ServerFailed(
            f"PostgreSQL refuses to run as root, and the user it then runs as may not read {programs}. "
            "Move the checkout to a folder that others may read, such as /opt, or do not run as root."
        ) from None
    if done.returncode:
        raise ServerFailed(f"initdb: {done.stderr.strip()}")
    secret.unlink()


@contextlib.contextmanager
def postgres_running() -> Generator[PostgresServer]:
    """A PostgreSQL for as long as the block runs. Raises `ServerFailed`."""
    programs = program_path(POSTGRES)
    account = Account.harmless()
    folder = Path(tempfile.mkdtemp(prefix="leeside-postgres-"))
    account.own(folder)
    try:
        password = secrets.token_hex(16)
        initialise(programs, folder, account, password)
        server = start_postgres(programs, folder, account, password)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_postgres(programs: Path, folder: Path, account: Account, password: str) -> PostgresServer:
    """Start on some free port."""
    for attempt in range(ATTEMPTS):
        port = free_port()
        settings = {**POSTGRES_SETTINGS, "port": str(port), "unix_socket_directories": str(folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = ServerProcess([programs / "postgres", "-D", folder / "data", *options], folder, account)
        server = PostgresServer(process, programs, port, password)
        try:
            server.start()
        except ServerFailed:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")
