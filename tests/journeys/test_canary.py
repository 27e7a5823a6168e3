"""G10: the server cannot read content. Strings that exist nowhere else are said, sent as files and as positions, and
then looked for wherever a server could have left them. One that was not sealed is found in each of these places: the
search works."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leeside.bodies import Fix
from leeside.client import Leeside
from leeside.events import Message
from leeside_protocol.ids import ChannelId, ChannelKind, StateKind, UnitId, address, state_key
from leeside_protocol.messages import Accepted, Live, Publish
from leeside_protocol.words import Discipline, Lane, PrimaryStatus, Role
from tests.support.line import Line, open_line
from tests.support.meddling import Meddler, PlainSocket, plain_socket, unsealed
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Person, Town, now_ms, open_town, until
from tests.support.traces import Canary, Capture, capturing, files_below, found, may_capture, unmasked

pytestmark = pytest.mark.slow


def word() -> str:
    """A text that exists nowhere else."""
    return f"canary{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Said:
    """What people say in this story, each once in a channel."""

    body: str = field(default_factory=word)
    file_name: str = field(default_factory=word)
    file_body: str = field(default_factory=word)
    caption: str = field(default_factory=word)
    note: str = field(default_factory=word)
    member_name: str = field(default_factory=word)
    place: tuple[int, int] = field(
        default_factory=lambda: (
            400_000_000 + secrets.randbelow(1 << 26),
            1_100_000_000 + secrets.randbelow(1 << 26),
        )
    )
    unsealed_log: str = field(default_factory=word)
    unsealed_stream: str = field(default_factory=word)

    def sealed(self) -> list[Canary]:
        """What must be found nowhere."""
        texts = ("body", "file_name", "file_body", "caption", "note", "member_name")
        lat, lon = self.place
        return [
            *(Canary(name, str(getattr(self, name)).encode()) for name in texts),
            Canary.of_value("position", lat, lon),
            Canary("position in words", f"{lat / 1e7:.7f}".rstrip("0").encode()),
        ]

    def open(self) -> list[Canary]:
        """What must be found, or the search is blind."""
        return [
            Canary("unsealed log", self.unsealed_log.encode()),
            Canary("unsealed stream", self.unsealed_stream.encode()),
        ]


async def say_all(
    said: Said, phone: Leeside, desk: Leeside, channel: ChannelId, unit: UnitId, folder: Path
) -> None:
    """Everything that people seal, from the phone to the desk."""
    await phone.send(channel, said.body)
    await phone.set_status(channel, unit, PrimaryStatus.NOT_AVAILABLE, note=said.note)
    await phone.name_member(channel, phone.member, said.member_name)
    photo = folder / said.file_name
    photo.write_text(said.file_body * 3_000)
    await phone.attach(channel, photo, caption=said.caption)
    phone.start_sharing(channel, every_s=1)
    await phone.move(Fix(*said.place, accuracy_m=5, fix_ms=now_ms()))
    await until(
        lambda: (p := desk.board(channel).position(phone.device)) is not None and p.fix is not None,
        "the position arrived",
    )
    await until(lambda: not phone.waiting(channel), "all of it stands")
    attachments = [e.attachment for e in desk.history(channel) if isinstance(e, Message) and e.attachment]
    await desk.fetch(attachments[0], folder / "fetched")
    assert (folder / "fetched").read_text() == said.file_body * 3_000


async def say_openly(said: Said, ana: Person, url: str, sample: Publish) -> None:
    """What a client without sealing would send: the server takes it, for it cannot tell."""
    async with plain_socket(ana, url) as socket:
        answer = await socket.publish(unsealed(sample, said.unsealed_log.encode()))
        assert isinstance(answer, Accepted)
        key = state_key(StateKind.POSITION, ana.device)
        await socket.send(unsealed(sample, said.unsealed_stream.encode(), Lane.STREAM, key))
        # An answered request behind it: the stream lane itself is never answered.
        answer = await socket.publish(sample)
        assert isinstance(answer, Accepted)


@asynccontextmanager
async def watching(socket: PlainSocket, channel: ChannelId) -> AsyncGenerator[None]:
    await socket.subscribe(address(ChannelKind.CONTENT, channel))
    yield
    await socket.expect(Live)


@dataclass
class Listening:
    """What was heard on the way: the clients' lines, and packets where this user may have them."""

    lines: tuple[Line, Line]
    capture: Capture | None

    def places(self, stage: Stage) -> dict[str, bytes]:
        heard = {f"line {n}": line.heard() for n, line in enumerate(self.lines)}
        if self.capture is None:
            return heard
        heard |= {f"packets of node {n}": self.capture.heard(node.port) for n, node in enumerate(stage.nodes)}
        if stage.redis is not None and stage.postgres is not None:
            heard["packets of redis"] = self.capture.heard(stage.redis.port)
            heard["packets of postgres"] = self.capture.heard(stage.postgres.port)
        return heard


