"""The peers: installed where they are not, started on the server's core, and spoken to in their own protocols.

Mosquitto comes from apt; NATS, Socket.IO and stock Starlette from the package index, by the hashes of peers.lock, into an
environment of their own under .dev/bench. A peer that cannot be had is `Missing`, with the reason, and never dropped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.devtool.packages import alone
from deploy.devtool.place import OWN
from deploy.devtool.services import first_on_path, install_with_apt
from tests.bench.dial import (
    DialFailed,
    MqttOpening,
    NatsOpening,
    Script,
    SocketIoOpening,
    WebSocketOpening,
    dial,
)
from tests.bench.programs import PLACE, mark
from tests.faults.machine import on_cores, server_cores
from tests.faults.wire import masked
from tests.support.services import HOST, free_port

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "peers.lock"
ENVIRONMENT: Final = PLACE / "peers"
INSTALL_S: Final = 300
START_S: Final = 20.0
STOP_S: Final = 5.0
PAYLOAD_BYTES: Final = 200


class Missing(Exception):
    """The peer cannot be had here; the text says why, and what to do."""


@dataclass(slots=True)
class Peer:
    """A running peer; see `Contender`."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    open_reader: Callable[[int], Script]
    open_publisher: Callable[[int], Script]
    frame: Callable[[int], bytes]
    note: str = ""
    beat: bytes = b""
    _opened: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    async def renewed(self) -> None:
        """Peers know no tokens."""

    def reader(self) -> Script:
        self._opened += 1
        return self.open_reader(self._opened)

    def publisher(self) -> Script:
        self._opened += 1
        return self.open_publisher(self._opened)

    def frames(self, first: int, count: int) -> list[bytes]:
        return [self.frame(number) for number in range(first, first + count)]


@dataclass(frozen=True, slots=True)
class PeerKind:
    """A peer that can be started: `start` gives its command, after it wrote what that needs into the folder."""

    name: str
    start: Callable[[Path, int], list[str]]
    open_reader: Callable[[int], Script]
    open_publisher: Callable[[int], Script]
    frame: Callable[[int], bytes]
    prepare: Callable[[int], None] = field(default=lambda _port: None)
    """What to do on the running server, by its port."""


