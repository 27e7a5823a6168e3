"""The forwarders under comparison, each with rooms to fill: a worker of ours, Janus' videoroom, aiortc's MediaRelay.

    with Worker(folder) as forwarder:
        filled = await forwarder.fill(rooms=4, size=5)
        VideoLoad(filled.senders, filled.lines, frames, size - 1).run(forwarder.pid, …)
        filled.close()

Each is one process on the servers' core. Signalling is what each wants it to be, and no part of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from deploy.devtool.services import first_on_path, install_with_apt
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.signalling import Answer, Join, Offer, Part, decode_bridge_signal, encode_signal
from leeside_server.core.video import Spoken, Ticket
from leeside_server.video.words import Configure, Ready, Told, read_from_worker, write_word
from tests.bench.peers import HERE, STOP_S, Missing
from tests.bench.programs import MeasureFailed
from tests.bench.video_line import Kind, Line, answered, described
from tests.bench.video_load import Sender
from tests.faults.machine import on_cores, server_cores
from tests.support.services import HOST, free_port

SIGNAL_S: Final = 20.0
PEERS: Final = 512
JANUS: Final = Path("/etc/janus")


@dataclass(slots=True)
class Filled:
    """Rooms with people in them. `lines`: all connections; who only receives has one, too."""

    senders: list[Sender] = field(default_factory=list[Sender])
    lines: list[Line] = field(default_factory=list[Line])
    leave: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def close(self) -> None:
        """All leave."""
        for each in self.leave:
            each()
        for line in self.lines:
            line.close()


class Forwarder(Protocol):
    """A running forwarder."""

    name: str

    @property
    def pid(self) -> int: ...

    async def fill(self, rooms: int, size: int) -> Filled:
        """Put so many people into each of so many rooms. Raises `MeasureFailed`."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _spawn(command: list[str], folder: Path, **options: Any) -> subprocess.Popen[Any]:
    with (folder / f"{Path(command[0]).name}.log").open("ab") as log, on_cores(server_cores()):
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
        )


# ---- ours


