"""A small world for the relay's tests: an agency with channels and devices, written straight into the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket as sockets
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.ids import (
    AgencyId,
    ChannelAddress,
    ChannelId,
    ChannelKind,
    DeviceId,
    MemberId,
    MessageId,
    address,
)
from leeside_protocol.messages import (
    SUBPROTOCOL,
    Batch,
    Challenge,
    ClientMessage,
    Entry,
    Hello,
    Publish,
    ServerMessage,
    Subscribe,
    Subscribed,
    Welcome,
)
from leeside_protocol.sealing.public.frame import FrameHeader
from leeside_protocol.words import ChannelPurpose, Compartment, Lane, Role
from leeside_server.adapters.memory import (
    MemoryBus,
    MemoryExchange,
    MemoryGateway,
    MemoryLatest,
    MemoryPresence,
    MemoryPush,
)
from leeside_server.core.channels import ACTIVE, CHANNEL, ChannelRow, RosterDevice
from leeside_server.core.identity import DeviceRow, DeviceState
from leeside_server.core.notices import Access, access_entry
from leeside_server.core.rows import KINDS
from leeside_server.core.writes import NO_DEVICE, Append, Fence, Item, Outcome, Save, Stored
from leeside_server.ports import Blobs, Bridges, Bus, Gateway, Push, Store
from leeside_server.relay.app import build_app
from leeside_server.relay.direct import DirectSocket
from leeside_server.relay.handshake import HeaderDeadline
from leeside_server.relay.node import Node
from leeside_server.relay.settings import RelaySettings
from leeside_server.relay.signin import proof_input
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S
from tests.support.sqlite import open_store

M = TypeVar("M")
SECRET = bytes(range(32))
DEADLINE_S = PATIENCE_S
GRACE_S = PATIENCE_S
"""How long connections have to finish when their server ends."""


class NoBlobs:
    """The relay's sockets never touch attachments."""

    async def put(self, agency: AgencyId, blob: object, index: int, data: bytes) -> None:
        raise AssertionError

    async def get(self, agency: AgencyId, blob: object, index: int) -> bytes | None:
        raise AssertionError

    async def have(self, agency: AgencyId, blob: object) -> Sequence[int]:
        raise AssertionError

    async def delete(self, agency: AgencyId, blob: object) -> None:
        raise AssertionError

    async def close(self) -> None: ...


NO_BLOBS: Blobs = NoBlobs()


@dataclass(frozen=True)
class Phone:
    """A device with its key."""

    agency: AgencyId
    id: DeviceId
    key: Ed25519PrivateKey
    session: bytes = field(default_factory=lambda: os.urandom(16))
    member: MemberId = field(default_factory=lambda: MemberId(bytes(16)))
    roles: tuple[Role, ...] = (Role.RESPONDER,)