async def kept_by(stage: Stage, since_s: float) -> dict[str, bytes]:
    """All that the servers keep and tell: files, the database with its log, Redis, logs, metrics."""
    places: dict[str, bytes] = {}
    for number, node in enumerate(stage.nodes):
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
            answer = await node.ask(path)
            places[f"{path} of node {number}"] = answer[1] if answer else b""
        places[f"log of node {number}"] = node.log_text().encode()
        assert places[f"/metrics of node {number}"]
    places |= {f"data/{name}": data for name, data in files_below(stage.node(0).data).items()}
    if stage.redis is not None:
        process = stage.redis.process
        # Compressed, a text is not found: what is looked through must be as it was said.
        await run_redis(stage.redis.port, b"CONFIG SET rdbcompression no\r\n")
        await run_redis(stage.redis.port, b"SAVE\r\n")
        places |= {f"redis/{name}": data for name, data in files_below(process.folder).items()}
    if stage.postgres is not None:
        stage.postgres.run_sql("CHECKPOINT")
        folder = stage.postgres.process.folder
        places |= {f"postgres/{name}": data for name, data in files_below(folder, since_s).items()}
    return places


async def run_redis(port: int, command: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(command)
    assert (await asyncio.wait_for(reader.readline(), WAIT_S)).startswith(b"+OK")
    writer.close()


async def test_g10_what_people_say_is_found_nowhere_and_what_was_not_sealed_is(
    own_stage: Stage, tmp_path: Path
) -> None:
    # Files that PostgreSQL had before a word was said need no looking through.
    stage, said, since_s = own_stage, Said(), time.time()
    ports = [node.port for node in stage.nodes]
    if stage.redis is not None and stage.postgres is not None:
        ports += [stage.redis.port, stage.postgres.port]
    with ExitStack() as stack:
        capture = stack.enter_context(capturing(ports)) if may_capture() else None
        async with (
            open_line(stage.node(0).port) as first,
            open_line(stage.node(1).port) as second,
            open_town(first.url, stage.node(0).codes, tmp_path / "people") as town,
        ):
            await tell(said, stage, town, first, second, tmp_path)
            heard = Listening((first, second), capture)
            kept = await kept_by(stage, since_s)
    places = kept | heard.places(stage)
    assert found(said.sealed(), places) == {}

    traces = found(said.open(), places)
    database = "postgres/" if stage.clustered else "data/leeside.db"
    wanted = {database, "line"}
    if capture is not None:
        wanted |= {"packets of node"}
        wanted |= {"packets of redis", "packets of postgres"} if stage.clustered else set()
    for place in wanted:
        assert any(p.startswith(place) for p in traces["unsealed log"]), f"the search is blind in {place}"
    in_stream = {"line", "redis/"} if stage.clustered else {"line"}
    for place in in_stream:
        assert any(p.startswith(place) for p in traces["unsealed stream"]), f"the search is blind in {place}"
    stored = {p for p in traces["unsealed stream"] if p.startswith(("data/", "postgres/", "log of"))}
    assert stored == set(), "a live position is on no disk"
    # What people hold on their own devices is sealed as well.
    assert found(said.sealed(), files_below(tmp_path / "people")) == {}


async def tell(said: Said, stage: Stage, town: Town, first: Line, second: Line, folder: Path) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    unit = await town.unit(ana)
    wire = Meddler(first.url)
    async with ana.open(first.url, dialer=wire) as phone, deniz.open(second.url) as desk:
        channel = await town.unit_channel(desk, phone, unit=unit)
        await say_all(said, phone, desk, channel, unit, folder)
        sample = next(p for p in wire.published if p.lane is Lane.LOG)
        async with plain_socket(deniz, second.url) as socket, watching(socket, channel):
            await say_openly(said, ana, first.url, sample)


def test_the_search_sees_through_a_mask_and_through_encodings() -> None:
    canary = Canary("it", word().encode())
    key = secrets.token_bytes(4)
    for before in range(4):
        text = b"x" * before + canary.plain + b"behind"
        masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(text))
        assert canary.plain not in masked
        assert canary.found_in(b"head" + masked) == "masked"
    for before in range(3):
        assert canary.found_in(base64.b64encode(b"x" * before + canary.plain + b"yy")) == "base64"
    assert canary.found_in(canary.plain.hex().encode()) == "hex"
    assert canary.found_in(secrets.token_bytes(100_000)) == ""
    assert unmasked(b"1234") == b""