class Worker:
    """A worker of the bridge, as a supervisor starts one; we speak the supervisor's words."""

    name = "Leeside"
    _program: tuple[str, str] = ("-m", "leeside_server.video.worker")

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, *self._program, str(theirs.fileno())]
        self._running = _Running(_spawn(command, folder, pass_fds=(theirs.fileno(),)))
        theirs.close()
        ours.setblocking(False)
        self._pair = ours
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._epoch = 0

    @property
    def pid(self) -> int:
        return self._running.pid

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._running.close()
        self._pair.close()

    async def fill(self, rooms: int, size: int) -> Filled:
        filled = Filled()
        for _ in range(rooms):
            room = secrets.token_bytes(16)
            self._epoch += 1
            for _ in range(size):
                await self._seat(room, filled)
        return filled

    async def _seat(self, room: bytes, filled: Filled) -> None:
        device, line = DeviceId(secrets.token_bytes(16)), Line()
        filled.lines.append(line)
        filled.senders.append(Sender(line))
        epoch = self._epoch
        await self._speak(room, epoch, device, encode_signal(Join(1)))
        offer = await self._offer(device)
        await self._speak(
            room, epoch, device, encode_signal(Answer(1, offer.version, answered(line, offer.sdp)))
        )
        await line.connect(offer.sdp)

    async def _speak(self, room: bytes, epoch: int, device: DeviceId, body: bytes) -> None:
        reader, writer = await self._words()
        del reader
        until_ms = time.time_ns() // 1_000_000 + 3_600_000
        ticket = Ticket(
            room, device, Part.RESPONDER, admits=True, team=True, node=b"bench..1", until_ms=until_ms
        )
        writer.write(write_word(Spoken(epoch, ticket, body)))
        await writer.drain()

    async def _words(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(sock=self._pair)
            self._writer.write(write_word(Configure((HOST,), 0, peers=PEERS)))
            while not isinstance(await self._next(), Ready):
                pass
        return self._reader, self._writer

    async def _next(self) -> object:
        assert self._reader is not None
        async with asyncio.timeout(SIGNAL_S):
            word = await read_from_worker(self._reader)
        if word is None:
            raise MeasureFailed("the worker ended")
        return word

    async def _offer(self, device: DeviceId) -> Offer:
        while True:
            word = await self._next()
            if isinstance(word, Told) and word.heard.device == device:
                signal = decode_bridge_signal(word.heard.body)
                if isinstance(signal, Offer):
                    return signal


class PlainWorker(Worker):
    """The same without the fast way of packets: as where nobody built it."""

    name = "Leeside, all in Python"
    _program = (
        "-c",
        "import sys; from leeside_server.video import fastways, worker; fastways.load = lambda: None; sys.exit(worker.main())",
    )


# ---- Janus


class Janus:
    """Janus' videoroom (Debian's package), with the settings that Debian ships and one port for its API."""

    name = "Janus"

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._running = _Running(_spawn(_janus_command(folder, self._port), folder))
        self._sessions: list[int] = []
        deadline_s = time.monotonic() + SIGNAL_S
        while True:
            try:
                self._post("", {"janus": "info"})
                break
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline_s or self._running.process.poll() is not None:
                    self._running.close()
                    raise Missing(f"Janus did not start: see {folder}") from None
                time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._running.pid

    def close(self) -> None:
        self._running.close()

    async def fill(self, rooms: int, size: int) -> Filled:
        filled = Filled()
        for _ in range(rooms):
            await self._room(filled, size)
        return filled

    async def _room(self, filled: Filled, size: int) -> None:
        room = secrets.randbits(30)
        path = self._handle()
        filled.leave.append(lambda: self._end(path))
        wanted = {
            "request": "create",
            "room": room,
            "publishers": size,
            "bitrate": 0,
            "audiocodec": "opus",
            "videocodec": "vp8",
        }
        self._post(path, {"janus": "message", "body": wanted})
        feeds = [await self._publish(filled, room) for _ in range(size)]
        for own in feeds:
            await self._subscribe(filled, room, [feed for feed in feeds if feed != own])

    async def _publish(self, filled: Filled, room: int) -> int:
        line, path = Line(), self._handle()
        filled.leave.append(lambda: self._end(path))
        self._post(
            path, {"janus": "message", "body": {"request": "join", "ptype": "publisher", "room": room}}
        )
        joined = await self._event(
            path, lambda event: event["plugindata"]["data"].get("videoroom") == "joined"
        )
        media: list[tuple[Kind, str, Any]] = [("audio", "0", "sendonly"), ("video", "1", "sendonly")]
        offer = {"type": "offer", "sdp": described(line, media, "actpass")}
        self._post(path, {"janus": "message", "body": {"request": "configure"}, "jsep": offer})
        answer = await self._event(path, lambda event: "jsep" in event)
        filled.lines.append(line)
        filled.senders.append(Sender(line))
        await line.connect(answer["jsep"]["sdp"])
        return int(joined["plugindata"]["data"]["id"])

    async def _subscribe(self, filled: Filled, room: int, feeds: list[int]) -> None:
        line, path = Line(), self._handle()
        filled.leave.append(lambda: self._end(path))
        streams = [{"feed": feed} for feed in feeds]
        self._post(
            path,
            {
                "janus": "message",
                "body": {"request": "join", "ptype": "subscriber", "room": room, "streams": streams},
            },
        )
        offer = await self._event(path, lambda event: "jsep" in event)
        sdp = offer["jsep"]["sdp"]
        answer = {"type": "answer", "sdp": answered(line, sdp)}
        self._post(path, {"janus": "message", "body": {"request": "start"}, "jsep": answer})
        filled.lines.append(line)
        await line.connect(sdp)

    def _handle(self) -> str:
        """A session of its own with the videoroom attached; returns its path."""
        session = self._post("", {"janus": "create"})["data"]["id"]
        handle = self._post(f"/{session}", {"janus": "attach", "plugin": "janus.plugin.videoroom"})["data"][
            "id"
        ]
        return f"/{session}/{handle}"

    def _end(self, path: str) -> None:
        self._post(f"/{path.split('/')[1]}", {"janus": "destroy"})

    async def _event(self, path: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline_s = time.monotonic() + SIGNAL_S
        session = path.split("/")[1]
        while time.monotonic() < deadline_s:
            event = await asyncio.to_thread(self._ask, f"/{session}?maxev=1", None)
            if event.get("janus") == "event" and wanted(event):
                return event
        raise MeasureFailed("Janus did not say what was waited for")

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask(path, body | {"transaction": secrets.token_hex(6)})
        if answer.get("janus") == "error":
            raise MeasureFailed(f"Janus: {answer['error']['reason']}")
        return answer

    def _ask(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{HOST}:{self._port}/janus{path}", data)
        with urllib.request.urlopen(request, timeout=SIGNAL_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


def _janus_command(folder: Path, port: int) -> list[str]:
    """Janus with Debian's own configuration in a folder of ours. Raises `Missing`."""
    program = first_on_path("janus")
    if program is None:
        install_with_apt(["janus"])
        program = first_on_path("janus")
    if program is None:
        raise Missing("Janus was not found and apt could not install it: sudo apt install janus")
    place = folder / "janus"
    place.mkdir()
    whole = (JANUS / "janus.jcfg").read_text()
    for old, new in (
        ('configs_folder = "/etc/janus"', f'configs_folder = "{place}"'),
        # Nobody polls while the rooms are filled and measured.
        ("debug_level = 4", "debug_level = 2\n\tsession_timeout = 0"),
        # The address of the comparison alone, and no other plugin or transport.
        ("nice_debug = false", f'nice_debug = false\n\tice_enforce_list = "{HOST}"'),
    ):
        if old not in whole:
            raise Missing(f"this Janus is configured in another way than Debian's: {JANUS}/janus.jcfg")
        whole = whole.replace(old, new)
    (place / "janus.jcfg").write_text(whole)
    (place / "janus.transport.http.jcfg").write_text(
        f'general: {{\n json = "plain"\n base_path = "/janus"\n http = true\n port = {port}\n ip = "{HOST}"\n https = false\n}}\n'
    )
    (place / "janus.plugin.videoroom.jcfg").write_text("general: {\n}\n")
    return [str(program), "-F", str(place)]


# ---- MediaRelay


class MediaRelay:
    """aiortc's own way: every picture is decoded, and encoded anew for each who sees it."""

    name = "MediaRelay"

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, str(HERE / "serve_mediarelay.py"), str(theirs.fileno())]
        self._running = _Running(_spawn(command, folder, pass_fds=(theirs.fileno(),)))
        theirs.close()
        self._pair = ours
        self._pair.settimeout(SIGNAL_S)
        self._file = ours.makefile("rwb")

    @property
    def pid(self) -> int:
        return self._running.pid

    def close(self) -> None:
        self._pair.close()
        self._running.close()

    async def fill(self, rooms: int, size: int) -> Filled:
        filled = Filled()
        for _ in range(rooms):
            feeds = [await self._publish(filled) for _ in range(size)]
            for own in feeds:
                await self._subscribe(filled, [feed for feed in feeds if feed != own])
        return filled

    async def _publish(self, filled: Filled) -> str:
        line, name = Line(), secrets.token_hex(4)
        media: list[tuple[Kind, str, Any]] = [("audio", "0", "sendonly"), ("video", "1", "sendonly")]
        answer = await asyncio.to_thread(
            self._ask, {"publish": name, "sdp": described(line, media, "actpass")}
        )
        filled.lines.append(line)
        filled.senders.append(Sender(line))
        await line.connect(answer)
        return name

    async def _subscribe(self, filled: Filled, feeds: list[str]) -> None:
        line = Line()
        media: list[tuple[Kind, str, Any]] = []
        for number in range(len(feeds)):
            media.append(("audio", f"a{number}", "recvonly"))
            media.append(("video", f"v{number}", "recvonly"))
        answer = await asyncio.to_thread(
            self._ask, {"subscribe": feeds, "sdp": described(line, media, "actpass")}
        )
        filled.lines.append(line)
        await line.connect(answer)

    def _ask(self, what: dict[str, Any]) -> str:
        self._file.write(json.dumps(what).encode() + b"\n")
        self._file.flush()
        line = self._file.readline()
        if not line:
            raise MeasureFailed("MediaRelay's process ended")
        return str(json.loads(line)["sdp"])