@dataclass
class Room:
    """A channel as its members see it; `epoch` and `hash` follow the commits that `World.commit` makes."""

    agency: AgencyId
    id: ChannelId
    members: dict[DeviceId, int]
    epoch: int = -1
    hash: bytes = bytes(32)
    revision: int = 0

    @property
    def content(self) -> ChannelAddress:
        return address(ChannelKind.CONTENT, self.id)

    @property
    def epochs(self) -> ChannelAddress:
        return address(ChannelKind.EPOCHS, self.id)

    def frame(
        self, device: DeviceId, body: bytes = b"", key_class: int = 1, epoch: int | None = None
    ) -> bytes:
        """Bytes that look like a sealed frame from outside; `body` stands where ciphertext would."""
        header = FrameHeader(
            key_class,
            1,
            self.id,
            self.epoch if epoch is None else epoch,
            self.hash[:16],
            device,
            bytes(16),
            0,
        )
        step = 64 if key_class == 1 else 32
        padded = -(-max(len(body), 1) // step) * step
        return header.pack() + body.ljust(padded + 80, b"\0")


@dataclass
class World:
    """One store and the nodes on it."""

    node: Node
    clock: FakeClock
    nodes: list[Node]

    async def phone(self, agency: AgencyId, *roles: Role) -> Phone:
        """Enrol a device, of a member of its own with these roles."""
        phone = Phone(
            agency,
            DeviceId(os.urandom(16)),
            Ed25519PrivateKey.generate(),
            member=MemberId(os.urandom(16)),
            roles=roles or (Role.RESPONDER,),
        )
        row = DeviceRow(
            phone.member,
            phone.key.public_key().public_bytes_raw(),
            DeviceState.ACTIVE,
            "",
            "",
            self.clock.now_ms(),
        )
        await self.write(agency, Save(KINDS[DeviceRow], phone.id, 0, msgspec.json.encode(row)))
        return phone

    async def room(self, *phones: Phone) -> Room:
        """A channel with these devices in its roster."""
        room = Room(phones[0].agency, ChannelId(os.urandom(16)), {p.id: 0b1110 for p in phones})
        await self.commit(room)
        return room

    async def commit(self, room: Room, reason: int = 1, node: Node | None = None) -> None:
        """The next epoch, with the roster that `room.members` says."""
        before, room.hash = room.hash, os.urandom(32)
        room.epoch += 1
        row = ChannelRow(
            ChannelPurpose.UNIT,
            Compartment.OPERATIONS,
            None,
            room.epoch,
            room.hash,
            before[:16],
            self.clock.now_ms(),
            reason,
            tuple(RosterDevice(device.hex(), mask) for device, mask in room.members.items()),
            False,
            next(iter(room.members)).hex(),
        )
        body = msgspec.json.encode(row)
        await self.write(
            room.agency,
            Append(
                room.epochs,
                Lane.LOG,
                b"",
                NO_DEVICE,
                MessageId(room.hash[:16]),
                b"commit",
                expect_head=room.epoch,
            ),
            Save(CHANNEL, room.id, room.revision, body, ACTIVE),
            Fence(room.content, room.epoch if reason == 2 else max(0, room.epoch - 1)),
            node=node,
        )
        room.revision += 1

    async def out(self, agency: AgencyId, kind: Access, subject: bytes, node: Node | None = None) -> None:
        """Take access away."""
        await self.write(agency, access_entry(agency, kind, subject, os.urandom), node=node)

    async def write(
        self, agency: AgencyId, *parts: Append | Save | Fence, node: Node | None = None
    ) -> Outcome:
        (outcome,) = await (node or self.node).write([Item(agency, self.clock.now_ms(), parts)])
        assert isinstance(outcome, Stored)
        return outcome

    def token(self, phone: Phone, node: Node | None = None) -> str:
        text, _ = (node or self.node).tokens.mint(
            phone.agency, phone.member, phone.id, phone.roles, phone.session, self.clock.now_ms()
        )
        return text


class SteadyClock(FakeClock):
    """Stands still but for what tests advance; sockets of real servers run on it as well."""


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    nodes: int = 1,
    store: Store | None = None,
    buses: Sequence[Bus] | None = None,
    settings: RelaySettings | None = None,
    push: Push | None = None,
    gateway: Gateway | None = None,
    bridges: Callable[[FakeClock], Bridges] | None = None,
) -> AsyncGenerator[World]:
    """Nodes over one SQLite store (or the one given) and one exchange."""
    clock = SteadyClock()
    opened = store or await open_store(folder / "relay.db")
    exchange = MemoryExchange()
    latest, presence = MemoryLatest(clock), MemoryPresence()
    running: list[Node] = []
    bridged = None if bridges is None else bridges(clock)
    for number in range(nodes):
        node = Node(
            settings or RelaySettings(),
            store=opened,
            bus=buses[number] if buses else MemoryBus(exchange),
            latest=latest,
            presence=presence,
            blobs=NO_BLOBS,
            push=push or MemoryPush(),
            gateway=gateway or MemoryGateway(),
            bridges=bridged,
            clock=clock,
            secret=SECRET,
        )
        await node.start()
        running.append(node)
    try:
        yield World(running[0], clock, running)
    finally:
        for node in running:
            await node.close()
            await node.bus.close()
        if store is None:
            await opened.close()