@contextmanager
def peer_running(kind: PeerKind, folder: Path) -> Generator[Peer]:
    """Install if need be, start, and end with the block. Raises `Missing`."""
    place = folder / kind.name.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = kind.start(place, port)
    environment = os.environ | {"GOMAXPROCS": "1"}
    with (place / "log").open("wb") as log, on_cores(server_cores()):
        process = subprocess.Popen(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        _await_port(kind.name, process, port, place / "log")
        try:
            kind.prepare(port)
        except DialFailed as problem:
            raise Missing(f"{kind.name} started and could not be spoken to: {problem}") from None
        yield Peer(kind.name, port, process, kind.open_reader, kind.open_publisher, kind.frame)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((HOST, port), 0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    end = log.read_text(errors="replace").strip().splitlines()
    raise Missing(f"{name} did not start: {end[-1] if end else 'it said nothing'}")


# ---- where they come from


def environment_program(name: str) -> str:
    """A program of the peers' environment, made first if need be. Raises `Missing`."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = ENVIRONMENT / "installed"
    with alone("peers"):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            PLACE.mkdir(parents=True, exist_ok=True)
            _uv("venv", "-q", str(ENVIRONMENT))
            python = str(ENVIRONMENT / "bin/python")
            _uv("pip", "install", "-q", "--require-hashes", "--python", python, "-r", str(LOCK))
            stamp.write_text(wanted)
    return str(ENVIRONMENT / "bin" / name)


def _uv(*words: str) -> None:
    uv = os.environ.get("LEESIDE_UV") or shutil.which("uv") or str(OWN / "uv/bin/uv")
    try:
        done = subprocess.run([uv, *words], capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Missing(
            f"uv could not install the peers ({type(problem).__name__}): start through ./dev bench"
        ) from None
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise Missing(f"the package index did not give the peers: {told[0] if told else 'no reason given'}")


def _mosquitto_program() -> str:
    found = first_on_path("mosquitto")
    if found is None:
        install_with_apt(["mosquitto"])
        found = first_on_path("mosquitto")
    if found is None:
        raise Missing("Mosquitto was not found and apt could not install it: sudo apt install mosquitto")
    return str(found)


# ---- how they are started


def _start_mosquitto(folder: Path, port: int) -> list[str]:
    (folder / "mosquitto.conf").write_text(
        "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
        # Its version 2.0 does not start with a WebSocket listener alone.
        f"persistence false\nlistener {free_port()} {HOST}\nlistener {port} {HOST}\nprotocol websockets\n"
    )
    return [_mosquitto_program(), "-c", str(folder / "mosquitto.conf")]


def _start_nats(folder: Path, port: int) -> list[str]:
    (folder / "nats.conf").write_text(
        f"listen: {HOST}:{free_port()}\nmax_pending: 256MB\n"
        f'websocket {{ listen: "{HOST}:{port}", no_tls: true }}\n'
        f'jetstream {{ store_dir: "{folder / "store"}", sync_interval: always }}\n'
    )
    return [environment_program("nats-server"), "-c", str(folder / "nats.conf")]


def _start_script(name: str) -> Callable[[Path, int], list[str]]:
    def start(_folder: Path, port: int) -> list[str]:
        return [environment_program("python"), str(HERE / name), str(port)]

    return start


# ---- what they are told


def payload(number: int) -> bytes:
    """200 bytes with a mark."""
    return mark(number).ljust(PAYLOAD_BYTES, b"x")


def _mqtt_frame(number: int) -> bytes:
    body = b"\x00\x01t" + payload(number)
    return masked(bytes((0x30, 0x80 | len(body) & 0x7F, len(body) >> 7)) + body)


def _nats_frame(number: int) -> bytes:
    return masked(b"PUB t %d\r\n%b\r\n" % (PAYLOAD_BYTES, payload(number)))


def _jetstream_frame(number: int) -> bytes:
    return masked(b"PUB js.t _R.%b %d\r\n%b\r\n" % (mark(number), PAYLOAD_BYTES, payload(number)))


def _socketio_frame(number: int) -> bytes:
    head = b'451-["publish",{"_placeholder":true,"num":0}]'
    return masked(head, 0x1) + masked(payload(number))


_STREAM: Final = b'{"name":"bench","subjects":["js.>"],"storage":"file","num_replicas":1}'


class _StreamMaking(NatsOpening):
    """Makes the stream; done with the server's word that it is there."""

    def __init__(self) -> None:
        order = b"SUB _C.* 1\r\nPUB $JS.API.STREAM.CREATE.bench _C.1 %d\r\n%b\r\n" % (len(_STREAM), _STREAM)
        super().__init__(order)

    def message(self, payload: bytes) -> bytes:
        out = super().message(payload)
        self.done = b'"created"' in payload
        if b'"error"' in payload:
            raise DialFailed(payload.decode(errors="replace"))
        return out


def _make_stream(port: int) -> None:
    dial(port, [_StreamMaking()], deadline_s=10.0).close()


MOSQUITTO: Final = PeerKind(
    "Mosquitto",
    _start_mosquitto,
    lambda number: MqttOpening(f"r{number}", subscribe=True),
    lambda number: MqttOpening(f"p{number}", subscribe=False),
    _mqtt_frame,
)
NATS: Final = PeerKind(
    "NATS", _start_nats, lambda _: NatsOpening(b"SUB t 1\r\n"), lambda _: NatsOpening(), _nats_frame
)
JETSTREAM: Final = PeerKind(
    "JetStream, sync always",
    _start_nats,
    lambda _: NatsOpening(),
    lambda _: NatsOpening(b"SUB _R.* 1\r\n"),
    _jetstream_frame,
    _make_stream,
)
SOCKETIO: Final = PeerKind(
    "Socket.IO",
    _start_script("serve_socketio.py"),
    lambda _: SocketIoOpening(subscribe=True),
    lambda _: SocketIoOpening(subscribe=False),
    _socketio_frame,
)
STARLETTE: Final = PeerKind(
    "stock Starlette",
    _start_script("serve_starlette.py"),
    lambda _: WebSocketOpening("/sub"),
    lambda _: WebSocketOpening("/pub"),
    lambda number: masked(payload(number)),
)
