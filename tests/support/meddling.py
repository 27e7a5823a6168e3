"""A client's wire, frame by frame: hold back what it sends, swallow what it is answered, and speak in its place.

`Meddler` stands where the client library's dialer does; its link is a real socket. `PlainSocket` is a socket of the
same device without the library: for what no honest client does, such as sending one message fifty times at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from leeside.api import Api
from leeside.link import Link, LinkClosed, WebSocketDialer
from leeside_protocol.codec import decode_client, decode_server, encode
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.messages import (
    Accepted,
    Challenge,
    ClientMessage,
    Hello,
    Publish,
    Refused,
    ServerMessage,
    Subscribe,
    Subscribed,
    Welcome,
)
from leeside_protocol.sealing.public.encoding import pae
from leeside_protocol.words import Lane
from tests.support.town import WAIT_S, Person

M = TypeVar("M", bound=ServerMessage)


class Meddler:
    """A dialer whose links drop what a test wants dropped. Frames that go out are kept in `published`."""

    def __init__(self, url: str) -> None:
        self._inner = WebSocketDialer(url)
        self.published: list[Publish] = []
        self.swallow_accepted = False
        """The next acknowledgement never arrives: the link breaks in its place."""
        self.hold_back = False
        """What the client publishes is kept here, and goes no further."""
        self.down = False
        """No new link is to be had."""
        self.swallowed = asyncio.Event()

    async def dial(self) -> Link:
        """A new link, unless the wire is down."""
        if self.down:
            raise LinkClosed
        return _MeddledLink(self, await self._inner.dial())


class _MeddledLink:
    def __init__(self, meddler: Meddler, inner: Link) -> None:
        self._meddler = meddler
        self._inner = inner

    async def send(self, data: bytes) -> None:
        message = decode_client(data)
        if isinstance(message, Publish):
            self._meddler.published.append(message)
            if self._meddler.hold_back:
                return
        await self._inner.send(data)

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        if self._meddler.swallow_accepted and isinstance(decode_server(data), Accepted):
            self._meddler.swallow_accepted = False
            self._meddler.swallowed.set()
            await self._inner.close()
            raise LinkClosed
        return data

    async def close(self) -> None:
        await self._inner.close()


@dataclass(slots=True)
class PlainSocket:
    """A signed-in socket, spoken message by message."""

    link: Link
    received: list[ServerMessage] = field(default_factory=list[ServerMessage])

    async def send(self, message: ClientMessage) -> None:
        await self.link.send(encode(message))

    async def expect(self, *kinds: type[M]) -> M:
        """The next message of one of these types; others are passed over. Raises `LinkClosed`, `TimeoutError`."""
        async with asyncio.timeout(WAIT_S):
            while True:
                message = decode_server(await self.link.receive())
                if message is not None:
                    self.received.append(message)
                if isinstance(message, kinds):
                    return message

    async def publish(self, message: Publish) -> Accepted | Refused:
        """Publish and wait for what the server says."""
        await self.send(message)
        return await self.expect(Accepted, Refused)

    async def subscribe(self, log: ChannelAddress) -> Subscribed | Refused:
        """Follow a log from its beginning."""
        await self.send(Subscribe(1, log, 0, 0))
        return await self.expect(Subscribed, Refused)

    async def end(self) -> int:
        """The code that the server closes with; what comes before is kept in `received`."""
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    message = decode_server(await self.link.receive())
                    if message is not None:
                        self.received.append(message)
        except LinkClosed as closed:
            return closed.code


@asynccontextmanager
async def plain_socket(person: Person, url: str) -> AsyncGenerator[PlainSocket]:
    """A socket of this person's device."""
    link = await WebSocketDialer(url).dial()
    socket = PlainSocket(link)
    try:
        async with Api(url) as outside:
            token = await person.session(outside).token()
        challenge = await socket.expect(Challenge)
        proof = person.keys.identity.sign_raw(pae(b"leeside1 socket", challenge.nonce, token.encode()))
        await socket.send(Hello(token, proof, "tests"))
        await socket.expect(Welcome)
        yield socket
    finally:
        await link.close()


def unsealed(sealed: Publish, plain: bytes, lane: Lane = Lane.LOG, key: bytes = b"") -> Publish:
    """A publish whose payload has the head of a sealed frame and, where ciphertext should be, plain bytes: what a
    client without sealing would send. The server cannot tell."""
    header = bytearray(sealed.payload[:84])
    step = 64 if lane is not Lane.STREAM else 32
    header[1] = 1 if lane is not Lane.STREAM else 2
    padded = -(-max(1, len(plain)) // step) * step
    body = plain.ljust(padded + 80, b"\0")
    return Publish(sealed.req, sealed.channel, lane, key, _new_id(), bytes(header) + body)


def _new_id() -> MessageId:
    return MessageId(os.urandom(16))
