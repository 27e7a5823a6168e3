"""The listening sockets: several queues on one port, and nobody else's server on it."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

from leeside_server.relay.serve import QUEUES, Listening, listen


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, ...]]:
    made = listen(Listening("localhost", 0))
    yield made
    for one in made:
        one.close()


def test_all_listen_on_one_port(sockets: tuple[socket.socket, ...]) -> None:
    assert len(sockets) == (QUEUES if sys.platform == "linux" else 1)
    assert len({one.getsockname() for one in sockets}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="one queue elsewhere")
def test_connections_are_dealt_out_to_all_of_them(sockets: tuple[socket.socket, ...]) -> None:
    with contextlib.ExitStack() as peers:
        for _ in range(64):
            peers.enter_context(socket.create_connection(sockets[0].getsockname()))
        for one in sockets:
            one.setblocking(False)
            peers.enter_context(one.accept()[0])


def test_a_second_server_on_the_port_is_refused(sockets: tuple[socket.socket, ...]) -> None:
    with pytest.raises(OSError, match="in use"):
        listen(Listening("localhost", sockets[0].getsockname()[1]))


def test_what_was_made_is_closed_when_one_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    create = socket.create_server

    def failing(*given: object, **named: object) -> socket.socket:
        if len(made) == 3:
            raise OSError
        made.append(create(*given, **named))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(socket, "create_server", failing)
    if sys.platform == "linux":
        with pytest.raises(OSError):
            listen(Listening("localhost", 0))
        assert [one.fileno() for one in made] == [-1, -1, -1]