class PromptServer(uvicorn.Server):
    """uvicorn's server, which ends when it is told to: the original looks ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def end(self) -> None:
        """Take nothing new, have the connections finish, and return from `serve`."""
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(GRACE_S):
            while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            for listening in self.servers:
                await listening.wait_closed()


@contextlib.asynccontextmanager
async def served(app: ASGIApp, *, direct: bool = True) -> AsyncGenerator[int]:
    """The app on a real uvicorn on loopback; yields the port."""
    listener = sockets.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        ws=DirectSocket if direct else "websockets-sansio",
        http=HeaderDeadline,
        lifespan="off",
        log_config=None,
        log_level="warning",
        proxy_headers=False,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    server = PromptServer(config)
    # Signals belong to the test run.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(str(context)))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.end()
            await task
    loop.set_exception_handler(None)
    assert not faults


@contextlib.asynccontextmanager
async def serving(world_: World, node: Node | None = None, *, direct: bool = True) -> AsyncGenerator[int]:
    """A node's app on loopback."""
    async with served(build_app(node or world_.node), direct=direct) as port:
        yield port


class Client:
    """A plain client of the wire, for one socket."""

    def __init__(self, socket: ClientConnection, phone: Phone) -> None:
        self.socket = socket
        self.phone = phone
        self._req = 0
        self.batches: list[Batch] = []
        """Every batch that came, in the order in which they came."""

    def req(self) -> int:
        self._req += 1
        return self._req

    async def send(self, message: ClientMessage) -> None:
        await self.socket.send(encode(message))

    async def receive(self) -> ServerMessage:
        async with asyncio.timeout(DEADLINE_S):
            data = await self.socket.recv()
        assert isinstance(data, bytes)
        message = decode_server(data)
        assert message is not None
        if isinstance(message, Batch):
            self.batches.append(message)
        return message

    async def expect(self, kind: type[M]) -> M:
        """The next message of this type; others are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    async def subscribe(self, log: ChannelAddress, generation: int = 0, offset: int = 0) -> Subscribed:
        await self.send(Subscribe(self.req(), log, generation, offset))
        return await self.expect(Subscribed)

    async def publish(self, room: Room, body: bytes, id: bytes | None = None) -> int:  # noqa: A002
        """Publish to the log without waiting; returns `req`."""
        req = self.req()
        frame = room.frame(self.phone.id, body)
        await self.send(Publish(req, room.content, Lane.LOG, b"", MessageId(id or os.urandom(16)), frame))
        return req

    async def entries(self, count: int) -> list[Entry]:
        """The next entries of batches, at least so many."""
        got: list[Entry] = []
        while len(got) < count:
            got.extend((await self.expect(Batch)).entries)
        return got

    async def closed(self) -> int:
        """The close code; whatever still arrives before is passed over."""
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    await self.socket.recv()
        assert self.socket.close_code is not None
        return self.socket.close_code


@contextlib.asynccontextmanager
async def dial(
    port: int,
    *,
    origin: str | None = None,
    subprotocol: str | None = SUBPROTOCOL,
    rcvbuf: int | None = None,
    forwarded: str | None = None,
) -> AsyncGenerator[ClientConnection]:
    """A WebSocket that has not said anything yet."""
    raw = sockets.socket()
    if rcvbuf is not None:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, rcvbuf)
    raw.connect(("127.0.0.1", port))
    raw.setblocking(False)
    async with connect(
        f"ws://127.0.0.1:{port}/v1/socket",
        sock=raw,
        origin=None if origin is None else Origin(origin),
        additional_headers=None if forwarded is None else {"X-Forwarded-For": forwarded},
        subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
        compression=None,
        ping_interval=None,
        max_size=None,
        max_queue=16,
        close_timeout=1,
    ) as socket:
        yield socket


@contextlib.asynccontextmanager
async def joined(
    world_: World, port: int, phone: Phone, *, node: Node | None = None, rcvbuf: int | None = None
) -> AsyncGenerator[Client]:
    """A signed-in client."""
    async with dial(port, rcvbuf=rcvbuf) as socket:
        client = Client(socket, phone)
        await say_hello(world_, client, node=node)
        await client.expect(Welcome)
        yield client


async def say_hello(
    world_: World, client: Client, *, node: Node | None = None, token: str | None = None
) -> None:
    """Answer the challenge."""
    challenge = await client.expect(Challenge)
    text = token or world_.token(client.phone, node)
    await client.send(Hello(text, client.phone.key.sign(proof_input(challenge.nonce, text)), "test"))
