"""A server under test: `leeside-server serve` as a real process, which can be killed, frozen and asked how it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.machine import on_cores, server_cores
from tests.support.patience import PATIENCE_S
from tests.support.services import HOST, free_port

START_S: Final = PATIENCE_S
STOP_S: Final = PATIENCE_S
POLL_S: Final = 0.005
ASK_S: Final = 5.0
CONTACT: Final = ".leeside.example"
PROGRAM: Final = Path(sys.executable).with_name("leeside-server")


class NodeFailed(RuntimeError):
    """A server did not start or stop; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class SignInBy:
    """An agency's own sign-in (OpenID Connect), as a node is told of it."""

    issuer: str
    client_id: str
    secret: str
    agency: str


@dataclass(frozen=True, slots=True)
class PagingBy:
    """How a node reaches people besides its sockets: a gateway for messages and calls, and hosts of push services."""

    gateway_url: str
    push_hosts: tuple[str, ...]
    secret: str = "whsec_YSBzZWNyZXQgb2YgdGhlIGZhdWx0IHJ1bnMsIG9mIDM2IGJ5"


@dataclass(frozen=True, slots=True)
class VideoBy:
    """The bridge that a node holds as well: where media come to, and the TURN server beside it. `port` 0: free ports; `public`:
    the addresses that clients are told, where they are others than it listens on."""

    listen: tuple[str, ...] = (HOST,)
    workers: int = 1
    port: int = 0
    public: tuple[str, ...] = ()
    phone: str = ""
    turn_urls: tuple[str, ...] = ()
    turn_secret: str = ""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Which store and bus a node uses. Empty texts mean the embedded ones."""

    dsn: str = ""
    redis_url: str = ""
    level: str = "info"
    incident_days: int = 0
    """How long ended incidents are kept; 0 for good."""
    origins: tuple[str, ...] = ()
    """From where else pages may open sockets: a server between them and this node."""
    sign_in_by: SignInBy | None = None
    paging_by: PagingBy | None = None
    video_by: VideoBy | None = None


def settings_file(folder: Path, data: Path, port: int, settings: NodeSettings) -> Path:
    """Write the node's configuration: production's defaults, but for rates that one machine must not meet."""
    lines = [
        "[server]",
        f'host = "{HOST}"',
        f"port = {port}",
        f'data_dir = "{data}"',
        f"public_origins = {json.dumps([f'http://localhost:{port}', f'http://{HOST}:{port}', *settings.origins])}",
        "drain_s = 5.0",
        f"roles = {json.dumps(['relay'] if settings.video_by is None else ['relay', 'video'])}",
        "[limits]",
        # The whole agency comes from one address here, and all of it at once.
        *(
            f"{name} = {{ per_s = 100000.0, burst = 100000 }}"
            for name in (
                "sockets",
                "sockets_per_source",
                "requests_per_source",
                "requests_per_device",
                "sign_ins_per_source",
                "enrolments_per_source",
                "agencies_per_source",
            )
        ),
        "[retention]",
        f"incident_days = {settings.incident_days}",
        "[log]",
        f'level = "{settings.level}"',
    ]
    if settings.dsn:
        lines += ["[store]", 'kind = "postgres"', f'dsn_file = "{_secret(folder, "dsn", settings.dsn)}"']
    if settings.redis_url:
        lines += [
            "[bus]",
            'kind = "redis"',
            f'url_file = "{_secret(folder, "redis-url", settings.redis_url)}"',
        ]
    if by := settings.sign_in_by:
        lines += [
            "[oidc]",
            f'issuer = "{by.issuer}"',
            f'client_id = "{by.client_id}"',
            f'client_secret_file = "{_secret(folder, "oidc-secret", by.secret)}"',
            f'agency = "{by.agency}"',
        ]
    if reach := settings.paging_by:
        lines += [
            "[push]",
            f"hosts = {json.dumps(reach.push_hosts)}",
            # By both it is known who brought what.
            f'contact = "https://{folder.name}{CONTACT}"',
            "[paging]",
            f'webhook_url = "{reach.gateway_url}/{folder.name}"',
            f'webhook_secret_file = "{_secret(folder, "webhook-secret", reach.secret)}"',
        ]
    if video := settings.video_by:
        lines += [
            "[video]",
            f"listen = {json.dumps(video.listen)}",
            f"public = {json.dumps(video.public)}",
            f"port = {video.port}",
            f"workers = {video.workers}",
            f'phone = "{video.phone}"',
        ]
        if video.turn_urls:
            lines += [
                "[turn]",
                f"urls = {json.dumps(video.turn_urls)}",
                f'secret_file = "{_secret(folder, "turn-secret", video.turn_secret)}"',
            ]
    path = folder / "leeside.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _secret(folder: Path, name: str, value: str) -> Path:
    path = folder / name
    path.touch(0o600)
    path.write_text(value)
    return path


@dataclass(slots=True)
class Node:
    """One server process. `folder` is for its configuration and log, `data` for what it keeps."""

    folder: Path
    data: Path
    settings: NodeSettings = field(default_factory=NodeSettings)
    port: int = field(default_factory=free_port)
    program: tuple[str, ...] = (str(PROGRAM),)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What it is called in what a run tells."""
        return self.folder.name

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def codes(self) -> Path:
        """Where the hashes of codes for new agencies stand."""
        return self.data / "bootstrap-codes"

    @property
    def pid(self) -> int:
        if self._running is None:
            raise NodeFailed("the server does not run")
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    async def start(self) -> float:
        """Start, and wait until it listens; the seconds that took. Raises `NodeFailed`."""
        began_s = time.monotonic()
        self._running = self._spawn()
        while await self.ask("/healthz", 1.0) is None:
            if not self.alive:
                code = self._running.returncode
                self._running = None
                raise self.failed(f"ended with {code} while starting")
            if time.monotonic() - began_s > START_S:
                await self.kill()
                raise self.failed(f"did not listen within {START_S:.0f} s")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began_s

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        config = settings_file(self.folder, self.data, self.port, self.settings)
        # An installation has bytecode, which a start without would make anew each time: the first one keeps it.
        environment = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith("LEESIDE_") and k != "PYTHONDONTWRITEBYTECODE"
        }
        with on_cores(server_cores()), (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [*self.program, "serve", "--config", str(config)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """End it without a goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end in order; raises `NodeFailed` when it does not."""
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Nothing of it runs until `thaw`; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(how)
        deadline_s = time.monotonic() + STOP_S
        while running.poll() is None:
            if time.monotonic() > deadline_s:
                running.kill()
                running.wait()
                raise self.failed(f"did not end within {STOP_S:.0f} s of {how.name}")
            await asyncio.sleep(POLL_S)

    async def ask(self, path: str, deadline_s: float = ASK_S) -> tuple[int, bytes] | None:
        """GET a path: status and body, or None when it could not be had."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(deadline_s):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read()
        except (OSError, TimeoutError):
            return None
        finally:
            if writer is not None:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else None

    async def readiness(self) -> dict[str, str]:
        """What `/readyz` says, with the HTTP status under `http`; `{"http": "none"}` when nothing came."""
        answer = await self.ask("/readyz")
        if answer is None:
            return {"http": "none"}
        try:
            told = msgspec.json.decode(answer[1], type=dict[str, str])
        except msgspec.MsgspecError:
            told = {}
        return told | {"http": str(answer[0])}

    def rss_bytes(self) -> int:
        """Memory of the process that is really there."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise self.failed("has no memory figure")

    def cpu_s(self) -> float:
        """Processor time used so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def log_text(self) -> str:
        """All it wrote, over all its starts."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def failed(self, problem: str) -> NodeFailed:
        """An error with the end of the log in it."""
        return NodeFailed(f"leeside-server: {problem}\n{self.log_text()[-2_000:] or '(no log)'}")
